"""The folder of the escrow: a file is there whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import pyrage
import pytest

from backupflow.adapters.copies.escrow import AgeFolder
from backupflow.core.escrow import Escrow
from backupflow.core.model import TenantId
from backupflow.errors import EscrowFailed, VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
NAME = "escrow-2026-11-22.tar.age"
IDENTITIES = [pyrage.x25519.Identity.generate() for _ in range(2)]
MIB = 1 << 20
# Writes until it is killed; says so when something of it is on disk.
ENDLESS = """
import itertools, pickle, sys
from backupflow.adapters.copies.escrow import AgeFolder
def pieces():
    for number in itertools.count():
        yield bytes(1 << 20)
        if number == 4:
            print("under way", flush=True)
AgeFolder().write(pickle.load(sys.stdin.buffer), pieces(), lambda _: "never")
"""


@pytest.fixture
def escrow(tmp_path: Path) -> Escrow:
    """One whose folder is there."""
    (tmp_path / "escrow").mkdir(0o700)
    keys = tuple(str(one.to_public()) for one in IDENTITIES)
    return Escrow(TenantId(UUID(int=1)), "default", keys, str(tmp_path / "escrow"), "test", NOW, NOW)


def there(tmp_path: Path) -> list[str]:
    """All files that are there, hidden or not."""
    return sorted(path.name for path in (tmp_path / "escrow").rglob("*") if path.is_file())


def place(tmp_path: Path) -> Path:
    """The folder of the tenant."""
    return tmp_path / "escrow" / "default-00000000"


def opened(file: Path, identity: object) -> bytes:
    """What somebody with one of the keys reads."""
    plain = io.BytesIO()
    with file.open("rb") as sealed:
        pyrage.decrypt_io(sealed, plain, [identity])
    return plain.getvalue()


def failing(raised: BaseException) -> Iterator[bytes]:
    """Some, then this."""
    yield bytes(3 * MIB)
    raise raised


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """No file of this process grows beyond it, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_each_recipient_opens_it_alone_and_nobody_else_reads_it(escrow: Escrow, tmp_path: Path) -> None:
    """Whatever the sizes of its pieces."""
    folder = AgeFolder()
    for number, pieces in enumerate(([b"one"], [b"", b"a" * 100_000, b"b", bytes(3 * MIB), b""])):
        wanted = f"escrow-{number}.tar.age"
        found = folder.write(escrow, iter(pieces), partial(str.format, wanted))
        file = place(tmp_path) / wanted
        assert [opened(file, identity) for identity in IDENTITIES] == [b"".join(pieces)] * 2
        assert (found, file.stat().st_mode & 0o777) == ((wanted, file.stat().st_size), 0o600)
        assert folder.names(escrow) == there(tmp_path)
        with pytest.raises(pyrage.DecryptError):
            opened(file, pyrage.x25519.Identity.generate())


@pytest.mark.parametrize("raised", [VaultUnavailable("it is sealed"), KeyboardInterrupt()], ids=["vault", "ctrl-c"])
def test_what_was_begun_and_not_ended_is_not_there(escrow: Escrow, tmp_path: Path, raised: BaseException) -> None:
    """What kept the next piece from coming is what the caller hears; the file of before stands."""
    folder = AgeFolder()
    assert folder.write(escrow, [b"before"], lambda _: NAME)[0] == NAME
    with pytest.raises(type(raised)) as heard:
        folder.write(escrow, failing(raised), lambda _: NAME)
    assert heard.value is raised
    assert there(tmp_path) == [NAME]
    assert opened(place(tmp_path) / NAME, IDENTITIES[0]) == b"before"


def test_nothing_that_is_there_is_replaced(escrow: Escrow, tmp_path: Path) -> None:
    """The one that is written is told what there is; given a name of these it fails, and leaves nothing."""
    folder, told = AgeFolder(), list[str]()

    def named(taken: Sequence[str]) -> str:
        told.extend(taken)
        return NAME

    folder.write(escrow, [b"before"], named)
    with pytest.raises(EscrowFailed, match="nothing is replaced"):
        folder.write(escrow, [b"after"], named)
    assert NAME in told
    assert there(tmp_path) == [NAME]
    assert opened(place(tmp_path) / NAME, IDENTITIES[0]) == b"before"


