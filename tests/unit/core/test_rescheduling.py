"""The turns of devices whose timetable became another: laws, for any mix of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.backoff import LONGEST_WAIT
from backupflow.core.rescheduling import LONGEST_SPREAD, Rescheduled, Waiting, rescheduled
from backupflow.core.timetable import Timetable, read_cron

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SPANS = st.timedeltas(timedelta(seconds=-7200), timedelta(days=9))
AGES = st.none() | st.timedeltas(timedelta(hours=-1), timedelta(days=9))
TIMETABLES = st.builds(
    Timetable,
    st.timedeltas(timedelta(minutes=1), timedelta(days=8)),
    st.none() | st.sampled_from(["0 2 * * *", "* * * * *", "0 4 1 * *"]).map(read_cron),
)
WAITING = st.builds(
    lambda number, due, age, failing, timetable: Waiting(
        UUID(int=number), NOW + due, NOW - timedelta(days=1), None if age is None else NOW - age, failing, timetable
    ),
    st.integers(0, 2**64),
    SPANS,
    AGES,
    st.booleans(),
    TIMETABLES,
)
FLEETS = st.lists(WAITING, min_size=1, max_size=8, unique_by=lambda one: one.device_id)


@given(FLEETS)
def test_what_waits_for_a_worker_or_after_a_failure_is_not_touched(fleet: list[Waiting]) -> None:
    """What is due stays due; who failed comes no sooner than it would have, or than the longest wait."""
    turns = {turn.device_id: turn for turn in rescheduled(fleet, NOW)[0]}
    for one in fleet:
        due = turns[one.device_id].due
        if one.due <= NOW:
            assert due == one.due
        elif one.failing:
            assert min(one.due, NOW + LONGEST_WAIT) <= due <= one.due
            assert turns[one.device_id].anchor == one.anchor


@given(FLEETS)
def test_by_an_interval_it_is_the_old_turn_or_one_after_the_last_attempt(fleet: list[Waiting]) -> None:
    """Whichever is sooner, and what is past within the spread; the new phase begins there."""
    turns = {turn.device_id: turn for turn in rescheduled(fleet, NOW)[0]}
    for one in fleet:
        due, interval = turns[one.device_id].due, one.timetable.interval
        if one.failing or one.timetable.cron or one.due <= NOW:
            continue
        wanted = min(one.due, min(one.attempted_at or NOW, NOW) + interval)
        assert due == wanted if wanted > NOW else NOW <= due <= NOW + min(interval, LONGEST_SPREAD)
        assert turns[one.device_id].anchor == due <= one.due


@given(FLEETS)
def test_by_an_expression_it_is_its_next_time(fleet: list[Waiting]) -> None:
    """Neither sooner nor later; but for a first contact, which is soon."""
    turns = {turn.device_id: turn for turn in rescheduled(fleet, NOW)[0]}
    for one in fleet:
        if one.timetable.cron is None or one.failing or one.due <= NOW:
            continue
        expected = one.due if one.attempted_at is None else one.timetable.next_run(one.device_id, one.anchor, NOW)
        assert turns[one.device_id].due == expected


@given(FLEETS)
def test_all_are_counted_and_nobody_is_forgotten(fleet: list[Waiting]) -> None:
    """So many follow, and so many of them are due now or were called sooner since they are late."""
    turns, done = rescheduled(fleet, NOW)
    assert [turn.device_id for turn in turns] == [one.device_id for one in fleet]
    assert done.devices == len(fleet)
    owed = sum(one.due <= NOW for one in fleet)
    assert owed <= done.now <= len(fleet)
    assert done.spread <= LONGEST_SPREAD


@given(st.integers(2, 40), st.timedeltas(timedelta(minutes=1), timedelta(hours=9)))
def test_those_that_are_late_are_evenly_apart(count: int, interval: timedelta) -> None:
    """Over half an hour, or the interval where that is shorter; the longest due first."""
    late = [
        Waiting(
            UUID(int=number), NOW + timedelta(hours=10, seconds=number), NOW, NOW - timedelta(hours=9), False,
            Timetable(interval),
        )
        for number in range(count)
    ]  # fmt: skip
    turns, done = rescheduled(late, NOW)
    dues = [turn.due for turn in turns]
    spread = min(interval, LONGEST_SPREAD)
    assert dues == [NOW + spread * place / count for place in range(count)]
    assert done == Rescheduled(count, count, spread)
    assert done + Rescheduled(1, 0) == Rescheduled(count + 1, count, spread)
