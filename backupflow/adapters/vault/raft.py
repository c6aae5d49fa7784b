"""OpenBao's raft snapshots, streamed: taken from one server, given to another with the same seal.

Measured on OpenBao 2.7.2:

1. A snapshot is a gzip of a tar whose last file, SHA256SUMS.sealed, is a check sum under the seal. A server that fails
   in the middle has answered 200 long since: only that file says that all is there.
2. `snapshot` takes a snapshot only if that file opens with the seal of the server; `snapshot-force` does not look, and
   then a server with another seal has nothing that it could open, and stays sealed. So force is never needed here.
3. With the snapshot come the logins of then: the token that brought it is known no more.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import requests

from backupflow.adapters.vault.client import VaultClient
from backupflow.adapters.vault.seal import MOST_BYTES, opens
from backupflow.errors import SettingsInvalid, VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PATH: Final = "sys/storage/raft/snapshot"
_CHUNK = 256 * 1024
_LAST = b"SHA256SUMS.sealed"
_BLOCK = 512
_WRONG_SEAL = "possibly the snapshot is using a different autoseal key"


class RaftVault(VaultClient):
    """A client with the installer's login, or an admin's token."""

    def snapshot(self, key: bytes | None = None) -> Iterator[bytes]:
        """All that the vault keeps, sealed; VaultUnavailable if it is not whole.

        SettingsInvalid if `key` is not the key of its seal.
        """
        judge = SnapshotJudge()
        with self.stream("GET", _PATH, None) as answer:
            if answer.status_code != requests.codes.ok:
                raise VaultUnavailable(_why(answer, "it gave no snapshot"))
            for chunk in answer.iter_content(_CHUNK):
                judge.see(chunk)
                yield chunk
        judge.end()
        if key is not None and not judge.opens_with(key):
            raise SettingsInvalid("that is not the key of this vault's seal: name the right one with --seal-key")

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Become what a snapshot holds; VaultUnavailable if the server does not take it."""
        with self.stream("POST", _PATH, chunks) as answer:
            if answer.status_code not in {requests.codes.ok, requests.codes.no_content}:
                raise VaultUnavailable(_why(answer, "it did not take the snapshot"))


class SnapshotJudge:
    """Looks at a snapshot as it goes by; VaultUnavailable if it is not whole."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)
        self._head = bytearray()
        self._skip = self._size = 0
        self._last = b""
        self._sealed = bytearray()

    def see(self, chunk: bytes) -> None:
        """The next of it."""
        rest = chunk
        try:
            while rest:
                self._walk(self._inflater.decompress(rest, _CHUNK))
                rest = self._inflater.unconsumed_tail
        except zlib.error:
            raise VaultUnavailable("its snapshot is damaged") from None

    def end(self) -> None:
        """There is no more of it."""
        if not self._inflater.eof or self._last != _LAST:
            raise VaultUnavailable("its snapshot was cut off: make it again")

    def opens_with(self, key: bytes) -> bool:
        """Whether this is the key of the seal under which it was taken; to be asked at its end."""
        return opens(key, bytes(self._sealed))

    def _walk(self, plain: bytes) -> None:
        """From one head of the tar to the next."""
        rest = memoryview(plain)
        while rest:
            passed = min(self._skip, len(rest))
            if self._last == _LAST and len(self._sealed) < self._size:
                self._sealed += rest[: min(passed, self._size - len(self._sealed))]
            self._skip -= passed
            rest = rest[passed:]
            wanted = min(_BLOCK - len(self._head), len(rest))
            self._head += rest[:wanted]
            rest = rest[wanted:]
            if len(self._head) == _BLOCK:
                self._read_head(bytes(self._head))
                self._head.clear()

    def _read_head(self, head: bytes) -> None:
        name = head[:100].rstrip(b"\0")
        if name:
            size = int(head[124:136].rstrip(b"\0 ") or b"0", 8)
            self._last, self._skip = name, -(-size // _BLOCK) * _BLOCK
            self._size = min(size, MOST_BYTES)


def _why(answer: requests.Response, otherwise: str) -> str:
    said = answer.raw.read(10_000, decode_content=True) or b""
    if _WRONG_SEAL.encode() in said:
        return "its seal is not the one of the backup: it must be started on the seal key that is in there"
    return f"{otherwise} ({answer.status_code})"
