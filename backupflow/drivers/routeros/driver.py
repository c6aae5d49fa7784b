"""The RouterOS driver: how to ask for an export, what is one, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backupflow.core.driver import Complete, Completeness, Incomplete, Outline, Reading, Reason
from backupflow.core.model import RawConfig, Secrets, SecretsPolicy
from backupflow.drivers.routeros import commands, completeness, omission, who
from backupflow.drivers.routeros.commands import PLAIN, SECRETS_HIDDEN_FROM, SENSITIVE, SMALL_MENU, Answer
from backupflow.drivers.routeros.grammar import RouterOSGrammar
from backupflow.drivers.routeros.identity import identity
from backupflow.drivers.routeros.normal import normalize
from backupflow.drivers.routeros.outline import outline
from backupflow.drivers.routeros.secrets import SECRET_KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from backupflow.core.driver import Asking, Facts, Grammar, Reply
    from backupflow.core.edits import Edit
    from backupflow.core.model import NormalConfig

_CANNOT_HIDE = "the router cannot leave its secrets out"
_BROKEN_OFF = (Reason.TRUNCATED, Reason.INTERRUPTED)


class RouterOS:
    """MikroTik RouterOS 3 to 7 over SSH exec."""

    name: str = "routeros"
    secret_keys: frozenset[str] = SECRET_KEYS
    grammar: Grammar = RouterOSGrammar()

    def next_command(self, asking: Asking, replies: Sequence[Reply]) -> str | None:
        """Give the next command of this session; see docs/completeness.md for the order and its reasons."""
        return commands.next_command(asking, replies)

    def read(self, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
        """Take the best whole export that the session gave, else say why there is none."""
        known = {commands.with_mark(c, mark): (c, mark) for c in commands.order(asking) for mark in _marks(asking)}
        told = [_Heard(*known[reply.command], reply) for reply in replies if reply.command in known]
        heard = [one for one in told if one.command != SMALL_MENU]
        faults: list[tuple[bool, Incomplete]] = []
        for one in sorted(heard, key=lambda one: one.command == PLAIN):  # plain shows, or hides, no more than the other
            if (sight := commands.at_first_sight(one.reply)) is not Answer.UNKNOWN:
                whole = one.judge()
                if isinstance(whole, Complete):
                    return _reading(asking, one, whole.facts, heard)
                if sight is Answer.SOMETHING and whole.reason in _BROKEN_OFF:
                    return whole  # it was giving it: asked for again, and not replaced by one that shows less
                faults.append((sight is Answer.DENIED, whole))
        if faults:
            return min(faults, key=lambda fault: fault[0])[1]
        if not heard:
            return Incomplete(Reason.NOT_A_CONFIGURATION, "no answer")
        knows = any(commands.at_first_sight(one.reply) is Answer.SOMETHING for one in told)
        return Incomplete(Reason.REJECTED, _CANNOT_HIDE if knows else "the router does not know the commands")

    def probe(self, nonce: str) -> str:
        """Give a short command that shows whether this router repeats an end mark."""
        return commands.probe(nonce)

    def repeats(self, reply: Reply, nonce: str) -> bool:
        """Tell whether the answer to `probe` ends in the end mark."""
        return commands.repeats(reply, nonce)

    def who_command(self) -> str | None:
        """Give the command that shows the router's own log of edits."""
        return who.COMMAND

    def edits(self, text: bytes) -> tuple[Edit, ...]:
        """Read what it answered."""
        return who.edits(text)

    def clock(self, raw: RawConfig) -> datetime | None:
        """Tell what the router's clock showed when it gave this export."""
        return who.clock(raw)

    def judge_file(self, raw: bytes) -> Completeness:
        """Judge an export from a file."""
        judged = completeness.judge(raw)
        if isinstance(judged, Incomplete):
            return judged
        return Complete(replace(judged.facts, identity=identity(normalize(RawConfig(raw)))))

    def normalize(self, raw: RawConfig) -> NormalConfig:
        """Reduce an export to its normal form."""
        return normalize(raw)

    def outline(self, normal: NormalConfig) -> Outline:
        """Outline a normal form, as `read` does."""
        return outline(normal)


