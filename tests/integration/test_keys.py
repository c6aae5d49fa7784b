"""Keys on a real OpenBao and PostgreSQL: rotated, rewrapped, renewed; and what is readable in each phase (I13, I16)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import pytest
from sqlalchemy import text

from backupflow.adapters.db.collections import Collections
from backupflow.adapters.db.observations import Observations
from backupflow.adapters.db.sealed import PLACES
from backupflow.adapters.db.tables import metadata
from backupflow.cli.exits import Exit
from backupflow.core import ports
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.keys import KEYS_LOST, LOGIN_LOST, Held
from backupflow.core.ledger import Stored
from backupflow.core.message import SnapshotMessage, encode
from backupflow.core.model import Purpose, RawConfig, SealedSecret, Seq, key_version
from backupflow.errors import Conflict
from backupflow.flows import history, keys, renewing, rewrapping
from backupflow.flows.admitting import login_of
from backupflow.flows.ingest import check_marks
from backupflow.flows.schedule import Seen, Watched, look
from backupflow.wiring.kill_points import KillPoint
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.ledger import Assignment
    from backupflow.core.model import DeviceId, TenantId
    from tests.conftest import Size
    from tests.integration.scene import Ran, Scene

WITH_PROCESS = pytest.mark.timeout(180)


# --- the scene ---------------------------------------------------------------------------------------------------


def tenant_of(scene: Scene) -> TenantId:
    """The tenant of the install."""
    return scene.install.wiring.devices("reader").tenant("default")


def shown(scene: Scene) -> dict[str, dict[str, Any]]:
    """What `keys show` says of each key."""
    return {key["purpose"]: key for key in json.loads(scene.run("keys", "show", "--json").out)["keys"]}


def versions(scene: Scene) -> set[int]:
    """Under which versions anything is sealed that is not given up."""
    return {
        one["version"] for key in shown(scene).values() for one in key["sealed"] if not one["given_up"] and one["count"]
    }


def rewrapped(scene: Scene, *options: str) -> tuple[Ran, dict[str, Any]]:
    """What `keys rewrap` does and says."""
    done = scene.run("keys", "rewrap", "--retire", "--wait", "0", "--json", *options)
    return done, json.loads(done.out)


def exported(scene: Scene, seq: int, device: str = "core-1") -> bytes:
    """One export, as an operator reads it."""
    got = history.export(scene.install.wiring.history_ports("test"), tenant_of(scene), device, Seq(seq))
    assert isinstance(got, history.Exported), got
    return got.raw


def sent(scene: Scene, device_id: DeviceId, raw: RawConfig) -> SnapshotMessage:
    """A collector that has passed the fence: its message, which nobody has stored yet."""
    assignment = scene.claim(device_id)
    return fenced(scene, assignment, raw)


def fenced(scene: Scene, assignment: Assignment, raw: RawConfig) -> SnapshotMessage:
    """The same of a collection that runs."""
    read = scene._read(assignment, raw)
    wiring = scene.install.wiring
    assert Collections(wiring.engine("collector"), wiring.policy).publish(assignment, read.published)
    found = read.published.observed.content_hash
    return SnapshotMessage(
        assignment.tenant_id, assignment.device_id, assignment.collection_id, assignment.seq, NORMALIZATION_VERSION,
        found, read.sealed,
    )  # fmt: skip


def ingest(scene: Scene, message: SnapshotMessage) -> Stored:
    """Store a message as the ingester does."""
    wiring = scene.install.wiring
    return Observations(wiring.engine("ingester"), wiring.dice).store([message])[0]


def password_of(scene: Scene, device_id: DeviceId) -> str | None:
    """The login of a device, as its collector opens it."""
    (row,) = scene.rows("SELECT id FROM credential_profile WHERE device_id = :d", d=device_id)
    vault = scene.install.wiring.vault("collector")
    with scene.install.wiring.engine("collector").begin() as tx:
        sealed = tx.scalar(text("SELECT sealed FROM credential_profile WHERE id = :id"), {"id": row.id})
    return login_of("backup", vault.open_login(tenant_of(scene), device_id, SealedSecret(sealed))).password


def lose(scene: Scene, *purposes: Purpose) -> None:
    """The vault loses keys for good."""
    vault = scene.install.wiring.vault("provisioner")
    for purpose in purposes:
        path = f"transit/keys/{purpose}-{tenant_of(scene)}"
        vault.call("POST", f"{path}/config", {"deletion_allowed": True})
        vault.call("DELETE", path)


def ready(scene: Scene) -> str:
    """What beat makes of the keys: a code, empty if it claims."""

    class Bus:
        def room(self) -> int:
            return 1

    wiring = scene.install.wiring
    watched = Watched(wiring.keys("scheduler"), wiring.vault("scheduler"), Bus(), 1)
    return look(watched, Seen(), 0.0).code


# --- rotation ----------------------------------------------------------------------------------------------------


def test_every_sealed_column_is_moved() -> None:
    """A column that rewrapping does not know of would be lost when its version is retired."""
    sealed = {
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.columns
        if column.name.endswith("sealed") or column.name == "pepper"
    }
    assert sealed == {(place.table, place.column) for place in PLACES.values()}


def test_everything_is_readable_before_while_and_after(scene: Scene) -> None:
    """Exports, what was kept aside, logins and the pepper, under three versions, and after the old ones are retired."""
    device = scene.add()
    texts: dict[int, RawConfig] = {}
    for version in (1, 2, 3):
        raw = export_text(f"version {version}")
        texts[scene.observe(device, raw)] = raw
        if version < 3:
            assert scene.run("keys", "rotate").code == Exit.OK
            assert all(exported(scene, seq) == given for seq, given in texts.items())
    doubted = scene.doubt(device, export_text("in doubt"))
    again = scene.observe(device, export_text("version 1", "2026-12-24 10:00:00"))
    assert versions(scene) == {1, 2, 3}

    done, said = rewrapped(scene)
    assert done.code == Exit.OK, done.err
    assert (said["holds"], said["not_moved"]) == ([], [])
    assert said["retired_below"] == {purpose.value: 3 for purpose in Purpose}
    assert versions(scene) == {3}
    stand = ("newest_version", "min_decryption_version", "canary_version", "oldest_version_taken_in")
    assert {tuple(key[name] for name in stand) for key in shown(scene).values()} == {(3, 3, 3, 3)}
    assert all(exported(scene, seq) == given for seq, given in texts.items())
    assert exported(scene, again) == texts[1]  # the first with that text (I16)
    aside = scene.run("export", "core-1", "--aside", "--at", str(doubted), "-o", "-")
    assert aside.out == export_text("in doubt")
    assert password_of(scene, device) == "s3cret"
    assert ready(scene) == ""
    assert scene.run("verify").code == Exit.OK
    assert scene.observe(device, export_text("after")) == again + 1
    assert rewrapped(scene)[1] | {"moved": 0} == {"tenant": "default", "moved": 0, "given_up": 0, "not_moved": [],
                                                  "holds": [], "retired_below": {}}  # fmt: skip
    acts = [row.action for row in scene.rows("SELECT action FROM audit WHERE action LIKE 'key%' ORDER BY id")]
    assert acts == ["keys_rotated", "keys_rotated", "keys_rewrapped", "key_versions_retired"]


class Pipeline:
    """A collector with its ingester, a reader and beat, each in a thread; `kept` is what was stored."""

    def __init__(self, scene: Scene, device_id: DeviceId) -> None:
        self.scene = scene
        self.kept: dict[Seq, RawConfig] = {}
        self.wrong: list[BaseException] = []
        self._device_id = device_id
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(step,)) for step in (self.collect, self._read, self._look)
        ]

    def __enter__(self) -> Self:
        self.collect()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _work(self, step: Callable[[], None]) -> None:
        try:
            while not self._ended.wait(0.01):
                step()
        except BaseException as exc:  # noqa: BLE001 - told by the test
            self.wrong.append(exc)

    def collect(self) -> None:
        """Collect and store a text that is a new one each time."""
        raw = export_text(f"text {len(self.kept)}")
        self.kept[self.scene.observe(self._device_id, raw)] = raw

    def _read(self) -> None:
        for seq in (min(self.kept), max(self.kept)):
            assert exported(self.scene, seq) == self.kept[seq]

    def _look(self) -> None:
        ledger = self.scene.install.wiring.keys("scheduler")
        check_marks(self.scene.install.wiring.vault("scheduler"), ledger.all_marks(), ledger.all_marks)


def test_a_pipeline_that_runs_meanwhile_notices_nothing(scene: Scene, size: Size) -> None:
    """A collector, an ingester, a reader and beat work while keys are rotated, rewrapped and retired."""
    tenant_id = tenant_of(scene)
    with Pipeline(scene, scene.add()) as pipeline:
        work = scene.install.wiring.key_ports("test")
        for _ in range(30 if size == "soak" else 2):
            before = len(pipeline.kept)
            keys.rotate(work, tenant_id)
            done = rewrapping.rewrap(
                work, tenant_id, rewrapping.Watching(patient=lambda _: not pipeline.wrong), retire=True
            )
            assert (done.unmoved, len(done.retired)) == ([], len(Purpose))
            wait_for(lambda n=before: len(pipeline.kept) > n or pipeline.wrong, "a collection")  # type: ignore[misc]
    assert pipeline.wrong == []
    assert [exported(scene, seq) for seq in pipeline.kept] == list(pipeline.kept.values())
    assert scene.rows("SELECT 1 FROM alarm") == []


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until it holds."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def test_nothing_is_retired_while_a_message_of_before_may_come(scene: Scene) -> None:
    """A collection that runs, one that is published, a message in quarantine: each holds it up; then it is stored."""
    running, published = scene.add("core-1"), scene.add("core-2", "192.0.2.2")
    assignment = scene.claim(running)
    message = sent(scene, published, export_text("on its way"))
    assert key_version(message.sealed.text) == 1
    scene.run("keys", "rotate")
    done, said = rewrapped(scene)
    assert done.code == Exit.WRONG
    assert "1 collections run that began before" in " ".join(said["holds"])
    assert "1 collections of before are published" in " ".join(said["holds"])
    assert said["retired_below"] == {}

    read = scene.install.wiring.vault("collector").open_pepper(assignment.tenant_id, assignment.sealed_pepper)
    assert len(read) == 32  # what it has in hand opens still
    late = fenced(scene, assignment, export_text("read before, sealed after"))
    assert [ingest(scene, one) for one in (message, late)] == [Stored.STORED] * 2
    done, said = rewrapped(scene)
    assert (done.code, said["holds"], len(said["retired_below"])) == (Exit.OK, [], 3)
    assert exported(scene, 1, "core-2") == export_text("on its way")


def test_a_message_in_quarantine_that_could_still_be_stored_holds_it_up(scene: Scene) -> None:
    """It is the only copy of what was read: a person drops or releases it; a forged one holds up nobody."""
    device = scene.add()
    message = sent(scene, device, export_text("set aside"))
    insert = "INSERT INTO quarantine (reason, subject, payload, digest) VALUES ('unexpected', 's', :payload, :digest)"
    scene.write("ingester", insert, payload=encode(message), digest=b"1" * 32)
    forged = SnapshotMessage(
        message.tenant_id, message.device_id, message.collection_id, message.seq, 1, message.content_hash,
        type(message.sealed)(message.sealed.text.replace("A", "B", 1) + ""),
    )  # fmt: skip
    scene.write("ingester", insert, payload=encode(forged), digest=b"2" * 32)
    scene.run("keys", "rotate")
    holds = " ".join(rewrapped(scene)[1]["holds"])
    assert "1 messages in quarantine" in holds
    assert ingest(scene, message) is Stored.STORED
    assert rewrapped(scene)[1]["holds"] == []


def test_what_was_given_up_as_lost_is_waited_for_and_then_not_taken_in_any_more(scene: Scene) -> None:
    """A worker that stood still may send late: for ten minutes it is waited for, later it goes into quarantine."""
    device = scene.add()
    message = sent(scene, device, export_text("late"))
    lose_it = "UPDATE collection SET state = 'lost', code = 'message_gone', ended_at = now() - CAST(:ago AS interval)"
    scene.write("ingester", lose_it, ago="0 min")
    scene.run("keys", "rotate")
    assert "1 collections of before were lost" in " ".join(rewrapped(scene)[1]["holds"])
    scene.write("ingester", lose_it, ago="11 min")
    assert rewrapped(scene)[1]["holds"] == []
    assert ingest(scene, message) is Stored.RETIRED
    assert not Stored.RETIRED.acceptable
    assert scene.rows("SELECT 1 FROM content") == []


def test_a_text_that_cannot_be_moved_is_named_and_left(scene: Scene) -> None:
    """Each item of a batch answers for itself: the rest goes on, nothing is retired, and the exit code says so."""
    device = scene.add()
    for word in ("one", "two", "three"):
        scene.observe(device, export_text(word))
    broken = "UPDATE content SET sealed = overlay(sealed PLACING 'AAAA' FROM 30) WHERE first_seq = 2 RETURNING id"
    scene.write("operator", broken)
    (before,) = scene.rows("SELECT sealed FROM content WHERE first_seq = 2")
    scene.run("keys", "rotate")
    done, said = rewrapped(scene)
    assert done.code == Exit.WRONG
    assert said["not_moved"] == [{"what": "core-1, snapshot 2", "why": "sealed for another place, or altered"}]
    assert (said["moved"], said["retired_below"]) == (4, {})
    assert [row.sealed for row in scene.rows("SELECT sealed FROM content WHERE first_seq = 2")] == [before.sealed]
    assert [exported(scene, seq) for seq in (1, 3)] == [export_text("one"), export_text("three")]
    assert {key["min_decryption_version"] for key in shown(scene).values()} == {1}
    told = scene.run("keys", "rewrap", "--retire", "--wait", "0")
    assert "NOT MOVED  core-1, snapshot 2" in told.out.decode()


def tell(scene: Scene) -> None:
    """One text each of what is told of a change, and of what a router's log said."""
    sealed, stored = "'vault:v1:QUJD'", "FROM collection WHERE state = 'stored' RETURNING 1"
    statements = {
        "operator": f"INSERT INTO event (id, tenant_id, kind, code, place, body, device_id, sealed) "
        f"SELECT gen_random_uuid(), tenant_id, 'changed', 'changed', '', '', device_id, {sealed} {stored}",
        "interpreter": f"INSERT INTO interpretation (tenant_id, device_id, collection_id, seq, after_seq, "
        f"normalization_version, kind, changes_sealed, diff_sealed) "
        f"SELECT tenant_id, device_id, id, seq, 0, 1, 'change', {sealed}, {sealed} {stored}",
        "collector": f"UPDATE collection SET log_sealed = {sealed} WHERE state = 'stored' RETURNING 1",  # noqa: S608 - constants
    }
    outbox = (
        f"INSERT INTO outbox (tenant_id, kind, key, device_id, sealed) "
        f"SELECT tenant_id, 'changed', 'changed', device_id, {sealed} {stored}"
    )
    assert [scene.write(role, said) for role, said in (*statements.items(), ("interpreter", outbox))] == [1] * 4


