"""What a simulated router is: frozen values, no behaviour of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from backupflow.errors import InputInvalid
from backupflow.simulator.behaviour import HEALTHY, Behaviour
from backupflow.simulator.port import LOOPBACK

HostKeyType = Literal["ed25519", "rsa", "ecdsa"]


@dataclass(frozen=True, slots=True)
class Login:
    """One user of a router; `public_keys` are lines as in an authorized_keys file."""

    username: str
    password: str | None = field(default=None, repr=False)
    public_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """What a simulated router is from its start; `seed` and `name` together decide its configuration."""

    name: str
    seed: int = 0
    version: str = "7.14"
    model: str = "RB5009UG+S+"  # "CHR" has no serial number and another header
    serial: str | None = None  # None: drawn from the seed
    identity: str | None = None  # None: the name
    remark: str = "defconf: all local ports"  # the comment of its bridge
    logins: tuple[Login, ...] = (Login("backup", "backup"),)
    host_key_type: HostKeyType = "ed25519"
    more_host_keys: tuple[HostKeyType, ...] = ()  # that it has beside that one
    legacy: bool = False  # only SHA-1: ssh-rsa host key, diffie-hellman-group14-sha1, hmac-sha1
    size: int = 6_000  # bytes of the configuration's text, roughly
    marker: str | None = field(default=None, repr=False)  # planted as the password of a PPP secret
    behaviour: Behaviour = HEALTHY
    host: str = LOOPBACK  # or another address of 127.0.0.0/8: many ports on few addresses
    port: int = 0  # 0: a free one

    @property
    def old(self) -> bool:
        """RouterOS 6: it shows secrets unless told not to, and knows no `show-sensitive`."""
        return self.release < (7, 0)

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor number: of `7.10rc1` it is (7, 10)."""
        found = re.match(r"(\d+)\.(\d+)", self.version)
        if found is None:
            msg = f"{self.version!r} is no RouterOS version"
            raise InputInvalid(msg)
        return int(found[1]), int(found[2])
