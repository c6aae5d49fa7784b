"""What a failure means for a device: (verdict, failures so far) -> what to do next. Policy only, no clock, no dice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from backupflow.core.model import State
from backupflow.errors import Verdict

# MikroTik's own example firewall bans who comes back within its 5-minute, 15-minute and 1-hour windows, hence the
# jitter goes upwards only.
STEPS = (timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1))
JITTER = (0.05, 0.25)
AGAIN_WITHIN = timedelta(seconds=60)  # what ended through no fault of the device is due again at once, spread
LONGEST_WAIT = STEPS[-1] * (1 + JITTER[1])
LOST_IN_A_ROW = 3  # so many times a worker may vanish over one device before it waits like a failing one


@dataclass(frozen=True, slots=True)
class Decision:
    """How a collection ends and what becomes of its device."""

    state: State
    counts: bool  # against the device
    blocks: bool  # until an operator acts
    again_in: timedelta | None  # None: at its regular interval


def after_failure(verdict: Verdict, failures: int, lost_before: int, dice: float) -> Decision:
    """Decide what follows a failure; `failures` counts those before this one, `dice` lies in [0, 1).

    `lost_before` counts losses and pauses in a row before this one; see `after_pause`.
    """
    match verdict:
        case Verdict.BLOCK:
            return Decision(State.BLOCKED, counts=True, blocks=True, again_in=None)
        case Verdict.RETRY:
            return Decision(State.FAILED, counts=True, blocks=False, again_in=step(failures, dice))
        case Verdict.PAUSE:
            return replace(after_pause(lost_before, dice), state=State.FAILED)
        case _:
            return Decision(State.FAILED, counts=True, blocks=False, again_in=None)


def after_defect(failures: int, dice: float) -> Decision:
    """Decide what follows what nobody foresaw: it would meet the same export again, so it waits like a failure."""
    return Decision(State.FAILED, counts=True, blocks=False, again_in=step(failures, dice))


def after_loss(lost_before: int, dice: float) -> Decision:
    """Decide what follows a vanished worker; `lost_before` counts the losses in a row before this one."""
    if lost_before + 1 >= LOST_IN_A_ROW:
        return Decision(State.LOST, counts=False, blocks=False, again_in=step(lost_before + 1 - LOST_IN_A_ROW, dice))
    return Decision(State.LOST, counts=False, blocks=False, again_in=AGAIN_WITHIN * dice)


def after_pause(lost_before: int, dice: float) -> Decision:
    """Decide what follows when ours was down: as a loss, but never more than the first step, 5 min.

    Not at once for ever, since what only a collector sees, such as a vault that refuses its role, keeps no beat from
    claiming. Nor longer: an hour would count our outage against the device, long after it is over.
    """
    return after_loss(min(lost_before, LOST_IN_A_ROW - 1), dice)


def after_jump_trouble(dice: float) -> Decision:
    """Decide what follows for a device whose jump host could not be passed: nothing, and it is due again at once."""
    return Decision(State.FAILED, counts=False, blocks=False, again_in=AGAIN_WITHIN * dice)


def jump_retry(retry: timedelta, dice: float) -> timedelta:
    """When a jump host that was down is tried again: always after the same wait, 5-25 % longer.

    Never longer for more failures: a line that was down for a night is looked at again within minutes, by one session.
    """
    low, high = JITTER
    return retry * (1 + low + (high - low) * dice)


def no_later_than_its_turn(wait: timedelta | None) -> bool:
    """Whether a wait is only a spread: then the device's next regular run is soon enough, if it comes first."""
    return wait is not None and wait <= AGAIN_WITHIN


def step(failures: int, dice: float) -> timedelta:
    """5 min, 15 min, then every hour, each 5-25 % longer."""
    low, high = JITTER
    return STEPS[min(failures, len(STEPS) - 1)] * (1 + low + (high - low) * dice)
