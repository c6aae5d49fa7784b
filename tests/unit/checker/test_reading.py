"""What the simulator writes is what the checker reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.simulator.history import History
from tests.checker.reading import read_events
from tests.checker.routers import routers_of
from tests.unit.checker import scene

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_says_what_the_events_say(tmp_path: Path) -> None:
    """A run is judged alike from its file and within its process."""
    history = History(tmp_path / "history")
    for event in scene.story():
        history.add(event.router, event.kind, event.session, **event.facts)
    history.close()
    assert list(read_events(tmp_path / "history")) == list(history.events())
    assert read_events(history.events()) == history.events()


def test_a_router_that_was_started_anew_counts_anew() -> None:
    """Its second session of number 1 is another one."""
    events = [*scene.session("core", 1, 10, 0), *scene.session("core", 1, 20, 1)]
    sessions = routers_of(events)["core"].sessions
    assert [session.opened_at for session in sessions] == [scene.at(10.1), scene.at(20.1)]
    assert [export.revision for session in sessions for export in session.exports] == [0, 1]
