"""What a simulated jump host is and how it behaves: frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from backupflow.errors import InputInvalid
from backupflow.simulator import given
from backupflow.simulator.port import LOOPBACK
from backupflow.simulator.spec import Login

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backupflow.simulator.spec import HostKeyType

Refusing = Literal["", "prohibited", "shortage", "nonsense", "silence"]


@dataclass(frozen=True, slots=True)
class JumpBehaviour:
    """How a jump host answers; may be switched while it runs."""

    listening: bool = True  # False: connections are refused
    mute: bool = False  # new connections get no SSH banner
    frozen: bool = False  # nothing is read any more, of clients and devices: connections stand half-open
    refuse_login: bool = False
    # How it answers to a channel in place of connecting to the device; after `silence`, it does what it does then.
    refusing: Refusing = ""
    words: str = ""  # what it says when a device cannot be reached, in place of the truth

    def changed(self, changes: Mapping[str, object]) -> JumpBehaviour:
        """A copy with some fields set; raises InputInvalid."""
        return replace(self, **{name: _read(name, value) for name, value in changes.items()})


def _read(name: str, value: object) -> Any:  # noqa: ANN401 - dataclasses.replace takes the fields by name
    try:
        return _READERS[name](value)
    except KeyError:
        raise InputInvalid(f"no such behaviour of a jump host: {name}") from None
    except (TypeError, ValueError):
        raise InputInvalid(f"{name} cannot be {value!r}") from None


_READERS: Mapping[str, Callable[[object], object]] = {
    "listening": given.flag,
    "mute": given.flag,
    "frozen": given.flag,
    "refuse_login": given.flag,
    "refusing": given.one_of(*get_args(Refusing)),
    "words": given.text,
}


@dataclass(frozen=True, slots=True)
class JumpSpec:
    """What a simulated jump host is from its start.

    `behind` says which router of the fleet is meant by an address that a client names: equal private addresses may
    stand behind several jump hosts. An address that is not in it is connected to as it is if it is one of loopback.
    """

    name: str
    seed: int = 0  # decides its key, with the name
    logins: tuple[Login, ...] = (Login("jump", "jump"),)
    host_key_type: HostKeyType = "ed25519"
    behind: Mapping[tuple[str, int], str] = field(default_factory=dict)
    behaviour: JumpBehaviour = field(default_factory=JumpBehaviour)
    rekey_bytes: int | None = None  # after which it asks for new keys; None: as asyncssh does
    host: str = LOOPBACK
    port: int = 0  # 0: a free one
