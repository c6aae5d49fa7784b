"""The job `watch` on a real PostgreSQL, as the role `operator`: its alarms come, last, and go with their cause."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.adapters.db.alarms import Alarms
from backupflow.adapters.db.watching import Watches
from backupflow.flows.watching import watch

if TYPE_CHECKING:
    from uuid import UUID

    from backupflow.flows.maintain import Ran
    from tests.integration.db.fleet import Fleet

LATE = timedelta(minutes=-37)  # the interval is six hours
NOT_YET = timedelta(minutes=-35)


@pytest.fixture
def watched(fleet: Fleet) -> Fleet:
    """A fleet with the job's row."""
    fleet.sql("INSERT INTO job (name, every) VALUES ('watch', interval '1 minute')")
    return fleet


def look(fleet: Fleet) -> Ran:
    """Run it once."""
    return watch(Watches(fleet.engine("operator"), fleet.policy))


def site(fleet: Fleet, name: str = "north") -> UUID:
    """A site."""
    made: UUID = fleet.value("INSERT INTO site (tenant_id, name) VALUES (:t, :n) RETURNING id", t=fleet.tenant, n=name)
    return made


def standing(fleet: Fleet, code: str) -> dict[str, str]:
    """The alarms of a code that stand."""
    return {
        row.scope: row.detail for row in fleet.sql("SELECT * FROM alarm WHERE cleared_at IS NULL AND code = :c", c=code)
    }


def test_late_devices_are_one_alarm_for_a_site(watched: Fleet) -> None:
    """It stands until none of them is late; a device that is paused, blocked, away or only just due has no part."""
    north = site(watched)
    late = [watched.device(due=LATE, site_id=north, name=name) for name in ("a", "b")]
    alone = watched.device(due=LATE, name="alone")
    others: tuple[dict[str, Any], ...] = (
        {"status": "paused"}, {"blocked_code": "host_key_mismatch"}, {"unreachable_since": "now"}, {"settings": {}},
        {"maintenance_until": "tomorrow"},
    )  # fmt: skip
    for columns in others:
        watched.device(due=NOT_YET if "settings" in columns else LATE, site_id=site(watched, str(columns)), **columns)
    assert look(watched).counts == {"overdue": 2, "capacity": 0}
    told = standing(watched, "overdue")
    assert told.keys() == {f"site {north}", f"device {alone}"}
    assert "2 devices at north are overdue" in told[f"site {north}"]
    watched.sql("UPDATE device SET next_due_at = now() WHERE id = :d", d=late[0])
    assert look(watched).counts["overdue"] == 2
    assert standing(watched, "overdue") == told  # and was not told once more
    watched.sql("UPDATE device SET next_due_at = now()")
    assert look(watched).outcome == "nothing to do"
    assert standing(watched, "overdue") == {}
    assert watched.value("SELECT count(*) FROM alarm WHERE tenant_id = :t", t=watched.tenant) == 2


def test_a_claim_that_nobody_starts_is_late(watched: Fleet) -> None:
    """Its due time lies ahead already."""
    device = watched.device(due=timedelta(hours=5))
    claim = """INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, claimed_at)
        SELECT tenant_id, id, 1, 'schedule', 'collect', now() - interval '40 minutes' FROM device"""
    watched.sql(claim)
    assert look(watched).counts["overdue"] == 1
    assert standing(watched, "overdue").keys() == {f"device {device}"}


def test_what_is_late_through_no_delay_of_its_own_is_not_told(watched: Fleet) -> None:
    """While the vault is away, and just after it, everything is late: one alarm says so already."""
    watched.device(due=LATE)
    alarms = Alarms(watched.engine("scheduler"))
    alarms.settle("claiming", "vault_unavailable", "sealed")
    assert look(watched).counts["overdue"] == 0
    alarms.settle("claiming")
    assert look(watched).counts["overdue"] == 0
    watched.sql("UPDATE alarm SET cleared_at = now() - interval '16 minutes'")
    assert look(watched).counts["overdue"] == 1
    alarms.settle("claiming", "vault_unavailable", "sealed")
    assert look(watched).counts["overdue"] == 1  # what stands, stands


def test_too_few_slots_are_told_when_that_lasts(watched: Fleet) -> None:
    """Remembered in the job's row, so that a restart forgets nothing; one more worker ends it."""
    passed = watched.passed("a")
    watched.observations.store([passed])
    watched.sql("UPDATE collection SET started_at = collected_at - interval '60 s'")
    watched.sql("UPDATE device SET settings = jsonb_build_object('interval_seconds', 30)")
    watched.workers(collect=1)
    assert look(watched).counts["capacity"] == 0
    noted = watched.value("SELECT noted ->> 'short_since' FROM job WHERE name = 'watch'")
    assert noted is not None
    assert look(watched).counts["capacity"] == 0
    assert watched.value("SELECT noted ->> 'short_since' FROM job WHERE name = 'watch'") == noted
    watched.sql("UPDATE job SET noted = jsonb_build_object('short_since', now() - interval '15 minutes')")
    assert look(watched).counts["capacity"] == 1
    assert standing(watched, "capacity") == {"slots": "needs 2 of 1 slots"}
    watched.workers(collect=2)
    assert look(watched).counts["capacity"] == 0
    assert standing(watched, "capacity") == {}
