"""What a backup of the system consists of, and which version may restore which."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core import system_backup
from backupflow.core.system_backup import (
    PART_BYTES,
    Begun,
    Ended,
    Here,
    Member,
    Sums,
    begun_in,
    differing,
    ended_in,
    first,
    last,
    parts,
    why_not,
)
from backupflow.errors import InputInvalid

BEGUN = Begun("1.2", "0007", "17.10", "2.7.2", datetime(2026, 11, 22, tzinfo=UTC))
HERE = Here("1.2", frozenset({"0006", "0007"}), "17.10", "2.7.2")


def test_what_is_written_is_read() -> None:
    """Both ends of the file say what they said."""
    _, told = first("read me", BEGUN)
    assert begun_in(told) == BEGUN
    ended = Ended({"database": (3, "ab")}, {"device": 2})
    assert ended_in(last(ended)) == ended


@given(st.lists(st.binary(max_size=70), max_size=12))
def test_parts_joined_are_the_stream(chunks: list[bytes]) -> None:
    """None is empty but that of an empty stream, none is too long, and their names are in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system_backup, "PART_BYTES", 16)
        found = list(parts("database", chunks))
    assert b"".join(member.data for member in found) == b"".join(chunks)
    assert all(0 < len(member.data) <= 16 for member in found) or [member.data for member in found] == [b""]
    assert [member.name for member in found] == [f"database/{number:06}" for number in range(1, len(found) + 1)]


def test_sums_are_of_streams_and_not_of_parts() -> None:
    """So that who joins the parts by hand can compare."""
    sums = Sums()
    for member in (Member("database/000001", b"ab"), Member("database/000002", b"c"), Member("secrets/x", b"d")):
        sums.add(member)
    assert {name: length for name, (length, _) in sums.all().items()} == {"database": 3, "secrets/x": 1}
    assert sums.all()["database"][1].startswith("ba7816bf")  # SHA-256 of abc


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"format": 1}', json.dumps({"format": 1, "made_at": "soon"}).encode()]
)
def test_a_head_that_makes_no_sense_is_refused(content: bytes) -> None:
    """Whatever stands there."""
    with pytest.raises(InputInvalid):
        begun_in(Member("backup.json", content))


def test_a_newer_form_names_the_version_that_made_it() -> None:
    """Its other fields may mean anything."""
    with pytest.raises(InputInvalid, match=r"9\.9"):
        begun_in(Member("backup.json", b'{"format": 2, "program": "9.9"}'))


@pytest.mark.parametrize(
    ("here", "why"),
    [
        (HERE, None),
        (Here("1.3", frozenset({"0007", "0008"}), "18.1", "2.8.0"), None),
        (Here("1.1", frozenset({"0006"}), "17.10", "2.7.2"), "schema 0007"),
        (Here("1.2", HERE.revisions, "16.9", "2.7.2"), "PostgreSQL 17.10"),
        (Here("1.2", HERE.revisions, "17.2", "2.6.9"), "OpenBao 2.7.2"),
        (Here("1.2", HERE.revisions, "17.2", "2.7.0"), None),
    ],
)
def test_only_what_is_not_older_takes_it(here: Here, why: str | None) -> None:
    """An older schema is brought to this version's; servers of an older kind may not read what newer ones wrote."""
    found = why_not(BEGUN, here)
    assert (found is None) if why is None else (found is not None and why in found)


def test_what_is_missing_is_counted() -> None:
    """Each kind by itself; more than before is as wrong as fewer."""
    assert differing({"device": 3, "content": 5}, {"device": 3, "content": 5}) == []
    assert differing({"device": 3, "content": 5}, {"device": 4}) == ["device: 4, not 3", "content: 0, not 5"]


def test_a_part_is_no_longer_than_a_reader_takes() -> None:
    """Both sides hold one part in memory."""
    big = [b"x" * (PART_BYTES + 1)]
    assert [len(member.data) for member in parts("vault", big)] == [PART_BYTES, 1]
