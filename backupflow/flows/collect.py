"""A claim becomes a sealed message: the main job.

1. start: claimed -> running, with a lease; the row's holder is the fence
2. open the pepper; one session with the router, see flows.interview
3. hash under the pepper; compare with what is known of this router: is it the same one, is the export plausible?
4. seal; and apart from it the router's log of edits, if that was asked for
5. not to be believed: kept aside, the row ends
6. running -> published: the fence. No row: another has taken over, what was read is dropped
7. publish; a definite refusal ends the row, an unknown outcome leaves it published

What nobody foresaw ends the row too, as `unexpected`: left to its lease it would be read again within a minute, and
meet the same defect, for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backupflow.core import backoff, suspicion
from backupflow.core.edits import pack as pack_log
from backupflow.core.enclosure import Label, What, enclose
from backupflow.core.envelope import pack
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.ledger import COLLECTING, Assignment, Ending, KeptAside, Published, Withdrawn
from backupflow.core.message import MAX_BYTES, SnapshotMessage, encode
from backupflow.core.model import CollectionId, HostKey, Pepper, SealedConfig, Seq, State, content_hash, keyed_hash
from backupflow.errors import (
    BackupflowError,
    CollectorBusy,
    DeviceTimeout,
    ExportSuspect,
    HostKeyMismatch,
    HostKeyUnapproved,
    IdentityChanged,
    LeaseLost,
    LoginSuspended,
    LoginUnusable,
    MessageMalformed,
    OutputTooLarge,
    StoreUnavailable,
    TransitKeyMissing,
    Verdict,
)
from backupflow.flows import outcome, testing
from backupflow.flows.interview import interview
from backupflow.flows.jumping import Way
from backupflow.flows.outcome import CollectPorts, Outcome, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.driver import Reading
    from backupflow.core.jump import Via
    from backupflow.flows.interview import Interview


# Pauses that say nothing of the vault or the bus.
_OF_ONE_DEVICE = (LoginSuspended, LeaseLost, CollectorBusy)
UNCHANGED = "unchanged"  # why no log of edits is kept
UNEXPECTED = "unexpected"  # code of what is no error of ours: a defect


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
    return _run(ports, started, unexpected)


def _run(ports: CollectPorts, started: Assignment, unexpected: Callable[[Exception], None]) -> Outcome:
    offered: list[HostKey] = []
    way = Way(ports, started)
    fenced = False
    try:
        if not started.trigger.observes:
            return testing.run(ports, started)
        found = _read(ports, started, offered, way.via)  # 2-4
        if found.doubt is not None:
            return _end(way, found.doubt, offered, found.aside)  # 5
        message, published = found.message, found.aside.published
        if not ports.store.publish(started, published):  # 6
            return told(started, "dropped", "lease_lost")
        fenced = True
        known = ports.publisher.publish(message)  # 7
    except StoreUnavailable as exc:
        return told(started, "unfinished", exc.code, exc.detail)  # the lease ends it
    except BackupflowError as exc:
        return _end(way, exc, offered)
    except Exception as exc:  # noqa: BLE001 - the one place for a defect that one device's export meets
        unexpected(exc)
        if fenced:  # the message may have arrived: ingest, or its absence from the stream, ends the row
            return told(started, "publish_unknown", UNEXPECTED)
        return _end_defect(ports, started, exc)
    return told(started, "published" if known else "publish_unknown")


def _end_defect(ports: CollectPorts, assignment: Assignment, exc: Exception) -> Outcome:
    """Of the exception only its name: what it says might quote a configuration."""
    if not assignment.trigger.observes:
        return testing.broke(ports, assignment, UNEXPECTED, type(exc).__name__)
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
    return outcome.end(ports, assignment, ending)


def _end(way: Way, exc: BackupflowError, offered: list[HostKey], aside: KeptAside | None = None) -> Outcome:
    ports, assignment, trouble = way.ports, way.assignment, way.trouble(exc)
    if trouble is not None:  # nobody behind the jump host is to blame
        decision = backoff.after_jump_trouble(ports.dice())
    else:
        decision = backoff.after_failure(exc.verdict, assignment.failures, assignment.losses, ports.dice())
    if isinstance(exc, LoginUnusable):  # nothing was sent to the device: it is not to blame
        decision = replace(decision, counts=False)
    if isinstance(exc, ExportSuspect):
        decision = replace(decision, state=State.SUSPECT)
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
        aside=aside,
        alarm=_alarm(assignment, exc),
        jump_trouble=trouble,
    )
    return outcome.end(ports, assignment, ending)


def _alarm(assignment: Assignment, exc: BackupflowError) -> str:
    """The scope of the alarm that a failure raises, if it raises one: a suspect export does if it does not go away."""
    if exc.verdict is Verdict.PAUSE and not isinstance(exc, _OF_ONE_DEVICE):
        return COLLECTING
    if isinstance(exc, LoginUnusable):
        return f"login {assignment.login_context}"  # one for all that share it
    return f"device {assignment.device_id}" if isinstance(exc, ExportSuspect) and assignment.known.aside else ""


@dataclass(frozen=True, slots=True)
class _Found:
    """An export, sealed; `doubt`: why it may not become the current one."""

    message: SnapshotMessage
    aside: KeptAside
    doubt: ExportSuspect | IdentityChanged | None


def _read(ports: CollectPorts, assignment: Assignment, offered: list[HostKey], via: Via | None) -> _Found:
    pepper = _pepper(ports, assignment)
    said = interview(ports, assignment, offered, via=via)  # 2
    observed = _observed(pepper, said.reading, assignment.known.before)  # 3
    doubt = _doubt(assignment, observed, said.cut)
    owner = (assignment.tenant_id, assignment.device_id, assignment.seq)
    envelope = pack(owner, said.reading.raw, said.reading.normal, NORMALIZATION_VERSION)
    _check_size(len(envelope) * 4 // 3)  # what base64 makes of it: not worth the vault's time
    sealed = ports.sealer.seal_config(assignment.tenant_id, assignment.device_id, envelope)  # 4
    message = _message(assignment, observed, sealed)
    published = Published(
        observed,
        sealed.digest,
        said.reading.remember,
        said.reading.exit_status,
        len(said.reading.raw),
        said.host_key,
        said.modern_ssh,
        said.end_mark,
    )
    if doubt is None:
        published = replace(published, **_log(ports, assignment, said, observed))
    return _Found(message, KeptAside(published, sealed), doubt)


def _log(ports: CollectPorts, assignment: Assignment, said: Interview, observed: suspicion.Observed) -> dict[str, Any]:
    """The router's log of edits, sealed apart from the export; without it the export is worth no less."""
    if said.log is None:
        return {"who": said.who}
    if _is_as_before(assignment.known.before, observed):
        return {"who": UNCHANGED}
    label = Label(assignment.tenant_id, assignment.device_id, assignment.seq, Seq(0), What.LOG)
    try:
        sealed = ports.sealer.seal_config(
            assignment.tenant_id, assignment.device_id, enclose(label, pack_log(said.log))
        )
    except BackupflowError as exc:
        return {"who": exc.code}
    return {"who": said.who, "log": sealed}


