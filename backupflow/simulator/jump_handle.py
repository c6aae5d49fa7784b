"""The thread-safe handle of one jump host of a running fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.simulator.history import Event, History
    from backupflow.simulator.jump import JumpCounts, JumpHost
    from backupflow.simulator.jump_spec import JumpBehaviour, JumpSpec
    from backupflow.simulator.spec import Login


class SimulatedJumpHost:
    """What may be asked of a jump host and done to it, from any thread."""

    def __init__(self, jump_host: JumpHost, call: Callable[[Callable[[], Any]], Any], history: History) -> None:
        self._jump_host = jump_host
        self._call = call
        self._history = history

    @property
    def spec(self) -> JumpSpec:
        """What it is from its start."""
        return self._jump_host.spec

    @property
    def name(self) -> str:
        """Its name in the fleet."""
        return self._jump_host.spec.name

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self._jump_host.port.host

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._jump_host.port.number

    @property
    def behaviour(self) -> JumpBehaviour:
        """How it answers now."""
        return self._jump_host.behaviour

    @property
    def fingerprint(self) -> str:
        """Of the present host key, as ssh-keygen prints it."""
        return str(self._call(lambda: self._jump_host.keys.first.fingerprint))

    @property
    def host_key_type(self) -> str:
        """Of the present host key."""
        return str(self._call(self._jump_host.keys.first.private.get_algorithm))

    @property
    def host_key_blob(self) -> bytes:
        """The present public key as SSH sends it."""
        return bytes(self._call(lambda: self._jump_host.keys.first.blob))

    @property
    def stats(self) -> JumpCounts:
        """Its counts now."""
        counts: JumpCounts = self._call(self._jump_host.stats)
        return counts

    @property
    def history(self) -> tuple[Event, ...]:
        """What happened to it, in order."""
        return self._history.events(self.name)

    def behave(self, **changes: object) -> None:
        """Change fields of its JumpBehaviour; raises InputInvalid."""
        self._call(lambda: self._jump_host.behave(changes))

    def kill(self) -> None:
        """Drop all connections; it goes on listening."""
        self._call(self._jump_host.kill)

    def stop(self) -> None:
        """Refuse connections from now on, and drop those that stand."""
        self.behave(listening=False)
        self.kill()

    def resume(self) -> None:
        """Listen again, on the same port."""
        self.behave(listening=True)

    def change_key(self) -> str:
        """Another host key on the same port; returns its fingerprint."""
        return str(self._call(self._jump_host.change_key))

    def take_logins(self, *logins: Login) -> None:
        """Other users from now on, in place of those it has."""
        self._call(lambda: self._jump_host.take_logins(logins))

    def wait_until(self, holds: Callable[[JumpCounts], bool], timeout: float = 10.0) -> bool:
        """Wait until its counts are so; False if not within `timeout` seconds."""
        return self._history.wait_until(lambda: holds(self._jump_host.counts), timeout)

    def wait_idle(self, timeout: float = 10.0) -> bool:
        """Wait until nothing goes through it."""
        return self.wait_until(lambda counts: not counts.channels_open, timeout)
