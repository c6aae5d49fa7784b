"""When silence is one event: the judgement beside the rule as it is said, and whose turn it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core import outages
from backupflow.core.jump import JumpTrouble
from backupflow.core.ledger import Ending
from backupflow.core.model import HostKey, State
from backupflow.core.outages import TOGETHER, TURNS, answered, device_is_down, site_is_down, whose_turn
from backupflow.errors import AuthenticationFailed, ConnectionRefused, DeviceTimeout, DeviceUnreachable

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TIMES = st.lists(st.integers(-30 * 60, 5).map(lambda minutes: NOW + minutes * MINUTE), max_size=30)
FAILED = Ending(State.FAILED, DeviceUnreachable.code, counts=True, again_in=timedelta(minutes=5))


def ago(*minutes: float) -> list[datetime]:
    """So many minutes before now."""
    return [NOW - one * MINUTE for one in minutes]


@given(TIMES, TIMES)
def test_the_judgement_is_the_rule(away: list[datetime], heard: list[datetime]) -> None:
    """A moment since which at least five went away, four of five of those that were heard from or went since."""
    away, heard = [at for at in away if at <= NOW], [at for at in heard if at <= NOW]
    recent = [at for at in away if at >= NOW - TOGETHER]
    expected = False
    for moment in recent:
        gone, there = sum(at >= moment for at in recent), sum(at >= moment for at in heard)
        expected = expected or (gone >= 5 and gone / (gone + there) >= 0.8)
    if recent and heard and max(heard) > max(recent):
        expected = False
    assert site_is_down(away, heard, NOW) is expected


def test_nobody_waits_for_160_of_200() -> None:
    """Five that go away one after the other are enough while nobody else is heard; the rest was heard before."""
    assert site_is_down(ago(8, 6, 4, 2, 0), ago(*range(10, 205)), NOW)
    assert not site_is_down(ago(8, 6, 4, 2), ago(*range(10, 205)), NOW)


@pytest.mark.parametrize("more", [0, 1])
def test_the_chronically_dead_never_make_a_site_down(more: int) -> None:
    """However many they are; nor does one more that goes away."""
    dead = [at - timedelta(days=20) for at in ago(*range(180))]
    assert not site_is_down(dead + ago(*[1] * more), ago(*range(2, 20)), NOW)


def test_one_that_answers_speaks_against_it() -> None:
    """The last that was heard of the site is an answer: nobody judges it over the same devices once more."""
    assert site_is_down(ago(5, 4, 3, 2, 1), [], NOW)
    assert not site_is_down(ago(5, 4, 3, 2, 1), ago(0), NOW)
    assert not site_is_down(ago(5, 4, 3, 2, 1), ago(4.5, 2.5), NOW)  # five of seven


def test_a_clock_that_stood_ahead_judges_nobody() -> None:
    """Times in the future are no evidence, of silence or of life."""
    assert not site_is_down(ago(-10, -9, -8, -7, -6), [], NOW)
    assert site_is_down(ago(5, 4, 3, 2, 1), ago(-60), NOW)


@given(st.integers(2, 50), st.integers(0, 5))
def test_two_take_turns(devices: int, past: int) -> None:
    """For two hours, each every ten minutes; then the next two, so that in the end everybody had a turn."""
    turns = [whose_turn(past * TURNS + number, devices) for number in range(TURNS)]
    assert Counter(turns) == {turns[0]: TURNS // 2, turns[1]: TURNS // 2}
    assert all(one != other for one, other in pairwise(turns))
    assert {whose_turn(number, devices) for number in range(TURNS * devices)} == set(range(devices))


def test_one_device_has_every_turn_and_none_has_no_turn() -> None:
    """A site of one, and one whose devices are all out of the question."""
    assert {whose_turn(number, 1) for number in range(99)} == {0}
    assert whose_turn(3, 0) == 0


def test_what_was_heard_is_told_from_what_was_not() -> None:
    """A refusal is an answer; trouble at the jump host, or of ours, says nothing of the device."""
    key = HostKey("ssh-ed25519", b"key")
    trouble = JumpTrouble(DeviceUnreachable.code, "", blocks=False)
    says = {
        False: [FAILED, Ending(State.TESTED, DeviceUnreachable.code)],
        True: [
            *(Ending(State.FAILED, one.code) for one in (ConnectionRefused, DeviceTimeout, AuthenticationFailed)),
            Ending(State.TESTED, ""),
            Ending(State.TESTED, "", scanned=key),
            Ending(State.BLOCKED, "host_key_mismatch", offered=key),
        ],
        None: [
            replace(FAILED, jump_trouble=trouble),
            Ending(State.FAILED, "vault_unavailable", pauses=True),
            Ending(State.FAILED, "name_unresolved"),
            Ending(State.FAILED, "unexpected"),
        ],
    }
    assert [answered(one) for ones in says.values() for one in ones] == [False] * 2 + [True] * 6 + [None] * 4


@pytest.mark.parametrize(
    ("ending", "failures", "down"),
    [
        (FAILED, 2, False),
        (FAILED, 3, True),
        (FAILED, 9, True),
        (replace(FAILED, again_in=None), 3, False),  # given up: it answers
        (replace(FAILED, counts=False), 3, False),
        (replace(FAILED, state=State.BLOCKED, blocks=True, again_in=None), 3, False),
        (replace(FAILED, alarm="device 1"), 3, False),  # which says it
        (replace(FAILED, state=State.SUSPECT), 3, False),
    ],
)
def test_the_third_failure_in_a_row_is_an_alarm(ending: Ending, failures: int, down: bool) -> None:
    """Of those that are tried again, and say so nowhere else."""
    assert device_is_down(ending, failures) is down


def test_the_figures_are_those_of_the_page() -> None:
    """Two hours of turns, and a probe every five minutes."""
    assert timedelta(hours=2) == TURNS * outages.PROBE_EVERY