def _is_as_before(before: suspicion.Observed | None, observed: suspicion.Observed) -> bool:
    """Whether nobody will look for who made a change: there is none, or nothing that it could be seen against."""
    if before is None:
        return True
    versions = {before.normalization_version, observed.normalization_version}
    return len(versions) == 1 and before.content_hash == observed.content_hash


def _pepper(ports: CollectPorts, assignment: Assignment) -> Pepper:
    try:
        return ports.secrets.open_pepper(assignment.tenant_id, assignment.sealed_pepper)
    except MessageMalformed as exc:  # it is the tenant's: not one of its devices is to blame
        raise TransitKeyMissing(f"the tenant's pepper does not open: {exc.detail}") from exc


def _observed(pepper: Pepper, reading: Reading, before: suspicion.Observed | None) -> suspicion.Observed:
    outline = reading.outline
    observed = suspicion.Observed(
        content_hash(pepper, reading.normal),
        NORMALIZATION_VERSION,
        keyed_hash(pepper, outline.shape),
        keyed_hash(pepper, outline.masked),
        outline.sections,
        outline.size,
        outline.secrets,
        reading.secrets,
        reading.facts,
    )
    return suspicion.completed(before, observed, may_hide=reading.may_hide)


def _doubt(assignment: Assignment, observed: suspicion.Observed, cut: str) -> ExportSuspect | IdentityChanged | None:
    match suspicion.judge(assignment.known, observed, cut=cut):
        case suspicion.Suspect(why):
            return ExportSuspect(why)
        case suspicion.OtherRouter(why):
            return IdentityChanged(why)
        case suspicion.Accepted():
            return None


def _message(assignment: Assignment, observed: suspicion.Observed, sealed: SealedConfig) -> SnapshotMessage:
    message = SnapshotMessage(
        assignment.tenant_id,
        assignment.device_id,
        assignment.collection_id,
        assignment.seq,
        NORMALIZATION_VERSION,
        observed.content_hash,
        sealed,
    )
    _check_size(len(encode(message)))  # before the fence: what is published is on its way, and this never would be
    return message


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise OutputTooLarge(f"a message of {size} bytes is more than the bus takes at once")
