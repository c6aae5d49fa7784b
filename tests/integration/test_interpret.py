"""Stored changes are interpreted against what was just before them, on a real PostgreSQL and OpenBao."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest
from sqlalchemy import text

from backupflow.adapters.reader.interpreter import AS_SHIPPED, ProcessInterpreter
from backupflow.core import diff
from backupflow.core.applying import applied
from backupflow.core.changes import Action
from backupflow.core.driver import Facts
from backupflow.core.interpretation import TRIES, Answer, Interpretation, Kind
from backupflow.core.inventory import NewDevice
from backupflow.core.model import DeviceId, Login, Purpose, RawConfig, Secrets, TenantId, key_version, keyed_hash
from backupflow.core.tree import equal
from backupflow.core.verification import DAMAGED
from backupflow.drivers import driver
from backupflow.errors import StoreUnavailable, VaultUnavailable
from backupflow.flows import enroll
from backupflow.settings import Settings
from backupflow.wiring import Wiring
from tests.conftest import copied_database, install_on
from tests.integration.interpreted import Desk, published, store
from tests.integration.scene import Scene, export_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.core.interpretation import Enclosed, Owed, Question
    from backupflow.embedded import Servers

ROUTER = driver("routeros")
MARKER = "zq7-planted-marker"


@pytest.fixture(scope="module")
def shared(servers: Servers, postgres_roles: Path, vault_roles: Path) -> Iterator[Desk]:
    """One install for all tests here: each has routers of its own, and leaves nothing to do."""
    with copied_database(servers, postgres_roles) as database:
        install = install_on(servers, database, vault_roles)
        install.wiring.make_tenant()
        # No command is run here: nothing is captured.
        yield Desk.of(Scene(install, pytest.MonkeyPatch(), cast("pytest.CaptureFixture[bytes]", None)))
        install.wiring.close()


@pytest.fixture
def desk(shared: Desk) -> Iterator[Desk]:
    """The interpreter of an install in which nothing is to be done."""
    shared.defects.clear()
    yield shared
    for statement in LEAVE_NOTHING:
        shared.scene.write("operator", statement)


LEAVE_NOTHING = (
    "UPDATE collection SET interpreted_after_seq = 0 WHERE interpreted_after_seq IS NULL AND is_change IS NOT FALSE",
    "UPDATE alarm SET cleared_at = now() WHERE cleared_at IS NULL",
    "UPDATE transit_key SET oldest_version = 1",
    "UPDATE tenant SET removed_at = NULL",
)
_numbers = count(1)


def name_of(desk: Desk, device_id: DeviceId) -> str:
    """What it is called."""
    (row,) = desk.scene.rows("SELECT name FROM device WHERE id = :d", d=device_id)
    return str(row.name)


def router(desk: Desk, *comments: str) -> DeviceId:
    """A device of which these were observed."""
    number = next(_numbers)
    device_id = desk.scene.add(f"r{number}", f"192.0.2.{number}")
    for comment in comments:
        desk.scene.observe(device_id, export_text(comment))
    return device_id


def alarms(desk: Desk) -> list[tuple[str, str]]:
    """Those that stand."""
    rows = desk.scene.rows("SELECT code, scope FROM alarm WHERE cleared_at IS NULL ORDER BY id")
    return [(row.code, row.scope) for row in rows]


def owed(desk: Desk) -> list[Any]:
    """What is to be interpreted, and how often that was begun."""
    return [
        (row.seq, row.interpret_tries, row.interpret_until is None)
        for row in desk.scene.rows(
            "SELECT * FROM collection WHERE state = 'stored' AND is_change IS NOT FALSE "
            "AND interpreted_after_seq IS NULL ORDER BY seq"
        )
    ]


# --- what is written -------------------------------------------------------------------------------------------------


def test_a_change_is_interpreted_against_what_was_before_it(desk: Desk) -> None:
    """Its sealed diff and its sealed changes, applied to the text before, give its own; what equals it is nothing."""
    device = router(desk, "old", "old", f"new {MARKER}")
    done = desk.run()
    assert (dict(done.outcomes), done.alarms, desk.defects) == ({"change": 1, "first": 1}, [], [])
    assert desk.kinds(device) == [(1, 0, "first"), (3, 2, "change")]
    row = desk.rows(device)[1]
    before, after = (ROUTER.normalize(export_text(comment)) for comment in ("old", f"new {MARKER}"))
    assert diff.applied(before, desk.diff(row)) == after
    grammar = ROUTER.grammar
    (change,) = desk.changes(row)
    assert (change.action, [one.name for one in change.properties]) == (Action.MODIFIED, ["comment"])
    assert equal(applied(grammar.tree(before), (change,), grammar), grammar.tree(after), grammar.is_ordered)
    assert (row.changes, row.ignored, row.lines_added, row.lines_removed) == (1, 0, 1, 1)
    assert row.components == ["ip/address"]
    assert len(row.touched) == 1


def test_nothing_of_a_change_is_in_clear(desk: Desk) -> None:
    """Neither in its row nor in what is to be told, raw or in hexadecimal digits; the vault opens it."""
    device = router(desk, "old", MARKER)
    desk.run()
    written = [
        desk.scene.rows(f"SELECT CAST(x AS text) AS row FROM {table} x")  # noqa: S608 - our own names
        for table in ("interpretation", "outbox", "collection", "alarm")
    ]
    text_of_all = "".join(row.row for rows in written for row in rows)
    (change,) = desk.changes(desk.rows(device)[1])
    assert MARKER in str(change.new)  # it is in what is sealed
    assert MARKER not in text_of_all
    assert MARKER.encode().hex() not in text_of_all


def test_each_kind_is_told_from_the_others(desk: Desk) -> None:
    """An order without meaning, secrets that are hidden since, another version, and a change."""
    device = router(desk)
    lines = ["/ip address", *(f"add address=192.0.2.{n}/24 interface=ether{n}" for n in (1, 2)), ""]

    def config(version: str, *body: str) -> RawConfig:
        return RawConfig("\r\n".join([f"# 2026-11-20 10:00:00 by RouterOS {version}", *body]).encode())

    desk.scene.observe(device, config("7.14", *lines))
    desk.scene.observe(device, config("7.14", lines[0], lines[2], lines[1], lines[3]))
    upgraded = desk.scene.observe
    upgraded(device, config("7.15", *lines), facts=facts("7.15"))
    shown = config("7.15", *lines[:-1], "/user aaa", "set secret=x", "")
    upgraded(device, shown, facts=facts("7.15"), masked_hash=keyed_hash(PEPPER, b"masked"), secrets=Secrets.SHOWN)
    hidden = config("7.15", *lines[:-1], "/user aaa", "set use-radius=no", "")
    upgraded(device, hidden, facts=facts("7.15"), masked_hash=keyed_hash(PEPPER, b"masked"), secrets=Secrets.HIDDEN)
    desk.run()
    kinds = [Kind.FIRST, Kind.ORDER, Kind.UPGRADE, Kind.CHANGE, Kind.SECRETS]
    assert [kind for _, _, kind in desk.kinds(device)] == kinds
    told = "SELECT payload ->> 'kind' AS kind FROM outbox WHERE kind = 'changed' AND device_id = :d "
    told += "ORDER BY payload ->> 'seq'"
    assert [row.kind for row in desk.scene.rows(told, d=device)] == ["upgrade", "change"]


PEPPER: Any = b"any pepper serves, if it is the same for both"


def facts(version: str) -> Facts:
    """What such a router says."""
    return Facts("routeros", version=version)


# --- against what ----------------------------------------------------------------------------------------------------


def test_what_was_read_before_and_may_still_come_is_waited_for(desk: Desk) -> None:
    """A published observation below holds its device's up; of other devices it holds nothing."""
    device, other = router(desk, "A"), router(desk, "A")
    late = published(desk.scene, device, export_text("B"))
    desk.scene.observe(device, export_text("C"))
    desk.run()
    assert (desk.kinds(device), desk.kinds(other)) == ([(1, 0, "first")], [(1, 0, "first")])
    store(desk.scene, late)
    desk.run()
    assert desk.kinds(device) == [(1, 0, "first"), (2, 1, "change"), (3, 2, "change")]


