"""Log files: bounded, private, and without the place of the data folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.embedded.logs import BoundedLog

if TYPE_CHECKING:
    from pathlib import Path


def test_a_log_stays_within_its_bound(tmp_path: Path) -> None:
    """The newest lines are kept, in a known number of files."""
    log = BoundedLog(tmp_path / "x.log", limit=1000, keep=2)
    for number in range(1000):
        log.write(b"line %05d\n" % number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2"]
    assert all(path.stat().st_size <= 1011 for path in tmp_path.iterdir())
    kept = "".join((tmp_path / name).read_text(encoding="utf-8") for name in ("x.log.2", "x.log.1", "x.log"))
    numbers = [int(line.split()[1]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 1000))


def test_the_place_of_the_folder_is_not_logged(tmp_path: Path) -> None:
    """The folder may be moved: a path in a log would be wrong then."""
    log = BoundedLog(tmp_path / "x.log", hide="/srv/backupflow")
    log.write(b"opened /srv/backupflow/nats/jetstream\n")
    assert (tmp_path / "x.log").read_bytes() == b"opened ./nats/jetstream\n"


def test_a_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Addresses and names of other people's networks stand in it."""
    BoundedLog(tmp_path / "x.log").write(b"line\n")
    assert (tmp_path / "x.log").stat().st_mode & 0o777 == 0o600


def test_a_disk_that_is_full_does_not_stop_the_program(tmp_path: Path) -> None:
    """The line is lost on disk and kept in memory; the pipe goes on being read."""
    log = BoundedLog(tmp_path / "nowhere" / "x.log")
    log.write(b"still here\n")
    assert log.tail() == "still here"


def test_each_line_is_told_and_a_deaf_listener_is_no_harm(tmp_path: Path) -> None:
    """Who starts a program may hear it; a terminal that was closed must not block its pipe."""
    told: list[str] = []
    BoundedLog(tmp_path / "x.log", on_line=told.append).write(b"line\n")
    assert told == ["line"]

    def closed(line: str) -> None:
        raise BrokenPipeError(line)

    BoundedLog(tmp_path / "x.log", on_line=closed).write(b"second\n")
    assert (tmp_path / "x.log").read_bytes() == b"line\nsecond\n"


def test_the_last_words_are_one_printable_line(tmp_path: Path) -> None:
    """An error must not move the cursor of the terminal that shows it."""
    log = BoundedLog(tmp_path / "x.log")
    assert log.tail() == "it said nothing"
    for line in (b"first\n", b"\n", b"\x1b[2Jred\xff\n", b"last\n"):
        log.write(line)
    assert log.tail(2) == " [2Jred\N{REPLACEMENT CHARACTER} | last"
