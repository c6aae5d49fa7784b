"""Routers that share a login, and whatever knows its password: real claims and collections, many sessions at a time.

PostgreSQL's time runs ahead, and a session takes none of it; that so many are under way at once is real.
"""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from backupflow.core.driver import Reply
from backupflow.core.ledger import Limits
from backupflow.core.model import HostKey, SealedConfig
from backupflow.errors import AuthenticationFailed
from backupflow.flows.collect import collect
from backupflow.flows.outcome import CollectPorts
from tests.unit.flows.world import NONCE, PEPPER, UNKNOWN, Toy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from backupflow.core.driver import Asking, Incomplete, Reading
    from backupflow.core.jump import Via
    from backupflow.core.message import SnapshotMessage
    from backupflow.core.model import Claim, DeviceId, Login, Pepper, SealedSecret, Target, TenantId
    from tests.integration.db.fleet import Fleet
    from tests.integration.db.virtual_time import VirtualTime

STEP = timedelta(minutes=1)
_PINNED = """
    INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint)
    SELECT tenant_id, id, 'pinned', 'ssh-ed25519', CAST(host AS bytea), host FROM device"""
_NEXT = """
    SELECT min(at) FROM (
        SELECT greatest(next_due_at, hold_until) AS at FROM device WHERE status = 'active' AND blocked_code IS NULL
        UNION ALL SELECT trial_at FROM credential_profile) moments WHERE at > now()"""


class Refusing:
    """So many routers on one profile, all due now, and so many workers."""

    def __init__(self, fleet: Fleet, time: VirtualTime, routers: int, workers: int) -> None:
        self.fleet = fleet
        self.time = time
        self.workers = workers
        self.down_until = time.now
        self.wrong: set[str] = set()  # routers with another password, by their address
        self.sent: list[tuple[datetime, str, bool]] = []  # when, to which router, taken
        self.defects: list[Exception] = []
        self._together = threading.Barrier(workers)
        fleet.workers(collect=workers)
        fleet.fleet(routers)
        fleet.sql("UPDATE device SET settings = '{\"interval_seconds\": 86400}'")
        fleet.sql(_PINNED)
        self._ports = CollectPorts(
            fleet.collections, self, self, self, self, self, lambda _: Toy(), lambda: 0.5, lambda: NONCE
        )

    # --- the loop ------------------------------------------------------------------------------------------------

    def run_until(self, end: datetime) -> None:
        """Beat, and workers who take what it gives them, from one moment at which something is due to the next."""
        with ThreadPoolExecutor(self.workers) as pool:
            while self.time.now < end:
                while claims := self._claimed():
                    list(pool.map(self._work, claims))
                now = self.time.now
                then = min(self.fleet.value(_NEXT) or end, end)
                self.time.forward(max(then - now, STEP))
        assert self.defects == []

    def _claimed(self) -> Sequence[Claim]:
        self.fleet.sql("UPDATE process SET heartbeat_at = now()")
        claimed = self.fleet.claims.claim(Limits())
        assert claimed is not None
        return claimed.new

    def _work(self, claim: Claim) -> None:
        collect(self._ports, claim.collection_id, f"worker-{claim.collection_id}", self.defects.append)

    # --- what is counted -----------------------------------------------------------------------------------------

    @property
    def refused(self) -> list[str]:
        """To which routers it was sent in vain."""
        return [router for _, router, taken in self.sent if not taken]

    def late(self, end: datetime) -> int:
        """How many devices were not collected by then."""
        return int(
            self.fleet.value(
                "SELECT count(*) FROM device d WHERE NOT EXISTS (SELECT 1 FROM collection c "
                "WHERE c.device_id = d.id AND c.state = 'published' AND c.collected_at <= :end)",
                end=end,
            )
        )

    # --- the ports -----------------------------------------------------------------------------------------------

    @contextmanager
    def session(
        self, target: Target, admit: Callable[[HostKey], None], login: Callable[[], Login], via: Via | None = None
    ) -> Iterator[Refusing]:
        """Collector: the first sessions all have sent their login before any of them is answered."""
        admit(HostKey("ssh-ed25519", target.host.encode()))
        login()
        now = self.time.now
        taken = now >= self.down_until and target.host not in self.wrong
        self.sent.append((now, target.host, taken))
        if not self._together.broken:
            try:
                self._together.wait(5)
            except threading.BrokenBarrierError:
                pass
            else:
                self._together.abort()
        if not taken:
            raise AuthenticationFailed("it said no")
        yield self

    modern = True

    def run(self, command: str, within: timedelta | None = None) -> Reply:
        """Session."""
        answer = b"/s1\n/s2\nadd name=x\n" if command.partition("+")[0] == "long" else UNKNOWN
        return Reply(command, answer, b"", 0)

    def handshake(self, target: Target, via: Via | None = None) -> HostKey:
        """Collector."""
        raise NotImplementedError

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """SecretOpener."""
        return PEPPER

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """SecretOpener."""
        return json.dumps({"password": "s3cret"}).encode()

    def seal_config(self, tenant_id: TenantId, device_id: DeviceId, envelope: bytes) -> SealedConfig:
        """Sealer."""
        return SealedConfig("vault:v1:" + base64.b64encode(device_id.bytes).decode())

    def publish(self, message: SnapshotMessage) -> bool:
        """Publisher."""
        return True

    def read(self, driver: str, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
        """Reader."""
        return Toy().read(asking, replies)
