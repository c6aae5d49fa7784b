"""Reading what changed: 20,000 revisions of one device, and a year of another, in a real PostgreSQL and OpenBao.

The year is 1,460 collections with 60 changes among them. Each text is an export of some 20 kB in which one rule
differs; texts, changes and diffs are those that an interpreter makes, and are sealed by the vault. They are written by
hand, as collectors, ingesters and interpreters would, since that would take hours. What is timed are commands, as
processes of their own, from their start to their end; beside it what of that is the start of Python and of typer.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import text

from backupflow.adapters.db.engine import transaction
from backupflow.adapters.vault.keyring import b64
from backupflow.cli.up import Install, installed
from backupflow.core.enclosure import Label, What, enclose
from backupflow.core.envelope import pack
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.interpretation import Question
from backupflow.core.interpreting import interpret
from backupflow.core.inventory import NewDevice
from backupflow.core.model import (
    DeviceId,
    Login,
    NormalConfig,
    Purpose,
    RawConfig,
    SealedSecret,
    Seq,
    TenantId,
    content_hash,
)
from backupflow.drivers import driver
from backupflow.flows import enroll

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupflow.core.interpretation import Interpretation
    from backupflow.core.model import Pepper

REVISIONS = 20_000
RUNS, CHANGES = 1460, 60
RULES = 180  # lines of some 100 bytes
_BATCH = 100  # texts that are sealed at once
_TIMES = 5
_CONTENT = text("""
    INSERT INTO content (tenant_id, device_id, normalization_version, content_hash, sealed, raw_bytes, first_seq)
    VALUES (:tenant, :device, :version, :hash, :sealed, :bytes, :seq)""")
_COLLECTION = text("""
    INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, claimed_at, collected_at, ended_at,
        stored_at, content_hash, digest, normalization_version, raw_bytes, facts, content_id, is_change,
        interpreted_after_seq)
    SELECT :tenant, :device, :seq, 'schedule', 'collect', 'stored', :at, :at, :at, :at, :hash, :hash, :version, :bytes,
        '{"version": "7.14", "secrets": "shown"}', id, :change, :after
    FROM content WHERE device_id = :device AND content_hash = :hash""")
_TOLD = text("""
    INSERT INTO interpretation (collection_id, tenant_id, device_id, seq, after_seq, at, normalization_version, kind,
        lines_added, lines_removed, changes, components, changes_sealed, diff_sealed)
    SELECT id, tenant_id, device_id, seq, :after, collected_at, :version, :kind, :added, :removed, :count,
        CAST(:components AS jsonb), :changes, :diff
    FROM collection WHERE device_id = :device AND seq = :seq""")


@dataclass(frozen=True)
class Revision:
    """One text of a device: where it stands, and what an interpreter makes of it."""

    seq: Seq
    raw: RawConfig
    normal: NormalConfig
    found: Interpretation | None  # None: the first


@dataclass(frozen=True)
class Place:
    """Whose texts they are, and what seals them."""

    install: Install
    tenant_id: TenantId
    device_id: DeviceId
    pepper: Pepper

    def sealed(self, envelopes: Sequence[bytes]) -> list[str]:
        """Sealed for the device, in one request."""
        context = b64(self.device_id.bytes)
        batch = [{"plaintext": b64(envelope), "context": context} for envelope in envelopes]
        vault = self.install.wiring.vault("collector")
        answer = vault.call("POST", f"transit/encrypt/{Purpose.DATA}-{self.tenant_id}", {"batch_input": batch})
        return [str(result["ciphertext"]) for result in answer["data"]["batch_results"]]


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--revisions", type=int, default=REVISIONS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backupflow-bench-") as scratch:
        folder = Path(scratch)
        with installed(folder / "data", folder / "seal.key", lambda _: None, _environment()) as install:
            began = time.monotonic()
            _write_all(install, asked.revisions)
            print(f"{asked.revisions:,} revisions and a year of {RUNS:,} runs with {CHANGES} changes, "
                  f"written in {time.monotonic() - began:.0f} s")  # fmt: skip
            _measure(folder / "data", asked.revisions)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "HOME") if name in os.environ}


def _write_all(install: Install, revisions: int) -> None:
    every = range(1, revisions + 1)
    _write(_place(install, "many"), every, {seq: seq for seq in every})
    changed = {1 + number * RUNS // CHANGES for number in range(CHANGES)}
    number, numbers = 0, {}
    for seq in range(1, RUNS + 1):
        number += seq in changed
        numbers[seq] = number
    _write(_place(install, "year"), range(1, RUNS + 1), numbers)


def _place(install: Install, name: str) -> Place:
    wiring = install.wiring
    tenant_id = wiring.devices("enroller").tenant("default")
    new = NewDevice(tenant_id, DeviceId(uuid4()), name, f"{name}.invalid", 22, "routeros", {})
    enroll.add(wiring.enroll_ports("bench"), new, Login("backup", "secret"))
    with transaction(wiring.engine("reader")) as tx:
        sealed = tx.execute(text("SELECT pepper FROM tenant WHERE id = :t"), {"t": tenant_id}).scalar_one()
    pepper = wiring.vault("collector").open_pepper(tenant_id, SealedSecret(sealed))
    return Place(install, tenant_id, new.device_id, pepper)


def _write(place: Place, seqs: range, numbers: dict[int, int]) -> None:
    """`numbers` says which text each collection has; texts come in their order."""
    began = datetime.now(UTC) - timedelta(hours=6) * len(seqs)
    firsts = {number: seq for seq, number in reversed(numbers.items())}
    revisions, hashes = _revisions(place, firsts), dict[int, bytes]()
    for batch in _batches(seqs):
        new = [next(revisions) for seq in batch if firsts[numbers[seq]] == seq]
        hashes |= {numbers[one.seq]: _hash(place, one) for one in new}
        _write_batch(place, batch, new, {seq: hashes[numbers[seq]] for seq in batch}, began)
    with transaction(place.install.wiring.engine("migrator")) as tx:
        values = {"device": place.device_id, "seq": seqs[-1]}
        tx.execute(
            text("""
            UPDATE device SET last_seq = :seq, current_seq = :seq, next_due_at = 'infinity', current_collection_id = (
                SELECT id FROM collection WHERE device_id = :device AND seq = :seq) WHERE id = :device"""),
            values,
        )
        tx.execute(text("ANALYZE"))


def _revisions(place: Place, firsts: dict[int, int]) -> Iterator[Revision]:
    """What is interpreted is what an interpreter is given: the normal forms of two neighbours."""
    routeros = driver("routeros")
    before: NormalConfig | None = None
    for number, seq in sorted(firsts.items()):
        raw = _export(number)
        normal = routeros.normalize(raw)
        question = Question("routeros", None, raw, place.pepper)
        found = None if before is None else interpret(question, before, normal, routeros)
        before = normal
        yield Revision(Seq(seq), raw, normal, found)


def _export(number: int) -> RawConfig:
    """One rule differs from that of the number before, and a password every tenth time."""
    lines = ["# 2026-11-20 10:00:00 by RouterOS 7.14", "# software id = ABCD-EFGH", "#", "/ip firewall filter"]
    for rule in range(RULES):
        port = 1024 + (number + RULES - 1 - rule) // RULES
        lines.append(
            f'add action=accept chain=forward comment="rule {rule:04}" dst-port={port} protocol=tcp '
            f"src-address=10.{rule}.0.0/16"
        )
    lines += ["/ppp secret", f"add name=somebody password=word-{number // 10}", ""]
    return RawConfig("\r\n".join(lines).encode())


def _hash(place: Place, revision: Revision) -> bytes:
    return content_hash(place.pepper, revision.normal)


def _write_batch(
    place: Place, batch: Sequence[int], new: Sequence[Revision], hashes: dict[int, bytes], began: datetime
) -> None:
    owner = {"tenant": place.tenant_id, "device": place.device_id, "version": NORMALIZATION_VERSION}
    seqs = {one.seq for one in new}
    with transaction(place.install.wiring.engine("migrator")) as tx:
        if new:
            tx.execute(_CONTENT, [{**owner, **one} for one in _contents(place, new)])
        tx.execute(
            _COLLECTION,
            [
                {
                    **owner, "seq": seq, "at": began + timedelta(hours=6) * seq, "hash": hashes[seq], "bytes": 20_000,
                    "change": seq in seqs, "after": seq - 1 if seq in seqs else None,
                }
                for seq in batch
            ],
        )  # fmt: skip
        if new:
            tx.execute(_TOLD, [{**owner, **one} for one in _told(place, new)])


def _contents(place: Place, new: Sequence[Revision]) -> Iterator[dict[str, Any]]:
    envelopes = [
        pack((place.tenant_id, place.device_id, one.seq), one.raw, one.normal, NORMALIZATION_VERSION) for one in new
    ]
    for one, sealed in zip(new, place.sealed(envelopes), strict=True):
        yield {"seq": one.seq, "hash": _hash(place, one), "sealed": sealed, "bytes": len(one.raw)}


def _told(place: Place, new: Sequence[Revision]) -> Iterator[dict[str, Any]]:
    def enclosed(what: What) -> list[str]:
        labels = [Label(place.tenant_id, place.device_id, one.seq, Seq(one.seq - 1), what) for one in new]
        bodies = [getattr(one.found, what) or b"" if one.found else b"" for one in new]
        return place.sealed([enclose(label, body) for label, body in zip(labels, bodies, strict=True)])

    for one, changes, diff in zip(new, enclosed(What.CHANGES), enclosed(What.DIFF), strict=True):
        found = one.found
        yield {
            "seq": one.seq,
            "after": one.seq - 1,
            "kind": found.kind if found else "first",
            "added": found.lines_added if found else 0,
            "removed": found.lines_removed if found else 0,
            "count": found.count if found else 0,
            "components": json.dumps(found.components if found else ()),
            "changes": changes if found else None,
            "diff": diff if found else None,
        }


def _batches(seqs: range) -> Iterator[range]:
    return (seqs[at : at + _BATCH] for at in range(0, len(seqs), _BATCH))


def _measure(data: Path, revisions: int) -> None:
    middle = str(revisions // 2)
    commands = [
        ("--help",),
        ("tenant", "list"),  # what any command costs that asks the database
        ("history", "many"),
        ("history", "many", "--limit", "1000"),
        ("history", "many", "--component", "ip/firewall"),
        ("history", "many", "--component", "system/note"),
        ("history", "--all", "--since", "7d"),
        ("history", "--all", "--component", "system/note"),
        ("diff", "many"),
        ("diff", "many", middle),
        ("diff", "many", "1", "now"),
        ("show", "many", middle),
        ("snapshots", "many"),
        ("history", "year"),
        ("history", "year", "--limit", "100"),
        ("diff", "year"),
    ]
    print(f"{'command':45} {'median':>8} {'slowest':>8} {'its CPU':>8} {'lines':>7}")
    for command in commands:
        told = [_timed(data, command) for _ in range(_TIMES)]
        seconds, cpu = sorted(one.seconds for one in told), min(one.cpu for one in told)
        print(
            f"{' '.join(command):45} {seconds[_TIMES // 2]:6.2f} s {seconds[-1]:6.2f} s {cpu:6.2f} s {told[0].lines:7,}"
        )


@dataclass(frozen=True)
class Timed:
    """How long a command took from its start to its end, what it computed itself, and how much it said."""

    seconds: float
    cpu: float
    lines: int


def _timed(data: Path, command: Sequence[str]) -> Timed:
    argv = [sys.executable, "-m", "backupflow", "--data-dir", str(data), *command]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(argv, capture_output=True, check=False, env=_environment())
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr.decode()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Timed(seconds, cpu, done.stdout.count(b"\n"))


if __name__ == "__main__":
    main()
