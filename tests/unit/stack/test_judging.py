"""The story of routers, without what a copy cannot know."""

from __future__ import annotations

from tests.stack.judging import without
from tests.stack.kept import different
from tests.unit.checker import scene


def test_a_session_is_in_the_story_as_a_whole_or_not_at_all() -> None:
    """One that was open when the copy was made stays to its end; one that was opened later goes with all of it."""
    before, after, elsewhere = (scene.session(*of) for of in (("a", 1, 10, 0), ("a", 2, 20, 0), ("b", 1, 40, 0)))
    story = [*before, *after, *elsewhere]
    opened, closed = before[0].at, before[-1].at
    middle = opened + (closed - opened) / 2
    assert without(story, [(middle, after[-1].at)]) == [*before, *elsewhere]
    assert without(story, []) == story
    assert without(story, [(middle, closed), (after[-1].at, elsewhere[-1].at)]) == [*before, *after]


def test_what_a_router_does_by_itself_stays() -> None:
    """An edit in that time is found by the next install."""
    story = scene.story()
    spans = [(min(event.at for event in story), max(event.at for event in story))]
    kept = without(story, spans)
    assert [event for event in kept if event.session is None] == [event for event in story if event.session is None]


def test_it_is_told_what_is_not_as_it_was() -> None:
    """What is gone, what is new, and what has another place."""
    was: dict[str, list[tuple[object, ...]]] = {"a": [(1,), (2,)], "b": [(3,)], "c": [(4,), (5,)]}
    assert different(was, {"a": [(1,), (2,)], "b": [(3,)], "c": [(4,), (5,)], "d": [(6,)]}) == []
    assert different(was, {"a": [(2,)], "b": [(3,), (6,)], "c": [(5,), (4,)]}) == [
        "a: 1 are gone, 0 are new: [(1,)]",
        "b: 0 are gone, 1 are new: [(6,)]",
        "c: 0 are gone, 0 are new: []",
    ]
