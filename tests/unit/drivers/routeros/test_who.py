"""RouterOS's log of edits, as MikroTik's manual shows it, and whatever a router may send in its place."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.edits import LONGEST_BY, LONGEST_LOG, MOST_EDITS, Edit
from backupflow.core.model import RawConfig
from backupflow.drivers.routeros.who import clock, edits

SEVEN = rb"""Flags: U - undoable, R - redoable, F - floating-undo
 F redo=
      /ip firewall nat add action=masquerade chain=srcnat disabled=no log=no \
          log-prefix="" out-interface=wan
    undo=/ip firewall nat remove *4 action="nat rule added" by="operator"
    policy=write time=oct/11/2025 08:51:05

U redo=/ip/address/remove *3
    undo=/ip/address/add address=192.0.2.9/24 interface=ether2
    action="address removed" by="anna b" policy=read,write time=2025-10-11 08:49:03

U redo="" undo="" action="---" by="" policy=write time=sep/27/2025 13:07:35
"""
SIX = b"""Flags: U - undoable, R - redoable, F - floating-undo \r
U action="system identity changed" by="admin" policy=write time=sep/27/2019 13:07:35 \r
"""


def read(text: bytes) -> list[tuple[str, str, str]]:
    """By whom, where, what."""
    return [(edit.by, edit.component, edit.action) for edit in edits(text)]


def test_it_reads_what_the_manual_shows() -> None:
    """Both spellings of a menu and of a date; what has no user is passed over."""
    assert read(SEVEN) == [("operator", "ip/firewall/nat", "added"), ("anna b", "ip/address", "removed")]
    first, second = edits(SEVEN)
    assert first.at == datetime(2025, 10, 11, 8, 51, 5)  # noqa: DTZ001 - a router's clock has no zone
    assert {("out-interface", "wan"), ("chain", "srcnat"), ("log-prefix", "")} <= first.values
    assert second.values == {("address", "192.0.2.9/24"), ("interface", "ether2")}


def test_an_older_log_has_sentences_only() -> None:
    """Its words stand in place of a menu."""
    [edit] = edits(SIX)
    assert (edit.by, edit.component, edit.action) == ("admin", "", "modified")
    assert edit.words == {"system", "identity", "changed"}


@pytest.mark.parametrize(
    "forged",
    [
        rb'comment="x\" action=\"rule added\" by=\"root\" policy=write time=2020-01-01 00:00:00"',
        rb'comment="action=\"\" by=\"root\" time=2020-01-01 00:00:00 \\"',
        rb'source="redo=/user add undo=/x by=\"root\""',
        rb"action=accept by=root policy=write time=2020-01-01 00:00:00",
    ],
)
def test_what_a_user_wrote_into_a_value_is_no_edit(forged: bytes) -> None:
    """Nobody can put an edit on somebody else by a comment: what stands in quotes is a value."""
    text = b"U redo=/ip address set *1 %s\n undo=/ip address set *1 comment=a\n" % forged
    text += b' action="address changed" by="mallory" policy=write time=2025-10-11 08:49:03\n'
    assert [edit.by for edit in edits(text)] == ["mallory"]


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"bad command name history (line 1 column 9)\r\n", b"expected end of command (line 1 column 23)\r\n",
        b"no such item", b"not enough permissions (9)\r\n", b"<html>by=admin</html>", b"\x00\xff" * 500,
        b'action="x" by="admin" time=2025-13-45 08:49:03', b'action="x" by="admin" time=foo/10/2019 08:49:03',
        b'action="x" by="admin" time=2025-10-11 99:49:03', b'action="x" by="\x1b[2J" time=',
        b'action="x" by="' + b"u" * (LONGEST_BY + 1) + b'" time=2025-10-11 08:49:03',
    ],
)  # fmt: skip
def test_what_is_no_log_says_nothing(answer: bytes) -> None:
    """A refusal, nonsense, a time that is none, a name without end."""
    assert edits(answer) == ()


def test_a_name_is_one_printable_line() -> None:
    """It is shown in a terminal, and told to others."""
    [edit] = edits(b'action="x" by="a\x1b[31m\n    b" policy=write time=2025-10-11 08:49:03')
    assert edit.by == "a [31m b"


ALPHABET = [b'action="', b'by="', b'"', b"\\", b'\\"', b"redo=", b"undo=/ip ", b"time=2025-10-11 08:49:03", b" ", b"\n",
            b"policy=write", b"/ip address add ", b"x", b"oct/10/2019 10:00:00", b"\xff", b"\\\n"]  # fmt: skip


@given(st.lists(st.sampled_from(ALPHABET), max_size=80).map(b"".join))
def test_whatever_it_says_is_read_in_bounds(text: bytes) -> None:
    """It never raises; what it gives is printable and bounded."""
    for edit in edits(text):
        assert edit.by
        assert edit.by.isprintable()
        assert len(edit.by) <= LONGEST_BY
        assert edit.action in {"", "added", "removed", "modified", "moved"}


@pytest.mark.parametrize("piece", [*ALPHABET, b'"\\"', b'action="a" by="', b'x="\\" ', b'action="\\"'])
def test_a_log_of_one_thing_over_and_over_ends(piece: bytes) -> None:
    """Nothing costs the square of its length: with that, each of these would take minutes."""
    whole = b'"' + piece * (2 * LONGEST_LOG // len(piece))
    assert len(edits(whole)) <= MOST_EDITS
    assert len(edits(whole[1:])) <= MOST_EDITS


def test_no_more_than_a_number_of_edits_is_read() -> None:
    """However many fit."""
    one = b'U redo=/ip address add undo=/x action="x" by="a" policy=write time=2025-10-11 08:49:03\n'
    assert len(edits(one * 1000)) == MOST_EDITS


@pytest.mark.parametrize(
    ("header", "at"),
    [
        (b"# 2024-01-15 10:30:00 by RouterOS 7.14\r\n", (2024, 1, 15, 10, 30)),
        (b"# jan/02/1970 00:24:00 by RouterOS 5.7\r\n", (1970, 1, 2, 0, 24)),
        (b"\r\n# sep/29/2022 10:00:00 by RouterOS 6.49.7\n", (2022, 9, 29, 10, 0)),
        (b"# by RouterOS 6.49.6\r\n", None),
        (b"# ____-__-__ __:__:__ by RouterOS 7.1\r\n", None),
        (b"# 2024-31-31 10:30:00 by RouterOS 7.14\r\n", None),
        (b"", None),
        (b'/ip address\r\nadd comment="# 2024-01-15 10:30:00 by RouterOS 7.14"\r\n', None),
    ],
)  # fmt: skip
def test_the_clock_stands_in_the_header(header: bytes, at: tuple[int, ...] | None) -> None:
    """Both forms of a date, at the very beginning; an owner may have masked it."""
    expected = None if at is None else datetime(*at)  # type: ignore[arg-type]  # noqa: DTZ001
    assert clock(RawConfig(header + b"/ip address\r\n")) == expected


def test_an_edit_does_not_show_its_values() -> None:
    """They may be secrets: neither a log nor a traceback has them."""
    assert "hush" not in repr(Edit(datetime(2026, 1, 1), "a", values=frozenset({("password", "hush")})))  # noqa: DTZ001