def test_a_late_observation_voids_what_was_compared_over_it(desk: Desk) -> None:
    """It was given up as lost, and came all the same: its successor is another change now, or none."""
    device = router(desk, "A")
    late = published(desk.scene, device, export_text("B"))
    desk.scene.write("ingester", "UPDATE collection SET state = 'lost' WHERE id = :c", c=late.collection_id)
    desk.scene.observe(device, export_text("B"))
    desk.run()
    assert desk.kinds(device) == [(1, 0, "first"), (3, 1, "change")]
    store(desk.scene, late)
    assert desk.kinds(device) == [(1, 0, "first")]
    desk.run()
    assert desk.kinds(device) == [(1, 0, "first"), (2, 1, "change")]


class Between:
    """core.ports.Interpreter: does something while a change is being interpreted."""

    def __init__(self, does: Any) -> None:  # noqa: ANN401 - called without arguments
        self.does = does
        self._interpreter = ProcessInterpreter()

    def answer(self, question: Question) -> Answer:
        """Once, before the first answer."""
        does, self.does = self.does, lambda: None
        does()
        return self._interpreter.answer(question)


def test_what_was_overtaken_is_written_by_nobody(desk: Desk) -> None:
    """Its predecessor came while it was interpreted: it is dropped, and made anew against the right one."""
    device = router(desk, "A")
    desk.run()
    late = published(desk.scene, device, export_text("B"))
    desk.scene.write("ingester", "UPDATE collection SET state = 'lost' WHERE id = :c", c=late.collection_id)
    desk.scene.observe(device, export_text("C"))
    done = desk.run(interpreter=Between(lambda: store(desk.scene, late)))
    assert dict(done.outcomes) == {"overtaken": 1, "change": 2}
    assert [row.interpret_tries for row in desk.rows(device)] == [1, 1, 1]  # as of another change
    assert desk.kinds(device) == [(1, 0, "first"), (2, 1, "change"), (3, 2, "change")]


