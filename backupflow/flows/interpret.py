"""Stored changes are interpreted: opened, compared with what was just before them, sealed again and recorded.

Ingest never waits for it. What cannot be read is marked as unread, with the reason, and nothing else waits for it.
"""

from __future__ import annotations

import hmac
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from backupflow.core.edits import LONGEST_LOG, Witness
from backupflow.core.edits import unpack as unpack_log
from backupflow.core.enclosure import Label, What, enclose, enclosed
from backupflow.core.envelope import unpack
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.interpretation import TRIES, Enclosed, Interpretation, Kind, Question
from backupflow.core.model import Purpose, SealedConfig, Seq
from backupflow.core.told_change import is_told, pack_lines
from backupflow.core.verification import DAMAGED, alarm_scope
from backupflow.errors import BackupflowError, MessageMalformed, OutputTooLarge, TransitKeyMissing, Verdict
from backupflow.flows.ingest import check_marks

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.history import SealedSnapshot
    from backupflow.core.interpretation import Answer, Owed
    from backupflow.core.model import CollectionId, Pepper, RawConfig, SealedSecret, TenantId
    from backupflow.core.ports import (
        AlarmBell,
        Canary,
        ConfigOpener,
        InterpretationStore,
        Interpreter,
        KeyLedger,
        Sealer,
        SecretOpener,
    )

LARGEST_PART: Final = 20 * 1024 * 1024  # bytes of one sealed plaintext: the vault takes no more than 32 MiB at once


@dataclass(frozen=True, slots=True)
class InterpretPorts:
    """What interpreting needs of the world. `unexpected` is told what nobody foresaw about one change.

    `max_bytes`: the largest export that was ever accepted. `about` is told whose change is read from here on, and
    None at the end; `settled` what came of it.
    """

    store: InterpretationStore
    interpreter: Interpreter
    configs: ConfigOpener
    secrets: SecretOpener
    sealer: Sealer
    keys: KeyLedger
    canary: Canary
    alarms: AlarmBell
    unexpected: Callable[[Exception], None]
    max_bytes: int
    about: Callable[[CollectionId | None], None] = lambda _id: None
    settled: Callable[[str], None] = lambda _outcome: None


