"""Tests and scans: what a collection would meet, told step by step; they add nothing to the history.

A test is the interview of a collection and what would be thought of its export. A login that is refused, or a key that
is not the pinned one, blocks the device as ever (I7); nothing else follows for it: no failure is counted, no due time
moves, and the export is dropped. A scan ends with the handshake: it never logs in, and what it saw is kept on record.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from backupflow.core import backoff, report, suspicion, trust
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.ledger import Assignment, Ending, Step
from backupflow.core.model import ContentHash, HostKey, LoginOn, Secrets, State, Trigger, Trust
from backupflow.core.report import SECRETS_HIDDEN, Stage
from backupflow.errors import (
    BackupflowError,
    ExportSuspect,
    HostKeyMismatch,
    HostKeyUnapproved,
    IdentityChanged,
    JumpHostBlocked,
    JumpHostUnreachable,
    StoreUnavailable,
)
from backupflow.flows import outcome
from backupflow.flows.interview import interview
from backupflow.flows.jumping import Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.driver import Facts
    from backupflow.core.jump import JumpHost, JumpTrouble
    from backupflow.core.suspicion import Observed
    from backupflow.flows.interview import Interview
    from backupflow.flows.outcome import CollectPorts, Outcome

_STANDINGS = {
    trust.Trusted: ("pinned", "the pinned key"),
    trust.Foretold: ("expected", "a first key, which is expected"),
    trust.FirstSeen: ("first", "a first key"),
    trust.Mismatch: ("changed", "not the pinned key"),
    trust.Unexpected: ("changed", "none of the keys that are expected"),
}
_SECRETS = {
    Secrets.SHOWN: "shown",
    Secrets.HIDDEN: "the router leaves its secrets out; add `sensitive` to the policy of the user's group",
    Secrets.OMITTED: "left on the router, as its settings ask",
    Secrets.NONE: "there are none in it",
}


@dataclass(slots=True)
class _Seen:
    """How far it came, and by which way."""

    way: Way
    stages: Sequence[Stage]
    passed: set[Stage] = field(default_factory=set)
    offered: list[HostKey] = field(default_factory=list)
    found: dict[Stage, Step] = field(default_factory=dict)

    def add(self, stage: Stage) -> None:
        """It is passed, and so is whatever leads there."""
        self.passed.update(self.stages[: self.stages.index(stage) + 1])

    def lead_to(self, stage: Stage) -> None:
        """What was passed, since it failed only there; of a jump host it is not known whether it could resolve."""
        if stage in report.SCAN:
            before = set(self.stages[: self.stages.index(stage)])
            self.passed |= before - ({Stage.RESOLVE} if Stage.JUMP in self.stages and stage is Stage.REACH else set())

    def report(self, failed: Step | None = None) -> tuple[Step, ...]:
        return report.steps(self.stages, self.passed, self.found, failed)


def run(ports: CollectPorts, assignment: Assignment) -> Outcome:
    """Test or scan; whatever fails is recorded with its step, except where the database is away."""
    look, stages = (_scan, report.SCAN) if assignment.trigger is Trigger.SCAN else (_test, report.TEST)
    hop = assignment.jump_host
    seen = _Seen(Way(ports, assignment), stages if hop else stages[1:])
    if hop is not None:
        seen.found[Stage.JUMP] = Step(Stage.JUMP, well=True, says=f"{hop.name} passed", facts={"jump_host": hop.name})
    try:
        look(ports, assignment, seen)
    except StoreUnavailable as exc:
        return outcome.told(assignment, "unfinished", exc.code, exc.detail)  # the lease ends it
    except BackupflowError as exc:
        return outcome.end(ports, assignment, _failed(assignment, exc, seen, ports.dice()))
    done = seen.report()
    wrong = report.first_failure(done)
    ending = Ending(State.TESTED, wrong.code if wrong else "", wrong.says if wrong else "", report=done)
    if assignment.trigger is Trigger.SCAN:
        ending = replace(ending, scanned=seen.offered[0])
    return outcome.end(ports, assignment, ending)


def broke(ports: CollectPorts, assignment: Assignment, code: str, name: str) -> Outcome:
    """End the row of a test in which something happened that nobody foresaw; no more than its `name` is told."""
    return outcome.end(ports, assignment, Ending(State.TESTED, code, name))


def _failed(assignment: Assignment, exc: BackupflowError, seen: _Seen, dice: float) -> Ending:
    blocks = backoff.after_failure(exc.verdict, 0, 0, dice).blocks and not isinstance(exc, JumpHostBlocked)
    of_its_key = isinstance(exc, HostKeyMismatch | HostKeyUnapproved)
    stage = report.stage_of(exc, seen.passed, seen.stages)
    seen.lead_to(stage)
    if seen.offered:
        seen.found[Stage.KEY] = _key(assignment, seen.offered[0])
    trouble = seen.way.trouble(exc)
    facts = seen.found[stage].facts if stage in seen.found else {}
    says = _of_jump_host(assignment.jump_host, trouble) if assignment.jump_host and trouble else exc.detail
    step = Step(stage, well=False, says=says, code=exc.code, facts=facts)
    return Ending(
        State.TESTED,
        exc.code,
        says,
        blocks=blocks and assignment.trigger is Trigger.TEST,
        offered=seen.offered[0] if seen.offered and of_its_key and assignment.trigger is Trigger.TEST else None,
        report=seen.report(step),
        jump_trouble=trouble,
    )


def _of_jump_host(hop: JumpHost, trouble: JumpTrouble) -> str:
    """Which one, and what was met there."""
    code = "" if trouble.code in {JumpHostUnreachable.code, JumpHostBlocked.code} else trouble.code
    return ": ".join(word for word in (hop.name, code, trouble.detail.removeprefix(f"{hop.name}: ")) if word)


def _scan(ports: CollectPorts, assignment: Assignment, seen: _Seen) -> None:
    key = ports.collector.handshake(assignment.target, seen.way.via)
    seen.offered.append(key)
    seen.add(Stage.KEY)
    seen.found[Stage.KEY] = _key(assignment, key)


def _test(ports: CollectPorts, assignment: Assignment, seen: _Seen) -> None:
    said = interview(ports, assignment, seen.offered, seen.add, via=seen.way.via)
    seen.add(Stage.SIZE)
    observed = _observed(assignment, said)
    judged = suspicion.judge(replace(assignment.known, aside=None), observed, cut=said.cut)
    found = (
        _key(assignment, said.host_key, modern=said.modern_ssh),
        _login(assignment),
        Step(Stage.RIGHTS, well=True, says="the user may export"),
        _completeness(judged, said),
        _version(judged, observed.facts),
        _secrets(observed.secrets),
        Step(Stage.SIZE, well=True, says=f"{len(said.reading.raw):,} bytes", facts={"bytes": len(said.reading.raw)}),
    )
    seen.found.update({Stage(step.name): step for step in found})


def _observed(assignment: Assignment, said: Interview) -> Observed:
    """As in a collection, but without what only the pepper could tell: no hash is compared."""
    reading, outline = said.reading, said.reading.outline
    observed = suspicion.Observed(
        ContentHash(b""),
        NORMALIZATION_VERSION,
        b"",
        b"",
        outline.sections,
        outline.size,
        outline.secrets,
        reading.secrets,
        reading.facts,
    )
    return suspicion.completed(assignment.known.before, observed, may_hide=reading.may_hide)


def _key(assignment: Assignment, key: HostKey, *, modern: bool = True) -> Step:
    judged = trust.judge(assignment.target.pinned, key, assignment.target.expected)
    standing, words = _STANDINGS[type(judged)]
    changed = standing == "changed"
    if standing == "first" and assignment.trust is Trust.MANUAL:
        words += " that somebody has to approve"
    elif standing in {"first", "expected"} and assignment.trigger is Trigger.TEST:
        words += ", pinned now"
    if not modern:
        words += "; spoken with SHA-1 or CBC"
    facts = {"key_type": key.key_type, "fingerprint": key.fingerprint, "standing": standing}
    says = f"{key.key_type} {key.fingerprint}: {words}"
    return Step(Stage.KEY, not changed, says, HostKeyMismatch.code if changed else "", facts)


def _login(assignment: Assignment) -> Step:
    """As whom, and which of two logins that was while they are rotated."""
    which = {LoginOn.CURRENT: "old", LoginOn.NEXT: "new"}[assignment.login_on] if assignment.login_rotates else ""
    facts = {"username": assignment.username} | ({"login": which} if which else {})
    says = f"as {assignment.username}{f', the {which} login' if which else ''}"
    return Step(Stage.LOGIN, well=True, says=says, facts=facts)


def _completeness(judged: suspicion.Accepted | suspicion.Suspect | suspicion.OtherRouter, said: Interview) -> Step:
    if isinstance(judged, suspicion.Suspect):
        return Step(Stage.COMPLETENESS, well=False, says=judged.why, code=ExportSuspect.code)
    marked = said.reading.marked and said.reading.ended
    return Step(Stage.COMPLETENESS, well=True, says="whole, and its end mark came" if marked else "whole")


def _version(judged: suspicion.Accepted | suspicion.Suspect | suspicion.OtherRouter, facts: Facts) -> Step:
    named = {"vendor": facts.vendor, "version": facts.version, "model": facts.model, "serial": facts.serial}
    known = {name: value for name, value in named.items() if value}
    if isinstance(judged, suspicion.OtherRouter):
        return Step(Stage.VERSION, well=False, says=judged.why, code=IdentityChanged.code, facts=known)
    return Step(Stage.VERSION, well=True, says=", ".join(known.values()), facts=known)


def _secrets(secrets: Secrets) -> Step:
    hidden = secrets is Secrets.HIDDEN
    code = SECRETS_HIDDEN if hidden else ""
    return Step(Stage.SECRETS, not hidden, _SECRETS[secrets], code, {"secrets": secrets.value})
