"""Which items of two sequences are the same: as many as can be, in bounded work."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core import alignment as module
from backupflow.core.alignment import aligned, rising
from tests.unit.core.item_diff import kept_at_most

SEQUENCES = st.lists(st.sampled_from("abcdef"), max_size=12)


def held(old: list[str], new: list[str], *, ordered: bool) -> int:
    """How many keep their places; that all else is right on the way."""
    found = aligned(old, new, ordered=ordered)
    pairs = [*found.kept, *found.moved]
    assert all(old[i] == new[j] for i, j in pairs)
    rest_old = [*(i for i, _ in pairs), *found.gone]
    rest_new = [*(j for _, j in pairs), *found.come]
    assert sorted(rest_old) == list(range(found.begin, len(old) - found.end))
    assert sorted(rest_new) == list(range(found.begin, len(new) - found.end))
    assert not {old[i] for i in found.gone} & {new[j] for j in found.come}
    if ordered:
        assert all(i < k and j < m for (i, j), (k, m) in pairwise(found.kept))
    else:
        assert not found.moved
    return found.begin + found.end + len(found.kept)


@given(SEQUENCES, SEQUENCES)
def test_as_many_keep_their_places_as_can(old: list[str], new: list[str]) -> None:
    """And every item is somewhere, once."""
    assert held(old, new, ordered=True) == kept_at_most(old, new)


@given(SEQUENCES, SEQUENCES)
def test_without_order_all_equal_items_are_the_same(old: list[str], new: list[str]) -> None:
    """As many as both have of each."""
    assert held(old, new, ordered=False) == sum(min(old.count(one), new.count(one)) for one in set(old))


@given(SEQUENCES, SEQUENCES)
def test_of_too_many_equal_items_the_first_goes_with_the_first(old: list[str], new: list[str]) -> None:
    """Perhaps more are moved than need be; nothing is lost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_PAIRS", 0)
        assert held(old, new, ordered=True) <= kept_at_most(old, new)


@given(st.permutations(range(9)))
def test_a_longest_rising_part_is_found(order: list[int]) -> None:
    """Of pairs in any order."""
    found = rising(list(enumerate(order)))
    assert all(i < k and j < m for (i, j), (k, m) in pairwise(found))
    assert len(found) == kept_at_most(list(map(str, range(9))), list(map(str, order)))
