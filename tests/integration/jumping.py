"""What tests of jump hosts share: the way to a device, and who was asked what on it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from backupflow.adapters.ssh import SshCollector
from backupflow.core.jump import JumpHost, Via
from backupflow.core.model import HostKey, JumpHostId, Login, SealedSecret, Target, Timeouts, Trust

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import timedelta

    from backupflow.adapters.ssh import SshSession
    from backupflow.core.driver import Reply
    from backupflow.simulator import SimulatedJumpHost, SimulatedRouter

EXPORT = "/export show-sensitive"
TO_ROUTER = Login("backup", "backup")
TO_JUMP_HOST = Login("jump", "jump")
_SEALED = SealedSecret("vault:v1:AAAA")


def pinned(host: SimulatedRouter | SimulatedJumpHost, **timeouts: timedelta) -> Target:
    """A simulated host with its present key pinned."""
    key = HostKey(host.host_key_type, host.host_key_blob)
    return Target(host.host, host.port, key, legacy_ssh=False, timeouts=Timeouts(**timeouts))


@dataclass
class Way:
    """A way through a jump host, as a flow would make it for each session."""

    target: Target
    login: Login = TO_JUMP_HOST
    name: str = "bastion"
    jump_host_id: JumpHostId = field(default_factory=lambda: JumpHostId(uuid4()))
    failures: int = 0
    login_id: UUID = field(default_factory=uuid4)
    passed: bool = False
    refuses: Callable[[HostKey], None] = lambda _: None
    admitted: list[HostKey] = field(default_factory=list)
    asked: int = 0
    reached: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def via(self) -> Via:
        """For one session."""
        host = JumpHost(
            self.jump_host_id,
            self.name,
            self.target,
            Trust.TOFU,
            self.login.username,
            self.login_id,
            _SEALED,
            login_changed_at=None,
            failures=self.failures,
            passed=self.passed,
        )
        return Via(host, self._admit, self._login, self._reached)

    def changed(self, **fields: Any) -> Way:  # noqa: ANN401 - dataclasses.replace takes them so
        """The same jump host, with something else; who was asked what begins anew."""
        return replace(self, **{"admitted": [], "asked": 0, "reached": 0, **fields})

    def _admit(self, key: HostKey) -> None:
        self.admitted.append(key)
        self.refuses(key)

    def _login(self) -> Login:
        with self._counting:
            self.asked += 1
        return self.login

    def _reached(self) -> None:
        with self._counting:
            self.reached += 1


def way_through(jump_host: SimulatedJumpHost, **fields: Any) -> Way:  # noqa: ANN401 - those of Way
    """A way through a simulated jump host."""
    return Way(pinned(jump_host), **fields)


def session(target: Target, way: Way, login: Login = TO_ROUTER) -> AbstractContextManager[SshSession]:
    """A session with whoever has the pinned key."""
    return SshCollector().session(target, lambda _: None, lambda: login, way.via)


def collect(target: Target, way: Way, login: Login = TO_ROUTER) -> Reply:
    """Open a session through a jump host and export."""
    with session(target, way, login) as opened:
        return opened.run(EXPORT)
