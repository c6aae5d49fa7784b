"""A claim becomes a sealed message: the main job.

1. start: claimed -> running, with a lease; the row's holder is the fence
2. open the pepper; connect; admit the host key (commit it on first sight); only then open and send the login
3. export, in the commands' order, within one session
4. complete? normalize, hash under the pepper
5. seal
6. running -> published: the fence. No row: another has taken over, what was read is dropped
7. publish; a definite refusal ends the row, an unknown outcome leaves it published

What nobody foresaw ends the row too, as `unexpected`: left to its lease it would be read again within a minute, and
meet the same defect, for ever.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core import backoff, trust
from backupflow.core.driver import Complete, Driver, Facts, Incomplete, Reason, Reply
from backupflow.core.envelope import pack
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.ledger import COLLECTING, Ending, Withdrawn
from backupflow.core.message import MAX_BYTES, SnapshotMessage, encode
from backupflow.core.model import Assignment, CollectionId, HostKey, Login, Published, RawConfig, Trust, content_hash
from backupflow.errors import (
    BackupflowError,
    CommandRejected,
    DeviceTimeout,
    HostKeyMismatch,
    HostKeyUnapproved,
    InputInvalid,
    LeaseLost,
    LoginSuspended,
    NotAConfiguration,
    OutputTooLarge,
    OutputTruncated,
    StoreUnavailable,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.ports import CollectionStore, Collector, Publisher, Sealer, SecretOpener, Session

_INCOMPLETE: dict[Reason, type[BackupflowError]] = {
    Reason.TRUNCATED: OutputTruncated,
    Reason.INTERRUPTED: OutputTruncated,
    Reason.REJECTED: CommandRejected,
    Reason.NOT_A_CONFIGURATION: NotAConfiguration,
}


# Pauses that say nothing of the vault or the bus.
_OF_ONE_DEVICE = (LoginSuspended, LeaseLost)
UNEXPECTED = "unexpected"  # code of what is no error of ours: a defect


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a collect task ended: `what` is a state, or why nothing was done; `code` the failure, if one."""

    what: str
    code: str = ""
    detail: str = ""
    device: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class CollectPorts:
    """What collecting needs of the world."""

    store: CollectionStore
    collector: Collector
    secrets: SecretOpener
    sealer: Sealer
    publisher: Publisher
    driver: Callable[[str], Driver]
    dice: Callable[[], float]


def collect(
    ports: CollectPorts, collection_id: CollectionId, holder: str, unexpected: Callable[[Exception], None]
) -> Outcome:
    """Run one collection to its end; whatever fails is recorded with its reason, except where the database is away.

    `unexpected` is told what nobody foresaw.
    """
    try:
        started = ports.store.start(collection_id, holder)  # 1
    except StoreUnavailable as exc:
        return Outcome("not_started", exc.code, exc.detail)  # it is emitted again
    if started is None:
        return Outcome("not_claimed")
    if isinstance(started, Withdrawn):
        return Outcome("withdrawn", detail=started.reason)
    offered: list[HostKey] = []
    fenced = False
    try:
        message, published = _read(ports, started, offered)  # 2-5
        if not ports.store.publish(started, published):  # 6
            return _outcome(started, "dropped", "lease_lost")
        fenced = True
        known = ports.publisher.publish(message)  # 7
    except StoreUnavailable as exc:
        return _outcome(started, "unfinished", exc.code, exc.detail)  # the lease ends it
    except BackupflowError as exc:
        return _end(ports, started, exc, offered)
    except Exception as exc:  # noqa: BLE001 - the one place for a defect that one device's export meets
        unexpected(exc)
        if fenced:  # the message may have arrived: ingest, or its absence from the stream, ends the row
            return _outcome(started, "publish_unknown", UNEXPECTED)
        return _end_defect(ports, started, exc)
    return _outcome(started, "published" if known else "publish_unknown")


def _end_defect(ports: CollectPorts, assignment: Assignment, exc: Exception) -> Outcome:
    """Of the exception only its name: what it says might quote a configuration."""
    decision = backoff.after_defect(assignment.failures, ports.dice())
    ending = Ending(
        decision.state,
        UNEXPECTED,
        type(exc).__name__,
        decision.counts,
        decision.blocks,
        decision.again_in,
        alarm=f"device {assignment.device_id}",
    )
    return _ended(ports, assignment, ending)


def _end(ports: CollectPorts, assignment: Assignment, exc: BackupflowError, offered: list[HostKey]) -> Outcome:
    decision = backoff.after_failure(exc.verdict, assignment.failures, assignment.losses, ports.dice())
    ending = Ending(
        decision.state,
        exc.code,
        exc.detail,
        decision.counts,
        decision.blocks,
        decision.again_in,
        slow=isinstance(exc, DeviceTimeout),  # it took a worker for as long as it may: not again beside the others
        offered=offered[0] if offered and isinstance(exc, HostKeyMismatch | HostKeyUnapproved) else None,
        pauses=exc.verdict is Verdict.PAUSE,
        alarm=COLLECTING if exc.verdict is Verdict.PAUSE and not isinstance(exc, _OF_ONE_DEVICE) else "",
    )
    return _ended(ports, assignment, ending)


