"""The key of OpenBao's static seal, tried on what the seal itself made: a snapshot has its check sums under it.

Measured on OpenBao 2.7.2: SHA256SUMS.sealed is a message of protobuf (go-kms-wrapping's BlobInfo) with the sealed text
in field 1 and its nonce in field 2; the static seal is AES-256-GCM without associated data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES: Final = 64 * 1024  # of such a message; it has some hundred
_TEXT, _NONCE = 1, 2
_VARINT, _LENGTH = 0, 2  # wire types of protobuf


def opens(key: bytes, sealed: bytes) -> bool:
    """Whether this key opens what the seal made; False, too, of what is no such message or no such key."""
    try:
        fields = dict(_fields(sealed))
        AESGCM(key).decrypt(fields[_NONCE], fields[_TEXT], None)
    except (InvalidTag, IndexError, KeyError, ValueError):
        return False
    return True


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of bytes, by their number; IndexError or ValueError if it is no message."""
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        value, at = _number(message, at)
        if tag & 7 == _LENGTH:
            if at + value > len(message):
                raise IndexError
            yield tag >> 3, message[at : at + value]
            at += value
        elif tag & 7 != _VARINT:
            raise ValueError


def _number(message: bytes, at: int) -> tuple[int, int]:
    """A number of protobuf and where the next begins."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - the last of it
            return value, at
        if shift > 63:  # noqa: PLR2004 - bits of the longest
            raise ValueError
