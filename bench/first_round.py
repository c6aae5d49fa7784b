"""The first round of a fleet: simulated routers, distinct 60 kB exports, a whole install, from nothing to stored.

Everything is as shipped (fsync on), but for the concurrency and the first-run spread, which is 0. The routers run in a
process of their own; its CPU is shown apart, since on one machine it takes from what is measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from sqlalchemy import text

from backupflow.adapters.db.engine import transaction
from backupflow.core.model import Login
from tests.acceptance.install import Install, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    Usage = Mapping[str, tuple[float, float]]

LONGEST_SECONDS = 600.0
PARTS = {
    "postgres": "PostgreSQL",
    "valkey-server": "Valkey",
    "nats-server": "NATS",
    "bao": "OpenBao",
    "Q collect.now": "worker collect",
    "Q collect.slow": "worker collect-slow",
    "Q ingest": "worker ingest",
    "Q maintain": "worker maintain",
    "tasks.command beat": "beat",
    "backupflow.simulator": "(simulated routers)",
    "backupflow --data-dir": "up",
}


def main() -> None:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routers", type=int, default=500)
    parser.add_argument("--size", type=int, default=60_000, help="bytes of an export, roughly")
    parser.add_argument("--concurrency", type=int, default=50)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backupflow-bench-") as scratch:
        _run(Path(scratch), asked.routers, asked.size, asked.concurrency)


def _run(root: Path, routers: int, size: int, concurrency: int) -> None:
    # Enrolled with a spread of an hour, then all made due by one statement: so the first round has a beginning.
    hour = {"CONFIG_BACKUP_SPREAD_FROM": 3600, "CONFIG_BACKUP_SPREAD_TO": 3600}
    install = Install(root, CONFIG_BACKUP_MAX_CONCURRENT=concurrency, **hour)
    simulator, fleet = _simulate(root, routers, size)
    install.start()
    try:
        for router in fleet:
            install.add(router["name"], router["port"], Login(router["username"], router["password"]))
        before = usage(install, simulator)
        began = time.monotonic()
        with transaction(install.wiring.engine("operator")) as tx:
            tx.execute(text("UPDATE device SET next_due_at = now()"))
        wait_for(lambda: _stored(install) == routers, f"{routers} stored exports", LONGEST_SECONDS)
        seconds = time.monotonic() - began
        after = usage(install, simulator)
        print(f"{routers} routers, {_bytes(install) / routers / 1000:.0f} kB each, concurrency {concurrency}, fsync on")
        print(f"first round: {seconds:.1f} s, {routers / seconds:.1f} exports/s")
        table_of(before, after, seconds)
    finally:
        install.stop()
        simulator.terminate()
        simulator.wait(10)


def _simulate(root: Path, routers: int, size: int) -> tuple[subprocess.Popen[bytes], list[dict[str, Any]]]:
    announced = root / "routers.jsonl"
    argv = [sys.executable, "-m", "backupflow.simulator", "--count", str(routers), "--size", str(size)]
    simulator = subprocess.Popen([*argv, "--announce", str(announced), "--ignore-stdin"])
    wait_for(announced.exists, "the simulated routers", 60)
    return simulator, [json.loads(line) for line in announced.read_text("utf-8").splitlines()]


def _stored(install: Install) -> int:
    return int(install.rows("SELECT count(*) AS n FROM content")[0].n)


def _bytes(install: Install) -> int:
    return int(install.rows("SELECT sum(raw_bytes) AS n FROM content")[0].n)


def usage(install: Install, simulator: subprocess.Popen[bytes]) -> Usage:
    """Part -> CPU seconds and proportional memory (MB) so far."""
    usage: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for process in [*install.processes(), psutil.Process(simulator.pid)]:
        try:
            command = " ".join(process.cmdline())
            times, memory = process.cpu_times(), process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        part = next((shown for sign, shown in PARTS.items() if sign in command), "other")
        if process.parent() and process.name() == "postgres":
            part = "PostgreSQL"
        cpu, resident = usage[part]
        usage[part] = (cpu + times.user + times.system, resident + memory.pss / 1e6)
    return usage


def table_of(before: Usage, after: Usage, seconds: float) -> None:
    """Print what each part used between two looks that lie so many seconds apart."""
    print(f"{'part':22} {'CPU s':>7} {'% core':>7} {'PSS MB':>7}")
    for part, (cpu, resident) in sorted(after.items(), key=lambda item: -item[1][0]):
        used = cpu - before.get(part, (0.0, 0.0))[0]
        print(f"{part:22} {used:7.1f} {100 * used / seconds:7.0f} {resident:7.0f}")
