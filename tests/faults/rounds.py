"""Waiting for rounds of collections, on whatever runs them; a failure tells what became of every device."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from tests.acceptance.install import wait_for

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy import Row

LAST_WORDS = 6000  # characters of the logs


class Watched(Protocol):
    """An install, or a stack."""

    def rows(self, statement: str, **values: object) -> list[Row[Any]]:
        """What a query by the reader gives."""
        ...

    def output(self) -> str:
        """What its processes said."""
        ...


def await_rounds(watched: Watched, names: Collection[str], rounds: int, seconds: float) -> None:
    """Wait until every one of these devices was collected and stored so many times from now on."""
    since = now_there(watched, seconds)

    def stored() -> bool:
        rows = watched.rows(
            "SELECT d.name FROM collection c JOIN device d ON d.id = c.device_id WHERE c.state = 'stored' "
            "AND c.started_at > :since AND d.name = ANY(:names) GROUP BY d.name HAVING count(*) >= :rounds",
            since=since,
            names=list(names),
            rounds=rounds,
        )
        return len(rows) == len(names)

    try:
        wait_for(stored, f"{rounds} rounds of {len(names)} routers", seconds)
    except AssertionError as waited:
        said = watched.output()[-LAST_WORDS:]
        raise AssertionError("\n".join([str(waited), *story(watched, since), said])) from None


def story(watched: Watched, since: datetime) -> list[str]:
    """What became of every device's collections since then, a line each: for whoever reads a failure."""
    rows = watched.rows(
        "SELECT d.name, d.next_due_at - clock_timestamp() AS due_in, d.lane, d.failures, d.losses, d.blocked_code, "
        "(SELECT string_agg(concat_ws(' ', c.seq, c.state, c.code, c.emits || 'x', c.claimed_at - :since), '; ' "
        "ORDER BY c.seq) FROM collection c WHERE c.device_id = d.id AND c.claimed_at > :since) AS since "
        "FROM device d ORDER BY d.name",
        since=since,
    )
    alarms = watched.rows("SELECT code, scope, detail FROM alarm WHERE cleared_at IS NULL ORDER BY code, scope")
    return [str(row) for row in (*rows, *alarms)]


def now_there(watched: Watched, seconds: float) -> datetime:
    """PostgreSQL's time, as soon as it tells."""
    until = time.monotonic() + seconds
    while True:
        try:
            now: datetime = watched.rows("SELECT clock_timestamp() AS now")[0].now
        except Exception:  # noqa: BLE001 - it is coming back
            assert time.monotonic() < until
            time.sleep(0.2)
        else:
            return now