def test_a_process_knows_whether_a_folder_is_its_own(
    escrow: Escrow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not without a setting, of another user, read-only or no folder at all; a missing one is so for everybody."""
    folder = AgeFolder()
    found = [folder.is_ours(escrow), folder.is_ours(replace(escrow, folder=None))]
    folder.ready(escrow)
    found.append(folder.is_ours(escrow))
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_, **__: False)
        found.append(folder.is_ours(escrow))
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12345)
        found.append(folder.is_ours(escrow))
    place(tmp_path).rmdir()
    nowhere(tmp_path)
    found.append(folder.is_ours(escrow))
    (tmp_path / "escrow").write_text("")
    found.append(folder.is_ours(escrow))
    assert found == [True, False, True, False, False, True, False]


def test_a_full_disk_leaves_nothing_behind(escrow: Escrow, tmp_path: Path) -> None:
    """Neither half a file nor a draft that fills it further."""
    with full_after(2 * MIB), pytest.raises(EscrowFailed, match="File too large"):
        AgeFolder().write(escrow, [bytes(8 * MIB)], lambda _: NAME)
    assert there(tmp_path) == []


def test_what_a_killed_process_left_goes_and_what_one_writes_stays(escrow: Escrow, tmp_path: Path) -> None:
    """A draft is nobody's only when its writer is dead."""
    import pickle

    with subprocess.Popen([sys.executable, "-c", ENDLESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin
        assert writer.stdout
        writer.stdin.write(pickle.dumps(escrow))
        writer.stdin.close()
        assert writer.stdout.readline() == b"under way\n"
        (draft,) = there(tmp_path)
        AgeFolder().ready(escrow)
        assert there(tmp_path) == [draft]
        writer.send_signal(signal.SIGKILL)
    assert there(tmp_path) == [draft]
    (place(tmp_path) / ".escrow-notes.draft").write_text("somebody's own")
    AgeFolder().ready(escrow)
    assert there(tmp_path) == [".escrow-notes.draft"]


def open_to_all(tmp_path: Path) -> None:
    """Anybody may put files there."""
    (tmp_path / "escrow").chmod(0o777)


def open_to_group(tmp_path: Path) -> None:
    """The group may put files among the tenant's."""
    place(tmp_path).mkdir()
    place(tmp_path).chmod(0o770)


def led_elsewhere(tmp_path: Path) -> None:
    """Somebody who may write there made a link of it."""
    (tmp_path / "elsewhere").mkdir()
    place(tmp_path).symlink_to(tmp_path / "elsewhere")


def no_folder(tmp_path: Path) -> None:
    """A file is in its place."""
    place(tmp_path).write_text("")


def nowhere(tmp_path: Path) -> None:
    """Its disk is not mounted, or it was never made."""
    (tmp_path / "escrow").rmdir()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (open_to_all, "anybody can write to"), (open_to_group, "others can write to"), (led_elsewhere, "Not a dir"),
        (no_folder, "Not a dir"), (nowhere, "is its disk mounted"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_fit_for_it_is_named_and_not_written_to(
    escrow: Escrow, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    """Before anything is opened, and again when it is written."""
    spoil(tmp_path)
    folder = AgeFolder()
    for attempt in (lambda: folder.ready(escrow), lambda: folder.write(escrow, [b"x"], lambda _: NAME)):
        with pytest.raises(EscrowFailed, match=says):
            attempt()
    assert list(tmp_path.rglob("*.age")) == []


def test_a_folder_of_another_user_is_not_written_to(
    escrow: Escrow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who owns it may change what is in it."""
    AgeFolder().ready(escrow)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(EscrowFailed, match="let it be this user's"):
        AgeFolder().write(escrow, [b"x"], lambda _: NAME)
    assert there(tmp_path) == []


def test_what_root_writes_by_hand_is_the_jobs_to_go_on_with(
    escrow: Escrow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that root makes is the user's who has the one for all; what is in it root may write to."""
    given: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "chown", lambda *what, **_: given.append(what))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    AgeFolder().write(escrow, [b"x"], lambda _: NAME)
    owner = (tmp_path / "escrow").stat()
    assert given == [("default-00000000", owner.st_uid, owner.st_gid)]
    assert there(tmp_path) == [NAME]


def test_a_disk_that_was_there_before_and_is_gone_is_not_written_beside(escrow: Escrow, tmp_path: Path) -> None:
    """The empty folder that it was mounted on is another disk."""
    written = replace(escrow, filed_at=NOW)
    with pytest.raises(EscrowFailed, match="was there, and is gone: is its disk mounted"):
        AgeFolder().ready(written)
    place(tmp_path).mkdir(0o700)
    AgeFolder().ready(written)


def test_a_folder_for_all_is_that_of_the_settings(escrow: Escrow, tmp_path: Path) -> None:
    """Unless one was named; if there is neither, whoever enables it is told."""
    bare = replace(escrow, folder=None)
    AgeFolder(tmp_path / "escrow").write(bare, [b"x"], lambda _: NAME)
    assert there(tmp_path) == [NAME]
    with pytest.raises(EscrowFailed, match="CONFIG_ESCROW_DIR"):
        AgeFolder().fit(None, escrow.recipients)


def test_a_key_that_was_mistyped_is_found_before_anything_is_written(escrow: Escrow, tmp_path: Path) -> None:
    """It has a checksum."""
    key = escrow.recipients[0]
    mistyped = replace(escrow, recipients=(key[:-1] + ("q" if key[-1] != "q" else "p"),))
    for attempt in (AgeFolder().ready, lambda one: AgeFolder().fit(one.folder, one.recipients)):
        with pytest.raises(EscrowFailed, match="mistyped"):
            attempt(mistyped)
    assert there(tmp_path) == []
