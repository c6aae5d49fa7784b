"""A file that appears whole or not at all, however long it takes to write and however that ends."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from backupflow.errors import AlreadyThere, Conflict, InputInvalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_ATTEMPTS = 10  # to open a draft that nobody ends at that moment


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is there, and will be after a power cut."""

    bytes: int
    sha256: str


def write_whole(path: Path, fill: Callable[[Callable[[bytes], int]], None], *, force: bool) -> Written:
    """Write a file for its owner alone; `fill` is given what writes.

    AlreadyThere if it is (unless `force`), Conflict if another process writes it; InputInvalid if it cannot be
    written: no room, no right. What a killed one left is taken over by the next.
    """
    require_free(path, force=force)
    try:
        with _draft(path) as (file, draft):
            counted = _Counted(file)
            _filled(fill, counted)
            file.flush()
            os.fsync(file.fileno())
            if force:
                draft.replace(path)
            else:
                os.link(draft, path)  # fails if it is there by now, unlike a rename
            _settle(path.parent)
            return Written(counted.bytes, counted.sha256.hexdigest())
    except FileExistsError:
        raise AlreadyThere(f"{path}: --force replaces it") from None
    except OSError as exc:
        raise InputInvalid(f"{path} cannot be written: {exc.strerror}") from exc


def require_lasting(path: Path) -> None:
    """InputInvalid if its folder is in memory only: of a container's /tmp nothing is left when it ends."""
    try:
        device = path.parent.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # no folder: that is told by who writes; no /proc: nobody knows
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        where, _, what = line.partition(" - ")
        if where.split()[2] == wanted and what.split()[0] in _IN_MEMORY:
            raise InputInvalid(f"{path.parent} is in memory, and gone with it: name a folder on a disk, or say --force")


def require_free(path: Path, *, force: bool) -> None:
    """AlreadyThere if it is, InputInvalid if it is a folder, NotFound if there is none to write it into."""
    if path.is_dir():
        raise InputInvalid(f"{path} is a folder: name the file in it")
    if path.exists() and not force:
        raise AlreadyThere(f"{path}: --force replaces it")
    if not path.parent.is_dir():
        raise NotFound(f"no folder {path.parent} for {path.name}: make it first, for the user who runs this")


def _filled(fill: Callable[[Callable[[bytes], int]], None], counted: _Counted) -> None:
    try:
        fill(counted.write)
    except KeyboardInterrupt as exc:
        raise KeyboardInterrupt("no file was written") from exc


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
    fd = _taken(path, draft)
    with os.fdopen(fd, "wb") as file:
        try:
            os.fchmod(fd, 0o600)
            os.ftruncate(fd, 0)
            yield file, draft
        finally:
            if _is(fd, draft):  # after a rename another process may have begun one of this name
                draft.unlink()


def _taken(path: Path, draft: Path) -> int:
    """The draft, open and locked: a new one, or what a killed process left.

    What was opened before it was locked may have become the whole file meanwhile, of which it is another name then: it
    is let go unharmed. Conflict if another process writes it.
    """
    for _ in range(_ATTEMPTS):
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            break
        if _is(fd, draft):
            if os.fstat(fd).st_nlink == 1:
                return fd
            draft.unlink()  # killed when the whole file had its name, and the draft still had its own
        os.close(fd)
    raise Conflict(f"another process writes {path}: wait until it has ended")


def _is(fd: int, path: Path) -> bool:
    """Whether this is the file of that name. Once it is locked, only its holder takes the name away."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _settle(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
