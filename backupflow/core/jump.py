"""Jump hosts: what stands between a collector and a device, and what its state means for those behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.errors import CommandRejected

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta
    from uuid import UUID

    from backupflow.core.model import HostKey, JumpHostId, Login, SealedSecret, Target, Trust

CHANNELS = 8  # sessions at a time through one connection of one process; OpenSSH allows 10 (MaxSessions)
JUMP_HOST_DOWN = "jump_host_unreachable"  # code of an alarm, of scope `jump host ID`
JUMP_HOST_BLOCKED = "jump_host_blocked"  # another one: a person must act


@dataclass(frozen=True, slots=True)
class JumpHost:
    """A jump host as a collection was assigned it."""

    jump_host_id: JumpHostId
    name: str
    target: Target
    trust: Trust
    username: str
    login_id: UUID
    sealed_login: SealedSecret
    login_changed_at: datetime | None
    failures: int  # in a row; 0: it was reached when it was last tried
    passed: bool = False  # whether anybody has come through it yet

    @property
    def mark(self) -> tuple[object, ...]:
        """Equal as long as a connection that was made to it may be used for the next device."""
        pinned = self.target.pinned
        address = (self.jump_host_id, self.target.host, self.target.port)
        return (*address, self.login_id, self.login_changed_at, pinned.blob if pinned else None)


@dataclass(frozen=True, slots=True)
class Via:
    """A jump host on the way to a device, and what to ask before it is spoken to; all may raise.

    `admit` has committed its pin when it returns, `login` opens its login at the last moment, `reached` is told of each
    session for which it could be passed, also over a connection that stood already.
    """

    jump_host: JumpHost
    admit: Callable[[HostKey], None]
    login: Callable[[], Login]
    reached: Callable[[], None]


def scope_of(jump_host_id: JumpHostId) -> str:
    """Of the alarms of a jump host."""
    return f"jump host {jump_host_id}"


@dataclass(frozen=True, slots=True)
class JumpTrouble:
    """What a collection found out about its jump host: nobody behind it is to blame."""

    code: str  # of what was met there, such as authentication_failed
    detail: str
    blocks: bool  # a person must act
    again_in: timedelta | None = None  # None: blocked
    offered: HostKey | None = None  # another key than its pinned one

    @property
    def refuses_to_forward(self) -> bool:
        """Whether it refused to forward, which is its trouble only as long as it never did: else it is one device's."""
        return self.code == CommandRejected.code
