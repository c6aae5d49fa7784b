"""What a failure means for its device."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.backoff import AGAIN_WITHIN, after_failure, after_jump_trouble, after_loss, jump_retry, step
from backupflow.core.model import State
from backupflow.errors import Verdict

DICE = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 100), DICE)
def test_a_retry_comes_later_than_its_step_and_never_much_later(failures: int, dice: float) -> None:
    """5 min, 15 min, then every hour, each between 5 and 25 percent longer."""
    base = (timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1))[min(failures, 2)]
    assert base * 1.05 <= step(failures, dice) <= base * 1.25


def test_a_refused_login_blocks_and_does_not_come_back() -> None:
    """A failure that a person must mend blocks the device and sets no time to try again."""
    decision = after_failure(Verdict.BLOCK, 0, 0, 0.5)
    assert (decision.state, decision.blocks, decision.again_in) == (State.BLOCKED, True, None)


@pytest.mark.parametrize("failures", [0, 7])
def test_what_is_our_fault_counts_against_no_device(failures: int) -> None:
    """When ours is down the device is due again within a minute, whatever its past."""
    decision = after_failure(Verdict.PAUSE, failures, 1, 0.99)
    assert not decision.counts
    assert not decision.blocks
    assert decision.again_in is not None
    assert decision.again_in < timedelta(minutes=1)


def test_what_stays_our_fault_waits_from_the_third_time_on() -> None:
    """Each device must not come back each minute, nor wait for an hour when our outage is long over."""
    waits = [after_failure(Verdict.PAUSE, 0, lost, 0.5) for lost in range(6)]
    assert [wait.again_in for wait in waits[:3]] == [after_loss(lost, 0.5).again_in for lost in range(3)]
    assert [wait.again_in for wait in waits[2:]] == [step(0, 0.5)] * 4
    assert {(wait.state, wait.counts, wait.blocks) for wait in waits} == {(State.FAILED, False, False)}


def test_giving_up_leaves_the_interval_as_it_is() -> None:
    """A failure of this one export changes nothing of when the device runs next."""
    assert after_failure(Verdict.GIVE_UP, 3, 0, 0.5).again_in is None


def test_a_device_over_which_workers_vanish_waits_from_the_third_time_on() -> None:
    """Two losses in a row are tried again at once; the third goes through backoff."""
    waits = [after_loss(lost, 0.5).again_in for lost in range(4)]
    assert all(wait is not None for wait in waits)
    assert [wait < timedelta(minutes=1) for wait in waits if wait is not None] == [True, True, False, False]


@given(DICE)
def test_a_jump_host_in_trouble_costs_its_devices_nothing(dice: float) -> None:
    """They are due again within a minute; it is left alone for a while, always as long, 5 to 25 percent longer."""
    decision = after_jump_trouble(dice)
    assert (decision.state, decision.counts, decision.blocks) == (State.FAILED, False, False)
    assert decision.again_in is not None
    assert timedelta(0) <= decision.again_in <= AGAIN_WITHIN
    retry = timedelta(minutes=5)
    assert retry * 1.05 <= jump_retry(retry, dice) <= retry * 1.25
