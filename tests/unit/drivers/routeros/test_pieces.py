"""The lines of an export, joined and classified in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.drivers.routeros import pieces
from backupflow.drivers.routeros.pieces import AS_WRITTEN, Kind, apart, joined, line_number, scan

WORDS = rb'/ip|/ip dns|/ip/dns|add|set |set|a=b| c=d| |"x y"|"|\|\\|\_|#|# c|# by RouterOS 7|[ find ]| [|]|.b=1|=|x'
BREAKS = [b"\n", b"\n    ", b"\\\n", b"\\\n    ", b" \n", b"\t", b"\n\n", b"\xff", b"\x00", b"\x1b"]
TEXTS = st.lists(st.sampled_from([*WORDS.split(b"|"), *BREAKS]), max_size=40).map(b"".join)


def kinds(text: bytes) -> list[tuple[Kind, bytes, bytes]]:
    """Scan a text."""
    lines = joined(text)
    assert lines is not None
    return [(kind, path, apart(piece)) for kind, _, path, piece, _ in scan(lines)]


def logical(text: bytes) -> list[bytes]:
    """Join the lines of a text one by one: slow and plain, to hold the other against."""
    found: list[bytes] = []
    begun: list[bytes] = []
    for physical in text.split(b"\n"):
        line = physical.strip(b" \t")
        if not line:
            continue
        wraps = (len(line) - len(line.rstrip(b"\\"))) % 2 == 1 and (bool(begun) or not line.startswith(b"#"))
        begun.append(line[:-1] if wraps else line)
        if not wraps:
            found.append(b"".join(begun))
            begun = []
    return [*found, b"".join(begun) + b"\\"] if begun else found


def test_pieces_are_classified_by_their_shape() -> None:
    """Sections carry over to the items below them; the terse form names its own."""
    text = (
        b"# c\n/ip address\nadd a=b\n# d\n/ip/dns set x=y\nset z\n[admin@R1] > quit\n/ip address add n=1\n/ip=\n/ip/a\n"
    )
    assert kinds(text) == [
        (Kind.COMMENTS, b"", b"# c\n"),
        (Kind.RUN, b"/ip address", b"/ip address\nadd a=b\n# d\n"),
        (Kind.ITEM, b"/ip dns", b"set x=y"),
        (Kind.RUN, b"/ip dns", b"set z\n"),
        (Kind.UNKNOWN, b"/ip dns", b"[admin@R1] > quit"),
        (Kind.RUN, b"/ip address", b"/ip address\nadd n=1\n"),
        (Kind.UNKNOWN, b"/ip address", b"/ip="),
        (Kind.SECTION, b"/ip a", b""),
    ]


def test_a_menu_is_not_called_like_a_verb() -> None:
    """Its section line would read as an item of the menu above it."""
    for line in (b"/ip/set", b"/ip/set add a=b", b"/ip dns set/ip x"):
        assert kinds(b"/a\n" + line + b"\n")[1:] == [(Kind.UNKNOWN, b"/a", line)]


def test_terse_items_of_one_section_are_one_run() -> None:
    """As if they stood below its section line."""
    text = b"/ip a add x=1\n/ip a add x=2\n/ip b add x=3\n/ip a add  x=4\n"
    assert kinds(text) == [
        (Kind.RUN, b"/ip a", b"/ip a\nadd x=1\nadd x=2\n"),
        (Kind.RUN, b"/ip b", b"/ip b\nadd x=3\n"),
        (Kind.ITEM, b"/ip a", b"add  x=4"),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"/a\nadd k=\\\n    v", b"add k=v"),
        (b'/a\nadd k="one\\\n    \\_two"', b'add k="one\\_two"'),
        (b"/a\nadd k=a\\  \n\n\n    b", b"add k=ab"),
        (b'/a\nadd k="\\\\\\\n    b"', b'add k="\\\\b"'),
        (b'/a\nadd k="x\\n\\\n    # not a comment\\\n    "', b'add k="x\\n# not a comment"'),
        (b'/a\nadd k="x\\n\\\n# not a comment"', b'add k="x\\n# not a comment"'),
    ],
)
def test_wrapped_lines_are_joined(text: bytes, line: bytes) -> None:
    """An odd number of backslashes at the end goes on in the next line, whose blanks are dropped."""
    assert kinds(text) == [(Kind.RUN, b"/a", b"/a\n" + line + b"\n")]


def test_escaped_backslashes_at_the_end_do_not_wrap() -> None:
    """An even number of them is part of the line."""
    assert [text for _, _, text in kinds(b"/a\nadd k=a\\\\\nadd k=b\n")] == [b"/a\n", b"add k=a\\\\", b"add k=b\n"]


def test_a_comment_never_goes_on_in_the_next_line() -> None:
    """Device comments that end in a backslash swallow no item, and each other neither."""
    text = b"/a\n# odd \\\n# odd \\\nadd k=v\n"
    assert kinds(text) == [(Kind.RUN, b"/a", text)]
    assert kinds(text.removeprefix(b"/a\n"))[0] == (Kind.COMMENTS, b"", b"# odd \\\n# odd \\\n")


def test_an_end_inside_a_wrapped_line_is_seen() -> None:
    """The text of a line that breaks off keeps its backslash."""
    assert kinds(b"/a\nadd k=\\\n")[1:] == [(Kind.DANGLING, b"/a", b"add k=\\")]
    assert kinds(b"/a\n\\\n# x\\\n")[1:] == [(Kind.DANGLING, b"/a", b"# x\\")]


@given(TEXTS)
def test_lines_are_joined_as_one_by_one(text: bytes) -> None:
    """However wraps, blanks, empty lines and comments follow one another."""
    lines = joined(text)
    assert lines is not None
    assert [apart(line) for line in lines.split(b"\n")[:-1]] == logical(text)


@given(TEXTS)
def test_every_line_is_in_exactly_one_piece(text: bytes) -> None:
    """Scanning is total and loses nothing: the pieces stand one after the other, to the end."""
    lines = joined(b"/a\n" + text)
    assert lines is not None
    found = list(scan(lines))
    begins = [at for _, at, _, _, _ in found]
    assert begins == sorted(set(begins))
    assert all(at == 0 or lines[at - 1 : at] == b"\n" for at in begins)
    for (kind, at, _, piece, _), end in zip(found, [*begins[1:], len(lines)], strict=True):
        assert (
            kind is Kind.EXCESS
            or kind is Kind.SECTION
            or apart(lines[at:end]).split()[-1:] == apart(piece).split()[-1:]
        )


@given(st.binary())
def test_scanning_is_total(text: bytes) -> None:
    """Arbitrary bytes are joined or not, and scanned to an end."""
    if (lines := joined(text.replace(b"\r", b"\n"))) is not None:
        assert all(isinstance(kind, Kind) for kind, _, _, _, _ in scan(lines))


def test_lines_are_numbered_as_an_editor_does() -> None:
    """A joined line has the number of its last physical line."""
    text = b"/a\n\nadd \\\n  k=v\n# c \\\nadd\n"
    assert [line_number(text, index) for index in range(4)] == [1, 4, 5, 6]


@pytest.mark.parametrize(
    ("limit", "unit"),
    [
        ("_MOST_QUOTES", b'"" '),
        ("_MOST_BLANKS", b"a "),
        ("_MOST_TAILS", b"\n# x\\\nset"),
        ("_MOST_RAGGED", b"\n  set"),
        ("_MOST_ESCAPES", b"\\_"),
    ],
)
def test_more_of_what_costs_time_than_any_export_has_is_not_read(
    limit: str, unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quotes, blanks, and comments that end in a backslash, even in runs."""
    monkeypatch.setattr(pieces, limit, 20)
    assert joined(b"/a\nadd " + unit * 9) is not None
    assert joined(b"/a\nadd " + unit * 30) is None


