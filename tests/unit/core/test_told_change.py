"""What is told of a change: bounded lines that open for nobody but the change that they are of."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.enclosure import Label, What, enclose
from backupflow.core.model import DeviceId, Seq, TenantId
from backupflow.core.told_change import LINES, LONGEST_LINE, is_told, pack_lines, told_lines, unpack_lines
from backupflow.errors import MessageMalformed

OWNER = (TenantId(UUID(int=1)), DeviceId(UUID(int=2)), Seq(3))


@given(st.lists(st.text(max_size=700), max_size=60))
def test_lines_are_few_bounded_and_printable(summaries: list[str]) -> None:
    """Twenty at the most, each a line, and one that says where the rest is; so they come back."""
    lines = told_lines(summaries)
    assert len(lines) == min(len(summaries), LINES + 1)
    assert all(line.isprintable() and len(line) <= LONGEST_LINE for line in lines)
    assert unpack_lines(OWNER, pack_lines(OWNER, lines)) == lines


def test_what_fits_is_told_as_it_is() -> None:
    """Arrows and dots of a summary are no control characters."""
    line = 'ip/firewall/filter: accept rule "allow winbox": src-address 10.0.0.0/8 → 10.1.0.0/16, password ••• changed'
    assert told_lines([line]) == [line]
    assert told_lines([f"x {n}" for n in range(22)])[19:] == ["x 19", "x 20"]


@pytest.mark.parametrize(
    "other",
    [
        (TenantId(UUID(int=9)), OWNER[1], OWNER[2]),
        (OWNER[0], DeviceId(UUID(int=9)), OWNER[2]),
        (OWNER[0], OWNER[1], Seq(4)),
    ],
)
def test_lines_of_another_change_are_refused(other: tuple[TenantId, DeviceId, Seq]) -> None:
    """Of another tenant, device, or number: somebody exchanged two texts."""
    with pytest.raises(MessageMalformed, match="names another"):
        unpack_lines(other, pack_lines(OWNER, ["x"]))


@pytest.mark.parametrize(
    "body", [b"{}", b"null", b"\xff", b"[" * 100_000, b"", b"7", b'"x"', b"[" + b'"x",' * 500 + b'"x"]']
)
def test_what_is_damaged_is_refused(body: bytes) -> None:
    """Whatever else was sealed for the device, and more lines than there may be."""
    label = Label(*OWNER, Seq(0), What.EVENT)
    with pytest.raises(MessageMalformed):
        unpack_lines(OWNER, enclose(label, body))
    with pytest.raises(MessageMalformed):
        unpack_lines(OWNER, body)


def test_what_is_sealed_as_something_else_is_refused() -> None:
    """A text of another use under the same key and context; and a long line is cut, whoever sealed it."""
    with pytest.raises(MessageMalformed):
        unpack_lines(OWNER, enclose(Label(*OWNER, Seq(0), What.DIFF), b'["x"]'))
    assert unpack_lines(OWNER, pack_lines(OWNER, ["x" * 1000, "a\nb"])) == ["x" * (LONGEST_LINE - 1) + "…", "a b"]


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("change", 1, True),
        ("upgrade", 1, True),
        ("unread", 0, True),
        ("change", 0, False),  # all of it is ignored
        ("upgrade", 0, False),
        ("first", 5, False),
        ("secrets", 5, False),
        ("order", 0, False),
    ],
)
def test_only_a_change_is_told(kind: str, changes: int, told: bool) -> None:
    """Nobody is told of a first configuration, of secrets that are merely shown, of an order that means nothing."""
    assert is_told(kind, changes) is told