def test_who_lost_its_lease_writes_nothing(desk: Desk) -> None:
    """A process that stood still for minutes: what another one made of it since then stays."""
    device = router(desk, "A", "B")
    inner: list[Any] = []

    def another() -> None:
        desk.end_leases()
        inner.append(Desk.of(desk.scene).run().outcomes)

    done = desk.run(interpreter=Between(another))
    assert (dict(inner[0]), dict(done.outcomes)) == ({"first": 1, "change": 1}, {"overtaken": 1})
    assert desk.kinds(device) == [(1, 0, "first"), (2, 1, "change")]


def test_another_router_begins_a_history_of_its_own(desk: Desk) -> None:
    """Nothing is compared across it, also if it became another one twice; what was before stays what it was."""
    device = router(desk, "A", "B")
    ports = desk.scene.install.wiring.enroll_ports("test")
    tenant = desk.scene.install.wiring.devices("reader").tenant("default")
    for comment in ("C", "D"):
        enroll.replaced(ports, tenant, name_of(desk, device))
        desk.scene.observe(device, export_text(comment))
    desk.scene.observe(device, export_text("E"))
    desk.run()
    assert desk.kinds(device) == [(1, 0, "first"), (2, 1, "change"), (3, 0, "first"), (4, 0, "first"), (5, 4, "change")]


def test_what_another_normalizer_made_is_decided_by_the_texts(desk: Desk) -> None:
    """Of two versions nobody knows whether they differ: equal texts are no change, others are one."""
    device = router(desk, "A", "A", "B")
    desk.scene.write(
        "operator",
        "UPDATE content SET normalization_version = 0 WHERE device_id = :d AND first_seq = 1",
        d=device,
    )
    again = "UPDATE collection SET normalization_version = 0 WHERE device_id = :d AND seq = 1"
    desk.scene.write("operator", again, d=device)
    desk.scene.write("operator", f"{UNDECIDED} seq IN (2, 3)", d=device)
    done = desk.run()
    assert dict(done.outcomes) == {"unchanged": 1, "change": 1, "first": 1}
    assert desk.kinds(device) == [(1, 0, "first"), (3, 2, "change")]
    decided = desk.scene.rows("SELECT is_change FROM collection WHERE device_id = :d ORDER BY seq", d=device)
    assert [row.is_change for row in decided] == [True, False, True]
    assert owed(desk) == []


UNDECIDED = "UPDATE collection SET is_change = NULL WHERE device_id = :d AND"


def test_what_retention_takes_away_voids_nothing(desk: Desk) -> None:
    """What it was compared with may go; what was never interpreted before is the first that there is."""
    device = router(desk, "A", "B", "C", "D")
    desk.run()
    again = "UPDATE collection SET interpreted_after_seq = NULL WHERE device_id = :d AND seq = 3"
    desk.scene.write("operator", again, d=device)
    for seq in (1, 2):
        desk.scene.write("operator", "DELETE FROM collection WHERE device_id = :d AND seq = :s", d=device, s=seq)
    desk.scene.write("operator", "UPDATE device SET kept_from_seq = 3 WHERE id = :d", d=device)
    desk.run()
    assert desk.kinds(device) == [(3, 0, "first"), (4, 3, "change")]
    assert desk.rows(device)[0].detail


