"""PostgreSQL's disk is full (SQLSTATE 53100) at any statement of an act: all of it or nothing, and it goes on after."""
# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from backupflow.adapters.db.alarms import Alarms
from backupflow.adapters.db.processes import Processes
from backupflow.core.ledger import Claimed, Ending, Stored
from backupflow.core.model import CollectionId, State
from backupflow.errors import StoreUnavailable
from tests.integration.db.fleet import KEY, LIMITS, Fleet, doubted, published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TABLES = ("collection", "device", "content", "aside", "alarm", "process", "host_key", "request", "job")
MOMENTS = {
    # The statement itself needs a page, or what is written at the commit does.
    "statement": "CREATE TRIGGER no_room BEFORE INSERT OR UPDATE OR DELETE ON {} EXECUTE FUNCTION no_room()",
    "commit": "CREATE CONSTRAINT TRIGGER no_room AFTER INSERT OR UPDATE OR DELETE ON {} DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION no_room()",
}


def claim(fleet: Fleet) -> Callable[[], bool]:
    """Beat takes a due device, and a request."""
    fleet.workers(collect=5)
    fleet.device()
    fleet.request(fleet.device())

    def act() -> bool:
        claimed = fleet.claims.claim(LIMITS)
        return isinstance(claimed, Claimed) and len(claimed.new) == 2

    return act


def start(fleet: Fleet) -> Callable[[], bool]:
    """A collector takes what was claimed."""
    fleet.workers(collect=5)
    fleet.device()
    claimed = fleet.claims.claim(LIMITS)
    assert claimed
    number = CollectionId(claimed.new[0].collection_id)
    return lambda: fleet.collections.start(number, "me") is not None


def pin(fleet: Fleet) -> Callable[[], bool]:
    """A first key."""
    running = fleet.running()

    def act() -> bool:
        fleet.collections.pin(running, KEY)
        return True

    return act


def fence(fleet: Fleet) -> Callable[[], bool]:
    """What was read is published."""
    running = fleet.running()
    fleet.collections.pin(running, KEY)
    return lambda: fleet.collections.publish(running, published("A"))


def end(fleet: Fleet) -> Callable[[], bool]:
    """A failure that counts."""
    running = fleet.running()
    failed = Ending(State.FAILED, "device_timeout", "x", counts=True, again_in=timedelta(minutes=5))
    return lambda: fleet.collections.end(running, failed) is not None


def keep_aside(fleet: Fleet) -> Callable[[], bool]:
    """What is not believed."""
    running = fleet.running()
    return lambda: fleet.collections.end(running, doubted("B")) is not None


def store(fleet: Fleet) -> Callable[[], bool]:
    """A new content, and the same again."""
    device = fleet.device()
    batch = [fleet.passed("A", device), fleet.passed("A", device)]
    return lambda: list(fleet.observations.store(batch)) == [Stored.STORED] * 2


def lose(fleet: Fleet) -> Callable[[], bool]:
    """What the bus does not have any more."""
    fleet.passed("A")
    return lambda: fleet.observations.lose_published(timedelta(0)) == 1


def alarm(fleet: Fleet) -> Callable[[], bool]:
    """An alarm."""
    return lambda: Alarms(fleet.engine("scheduler")).alarm("unexpected", f"test {uuid4()}", "x")


def beat(fleet: Fleet) -> Callable[[], bool]:
    """A heartbeat."""
    processes = Processes(fleet.engine("collector"), uuid4(), "collector")

    def act() -> bool:
        processes.beat({"collect": 5})
        return True

    return act


ACTS = (claim, start, pin, fence, end, keep_aside, store, lose, alarm, beat)


@pytest.mark.parametrize("act", ACTS)
def test_a_full_disk_leaves_nothing_half_done(fleet: Fleet, act: Callable[[Fleet], Callable[[], bool]]) -> None:
    """Wherever room runs out: the error of an absent database, nothing written, and the same act works afterwards."""
    do = act(fleet)
    before = everything(fleet)
    assert do()
    after = everything(fleet)
    written = [table for table in TABLES if after[table] != before[table]]
    assert written
    for table, moment in product(written, MOMENTS):
        fleet.empty()
        do = act(fleet)
        before = everything(fleet)
        with full(fleet, table, moment), pytest.raises(StoreUnavailable, match="53100"):
            do()
        assert everything(fleet) == before
        assert do()


@contextmanager
def full(fleet: Fleet, table: str, moment: str) -> Iterator[None]:
    """There is no room left for what is written to a table."""
    fleet.sql(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
    )
    fleet.sql(MOMENTS[moment].format(table))
    try:
        yield
    finally:
        fleet.sql("DROP FUNCTION no_room() CASCADE")


def everything(fleet: Fleet) -> dict[str, list[Any]]:
    """All rows of all tables that are written."""
    return {table: sorted(map(str, fleet.sql(f"SELECT * FROM {table}"))) for table in TABLES}
