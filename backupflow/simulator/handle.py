"""The thread-safe handle of one router of a running fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.simulator.behaviour import Behaviour
    from backupflow.simulator.configuration import Edit
    from backupflow.simulator.history import Event, History
    from backupflow.simulator.router import Counts, Router
    from backupflow.simulator.spec import HostKeyType, Login, RouterSpec


class SimulatedRouter:
    """What may be asked of a router and done to it, from any thread."""

    def __init__(self, router: Router, call: Callable[[Callable[[], Any]], Any], history: History) -> None:
        self._router = router
        self._call = call
        self._history = history

    @property
    def spec(self) -> RouterSpec:
        """What it is from its start."""
        return self._router.spec

    @property
    def name(self) -> str:
        """Its name in the fleet."""
        return self._router.spec.name

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self._router.spec.host

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._router.port

    @property
    def behaviour(self) -> Behaviour:
        """How it answers now."""
        return self._router.behaviour

    @property
    def fingerprint(self) -> str:
        """Of the present host key, as ssh-keygen prints it."""
        return str(self._call(lambda: self._router.keys.first.fingerprint))

    @property
    def host_key_type(self) -> str:
        """Of the present host key: `ssh-ed25519`, `ssh-rsa`, `ecdsa-sha2-nistp256`."""
        return str(self._call(self._router.keys.first.private.get_algorithm))

    @property
    def host_key_blob(self) -> bytes:
        """The present public key as SSH sends it."""
        return bytes(self._call(lambda: self._router.keys.first.blob))

    @property
    def host_keys(self) -> dict[str, bytes]:
        """All present public keys as SSH sends them, by their type."""
        keys: dict[str, bytes] = self._call(
            lambda: {key.private.get_algorithm(): key.blob for key in self._router.keys.keys}
        )
        return keys

    @property
    def stats(self) -> Counts:
        """Its counts now."""
        counts: Counts = self._call(self._router.stats)
        return counts

    @property
    def revision(self) -> int:
        """The number of edits so far."""
        return len(self._router.kinds)

    @property
    def history(self) -> tuple[Event, ...]:
        """What happened to it, in order."""
        return self._history.events(self.name)

    def edit(self, kind: str | None = None, by: str = "admin") -> Edit:
        """Let somebody make one real change of a drawn or given kind (see configuration.EditKind); InputInvalid."""
        edit: Edit = self._call(lambda: self._router.edit(kind, by))
        return edit

    def behave(self, **changes: object) -> None:
        """Change fields of its Behaviour; raises InputInvalid."""
        self._call(lambda: self._router.behave(changes))

    def change_key(self, key_type: HostKeyType | None = None) -> str:
        """Another host key on the same port; returns its fingerprint."""
        return str(self._call(lambda: self._router.change_key(key_type)))

    def add_key(self, key_type: HostKeyType) -> str:
        """One more host key, of another type; returns its fingerprint. Raises InputInvalid."""
        return str(self._call(lambda: self._router.add_key(key_type)))

    def drop_key(self, key_type: HostKeyType) -> None:
        """Have no host key of that type any more; raises InputInvalid for the last one."""
        self._call(lambda: self._router.drop_key(key_type))

    def take_logins(self, *logins: Login) -> None:
        """Other users and passwords from now on, in place of those it has."""
        self._call(lambda: self._router.take_logins(logins))

    def text(self, revision: int | None = None, *, sensitive: bool = True) -> bytes:
        """The canonical export (CRLF; no header date, no device comments, no markers), as its behaviour is now."""
        return bytes(self._call(lambda: self._router.text(revision, sensitive=sensitive)).canonical)

    def wait_idle(self, timeout: float = 10.0) -> bool:
        """Wait until no session is open, so that the history of those that ended is whole."""
        return self._history.wait_until(lambda: self._router.counts.open == 0, timeout)
