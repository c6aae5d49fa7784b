"""Old configurations are taken away, in a real database: what stays is whole, and the audit has it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError

from backupflow.adapters.db.retaining import UNDER_WAY, UNREAD, Retaining
from backupflow.core.ledger import Stored
from backupflow.core.retaining import Age, Cut
from backupflow.flows.retaining import Round, look, retain_part, take
from tests.integration.db.fleet import Fleet, sealed
from tests.integration.db.invariants import check

if TYPE_CHECKING:
    from backupflow.core.message import SnapshotMessage

DAYS = timedelta(days=90)


def history(fleet: Fleet, letters: str, *, every: int = 30) -> list[SnapshotMessage]:
    """A stored device, an observation each so many days until now, all interpreted."""
    (made,) = fleet.observed([letters])
    fleet.observations.store(made)
    device, last = made[0].device_id, len(letters)
    fleet.sql(
        "UPDATE collection SET collected_at = now() - (:last - seq) * :every, interpreted_after_seq = seq - 1 "
        "WHERE device_id = :d",
        d=device, last=last, every=timedelta(days=every),
    )  # fmt: skip
    return made


def store(fleet: Fleet) -> Retaining:
    """As the role of the jobs."""
    return Retaining(fleet.engine("operator"))


def round_of(fleet: Fleet, *, keep: int = 1, confirmed: bool = False) -> Round:
    """One round of the only tenant."""
    desk = store(fleet)
    age = Age(desk.before(DAYS), keep)
    (planned,) = look(desk, age, fleet.tenant, confirmed=confirmed)
    return take(desk, age, planned, "me")


def left(fleet: Fleet, made: list[SnapshotMessage]) -> list[int]:
    """The seqs that are still there."""
    rows = fleet.sql("SELECT seq FROM collection WHERE device_id = :d ORDER BY seq", d=made[0].device_id)
    return [row.seq for row in rows]


def test_what_was_not_seen_for_ninety_days_goes_and_the_rest_is_whole(fleet: Fleet) -> None:
    """A prefix goes with its contents; the oldest that is left counts as a change; late messages are expired."""
    made = history(fleet, "AABBCAADD")  # C is 120 days old, the second A was seen 60 days ago
    done = round_of(fleet)
    assert (done.taken.devices, done.taken.configurations, done.taken.collections, done.taken.texts) == (1, 3, 5, 2)
    assert left(fleet, made) == [6, 7, 8, 9]
    check(fleet)
    assert fleet.observations.store([made[0]]) == [Stored.EXPIRED]
    runs = fleet.snapshots.runs(fleet.tenant, str(made[0].device_id), 9)
    assert [(run.seq, run.is_current) for run in runs] == [(8, True), (6, False)]
    acts = fleet.sql("SELECT actor, detail FROM audit WHERE action = 'history_retained'")
    assert [(act.actor, act.detail["configurations"]) for act in acts] == [("me", 3)]
    assert round_of(fleet).taken.devices == 0
    assert len(fleet.sql("SELECT 1 FROM audit WHERE action = 'history_retained'")) == 1


def test_a_text_that_came_back_is_kept_and_opens(fleet: Fleet) -> None:
    """A, B, A: the first A's sealed text is the one that the second refers to (I16)."""
    made = history(fleet, "ABA", every=100)
    assert round_of(fleet).taken.texts == 1  # of B: A is the same text
    (content,) = fleet.sql("SELECT * FROM content")
    assert (content.first_seq, content.sealed) == (1, made[0].sealed.text)
    check(fleet)


def test_the_last_few_and_a_device_that_stopped_are_kept(fleet: Fleet) -> None:
    """However old: of a router that was paused a year ago nothing current is lost."""
    made = history(fleet, "ABCDEF", every=1000)
    fleet.sql("UPDATE collection SET collected_at = collected_at - interval '3 years'")
    assert round_of(fleet, keep=5).taken.configurations == 1
    assert left(fleet, made) == [2, 3, 4, 5, 6]
    assert round_of(fleet, keep=1).taken.configurations == 4
    assert left(fleet, made) == [6]
    assert round_of(fleet, keep=0).taken.configurations == 0
    check(fleet)


