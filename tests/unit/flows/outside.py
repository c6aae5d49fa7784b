"""What surrounds the flows, with a state of its own: routers, a vault, a bus, a broker; and workers taken step by step.

A worker is a thread that stands still before each call of a port until it is told to go on: so it can be stopped over
any of them for as long as one likes, killed before or after it, or told that the answer was lost.
"""

from __future__ import annotations

import base64
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from backupflow.adapters.vault import VaultStatus
from backupflow.core.driver import Reply
from backupflow.core.message import SnapshotMessage, decode, encode
from backupflow.core.model import Claim, HostKey, Login, SealedConfig, TrustedHow
from backupflow.errors import (
    AuthenticationFailed,
    BackupflowError,
    BusUnavailable,
    DeviceTimeout,
    DeviceUnreachable,
    JumpHostBlocked,
    JumpHostUnreachable,
    StoreUnavailable,
    TransitKeyMissing,
    VaultUnavailable,
)
from backupflow.flows.collect import collect
from backupflow.flows.outcome import CollectPorts, Outcome
from tests.unit.flows.ledger import MARKS
from tests.unit.flows.world import HOP_KEY, KEY, NONCE, PEPPER, UNKNOWN, Toy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    from backupflow.core.driver import Asking, Incomplete, Reading
    from backupflow.core.jump import Via
    from backupflow.core.ledger import Assignment
    from backupflow.core.model import CollectionId, DeviceId, Pepper, Purpose, SealedSecret, Target, TenantId

EXPORTS = {letter: f"/s1\n/s2\nserial S1\nadd name={letter}\n".encode() for letter in "ABC"}
EXPORTS["t"] = b"/s1\nserial S1\n"  # half of it is missing: in doubt
EXPORTS["Z"] = EXPORTS["A"].replace(b"S1", b"S2")  # another router
LETTERS = {export: letter for letter, export in EXPORTS.items()}


class Killed(BaseException):
    """The process is gone: no flow catches this."""


class Fate(StrEnum):
    """What becomes of one call of a port."""

    WELL = "well"
    KILLED_BEFORE = "killed before it"
    KILLED_AFTER = "killed after it"
    AWAY_BEFORE = "never reached"
    AWAY_AFTER = "done, but the answer was lost"


