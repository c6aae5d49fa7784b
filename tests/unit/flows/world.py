"""All ports of the collect flow in one fake that writes down what happens, and a driver of a few words."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from backupflow.core.driver import Asking, Complete, Driver, Facts, Grammar, Incomplete, Outline, Reading, Reason, Reply
from backupflow.core.edits import Edit
from backupflow.core.ledger import Assignment
from backupflow.core.model import (
    CollectionId,
    DeviceId,
    EndMark,
    HostKey,
    Login,
    NormalConfig,
    Pepper,
    RawConfig,
    SealedConfig,
    SealedSecret,
    Secrets,
    Seq,
    Target,
    TenantId,
    Timeouts,
    Trust,
    TrustedHow,
)
from backupflow.drivers.routeros.driver import RouterOS
from backupflow.flows.collect import collect
from backupflow.flows.outcome import CollectPorts, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from backupflow.core.jump import Via
    from backupflow.core.ledger import Ending, Published, Withdrawn
    from backupflow.core.message import SnapshotMessage
    from backupflow.errors import BackupflowError

KEY, OTHER = HostKey("ssh-ed25519", b"key"), HostKey("ssh-ed25519", b"other")
HOP_KEY = HostKey("ssh-ed25519", b"jump host")
PEPPER = Pepper(b"p" * 32)
NONCE, UNKNOWN = "n0nce", b"no such command"
EXPORT = b"/ip address\r\nadd address=192.0.2.1\r\n"
NUMBER = CollectionId(7)
CLOCK = datetime(2026, 11, 22, 14, 2)  # noqa: DTZ001 - a router's clock has no zone
WORK = Assignment(
    NUMBER, "me", TenantId(UUID(int=1)), DeviceId(UUID(int=2)), "core-1", Seq(3), "toy",
    Target("192.0.2.1", 22, KEY, legacy_ssh=False, timeouts=Timeouts()), Trust.TOFU, "backup", UUID(int=4),
    SealedSecret("vault:v1:TE9HSU4="), UUID(int=2), SealedSecret("vault:v1:UEVQUEVS"), None, 1, 0,
    end_mark=EndMark.ABSENT,
)  # fmt: skip


class Toy:
    """A driver of two commands, whose verdict is chosen by the answer; a text with "psk" in it holds a secret."""

    name = "toy"
    secret_keys: frozenset[str] = frozenset()
    grammar: Grammar = RouterOS.grammar  # of which no test of these asks anything

    def next_command(self, asking: Asking, replies: Sequence[Reply]) -> str | None:
        """Two, or the remembered one first; an end mark is asked for in the first words."""
        commands = ["long", "short"] if asking.remembered is None else [asking.remembered, "long", "short"]
        if replies and replies[-1].stdout != UNKNOWN:
            return None
        command = commands[len(replies)] if len(replies) < len(commands) else None
        return f"{command}+{asking.end_mark}" if asking.end_mark and not replies else command

    def read(self, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
        """By a word."""
        last = replies[-1]
        if last.stdout in {UNKNOWN, b"truncated", b"rejected", b"not_a_configuration", b"interrupted"}:
            return Incomplete(Reason(last.stdout.decode().replace(UNKNOWN.decode(), "rejected")), "line 3")
        normal = self.normalize(RawConfig(last.stdout))
        lines, sections = bytes(normal).split(b"\n"), bytes(normal).count(b"/")
        serial = next((line[7:].decode() for line in lines if line.startswith(b"serial ")), None)
        return Reading(
            RawConfig(last.stdout),
            normal,
            Facts("toy", version="7.1", serial=serial),
            Outline(sections, len(normal), normal.count(b"psk"), b"%d" % len(lines), normal.replace(b"psk", b"")),
            Secrets.SHOWN if normal.count(b"psk") else Secrets.NONE,
            last.command,
            last.command,
            last.exit_status,
            marked="+" in last.command,
            ended=normal.endswith(b"end\n"),
            may_hide=True,
        )

    def probe(self, nonce: str) -> str:
        """A word."""
        return f"probe {nonce}"

    def repeats(self, reply: Reply, nonce: str) -> bool:
        """By the word."""
        return reply.stdout == nonce.encode()

    def who_command(self) -> str | None:
        """A word."""
        return "who"

    def edits(self, text: bytes) -> tuple[Edit, ...]:
        """A name a line."""
        return tuple(Edit(CLOCK, by) for by in text.decode().split()) if text != UNKNOWN else ()

    def clock(self, raw: RawConfig) -> datetime | None:
        """Always the same."""
        return CLOCK

    def judge_file(self, raw: bytes) -> Complete | Incomplete:
        """Not asked here."""
        raise NotImplementedError

    def normalize(self, raw: RawConfig) -> NormalConfig:
        """Without carriage returns."""
        return NormalConfig(raw.replace(b"\r", b""))

    def outline(self, normal: NormalConfig) -> Outline:
        """Not asked here."""
        raise NotImplementedError


class World:
    """All ports in one; `fails` names the call that fails, and how."""

    def __init__(self, **fails: BackupflowError) -> None:
        self.calls: list[str] = []
        self.fails = fails
        self.work: Assignment | Withdrawn | None = WORK
        self.offers = KEY
        self.hop_offers = HOP_KEY
        self.jump_allowed = True
        self.answers: dict[str, bytes] = {"long": EXPORT}
        self.allowed = self.fenced = self.holds = True
        self.known = self.modern = True
        self.within: list[timedelta | None] = []
        self.logins: list[Login] = []
        self.opened: list[tuple[UUID, SealedSecret]] = []
        self.passed: list[Published] = []
        self.sent: list[SnapshotMessage] = []
        self.endings: list[Ending] = []
        self.written: dict[str, Any] = {}  # what of an ending is written otherwise
        self.secret = b'{"password": "s3cret"}'
        self.sealed = "vault:v1:U0VBTEVE"
        self.told: list[Exception] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise self.fails[name]

    def start(self, collection_id: CollectionId, holder: str) -> Assignment | Withdrawn | None:
        """CollectionStore."""
        self._call("start")
        return self.work

    def pin(self, assignment: Assignment, key: HostKey, how: TrustedHow = TrustedHow.FIRST_USE) -> None:
        """CollectionStore."""
        self._call("pin")

    def login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """CollectionStore."""
        assert key is self.offers
        self._call("allowed")
        return self.allowed

    def pin_jump_host(self, assignment: Assignment, key: HostKey, how: TrustedHow) -> None:
        """CollectionStore."""
        self._call(f"pin jump host as {how}")

    def jump_login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """CollectionStore."""
        assert key is self.hop_offers
        self._call("jump allowed")
        return self.jump_allowed

    def jump_host_reached(self, assignment: Assignment) -> None:
        """CollectionStore."""
        self._call("reached")

    def publish(self, *given: Any) -> bool:  # noqa: ANN401 - of the store two, of the publisher one
        """CollectionStore and Publisher."""
        if len(given) == 2:
            self._call("fence")
            self.passed.append(given[1])
            return self.fenced
        self._call("publish")
        self.sent.append(given[0])
        return self.known

    def end(self, assignment: Assignment, ending: Ending) -> Ending | None:
        """CollectionStore."""
        self._call("end")
        self.endings.append(ending)
        return replace(ending, **self.written) if self.holds else None

    @contextmanager
    def session(
        self, target: Target, admit: Callable[[HostKey], None], login: Callable[[], Login], via: Via | None = None
    ) -> Iterator[World]:
        """Collector: a jump host is passed first."""
        self._pass(via)
        self._call("connect")
        admit(self.offers)
        self.logins.append(login())
        self._call("login")
        yield self
        self._call("close")

    def _pass(self, via: Via | None) -> None:
        if via is not None:
            self._call("jump")
            via.admit(self.hop_offers)
            self.logins.append(via.login())
            self._call("jump login")
            via.reached()

    def handshake(self, target: Target, via: Via | None = None) -> HostKey:
        """Collector."""
        self._pass(via)
        self._call("handshake")
        return self.offers

    def run(self, command: str, within: timedelta | None = None) -> Reply:
        """Session."""
        self._call(command)
        self.within.append(within)
        return Reply(command, self.answers.get(command, UNKNOWN), b"", 0)

    def read(self, driver: str, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
        """Reader."""
        self._call("read")
        return Toy().read(asking, replies)

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """SecretOpener."""
        self._call("pepper")
        return PEPPER

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """SecretOpener."""
        self._call("open")
        self.opened.append((context, sealed))
        return self.secret

    def seal_config(self, tenant_id: TenantId, device_id: DeviceId, envelope: bytes) -> SealedConfig:
        """Sealer."""
        self._call("seal")
        self.envelope = envelope
        return SealedConfig(self.sealed)

    def collect(self, work: Assignment | Withdrawn | None = WORK, dice: float = 0.0) -> Outcome:
        """Run the flow."""
        self.work = work
        driver: Driver = Toy()
        ports = CollectPorts(self, self, self, self, self, self, lambda _: driver, lambda: dice, lambda: NONCE)
        return collect(ports, NUMBER, "me", self.told.append)
