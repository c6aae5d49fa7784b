"""age's seal by a passphrase, of any length in bounded memory: pyrage's own takes the whole text at once.

Source: age-encryption.org/v1 (github.com/C2SP/C2SP, age.md), with the primitives of the library `cryptography` and of
hashlib. tests/integration/test_system_backup_age.py opens by Debian's `age` and by pyrage what was sealed here, and
here what they sealed.

1. A file key of 16 random bytes, wrapped with scrypt(passphrase): the only stanza of the header.
2. The header ends with its HMAC-SHA-256 under HKDF(file key, "header").
3. The payload is a nonce and chunks of 64 KiB, ChaCha20-Poly1305 under HKDF(file key, salt: nonce, "payload"); a
   chunk's nonce is its number and whether it is the last: so none can be left out, moved, or cut off.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backupflow.errors import BackupUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK, _TAG = 64 * 1024, 16
_LOG_N: Final = 18  # as age's own; scrypt then takes 256 MiB
_MOST_LOG_N = 20  # 1 GiB: what asks for more is none of ours
_LABEL = b"age-encryption.org/v1/scrypt"
_FIRST = b"age-encryption.org/v1\n"
_HEADER = re.compile(
    rb"age-encryption\.org/v1\n-> scrypt ([A-Za-z0-9+/]{22}) ([1-9][0-9]?)\n"
    rb"([A-Za-z0-9+/]{43})\n--- ([A-Za-z0-9+/]{43})\n"
)
_HEADER_BYTES = 256
ALTERED = "it was cut off or altered since it was made: try another copy of the file"


def is_by_passphrase(begin: bytes) -> bool:
    """Whether a file that begins so was sealed with a passphrase."""
    return begin.startswith(_FIRST + b"-> scrypt ")


class Source(Protocol):
    """What is read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


def seal(source: Source, write: Callable[[bytes], object], passphrase: str) -> None:
    """Seal what is read."""
    file_key, salt, nonce = os.urandom(16), os.urandom(16), os.urandom(16)
    wrapped = ChaCha20Poly1305(_scrypt(passphrase, salt, _LOG_N)).encrypt(bytes(12), file_key, None)
    header = b"%s-> scrypt %s %d\n%s\n---" % (_FIRST, _b64(salt), _LOG_N, _b64(wrapped))
    write(header + b" " + _b64(_mac(file_key, header)) + b"\n" + nonce)
    sealed = ChaCha20Poly1305(_hkdf(file_key, nonce, b"payload"))
    number, chunk = 0, _read_full(source, _CHUNK)
    while True:
        following = _read_full(source, _CHUNK)
        write(sealed.encrypt(_nonce(number, last=not following), chunk, None))
        if not following:
            return
        number, chunk = number + 1, following


def unseal(source: Source, write: Callable[[bytes], object], passphrase: str) -> None:
    """Give back what was sealed, each chunk once it is proven; BackupUnreadable if that is the wrong one, or altered.

    That the last chunk is missing is only known at the end: what was written is of use only when this returns.
    """
    begin = _read_full(source, _HEADER_BYTES)
    file_key, header = _unwrap(begin, passphrase)
    rest = begin[len(header) :]
    nonce, rest = rest[:16], rest[16:]
    opened = ChaCha20Poly1305(_hkdf(file_key, nonce, b"payload"))
    size = _CHUNK + _TAG
    number, chunk = 0, rest + _read_full(source, size - len(rest))
    while True:
        following = _read_full(source, size)
        try:
            text = opened.decrypt(_nonce(number, last=not following), chunk, None)
        except InvalidTag:
            raise BackupUnreadable(ALTERED) from None
        if number and not text:
            raise BackupUnreadable(ALTERED)  # an empty chunk after others
        write(text)
        if not following:
            return
        number, chunk = number + 1, following


def _unwrap(begin: bytes, passphrase: str) -> tuple[bytes, bytes]:
    """The file key, and the header."""
    found = _HEADER.match(begin)
    if found is None:
        raise BackupUnreadable("it is no file that age seals with a passphrase")
    log_n = int(found[2])
    if log_n > _MOST_LOG_N:
        raise BackupUnreadable(
            "opening it would take more memory than there is for that: it was not made by backupflow"
        )
    try:
        file_key = ChaCha20Poly1305(_scrypt(passphrase, _unb64(found[1]), log_n)).decrypt(
            bytes(12), _unb64(found[3]), None
        )
    except InvalidTag:
        raise BackupUnreadable("this passphrase does not open it: try the others that you keep") from None
    header = found[0]
    signed = header[: header.rindex(b"---") + 3]
    if not hmac.compare_digest(_mac(file_key, signed), _unb64(found[4])):
        raise BackupUnreadable(ALTERED)
    return file_key, header


def _scrypt(passphrase: str, salt: bytes, log_n: int) -> bytes:
    room = 128 * 8 * (2**log_n + 32)
    return hashlib.scrypt(passphrase.encode(), salt=_LABEL + salt, n=2**log_n, r=8, p=1, maxmem=room, dklen=32)


def _hkdf(file_key: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(file_key)


def _mac(file_key: bytes, header: bytes) -> bytes:
    return hmac.digest(_hkdf(file_key, None, b"header"), header, "sha256")


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _read_full(source: Source, size: int) -> bytes:
    """So many bytes, fewer at the end only."""
    held = bytearray()
    while len(held) < size and (more := source.read(size - len(held))):
        held += more
    return bytes(held)


def _b64(raw: bytes) -> bytes:
    return b64encode(raw).rstrip(b"=")


def _unb64(text: bytes) -> bytes:
    return b64decode(text + b"=" * (-len(text) % 4))