def test_retention_may_take_a_predecessor_while_it_is_compared(desk: Desk) -> None:
    """What was opened of it is right all the same."""
    device = router(desk, "A", "B")

    def taken() -> None:
        desk.scene.write("operator", "DELETE FROM collection WHERE device_id = :d AND seq = 1", d=device)
        desk.scene.write("operator", "UPDATE device SET kept_from_seq = 2 WHERE id = :d", d=device)

    desk.run(interpreter=Between(taken))
    assert desk.kinds(device) == [(2, 1, "change")]


# --- what is in the way ----------------------------------------------------------------------------------------------


def test_while_the_vault_is_away_nothing_is_lost_and_nothing_counts(desk: Desk) -> None:
    """Round after round: what was taken is given back, and interpreted when the vault is back."""
    device = router(desk, "A", "B")
    away = Wiring(Settings({**desk.scene.install.environment, "OPENBAO_ADDR": "http://127.0.0.1:1"}))
    for _ in range(TRIES + 2):
        with pytest.raises(VaultUnavailable):
            Desk(desk.scene, away).run()
    away.close()
    assert owed(desk) == [(1, 0, True), (2, 0, True)]
    desk.run()
    assert desk.kinds(device) == [(1, 0, "first"), (2, 1, "change")]


def test_a_tenant_without_its_keys_waits_and_others_do_not(desk: Desk) -> None:
    """Its keys are gone: that is told of it, and nothing of it counts as tried; what is of others is interpreted."""
    wiring, number = desk.scene.install.wiring, next(_numbers)
    tenant = TenantId(wiring.make_tenant("keyless"))
    new = NewDevice(tenant, DeviceId(uuid4()), f"r{number}", f"192.0.2.{number}", 22, "routeros", {})
    device = enroll.add(wiring.enroll_ports("test"), new, Login("backup", password="s3cret")).device.device_id
    desk.scene.observe(device, export_text("A"))
    other = router(desk, "A", "B")
    vault, path = wiring.vault("provisioner"), f"transit/keys/{Purpose.DATA}-{tenant}"
    vault.call("POST", f"{path}/config", {"deletion_allowed": True})
    vault.call("DELETE", path)
    desk.scene.observe(router(desk), export_text("A"))  # the newest is taken first: before it, and after
    done = desk.run()
    assert {one: bool(why) for one, why in done.keys.items()} == {tenant: True, tenant_of(desk, other): False}
    assert (owed(desk), desk.kinds(other)) == ([(1, 0, True)], [(1, 0, "first"), (2, 1, "change")])
    assert not desk.run().idle


def tenant_of(desk: Desk, device_id: DeviceId) -> TenantId:
    """Whose it is."""
    (row,) = desk.scene.rows("SELECT tenant_id FROM device WHERE id = :d", d=device_id)
    return TenantId(row.tenant_id)


def test_a_damaged_snapshot_is_an_alarm_and_unread(desk: Desk) -> None:
    """Also what follows it; everything else goes on. That it was bound to its device is what finds a swap."""
    device, other = router(desk, "A", "B", "C"), router(desk, "X", "Y")
    swap = "UPDATE content c SET sealed = (SELECT sealed FROM content WHERE device_id = :o AND first_seq = 1)"
    desk.scene.write("operator", f"{swap} WHERE device_id = :d AND first_seq = 2", d=device, o=other)
    done = desk.run()
    assert desk.kinds(device) == [(1, 0, "first"), (2, 1, "unread"), (3, 2, "unread")]
    assert desk.kinds(other) == [(1, 0, "first"), (2, 1, "change")]
    assert alarms(desk) == [(DAMAGED, f"device {device} seq 2")]
    assert len(done.alarms) == 1
    assert "2" in desk.rows(device)[1].detail