def met(fate: Fate, away: BackupflowError, act: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever a port answers
    """Call a port, as fate has it."""
    if fate is Fate.KILLED_BEFORE:
        raise Killed
    if fate is Fate.AWAY_BEFORE:
        raise away
    answer = act()
    if fate is Fate.KILLED_AFTER:
        raise Killed
    if fate is Fate.AWAY_AFTER:
        raise away
    return answer


# --- what there is -----------------------------------------------------------------------------------------------


@dataclass
class Router:
    """A router: what it would answer at this moment."""

    letter: str = "A"
    key: HostKey = KEY
    refuses: bool = False  # the login
    unreachable: bool = False
    mute: bool = False  # after the login
    refused: int = 0  # logins so far
    sessions: list[Worker] = field(default_factory=list)


@dataclass
class JumpHost:
    """The jump host: how it would behave at this moment."""

    key: HostKey = HOP_KEY
    refuses: bool = False  # the login
    unreachable: bool = False
    forwards: bool = True
    refused: int = 0  # logins since an operator looked at it


class Vault:
    """Seals what it is given; whatever it sealed can be looked at here. `keys` are lost or there."""

    def __init__(self) -> None:
        self.up = self.keys = True
        self.version = 1
        self.sealed: dict[str, tuple[TenantId, DeviceId, bytes]] = {}

    @property
    def well(self) -> bool:
        """Whether what is sealed now could be opened."""
        return self.up and self.keys

    def _check(self) -> None:
        if not self.up:
            raise VaultUnavailable
        if not self.keys:
            raise TransitKeyMissing

    def status(self) -> VaultStatus:
        """Health."""
        if not self.up:
            raise VaultUnavailable
        return VaultStatus("1", initialised=True, sealed=False, active=True)

    def mark(self, tenant_id: TenantId, purpose: Purpose, version: int = 1) -> str:
        """Canary."""
        self._check()
        return MARKS[tenant_id, purpose]

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """SecretOpener."""
        self._check()
        return PEPPER

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """SecretOpener."""
        self._check()
        return b'{"password": "s3cret"}'

    def seal_config(self, tenant_id: TenantId, device_id: DeviceId, envelope: bytes) -> SealedConfig:
        """Sealer: never the same text twice."""
        self._check()
        number = base64.b64encode(b"%d" % len(self.sealed)).decode()
        made = SealedConfig(f"vault:v{self.version}:{number}")
        self.sealed[made.text] = (tenant_id, device_id, envelope)
        return made


@dataclass(frozen=True)
class Letter:
    """A message in the stream."""

    number: int
    payload: bytes
    subject: str


class Bus:
    """A stream that repeats what was not acknowledged, and what it likes."""

    def __init__(self) -> None:
        self.up = True
        self.stream: list[Letter] = []
        self.under_way: list[SnapshotMessage] = []  # nobody knows of these whether they will arrive
        self.sent: list[SnapshotMessage] = []  # all that ever were
        self.arrived: list[SnapshotMessage] = []  # all that ever did
        self.owed: set[tuple[DeviceId, int]] = set()  # of what has arrived and was not wiped: it has to be stored
        self._count = 0

    def arrive(self, message: SnapshotMessage) -> None:
        """A message comes in, or comes in once more."""
        self._count += 1
        self.stream.append(Letter(self._count, encode(message), message.subject))
        self.owed.add((message.device_id, message.seq))
        if message not in self.arrived:
            self.arrived.append(message)

    def wipe(self) -> None:
        """All that waits is gone."""
        for letter in self.stream:
            message = decode(letter.payload)
            self.owed.discard((message.device_id, message.seq))
        self.stream.clear()

    def room(self) -> int:
        """BusGauge."""
        if not self.up:
            raise BusUnavailable
        return 10**9


class Broker:
    """A queue of tasks, which may be emptied; `up`: whether it takes anything."""

    def __init__(self) -> None:
        self.up = True
        self.queue: list[CollectionId] = []

    def emit(self, claims: Sequence[Claim]) -> int:
        """core.ports.Broker."""
        if self.up:
            self.queue += [claim.collection_id for claim in claims]
        return len(claims) * self.up


# --- a worker ----------------------------------------------------------------------------------------------------


class Sent(StrEnum):
    """What becomes of a publish."""

    TAKEN = "taken"
    REFUSED = "refused"
    UNKNOWN_ARRIVED = "unknown, it arrived"
    UNKNOWN_UNDER_WAY = "unknown, it is still under way"
    UNKNOWN_LOST = "unknown, it did not arrive"


@dataclass
class Step:
    """What becomes of the next call of a port."""

    fate: Fate = Fate.WELL
    sent: Sent = Sent.TAKEN


class Worker:
    """One collection by the real flow, in a thread that is let on one call of a port after another."""

    def __init__(self, world: Any, collection_id: CollectionId, holder: str) -> None:  # noqa: ANN401 - see machine.World
        self._world = world
        self._collection_id = collection_id
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._step = Step()
        self.holder = holder
        self.at = ""  # the call that it stands before; empty: it has ended
        self.assignment: Assignment | None = None
        self.lease_until: datetime | None = None
        self.saw: tuple[int, str] | None = None  # when (in steps of the world), and what
        self.outcome: Outcome | None = None
        self.wrong: list[BaseException] = []  # what no flow should have met
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stands.acquire()

    def step(self, step: Step) -> None:
        """Let it make the call that it stands before, and stop before the next."""
        self._step = step
        self._go.release()
        self._stands.acquire()
        if not self.at:
            self._thread.join()

    def kill(self) -> None:
        """End it where it stands."""
        while self.at:
            self.step(Step(Fate.KILLED_BEFORE))

    def _run(self) -> None:
        ports = CollectPorts(self, self, self, self, self, self, lambda _: Toy(), lambda: 0.0, lambda: NONCE)
        try:
            self.outcome = collect(ports, self._collection_id, self.holder, self.wrong.append)
        except Killed:
            pass
        except BaseException as exc:  # noqa: BLE001 - told to the test, in its own thread
            self.wrong.append(exc)
        self.at = ""
        self._stands.release()

    def _call(self, name: str, away: BackupflowError, act: Callable[[], Any]) -> Any:  # noqa: ANN401
        self.at = name
        self._stands.release()
        self._go.acquire()
        fate = self._step.fate
        if name == "publish" and fate in {Fate.AWAY_BEFORE, Fate.AWAY_AFTER}:
            fate = Fate.WELL  # how it fails is said by `sent`
        return met(fate, away, act)

    # CollectionStore

    def start(self, collection_id: CollectionId, holder: str) -> Any:  # noqa: ANN401
        """CollectionStore."""
        return self._call("start", StoreUnavailable(), lambda: self._world.start(self, collection_id, holder))

    def pin(self, assignment: Assignment, key: HostKey, how: TrustedHow = TrustedHow.FIRST_USE) -> None:
        """CollectionStore."""
        self._call("pin", StoreUnavailable(), lambda: self._world.ledger.pin(assignment, key, how))

    def login_allowed(self, assignment: Assignment, key: HostKey) -> Any:  # noqa: ANN401
        """CollectionStore."""
        return self._call("allowed", StoreUnavailable(), lambda: self._world.ledger.login_allowed(assignment, key))

    def pin_jump_host(self, *given: Any) -> None:  # noqa: ANN401
        """CollectionStore."""
        self._call("pin jump host", StoreUnavailable(), lambda: self._world.ledger.pin_jump_host(*given))

    def jump_login_allowed(self, *given: Any) -> Any:  # noqa: ANN401
        """CollectionStore."""
        return self._call("jump allowed", StoreUnavailable(), lambda: self._world.ledger.jump_login_allowed(*given))

    def jump_host_reached(self, assignment: Assignment) -> None:
        """CollectionStore."""
        self._call("jump reached", StoreUnavailable(), lambda: self._world.ledger.jump_host_reached(assignment))

    def publish(self, *given: Any) -> Any:  # noqa: ANN401 - of the store two, of the publisher one
        """CollectionStore and Publisher."""
        if len(given) == 2:
            return self._call("fence", StoreUnavailable(), lambda: self._world.fence(self, *given))
        return self._call("publish", BusUnavailable(), lambda: self._publish(given[0]))

    def end(self, *given: Any) -> Any:  # noqa: ANN401
        """CollectionStore."""
        return self._call("end", StoreUnavailable(), lambda: self._world.end(*given))

    # Collector and Session

    @property
    def modern(self) -> bool:
        """Session."""
        return True

    @contextmanager
    def session(
        self, target: Target, admit: Callable[[HostKey], None], login: Callable[[], Login], via: Via | None = None
    ) -> Iterator[Worker]:
        """Collector."""
        self._pass(via)
        router: Router = self._world.router_at(target.host)
        try:
            self._call("connect", DeviceUnreachable(), lambda: self._connect(router))
            admit(router.key)
            secret = login()
            self._call("login", DeviceTimeout(), lambda: self._login(router, secret))
            yield self
        finally:
            router.sessions[:] = [worker for worker in router.sessions if worker is not self]

    def handshake(self, target: Target, via: Via | None = None) -> HostKey:
        """Collector."""
        self._pass(via)
        router: Router = self._world.router_at(target.host)
        try:
            self._call("connect", DeviceUnreachable(), lambda: self._connect(router))
            return router.key
        finally:
            router.sessions[:] = [worker for worker in router.sessions if worker is not self]

    def _pass(self, via: Via | None) -> None:
        """Each session makes its own connection here."""
        if via is None:
            return
        hop: JumpHost = self._world.hop
        self._call("jump", JumpHostUnreachable(), lambda: self._reach(hop))
        via.admit(hop.key)
        via.login()
        self._call("jump login", JumpHostUnreachable(), lambda: self._log_in_there(hop))
        via.reached()

    def _reach(self, hop: JumpHost) -> None:
        if hop.unreachable:
            raise JumpHostUnreachable("no answer") from DeviceUnreachable()

    def _log_in_there(self, hop: JumpHost) -> None:
        if hop.refuses:
            hop.refused += 1
            raise JumpHostBlocked("refused") from AuthenticationFailed()
        if not hop.forwards:
            raise JumpHostBlocked("it forwards nothing")

    def _connect(self, router: Router) -> None:
        if router.unreachable:
            raise DeviceUnreachable
        router.sessions.append(self)

    def _login(self, router: Router, login: Login) -> None:
        if router.refuses:
            router.refused += 1
            raise AuthenticationFailed

    def run(self, command: str, within: timedelta | None = None) -> Any:  # noqa: ANN401
        """Session."""
        return self._call("run", DeviceTimeout(), lambda: self._answer(command))

    def _answer(self, command: str) -> Reply:
        assert self.assignment
        router: Router = self._world.router_at(self.assignment.target.host)
        if router.mute:
            raise DeviceTimeout
        if command != "long":
            return Reply(command, UNKNOWN, b"", 1)
        self.saw = (self._world.steps, router.letter)
        return Reply(command, EXPORTS[router.letter], b"", 0)

    # the others

    def read(self, driver: str, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
        """Reader: in a process of its own; here at once."""
        return Toy().read(asking, replies)

    def open_pepper(self, *given: Any) -> Any:  # noqa: ANN401
        """SecretOpener."""
        return self._call("pepper", VaultUnavailable(), lambda: self._world.vault.open_pepper(*given))

    def open_login(self, *given: Any) -> Any:  # noqa: ANN401
        """SecretOpener."""
        return self._call("open", VaultUnavailable(), lambda: self._world.vault.open_login(*given))

    def seal_config(self, *given: Any) -> Any:  # noqa: ANN401
        """Sealer."""
        return self._call("seal", VaultUnavailable(), lambda: self._world.vault.seal_config(*given))

    def _publish(self, message: SnapshotMessage) -> bool:
        bus: Bus = self._world.bus
        bus.sent.append(message)
        sent = self._step.sent if bus.up else Sent.REFUSED
        if sent is Sent.REFUSED:
            raise BusUnavailable
        if sent in {Sent.TAKEN, Sent.UNKNOWN_ARRIVED}:
            bus.arrive(message)
        if sent is Sent.UNKNOWN_UNDER_WAY:
            bus.under_way.append(message)
        return sent is Sent.TAKEN