@dataclass(slots=True)
class Interpreted:
    """What one round did.

    `alarms` are (scope, detail) of those that it raised, `keys` why tenants have not their keys, or "" if they have.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    alarms: list[tuple[str, str]] = field(default_factory=list)
    keys: dict[TenantId, str] = field(default_factory=dict)
    idle: bool = False  # nothing is left, with anybody


class _Damaged(Exception):
    """A snapshot is not what was collected."""

    def __init__(self, snapshot: SealedSnapshot, why: str) -> None:
        super().__init__(why)
        self.snapshot = snapshot
        self.why = why


class _GivenUp(Exception):
    """A snapshot is sealed with keys that were given up."""


def interpret(ports: InterpretPorts, enough: Callable[[], bool]) -> Interpreted:
    """Take one after the other until there is none left, or enough.

    A server of ours that is away ends the round with its error: what was taken is given back, and counts nothing.
    """
    ports.store.let_go()
    round_ = _Round(ports)
    try:
        while not enough() and (owed := ports.store.take([one for one, why in round_.done.keys.items() if why])):
            ports.about(owed.collection_id)
            round_.one(owed)
    finally:
        ports.about(None)
    round_.done.idle = not round_.done.outcomes and not ports.store.waits()
    return round_.done


class _Round:
    def __init__(self, ports: InterpretPorts) -> None:
        self.ports = ports
        self.done = Interpreted()
        self._peppers: dict[tuple[TenantId, SealedSecret], Pepper] = {}

    def one(self, owed: Owed) -> None:
        try:
            self._read(owed)
        except TransitKeyMissing as exc:
            self._without_key(owed, exc)
        except BackupflowError as exc:
            if exc.verdict is not Verdict.PAUSE or exc.code in _OF_THE_TEXT:
                self._failed(owed, f"{exc.code}: {exc.detail}")
                return
            self.ports.store.give_back(owed)
            raise
        except Exception as exc:  # noqa: BLE001 - a defect that one change finds must not hold up the others
            self.ports.unexpected(exc)
            self._failed(owed, f"a defect: {type(exc).__name__}")

    def _read(self, owed: Owed) -> None:
        if owed.tries > TRIES:
            self._write_unread(owed, f"{TRIES} tries to read it ended before they had read it")
            return
        try:
            question = self._question(owed)
            answer = self.ports.interpreter.answer(question)
            _check(owed, answer)
        except _Damaged as exc:
            scope = alarm_scope(exc.snapshot.device_id, exc.snapshot.first_seq)
            if self.ports.alarms.alarm(DAMAGED, scope, f"{exc.snapshot.device_name}: {exc.why}"):
                self.done.alarms.append((scope, exc.why))
            self._write_unread(owed, f"snapshot {exc.snapshot.first_seq} cannot be read: {exc.why}")
        except _GivenUp:
            self._write_unread(owed, "it, or what was before it, is sealed with keys that were given up")
        else:
            self.done.keys.setdefault(owed.after.tenant_id, "")
            self._record(owed, answer)

    def _question(self, owed: Owed) -> Question:
        pepper = self._pepper(owed.after)
        before = None if owed.before is None else self._opened(owed.before)
        after = self._opened(owed.after)
        told = (owed.versions, owed.only_secrets, owed.rules, self._witness(owed))
        return Question(owed.after.driver, before, after, pepper, *told)

    def _witness(self, owed: Owed) -> Witness | None:
        """What the router said of who edited it since; one that does not open is worth no more than none."""
        if owed.log is None or owed.before is None:
            return None
        owner = owed.after
        label = Label(owner.tenant_id, owner.device_id, owner.seq, Seq(0), What.LOG)
        try:
            plaintext = self.ports.configs.open_config(owner.tenant_id, owner.device_id, SealedConfig(owed.log))
            log = unpack_log(enclosed(plaintext, label, 2 * LONGEST_LOG))
        except (MessageMalformed, TransitKeyMissing, OutputTooLarge):
            return None
        return Witness(log, owed.before.collected_at, owed.after.collected_at)

    def _pepper(self, snapshot: SealedSnapshot) -> Pepper:
        key = (snapshot.tenant_id, snapshot.sealed_pepper)
        if key not in self._peppers:
            try:
                self._peppers[key] = self.ports.secrets.open_pepper(*key)
            except MessageMalformed as exc:  # it is the tenant's: none of its snapshots is to blame
                raise TransitKeyMissing(f"the tenant's pepper does not open: {exc.detail}") from exc
        return self._peppers[key]

    def _opened(self, snapshot: SealedSnapshot) -> RawConfig:
        try:
            sealed = SealedConfig(snapshot.sealed)
            envelope = self.ports.configs.open_config(snapshot.tenant_id, snapshot.device_id, sealed)
            header, raw = unpack(envelope, self.ports.max_bytes)
        except (MessageMalformed, TransitKeyMissing) as exc:
            if snapshot.given_up_at is not None:
                raise _GivenUp from exc
            if isinstance(exc, TransitKeyMissing):
                raise
            raise _Damaged(snapshot, exc.detail or "it cannot be opened") from exc
        if (header.tenant_id, header.device_id, header.seq) != (
            snapshot.tenant_id,
            snapshot.device_id,
            snapshot.first_seq,
        ):
            raise _Damaged(snapshot, "its sealed header names another device or collection")
        return raw

    def _record(self, owed: Owed, answer: Answer) -> None:
        if owed.undecided and answer.is_same:
            self._count("unchanged", written=self.ports.store.unchanged(owed))
        else:
            self._write(owed, answer.interpretation)

    def _write_unread(self, owed: Owed, why: str) -> None:
        self._write(owed, Interpretation(Kind.UNREAD, why))

    def _write(self, owed: Owed, found: Interpretation) -> None:
        if owed.before is None and owed.before_is_gone and found.kind is Kind.FIRST:
            found = Interpretation(Kind.FIRST, "what was before it is not kept any more")
        self._count(found.kind, written=self.ports.store.write(owed, found, self._enclosed(owed, found)))

    def _count(self, what: str, *, written: bool = True) -> None:
        outcome = what if written else "overtaken"
        self.done.outcomes[outcome] += 1
        self.ports.settled(outcome)

    def _enclosed(self, owed: Owed, found: Interpretation) -> Enclosed:
        return Enclosed(
            self._sealed(owed, What.CHANGES, found.changes),
            self._sealed(owed, What.DIFF, found.diff),
            self._lines(owed, found),
        )

    def _sealed(self, owed: Owed, what: What, body: bytes | None) -> SealedConfig | None:
        if body is None:
            return None
        owner = owed.after
        label = Label(owner.tenant_id, owner.device_id, owner.seq, owed.before.seq if owed.before else Seq(0), what)
        plaintext = enclose(label, body)
        if len(plaintext) > LARGEST_PART:
            raise MessageMalformed(f"its {what} are larger than the vault takes")
        return self.ports.sealer.seal_config(owner.tenant_id, owner.device_id, plaintext)

    def _lines(self, owed: Owed, found: Interpretation) -> SealedConfig | None:
        """What an event tells of it, sealed: one that is of no interest costs the vault nothing."""
        if not found.summaries or not is_told(found.kind, found.count):
            return None
        owner = owed.after
        packed = pack_lines((owner.tenant_id, owner.device_id, owner.seq), found.summaries)
        return self.ports.sealer.seal_config(owner.tenant_id, owner.device_id, packed)

    def _failed(self, owed: Owed, why: str) -> None:
        """Left until its lease is over; after the last try it is marked as unread."""
        if owed.tries >= TRIES:
            self._write_unread(owed, why)
        else:
            self._count("again")

    def _without_key(self, owed: Owed, exc: TransitKeyMissing) -> None:
        """Is it the tenant that has no keys, or this row that names a version which the vault has not?"""
        tenant_id = owed.after.tenant_id
        try:
            expected = {key: mark for key, mark in self.ports.keys.all_marks().items() if key[0] == tenant_id}
            wanted = {key: mark for key, mark in expected.items() if key[1] is not Purpose.CREDENTIALS}
            check_marks(self.ports.canary, wanted, self.ports.keys.all_marks)
            self._pepper(owed.after)
        except TransitKeyMissing as missing:
            self.done.keys[tenant_id] = missing.detail or missing.code
            self.ports.store.give_back(owed)
            return
        self._failed(owed, exc.detail)


_OF_THE_TEXT: Final = frozenset({"collector_busy"})  # it may be the text that keeps this machine busy


def _check(owed: Owed, answer: Answer) -> None:
    """Each text has the hash that was stored, as far as hashes of then compare with those of now (I2)."""
    pairs = ((owed.before, answer.hash_before), (owed.after, answer.hash_after))
    for snapshot, found in pairs:
        if snapshot is None or found is None or snapshot.unhashed:
            continue
        same = hmac.compare_digest(found, snapshot.content_hash)
        if snapshot.normalization_version == NORMALIZATION_VERSION and not same:
            raise _Damaged(snapshot, "its text does not have the hash that was stored")
