"""What it costs to tell monitoring of 20,000 devices: gathering the figures, and answering a scrape.

Each device has ten days of collections behind it in a real PostgreSQL; one in ten is offline, blocked, overdue or
failing. What is timed is what beat does: the figures by its own role and login, then what a scrape of them takes, both
without and with every device by its name (CONFIG_METRICS_DEVICES=1). Beside the time on the wall the processor's: in
beat, which its ticks feel, and in PostgreSQL's process for its connection.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text

from backupflow.adapters.db.engine import transaction
from backupflow.cli.up import Install, installed
from backupflow.settings import Settings
from backupflow.tasks.gauges import EVERY_SECONDS, FleetGauges
from backupflow.wiring import Wiring, use

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICES = 20_000
RUNS = 40  # of each device: ten days, every six hours
_TIMES = 7
_BATCH = 10  # runs of all devices that are written at once
_FLEET = (
    "INSERT INTO site (tenant_id, name) SELECT id, 'site-' || n FROM tenant, generate_series(1, 200) n",
    """INSERT INTO credential_profile (tenant_id, name, username, method, sealed)
       SELECT id, 'p', 'u', 'password', 'vault:v1:x' FROM tenant""",
    """INSERT INTO device (tenant_id, name, host, site_id, credential_profile_id, last_seq, next_due_at, blocked_code,
           unreachable_since, settings)
       SELECT t.id, 'router-' || n, 'h-' || n, s.id, p.id, :runs,
           now() + (n % 360 + CASE WHEN n % 50 = 2 THEN -420 ELSE 1 END) * interval '1 minute',
           CASE WHEN n % 100 = 3 THEN 'host_key_mismatch' END, CASE WHEN n % 20 = 4 THEN now() END,
           CAST(CASE WHEN n % 7 = 5 THEN '{"interval_seconds": 86400}' ELSE '{}' END AS jsonb)
       FROM generate_series(1, :devices) n CROSS JOIN tenant t
       JOIN site s ON s.name = 'site-' || (1 + n % 200) JOIN credential_profile p ON p.name = 'p'""",
    """INSERT INTO content (tenant_id, device_id, normalization_version, content_hash, sealed, raw_bytes, first_seq)
       SELECT tenant_id, id, 1, 'x', 'vault:v1:x', 20000, 1 FROM device""",
)
_HISTORY = """
    INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, code, claimed_at, started_at, collected_at,
        ended_at, stored_at, digest, content_id, is_change, raw_bytes, interpreted_after_seq)
    SELECT d.tenant_id, d.id, seq, 'schedule', 'collect', CASE WHEN bad THEN 'failed' ELSE 'stored' END,
        CASE WHEN bad THEN 'device_timeout' END, at, at, at + interval '2 s', at + interval '3 s',
        at + interval '3 s', 'd', CASE WHEN NOT bad THEN c.id END, seq = 1, 20000, 0
    FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM device) d JOIN content c ON c.device_id = d.id
    CROSS JOIN generate_series(CAST(:first AS int), CAST(:last AS int)) seq
    CROSS JOIN LATERAL (SELECT now() - (:runs - seq) * interval '6 hours' - d.n % 300 * interval '1 minute' AS at,
        d.n % 25 = 6 AND seq > :runs - 4 AS bad) x"""
_CURRENT = (
    """UPDATE device d SET current_collection_id = c.id, current_seq = c.seq FROM collection c
       WHERE c.device_id = d.id AND c.state = 'stored' AND c.seq = (
           SELECT max(seq) FROM collection l WHERE l.device_id = d.id AND l.state = 'stored')""",
    "ANALYZE",
)


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--runs", type=int, default=RUNS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backupflow-bench-") as scratch:
        folder = Path(scratch)
        with installed(folder / "data", folder / "seal.key", lambda _: None, _environment()) as install:
            began = time.monotonic()
            _fill(install, asked.devices, asked.runs)
            took = time.monotonic() - began
            print(f"{asked.devices:,} devices with {asked.runs} collections each, written in {took:.0f} s")
            for devices in ("", "1"):
                _measure(install, devices)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "HOME") if name in os.environ}


def _fill(install: Install, devices: int, runs: int) -> None:
    engine = install.wiring.engine("migrator")
    values = {"devices": devices, "runs": runs}

    def run(statement: str, **more: int) -> None:
        with transaction(engine) as tx:
            tx.execute(text("SET LOCAL statement_timeout = 0"))
            tx.execute(text(statement), values | more)

    for statement in _FLEET:
        run(statement)
    for first in range(1, runs + 1, _BATCH):
        run(_HISTORY, first=first, last=min(first + _BATCH - 1, runs))
    for statement in _CURRENT:
        run(statement)


def _measure(install: Install, devices: str) -> None:
    environment = {**install.environment, "CONFIG_METRICS_DEVICES": devices, "CONFIG_METRICS_LISTEN": "127.0.0.1:0"}
    wiring = Wiring(Settings(environment))
    use(wiring)
    gauges, registry = FleetGauges(), CollectorRegistry()
    registry.register(gauges)
    gauges.gather()  # connects
    print(f"{'every device by its name' if devices else 'the install as a whole'}:")
    with transaction(wiring.engine("scheduler")) as tx:
        served_by = psutil.Process(tx.scalar(text("SELECT pg_backend_pid()")))
    before = sum(served_by.cpu_times()[:2])
    seconds, busy = _timed(gauges.gather)
    served = (sum(served_by.cpu_times()[:2]) - before) / _TIMES
    print(f"  gathered in {seconds:.3f} s: processor {busy:.3f} s in beat, {served:.3f} s in PostgreSQL, "
          f"every {EVERY_SECONDS:.0f} s: {100 * (busy + served) / EVERY_SECONDS:.1f} % of a core")  # fmt: skip
    seconds, busy = _timed(lambda: generate_latest(registry) + gauges.devices())
    told = generate_latest(registry) + gauges.devices()
    print(f"  scraped in {seconds:.4f} s: processor {busy:.4f} s, {told.count(b'{'):,} series with labels, "
          f"{len(told):,} bytes")  # fmt: skip
    wiring.close()


def _timed(act: Callable[[], object]) -> tuple[float, float]:
    """The median of both: seconds on the wall, and those that this process was busy."""
    wall, busy = [], []
    for _ in range(_TIMES):
        began, worked = time.monotonic(), time.process_time()
        act()
        wall.append(time.monotonic() - began)
        busy.append(time.process_time() - worked)
    return sorted(wall)[_TIMES // 2], sorted(busy)[_TIMES // 2]


if __name__ == "__main__":
    main()
