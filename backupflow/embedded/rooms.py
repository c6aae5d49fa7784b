"""Rooms of secrets: folders of files, each for one reader, and one with all of them, of which the others are copies.

What is there is kept: a secret is made once. A room that is lost is filled again, and a secret that only a room of a
reader still has comes back from there.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.embedded.addresses import Server
from backupflow.embedded.folder import write_private
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LOCK = ".lock"
# Where the room of a server is a volume, which it alone has mounted: its user has another number than ours.
_ANYBODY, _OWNER = (0o755, 0o444), (0o700, 0o400)


@dataclass(frozen=True)
class Rooms:
    """The rooms below a folder; `main` is the one with everything, which its owner alone may enter.

    `volumes`: each room is a volume of its own; those of `others` are for programs of other users, so that whoever has
    one mounted may read it.
    """

    root: Path
    main: str
    volumes: bool = False
    others: frozenset[str] = frozenset(Server)

    @contextmanager
    def held(self) -> Iterator[None]:
        """One at a time, whoever else was started; ServerUnusable, here and below, if a room cannot be used."""
        with self._usable(self.room(self.main) / _LOCK) as path:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def room(self, name: str) -> Path:
        """The folder of that name, made if it is missing."""
        mode, _ = self._modes(name)
        with self._usable(self.root / name) as room:
            room.mkdir(parents=True, exist_ok=True)
            if room.stat().st_mode & 0o777 != mode:
                room.chmod(mode)
        return room

    def secret(self, name: str) -> str:
        """The secret of that name: 256 random bits, made once."""
        path = self.room(self.main) / name
        if not path.exists():
            self.keep(self.main, name, self._elsewhere(name) or secrets.token_urlsafe(32).encode())
        return self._read(path).decode()

    def has(self, name: str) -> bool:
        """Whether there is such a file in the room with everything."""
        return (self.room(self.main) / name).exists()

    def bring_back(self, name: str) -> bool:
        """Take a file that only a reader's room still has into the room with everything; whether it is there now."""
        if not self.has(name) and (found := self._elsewhere(name)):
            self.keep(self.main, name, found)
        return self.has(name)

    def keep(self, room: str, name: str, content: bytes) -> None:
        """Write a file, whole or not at all; one that is the same stays as it is."""
        _, mode = self._modes(room)
        with self._usable(self.room(room) / name) as path:
            if path.exists() and path.stat().st_mode & 0o777 == mode and path.read_bytes() == content:
                return
            write_private(path, content, mode)

    def forget(self, name: str) -> None:
        """Take a file out of the room with everything, if it is there."""
        with self._usable(self.room(self.main) / name) as path:
            path.unlink(missing_ok=True)

    def copy(self, room: str, names: Iterable[str]) -> int:
        """Give a reader those of these files that there are; how many."""
        there = [name for name in names if self.has(name)]
        for name in there:
            self.keep(room, name, self._read(self.root / self.main / name))
        return len(there)

    def take_away(self, room: str, names: Iterable[str]) -> int:
        """Remove those of these files that the room with everything has too from a reader's; how many."""
        there = [name for name in names if self.has(name) and (self.root / room / name).exists()]
        for name in there:
            with self._usable(self.root / room / name) as path:
                path.unlink()
        return len(there)

    def _elsewhere(self, name: str) -> bytes | None:
        rooms = sorted(room for room in self.root.iterdir() if room.is_dir())
        return next((self._read(room / name) for room in rooms if (room / name).is_file()), None)

    def _read(self, path: Path) -> bytes:
        with self._usable(path):
            return path.read_bytes()

    @staticmethod
    @contextmanager
    def _usable(path: Path) -> Iterator[Path]:
        try:
            yield path
        except OSError as exc:
            raise ServerUnusable(f"{path}: {exc.strerror}") from exc

    def _modes(self, room: str) -> tuple[int, int]:
        return _ANYBODY if self.volumes and room in self.others else _OWNER