@dataclass(frozen=True, slots=True)
class _Heard:
    """An answer, and what was asked: the command, and with which end mark."""

    command: str
    mark: str | None
    reply: Reply

    @property
    def raw(self) -> bytes:
        """The answer without its end mark, if it has one."""
        rest = commands.without_mark(self.reply.stdout, self.mark) if self.mark else None
        return self.reply.stdout if rest is None else rest

    @property
    def ended(self) -> bool:
        """Whether the end mark came."""
        return self.mark is not None and len(self.raw) < len(self.reply.stdout)

    def judge(self) -> Completeness:
        """Judge it as it came off the wire: the text, and how it ended."""
        judged = _judge_stream(self.raw, self.reply)
        if isinstance(judged, Complete) and self.mark and not self.ended and commands.breaks_off(self.raw, self.mark):
            return Incomplete(Reason.TRUNCATED, "the line before the end mark does not end")
        return judged


def _marks(asking: Asking) -> tuple[str | None, ...]:
    return (None, asking.end_mark) if asking.end_mark else (None,)


def _judge_stream(raw: bytes, reply: Reply) -> Completeness:
    if not raw.strip():
        return _empty(reply)
    judged = _judge_lines(raw)
    if isinstance(judged, Incomplete):
        return judged
    if (complaint := completeness.complaint(reply.stderr)) is not None:
        return Incomplete(complaint, "an error beside the output")
    if reply.exit_status != 0 and not commands.any_status(_major(judged.facts)):
        says = "without an exit status" if reply.exit_status is None else f"with exit status {reply.exit_status}"
        return Incomplete(Reason.TRUNCATED, f"the command ended {says}")
    return judged


def _judge_lines(raw: bytes) -> Completeness:
    """Judge a text whose last line has to end; half a line is no strange line, but the end of what came."""
    judged = completeness.judge(raw)
    if raw.endswith(b"\n"):
        return judged
    if isinstance(judged, Incomplete) and judged.reason is Reason.NOT_A_CONFIGURATION:
        before = completeness.judge(raw[: raw.rfind(b"\n") + 1])
        if isinstance(before, Incomplete) and before.reason is not Reason.TRUNCATED:
            return judged
    elif isinstance(judged, Incomplete):
        return judged
    return Incomplete(Reason.TRUNCATED, "the last line does not end")


def _empty(reply: Reply) -> Incomplete:
    if reply.stderr.strip():
        judged = completeness.judge(reply.stderr)
        return Incomplete(Reason.REJECTED, "an error and no output") if isinstance(judged, Complete) else judged
    if reply.exit_status == 0:
        return Incomplete(Reason.NOT_A_CONFIGURATION, "no output")
    return Incomplete(Reason.TRUNCATED, "the channel closed before any output")


def _reading(asking: Asking, one: _Heard, facts: Facts, heard: Sequence[_Heard]) -> Reading | Incomplete:
    raw = RawConfig(one.raw)
    normal = normalize(raw)
    drawn = outline(normal)
    refused = None
    if asking.secrets is SecretsPolicy.OMIT:
        refused = _omitted(one.command, facts, normal)
        secrets, remember = Secrets.OMITTED, one.command
    else:
        secrets, remember = _shown(one.command, facts, drawn, heard)
    return refused or Reading(
        raw,
        normal,
        replace(facts, identity=identity(normal)),
        drawn,
        secrets,
        one.command,
        remember,
        one.reply.exit_status,
        marked=one.mark is not None,
        ended=one.ended,
        may_hide=one.command == PLAIN and (_major(facts) or 0) < SECRETS_HIDDEN_FROM,  # no version: may be an old one
    )


def _omitted(command: str, facts: Facts, normal: NormalConfig) -> Incomplete | None:
    """Refuse an export that holds what was to stay on the router, or may."""
    if command == PLAIN and (_major(facts) or 0) < SECRETS_HIDDEN_FROM:
        return Incomplete(Reason.REJECTED, _CANNOT_HIDE)
    found = omission.came(normal)
    return None if found is None else Incomplete(Reason.REJECTED, found)


def _shown(command: str, facts: Facts, drawn: Outline, heard: Sequence[_Heard]) -> tuple[Secrets, str]:
    """Tell whether the secrets are in it, and which command to begin with next time."""
    seen = Secrets.SHOWN if drawn.secrets else Secrets.NONE
    if command == SENSITIVE:
        return seen, command
    old = (_major(facts) or 0) < SECRETS_HIDDEN_FROM
    sensitive = [commands.at_first_sight(one.reply) for one in heard if one.command == SENSITIVE]
    if all(sight is Answer.UNKNOWN for sight in sensitive):
        return (seen if old else Secrets.HIDDEN), command
    # It knows the word, and gave no whole export for it. Ask for that first again: rights may have been mended.
    return (Secrets.SHOWN if old and drawn.secrets else Secrets.HIDDEN), SENSITIVE


def _major(facts: Facts) -> int | None:
    digits = (facts.version or "").partition(".")[0]
    return int(digits) if digits.isdecimal() else None
