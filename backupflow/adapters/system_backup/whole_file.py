"""A file that appears whole or not at all, however long it takes to write and however that ends."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from backupflow.errors import Conflict, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is there, and will be after a power cut."""

    bytes: int
    sha256: str


def write_whole(path: Path, fill: Callable[[Callable[[bytes], int]], None], *, force: bool) -> Written:
    """Write a file for its owner alone; `fill` is given what writes.

    Conflict if it is there already (unless `force`), or if another process writes it; InputInvalid if it cannot be
    written: no room, no right. What a killed one left is taken over by the next.
    """
    require_free(path, force=force)
    try:
        with _draft(path) as (file, draft):
            counted = _Counted(file)
            fill(counted.write)
            file.flush()
            os.fsync(file.fileno())
            if force:
                draft.replace(path)
            else:
                os.link(draft, path)  # fails if it is there by now, unlike a rename
            _settle(path.parent)
            return Written(counted.bytes, counted.sha256.hexdigest())
    except FileExistsError:
        raise Conflict(f"{path} is there already: --force replaces it") from None
    except OSError as exc:
        raise InputInvalid(f"{path} cannot be written: {exc.strerror}") from exc


def require_free(path: Path, *, force: bool) -> None:
    """Conflict if it is there already, InputInvalid if there is no folder to write it into."""
    if path.exists() and not force:
        raise Conflict(f"{path} is there already: --force replaces it")
    if not path.parent.is_dir():
        raise InputInvalid(f"{path} cannot be written: there is no folder {path.parent}")


class _Counted:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.bytes = 0
        self.sha256 = hashlib.sha256()

    def write(self, raw: bytes) -> int:
        self._file.write(raw)
        self.bytes += len(raw)
        self.sha256.update(raw)
        return len(raw)


@contextmanager
def _draft(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    draft = path.with_name(f".{path.name}.unfinished")
    fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another process writes {path}: wait until it has ended") from None
        try:
            os.fchmod(fd, 0o600)
            os.ftruncate(fd, 0)
            yield file, draft
        finally:
            draft.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