def test_two_texts_of_one_device_that_were_swapped_are_found(desk: Desk) -> None:
    """They open alike: it is their header and their hash that tell."""
    device = router(desk, "A", "B")
    swap = "UPDATE content c SET sealed = (SELECT sealed FROM content WHERE device_id = :d AND first_seq = 1)"
    desk.scene.write("operator", f"{swap} WHERE device_id = :d AND first_seq = 2", d=device)
    desk.run()
    assert desk.kinds(device) == [(1, 0, "first"), (2, 1, "unread")]
    desk.again(device)
    desk.scene.write("operator", "UPDATE collection SET content_hash = '\\x00' WHERE device_id = :d", d=device)
    desk.scene.write(
        "operator", "UPDATE content SET content_hash = '\\x00' WHERE device_id = :d AND first_seq = 1", d=device
    )
    desk.run()
    assert desk.kinds(device) == [(1, 0, "unread"), (2, 1, "unread")]


def test_what_is_sealed_with_keys_that_were_given_up_is_unread_without_an_alarm(desk: Desk) -> None:
    """That is known; what came since is interpreted, but for the first, which has nothing to be compared with."""
    device = router(desk, "A", "B", "C", "D")
    broken = (
        "UPDATE content SET sealed = overlay(sealed placing 'AAAA' from 20) WHERE first_seq <= 2 AND device_id = :d"
    )
    desk.scene.write("operator", broken, d=device)
    desk.scene.write("operator", "UPDATE device SET unreadable_to_seq = 2 WHERE id = :d", d=device)
    desk.run()
    kinds = [(1, 0, "unread"), (2, 1, "unread"), (3, 2, "unread"), (4, 3, "change")]
    assert desk.kinds(device) == kinds
    assert alarms(desk) == []
    assert "given up" in desk.rows(device)[0].detail


class Broken:
    """core.ports.Interpreter with a defect that some texts find."""

    def __init__(self, word: bytes) -> None:
        self._word = word
        self._interpreter = ProcessInterpreter()

    def answer(self, question: Question) -> Answer:
        """Raise for those."""
        if bytes(question.after).find(self._word) >= 0:
            raise KeyError(MARKER)
        return self._interpreter.answer(question)


def test_what_fails_three_times_is_unread_and_holds_nothing_up(desk: Desk) -> None:
    """With the name of what was raised, which may not quote the text; it is not tried for ever."""
    device = router(desk, "A", MARKER, "C")
    for attempt in range(1, TRIES + 1):
        done = desk.run(interpreter=Broken(MARKER.encode()))
        assert done.outcomes["again"] == (attempt < TRIES)
        assert len(desk.defects) == attempt
        desk.end_leases()
    assert desk.kinds(device) == [(1, 0, "first"), (2, 1, "unread"), (3, 2, "change")]
    assert desk.rows(device)[1].detail == "a defect: KeyError"
    assert desk.run(interpreter=Broken(MARKER.encode())).idle


class Killed(BaseException):
    """The end of a process."""


class Deadly:
    """core.ports.Interpreter: whoever asks dies."""

    def answer(self, question: Question) -> Answer:
        """As by SIGKILL: nothing is said any more."""
        raise Killed


def test_what_kills_whoever_reads_it_is_unread_at_last(desk: Desk) -> None:
    """The count of tries was committed before: three processes die of it, and no more."""
    device = router(desk, "A")
    for _ in range(TRIES):
        with pytest.raises(Killed):
            desk.run(interpreter=Deadly())
        assert dict(desk.run(interpreter=Deadly()).outcomes) == {}  # leased
        desk.end_leases()
    assert dict(desk.run(interpreter=Deadly()).outcomes) == {"unread": 1}
    assert desk.kinds(device) == [(1, 0, "unread")]


class TooHard:
    """core.ports.Interpreter over whose bounds every text is."""

    def answer(self, _: Question) -> Answer:
        """As adapters.reader has it."""
        return Answer(None, None, is_same=False, interpretation=Interpretation(Kind.UNREAD, "it took too long"))


def test_what_takes_too_long_is_marked_at_once_and_can_be_done_again(desk: Desk) -> None:
    """It is stored, and the bound says why; a process of its own does the same as the worker itself."""
    device = router(desk, "A", "B")
    desk.run(interpreter=TooHard())
    assert [(row.kind, row.detail) for row in desk.rows(device)] == 2 * [("unread", "it took too long")]
    desk.again(device)
    desk.run(interpreter=ProcessInterpreter(replace(AS_SHIPPED, in_thread=0)))
    assert desk.kinds(device) == [(1, 0, "first"), (2, 1, "change")]
    assert desk.changes(desk.rows(device)[1])


