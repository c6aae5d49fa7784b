"""Sets scenes for the commands: what collectors and ingesters would have written, sealed by the real vault."""

# ruff: noqa: ANN401 - what is observed has values of any type

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import typer.main
from sqlalchemy import text

from backupflow.adapters.db.collections import Collections
from backupflow.adapters.db.observations import Observations
from backupflow.cli import main
from backupflow.core.driver import Facts
from backupflow.core.envelope import pack
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.inventory import NewDevice
from backupflow.core.ledger import Assignment, Ending, KeptAside, Published
from backupflow.core.message import SnapshotMessage
from backupflow.core.model import (
    CollectionId,
    DeviceId,
    HostKey,
    Login,
    RawConfig,
    Secrets,
    Seq,
    State,
    content_hash,
    keyed_hash,
)
from backupflow.core.suspicion import Observed
from backupflow.drivers import driver
from backupflow.flows import enroll

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from tests.conftest import Install

# All commands with all their options are made of the program once, and not for each that is run.
_made = cache(typer.main.get_command)
_KEY = HostKey("ssh-ed25519", b"the key of the scene")
_CLAIM = """
    WITH seqs AS (UPDATE device SET last_seq = last_seq + 1 WHERE id = :device RETURNING tenant_id, last_seq)
    INSERT INTO collection (tenant_id, device_id, seq, trigger, lane)
    SELECT tenant_id, :device, last_seq, 'schedule', 'collect' FROM seqs RETURNING id"""
_OFFER = """
    INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint)
    SELECT tenant_id, id, :status, :type, :blob, :fingerprint FROM device WHERE id = :device"""


def export_text(comment: str, time: str = "2026-11-20 10:00:00") -> RawConfig:
    """An export of RouterOS 7; its header's time is no part of what is compared."""
    lines = [f"# {time} by RouterOS 7.14", "# software id = ABCD-EFGH", "#", "/ip address"]
    return RawConfig(
        "\r\n".join([*lines, f'add address=192.0.2.1/24 comment="{comment}" interface=ether1', ""]).encode()
    )


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it wrote."""

    code: int
    out: bytes
    err: str


class Stdin(io.TextIOWrapper):
    """What is piped into a command."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")


@dataclass(frozen=True)
class Scene:
    """An install, and a hand on everything in it."""

    install: Install
    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[bytes]

    def run(self, *arguments: str, stdin: bytes = b"") -> Ran:
        """Run a command in this process, as from a terminal whose output goes elsewhere."""
        self.capture.readouterr()
        self.monkeypatch.setattr(sys, "stdin", Stdin(stdin))
        self.monkeypatch.setattr(typer.main, "get_command", _made)
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        written = self.capture.readouterr()
        return Ran(int(ended.value.code or 0), written.out, written.err.decode())

    def rows(self, statement: str, **values: object) -> Sequence[Row[Any]]:
        """What the database holds, as the reader."""
        with self.install.wiring.engine("reader").begin() as tx:
            return tx.execute(text(statement), values).all()

    def write(self, role: str, statement: str, **values: object) -> int:
        """What another process writes; gives the number that it returns."""
        with self.install.wiring.engine(role).begin() as tx:
            done = tx.execute(text(statement), values)
            return int(done.scalar_one()) if done.returns_rows else 0

    def add(self, name: str = "core-1", host: str = "192.0.2.1") -> DeviceId:
        """Enrol a device."""
        tenant_id = self.install.wiring.devices("reader").tenant("default")
        new = NewDevice(tenant_id, DeviceId(uuid4()), name, host, 22, "routeros", {})
        login = Login("backup", password="s3cret")
        return enroll.add(self.install.wiring.enroll_ports("test"), new, login).device.device_id

    def offer(self, device_id: DeviceId, blob: bytes, status: str = "offered") -> HostKey:
        """Record a host key as the collector does."""
        key = HostKey("ssh-ed25519", blob)
        values = {"status": status, "type": key.key_type, "blob": blob, "fingerprint": key.fingerprint}
        self.write("collector", _OFFER, device=device_id, **values)
        return key

    def block(self, device_id: DeviceId, code: str) -> None:
        """Leave a device as the collector does that blocks it."""
        statement = "UPDATE device SET blocked_code = :code, blocked_at = now(), failures = 3 WHERE id = :device"
        self.write("collector", statement, code=code, device=device_id)
        self.install.wiring.alarms("scheduler").alarm(code, f"device {device_id}", "blocked")

    def claim(self, device_id: DeviceId) -> Assignment:
        """Claim and start a collection."""
        collection_id = CollectionId(self.write("scheduler", _CLAIM, device=device_id))
        started = Collections(self.install.wiring.engine("collector"), self.install.wiring.policy).start(
            collection_id, "test"
        )
        assert isinstance(started, Assignment)
        return started

    def observe(self, device_id: DeviceId, raw: RawConfig, **observed: Any) -> Seq:
        """Store an export as collector and ingester do; `observed` is said of it instead of what is usual."""
        wiring = self.install.wiring
        assignment = self.claim(device_id)
        read = self._read(assignment, raw, **observed)
        assert Collections(wiring.engine("collector"), wiring.policy).publish(assignment, read.published)
        message = SnapshotMessage(
            assignment.tenant_id,
            device_id,
            assignment.collection_id,
            assignment.seq,
            NORMALIZATION_VERSION,
            read.published.observed.content_hash,
            read.sealed,
        )
        stored = Observations(wiring.engine("ingester"), wiring.dice).store([message])
        assert [outcome.acceptable for outcome in stored] == [True]
        return assignment.seq

    def doubt(self, device_id: DeviceId, raw: RawConfig, **observed: Any) -> Seq:
        """Keep an export aside as a collector does that does not believe it."""
        wiring = self.install.wiring
        assignment = self.claim(device_id)
        aside = self._read(assignment, raw, **observed)
        ending = Ending(State.SUSPECT, "export_suspect", "1 sections, it had 2", counts=True, aside=aside)
        assert Collections(wiring.engine("collector"), wiring.policy).end(assignment, ending)
        return assignment.seq

    def _read(self, assignment: Assignment, raw: RawConfig, **observed: Any) -> KeptAside:
        vault = self.install.wiring.vault("collector")
        normal = driver("routeros").normalize(raw)
        pepper = vault.open_pepper(assignment.tenant_id, assignment.sealed_pepper)
        said = Observed(
            content_hash(pepper, normal),
            NORMALIZATION_VERSION,
            shape_hash=keyed_hash(pepper, b"one item"),
            masked_hash=keyed_hash(pepper, normal),
            sections=1,
            size=len(normal),
            secret_count=0,
            secrets=Secrets.NONE,
            facts=Facts("routeros", version="7.14"),
        )
        said = replace(said, **observed)
        owner = (assignment.tenant_id, assignment.device_id, assignment.seq)
        envelope = pack(owner, raw, normal, NORMALIZATION_VERSION)
        sealed = vault.seal_config(assignment.tenant_id, assignment.device_id, envelope)
        return KeptAside(Published(said, sealed.digest, "/export", 0, len(raw), _KEY, modern_ssh=True), sealed)
