"""Rooms of secrets: made once, filled again, and read by nobody else."""

from __future__ import annotations

import stat
import threading
from typing import TYPE_CHECKING

import pytest

from backupflow.embedded.rooms import Rooms
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from pathlib import Path


def test_a_secret_is_made_once_and_is_long(tmp_path: Path) -> None:
    """256 random bits, the same whenever it is asked for, another for each name."""
    rooms = Rooms(tmp_path, "all")
    first = rooms.secret("collector.redis")
    assert len(first) >= 43
    assert Rooms(tmp_path, "all").secret("collector.redis") == first
    assert rooms.secret("ingester.redis") != first


def test_a_lost_room_is_filled_again(tmp_path: Path) -> None:
    """Whoever removes the volume of a process takes nothing that cannot be given again."""
    rooms = Rooms(tmp_path, "all")
    secret = rooms.secret("collector.redis")
    assert rooms.copy("collector", ["collector.redis", "collector.openbao"]) == 1  # the other is not there yet
    (tmp_path / "collector" / "collector.redis").unlink()
    (tmp_path / "collector").rmdir()
    rooms.copy("collector", ["collector.redis"])
    assert (tmp_path / "collector" / "collector.redis").read_text("utf-8") == secret


def test_a_secret_that_only_a_reader_still_has_comes_back(tmp_path: Path) -> None:
    """The servers know that password, and would refuse a new one."""
    rooms = Rooms(tmp_path, "all")
    secret = rooms.secret("collector.redis")
    rooms.copy("collector", ["collector.redis"])
    (tmp_path / "all" / "collector.redis").unlink()
    assert rooms.secret("collector.redis") == secret


@pytest.mark.parametrize("volumes", [False, True])
def test_a_room_is_closed_but_to_a_server_that_has_it_as_a_volume(tmp_path: Path, *, volumes: bool) -> None:
    """On one machine everything is its owner's; in containers a server runs as another user, and has its room alone."""
    rooms = Rooms(tmp_path, "all", volumes)
    rooms.secret("admin.postgres")
    rooms.secret("collector.postgres")
    rooms.copy("collector", ["collector.postgres"])
    rooms.copy("postgres", ["admin.postgres"])
    opened = [path for path in tmp_path.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077]
    server = tmp_path / "postgres"
    assert sorted(opened) == ([server, server / "admin.postgres"] if volumes else [])


def test_modes_are_mended(tmp_path: Path) -> None:
    """A room that somebody has opened is closed again, whatever the umask."""
    rooms = Rooms(tmp_path, "all")
    rooms.secret("collector.redis")
    rooms.copy("collector", ["collector.redis"])
    (tmp_path / "collector").chmod(0o755)
    (tmp_path / "collector" / "collector.redis").chmod(0o644)
    rooms.copy("collector", ["collector.redis"])
    assert stat.S_IMODE((tmp_path / "collector").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "collector" / "collector.redis").stat().st_mode) == 0o400


def test_what_is_the_same_is_not_written_again(tmp_path: Path) -> None:
    """A server that reads its file just then never finds another one."""
    rooms = Rooms(tmp_path, "all")
    rooms.keep("redis", "valkey.conf", b"port 6379\n")
    before = (tmp_path / "redis" / "valkey.conf").stat()
    rooms.keep("redis", "valkey.conf", b"port 6379\n")
    after = (tmp_path / "redis" / "valkey.conf").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    rooms.keep("redis", "valkey.conf", b"port 6380\n")
    assert (tmp_path / "redis" / "valkey.conf").read_bytes() == b"port 6380\n"
    assert [path.name for path in (tmp_path / "redis").iterdir()] == ["valkey.conf"]


def test_two_at_once_make_one_secret(tmp_path: Path) -> None:
    """Compose may start a one-shot again while it still runs."""
    made: list[str] = []
    begun = threading.Barrier(4)

    def make() -> None:
        begun.wait()
        rooms = Rooms(tmp_path, "all")
        with rooms.held():
            made.append(rooms.secret("collector.redis"))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """One line that says which folder, whoever may write there."""
    (tmp_path / "rooms").write_text("a file", "utf-8")
    with pytest.raises(ServerUnusable, match="rooms"), Rooms(tmp_path / "rooms", "all").held():
        pass
