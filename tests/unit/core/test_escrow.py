"""The escrow's names, recipients and files: safe wherever they are unpacked, and nothing is left out in silence."""

from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.escrow import (
    Escrow,
    configuration_name,
    file_name,
    outdated,
    safe_name,
)
from backupflow.core.escrow_files import (
    END,
    NONE_YET,
    Filed,
    Held,
    Written,
    inventory,
    lacking,
    member,
    missing,
    readme,
)
from backupflow.core.model import DeviceId, TenantId

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
OTHER = KEY.replace("z", "w")
ESCROW = Escrow(TenantId(UUID(int=1)), "default", (KEY,), None, "test", NOW - 3 * DAY, NOW)
HOSTILE = (
    "../../etc/passwd", "/etc/passwd", "a/b", "a\nb", "a\0b", "..", ".", "", "-rf", "con" * 85, "\u202egnp.exe",
    "Zürich", "дом", "a" * 255, "=cmd|' /C calc'!A1", " ", "\\\\host\\share",
)  # fmt: skip


def filed(name: str, number: int = 1, why: str = "", **where: str) -> Filed:
    """A device with a file, or without one and why."""
    held = Held(DeviceId(UUID(int=number)), name, where, {"model": "RB5009"}, None)
    return Filed(held, why=why) if why else Filed(held, configuration_name(name, held.device_id), 3, "aa")


