"""A newer normalizer goes over the past: on a real PostgreSQL and OpenBao, with a second version made for the test.

In it whatever follows a tilde in a comment is noise: texts that only that tells apart become one.
"""

from __future__ import annotations

import json
import random
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import text

from backupflow import drivers
from backupflow.adapters.db.observations import Observations
from backupflow.core.diff_view import unified, unmasked
from backupflow.core.ledger import Stored
from backupflow.core.model import NormalConfig, Seq
from backupflow.core.retaining import Age
from backupflow.core.verification import DAMAGED, Wanted
from backupflow.flows import history
from backupflow.flows.history import Exported
from backupflow.flows.renormalize import renormalize_part
from backupflow.flows.verify import verify
from tests.integration.db import invariants
from tests.integration.interpreted import Desk, published, store
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Row

    from backupflow.core.driver import Driver
    from backupflow.core.model import DeviceId, RawConfig
    from backupflow.flows.maintain import Ran
    from tests.integration.db.fleet import Fleet
    from tests.integration.scene import Scene

ROUTEROS = drivers.driver("routeros")
NOISE = re.compile(rb"~[^\"\s]*")
OLD = ("A~1", "A~2", "A~2", "B~1", "B~1", "A~3")


class Newer:
    """RouterOS by the second version of the normalizer."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is as before
        return getattr(ROUTEROS, name)

    def normalize(self, raw: RawConfig) -> NormalConfig:
        """Without the noise."""
        return NormalConfig(NOISE.sub(b"", ROUTEROS.normalize(raw)))


class Killed(BaseException):
    """Stands for the end of a process."""


class Dying:
    """The store of a process that dies at the `nth` call, before it or after it."""

    def __init__(self, real: object, nth: int) -> None:
        self._real = real
        self._left = nth

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of any method
        def call(*given: object) -> object:
            self._left -= 1
            if self._left == 0:
                raise Killed
            found = getattr(self._real, name)(*given)
            self._left -= 1
            if self._left == 0:
                raise Killed
            return found

        return call


@pytest.fixture
def desk(scene: Scene) -> Desk:
    """The interpreter of an install."""
    return Desk.of(scene)


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on all of the program has the second version."""

    def now() -> None:
        monkeypatch.setitem(cast("dict[str, Driver]", drivers.DRIVERS), "routeros", cast("Driver", Newer()))
        for name, module in list(sys.modules.items()):
            if name.startswith(("backupflow.", "tests.")) and "NORMALIZATION_VERSION" in vars(module):
                monkeypatch.setattr(module, "NORMALIZATION_VERSION", 2)

    return now


def observe(desk: Desk, name: str, *comments: str) -> DeviceId:
    """A router of which these were seen, one after the other."""
    found = desk.scene.rows("SELECT id FROM device WHERE name = :name", name=name)
    device_id: DeviceId = found[0].id if found else desk.scene.add(name, name)
    for comment in comments:
        desk.scene.observe(device_id, export_text(comment))
    return device_id


def renormalize(desk: Desk, **others: Any) -> Ran:  # noqa: ANN401 - ports of any kind
    """The job, until it is done; some ports may be others."""
    return renormalize_part(replace(desk.wiring.renormalize_ports("job"), **others), lambda: False)


def rows(desk: Desk, device_id: DeviceId) -> list[Row[Any]]:
    """The observations of a device, with what is kept of each."""
    return list(
        desk.scene.rows(
            "SELECT c.*, o.first_seq, o.normalization_version AS kept_version, o.content_hash AS kept_hash, "
            "o.next_version FROM collection c JOIN content o ON o.id = c.content_id "
            "WHERE c.device_id = :device AND c.state = 'stored' ORDER BY c.seq",
            device=device_id,
        )
    )


def changes(desk: Desk, device_id: DeviceId) -> list[bool | None]:
    """Which of them are changes."""
    return [row.is_change for row in rows(desk, device_id)]


def download(desk: Desk, name: str, seq: int) -> bytes:
    """What is given out for one of them."""
    ports = desk.wiring.history_ports("test")
    found = history.export(ports, desk.wiring.devices("reader").tenant("default"), name, Seq(seq))
    assert isinstance(found, Exported)
    return found.raw


def told(desk: Desk) -> int:
    """How many changes were told to others."""
    return int(desk.scene.rows("SELECT count(*) AS n FROM outbox WHERE kind = 'changed'")[0].n)


def shown(desk: Desk, name: str) -> list[int]:
    """What `history` shows of a device: the seq of each change, the oldest first."""
    document = json.loads(desk.scene.run("history", name, "--json").out)
    return sorted(entry["snapshot"] for entry in document["changes"])


