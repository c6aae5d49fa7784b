"""One session with a router: admit its host key, log in, ask for the export, and let its driver read the answers.

1. connect; admit the host key (commit it on first sight); only then open and send the login
2. the driver's commands, one after another, within the one session
3. where it is not known whether the router repeats an end mark: ask, after the export
4. close; read the answers
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from backupflow.core import trust
from backupflow.core.driver import Asking, Driver, Incomplete, Reading, Reason, Reply
from backupflow.core.model import HostKey, Login, Trust
from backupflow.errors import (
    BackupflowError,
    CommandRejected,
    HostKeyMismatch,
    HostKeyUnapproved,
    InputInvalid,
    LoginSuspended,
    NotAConfiguration,
    OutputTruncated,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.ledger import Assignment
    from backupflow.core.ports import CollectionStore, Collector, Reader, SecretOpener, Session

_INCOMPLETE: dict[Reason, type[BackupflowError]] = {
    Reason.TRUNCATED: OutputTruncated,
    Reason.INTERRUPTED: OutputTruncated,
    Reason.REJECTED: CommandRejected,
    Reason.NOT_A_CONFIGURATION: NotAConfiguration,
}
PROBE_WITHIN = timedelta(seconds=10)  # of a command that answers one line


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
    end_mark: bool | None  # what is known now: whether it repeats one; None: to be tried


def interview(ports: InterviewPorts, assignment: Assignment, offered: list[HostKey]) -> Interview:
    """Ask once; `offered` receives the host key as soon as it is seen. Raises what ends a collection."""
    driver = ports.driver(assignment.driver)
    nonce = ports.nonce()
    asking = Asking(
        assignment.secrets,
        assignment.remembered_command,
        nonce if assignment.asks_end_mark and assignment.end_mark else None,
    )

    def admit(key: HostKey) -> None:
        offered.append(key)
        _admit(ports.store, assignment, key)

    def login() -> Login:
        return _login(ports, assignment, offered[0])

    with ports.collector.session(assignment.target, admit, login) as session:  # 1
        replies: list[Reply] = []
        while (command := driver.next_command(asking, replies)) is not None:  # 2
            replies.append(session.run(command))
        modern = session.modern
        untried = assignment.asks_end_mark and assignment.end_mark is None
        repeats = _repeats(session, driver, nonce) if untried else None  # 3
    read = ports.reader.read(assignment.driver, asking, replies)  # 4
    if isinstance(read, Incomplete):
        raise _INCOMPLETE[read.reason](read.detail)
    known = repeats if untried else _end_mark(assignment, asking, read)
    return Interview(read, offered[0], modern, known)


def _repeats(session: Session, driver: Driver, nonce: str) -> bool:
    """Whether the router repeats an end mark; whatever goes wrong with the question costs no export."""
    try:
        return driver.repeats(session.run(driver.probe(nonce), PROBE_WITHIN), nonce)
    except BackupflowError:
        return False


def _end_mark(assignment: Assignment, asking: Asking, read: Reading) -> bool | None:
    """What is known of the router's end mark now; another version may know what the one before did not."""
    if not assignment.asks_end_mark:
        return None
    if asking.end_mark is not None:
        return True if read.marked else None
    upgraded = assignment.before is not None and assignment.before.facts.version != read.facts.version
    return None if upgraded else False


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


def _login(ports: InterviewPorts, assignment: Assignment, key: HostKey) -> Login:
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