def test_what_is_another_by_now_is_left_as_it_is(scene: Scene) -> None:
    """A text is exchanged only if it is still the one that was read, whoever wrote the other one."""
    device = scene.add()
    scene.observe(device, export_text("one"))
    scene.doubt(device, export_text("doubt"))
    tell(scene)
    texts = scene.install.wiring.key_ports("test").texts
    for held, place in PLACES.items():
        if held is Held.NEXT_LOGIN:  # in the row of its login, of a profile that is rotated: there is none
            continue
        (item,) = texts.left(tenant_of(scene), held, 2, None)
        which = f"WHERE {place.column} IS NOT NULL RETURNING 1"
        other = f"UPDATE {place.table} SET {place.column} = 'vault:v9:QUJD' {which}"  # noqa: S608 - constants
        assert scene.write("operator", other) == 1
        assert texts.replace([(item, "vault:v2:QUJD")]) == 0
        (item,) = texts.left(tenant_of(scene), held, 2, None)
        assert item.sealed == "vault:v9:QUJD"
        assert texts.replace([(item, "vault:v2:QUJD")]) == 1


def test_a_login_that_is_set_meanwhile_is_not_overwritten(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read is exchanged only if it still stands: a new password survives, and is moved in its turn."""
    device = scene.add()
    scene.run("keys", "rotate")
    ports = scene.install.wiring.key_ports("test")
    texts = ports.texts
    exchange = texts.replace
    edits = [b"n3w-s3cret"]

    def edit_first(pairs: Any) -> int:  # noqa: ANN401
        if edits and pairs and pairs[0][0].held == "login":
            assert scene.run("device", "edit", "core-1", "--username", "backup", "--password-stdin",
                             stdin=edits.pop()).code == Exit.OK  # fmt: skip
        return exchange(pairs)

    monkeypatch.setattr(texts, "replace", edit_first)
    rewrapping.rewrap(ports, tenant_of(scene), retire=True)
    assert password_of(scene, device) == "n3w-s3cret"
    assert versions(scene) == {2}


def test_a_row_that_was_read_before_its_version_was_retired_is_read_once_more(scene: Scene) -> None:
    """Between the row and the vault everything was moved and retired: the export comes, no alarm, one audit row."""
    device, wiring = scene.add(), scene.install.wiring
    scene.observe(device, export_text("one"))
    snapshot = wiring.snapshots.read(tenant_of(scene), "core-1", None, "test")
    keys.rotate(wiring.key_ports("test"), tenant_of(scene))
    assert len(rewrapping.rewrap(wiring.key_ports("test"), tenant_of(scene), retire=True).retired) == len(Purpose)
    got = history.opened(wiring.history_ports("test"), snapshot)
    assert isinstance(got, history.Exported)
    assert got.raw == export_text("one")
    assert len(scene.rows("SELECT 1 FROM audit WHERE action = 'config_exported'")) == 1
    assert scene.rows("SELECT 1 FROM alarm") == []


def test_a_session_that_is_under_way_keeps_its_login(scene: Scene) -> None:
    """Moved to a newer version it is no other login: right before it is sent it is still allowed."""
    device = scene.add()
    key = scene.offer(device, b"pinned", "pinned")
    assignment = scene.claim(device)
    collections = Collections(scene.install.wiring.engine("collector"), scene.install.wiring.policy)
    assert collections.login_allowed(assignment, key)
    scene.run("keys", "rotate")
    assert rewrapped(scene)[1]["moved"] == 2
    assert collections.login_allowed(assignment, key)
    secret = b"another"
    scene.run("device", "edit", "core-1", "--username", "backup", "--password-stdin", stdin=secret)
    assert not collections.login_allowed(assignment, key)


STEPS = (
    "KeyStore.record:after",
    "SealedStore.replace:before",
    "SealedStore.replace:after",
    "KeyStore.remark:before",
    "KeyStore.remark:after",
    "KeyStore.close:before",
    "KeyStore.close:after",
    "KeyKeeper.retire:before",
    "KeyKeeper.retire:after",
)


class Died(BaseException):
    """The process is gone, at this point."""


class Death(KillPoint):
    """A kill point that ends the command, but not the process of the tests."""

    def reached(self, when: str) -> None:
        """Die at the n-th call."""
        self._calls += when == self.when
        if when == self.when and self._calls == self.nth:
            raise Died


def dying(scene: Scene, step: str) -> renewing.RenewPorts:
    """Ports of work on keys that ends at a step."""
    method, when = step.split(":")
    death = Death(method, when, 1)
    found = scene.install.wiring.renew_ports("test")
    vault = death.wrap(found.keys.vault, ports.KeyKeeper)
    ledger = death.wrap(found.keys.ledger, ports.KeyStore)
    texts = death.wrap(found.keys.texts, ports.SealedStore)
    maker, store = death.wrap(found.maker, ports.KeyMaker), death.wrap(found.store, ports.RenewalStore)
    return renewing.RenewPorts(replace(found.keys, vault=vault, ledger=ledger, texts=texts), maker, store)


def test_cut_off_anywhere_everything_opens_and_the_next_run_ends_it(scene: Scene, size: Size) -> None:
    """Between any two steps: exports open, the login opens, the canaries answer; `keys rewrap` once more finishes."""
    device, tenant_id = scene.add(), tenant_of(scene)
    texts = {scene.observe(device, export_text(word)): export_text(word) for word in ("one", "two")}
    for step in STEPS if size == "soak" else STEPS[2::2]:
        keys.rotate(scene.install.wiring.key_ports("test"), tenant_id)
        with pytest.raises(Died):
            rewrapping.rewrap(dying(scene, step).keys, tenant_id, retire=True)
        assert [exported(scene, seq) for seq in texts] == list(texts.values()), step
        assert (password_of(scene, device), ready(scene)) == ("s3cret", ""), step
        done = rewrapping.rewrap(scene.install.wiring.key_ports("test"), tenant_id, retire=True)
        assert (done.unmoved, done.holds) == ([], []), step
        assert [exported(scene, seq) for seq in texts] == list(texts.values()), step
    assert all(key["newest_version"] == key["min_decryption_version"] > 1 for key in shown(scene).values())


@WITH_PROCESS
def test_killed_in_the_middle_nothing_is_lost(scene: Scene, size: Size) -> None:
    """kill -9 of the command after a part of the texts was moved; in a soak at each step."""
    device = scene.add()
    scene.observe(device, export_text("one"))
    for step in STEPS if size == "soak" else ["SealedStore.replace:after"]:
        scene.run("keys", "rotate")
        assert killed(scene, f"{step}:1", "keys", "rewrap", "--retire", "--wait", "0") == 137
        assert exported(scene, 1) == export_text("one")
        done, said = rewrapped(scene)
        assert (done.code, said["not_moved"], said["holds"]) == (Exit.OK, [], [])
        assert len(versions(scene)) == 1


def killed(scene: Scene, point: str, *words: str) -> int:
    """Run a command in a process of its own that dies at this point."""
    environment = {**os.environ, **scene.install.environment, "BACKUPFLOW_KILL_POINT": point}
    argv = [sys.executable, "-m", "backupflow", *words]
    return subprocess.run(argv, env=environment, check=False, capture_output=True, timeout=120).returncode


def test_only_one_works_on_the_keys_of_a_tenant(scene: Scene) -> None:
    """A second command is refused at once, and says why; when the first is gone it may."""
    ledger = scene.install.wiring.keys("operator")
    with ledger.alone(tenant_of(scene)):
        refused = scene.run("keys", "rotate")
    assert (refused.code, "another command works on the keys" in refused.err) == (Exit.REFUSED, True)
    assert scene.run("keys", "rotate").code == Exit.OK


def test_with_other_keys_nothing_is_begun(scene: Scene) -> None:
    """To let the canary of another key be the one that is expected would hide that the keys are gone."""
    scene.add()
    lose(scene, Purpose.DATA)
    scene.install.wiring.vault("provisioner").make_key(tenant_of(scene), Purpose.DATA)
    marks = scene.install.wiring.keys("reader").all_marks()
    for command in ("rotate", "rewrap"):
        assert scene.run("keys", command).code == Exit.UNAVAILABLE
    assert scene.install.wiring.keys("reader").all_marks() == marks


# --- renewal -----------------------------------------------------------------------------------------------------


def renew(scene: Scene, *options: str) -> Ran:
    """Renew, as an operator who has typed the tenant's name."""
    return scene.run("keys", "renew", "--lost", "--confirm", "default", "--json", *options)


def test_keys_that_answer_are_not_renewed(scene: Scene) -> None:
    """Nothing is thrown away that can be opened: refused, and all is as it was."""
    device = scene.add()
    scene.observe(device, export_text("one"))
    marks = scene.install.wiring.keys("reader").all_marks()
    refused = renew(scene)
    assert refused.code == Exit.REFUSED
    assert "nothing is lost" in refused.err
    assert scene.install.wiring.keys("reader").all_marks() == marks
    assert exported(scene, 1) == export_text("one")
    assert scene.rows("SELECT 1 FROM audit WHERE action LIKE 'keys_renew%'") == []


def test_the_name_of_the_tenant_must_be_typed(scene: Scene) -> None:
    """Without it, or with another, nothing is given up."""
    scene.add()
    lose(scene, *Purpose)
    for options in ((), ("--confirm", "other")):
        assert scene.run("keys", "renew", "--lost", *options).code == Exit.REFUSED
    assert scene.run("keys", "renew", "--confirm", "default").code == Exit.USAGE
    assert shown(scene)["data"]["newest_version"] is None


def test_after_a_loss_devices_begin_anew_and_nothing_is_taken_for_damage(scene: Scene) -> None:
    """New keys; old snapshots stay, marked; logins wait to be set; then a new stretch begins, which opens."""
    device, waiting = scene.add(), scene.add("core-2", "192.0.2.2")
    old = scene.observe(device, export_text("same"))
    doubted = scene.doubt(device, export_text("doubt"))
    on_its_way = sent(scene, device, export_text("on its way"))
    claim = scene.write("scheduler", CLAIM, device=waiting)
    lose(scene, *Purpose)
    assert ready(scene) == "transit_key_missing"
    done = renew(scene)
    assert done.code == Exit.OK, done.err
    assert json.loads(done.out) == {
        "tenant": "default", "lost": {purpose.value: "gone" for purpose in Purpose}, "devices": 2, "logins": 2,
    }  # fmt: skip
    assert ready(scene) == ""
    assert [row.state for row in scene.rows("SELECT state FROM collection WHERE id = :c", c=claim)] == ["withdrawn"]
    assert ingest(scene, on_its_way) is Stored.STORED  # of the old keys: kept, unreadable, no damage
    scene.install.wiring.house.mend()  # which leaves it there: the keys may come back
    for words in (("--at", str(old)), ("--aside", "--at", str(doubted)), ()):
        refused = scene.run("export", "core-1", *words, "-o", "-")
        assert (refused.code, refused.out) == (Exit.UNAVAILABLE, b"")
        assert "sealed with keys that were given up on 2" in refused.err
    assert [row.suspended_reason for row in scene.rows("SELECT suspended_reason FROM credential_profile")] == [
        KEYS_LOST
    ] * 2
    assert scene.rows("SELECT 1 FROM alarm WHERE cleared_at IS NULL") == []
    assert scene.run("verify").code == Exit.OK
    assert "sealed with keys that were given up on" in scene.run("snapshots", "core-1").out.decode()
    assert "its keys were lost" in scene.run("device", "show", "core-1").out.decode()
    assert_says(
        scene, "2 logins are suspended", "set each with `credential edit PROFILE --ask-password`",
        "snapshots of 2 devices are sealed with keys that were given up",
    )  # fmt: skip
    number = scene.install.wiring.requests.ask(tenant_of(scene), ["core-1"], "test")[0]
    scene.install.wiring.claims.claim(scene.install.wiring.limits)
    (answer,) = scene.rows("SELECT answer FROM request WHERE id = :n", n=number)
    assert answer.answer == f"refused: {LOGIN_LOST}"

    assert scene.run("device", "edit", "core-1", "--username", "other").code == Exit.OK
    assert [row.suspended_reason for row in reasons(scene, device)] == [KEYS_LOST]  # a name brings no secret back
    assert (
        scene.run("device", "edit", "core-1", "--username", "backup", "--password-stdin", stdin=b"n3w").code == Exit.OK
    )
    assert [row.suspended_reason for row in reasons(scene, device)] == [None]
    assert password_of(scene, device) == "n3w"
    assert_says(scene, "0 of 2 fresh", "1 unreadable", "UNREADABLE  nobody can open the newest configuration  core-1 –")
    new = scene.observe(device, export_text("same"))
    assert_says(scene, "1 of 2 fresh")
    assert exported(scene, new) == export_text("same")
    (changed,) = scene.rows("SELECT is_change FROM collection WHERE device_id = :d AND seq = :s", d=device, s=new)
    assert changed.is_change
    runs = json.loads(scene.run("snapshots", "core-1", "--json").out)["snapshots"]
    assert [(run["snapshot"], run["keys_given_up_at"] is not None) for run in runs] == [
        (new, False),
        (3, True),
        (old, True),
    ]
    acts = [row.action for row in scene.rows("SELECT action FROM audit WHERE action LIKE 'keys_renew%' ORDER BY id")]
    assert acts == ["keys_renewal_began", "keys_renewed"]
    scene.run("keys", "rotate")
    said = rewrapped(scene)[1]
    assert (said["not_moved"], said["holds"], len(said["retired_below"])) == ([], [], 3)
    assert said["given_up"] == 4  # three exports and a login
    assert exported(scene, new) == export_text("same")
    assert scene.run("export", "core-1", "--at", str(old), "-o", "-").code == Exit.UNAVAILABLE


def assert_says(scene: Scene, *words: str) -> None:
    """What `status` tells."""
    said = scene.run("status").out.decode()
    assert [word for word in words if word not in said] == []


CLAIM = """
    WITH seqs AS (UPDATE device SET last_seq = last_seq + 1 WHERE id = :device RETURNING tenant_id, last_seq)
    INSERT INTO collection (tenant_id, device_id, seq, trigger, lane)
    SELECT tenant_id, :device, last_seq, 'schedule', 'collect' FROM seqs RETURNING id"""


def reasons(scene: Scene, device_id: DeviceId) -> Any:  # noqa: ANN401 - rows
    """Why the login of a device is suspended."""
    return scene.rows("SELECT suspended_reason FROM credential_profile WHERE device_id = :d", d=device_id)


@pytest.mark.parametrize("purpose", Purpose)
def test_only_what_is_lost_is_given_up(scene: Scene, purpose: Purpose) -> None:
    """One of three keys is gone: snapshots that open stay readable, logins that open stay in use."""
    device = scene.add()
    old = scene.observe(device, export_text("same"))
    lose(scene, purpose)
    done = renew(scene)
    assert done.code == Exit.OK, done.err
    opens = scene.run("export", "core-1", "--at", str(old), "-o", "-")
    assert opens.code == (Exit.UNAVAILABLE if purpose is Purpose.DATA else Exit.OK)
    suspended = purpose is Purpose.CREDENTIALS
    assert [row.suspended_reason for row in reasons(scene, device)] == [KEYS_LOST if suspended else None]
    if suspended:
        scene.run("device", "edit", "core-1", "--username", "backup", "--password-stdin", stdin=b"s3cret")
    assert password_of(scene, device) == "s3cret"
    new = scene.observe(device, export_text("same"))
    assert exported(scene, new) == export_text("same")
    assert ready(scene) == ""


def test_a_renewal_that_was_cut_off_is_ended_by_the_next(scene: Scene) -> None:
    """The keys that it had made are taken for its own, and used; beat goes on pausing until all is written."""
    device, tenant_id = scene.add(), tenant_of(scene)
    scene.observe(device, export_text("one"))
    for step in ("KeyMaker.make_key:after", "KeyMaker.new_pepper:after", "RenewalStore.renew:before"):
        lose(scene, *Purpose)
        with pytest.raises(Died):
            renewing.renew(dying(scene, step), tenant_id)
        assert ready(scene) == "transit_key_missing"
        unwritten = step == "KeyMaker.make_key:after"  # whose it is nobody knows yet
        renewing.renew(scene.install.wiring.renew_ports("test"), tenant_id, adopt=unwritten)
        assert ready(scene) == ""
    with pytest.raises(Conflict):
        renewing.renew(scene.install.wiring.renew_ports("test"), tenant_id)


def test_another_key_under_the_name_is_used_only_if_that_is_said(scene: Scene) -> None:
    """It may be the wrong vault: refused; then used as it is, since no key is ever overwritten or deleted."""
    scene.add()
    lose(scene, *Purpose)
    vault = scene.install.wiring.vault("provisioner")
    for purpose in Purpose:
        vault.make_key(tenant_of(scene), purpose)
    before = [vault.mark(tenant_of(scene), purpose) for purpose in Purpose]
    refused = renew(scene)
    assert (refused.code, "--adopt" in refused.err) == (Exit.REFUSED, True)
    assert renew(scene, "--adopt").code == Exit.OK
    assert [vault.mark(tenant_of(scene), purpose) for purpose in Purpose] == before
    assert ready(scene) == ""


def test_old_keys_that_come_back_open_what_was_given_up(scene: Scene) -> None:
    """Marked is not thrown away: where the key is there after all, an export is given as ever."""
    device = scene.add()
    old = scene.observe(device, export_text("one"))
    scene.write("operator", "UPDATE device SET unreadable_to_seq = last_seq, unhashed_to_seq = last_seq")
    assert exported(scene, old) == export_text("one")
    assert scene.run("verify").code == Exit.OK
