"""What a refused login means: laws that hold for any numbers and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.ledger import Ending, Step
from backupflow.core.model import State
from backupflow.core.refusals import (
    AT_LEAST,
    MOST_TIMES,
    SHORTEST_WAIT,
    WINDOW,
    Meaning,
    Refused,
    counted_since,
    forgiven,
    in_words,
    judge,
    next_trial,
    proves_login,
)
from backupflow.core.report import Stage

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SPANS = st.timedeltas(timedelta(0), timedelta(days=3))
MOMENTS = SPANS.map(lambda span: START + span)


def test_trials_come_after_15_45_and_75_minutes_and_then_every_hour() -> None:
    """Without jitter, where each takes a moment."""
    now, seen = START, []
    for _ in range(6):
        now = next_trial(START, now)
        seen.append((now - START) / MINUTE)
        now += 2 * MINUTE
    assert seen == [15, 45, 75, 135, 195, 255]


@given(SPANS)
def test_a_trial_is_never_sooner_than_five_minutes_nor_later_than_the_next_hour(late: timedelta) -> None:
    """However late the one before was, the next has a place of the timetable."""
    now = START + late
    trial = next_trial(START, now)
    assert SHORTEST_WAIT <= trial - now <= timedelta(minutes=65)
    after = (trial - START) / MINUTE
    assert after in {15, 45, 75} or (after - 75) % 60 == 0


@given(SPANS)
def test_a_suspension_that_lies_ahead_is_tried_as_if_it_were_now(ahead: timedelta) -> None:
    """A clock was set right since."""
    assert next_trial(START + ahead, START) == START + 15 * MINUTE


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_five_and_a_tenth_suspend_and_nothing_less_does(refused: int, others: int) -> None:
    """And what suspends it does so too if one more refuses, or one fewer takes it."""
    tried = refused + others
    meaning = judge(refused, tried)
    assert (meaning is Meaning.SUSPENDS) == (refused >= AT_LEAST and refused / tried >= 0.1)
    if meaning is Meaning.SUSPENDS:
        assert judge(refused + 1, tried + 1) is Meaning.SUSPENDS
        assert judge(refused, max(tried - 1, refused)) is Meaning.SUSPENDS


@given(MOMENTS, st.none() | MOMENTS, st.none() | MOMENTS, st.booleans())
def test_a_device_is_sent_a_wrong_password_twice_at_the_most(
    sent_at: datetime, refused_at: datetime | None, proved_at: datetime | None, suspended: bool
) -> None:
    """Whoever refused it before and after it was proved is blocked by itself; a suspended login blocks nobody else."""
    meaning = Refused(sent_at, refused_at, proved_at, suspended).meaning
    again = refused_at is not None and proved_at is not None and refused_at < proved_at
    assert (meaning is Meaning.BLOCKS) == again
    if suspended and not again:
        assert meaning is Meaning.WAITS
    if meaning is None:
        assert not suspended
        assert proved_at is None or sent_at >= proved_at


@given(st.integers(1, MOST_TIMES + 2), st.booleans(), st.booleans())
def test_a_second_refusal_is_the_devices_own_if_others_took_it(times: int, others_took: bool, suspended: bool) -> None:
    """Or if it is one too many; else that depends on how many there are, as the first one does."""
    refused = Refused(START + 3 * MINUTE, START, START + MINUTE, suspended, others_took, times)
    assert refused.again
    if others_took or times >= MOST_TIMES:
        assert refused.meaning is Meaning.BLOCKS
    else:
        assert refused.meaning is (Meaning.WAITS if suspended else None)


@given(st.lists(st.none() | MOMENTS), MOMENTS)
def test_what_lies_ahead_hides_no_refusal(since: list[datetime | None], now: datetime) -> None:
    """Counted are at most 15 minutes, never from a time to come, and never what was before another login."""
    begin = counted_since(now, *since)
    assert now - WINDOW <= begin <= now
    assert all(begin >= one for one in since if one is not None and one <= now)


@pytest.mark.parametrize(("state", "left"), [(State.BLOCKED, State.FAILED), (State.TESTED, State.TESTED)])
def test_who_is_not_to_blame_is_neither_blocked_nor_counted(state: State, left: State) -> None:
    """And its run is owed: it is due as soon as the login is proved."""
    ending = forgiven(Ending(state, "authentication_failed", "no", counts=True, blocks=True, alarm="device 1"))
    assert (ending.state, ending.counts, ending.blocks, ending.alarm) == (left, False, False, "")
    assert ending.again_in == timedelta(0)


@pytest.mark.parametrize(
    ("ending", "proves"),
    [
        (Ending(State.FAILED, "command_rejected"), True),
        (Ending(State.FAILED, "output_truncated"), True),
        (Ending(State.SUSPECT, "export_suspect"), True),
        (Ending(State.BLOCKED, "identity_changed"), True),
        (Ending(State.TESTED, "", report=(Step(Stage.LOGIN, well=True),)), True),
        (Ending(State.TESTED, "command_rejected"), True),
        (Ending(State.TESTED, "authentication_failed", report=(Step(Stage.LOGIN, well=False),)), False),
        (Ending(State.TESTED, "", report=(Step(Stage.KEY, well=True), Step(Stage.LOGIN, well=None))), False),
        (Ending(State.FAILED, "device_timeout"), False),
        (Ending(State.FAILED, "device_unreachable"), False),
        (Ending(State.FAILED, "vault_unavailable"), False),
        (Ending(State.BLOCKED, "authentication_failed"), False),
    ],
)
def test_only_what_comes_after_a_login_proves_it(ending: Ending, proves: bool) -> None:
    """A time-out may be the login's own."""
    assert proves_login(ending) is proves


def test_the_alarm_names_the_command_that_tells_more() -> None:
    """Whatever the profile's name."""
    reason, says = in_words("all routers", 5, 1200)
    assert reason == "5 of 1,200 devices refused it"
    assert "`credential show 'all routers'`" in says
