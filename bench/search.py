"""Searching a fleet: 1,000 devices with distinct exports of 60 kB, in a real PostgreSQL and OpenBao.

The exports are those of simulated routers. They are written by hand, as collectors and ingesters would. What is timed
is the command, as a process of its own, from its start to its end; beside it its processor time and memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import text

from backupflow.adapters.db.engine import transaction
from backupflow.adapters.vault.keyring import b64
from backupflow.cli.up import Install, installed
from backupflow.core.envelope import pack
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.model import DeviceId, Pepper, Purpose, RawConfig, SealedSecret, Seq, TenantId, content_hash
from backupflow.drivers import driver
from backupflow.simulator.configuration import export, rendered
from backupflow.simulator.extent import Extent
from backupflow.simulator.spec import RouterSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEVICES, SIZE = 1000, 60_000
_BATCH = 100  # texts that are sealed at once
_DEVICE = text("""
    INSERT INTO device (id, tenant_id, name, host, last_seq, anchor_at)
    VALUES (:id, :tenant, :name, :name, 1, now())""")
_CONTENT = text("""
    WITH made AS (
        INSERT INTO content (tenant_id, device_id, normalization_version, content_hash, sealed, raw_bytes, first_seq)
        VALUES (:tenant, :id, :version, :hash, :sealed, :bytes, 1) RETURNING id)
    INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, claimed_at, collected_at, ended_at,
        stored_at, content_hash, digest, normalization_version, raw_bytes, facts, content_id, is_change)
    SELECT :tenant, :id, 1, 'schedule', 'collect', 'stored', now(), now(), now(), now(), :hash, :hash, :version,
        :bytes, '{}', id, true FROM made""")
_CURRENT = text("""
    UPDATE device d SET current_seq = 1, current_collection_id = c.id FROM collection c WHERE c.device_id = d.id""")


def main() -> None:
    """Run it and print the figures."""
    with kept_install(__doc__, DEVICES, SIZE) as folder:
        _measure(folder / "data")


@contextmanager
def kept_install(about: str | None, devices: int, size: int) -> Iterator[Path]:
    """A folder with an install that runs and keeps a fleet; how large, the command line may say."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--devices", type=int, default=devices)
    parser.add_argument("--size", type=int, default=size, help="bytes of an export, roughly")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backupflow-bench-") as scratch:
        folder = Path(scratch)
        with installed(folder / "data", folder / "seal.key", lambda _: None, environment()) as install:
            kept = kept_fleet(install, asked.devices, asked.size)
            print(f"{asked.devices:,} devices, {kept / asked.devices / 1000:.0f} kB each")
            yield folder


def environment() -> dict[str, str]:
    """What a process of an install needs of this one's."""
    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "HOME") if name in os.environ}


def kept_fleet(install: Install, devices: int, size: int) -> int:
    """Write so many devices with an export each, sealed; gives the bytes of all exports."""
    wiring = install.wiring
    tenant_id = wiring.devices("reader").tenant("default")
    with transaction(wiring.engine("reader")) as tx:
        sealed = tx.execute(text("SELECT pepper FROM tenant WHERE id = :t"), {"t": tenant_id}).scalar_one()
    pepper = wiring.vault("collector").open_pepper(tenant_id, SealedSecret(sealed))
    total = 0
    for first in range(0, devices, _BATCH):
        rows = list(_rows(tenant_id, pepper, range(first, min(first + _BATCH, devices)), size))
        for row, text_of_it in zip(rows, _sealed(install, tenant_id, rows), strict=True):
            row["sealed"] = text_of_it
        with transaction(wiring.engine("migrator")) as tx:
            tx.execute(_DEVICE, rows)
            tx.execute(_CONTENT, rows)
        total += sum(row["bytes"] for row in rows)
    with transaction(wiring.engine("migrator")) as tx:
        tx.execute(_CURRENT)
        tx.execute(text("ANALYZE"))
    return total


def _rows(tenant_id: TenantId, pepper: Pepper, numbers: range, size: int) -> Iterator[dict[str, Any]]:
    routeros = driver("routeros")
    for number in numbers:
        spec = RouterSpec(f"router-{number:04}", seed=number, size=size)
        raw = RawConfig(export(spec, rendered(spec, (), Extent()), datetime.now(UTC), 0, 0.0))
        device_id, normal = DeviceId(uuid4()), routeros.normalize(raw)
        yield {
            "id": device_id,
            "tenant": tenant_id,
            "name": spec.name,
            "version": NORMALIZATION_VERSION,
            "hash": content_hash(pepper, normal),
            "bytes": len(raw),
            "envelope": pack((tenant_id, device_id, Seq(1)), raw, normal, NORMALIZATION_VERSION),
        }


def _sealed(install: Install, tenant_id: TenantId, rows: Sequence[dict[str, Any]]) -> list[str]:
    batch = [{"plaintext": b64(row.pop("envelope")), "context": b64(row["id"].bytes)} for row in rows]
    vault = install.wiring.vault("collector")
    answer = vault.call("POST", f"transit/encrypt/{Purpose.DATA}-{tenant_id}", {"batch_input": batch})
    return [str(result["ciphertext"]) for result in answer["data"]["batch_results"]]


def _measure(data: Path) -> None:
    commands = [
        ("--limit", "1000000", "disabled"),
        ("--count", "192.168"),
        ("--count", "--regexp", r"password=[^ ]+|(\d{1,3}\.){3}\d{1,3}/2[0-9]"),
        ("--count", "nowhere to be found"),
        ("--count", "--reveal", "nowhere to be found"),
        ("--devices", "--component", "ip/firewall", "-i", "ESTABLISHED"),
    ]
    print(f"{'search':70} {'seconds':>8} {'CPU s':>7} {'MB':>5} {'lines':>7}")
    for command in commands:
        argv = [sys.executable, "-m", "backupflow", "--data-dir", str(data), "search", *command]
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(argv, capture_output=True, check=False, env=environment())
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(f"{command}: {done.stderr.decode()}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        lines = done.stdout.count(b"\n")
        print(f"{' '.join(command):70} {seconds:8.1f} {cpu:7.1f} {after.ru_maxrss / 1000:5.0f} {lines:7,}")
        print(f"    {done.stderr.decode().strip()}")


if __name__ == "__main__":
    main()