def test_more_lines_than_any_export_has_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a text that says that it was not."""
    monkeypatch.setattr(pieces, "_MOST_LINES", 3)
    assert joined(b"/a\nadd\nadd\n") is not None
    assert joined(b"/a\nadd\nadd\nadd\n") is None
    assert joined(AS_WRITTEN + b"/a\n") is None


@pytest.mark.parametrize(
    "line",
    [b"add  a=b\n", b"/b/c\n", b"x\n", b"add" + b" x=" * 7 + b"\n", b"add" + b" .x=a" * 9 + b"\n", rb'add a="\41\42"'],
)
def test_only_so_many_unusual_lines_are_read(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more would take too long, the text ends early, and says so."""
    monkeypatch.setattr(pieces, "_MOST_STEPS", 150)
    monkeypatch.setattr(pieces, "_BYTES_A_STEP", 1_000_000)
    assert kinds(b"/a\nadd\n" + line * 3)[-1][0] is not Kind.EXCESS
    assert kinds(b"/a\nadd\n" + line * 30)[-1][0] is Kind.EXCESS
    assert kinds(b"/a\n" + b"add a=b\n# c\n/b\n" * 9999)[-1][0] is Kind.RUN


def test_what_takes_too_long_is_not_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The piece that is too much is none any more, even if it is the last."""
    monkeypatch.setattr(pieces, "_MOST_STEPS", 100)
    monkeypatch.setattr(pieces, "_BYTES_A_STEP", 1_000_000)
    assert [kind for kind, _, _ in kinds(b"/a\nadd" + b" x=" * 100 + b"\n")] == [Kind.RUN, Kind.EXCESS]


def test_a_long_header_is_counted_by_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is looked at."""
    monkeypatch.setattr(pieces, "_MOST_STEPS", 100)
    monkeypatch.setattr(pieces, "_BYTES_A_STEP", 1_000_000)
    assert [kind for kind, _, _ in kinds(b"# c\n" * 30 + b"/a\nadd\n")] == [Kind.EXCESS]
