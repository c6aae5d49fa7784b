"""A day of a fleet in seconds: real claims, collections and observations in PostgreSQL whose time runs ahead.

Around them stand routers with MikroTik's example firewall, logins that change, a jump host, a vault and workers that
die; a session takes no time. What it is for is the order of events over hours, which no test can wait for.
"""

from __future__ import annotations

import base64
import json
import random
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from backupflow.adapters.db.requests import Requests
from backupflow.core.driver import Reply
from backupflow.core.envelope import unpack
from backupflow.core.ledger import Limits
from backupflow.core.model import HostKey, SealedConfig
from backupflow.errors import (
    AuthenticationFailed,
    DeviceTimeout,
    DeviceUnreachable,
    JumpHostUnreachable,
    OutputTruncated,
    VaultUnavailable,
)
from backupflow.flows.collect import collect
from backupflow.flows.outcome import CollectPorts
from tests.integration.db.virtual_time import VirtualTime
from tests.unit.flows.world import HOP_KEY, NONCE, PEPPER, UNKNOWN, Toy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from backupflow.core.driver import Asking, Incomplete, Reading
    from backupflow.core.jump import Via
    from backupflow.core.message import SnapshotMessage
    from backupflow.core.model import CollectionId, DeviceId, Login, Pepper, SealedSecret, Target, TenantId
    from tests.integration.db.fleet import Fleet

OUR_ADDRESS = "ours"
LONGEST_STEP = timedelta(minutes=5)
# Whatever may be what happens next.
_NEXT = """
    SELECT min(at) FROM (
        SELECT greatest(next_due_at, hold_until) AS at FROM device WHERE status = 'active' AND blocked_code IS NULL
        UNION ALL SELECT next_due_at FROM device WHERE status = 'active'
        UNION ALL SELECT lease_until FROM collection WHERE state = 'running'
        UNION ALL SELECT retry_at FROM jump_host UNION ALL SELECT trial_at FROM credential_profile
        UNION ALL SELECT probe_at FROM site WHERE down_since IS NOT NULL) moments
    WHERE at > now()"""


class Killed(BaseException):
    """The worker is gone: no flow catches this."""


class ExampleFirewall:
    """MikroTik's example against brute force: four address lists, each connection counts, good ones too.

    In this order: from the third list onto the black list for a day, from the second onto the third for an hour, from
    the first onto the second for 15 minutes, and everybody onto the first for 5 minutes.
    """

    FOR = (timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1), timedelta(days=1))

    def __init__(self) -> None:
        self._until: dict[tuple[str, int], datetime] = {}
        self.banned: list[tuple[str, datetime]] = []

    def admits(self, source: str, now: datetime) -> bool:
        """Count a new connection, and say whether it is let in."""
        for stage in (3, 2, 1):
            if self._on(source, stage - 1, now):
                self._until[source, stage] = now + self.FOR[stage]
                if stage == 3:
                    self.banned.append((source, now))
        self._until[source, 0] = now + self.FOR[0]
        return not self._on(source, 3, now)

    def _on(self, source: str, stage: int, now: datetime) -> bool:
        return self._until.get((source, stage), now) > now


@dataclass
class Router:
    """A router, as it is at this moment."""

    name: str
    password: str
    key: HostKey
    behind: bool = False  # a jump host
    up: bool = True
    trouble: str = ""  # mute or cut
    revision: int = 0
    firewall: ExampleFirewall = field(default_factory=ExampleFirewall)
    connections: list[datetime] = field(default_factory=list)
    logins: list[tuple[datetime, str, bool]] = field(default_factory=list)  # when, which password, taken

    @property
    def text(self) -> bytes:
        """Its configuration."""
        return f"/s1\n/s2\nserial {self.name}\nadd revision={self.revision}\n".encode()


