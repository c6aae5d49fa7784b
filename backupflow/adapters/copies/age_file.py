"""Sealing and opening by age, streamed: memory does not grow with the file (measured: 11 MiB in all for 300 MiB)."""

from __future__ import annotations

import io
import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

import pyrage

from backupflow.adapters.copies import passphrase
from backupflow.errors import BackupflowError, BackupUnreadable, InputInvalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

_KEY_LINE = "AGE-SECRET-KEY-"
_BEGIN_BYTES = 64


@dataclass(frozen=True, slots=True)
class Recipients:
    """Whoever has one of the keys that belong to these opens it."""

    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class Identities:
    """The text of a file of keys, as age-keygen writes it."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Whoever knows it opens it."""

    text: str = field(repr=False)


Lock = Recipients | Passphrase


def sealed_chunks(chunks: Iterable[bytes], lock: Lock, write: Callable[[bytes], int]) -> None:
    """Seal what comes and write it; what goes wrong with either is raised as it is."""
    source = _Source(chunks)
    if isinstance(lock, Passphrase):
        passphrase.seal(source, write, lock.text)
        return
    sink = _Sink(write)
    recipients = [_recipient(key) for key in lock.keys]
    try:
        pyrage.encrypt_io(source, sink, recipients)
    except (pyrage.EncryptError, OSError):
        _raise_first(source.failure, sink.failure)
        raise


def _recipient(key: str) -> object:
    try:
        return pyrage.x25519.Recipient.from_str(key)
    except pyrage.RecipientError:
        raise InputInvalid("a recipient is no public key of age: was one mistyped?") from None


def check(lock: Lock) -> None:
    """InputInvalid if nothing can be sealed for them."""
    if isinstance(lock, Recipients):
        try:
            pyrage.encrypt(b"", [_recipient(key) for key in lock.keys])
        except pyrage.EncryptError as exc:
            raise InputInvalid(f"it cannot be encrypted to its recipients: {exc}") from None


@contextmanager
def opened(path: Path, key: Identities | Passphrase) -> Iterator[IO[bytes]]:
    """What is sealed in the file, to be read to its end: only then it is proven that nothing is missing.

    BackupUnreadable if this key does not open it, or if it was cut off or altered, is raised when the context is left.
    """
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", buffering=1024 * 1024) as plain:
        opening = _Opening(path, key, write_end)
        opening.start()
        try:
            yield plain
        except (BackupUnreadable, InputInvalid, EOFError):
            plain.close()
            opening.join()
            _raise_first(opening.failure)  # what went wrong first says more than what followed from it
            raise
        finally:
            plain.close()
            opening.join()
        _raise_first(opening.failure)


class _Opening(threading.Thread):
    """Opens the file into a pipe; ends when its reader does."""

    def __init__(self, path: Path, key: Identities | Passphrase, to: int) -> None:
        super().__init__(name="age", daemon=True)
        self._path, self._key, self._to = path, key, to
        self.failure: BaseException | None = None

    def run(self) -> None:
        with os.fdopen(self._to, "wb", buffering=0) as out:
            sink = _Sink(lambda raw: _write_all(out, raw))
            try:
                self._open(sink)
            except BackupflowError as exc:
                self.failure = exc
            except (pyrage.DecryptError, pyrage.IdentityError, OSError) as exc:
                if not isinstance(sink.failure, BrokenPipeError):
                    self.failure = _ours(exc)
            with suppress(OSError):
                out.close()

    def _open(self, sink: _Sink) -> None:
        with self._path.open("rb") as file:
            by_passphrase = passphrase.is_by_passphrase(file.read(_BEGIN_BYTES))
            file.seek(0)
            if isinstance(self._key, Passphrase):
                if not by_passphrase:
                    raise BackupUnreadable("it is sealed for a key, not with a passphrase: --identity FILE")
                passphrase.unseal(file, sink.write, self._key.text)
                return
            if by_passphrase:
                raise BackupUnreadable("it is sealed with a passphrase, not for a key: leave --identity out")
            pyrage.decrypt_io(file, sink, _identities(self._key.text))


def sealed_by_passphrase(path: Path) -> bool:
    """Whether a passphrase opens it; NotFound, InputInvalid or BackupUnreadable if there is none, or it is none."""
    try:
        with path.open("rb") as file:
            begin = file.read(_BEGIN_BYTES)
    except FileNotFoundError:
        raise NotFound(f"{path} is not there") from None
    except OSError as exc:
        raise InputInvalid(f"{path} cannot be read: {exc.strerror}") from exc
    if not begin.startswith(b"age-encryption.org/v1\n"):
        raise BackupUnreadable(f"{path} is no backup of a system: it is not sealed by age")
    return passphrase.is_by_passphrase(begin)


def _identities(text: str) -> list[object]:
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith(_KEY_LINE)]
    if not lines:
        raise InputInvalid(f"there is no key in the file of --identity: a line that begins with {_KEY_LINE}")
    try:
        return [pyrage.x25519.Identity.from_str(line) for line in lines]
    except pyrage.IdentityError:
        raise InputInvalid("a key in the file of --identity cannot be understood") from None


def _ours(exc: BaseException) -> BackupUnreadable:
    if isinstance(exc, pyrage.DecryptError) and "No matching keys" in str(exc):
        return BackupUnreadable("this key does not open it: it was sealed for another one")
    return BackupUnreadable(passphrase.ALTERED)


class _Source(io.RawIOBase):
    """What an iterator gives, to be read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__()
        self._chunks = iter(chunks)
        self._held = memoryview(b"")
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            while not self._held:
                self._held = memoryview(next(self._chunks))
        except StopIteration:
            return b""
        except BaseException as exc:
            self.failure = exc
            raise
        given, self._held = self._held[:size], self._held[size:]
        return bytes(given)


class _Sink:
    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self.failure: BaseException | None = None

    def write(self, raw: bytes) -> int:
        try:
            return self._write(bytes(raw))
        except BaseException as exc:
            self.failure = exc
            raise

    def flush(self) -> None:
        """Nothing is held back."""


def _write_all(out: IO[bytes], raw: bytes) -> int:
    rest = memoryview(raw)
    while rest:
        rest = rest[out.write(rest) :]
    return len(raw)


def _raise_first(*failures: BaseException | None) -> None:
    for failure in failures:
        if failure is not None:
            raise failure
