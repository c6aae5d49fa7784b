"""The checker finds: each promise is broken in one place, and that is what it says; and untouched it says nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.checker.case import Terms
from tests.checker.check import CHECKS, judge, verdict
from tests.unit.checker import scene
from tests.unit.checker.broken import BROKEN, acts, device, opened, waiting
from tests.unit.checker.scene import CORE, EDGE, TERMS, at

if TYPE_CHECKING:
    from collections.abc import Callable

STRICT = replace(TERMS, alarms=(), interpreted=True)


@pytest.mark.parametrize("terms", [Terms(), TERMS, STRICT, replace(TERMS, at_work=False)])
def test_of_what_keeps_every_promise_it_says_nothing(terms: Terms) -> None:
    """A checker that cries out over a good history would be switched off."""
    assert judge(scene.evidence(), terms) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found(name: str) -> None:
    """With exactly one thing broken it says which promise, of which device, and what."""
    finding, broken = BROKEN[name]
    found = [one.replace(": device ", " ") for one in judge(broken(scene.evidence()), STRICT)]
    assert [one for one in found if one.startswith(finding)], found


@pytest.mark.parametrize("one", CHECKS, ids=lambda one: f"{one.__module__.rpartition('.')[2]}.{one.__name__}")
def test_every_check_finds_something(one: Callable[..., Any]) -> None:
    """A check that finds nothing in any broken history checks nothing."""
    assert [name for name, (_, broken) in BROKEN.items() if list(one(broken(scene.evidence()), STRICT))]


def test_a_process_that_stood_still_may_overlap_but_is_not_stored() -> None:
    """I4 allows what a stopped process holds; that nothing of it is published is judged by what is stored."""
    broken = BROKEN["two sessions at once"][1](scene.evidence())
    assert judge(broken, replace(TERMS, stopped=[(at(42), at(60))])) == []
    assert judge(broken, replace(TERMS, stopped=[(at(57), at(60))])) != []
    late = BROKEN["a row was run twice"][1](scene.evidence())
    assert judge(late, replace(TERMS, stopped=[(at(32), at(44))])) == []
    _, stored = BROKEN["another text as the same"]
    assert judge(stored(scene.evidence()), replace(TERMS, stopped=[(at(0), at(60))])) != []


def test_a_blocked_device_may_be_scanned() -> None:
    """A look that sends no login; the device is as blocked as before."""
    events = [event for event in scene.story() if event.router != "edge" or event.at < at(25)]
    shown = [event for event in scene.session("edge", 3, 40, None) if event.kind != "login_offered"]
    evidence = acts(1, 2, 5)(scene.evidence([*events, *shown]))
    rows = (*evidence.rows[:-1], scene.row(EDGE, 8, 3, 40, state="tested", code=None, trigger="scan"))
    keys = tuple(replace(one, status="pinned") for one in evidence.host_keys[:2])
    scanned = replace(evidence, rows=rows, host_keys=keys)
    edge = device(EDGE, blocked_code="authentication_failed", current_seq=1, current_collection_id=6)
    assert judge(edge(scanned), Terms()) == []


@pytest.mark.parametrize(("others", "later", "freed"), [(4, 0, True), (3, 0, False), (4, 1200, False)])
def test_a_block_goes_by_itself_if_many_refused_that_login(others: int, later: float, freed: bool) -> None:
    """Five devices within a quarter of an hour: the login is to blame, and they are tried again."""
    login = uuid4()
    edge = acts(1, 2, 5)(scene.evidence())
    rows = [replace(one, login_id=login) if one.id == 7 else one for one in edge.rows]
    devices = list(edge.devices)
    for number in range(others):
        key = uuid4()
        devices.append(
            replace(
                edge.devices[0], id=key, name=f"other-{number}", last_seq=1, current_seq=0, current_collection_id=None
            )
        )
        refused = {"code": "authentication_failed", "login_id": login, "ended_at": at(later + 26 + number)}
        rows.append(scene.row(key, 100 + number, 1, later + 20, **refused))
    many = replace(edge, rows=tuple(rows), devices=tuple(devices))
    found = [one for one in judge(many, TERMS) if one.startswith("I7")]
    assert (found == []) is freed


def test_while_servers_are_away_nothing_has_to_move() -> None:
    """What waits is no broken promise before whoever takes it up is there again."""
    late = waiting(device(CORE, next_due_at=at(1))(scene.evidence()), "published")
    assert judge(late, replace(TERMS, at_work=False)) == []
    assert len(judge(late, TERMS)) == 2


def test_what_keys_that_are_lost_have_sealed_or_hashed_is_not_compared_with_what_it_was() -> None:
    """An operator has given it up; what came since is held to every promise."""
    hashed = opened(1, content_hash=b"under the pepper that is lost")(scene.evidence())
    assert judge(device(CORE, unhashed_to_seq=2)(hashed), TERMS) == []
    gone = replace(scene.evidence(), opened={})
    given_up = device(EDGE, unreadable_to_seq=3)(device(CORE, unreadable_to_seq=5)(gone))
    assert judge(given_up, TERMS) == []
    newer = opened(2, content_hash=b"of another text")(hashed)
    assert len(judge(device(CORE, unhashed_to_seq=2)(newer), TERMS)) == 1


def test_a_tighter_bound_may_be_asked_for() -> None:
    """I9: who knows the intervals of a run may ask for more than a quarter of an hour."""
    late = replace(device(CORE, next_due_at=at(50))(scene.evidence()), now=at(60))
    assert judge(late, TERMS) == []
    assert len(judge(late, replace(TERMS, overdue=timedelta(seconds=5)))) == 1


def test_what_changes_without_end_may_wait_a_day_longer() -> None:
    """I9: it is collected once a day, and others within their interval."""
    tomorrow = device(CORE, next_due_at=at(86400 + 3000))(scene.evidence())
    assert len(judge(tomorrow, TERMS)) == 1
    assert judge(device(CORE, flapping_since=at(0))(tomorrow), TERMS) == []


def test_the_report_ends_with_what_was_looked_at() -> None:
    """A check that saw nothing must not read like one that saw everything."""
    evidence = scene.evidence()
    assert verdict(evidence, []) == "every promise holds: 2 devices, 8 observations, 3 contents"
    assert verdict(evidence, ["I1: …"]) == "1 promises are broken"
