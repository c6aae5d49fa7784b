"""A server's messages as they came: paramiko fills up what is missing in one with zeros, up to 1 MiB a field.

So a message of 40 bytes could announce a number of 8 million bits (read in quadratic time) or four thousand million
extensions or prompts, and the thread that reads it would be busy for minutes or hours, whatever the watchdog does.
"""

from __future__ import annotations

import paramiko
from paramiko.message import Message
from paramiko.util import inflate_long

_LONGEST_NUMBER = 2049  # bytes: 16,384 bits and a sign
_MOST_MISSING = 8  # fields at its end that a message may leave out: old servers do
_SMALL = 4  # bytes; a field that is left out has no length


class Bounded(Message):
    """What is announced in it is in it."""

    _missing = 0

    def get_bytes(self, n: int) -> bytes:
        """Read `n` bytes; SSHException if they are not there."""
        found = self.packet.read(n)
        if len(found) == n:
            return found
        self._missing += 1
        if n > _SMALL or self._missing > _MOST_MISSING:
            raise paramiko.SSHException("a message ends before what it announces")
        return found + bytes(n - len(found))

    def get_mpint(self) -> int:
        """Read a number (RFC 4251, section 5); SSHException if it is larger than any that SSH needs."""
        data = self.get_binary()
        if len(data) > _LONGEST_NUMBER:
            raise paramiko.SSHException("a number larger than any key's")
        return int(inflate_long(data))


def check_parts(blob: bytes) -> None:
    """Hold a key or a signature to its form, strings one after another; SSHException."""
    parts = Bounded(blob)
    while parts.get_remainder():
        if len(parts.get_binary()) > _LONGEST_NUMBER:
            raise paramiko.SSHException("a part larger than any key's")
