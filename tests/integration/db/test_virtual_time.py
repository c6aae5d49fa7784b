"""The time that tests set ahead is the time of every role, in every statement and every default."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from tests.integration.db.fleet import LIMITS, Fleet, migrated
from tests.integration.db.virtual_time import VirtualTime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from backupflow.core.model import Claim
    from backupflow.embedded import Servers


@pytest.fixture(scope="module")
def fleet(servers: Servers, postgres_roles: Path) -> Iterator[Fleet]:
    """A database of its own: its time is another one."""
    with migrated(servers, postgres_roles) as made:
        yield made


def claimed_by(fleet: Fleet) -> Sequence[Claim]:
    """What the next tick claims."""
    claimed = fleet.claims.claim(LIMITS)
    assert claimed is not None
    return claimed.new


def test_hours_pass_for_whoever_asks(fleet: Fleet) -> None:
    """A device is due after hours that took a moment; what is written then has the time of then."""
    time = VirtualTime(fleet)
    device, _ = fleet.device(), fleet.workers(collect=2)
    fleet.sql("UPDATE device SET next_due_at = now() + interval '5 hours'")
    assert not claimed_by(fleet)
    before = time.now
    time.forward(timedelta(hours=6))
    assert timedelta(hours=6) <= time.now - before < timedelta(hours=6, minutes=5)
    fleet.sql("UPDATE process SET heartbeat_at = now()")
    assert len(claimed_by(fleet)) == 1
    row = fleet.sql("SELECT claimed_at, now() - claimed_at AS age FROM collection WHERE device_id = :d", d=device)[0]
    assert row.age < timedelta(minutes=5)
    with fleet.engine("scheduler").connect() as connection:
        assert connection.scalar(text("SELECT now()")) >= time.now - timedelta(minutes=5)