class Day:
    """The world, and the loop of beat and workers."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.fleet = fleet
        self.time = VirtualTime(fleet)
        self.dice = random.Random(seed)
        self.routers: dict[str, Router] = {}
        self.passwords: dict[str, str] = {}  # by sealed text
        self.vault_up = self.hop_up = self.radius_up = True
        self.dies = 0.0  # how many of the sessions take their worker with them
        self.plan: list[tuple[datetime, Callable[[], object]]] = []
        self.most_open = 0
        self._sealed: dict[str, bytes] = {}
        fleet.__dict__.pop("claims", None)
        fleet.claims._dice = self.dice.random
        self._ports = CollectPorts(
            fleet.collections, self, self, self, self, self, lambda _: Toy(), self.dice.random, lambda: NONCE
        )

    # --- what there is -------------------------------------------------------------------------------------------

    def secret(self, password: str) -> str:
        """A sealed text that opens as this password."""
        sealed = "vault:v1:" + base64.b64encode(password.encode()).decode()
        self.passwords[sealed] = password
        return sealed

    def profile(self, name: str, password: str) -> UUID:
        """A login that devices share."""
        made: UUID = self.fleet.login(name=name)
        self.fleet.sql("UPDATE credential_profile SET sealed = :s WHERE id = :p", s=self.secret(password), p=made)
        return made

    def router(self, name: str, password: str, *, behind: UUID | None = None, **columns: Any) -> DeviceId:  # noqa: ANN401
        """A router and its device, due within five minutes."""
        key = HostKey("ssh-ed25519", name.encode())
        self.routers[name] = Router(name, password, key, behind=behind is not None)
        due = timedelta(seconds=self.dice.uniform(30, 300))
        return self.fleet.device(login=False, name=name, host=name, due=due, jump_host_id=behind, **columns)

    # --- time ----------------------------------------------------------------------------------------------------

    def at(self, when: datetime, act: Callable[[], object]) -> None:
        """Let something happen then."""
        self.plan.append((when, act))
        self.plan.sort(key=lambda one: one[0])

    def run_until(self, end: datetime) -> None:
        """Beat and workers, from one moment at which something may happen to the next."""
        while (now := self.time.now) < end:
            while self.plan and self.plan[0][0] <= now:
                self.plan.pop(0)[1]()
            self._tick()
            later = self.fleet.value(_NEXT) or now + LONGEST_STEP
            then = min(later, now + LONGEST_STEP, end, *(when for when, _ in self.plan[:1]))
            self.time.forward(max(then - now, timedelta(0)) + timedelta(seconds=1))

    def _tick(self) -> None:
        self.fleet.sql("UPDATE process SET heartbeat_at = now()")
        claimed = self.fleet.claims.claim(replace(Limits(), may_claim=self.vault_up))
        assert claimed is not None
        self.most_open = max(self.most_open, len(claimed.new))
        for claim in (*claimed.new, *claimed.again):
            self._work(claim.collection_id)

    def _work(self, collection_id: CollectionId) -> None:
        wrong: list[Exception] = []
        with suppress(Killed):
            collect(self._ports, collection_id, f"worker-{collection_id}-{self.dice.random()}", wrong.append)
        assert not wrong, wrong

    def ask(self, *names: str, forced: bool = False) -> None:
        """Somebody asks for backups."""
        requests = Requests(self.fleet.engine("operator"))
        numbers = requests.ask(self.fleet.tenant, names, "me")
        if forced:
            self.fleet.sql("UPDATE request SET forced = true WHERE id = ANY(:n)", n=list(numbers))

    # --- Collector and Session -----------------------------------------------------------------------------------

    @contextmanager
    def session(
        self, target: Target, admit: Callable[[HostKey], None], login: Callable[[], Login], via: Via | None = None
    ) -> Iterator[_Session]:
        """Collector."""
        router, now = self.routers[target.host], self.time.now
        if via is not None:
            if not self.hop_up:
                raise JumpHostUnreachable("no answer") from DeviceUnreachable()
            via.admit(HOP_KEY)
            via.login()
            via.reached()
        self._connect(router, "jump host" if via else OUR_ADDRESS, now)
        self._perhaps_die()
        admit(router.key)
        said = login()
        taken = self.radius_up and said.password == router.password
        router.logins.append((now, said.password or "", taken))
        if not taken:
            raise AuthenticationFailed
        self._perhaps_die()
        yield _Session(router)

    def handshake(self, target: Target, via: Via | None = None) -> HostKey:
        """Collector."""
        raise NotImplementedError

    def _connect(self, router: Router, source: str, now: datetime) -> None:
        if not router.up:
            raise DeviceUnreachable
        router.connections.append(now)
        if not router.firewall.admits(source, now):
            raise DeviceUnreachable
        if router.trouble == "mute":
            raise DeviceTimeout

    def _perhaps_die(self) -> None:
        if self.dice.random() < self.dies:
            raise Killed

    # --- the vault, the bus, the reader --------------------------------------------------------------------------

    def _open(self) -> None:
        if not self.vault_up:
            raise VaultUnavailable

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """SecretOpener."""
        self._open()
        return PEPPER

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """SecretOpener."""
        self._open()
        return json.dumps({"password": self.passwords.get(sealed.text, "of the jump host")}).encode()

    def seal_config(self, tenant_id: TenantId, device_id: DeviceId, envelope: bytes) -> SealedConfig:
        """Sealer: never the same text twice."""
        self._open()
        made = SealedConfig("vault:v1:" + base64.b64encode(b"%d" % len(self._sealed)).decode())
        self._sealed[made.text] = envelope
        return made

    def publish(self, message: SnapshotMessage) -> bool:
        """Publisher: the ingester has it at once."""
        assert all(stored.acceptable for stored in self.fleet.observations.store([message]))
        return True

    def read(self, driver: str, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
        """Reader."""
        return Toy().read(asking, replies)

    # --- what came of it -----------------------------------------------------------------------------------------

    def behind_the_times(self) -> list[str]:
        """The routers whose newest revision is not the current configuration of their device."""
        rows = self.fleet.sql("""
            SELECT d.name, k.sealed FROM device d JOIN collection c ON c.id = d.current_collection_id
            JOIN content k ON k.id = c.content_id""")
        current = {row.name: self._sealed[row.sealed] for row in rows}
        texts = {name: bytes(unpack(envelope, 10_000)[1]) for name, envelope in current.items()}
        return [name for name, router in self.routers.items() if router.text != texts.get(name)]


@dataclass
class _Session:
    """Session."""

    router: Router
    modern: bool = True

    def run(self, command: str, within: timedelta | None = None) -> Reply:
        """Session."""
        if self.router.trouble == "cut":
            raise OutputTruncated
        if command.partition("+")[0] != "long":
            return Reply(command, UNKNOWN, b"", 1)
        return Reply(command, self.router.text, b"", 0)