def check(desk: Desk) -> None:
    """Every promise about a history, and every export opens and has its hash."""
    invariants.check(cast("Fleet", SimpleNamespace(sql=desk.scene.rows)))
    for row in desk.scene.rows(
        "SELECT 1 FROM collection c JOIN content o ON o.id = c.content_id WHERE c.state = 'stored' "
        "AND (c.content_hash, c.normalization_version) IS DISTINCT FROM (o.content_hash, o.normalization_version)"
    ):
        raise AssertionError(row)
    done = verify(desk.wiring.verify_ports("test"), Wanted(1.0))
    assert (done.damaged, done.trouble, done.complete) == (0, None, True)


# --- the history -----------------------------------------------------------------------------------------------------


def test_a_newer_normalizer_rewrites_the_history_and_shows_nothing_as_changed(
    desk: Desk, upgrade: Callable[[], None]
) -> None:
    """Neighbours that only noise told apart are one; every download is the first export with that text, byte for byte.

    On the day of the upgrade nothing is a change, nothing is told, and the timeline is what was really done.
    """
    device_id = observe(desk, "core-1", *OLD)
    desk.run()
    assert (changes(desk, device_id), shown(desk, "core-1")) == ([True, True, False, True, False, True], [1, 2, 4, 6])
    before = told(desk)
    assert download(desk, "core-1", 6) == export_text("A~3")

    upgrade()
    observe(desk, "core-1", "A~4")
    assert changes(desk, device_id)[-1] is None  # nobody knows yet
    assert shown(desk, "core-1") == [1, 2, 4, 6]
    desk.run()
    assert (changes(desk, device_id)[-1], shown(desk, "core-1"), told(desk)) == (False, [1, 2, 4, 6], before)

    ran = renormalize(desk)
    assert (ran.again_in, ran.note) == (None, "")
    assert {name: count for name, count in ran.counts.items() if count} == {
        "devices": 1, "texts": 2, "merged": 3, "no_changes": 1, "anew": 2,
    }  # fmt: skip
    assert changes(desk, device_id) == [True, False, False, True, False, True, False]
    assert [row.first_seq for row in rows(desk, device_id)] == [1, 1, 1, 4, 4, 1, 1]
    assert {(row.normalization_version, row.next_version) for row in rows(desk, device_id)} == {(2, None)}
    for seq, first in zip(range(1, 8), "1114411", strict=True):
        assert download(desk, "core-1", seq) == export_text(OLD[int(first) - 1])
    check(desk)

    desk.run()
    assert desk.kinds(device_id) == [(1, 0, "first"), (4, 3, "change"), (6, 5, "change")]
    assert "~" not in "".join(unified(desk.diff(desk.rows(device_id)[1]), unmasked))
    assert (shown(desk, "core-1"), told(desk)) == ([1, 4, 6], before)
    assert desk.scene.rows("SELECT 1 FROM interpretation WHERE seq = 2") == []

    observe(desk, "core-1", "A~5", "C~1")
    desk.run()
    assert (shown(desk, "core-1"), told(desk)) == ([1, 4, 6, 9], before + 1)
    assert {name: count for name, count in renormalize(desk).counts.items() if count} == {}
    check(desk)


def test_what_the_newer_normalizer_reads_as_before_is_not_interpreted_again(
    desk: Desk, upgrade: Callable[[], None]
) -> None:
    """Only hashes of another version are written: neither change nor diff of such texts can be another."""
    device_id = observe(desk, "core-1", "A", "B", "C~1")
    desk.run()
    made = [(row.seq, row.created_at) for row in desk.rows(device_id)]
    upgrade()
    assert renormalize(desk).counts["anew"] == 1
    assert [(row.seq, row.created_at) for row in desk.rows(device_id)] == made[:2]
    desk.run()
    assert [row.seq for row in desk.rows(device_id)] == [1, 2, 3]
    check(desk)