def test_what_is_sealed_under_a_retired_key_is_not_written(desk: Desk) -> None:
    """The vault opens nothing of it any more: it is sealed again."""
    device = router(desk, "A", "B")

    def retired() -> None:
        desk.scene.write("operator", "UPDATE transit_key SET oldest_version = 2 WHERE purpose = 'data'")

    class Slow:
        """core.ports.Sealer whose text is old when it is written."""

        def seal_config(self, *args: Any) -> Any:  # noqa: ANN401
            """Seal, then let the version be retired."""
            made = desk.ports.sealer.seal_config(*args)
            assert key_version(made.text) == 1
            retired()
            return made

    done = desk.run(sealer=Slow())
    assert desk.kinds(device) == [(1, 0, "first")]
    assert done.outcomes["overtaken"] == 1


def test_of_a_removed_tenant_nothing_new_is_written(desk: Desk) -> None:
    """Its keys may be gone, and nobody may ask for it any more."""
    device = router(desk, "A")
    desk.scene.write("operator", "UPDATE tenant SET removed_at = now()")
    assert desk.run().idle
    assert desk.kinds(device) == []


def test_several_interpreters_share_the_work(desk: Desk) -> None:
    """Each change is interpreted once, whoever takes it, and against the right one."""
    devices = [router(desk, *"ABCABC") for n in range(4)]
    done = [Desk.of(desk.scene) for _ in range(4)]
    outcomes: list[Any] = []
    threads = [threading.Thread(target=lambda one=one: outcomes.append(one.run().outcomes)) for one in done]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcome["change"] for outcome in outcomes) == 4 * 5
    assert sum(outcome.total() for outcome in outcomes) == 4 * 6
    for device in devices:
        assert desk.kinds(device) == [(1, 0, "first"), *((seq, seq - 1, "change") for seq in range(2, 7))]


def test_a_database_that_is_away_ends_the_round(desk: Desk) -> None:
    """It is an alarm of the task; nothing is written that is not whole."""
    device = router(desk, "A")

    class Away:
        """core.ports.InterpretationStore that is gone when something is to be written."""

        def __init__(self) -> None:
            self._store = desk.ports.store

        def let_go(self) -> int:
            """As ever."""
            return self._store.let_go()

        def take(self, without: Any = ()) -> Owed | None:  # noqa: ANN401
            """As ever."""
            return self._store.take(without)

        def write(self, owed: Owed, found: Interpretation, enclosed: Enclosed) -> bool:
            """It is gone."""
            raise StoreUnavailable

        def give_back(self, owed: Owed) -> None:
            """It is gone."""
            raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        desk.run(store=Away())
    desk.end_leases()
    desk.run()
    assert desk.kinds(device) == [(1, 0, "first")]


def test_a_lease_of_a_clock_that_stood_ahead_ends(desk: Desk) -> None:
    """One that lies further in the future than any does is none."""
    device = router(desk, "A")
    ahead = "UPDATE collection SET interpret_until = now() + :ahead WHERE device_id = :d"
    desk.scene.write("interpreter", ahead, ahead=timedelta(days=9), d=device)
    desk.run()
    assert desk.kinds(device) == [(1, 0, "first")]


def test_what_waits_for_long_is_seen(desk: Desk) -> None:
    """In `status`, by when it was stored; what waits for some minutes is no news."""
    device = router(desk, "A", "B")
    statuses = desk.scene.install.wiring.statuses
    assert statuses.overview().backlog is None
    old = "UPDATE collection SET stored_at = now() - interval '20 minutes' WHERE device_id = :d AND seq = 2"
    desk.scene.write("ingester", old, d=device)
    late = statuses.overview(tenant_of(desk, device)).backlog
    assert late is not None
    assert late.changes == 1
    assert statuses.overview(TenantId(uuid4())).backlog is None
    desk.run()
    assert statuses.overview().backlog is None


def test_the_role_may_do_all_this_and_not_more(desk: Desk) -> None:
    """It reads of the audit when a router became another one, and not who did what."""
    engine = desk.scene.install.wiring.engine("interpreter")
    with engine.begin() as tx:
        tx.execute(text("SELECT action, detail FROM audit"))
    with pytest.raises(Exception, match="permission denied"), engine.begin() as tx:
        tx.execute(text("SELECT actor FROM audit"))
