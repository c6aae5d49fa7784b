"""Which SSH algorithms are offered, cheapest first, and how what a server offers is put into words.

Nothing with SHA-1 or CBC is offered unless the device says `legacy_ssh`: much of RouterOS 6 speaks nothing else.
paramiko 5 has no SHA-1 at all; whatever the installed version does not know is left out. CPU of one handshake,
measured: curve25519 and nistp256 7 ms, group14-sha256 30 ms, group exchange 53 ms, group16 92 ms; the host key type
hardly matters.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backupflow.errors import AlgorithmsIncompatible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import paramiko

    from backupflow.core.model import ExpectedKey, HostKey

_KEX = (
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
)
_KEX_LEGACY = ("diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1", "diffie-hellman-group1-sha1")
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_CIPHERS_LEGACY = ("aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc")
_MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
_MACS_LEGACY = ("hmac-sha1",)
_ECDSA = ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
# One RSA key signs with any of these, and its type says ssh-rsa in each case (RFC 8332, section 3).
RSA = ("rsa-sha2-512", "rsa-sha2-256")
RSA_LEGACY = "ssh-rsa"
# All that has neither SHA-1 nor CBC: no name is one of two kinds.
MODERN = frozenset((*_KEX, *_CIPHERS, *_MACS, "ssh-ed25519", *_ECDSA, *RSA))

TO_DEVICE = " to it"  # ends the name of a kind where a server offers others for what it receives
_NAME = re.compile(r"[A-Za-z0-9@.+_-]{1,64}")  # RFC 4251, section 6: at most 64 printable characters
_MOST_NAMES = 12


def host_key_algorithms(
    pinned: HostKey | None, *, legacy: bool, expected: Sequence[ExpectedKey] = ()
) -> tuple[str, ...]:
    """The signature algorithms of host keys: those of the pinned key's type first, then all others, strongest first.

    A server uses the first one that it has a key for (RFC 4253, section 7.1): one that still has the pinned type shows
    that key, whatever it has beside it, and one that lost it shows what it has now, to be refused and recorded.
    Without a pin the types of expected keys come first, as far as they are known and spoken here.
    Raises AlgorithmsIncompatible for a pin of a type that is not spoken here, such as ssh-dss.
    """
    every = ("ssh-ed25519", *_ECDSA, *_rsa(legacy=legacy))
    if pinned is None:
        foretold = [name for key in expected if key.key_type for name in _of_type(key.key_type, legacy=legacy)]
        first = tuple(name for name in every if name in foretold)
    else:
        first = _of_type(pinned.key_type, legacy=legacy)
    if not set(first) <= set(every):
        raise AlgorithmsIncompatible("the pinned host key is of a type that is not supported")
    return (*first, *(name for name in every if name not in first))


def _rsa(*, legacy: bool) -> tuple[str, ...]:
    return (*RSA, RSA_LEGACY) if legacy else RSA


def _of_type(key_type: str, *, legacy: bool) -> tuple[str, ...]:
    return _rsa(legacy=legacy) if key_type in {*RSA, RSA_LEGACY} else (key_type,)


def lists(pinned: HostKey | None, *, legacy: bool, expected: Sequence[ExpectedKey] = ()) -> dict[str, tuple[str, ...]]:
    """What may be offered, by kind."""
    return {
        "key exchange": _KEX + _KEX_LEGACY * legacy,
        "host key": host_key_algorithms(pinned, legacy=legacy, expected=expected),
        "cipher": _CIPHERS + _CIPHERS_LEGACY * legacy,
        "MAC": _MACS + _MACS_LEGACY * legacy,
    }


def offer(
    transport: paramiko.Transport, pinned: HostKey | None, *, legacy: bool, expected: Sequence[ExpectedKey] = ()
) -> None:
    """Set what a transport offers, before its handshake begins."""
    options, ours = transport.get_security_options(), lists(pinned, legacy=legacy, expected=expected)
    options.kex = _known(ours["key exchange"], options.kex)
    options.ciphers = _known(ours["cipher"], options.ciphers)
    options.digests = _known(ours["MAC"], options.digests)
    options.key_types = _known(ours["host key"], options.key_types)


def _known(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in wanted if name in known)


def lacks_pinned_type(pinned: HostKey | None, offered: Mapping[str, Sequence[str]]) -> bool:
    """Whether a server has no key of the pinned type; an RSA key that it would only use with SHA-1 is one."""
    if pinned is None or "host key" not in offered:
        return False
    return not set(_of_type(pinned.key_type, legacy=True)) & set(offered["host key"])


def speaks_only_legacy(pinned: HostKey | None, offered: Mapping[str, Sequence[str]]) -> bool:
    """Whether a server would be spoken with if SHA-1 and CBC were allowed, and is not without them."""
    modern, all_of_them = lists(pinned, legacy=False), lists(pinned, legacy=True)
    return bool(_strange(modern, offered)) and not _strange(all_of_them, offered)


def _strange(ours: Mapping[str, Sequence[str]], offered: Mapping[str, Sequence[str]]) -> list[str]:
    """The kinds of which a server offers only others."""
    return [kind for kind in offered if not set(ours[kind.removesuffix(TO_DEVICE)]) & set(offered[kind])]


def mismatch(ours: Mapping[str, Sequence[str]], offered: Mapping[str, Sequence[str]]) -> str:
    """Say which kinds of algorithm have nothing in common, and what the device offers there: names only, bounded."""
    return "; ".join(f"{kind}: the device offers {listed(offered[kind])}" for kind in _strange(ours, offered))


def listed(names: Sequence[str]) -> str:
    """Names that a server sent, as far as they are names."""
    good = [name for name in names if _NAME.fullmatch(name)]
    return ", ".join(good[:_MOST_NAMES]) + (" …" if len(good) > _MOST_NAMES else "") if good else "nothing"
