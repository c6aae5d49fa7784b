"""Diffie-Hellman over the integers (RFC 4253, section 8) for routers that know nothing newer.

cryptography 50 warns at each use of its own, and a warning filter is one of the process: it would be missing in the
simulator's thread as soon as a test sets another. The simulator's secrets protect nothing, so plain `pow` will do.
"""

from __future__ import annotations

import secrets

from asyncssh import kex_dh

_EXPONENT_BITS = 256  # twice the strength of a 2048-bit group, rounded up


class DiffieHellman:
    """One side of an exchange, in the form that asyncssh asks for."""

    def __init__(self, g: int, p: int) -> None:
        self._p = p
        self._secret = secrets.randbits(_EXPONENT_BITS) | 1 << (_EXPONENT_BITS - 1)
        self._public = pow(g, self._secret, p)

    def get_public(self) -> int:
        """Our public value."""
        return self._public

    def get_shared(self, peer_public: int) -> int:
        """The shared secret; raises ValueError for a public value that is not of the group."""
        if not 1 < peer_public < self._p - 1:
            msg = "public value out of range"
            raise ValueError(msg)
        return pow(peer_public, self._secret, self._p)


def install() -> None:
    """Let asyncssh use it in this process."""
    setattr(kex_dh, "DH", DiffieHellman)  # noqa: B010 - mypy takes the name for a constant
