"""The host keys that one router has at a time: at least one, and at most one of a type, as `/ip ssh` keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.errors import InputInvalid
from backupflow.simulator.keys import SimulatedHostKey, server_options

if TYPE_CHECKING:
    import asyncssh

    from backupflow.simulator.spec import HostKeyType, RouterSpec


class KeyRing:
    """The keys in the order in which they came; the first is *the* host key where only one is spoken of."""

    def __init__(self, spec: RouterSpec) -> None:
        self._spec = spec
        self._made = 0
        self._options: dict[bool, asyncssh.SSHServerConnectionOptions] = {}
        types = ("rsa",) if spec.legacy else (spec.host_key_type, *spec.more_host_keys)
        self.keys: tuple[SimulatedHostKey, ...] = ()
        self._have(*(SimulatedHostKey(spec, key_type, 0) for key_type in types))

    @property
    def first(self) -> SimulatedHostKey:
        """The key that `change` replaces."""
        return self.keys[0]

    def change(self, key_type: HostKeyType | None) -> SimulatedHostKey:
        """Replace the first key by another one, of the same or of another type."""
        self._have(self._new(key_type or self.first.key_type), *self.keys[1:])
        return self.first

    def add(self, key_type: HostKeyType) -> SimulatedHostKey:
        """One more key; raises InputInvalid if there is one of that type."""
        self._have(*self.keys, self._new(key_type))
        return self.keys[-1]

    def drop(self, key_type: HostKeyType) -> None:
        """Have no key of that type any more; raises InputInvalid if there is none, or no other."""
        kept = [key for key in self.keys if key.key_type != key_type]
        if not kept or len(kept) == len(self.keys):
            raise InputInvalid(f"the router cannot lose a key of type {key_type}")
        self._have(*kept)

    def options(self, *, legacy: bool) -> asyncssh.SSHServerConnectionOptions:
        """What a server offers; one that speaks only SHA-1 has an RSA key, if need be one that nobody has seen."""
        if legacy not in self._options:
            keys = [key for key in self.keys if key.key_type == "rsa" or not legacy] or [self._new("rsa")]
            self._options[legacy] = server_options(keys, legacy=legacy)
        return self._options[legacy]

    def _new(self, key_type: HostKeyType) -> SimulatedHostKey:
        self._made += 1
        return SimulatedHostKey(self._spec, key_type, self._made)

    def _have(self, *keys: SimulatedHostKey) -> None:
        if len({key.key_type for key in keys}) < len(keys):
            raise InputInvalid("a router has one host key of a type")
        self.keys = keys
        self._options.clear()
