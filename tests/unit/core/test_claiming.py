"""How many may still be claimed: no limit is ever passed, and what is full of one keeps nothing else waiting."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.claiming import Open, Room, limits_of, shared, trials_of
from backupflow.core.jump import CHANNELS
from backupflow.core.model import Lane

HOPS, SCOPES = [UUID(int=n) for n in (1, 2)], [UUID(int=n) for n in (11, 12, 13)]
LANES = {Lane.NORMAL: 1, Lane.SLOW: 2}
DEVICE = st.tuples(st.sampled_from(list(Lane)), st.sampled_from([None, *HOPS]), st.sampled_from([None, *SCOPES]))


def test_each_process_of_a_lane_has_its_own_channels() -> None:
    """Immediate work shares the normal lane's; what is open counts where it is."""
    taken = [Open(Lane.NOW, frozenset(HOPS[:1]), 3), Open(Lane.SLOW, frozenset(HOPS[:1]), 1)]
    most = limits_of({HOPS[0]: False}, {}, LANES, taken)
    assert most == {(HOPS[0], Lane.NORMAL): CHANNELS - 3, (HOPS[0], Lane.SLOW): 2 * CHANNELS - 1}


def test_a_jump_host_in_trouble_has_room_for_one_in_all() -> None:
    """Whatever the lane."""
    assert limits_of({HOPS[0]: True}, {}, LANES, []) == {(HOPS[0], None): 1}
    taken = [Open(Lane.SLOW, frozenset(HOPS[:1]), 1)]
    room = Room({Lane.NORMAL: 9, Lane.SLOW: 9}, None, limits_of({HOPS[0]: True}, {}, LANES, taken))
    assert (room.full(Lane.NOW), room.take(Lane.NORMAL, [HOPS[0]])) == ([HOPS[0]], False)


def test_what_finds_no_room_takes_none() -> None:
    """Of three limits the last one is full: the first two keep what they have."""
    room = Room({Lane.NORMAL: 5, Lane.SLOW: 5}, 5, {(SCOPES[0], None): 5, (SCOPES[1], None): 0})
    assert not room.take(Lane.NORMAL, [SCOPES[0], SCOPES[1]])
    assert (room.window[Lane.NORMAL], room.total, room.most[SCOPES[0], None]) == (5, 5, 5)


def test_tests_and_scans_leave_half_of_the_workers() -> None:
    """What waits counts like what runs; a single worker takes one; others are not held up by it."""
    trials = trials_of({Lane.NORMAL: 8, Lane.SLOW: 1}, {Lane.NORMAL: 3})
    assert trials == {Lane.NORMAL: 1, Lane.SLOW: 1}
    room = Room({Lane.NORMAL: 9, Lane.SLOW: 9}, trials=trials)
    assert [room.take(Lane.NOW, [], trial=True) for _ in range(2)] == [True, False]
    assert (room.take(Lane.SLOW, [], trial=True), room.take(Lane.NOW, [])) == (True, True)
    room.trials.clear()
    assert room.take(Lane.NOW, [], trial=True)


@given(
    st.lists(DEVICE, max_size=40),
    st.dictionaries(st.sampled_from(HOPS), st.booleans()),
    st.dictionaries(st.sampled_from(SCOPES), st.integers(1, 4)),
    st.integers(0, 30),
)
def test_no_limit_is_ever_passed(
    devices: list[tuple[Lane, UUID | None, UUID | None]], hops: dict[UUID, bool], scopes: dict[UUID, int], total: int
) -> None:
    """And nothing waits for which there is room everywhere; whoever is refused is of what `full` names."""
    room = Room({Lane.NORMAL: 12, Lane.SLOW: 7}, total, limits_of(hops, scopes, LANES, []))
    taken: Counter[tuple[object, object]] = Counter()
    for lane, hop, scope in devices:
        full, left = room.full(lane), room.left(lane)
        got = room.take(lane, (hop, scope, None))
        assert got is (left > 0 and hop not in full and scope not in full)
        taken.update({(one, of): int(got) for one in (hop, scope, "all") for of in (None, shared(lane))})
    assert taken["all", None] <= total
    assert taken["all", Lane.NORMAL] <= 12
    assert taken["all", Lane.SLOW] <= 7
    assert all(taken[scope, None] <= most for scope, most in scopes.items())
    for hop, in_trouble in hops.items():
        assert not in_trouble or taken[hop, None] <= 1
        assert all(taken[hop, lane] <= CHANNELS * count for lane, count in LANES.items())
