"""What a process tells of its own work: whether it began any, or could not."""

from __future__ import annotations

from datetime import timedelta

from backupflow.tasks.work import Work

LONG, NONE = timedelta(hours=1), timedelta(0)


def two_threads() -> Work:
    """A pool of two threads."""
    work = Work()
    work.threads = 2
    return work


def test_what_began_is_told_once() -> None:
    """A task that goes on is no work begun; the next one is."""
    work = two_threads()
    assert not work.taken_since()
    work.began("a", LONG)
    assert work.taken_since()
    assert not work.taken_since()
    work.ended("a")
    assert not work.taken_since()
    work.ticked()
    assert work.taken_since()


def test_with_no_thread_free_none_can_begin() -> None:
    """As long as any of what runs may still run; what has no time of its own (its lease tells) excuses nothing."""
    work = two_threads()
    work.began("a", NONE)
    work.began("b", LONG)
    assert [work.taken_since() for _ in range(3)] == [True] * 3
    work.ended("b")
    assert not work.taken_since()
    work.began("c", NONE)
    assert [work.taken_since() for _ in range(2)] == [True, False]


def test_a_canary_that_finds_no_thread_is_answered_at_once() -> None:
    """It was heard; it would only wait here while others are idle. With a thread free its task answers."""
    work = two_threads()
    work.heard("collect")
    assert work.heard_since() == set()
    work.began("a", NONE)
    work.began("b", NONE)
    work.heard("collect")
    work.heard("collect")
    assert work.heard_since() == {"collect"}
    assert work.heard_since() == set()


def test_an_unknown_end_is_no_error() -> None:
    """A task that began before this was listening."""
    two_threads().ended("x")
