"""A device's lock that somebody keeps for long: what a session has found out is written down all the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text

from backupflow.adapters.db import engine as connections
from backupflow.adapters.db.collections import Collections
from backupflow.core.ledger import Ending
from backupflow.core.model import State
from backupflow.errors import StoreUnavailable
from tests.integration.db.fleet import Fleet, published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine.interfaces import ExceptionContext

    from backupflow.core.ledger import Assignment

REFUSED = Ending(State.BLOCKED, "authentication_failed", "no", counts=True, blocks=True)
ACTS: list[Callable[[Collections, Assignment], object]] = [
    lambda store, running: store.end(running, REFUSED),
    lambda store, running: store.publish(running, published("A")),
]


@pytest.fixture
def hasty(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Collections, Event]]:
    """A collector that waits for a lock for a second at a time, and an event: it has waited twice in vain."""
    password = (fleet.secrets_dir / "collector.postgres").read_text(encoding="utf-8")
    with monkeypatch.context() as hurry:  # over before anybody else opens an engine that is kept
        hurry.setattr(connections, "LOCK_SECONDS", 1)
        engine = connections.open_engine(connections.Postgres(fleet.url, "collector", password), 2)
    failed: list[str] = []
    twice = Event()

    def waited(context: ExceptionContext) -> None:
        failed.append(str(getattr(context.original_exception, "sqlstate", None)))
        if failed.count("55P03") == 2:
            twice.set()

    event.listen(engine, "handle_error", waited)
    yield Collections(engine, fleet.policy), twice
    engine.dispose()


@pytest.mark.parametrize("act", ACTS, ids=["end", "publish"])
def test_what_a_session_found_out_waits_for_a_long_lock(
    fleet: Fleet, hasty: tuple[Collections, Event], act: Callable[[Collections, Assignment], object]
) -> None:
    """An import of a whole fleet has it for longer than one transaction waits (I7, I9)."""
    store, twice = hasty
    running = fleet.running()
    with ThreadPoolExecutor(1) as pool:
        with fleet.admin.begin() as tx:
            tx.execute(text("SELECT 1 FROM device FOR NO KEY UPDATE"))
            done = pool.submit(act, store, running)
            assert twice.wait(60)
        assert done.result(60)
    row = fleet.row("collection", running.collection_id)
    assert (row.state, fleet.row("device", running.device_id).blocked_code) in {
        ("blocked", "authentication_failed"),
        ("published", None),
    }


@pytest.mark.parametrize("act", ACTS, ids=["end", "publish"])
def test_nobody_waits_for_a_lock_beyond_the_lease(
    fleet: Fleet, hasty: tuple[Collections, Event], act: Callable[[Collections, Assignment], object]
) -> None:
    """It is another's turn then."""
    store, twice = hasty
    running = fleet.running()
    over = replace(running, target=replace(running.target, not_after=0.0))
    with fleet.admin.begin() as tx:
        tx.execute(text("SELECT 1 FROM device FOR NO KEY UPDATE"))
        with pytest.raises(StoreUnavailable):
            act(store, over)
    assert not twice.is_set()
    assert fleet.row("collection", running.collection_id).state == "running"
