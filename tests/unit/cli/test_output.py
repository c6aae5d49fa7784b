"""What a terminal is shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = "a\x1b[31mb\x07\u202e\x9b[bold]x[/bold]:smile:"


@given(st.text())
def test_nothing_unprintable_is_left(text: str) -> None:
    """Whatever a router sends, what reaches the terminal is printable; what was printable stays."""
    shown = output.visible(text)
    assert shown.isprintable()
    assert not text.isprintable() or shown == text


@pytest.mark.parametrize(
    "show",
    [
        output.say,
        lambda text: output.show_table(("column",), [(text,)]),
        lambda text: output.show_table((text,), [("x",)]),
        lambda text: output.console().print(output.make_table((text,), [(text,)])),
        lambda text: output.as_document({"text": text}),
    ],
)
def test_hostile_text_is_shown_as_it_is(show: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    """No escape sequence, no direction mark and no markup takes effect, in lines, tables and JSON alike."""
    show(HOSTILE)
    shown = capsys.readouterr().out
    assert not set(shown) & set("\x1b\x07\u202e\x9b")
    assert "[bold]x[/bold]:smile:" in shown


def test_a_table_that_goes_to_a_file_is_neither_cut_nor_folded(capsys: pytest.CaptureFixture[str]) -> None:
    """A long finding stays on its line."""
    output.show_table(("what",), [("x" * 300,)])
    assert "x" * 300 in capsys.readouterr().out


def test_times_are_utc(capsys: pytest.CaptureFixture[str]) -> None:
    """In tables and in JSON, whatever zone a value came with."""
    at = datetime.fromisoformat("2026-11-21T22:00:00+02:00")
    output.as_document({"at": at})
    assert json.loads(capsys.readouterr().out) == {"at": "2026-11-21T20:00:00+00:00"}
    assert output.in_words(at) == "2026-11-21 20:00:00Z"
    assert output.in_words(datetime(2026, 11, 21, tzinfo=UTC)) == "2026-11-21 00:00:00Z"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (3601, "1 h"), (90061, "1 d 1 h"), (-5, "5 s")],
)
def test_spans_are_told_in_two_units(seconds: int, words: str) -> None:
    """The largest unit, and the next one if there is some of it."""
    assert output.span(timedelta(seconds=seconds)) == words


def test_no_fingerprint_is_cut_where_a_line_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compared letter by letter: broken at blanks only, with room left for an answer."""
    monkeypatch.setenv("COLUMNS", "40")
    key = "SHA256:" + "x" * 43
    lines = output.wrapped(f"Trust the offered key {key} of a router with a long name from now on?", 12).split("\n")
    assert [line.strip() for line in lines if "SHA256" in line] == [key]
    assert all(len(line) <= 40 - 12 for line in lines if "SHA256" not in line)


def test_a_narrow_terminal_is_shown_fewer_columns_and_folds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least needed go first; elsewhere all are written."""
    rows = [("core-1", "192.0.2.1", "CCR1009-7G-1C-1S+")]
    columns = ("device", "address", "model")
    assert output.fitting(columns, rows, ("model",)) == list(columns)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    assert output.fitting(columns, rows, ("model",)) == ["device", "address"]
    monkeypatch.setenv("COLUMNS", "34")
    assert output.fitting(columns, rows, ("model",)) == list(columns)
