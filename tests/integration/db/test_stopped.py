"""A process that is stopped within a transaction (SIGSTOP, a frozen machine): whom it holds up, and how long."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from backupflow.adapters.db.engine import IDLE_SECONDS, LOCK_SECONDS, transaction
from backupflow.adapters.db.roles import ROLES
from backupflow.core.ledger import Stored
from backupflow.errors import StoreUnavailable
from tests.conftest import SIZE
from tests.integration.db.fleet import LIMITS, Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID


@contextmanager
def stopped(fleet: Fleet, role: str, *statements: str, **values: object) -> Iterator[None]:
    """A process of a role that holds what these statements lock, and does nothing more."""
    connection = fleet.engine(role).connect()
    try:
        connection.begin()
        for statement in statements:
            connection.execute(text(statement), values)
        yield
    finally:
        connection.invalidate()
        connection.close()


def claimed(fleet: Fleet) -> tuple[UUID, int]:
    """A device whose collection was claimed two minutes ago, and is to be emitted again."""
    device = fleet.device()
    done = fleet.claims.claim(LIMITS)
    assert done is not None
    fleet.sql("UPDATE collection SET emitted_at = now() - interval '2 minutes'")
    return device, done.new[0].collection_id


def test_a_collector_that_is_stopped_while_it_starts_holds_up_no_claim(fleet: Fleet) -> None:
    """Beat waits for no row: all others are claimed, and the stopped one is emitted again when the server freed it."""
    fleet.workers(collect=5)
    device, collection = claimed(fleet)
    other = fleet.device()
    lock = "SELECT 1 FROM device WHERE id = :device FOR NO KEY UPDATE"
    start = (
        "UPDATE collection SET state = 'running', holder = 'x', lease_until = now() + interval '1 minute' "
        "WHERE id = :collection"
    )
    with stopped(fleet, "collector", lock, start, device=device, collection=collection):
        fleet.sql("UPDATE job SET due_at = now()")
        done = fleet.claims.claim(LIMITS)
    assert done is not None
    assert done.again == ()
    assert [fleet.row("collection", claim.collection_id).device_id for claim in done.new] == [other]
    again = fleet.claims.claim(LIMITS)
    assert again is not None
    assert [claim.collection_id for claim in again.again] == [collection]


def test_a_job_that_is_stopped_while_it_ends_holds_up_no_claim(fleet: Fleet) -> None:
    """The worker that writes how its job went has locked the row that says when it is due."""
    with stopped(fleet, "operator", "UPDATE job SET outcome = 'x'"):
        done = fleet.claims.claim(LIMITS)
    assert done is not None
    assert done.jobs == ()


# Each waits for seconds, and every role's connections end alike (below).
STOPPED = ["collector", "scheduler", "enroller"] if SIZE == "soak" else ["collector"]


@pytest.mark.parametrize("role", STOPPED)
def test_ingest_gets_by_a_process_that_is_stopped(fleet: Fleet, role: str) -> None:
    """The server ends the stopped one's transaction before who waits for its lock gives up."""
    sent = [fleet.passed("A"), fleet.passed("B")]
    with stopped(fleet, role, "SELECT 1 FROM device WHERE id = :d FOR NO KEY UPDATE", d=sent[0].device_id):
        assert fleet.observations.store(sent) == [Stored.STORED] * 2


def test_who_wakes_up_finds_its_transaction_ended(fleet: Fleet) -> None:
    """It changes nothing, and says that the store was away: it was not its own fault."""
    device = fleet.device()

    def sleep_within() -> None:
        with transaction(fleet.engine("collector")) as tx:
            tx.execute(text("UPDATE device SET failures = 7 WHERE id = :d"), {"d": device})
            time.sleep(IDLE_SECONDS + 1)
            tx.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailable):
        sleep_within()
    assert fleet.row("device", device).failures == 0


@pytest.mark.parametrize("role", ROLES)
def test_no_role_may_stop_within_a_transaction(fleet: Fleet, role: str) -> None:
    """Every connection of ours is ended sooner than others give up waiting for it."""
    assert IDLE_SECONDS < LOCK_SECONDS
    with transaction(fleet.engine(role)) as tx:
        assert tx.scalar(text("SHOW idle_in_transaction_session_timeout")) == f"{IDLE_SECONDS}s"
