"""A device that changes without end: marked and claimed once a day, let go when a day was within the quota."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.db import flapping
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.turns import draw_nearer
from backupflow.core.flapping import Quota
from tests.integration.db.fleet import LIMITS

if TYPE_CHECKING:
    from backupflow.core.model import DeviceId
    from tests.integration.db.fleet import Fleet

QUOTA = Quota(changes=3, bytes=1000)
DAY = timedelta(days=1)


def observed(fleet: Fleet, device: DeviceId, count: int, *, size: int = 10, ago: timedelta = timedelta(0)) -> None:
    """So many changes, stored that long ago; and as many observations that were none."""
    fleet.sql(
        "WITH d AS (UPDATE device SET last_seq = last_seq + 2 * :count WHERE id = :d "
        "RETURNING id, tenant_id, last_seq), "
        "o AS (INSERT INTO content (tenant_id, device_id, normalization_version, content_hash, sealed, raw_bytes, "
        "first_seq) SELECT tenant_id, id, 1, sha256(CAST(last_seq::text AS bytea)), 'vault:v1:AA==', :size, last_seq "
        "FROM d RETURNING id) "
        "INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, collected_at, stored_at, ended_at, "
        "content_id, digest, content_hash, normalization_version, is_change, raw_bytes) "
        "SELECT d.tenant_id, d.id, d.last_seq - n, 'schedule', 'collect', 'stored', now() - :ago, now() - :ago, "
        "now() - :ago, o.id, 'x', 'x', 1, n % 2 = 0, :size FROM d, o, generate_series(0, 2 * :count - 1) n",
        d=device, count=count, size=size, ago=ago,
    )  # fmt: skip


def mind(fleet: Fleet, device: DeviceId) -> bool:
    """What the interpreter does after a change; whether the device flaps then."""
    with transaction(fleet.engine("interpreter")) as tx:
        flapping.mind(tx, device, QUOTA)
    return fleet.row("device", device).flapping_since is not None


def let_go(fleet: Fleet) -> int:
    """What it does in each round."""
    with transaction(fleet.engine("interpreter")) as tx:
        return flapping.let_go(tx, QUOTA)


def later(fleet: Fleet, device: DeviceId, span: timedelta) -> None:
    """All that was so far is so much longer ago."""
    fleet.sql("UPDATE device SET flapping_since = flapping_since - :span WHERE id = :d", d=device, span=span)
    fleet.sql("UPDATE collection SET collected_at = collected_at - :span WHERE device_id = :d", d=device, span=span)


@pytest.mark.parametrize(("count", "size"), [(4, 1), (2, 501)])
def test_a_device_above_its_quota_flaps_until_a_day_has_stayed_within(fleet: Fleet, count: int, size: int) -> None:
    """By changes or by their bytes; the alarm stands as long, and what was observed is kept."""
    device, other = fleet.device(), fleet.device()
    observed(fleet, other, 3)
    observed(fleet, device, count, size=size, ago=2 * DAY)
    assert not mind(fleet, device)
    observed(fleet, device, count, size=size)
    assert mind(fleet, device)
    assert mind(fleet, device)
    assert not mind(fleet, other)
    assert fleet.alarms() == [("flapping", f"device {device}")]
    later(fleet, device, DAY - timedelta(minutes=1))
    assert let_go(fleet) == 0
    observed(fleet, device, count, size=size)
    later(fleet, device, timedelta(minutes=2))
    assert let_go(fleet) == 0
    later(fleet, device, DAY)
    assert let_go(fleet) == 1
    assert fleet.row("device", device).flapping_since is None
    assert fleet.alarms() == []
    assert fleet.value("SELECT count(*) FROM collection WHERE device_id = :d AND is_change", d=device) == 3 * count


def test_that_a_device_is_new_is_no_change_of_it(fleet: Fleet) -> None:
    """The first snapshot counts neither as a change nor by its bytes; what comes after it does."""
    device = fleet.device()
    observed(fleet, device, 1, size=501)
    fleet.sql("UPDATE collection SET is_change = true WHERE device_id = :d AND seq = 1", d=device)
    fleet.sql("UPDATE collection SET is_change = false WHERE device_id = :d AND seq > 1", d=device)
    observed(fleet, device, 1, size=501)
    assert not mind(fleet, device)
    observed(fleet, device, 1, size=501)
    assert mind(fleet, device)


def test_a_device_that_flaps_is_claimed_once_a_day(fleet: Fleet) -> None:
    """After a run the next one is due a day later at least, in its phase; nothing draws it nearer, and others stay."""
    device, other = fleet.device(), fleet.device()
    fleet.workers(collect=9)
    observed(fleet, device, 4)
    assert mind(fleet, device)
    claimed = fleet.claims.claim(LIMITS)
    assert claimed is not None
    assert len(claimed.new) == 2
    interval = fleet.policy.interval

    def due_in(which: DeviceId) -> timedelta:
        found = fleet.value("SELECT next_due_at - now() FROM device WHERE id = :d", d=which)
        assert isinstance(found, timedelta)
        return found

    with transaction(fleet.engine("scheduler")) as tx:
        draw_nearer(tx, fleet.policy)
    assert DAY - timedelta(minutes=1) < due_in(device) <= DAY + interval
    assert due_in(other) <= interval
    phase = fleet.value("SELECT extract(epoch FROM next_due_at - anchor_at) FROM device WHERE id = :d", d=device)
    assert float(phase) % interval.total_seconds() == 0
    later(fleet, device, 2 * DAY)
    assert let_go(fleet) == 1
    with transaction(fleet.engine("scheduler")) as tx:
        draw_nearer(tx, fleet.policy)
    assert due_in(device) <= interval


def test_an_operators_backup_is_not_held_up(fleet: Fleet) -> None:
    """Who asks for a device that flaps gets it at once."""
    device = fleet.device(due=timedelta(hours=5))
    fleet.workers(collect=9)
    observed(fleet, device, 4)
    assert mind(fleet, device)
    fleet.sql(
        "INSERT INTO request (tenant_id, device_id, kind, requested_by) VALUES (:t, :d, 'backup', 'me')",
        t=fleet.tenant,
        d=device,
    )
    claimed = fleet.claims.claim(LIMITS)
    assert claimed is not None
    assert len(claimed.new) == 1