def test_random_histories_are_rewritten_as_the_model_says(desk: Desk, upgrade: Callable[[], None]) -> None:
    """Some observed before the upgrade, some after it, interpreted or not: the same as if it had always been there."""
    dice = random.Random(7)
    seen = {
        f"r-{number}": [dice.choice("AB") + dice.choice(["", "~1", "~2"]) for _ in range(dice.randint(1, 7))]
        for number in range(6)
    }
    upgraded = {name: dice.randint(0, len(comments)) for name, comments in seen.items()}
    for name, comments in seen.items():
        observe(desk, name, *comments[: upgraded[name]])
        if dice.random() < 0.5:
            desk.run()
    upgrade()
    devices = {name: observe(desk, name, *comments[upgraded[name] :]) for name, comments in seen.items()}
    if dice.random() < 0.5:
        desk.run()
    renormalize(desk)
    desk.run()
    for name, comments in seen.items():
        letters = [comment[0] for comment in comments]
        found = rows(desk, devices[name])
        assert [row.is_change for row in found] == [at == 0 or letters[at - 1] != it for at, it in enumerate(letters)]
        assert [row.first_seq for row in found] == [letters.index(it) + 1 for it in letters]
        changed = [row.seq for row in found if row.is_change]
        assert desk.kinds(devices[name]) == [(s, s - 1, "change" if s > 1 else "first") for s in changed]
    check(desk)


# --- what comes late, what is cut off, what is damaged ---------------------------------------------------------------


def test_a_late_duplicate_of_what_was_rewritten_is_known_by_its_sealed_text(
    desk: Desk, upgrade: Callable[[], None]
) -> None:
    """It names the hash of then; one that has other bytes, or another hash of now, is still an alarm."""
    device_id = observe(desk, "core-1", "A~1")
    late = published(desk.scene, device_id, export_text("A~2"))
    store(desk.scene, late)
    upgrade()
    renormalize(desk)
    observations = Observations(desk.wiring.engine("ingester"), desk.wiring.dice)
    other = late.sealed.text[:-4] + ("AAA=" if not late.sealed.text.endswith("AAA=") else "BBB=")
    forged = replace(late, sealed=type(late.sealed)(other))
    newer = replace(late, normalization_version=2)
    outcomes = observations.store([late, forged, newer])
    assert outcomes == [Stored.ALREADY, Stored.OTHER_DIGEST, Stored.OTHER_DIGEST]
    check(desk)


def test_a_text_that_came_meanwhile_lets_its_device_wait(desk: Desk, upgrade: Callable[[], None]) -> None:
    """It passed the fence under the old normalizer, and is stored while or after the rest is rewritten."""
    device_id = observe(desk, "core-1", "A~1", "B~1")
    late = published(desk.scene, device_id, export_text("B~2"))
    later = published(desk.scene, device_id, export_text("B~3"))
    upgrade()
    real = desk.wiring.renormalize_ports("job").store

    class Busy(Dying):
        """One more comes between the last hash and the rewriting."""

        def rewrite(self, *given: Any) -> object:  # noqa: ANN401 - as it is given
            store(desk.scene, late)
            return cast("Any", real).rewrite(*given)

    assert renormalize(desk, store=Busy(real, 0)).note == "to be continued"
    assert changes(desk, device_id) == [True, True, True]
    assert renormalize(desk).counts["merged"] == 1
    assert changes(desk, device_id) == [True, True, False]
    store(desk.scene, later)
    assert changes(desk, device_id) == [True, True, False, None]
    assert renormalize(desk).counts["merged"] == 1
    assert changes(desk, device_id) == [True, True, False, False]
    check(desk)


def test_a_job_that_is_killed_anywhere_goes_on(desk: Desk, upgrade: Callable[[], None]) -> None:
    """Before and after each call: the history is the old one or the new one, never a part of each."""
    devices = [observe(desk, f"r-{number}", "A~1", "A~2", "B") for number in range(3)]
    desk.run()
    upgrade()
    real, states = desk.wiring.renormalize_ports("job"), set[tuple[object, ...]]()
    for nth in range(1, 100):
        try:
            ran = renormalize(desk, store=Dying(real.store, nth))
        except Killed:
            pass
        else:
            assert ran.again_in is None
            break
        check(desk)
        for device_id in devices:
            found = rows(desk, device_id)
            states.add(tuple((row.is_change, row.normalization_version, row.first_seq) for row in found))
    assert states == {
        ((True, 1, 1), (True, 1, 2), (True, 1, 3)),
        ((True, 2, 1), (False, 2, 1), (True, 2, 3)),
    }
    assert [changes(desk, device_id) for device_id in devices] == [[True, False, True]] * 3
    acts = desk.scene.rows("SELECT device_id FROM audit WHERE action = 'history_renormalized'")
    assert sorted(act.device_id for act in acts) == sorted(devices)


