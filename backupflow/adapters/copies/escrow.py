"""The folder of the escrow: each file encrypted by age as it is made, and there whole or not at all.

Nothing is ever there in clear. A draft is locked as long as somebody writes it; one that nobody does is what a process
left that was killed, and goes when the next one begins.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyrage

from backupflow.adapters.copies.age_file import Recipients, check, sealed_chunks
from backupflow.errors import EscrowFailed, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from backupflow.core.escrow import Escrow

_DRAFT = re.compile(r"\.escrow-[0-9a-f]{16}\.draft")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class AgeFolder:
    """core.ports.EscrowFolder. `default` is the folder of those that name none of their own."""

    def __init__(self, default: Path | None = None) -> None:
        self._default = None if default is None else str(default)

    def fit(self, folder: str | None, recipients: Sequence[str]) -> None:
        """A folder, None: the usual one, is there, not everybody can write to it, and these can be encrypted to."""
        base = self._base(folder)
        with _opened(base, base, None):
            _check(recipients)

    def ready(self, escrow: Escrow) -> None:
        """The folder of the tenant can be written to by nobody else; what was left of a draft is gone."""
        with self._folder(escrow) as folder:
            _sweep(folder)
        _check(escrow.recipients)

    def is_ours(self, escrow: Escrow) -> bool:
        """Whether it is known here, and this process may write to it; of a folder that is not there: True.

        Which disk is missing is the same for everybody; which user, container or environment may write is not.
        """
        base = escrow.folder or self._default
        if base is None:
            return False
        try:
            return self._may_write(base, escrow.place)
        except FileNotFoundError:
            return True
        except OSError:
            return False

    @staticmethod
    def _may_write(base: str, place: str) -> bool:
        try:
            about, path = os.lstat(f"{base}/{place}"), f"{base}/{place}"
        except FileNotFoundError:
            about, path = Path(base).stat(), base
        is_owner = path == base or os.geteuid() in {about.st_uid, 0}
        return is_owner and os.access(path, os.W_OK | os.X_OK, effective_ids=True)

    def write(self, escrow: Escrow, pieces: Iterable[bytes], name: Callable[[Sequence[str]], str]) -> tuple[str, int]:
        """Encrypt a file, whole or not at all; what getting the next piece raises passes unchanged.

        Nothing that is there is ever replaced: EscrowFailed if the name that it is given is taken.
        """
        draft = f".escrow-{secrets.token_hex(8)}.draft"
        with self._folder(escrow) as folder, _written(self._path(escrow)):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(draft, flags, 0o600, dir_fd=folder)
            try:
                with os.fdopen(fd, "wb", buffering=1 << 20) as file:
                    fcntl.flock(fd, fcntl.LOCK_EX)
                    _encrypt(pieces, file, escrow.recipients)
                    file.flush()
                    os.fsync(fd)
                    size = file.tell()
                    final = _named(folder, draft, name)
                os.fsync(folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=folder)
                raise
        return final, size

    def names(self, escrow: Escrow) -> Sequence[str]:
        """The files that are there."""
        with self._folder(escrow) as folder, _written(self._path(escrow)):
            return _listed(folder)

    def remove(self, escrow: Escrow, names: Sequence[str]) -> None:
        """Remove some of them."""
        with self._folder(escrow) as folder, _written(self._path(escrow)):
            for name in names:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)

    def _base(self, folder: str | None) -> str:
        base = folder or self._default
        if base is None:
            raise EscrowFailed("there is no folder for it: set CONFIG_ESCROW_DIR, or `escrow enable --to FOLDER`")
        return base

    def _path(self, escrow: Escrow) -> str:
        return f"{self._base(escrow.folder)}/{escrow.place}"

    @contextmanager
    def _folder(self, escrow: Escrow) -> Iterator[int]:
        """The folder of the tenant, open."""
        base, path = self._base(escrow.folder), self._path(escrow)
        with _opened(base, base, None) as outer:
            if escrow.filed_at is None:
                with _written(path), suppress(FileExistsError):
                    os.mkdir(escrow.place, 0o700, dir_fd=outer)
                    _hand_over(escrow.place, outer)
            with _opened(escrow.place, path, outer) as inner:
                about = os.fstat(inner)
                if os.geteuid() not in {about.st_uid, 0} or about.st_mode & _OTHERS_WRITE:
                    raise EscrowFailed(f"others can write to {path}: `chmod 700` it, and let it be this user's")
                yield inner


def _hand_over(place: str, outer: int) -> None:
    """What root makes by hand is the job's to write to, whose user has the folder for all."""
    if os.geteuid() == 0:
        owner = os.fstat(outer)
        os.chown(place, owner.st_uid, owner.st_gid, dir_fd=outer, follow_symlinks=False)


@contextmanager
def _opened(name: str, path: str, within: int | None) -> Iterator[int]:
    try:
        fd = os.open(name, _FOLDER | (0 if within is None else os.O_NOFOLLOW), dir_fd=within)
    except FileNotFoundError:
        what = "is not there" if within is None else "was there, and is gone"
        raise EscrowFailed(f"{path} {what}: is its disk mounted? If it is, `mkdir -m 700 {path}`") from None
    except OSError as exc:
        is_named = within is None and isinstance(exc, NotADirectoryError)
        raise EscrowFailed(f"{path} is no folder: name one" if is_named else f"{path}: {exc.strerror}") from None
    try:
        about = os.fstat(fd)
        if about.st_mode & stat.S_IWOTH and not about.st_mode & stat.S_ISVTX:
            raise EscrowFailed(f"anybody can write to {path}: `chmod o-w {path}`")
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _written(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise EscrowFailed(f"{path}: {exc.strerror}") from None


def _listed(folder: int) -> list[str]:
    return sorted(os.listdir(folder))


def _named(folder: int, draft: str, name: Callable[[Sequence[str]], str]) -> str:
    """Give the draft its name, one at a time: the job and a command may end at once."""
    fcntl.flock(folder, fcntl.LOCK_EX)  # until the folder is closed
    taken = _listed(folder)
    final = name(taken)
    if final in taken:
        raise EscrowFailed(f"{final} is there already: nothing is replaced; try it again")
    os.rename(draft, final, src_dir_fd=folder, dst_dir_fd=folder)
    return final


def _sweep(folder: int) -> None:
    """Remove drafts that nobody writes."""
    for name in filter(_DRAFT.fullmatch, _listed(folder)):
        with suppress(OSError):  # somebody else's, or somebody else was first
            fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=folder)
            finally:
                os.close(fd)


def _check(recipients: Sequence[str]) -> None:
    try:
        check(Recipients(recipients))
    except InputInvalid as exc:
        raise EscrowFailed(exc.detail) from None


def _encrypt(pieces: Iterable[bytes], file: BinaryIO, recipients: Sequence[str]) -> None:
    _check(recipients)
    try:
        sealed_chunks(pieces, Recipients(recipients), file.write)
    except pyrage.EncryptError as exc:
        raise EscrowFailed(f"age: {exc}") from None