def test_what_is_not_interpreted_yet_waits(fleet: Fleet) -> None:
    """The difference from what goes would be lost; and so it is with an observation that is on its way."""
    made = history(fleet, "ABC", every=100)
    fleet.sql("UPDATE collection SET interpreted_after_seq = NULL WHERE seq = 3")
    (aged,) = round_of(fleet).aged
    assert (aged.cut, aged.waits) == (Cut(made[2].seq, 2), UNREAD)
    fleet.sql("UPDATE collection SET interpreted_after_seq = 2 WHERE seq = 3")
    fleet.sql("UPDATE collection SET state = 'published', content_id = NULL, is_change = NULL WHERE seq = 2")
    (aged,) = round_of(fleet).aged
    assert aged.waits == UNDER_WAY
    desk = store(fleet)  # also if it came between the look and the lock
    assert desk.take(fleet.tenant, [made[0].device_id], Age(desk.before(DAYS), 1), "me").devices == 0
    assert left(fleet, made) == [1, 2, 3]


def test_an_interpretation_of_what_stays_stays(fleet: Fleet) -> None:
    """Though what it was compared with is gone; those of what goes go with it."""
    made = history(fleet, "ABC", every=100)
    fleet.sql(
        "INSERT INTO interpretation (tenant_id, device_id, collection_id, seq, after_seq, normalization_version, kind, "
        "diff_sealed) SELECT tenant_id, device_id, id, seq, seq - 1, 1, 'change', :s FROM collection",
        s=sealed("x").text,
    )  # fmt: skip
    round_of(fleet)
    assert left(fleet, made) == [3]
    assert [(row.seq, row.after_seq) for row in fleet.sql("SELECT * FROM interpretation")] == [(3, 2)]
    assert fleet.value("SELECT interpreted_after_seq FROM collection") == 2


def test_a_round_that_would_take_more_than_a_fifth_takes_nothing(fleet: Fleet) -> None:
    """One alarm, which the next small round or a person's word ends; the job says it once."""
    made = history(fleet, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", every=100)
    desk = store(fleet)
    age = Age(desk.before(DAYS), 1)
    scope = f"tenant {fleet.tenant} retention"
    ran, braked = retain_part(desk, age, lambda: False)
    assert (ran.counts["configurations"], len(braked), fleet.alarms()) == (0, 1, [("retention_braked", scope)])
    assert "25 of 26" in braked[0]
    assert retain_part(desk, age, lambda: False)[1] == []
    assert len(left(fleet, made)) == 26
    assert round_of(fleet, confirmed=True).taken.configurations == 25
    assert fleet.alarms() == []
    check(fleet)


def test_a_removed_devices_history_goes_whole_when_its_time_is_over(fleet: Fleet) -> None:
    """Until then it is there, its current one too."""
    made = history(fleet, "AB", every=1)
    fleet.sql("UPDATE device SET status = 'removed', next_due_at = NULL, removed_at = now() - interval '89 days'")
    assert round_of(fleet).taken.devices == 0
    fleet.sql("UPDATE device SET removed_at = now() - interval '91 days'")
    assert round_of(fleet).taken.collections == 2
    assert left(fleet, made) == []
    assert fleet.sql("SELECT 1 FROM content") == []
    assert fleet.observations.store([made[0]]) == [Stored.EXPIRED]
    assert round_of(fleet).taken.devices == 0


def test_nobody_takes_what_is_current(fleet: Fleet) -> None:
    """The database itself refuses it."""
    history(fleet, "A")
    with pytest.raises(DBAPIError), fleet.engine("operator").begin() as tx:
        tx.exec_driver_sql("DELETE FROM collection")


def test_a_device_that_somebody_works_on_is_left_to_the_next_round(fleet: Fleet) -> None:
    """Nobody waits for it."""
    made = history(fleet, "AB", every=100)
    with fleet.admin.begin() as tx:
        tx.exec_driver_sql("SELECT 1 FROM device FOR NO KEY UPDATE")
        assert round_of(fleet).taken.devices == 0
    assert round_of(fleet).taken.devices == 1
    assert left(fleet, made) == [2]
