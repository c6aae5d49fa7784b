"""Who made a change: only what is plausible is said, and nothing where several might have."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.changes import Action, Change, Property
from backupflow.core.edits import Edit, Log, Witness, pack, unpack
from backupflow.core.who import MOST_CHANGES, attributed
from backupflow.errors import MessageMalformed

NOW = datetime(2026, 11, 22, 14, 30, tzinfo=UTC)
CLOCK = datetime(1970, 1, 2, 3, 30)  # noqa: DTZ001 - a router's clock has no zone, and may be wrong
WITNESS = Witness(Log(b"", CLOCK), NOW - timedelta(hours=6), NOW)
FILTER = "ip/firewall/filter"


def change(
    component: str = FILTER, action: Action = Action.MODIFIED, **values: tuple[str | None, str | None]
) -> Change:
    """One change of these properties."""
    properties = tuple(Property(name, old, new) for name, (old, new) in sorted(values.items()))
    return Change(component, action, properties, None if action is Action.ADDED else "old", None)


def edit(by: str = "anna", *, minutes: float = 28, component: str = FILTER, action: str = "", **values: str) -> Edit:
    """One edit so many minutes before the export."""
    return Edit(CLOCK - timedelta(minutes=minutes), by, component, action=action, values=frozenset(values.items()))


def who(made: Change, *edits: Edit, witness: Witness = WITNESS) -> str | None:
    """Who is said to have made it."""
    return attributed([made], edits, witness)[0].by


def test_it_is_said_with_the_time_of_here() -> None:
    """The router's clock stands in 1970, but it runs: what was 28 minutes before the export was so here too."""
    [told] = attributed([change()], [edit()], WITNESS)
    assert (told.by, told.made_at) == ("anna", datetime(2026, 11, 22, 14, 2, tzinfo=UTC))
    assert replace(told, by=None, made_at=None) == change()


@pytest.mark.parametrize("minutes", [-3, 6 * 60 + 6, 100_000])
def test_what_was_before_or_after_is_not_it(minutes: float) -> None:
    """Between the two exports, give or take the minutes that an export takes."""
    assert who(change(), edit(minutes=minutes)) is None
    assert who(change(), edit(minutes=6 * 60)) == "anna"


def test_what_is_of_another_menu_is_not_it() -> None:
    """Also if it is the only one in the log."""
    assert who(change(), edit(component="ip/firewall/nat")) is None
    assert who(change("ip/firewall"), edit()) is None


def test_of_several_users_who_typed_its_values_has_made_it() -> None:
    """A value that was typed says more than a kind, and a kind more than nothing; quotes do not matter."""
    made = change(comment=('"a b"', '"c d"'), chain=("input", "forward"))
    edits = [edit("eve", minutes=1, action="modified"), edit("anna", comment="c d"), edit("bob", minutes=2)]
    assert who(made, *edits) == "anna"
    assert who(change(action=Action.ADDED), edit("eve", action="removed"), edit("bob", action="added")) == "bob"
    assert who(change(action=Action.REMOVED, x=("1", None)), edit("eve", x="2"), edit("bob", x="1")) == "bob"


def test_where_two_fit_as_well_nobody_is_named() -> None:
    """A guess would put it on somebody; of one user the newest edit is taken."""
    assert who(change(), edit("anna"), edit("eve", minutes=3)) is None
    [told] = attributed([change()], [edit(minutes=28), edit(minutes=10)], WITNESS)
    assert told.made_at == datetime(2026, 11, 22, 14, 20, tzinfo=UTC)


def test_a_log_of_sentences_is_read_by_its_words() -> None:
    """The last word of a menu stands in them, and the kind is right."""
    said = replace(edit(component=""), words=frozenset({"filter", "rule", "added"}), action="added")
    assert who(change(action=Action.ADDED), said) == "anna"
    assert who(change(action=Action.REMOVED), said) is None
    assert who(change("ip/firewall/nat", Action.ADDED), said) is None


def test_a_menu_that_was_renamed_is_the_same() -> None:
    """The edit was before the upgrade, or after it."""
    assert (
        who(replace(change("interface/wifi"), was_in="interface/wifiwave2"), edit(component="interface/wifiwave2"))
        == "anna"
    )


@pytest.mark.parametrize(
    "witness",
    [
        replace(WITNESS, log=Log(b"", None)),
        replace(WITNESS, since=NOW + timedelta(seconds=1)),
        replace(WITNESS, since=NOW - timedelta(days=400)),
    ],
)
def test_without_a_clock_nobody_is_named(witness: Witness) -> None:
    """The export has no date, or times that cannot be."""
    assert who(change(), edit(), witness=witness) is None


@given(st.datetimes(), st.datetimes())
def test_no_date_is_too_strange(clock: datetime, at: datetime) -> None:
    """A router may say any year; what is told is never later than the export."""
    witness = replace(WITNESS, log=Log(b"", clock))
    for told in attributed([change()], [replace(edit(), at=at)], witness):
        assert told.made_at is None or NOW - timedelta(hours=7) < told.made_at <= NOW


def test_it_is_looked_for_of_so_many_only() -> None:
    """A restore of 100,000 lines is no reason to compare each with each."""
    told = attributed([change()] * (MOST_CHANGES + 500), [edit()] * 300, WITNESS)
    assert len(told) == MOST_CHANGES + 500
    assert sum(one.by is not None for one in told) == MOST_CHANGES


def test_a_log_comes_back_as_it_was() -> None:
    """With its clock, byte for byte; what is none is refused."""
    for log in (Log(b"a\nb\x00\xff", CLOCK), Log(b"", None)):
        assert unpack(pack(log)) == log
    for body in (b"", b"{}\nx", b'{"clock": 7}\n', b'{"clock": "2026-01-01T00:00:00+00:00"}\n', b"[" * 9999, b"\xff\n"):
        with pytest.raises(MessageMalformed):
            unpack(body)
