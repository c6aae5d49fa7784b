"""The way to a device through its jump host, and what a session found out about that on it.

A jump host's key is judged like a device's: by its own pin, its own expected keys, its own trust. What is wrong with it
is never the device's fault: it is told as JumpHostBlocked, where a person must act, else as JumpHostUnreachable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core import backoff
from backupflow.core.jump import JumpHost, JumpTrouble, Via
from backupflow.errors import (
    BackupflowError,
    HostKeyMismatch,
    HostKeyUnapproved,
    InputInvalid,
    JumpHostBlocked,
    JumpHostUnreachable,
    LoginSuspended,
    MessageMalformed,
)
from backupflow.flows.admitting import admitted, login_of

if TYPE_CHECKING:
    from backupflow.core.ledger import Assignment
    from backupflow.core.model import HostKey, Login
    from backupflow.flows.outcome import CollectPorts


@dataclass(slots=True)
class Way:
    """The way of one session."""

    ports: CollectPorts
    assignment: Assignment
    _offered: HostKey | None = None  # by the jump host

    @property
    def via(self) -> Via | None:
        """The jump host on it; None: straight to the device."""
        hop = self.assignment.jump_host
        if hop is None:
            return None
        return Via(
            hop,
            lambda key: self._admit(hop, key),
            lambda: self._login(hop),
            lambda: self.ports.store.jump_host_reached(self.assignment),
        )

    def trouble(self, exc: BackupflowError) -> JumpTrouble | None:
        """What a failure says of the jump host; None: nothing."""
        if not isinstance(exc, JumpHostBlocked | JumpHostUnreachable):
            return None
        cause = exc.__cause__
        code = cause.code if isinstance(cause, BackupflowError) else exc.code
        if isinstance(exc, JumpHostUnreachable):
            again_in = backoff.jump_retry(self.ports.jump_host_retry, self.ports.dice())
            return JumpTrouble(code, exc.detail, blocks=False, again_in=again_in)
        of_its_key = isinstance(cause, HostKeyMismatch | HostKeyUnapproved)
        return JumpTrouble(code, exc.detail, blocks=True, offered=self._offered if of_its_key else None)

    def _admit(self, hop: JumpHost, key: HostKey) -> None:
        """Refuse its key, or let it pass; when this returns, what was let pass is pinned and committed (I6)."""
        self._offered = key
        try:
            how = admitted(hop.target, hop.trust, key)
            if how is not None:
                self.ports.store.pin_jump_host(self.assignment, key, how)
        except (HostKeyMismatch, HostKeyUnapproved) as exc:
            raise JumpHostBlocked(exc.detail) from exc

    def _login(self, hop: JumpHost) -> Login:
        """Open its login at the last moment, after one more look at whether it may still be sent there (I6, I7)."""
        if self._offered is None or not self.ports.store.jump_login_allowed(self.assignment, self._offered):
            raise LoginSuspended("the jump host, its key or its login were changed after the collection had begun")
        try:
            secret = self.ports.secrets.open_login(self.assignment.tenant_id, hop.login_id, hop.sealed_login)
            return login_of(hop.username, secret)
        except (MessageMalformed, InputInvalid) as exc:
            raise JumpHostBlocked(f"its login does not open: {exc.detail}") from exc