def unpacked(data: bytes) -> dict[str, bytes]:
    """What tar makes of it."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as tar:
        found = {}
        for info in tar:
            content = tar.extractfile(info)
            assert content
            assert (info.isreg(), info.mode) == (True, 0o600)
            found[info.name] = content.read()
    return found


@given(st.text(max_size=300) | st.sampled_from(HOSTILE))
def test_a_name_is_safe_wherever_it_is_unpacked(name: str) -> None:
    """No slash, no dot before it, no control character, short enough for the oldest form of tar; whatever it was."""
    safe = safe_name(name)
    assert 1 <= len(safe) <= 59
    assert safe[0] not in ".-"
    assert set(safe) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    folder, slash, last = configuration_name(name, UUID(int=1)).partition("/")
    assert (folder, slash, len(last) <= 100) == ("configurations", "/", True)


def test_names_that_look_alike_stay_apart() -> None:
    """The id behind them is another one; and a name that is given to another tenant is no door to the old files."""
    names = {configuration_name(name, UUID(int=number)) for number, name in enumerate(("a/b", "a\\b", "a:b", "a_b"))}
    assert len(names) == 4
    places = {replace(ESCROW, tenant_id=TenantId(UUID(int=number << 100))).place for number in range(1, 5)}
    assert len(places) == 4


@given(st.lists(st.tuples(st.text(max_size=300), st.binary(max_size=2000)), max_size=6))
def test_what_is_written_is_what_tar_unpacks(contents: list[tuple[str, bytes]]) -> None:
    """Byte for byte, under the names that were given (I16)."""
    wanted = {configuration_name(name, UUID(int=number)): raw for number, (name, raw) in enumerate(contents)}
    pieces = [piece for name, raw in wanted.items() for piece in member(name, raw, NOW)]
    assert unpacked(b"".join([*pieces, END])) == wanted


CELLS = st.text(max_size=40) | st.sampled_from(
    [*HOSTILE, "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", 'a"b', "a,b"]
)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_no_cell_of_the_inventory_is_a_formula_or_a_line_of_its_own(cells: list[tuple[str, str]]) -> None:
    """Somebody opens it in a spreadsheet; names and sites are other people's texts."""
    rows = [filed(name, number, site=site) for number, (name, site) in enumerate(cells)]
    text = inventory(rows).decode()
    read = list(csv.reader(io.StringIO(text)))
    assert len(read) == len(cells) + 1 == text.count("\n")
    for row in read:
        assert all(one.isprintable() and not one.startswith(tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")) for one in row)


def test_the_inventory_says_where_each_device_is_and_why_it_has_no_file() -> None:
    """Sorted by name; what is not there has a reason, and no file."""
    rows = [filed("b", 2, address="192.0.2.2", username="backup"), filed("a", 1, why=NONE_YET), filed("c", 3, why="x")]
    read = list(csv.DictReader(io.StringIO(inventory(rows).decode())))
    said = [(one["device"], one["file"].rpartition("/")[2][:2], one["not_here_because"]) for one in read]
    assert said == [("a", "", NONE_YET), ("b", "b-", ""), ("c", "", "x")]
    assert (read[1]["address"], read[1]["username"], read[1]["model"]) == ("192.0.2.2", "backup", "RB5009")


def test_what_should_be_there_and_is_not_is_named() -> None:
    """In a file of its own, and in the alarm, but for those of which there is nothing yet."""
    rows = [filed("good"), filed("new", 2, why=NONE_YET), *(filed(f"bad-{n}", n, why="altered") for n in range(3, 10))]
    assert [one.held.name for one in lacking(rows)] == [f"bad-{n}" for n in range(3, 10)]
    text = missing(rows).decode()
    assert text.count("altered") == 7
    assert "new" not in text
    lacks = Written("escrow-2026-11-22.incomplete.tar.age", 9, 1, tuple(lacking(rows))).lacks
    assert "lacks 7 of 8: bad-3 (altered), " in lacks
    assert lacks.endswith("and 2 more")
    assert Written("f", 9, 1, ()).lacks == ""


def test_the_text_tells_how_it_is_opened() -> None:
    """Whoever finds it in ten years has nothing else."""
    text = readme(replace(ESCROW, tenant="=x\n"), 1234).decode()
    assert "age -d -i escrow-key.txt escrow-2026-11-22.tar.age | tar x" in text
    assert "1,234 devices" in text.partition("\n")[0]
    assert max(len(line) for line in text.splitlines()) <= 100


def days(*numbers: int, whole: bool = True) -> list[str]:
    """The files of these days."""
    return [file_name(NOW.replace(day=number), whole=whole) for number in numbers]


def later(day: int, *hours: int, whole: bool = True) -> list[str]:
    """The files of a day that has one already."""
    times = [NOW.replace(day=day, hour=hour) for hour in hours]
    return [file_name(at, [file_name(at, whole=whole)], whole=whole) for at in times]


def test_the_second_file_of_a_day_takes_no_place() -> None:
    """It may be of an older database, that was restored that day; what lacks devices has names of its own."""
    first, second = days(22)[0], later(22, 3)[0]
    assert (first, second) == ("escrow-2026-11-22.tar.age", "escrow-2026-11-22-030000.tar.age")
    assert file_name(NOW, [first], whole=False) == "escrow-2026-11-22.incomplete.tar.age"
    third = file_name(NOW, [first, second], whole=True)  # of the same second
    assert (third, outdated([first, second, third], 7, third)) == ("escrow-2026-11-22-030000-001.tar.age", [second])
    assert later(22, 3, whole=False) == ["escrow-2026-11-22-030000.incomplete.tar.age"]


@pytest.mark.parametrize(
    ("names", "keep", "written", "gone"),
    [
        (days(1, 2, 3), 3, days(3)[0], []),
        (days(1, 2, 3), 2, days(3)[0], days(1)),
        (days(3, 1, 2), 1, days(3)[0], days(1, 2)),
        ([*days(1), *days(2, 3, 4, whole=False)], 2, days(4, whole=False)[0], days(2, whole=False)),
        ([*days(1, 4), *days(4, whole=False)], 7, days(4)[0], days(4, whole=False)),
        ([*days(4), *days(4, whole=False)], 7, days(4, whole=False)[0], []),
        (["key.txt", "escrow-old.tar.age", *days(1, 2)], 1, days(2)[0], days(1)),
        (days(5, 6), 1, days(1)[0], []),  # a clock that was set back: what is of days to come stays
        (days(1, 2, 3, 26, 27, 28), 2, days(3)[0], days(1)),  # and takes the place of none
        ([*days(3), *later(3, 1, 2)], 7, later(3, 2)[0], later(3, 1)),  # of a day the first and the last
        ([*days(2, 3), *later(3, 1)], 1, later(3, 1)[0], days(2)),
        (
            [*days(3), *days(3, whole=False), *later(3, 1, whole=False), *later(3, 2)],
            7,
            later(3, 2)[0],
            [*later(3, 1, whole=False), *days(3, whole=False)],
        ),
    ],
)
def test_only_a_whole_file_takes_the_place_of_a_whole_one(
    names: list[str], keep: int, written: str, gone: list[str]
) -> None:
    """The newest of each kind stay; what lacks devices goes when the whole one of its day is there."""
    assert list(outdated(names, keep, written)) == gone


def test_it_is_due_once_a_day_and_late_after_two() -> None:
    """The future is of a clock that stood ahead; what lacks devices is not late, and what is asked for is due."""
    written = [
        replace(ESCROW, written_at=NOW - ago, filed_at=NOW - ago) for ago in (HOUR, 20 * HOUR, 2 * DAY, 3 * DAY, -HOUR)
    ]
    assert [one.is_due for one in (ESCROW, *written)] == [True, False, True, True, True, True]
    assert [one.is_late for one in (ESCROW, *written)] == [True, False, False, False, True, False]
    lacking = replace(ESCROW, written_at=NOW - 9 * DAY, filed_at=NOW - HOUR)
    assert (lacking.is_late, lacking.is_due) == (False, True)
    assert replace(written[0], asked_at=NOW).is_due