def test_what_does_not_open_keeps_what_is_known_of_it(desk: Desk, upgrade: Callable[[], None]) -> None:
    """An alarm stands, the rest of its history is rewritten, and it follows once it opens again."""
    device_id = observe(desk, "core-1", "A~1", "B~1", "B~2", "B~3")
    other = observe(desk, "core-2", "A~1", "A~2")
    desk.run()
    upgrade()
    observe(desk, "core-1", "B~4")
    desk.run()
    sealed = swap(desk, device_id, 4, "vault:v1:" + "A" * 120)
    ran = renormalize(desk)
    assert (ran.counts["unreadable"], ran.counts["devices"], ran.again_in) == (1, 2, None)
    assert [(row.is_change, row.normalization_version) for row in rows(desk, device_id)] == [
        (True, 2), (True, 2), (False, 2), (True, 1), (False, 2),
    ]  # fmt: skip
    assert changes(desk, other) == [True, False]
    scopes = desk.scene.rows("SELECT scope FROM alarm WHERE code = :code AND cleared_at IS NULL", code=DAMAGED)
    assert len(scopes) == 1
    desk.run()
    assert [kind for _, _, kind in desk.kinds(device_id)] == ["first", "change", "change"]  # nothing was lost
    swap(desk, device_id, 4, sealed)
    renormalize(desk)
    assert changes(desk, device_id) == [True, True, False, False, False]
    check(desk)


def test_what_cannot_be_done_now_waits_for_the_next_part(desk: Desk, upgrade: Callable[[], None]) -> None:
    """A part ends when it is time; who works on a device, as ingest and interpreters do, comes first."""
    device_id = observe(desk, "core-1", "A~1", "A~2")
    upgrade()
    ran = renormalize_part(desk.wiring.renormalize_ports("job"), lambda: True)
    assert (dict(ran.counts), ran.note) == ({}, "to be continued")
    assert ran.again_in is not None
    with desk.wiring.engine("ingester").begin() as tx:
        tx.execute(text("SELECT 1 FROM device WHERE id = :device FOR NO KEY UPDATE"), {"device": device_id})
        ran = renormalize(desk)
    assert (ran.counts["waiting"], ran.note) == (1, "to be continued")
    assert renormalize(desk).counts["merged"] == 1


def swap(desk: Desk, device_id: DeviceId, first_seq: int, sealed: str) -> str:
    """Put another sealed text in the place of one; gives the one that was there."""
    values = {"device": device_id, "first": first_seq}
    (row,) = desk.scene.rows("SELECT sealed FROM content WHERE device_id = :device AND first_seq = :first", **values)
    desk.scene.write(
        "operator",
        "UPDATE content SET sealed = :sealed WHERE device_id = :device AND first_seq = :first",
        **values,
        sealed=sealed,
    )
    return str(row.sealed)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_past_is_interpreted_again_when_somebody_asks(desk: Desk) -> None:
    """One device or all; it is written down who asked; nothing is told twice, and the same comes of it."""
    for neither in ((), ("core-1", "--all")):
        ran = desk.scene.run("reinterpret", *neither)
        assert (ran.code, "DEVICE or --all" in ran.err) == (2, True)
    first, second = observe(desk, "core-1", "A", "B"), observe(desk, "core-2", "A", "B", "C")
    desk.run()
    before, kinds = told(desk), (desk.kinds(first), desk.kinds(second))
    ran = desk.scene.run("reinterpret", "core-1")
    assert (ran.code, ran.out) == (0, b"1 change of 1 device will be interpreted anew; see `history`\n")
    assert (len(desk.kinds(first)), len(desk.kinds(second))) == (1, 3)
    assert json.loads(desk.scene.run("reinterpret", "--all", "--json").out) == {"devices": 2, "changes": 2}
    desk.run()
    assert (desk.kinds(first), desk.kinds(second)) == kinds
    assert told(desk) == before
    acts = desk.scene.rows("SELECT device_id, detail FROM audit WHERE action = 'history_reinterpreted' ORDER BY id")
    assert [(act.device_id, act.detail["changes"]) for act in acts] == [(first, 1), (None, 2)]


def test_a_change_whose_predecessor_is_gone_is_not_interpreted_again(desk: Desk) -> None:
    """What is known of it cannot be found out once more."""
    device_id = observe(desk, "core-1", "A", "B", "C")
    desk.run()
    tenant_id = desk.wiring.devices("reader").tenant("default")
    desk.wiring.retaining.take(tenant_id, [device_id], Age(datetime.now(UTC) + timedelta(days=1), 2), "test")
    kinds = desk.kinds(device_id)
    assert kinds == [(2, 1, "change"), (3, 2, "change")]
    assert json.loads(desk.scene.run("reinterpret", "core-1", "--json").out)["changes"] == 1
    desk.run()
    assert desk.kinds(device_id) == kinds
