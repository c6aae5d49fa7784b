"""Two logins of one profile: what a device is sent next, whatever it has answered so far."""

from __future__ import annotations

from dataclasses import astuple
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.model import LoginOn
from backupflow.core.rotation import (
    OTHER_AFTER,
    Act,
    RefusedBoth,
    Standing,
    Tally,
    TryOther,
    after_refusal,
    after_success,
    begun_anew,
    confirmed,
    told,
    told_left,
    told_turn,
)
from backupflow.errors import Conflict

CURRENT, NEXT = LoginOn
LOGINS = st.sampled_from(LoginOn)
DICE = st.floats(0, 1, exclude_max=True)
STANDINGS = st.builds(Standing, LOGINS, st.none() | LOGINS)
TALLIES = st.builds(Tally, *[st.integers(0, 3000)] * 5)


@given(LOGINS, STANDINGS, DICE)
def test_a_login_that_has_no_other_is_refused_for_good(on: LoginOn, standing: Standing, dice: float) -> None:
    """Without a rotation a refusal is what it ever was, and nothing is left of one that is over."""
    assert after_refusal(on, standing, has_next=False, dice=dice) == RefusedBoth(Standing())


@given(STANDINGS, st.lists(st.sampled_from(["refuses", *LoginOn]), max_size=30), DICE)
def test_no_login_is_refused_twice_before_the_other_was_tried(
    standing: Standing, answers: list[str], dice: float
) -> None:
    """Whatever a router takes from one connection to the next, until it is blocked for having refused both.

    Of each device at most two connections in a row are refused, each with another login.
    """
    standing = begun_anew(standing)
    in_a_row: list[LoginOn] = []
    for takes in answers:
        on = standing.login_on
        if takes == on:
            standing, in_a_row = after_success(on), []
            assert standing == Standing(on)
            continue
        in_a_row.append(on)
        match after_refusal(on, standing, has_next=True, dice=dice):
            case TryOther(then, again_in):
                assert in_a_row == [on]
                assert (then.login_on, then.refused_on, then.worked_on) == (on.other, on, on)
                assert not then.refused_both
                assert OTHER_AFTER < again_in <= OTHER_AFTER * 1.25
                standing = then
            case RefusedBoth(then):
                assert set(in_a_row) == set(LoginOn)
                assert len(in_a_row) == len(LoginOn)
                assert then.refused_both
                assert then.worked_on == in_a_row[0]  # it was sent first, since it had worked last
                standing, in_a_row = begun_anew(then), []


@given(LOGINS, DICE)
def test_what_is_known_to_be_refused_takes_no_turn_away(on: LoginOn, dice: float) -> None:
    """A session of before the rotation refuses once more what is known to be: the other one was not tried yet."""
    waiting = Standing(on.other, on)
    found = after_refusal(on, waiting, has_next=True, dice=dice)
    assert isinstance(found, TryOther)
    assert found.standing == waiting


@given(LOGINS, DICE)
def test_who_refused_both_goes_on_to(on: LoginOn, dice: float) -> None:
    """By force it is sent once more what worked last; that is no new round."""
    both = Standing(on, on)
    assert after_refusal(on, both, has_next=True, dice=dice) == RefusedBoth(both)


@given(TALLIES, st.sampled_from(Act), st.none() | st.integers(0, 10000))
def test_nobody_is_left_behind_by_mistake(tally: Tally, act: Act, typed: int | None) -> None:
    """Nobody is asked when all are known to take the login that is left; else their number, and no other, lets it go.

    Each device is counted once, and by at least one of the two acts unless it is known to take the login that stays.
    """
    left = tally.left_behind(act)
    assert tally.devices == sum(astuple(tally))
    assert left == tally.devices - (tally.new if act is Act.FINISH else tally.old + tally.unseen)
    if left in {0, typed}:
        confirmed(act, tally, typed)
    else:
        with pytest.raises(Conflict, match="nothing was changed"):
            confirmed(act, tally, typed)


def test_it_is_told_in_words() -> None:
    """Thousands are readable, and what there is none of is not spoken of."""
    assert told(Tally(1742, 58)) == "1,742 on new, 58 on old"
    says = "0 on new, 0 on old, 3 not seen since it began, 2 refused one, the other has its turn, 1 refused both"
    assert told(Tally(0, 0, 3, 2, 1)) == says
    says = "6 devices are not known to take the new login (3 not seen since it began, 2 have refused one, 1 have "
    assert told_left(Act.FINISH, Tally(9, 0, 3, 2, 1)) == f"{says}refused both)"
    assert told_left(Act.CANCEL, Tally(1, 7)) == "1 device is not known to take the old login (1 on new)"
    assert told_turn(Standing(CURRENT, NEXT), "x") == (
        "the new login was refused, the old login has its turn in a later connection (x)"
    )
    assert timedelta(minutes=6) == OTHER_AFTER
