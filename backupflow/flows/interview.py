"""One session with a router: admit its host key, log in, ask for the export, and let its driver read the answers.

1. connect; admit the host key (commit it on first sight); only then open and send the login
2. the driver's commands, one after another, within the one session
3. where it is not known whether the router repeats an end mark: ask, after the export
4. where somebody wants to know who made a change: the router's own log of edits, whatever comes of it
5. close; read the answers
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from backupflow.core import end_mark
from backupflow.core.driver import Asking, Driver, Incomplete, Reading, Reason, Reply
from backupflow.core.edits import LONGEST_LOG, Log
from backupflow.core.ledger import LOG_KEPT
from backupflow.core.model import EndMark, HostKey, Login
from backupflow.core.report import Stage
from backupflow.errors import (
    BackupflowError,
    CommandRejected,
    LoginSuspended,
    NotAConfiguration,
    OutputTooLarge,
    OutputTruncated,
)
from backupflow.flows.admitting import admitted, login_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.jump import Via
    from backupflow.core.ledger import Assignment
    from backupflow.core.ports import CollectionStore, Collector, Reader, SecretOpener, Session

_INCOMPLETE: dict[Reason, type[BackupflowError]] = {
    Reason.TRUNCATED: OutputTruncated,
    Reason.INTERRUPTED: OutputTruncated,
    Reason.REJECTED: CommandRejected,
    Reason.NOT_A_CONFIGURATION: NotAConfiguration,
}
PROBE_WITHIN = timedelta(seconds=10)  # of a command that answers one line
LOG_WITHIN = timedelta(seconds=20)  # a hundred edits at the most
NO_LOG = "no_log"  # what was answered tells of no edit: there was none, or it was refused


class InterviewPorts(Protocol):
    """What asking a router needs of the world."""

    @property
    def store(self) -> CollectionStore:
        """The collection's row."""

    @property
    def collector(self) -> Collector:
        """The sessions."""

    @property
    def secrets(self) -> SecretOpener:
        """The logins."""

    @property
    def reader(self) -> Reader:
        """Where answers are read."""

    @property
    def driver(self) -> Callable[[str], Driver]:
        """The drivers by name."""

    @property
    def nonce(self) -> Callable[[], str]:
        """An unguessable word of letters and digits, another one each time."""


@dataclass(frozen=True, slots=True)
class Interview:
    """What a router said, and how it was spoken to."""

    reading: Reading
    host_key: HostKey
    modern_ssh: bool
    end_mark: EndMark  # what is known now, if the export is believed
    cut: str  # why the whole text may still have lost its end; empty: no reason
    who: str = ""  # what came of asking for the router's log of edits; empty: it was not asked
    log: Log | None = None


def interview(
    ports: InterviewPorts,
    assignment: Assignment,
    offered: list[HostKey],
    passed: Callable[[Stage], None] = lambda _: None,
    *,
    via: Via | None,
) -> Interview:
    """Ask once; `offered` receives the host key as soon as it is seen. Raises what ends a collection.

    `passed` is told how far it has come, `via` is the way, see flows.jumping.
    """
    driver = ports.driver(assignment.driver)
    nonce = ports.nonce()
    asking = Asking(
        assignment.secrets,
        assignment.remembered_command,
        nonce if assignment.asks_end_mark and end_mark.asked(assignment.end_mark) else None,
    )

    def admit(key: HostKey) -> None:
        offered.append(key)
        passed(Stage.REACH)
        how = admitted(assignment.target, assignment.trust, key)
        if how is not None:
            ports.store.pin(assignment, key, how)
        passed(Stage.KEY)

    def login() -> Login:
        return _login(ports, assignment, offered[0])

    with ports.collector.session(assignment.target, admit, login, via) as session:  # 1
        passed(Stage.LOGIN)
        replies: list[Reply] = []
        while (command := driver.next_command(asking, replies)) is not None:  # 2
            replies.append(session.run(command))
        modern = session.modern
        known = _probed(assignment, session, driver, nonce)  # 3
        log, who = _log(assignment, session, driver)  # 4
    passed(Stage.RIGHTS)
    read = ports.reader.read(assignment.driver, asking, replies)  # 5
    if isinstance(read, Incomplete):
        raise _INCOMPLETE[read.reason](read.detail)
    cut = _cut(assignment, read)
    if assignment.asks_end_mark and assignment.end_mark is not EndMark.UNTRIED:
        known = end_mark.after_export(known, ended=read.ended, upgraded=_upgraded(assignment, read))
    told = None if log is None else Log(log, driver.clock(read.raw))
    return Interview(read, offered[0], modern, known, cut, who, told)


def _probed(assignment: Assignment, session: Session, driver: Driver, nonce: str) -> EndMark:
    """Ask a router of which it is not known whether it repeats an end mark; whatever goes wrong costs no export."""
    if not assignment.asks_end_mark or assignment.end_mark is not EndMark.UNTRIED:
        return assignment.end_mark
    try:
        return end_mark.after_probe(repeated=driver.repeats(session.run(driver.probe(nonce), PROBE_WITHIN), nonce))
    except BackupflowError:
        return end_mark.after_probe(repeated=None)


def _log(assignment: Assignment, session: Session, driver: Driver) -> tuple[bytes | None, str]:
    """Ask for the log of edits, and what came of it in a word; whatever goes wrong costs no export."""
    command = driver.who_command() if assignment.asks_who and assignment.trigger.observes else None
    if command is None:
        return None, ""
    try:
        said = session.run(command, LOG_WITHIN).stdout
    except BackupflowError as exc:
        return None, exc.code
    if len(said) > LONGEST_LOG:
        return None, OutputTooLarge.code
    return (said, LOG_KEPT) if driver.edits(said) else (None, NO_LOG)


def _cut(assignment: Assignment, read: Reading) -> str:
    """Why a whole text may have lost its end: an end mark that is required did not come.

    Raises OutputTruncated, but for another version, which may have lost the habit: then the doubt is given back.
    """
    if assignment.end_mark is not EndMark.REQUIRED or not read.marked or read.ended:
        return ""
    missing = "the end mark did not come"
    if not _upgraded(assignment, read):
        raise OutputTruncated(missing)
    return f"{missing}, since the router has another version"


def _upgraded(assignment: Assignment, read: Reading) -> bool:
    before = assignment.known.before
    return before is not None and before.facts.version != read.facts.version


def _login(ports: InterviewPorts, assignment: Assignment, key: HostKey) -> Login:
    """Open the login at the last moment, after one more look at whether it may still be sent there (I6, I7)."""
    if not ports.store.login_allowed(assignment, key):
        raise LoginSuspended("device, address, host key or login were changed after the collection had begun")
    if assignment.sealed_login is None or assignment.login_context is None:
        raise LoginSuspended("the device has no login")
    secret = ports.secrets.open_login(assignment.tenant_id, assignment.login_context, assignment.sealed_login)
    return login_of(assignment.username, secret)