def _ended(ports: CollectPorts, assignment: Assignment, ending: Ending) -> Outcome:
    try:
        ended = ports.store.end(assignment, ending)
    except StoreUnavailable as away:
        return _outcome(assignment, "unfinished", away.code, away.detail)
    return _outcome(assignment, ending.state if ended else "dropped", ending.code, ending.detail)


def _read(ports: CollectPorts, assignment: Assignment, offered: list[HostKey]) -> tuple[SnapshotMessage, Published]:
    driver = ports.driver(assignment.driver)
    pepper = ports.secrets.open_pepper(assignment.tenant_id, assignment.sealed_pepper)

    def admit(key: HostKey) -> None:
        offered.append(key)
        _admit(ports.store, assignment, key)

    def login() -> Login:
        return _login(ports, assignment, offered[0])

    with ports.collector.session(assignment.target, admit, login) as session:  # 2
        reply, facts = _export(session, driver, assignment.remembered_command)  # 3, 4
    raw = RawConfig(reply.stdout)
    normal = driver.normalize(raw)
    hashed = content_hash(pepper, normal)
    owner = (assignment.tenant_id, assignment.device_id, assignment.seq)
    envelope = pack(owner, raw, normal, NORMALIZATION_VERSION)
    sealed = ports.sealer.seal_config(assignment.tenant_id, assignment.device_id, envelope)  # 5
    message = SnapshotMessage(
        *owner[:2], assignment.collection_id, assignment.seq, NORMALIZATION_VERSION, hashed, sealed
    )
    size = len(encode(message))
    if size > MAX_BYTES:  # before the fence: what is published is on its way, and this never would be
        raise OutputTooLarge(f"a message of {size} bytes is more than the bus takes at once")
    shown = {"version": facts.version, "model": facts.model, "serial": facts.serial, "system_id": facts.system_id}
    published = Published(
        hashed, sealed.digest, NORMALIZATION_VERSION, reply.command, reply.exit_status, len(raw), shown, offered[0]
    )
    return message, published


def _admit(store: CollectionStore, assignment: Assignment, key: HostKey) -> None:
    """Refuse a key, or let it pass; when this returns, what was let pass is pinned and committed (I6)."""
    match trust.judge(assignment.target.pinned, key):
        case trust.Mismatch(pinned, other):
            raise HostKeyMismatch(
                f"pinned {pinned.key_type} {pinned.fingerprint}, offered {other.key_type} {other.fingerprint}"
            )
        case trust.FirstSeen(first) if assignment.trust is Trust.APPROVED:
            raise HostKeyUnapproved(f"offered {first.key_type} {first.fingerprint}")
        case trust.FirstSeen(first):
            store.pin(assignment, first)
        case trust.Trusted():
            return


def _login(ports: CollectPorts, assignment: Assignment, key: HostKey) -> Login:
    """Open the login at the last moment, after one more look at whether it may still be sent there (I6, I7)."""
    if not ports.store.login_allowed(assignment, key):
        raise LoginSuspended("device, address, host key or login were changed after the collection had begun")
    secret = ports.secrets.open_login(assignment.tenant_id, assignment.login_context, assignment.sealed_login)
    return login_of(assignment.username, secret)


def login_secret(login: Login) -> bytes:
    """The part of a login that is sealed."""
    fields = {"password": login.password, "private_key": login.private_key, "passphrase": login.passphrase}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def login_of(username: str, secret: bytes) -> Login:
    """The inverse of `login_secret`; InputInvalid, without a word of it, if it is nothing that was sealed there."""
    try:
        return Login(username, **json.loads(secret))
    except (ValueError, TypeError):
        raise InputInvalid("the login that was opened cannot be read") from None


def _export(session: Session, driver: Driver, remembered: str | None) -> tuple[Reply, Facts]:
    commands = driver.commands(remembered)
    for command in commands:
        reply = session.run(command)
        if driver.refused(reply) and command != commands[-1]:
            continue
        verdict = driver.judge(reply)
        if isinstance(verdict, Complete):
            return reply, verdict.facts
        raise _failure(verdict)
    raise CommandRejected("the driver knows no command")


def _failure(verdict: Incomplete) -> BackupflowError:
    return _INCOMPLETE[verdict.reason](verdict.detail)


def _outcome(assignment: Assignment, what: str, code: str = "", detail: str = "") -> Outcome:
    return Outcome(what, code, detail, assignment.device_name, assignment.seq)
