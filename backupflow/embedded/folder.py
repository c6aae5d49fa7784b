"""The data folder: where everything of a one-machine install lies, locked by the one that runs on it.

Nothing in it holds an absolute path while nothing runs, so that it may be moved. `run/` is for the time of a run only.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.errors import FolderInUse, ServerUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOMS = ("secrets", "run", "logs")
_LOCK = "lock"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def default_folder() -> Path:
    """Where the data lie if nobody says otherwise (XDG base directory specification)."""
    home = os.environ.get("XDG_DATA_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "share") / "backupflow"


def lock_path(path: Path) -> Path:
    """The file whose lock says that a backupflow runs on this folder."""
    return path / "run" / _LOCK


def write_private(path: Path, text: str | bytes, mode: int = 0o600) -> None:
    """Write a file that its owner alone may read, unless `mode` says otherwise; whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(text.encode() if isinstance(text, str) else text)
        file.flush()
        if mode != stat.S_IMODE(os.fstat(fd).st_mode):
            os.fchmod(fd, mode)  # whatever the umask
        os.fsync(fd)
    draft.rename(path)


@dataclass(frozen=True)
class DataFolder:
    """An open data folder: its lock is held as long as `lock` or a copy of it in a child is open."""

    path: Path
    lock: int

    def room(self, name: str) -> Path:
        """The sub-folder of that name, made if it is missing; its owner alone may enter."""
        room = self.path / name
        room.mkdir(mode=0o700, exist_ok=True)
        return room

    @property
    def id(self) -> str:
        """A random name that goes with the folder wherever it is moved; it names the folder's seal key."""
        file = self.path / "id"
        if not file.exists():
            write_private(file, secrets.token_hex(8) + "\n")
        return file.read_text(encoding="utf-8").strip()

    def secret_path(self, name: str) -> Path:
        """Where the secret of that name lies, `<role>.<server>`."""
        if not _NAME.fullmatch(name):
            raise ValueError(name)
        return self.room("secrets") / name

    def secret(self, name: str) -> str:
        """The secret of that name: 256 random bits, made once."""
        path = self.secret_path(name)
        if not path.exists():
            self.write_secret(name, secrets.token_urlsafe(32))
        return path.read_text(encoding="utf-8")

    def write_secret(self, name: str, text: str) -> None:
        """Keep a secret that was made elsewhere."""
        write_private(self.secret_path(name), text)

    def clear_run(self) -> None:
        """Remove what belongs to one run: addresses, configuration files with paths and logins."""
        for left in self.room("run").iterdir():
            if left.name != _LOCK:
                left.unlink()


@contextmanager
def open_folder(path: Path | None = None, *, patience: timedelta = timedelta(seconds=10)) -> Iterator[DataFolder]:
    """Make or open the data folder and hold it.

    Raises FolderInUse if another one runs on it, ServerUnusable if it cannot be used. The servers inherit the lock:
    after a kill -9 it is free when the last of them is gone, and `patience` is how long that may take.
    """
    root = (path or default_folder()).absolute()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = root.resolve()
        if root.stat().st_uid != os.geteuid():  # as root half of its files would become root's
            raise ServerUnusable(f"data folder {root} belongs to another user")
        for room in _ROOMS:
            (root / room).mkdir(mode=0o700, exist_ok=True)
        (root / "secrets").chmod(0o700)
        lock = os.open(lock_path(root), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise ServerUnusable(f"data folder {root}: {exc.strerror}") from exc
    try:
        _hold(lock, root, patience)
        folder = DataFolder(root, lock)
        folder.clear_run()
        try:
            yield folder
        finally:
            folder.clear_run()
            os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _hold(lock: int, root: Path, patience: timedelta) -> None:
    """Take the lock; wait only for the servers of a run that was killed, whose own process is gone."""
    until = time.monotonic() + patience.total_seconds()
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        if time.monotonic() > until or (holder.isdigit() and Path("/proc", holder).exists()):
            raise FolderInUse(f"{root}, process {holder or 'unknown'}")
        time.sleep(0.05)
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
