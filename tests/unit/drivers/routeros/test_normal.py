"""The normal form of RouterOS exports: what is noise, and what is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from backupflow.core.driver import Complete, Incomplete
from backupflow.core.model import RawConfig
from backupflow.drivers import driver
from backupflow.drivers.routeros import normal as normal_module
from backupflow.drivers.routeros import pieces
from backupflow.drivers.routeros.pieces import AS_WRITTEN

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = b"# 2024-01-15 10:30:00 by RouterOS 7.14\n# software id = ABCD-EFGH\n#\n# model = RB5009UG+S+\n"
EXPORT = HEADER + b"/interface bridge\nadd name=bridge1\n/ip address\nadd address=192.0.2.1/24 interface=bridge1\n"


def normal(raw: bytes) -> bytes:
    """Normalize with the driver that the product uses."""
    return driver("routeros").normalize(RawConfig(raw))


def body(items: bytes) -> bytes:
    """Normalize items below one section, without the lines that every case has."""
    return normal(HEADER + b"/a\n" + items).partition(b"/a\n")[2]


def test_the_normal_form_is_an_export_that_a_person_can_read() -> None:
    """The header without its time, sections, one item a line."""
    assert normal(EXPORT) == (
        b"# by RouterOS 7.14\n# software id = ABCD-EFGH\n# model = RB5009UG+S+\n"
        b"/interface bridge\nadd name=bridge1\n/ip address\nadd address=192.0.2.1/24 interface=bridge1\n"
    )


@pytest.mark.parametrize(
    "first",
    [
        b"# jan/02/1970 00:24:39 by RouterOS 7.14",
        b"# 1970-01-02 00:24:39 by RouterOS 7.14",
        b"# ____-__-__ __:__:__ by RouterOS 7.14",
        b"# ---/--/---- --:--:-- by RouterOS 7.14",
        b"# by RouterOS 7.14",
    ],
)
def test_the_time_of_the_export_is_noise(first: bytes) -> None:
    """Both forms of the date, and what owners mask it with."""
    assert normal(first + EXPORT[EXPORT.index(b"\n") :]) == normal(EXPORT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"7.14", b"7.15"),
        (b"ABCD-EFGH", b"ABCD-EFGI"),
        (b"RB5009UG+S+", b"RB4011"),
        (b"# model", b"# serial number = 1\n# model"),
        (b"software id", b"system id"),
    ],
)
def test_the_identity_in_the_header_is_not_noise(old: bytes, new: bytes) -> None:
    """Another version, model or number is a change."""
    assert normal(EXPORT.replace(old, new, 1)) != normal(EXPORT)


@pytest.mark.parametrize(
    "presented",
    [
        EXPORT.replace(b"\n", b"\r\n"),
        EXPORT.replace(b"\n", b"\r"),
        EXPORT.replace(b"\n", b"\n\n"),
        EXPORT.replace(b"\n", b" \t\n"),
        EXPORT.removesuffix(b"\n"),
        b"\xef\xbb\xbf" + EXPORT,
        EXPORT.replace(b"add", b"\x1b[m\x1b[32;1madd\x1b[0m").replace(b"\n", b"\x1b[K\n"),
        b"\x1b]0;title\x07" + EXPORT,
        b"[admin@R1] > export compact\n\n" + EXPORT,
        EXPORT.replace(b"/ip address", b"/ip/address"),
        EXPORT.replace(b"/ip address", b"/ip dns\n/ip address"),
        EXPORT.replace(b"/ip address\nadd", b"/ip address add"),
        EXPORT.replace(b"interface=bridge1", b'interface="bridge1"'),
        EXPORT.replace(b"interface=bridge1", b"inter\\\n    face=\\\n    bridge1"),
        EXPORT.replace(b"# software", b"#\n#\n# software"),
    ],
)
def test_presentation_is_noise(presented: bytes) -> None:
    """How the same configuration was brought and laid out makes no difference."""
    assert normal(presented) == normal(EXPORT)


@pytest.mark.parametrize(
    "comment",
    [
        b"# ether3 not ready",
        b"# ",
        b"#",
        b"# model = no header any more",
        b"# by RouterOS 1.0",
        b'# odd "',
        b"# odd \\",
    ],
)
def test_device_comments_are_noise_by_their_place(comment: bytes) -> None:
    """Whatever a comment says after the first section, the device wrote it about its state."""
    assert normal(EXPORT.replace(b"\nadd ", b"\n" + comment + b"\nadd ")) == normal(EXPORT)


def test_a_comment_regroups_the_terse_form() -> None:
    """In terse form an item that carries a comment stands below a section line of its own."""
    terse = HEADER + b"/a set x=1\n/a\n# poe-out status: short_circuit\nset x=2\n/a set x=3\n"
    assert normal(terse) == normal(HEADER + b"/a\nset x=1\nset x=2\nset x=3\n")


@pytest.mark.parametrize(
    "marker", [b"#error exporting /ip socks", b'#error exporting "/ip/ssh" (timeout)', b"#interrupted"]
)
def test_markers_are_no_part_of_the_text(marker: bytes) -> None:
    """What could not be exported is a fact about the export, told apart from its text."""
    assert normal(EXPORT + marker + b"\n") == normal(EXPORT)


def test_a_number_sign_inside_a_string_is_configuration() -> None:
    """A comment line of a script is part of the script, also where the string is wrapped."""
    script = b'add source="# one\\n\\\n    # two\\n\\\n# three"\n'
    assert body(script) == b'add source="# one\\n# two\\n# three"\n'
    assert body(script.replace(b"two", b"2")) != body(script)


@pytest.mark.parametrize(
    ("item", "written"),
    [
        (rb'add c="a\_b" d=""', b'add c="a b" d=""\n'),
        (rb"add c= d=e", b'add c="" d=e\n'),
        (rb'add c="\41\09\0A\CF"', rb'add c="A\t\n\CF"' + b"\n"),
        (b'add c="\xcf"', rb'add c="\CF"' + b"\n"),
        (b"add c=\xcf\x1b", rb'add c="\CF\1B"' + b"\n"),
        (b"set  [find   a=b] c=d", b"set [ find a=b ] c=d\n"),
        (b"set\t[ find ]\tc=d", b"set [ find ] c=d\n"),
        (b"set w.country=x .mode=ap .ssid=y z=1 v.a=1 .b=2", b"set w.country=x w.mode=ap w.ssid=y z=1 v.a=1 v.b=2\n"),
        (b"set *FFFFFFFE a=*8 b=<x-1> !c", b"set *FFFFFFFE a=*8 b=<x-1> !c\n"),
        (b'set "two words" a=b', b'set "two words" a=b\n'),
        (b'add a="x;y"', b'add a="x;y"\n'),
        (b'add a="b"c \xcf', rb'add a="b"c \CF' + b"\n"),
        (b'add a="open', b'add a="open\n'),
        (b"add", b"add\n"),
    ],
)
def test_an_item_is_written_in_one_way(item: bytes, written: bytes) -> None:
    """Each form that RouterOS or a terminal gives an item, and the one that stands for all."""
    assert body(item + b"\n") == written


def test_what_is_no_export_is_kept_after_the_header() -> None:
    """A strange line is never dropped in silence: a conflict stays to be seen."""
    conflict = EXPORT + b"<<<<<<< HEAD\n\x1b\x00\n/ip=\n"
    assert normal(conflict) == normal(EXPORT) + b"<<<<<<< HEAD\n\\1B\\00\n/ip=\n"


def test_the_order_of_items_is_kept() -> None:
    """Two rules that change places are a change."""
    assert body(b"add a=1\nadd a=2\n") != body(b"add a=2\nadd a=1\n")


def test_a_long_prefix_is_not_multiplied() -> None:
    """A short text never becomes a huge one."""
    text = b"add " + b"a" * 1000 + b".b=1" + b" .c=1" * 1000
    assert len(body(text)) < 2 * len(text)


# ------------------------------------------------------------------------------------------------------------- laws
KEYS = st.one_of(
    st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z]{1,3})?", fullmatch=True),
    st.from_regex(r"(configuration|security)\.[a-z]{1,3}", fullmatch=True),
)
VALUES = st.one_of(
    st.sampled_from(
        ["", "yes", "ether1", "a b", "# no comment", "\\", '"', "two\nlines\n# here", "$x ? [y] {z}", "\x00\xff"]
    ),
    st.text(st.characters(max_codepoint=255), max_size=30),
)
ITEMS = st.tuples(st.sampled_from(["add", "set"]), st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=4))
PATHS = st.sampled_from(["interface bridge", "ip address", "ip firewall filter", "system script"])
EXPORTS = st.lists(st.tuples(PATHS, ITEMS), min_size=1, max_size=6)
Export = list[tuple[str, tuple[str, list[tuple[str, str]]]]]


@dataclass(frozen=True)
class Style:
    """How a device writes one and the same configuration."""

    width: int
    newline: str
    terse: bool
    slashes: bool
    short: bool
    blank: str
    quotes: bool  # also where RouterOS needs none
    padding: str  # after each line, and perhaps empty lines
    escaped: bool  # letters as hexadecimal escapes, which no device writes but all read
    date: str
    comments: tuple[int, ...]

    def write(self, export: Export) -> bytes:
        """Write it so; by rules of our own, apart from the code that is tested."""
        lines, last = [f"# {self.date} by RouterOS 7.14", "# model = X", "#"], None
        for number, (path, (verb, properties)) in enumerate(export):
            written = " ".join([verb, *self.properties(properties)])
            commented = number in self.comments
            if path != last or commented or (self.terse and last is not None):
                section = "/" + (path.replace(" ", "/") if self.slashes else path)
                if self.terse and not commented:
                    written = f"{section} {written}"
                else:
                    lines.append(section)
            last = path
            lines.extend(["# ether1 not ready"] * commented)
            lines.extend(self.wrap(written))
        ended = self.padding.replace("\n", self.newline) + self.newline
        return (ended.join(lines) + ended).encode("latin-1")

    def properties(self, properties: list[tuple[str, str]]) -> Iterator[str]:
        """Write properties: a prefix is left out where the last one that was written is the same."""
        last = ""
        for key, value in properties:
            prefix, dot, name = key.rpartition(".")
            yield f"{'.' + name if dot and prefix == last and self.short else key}={self.quote(value)}"
            last = prefix if dot else last

    def quote(self, value: str) -> str:
        """Write a value: bare where RouterOS does."""
        if re.fullmatch(r"[a-z0-9]+", value) and not self.quotes:
            return value
        if self.escaped:
            return '"' + "".join(f"\\{ord(c):02X}" for c in value) + '"'
        named = {'"': r"\"", "\\": r"\\", "$": r"\$", "?": r"\?", "\n": r"\n", "\r": r"\r", " ": self.blank}
        return '"' + "".join(named.get(c) or (c if " " < c < "\x7f" else f"\\{ord(c):02X}") for c in value) + '"'

    def wrap(self, line: str) -> list[str]:
        """Break a line after so many characters, but not inside an escape, and never right before a blank."""
        parts: list[str] = [""]
        for piece in re.findall(r"\\[0-9A-F]{2}|\\.|[^\\]", line):
            if len(parts[-1]) >= self.width and piece != " ":
                parts.append("    ")
            parts[-1] += piece
        return [part + "\\" for part in parts[:-1]] + parts[-1:]


STYLES = st.builds(
    Style,
    width=st.sampled_from([5, 17, 78, 100_000]),
    newline=st.sampled_from(["\n", "\r\n"]),
    terse=st.booleans(),
    slashes=st.booleans(),
    short=st.booleans(),
    blank=st.sampled_from([" ", r"\_", r"\20"]),
    quotes=st.booleans(),
    padding=st.sampled_from(["", "", "  ", " \t", "\n", "\n \n"]),
    escaped=st.booleans(),
    date=st.sampled_from(["jan/02/1970 00:24:39", "2031-02-03 04:05:06", "____-__-__ __:__:__"]),
    comments=st.lists(st.integers(0, 5), max_size=3).map(tuple),
)
PIECES = rb"""/ip|/|add|set |a=|=|b|.|#|# by RouterOS 7|# model = |[|]|"|\|\_|\CF| |x""".split(b"|")
GRAMMAR = st.lists(
    st.sampled_from([*PIECES, b"\n", b"\r\n", b"\t", b"\x1b", b"\x1b[m", b"\x00", b"\xff", b"\xef\xbb\xbf"]),
    max_size=40,
).map(b"".join)


@given(EXPORTS, STYLES, STYLES)
def test_no_style_makes_a_difference(export: Export, one: Style, other: Style) -> None:
    """Wrapping, line ends, terse or grouped, device comments, blanks, dates: the text is equal."""
    assert normal(one.write(export)) == normal(other.write(export))


@given(EXPORTS, EXPORTS, STYLES, STYLES)
def test_no_style_hides_a_difference(export: Export, changed: Export, one: Style, other: Style) -> None:
    """Two configurations that differ in anything have different texts."""
    assume(export != changed)
    assert normal(one.write(export)) != normal(other.write(changed))


@given(EXPORTS, STYLES, st.data())
def test_a_changed_value_is_always_a_change(export: Export, style: Style, data: st.DataObject) -> None:
    """One value in an otherwise equal configuration."""
    at = data.draw(st.integers(0, len(export) - 1))
    path, (verb, properties) = export[at]
    key, value = properties[0]
    other = data.draw(VALUES.filter(lambda drawn: drawn != value))
    changed = [*export[:at], (path, (verb, [(key, other), *properties[1:]])), *export[at + 1 :]]
    assert normal(style.write(export)) != normal(style.write(changed))


@example(b'/n add " n.=n .=" (')
@example(b"# by RouterOS 7\n/a\n\\\n# x\\\n")
@example(b"# by RouterOS 7\n\\\n# x\\\n")
@example(b"# by RouterOS 7\n/ip/set\nx\n")
@given(st.one_of(GRAMMAR, st.binary(), GRAMMAR.map(lambda text: HEADER + b"/a\n" + text)))
def test_normalizing_twice_changes_nothing(raw: bytes) -> None:
    """Whatever the bytes, the normal form is its own."""
    once = normal(raw)
    assert normal(once) == once
    assert not re.search(rb"[^ -~\n]", once)
    assert once == b"" or once.endswith(b"\n")


# ----------------------------------------------------------------------------- what is more than any configuration has
def test_what_is_too_much_is_kept_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printable, under a line that says so, and refused by the judge: also when it comes back."""
    monkeypatch.setattr(pieces, "_MOST_LINES", 10)
    text = EXPORT + b"add  c=\xff\x1b\r\n" * 9 + b"add"
    kept = normal(text)
    assert kept == AS_WRITTEN + EXPORT + (rb"add  c=\FF\1B" + b"\n") * 9 + b"add\n"
    for refused in (text, kept):
        assert isinstance(driver("routeros").judge_file(refused), Incomplete)
    monkeypatch.undo()
    assert normal(kept) == kept
    assert isinstance(driver("routeros").judge_file(kept), Incomplete)


@given(
    GRAMMAR.map(lambda text: HEADER + b"/a\n" + text + b"\nadd\n"),
    st.sampled_from(["_MOST_LINES", "_MOST_QUOTES", "_MOST_BLANKS", "_MOST_ESCAPES", "_MOST_STEPS"]),
    st.integers(1, 60),
)
@example(HEADER + b"/a\n\xef\xbb\xbf\nadd\n", "_MOST_ESCAPES", 1)
@example(HEADER + b"/a\nadd a= b=\n", "_MOST_QUOTES", 1)
def test_the_normal_form_of_what_is_too_much_is_its_own(raw: bytes, limit: str, most: int) -> None:
    """Also where the text is just not too much, and its normal form is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, limit, most)
        patch.setattr(pieces, "_DENSEST_ESCAPES", 0)
        patch.setattr(normal_module, "_MANY_STEPS", 0)
        once = normal(raw)
        assert normal(once) == once


@pytest.mark.parametrize(("limit", "unit"), [("_MOST_LINES", b"add a=b\n"), ("_MOST_STEPS", b"add  a=b\n")])
@pytest.mark.parametrize("times", range(1, 20))
def test_what_the_judge_accepts_is_read(limit: str, unit: bytes, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge and normalizer go by the same limits, the judge by stricter ones."""
    monkeypatch.setattr(pieces, limit, 120 if limit == "_MOST_STEPS" else 10)
    monkeypatch.setattr(pieces, "_BYTES_A_STEP", 1_000_000)
    text = HEADER + b"/a\n" + unit * times
    if isinstance(driver("routeros").judge_file(text), Complete):
        assert not normal(text).startswith(AS_WRITTEN)
    assert isinstance(driver("routeros").judge_file(HEADER + b"/a\n" + unit * 20), Incomplete)


def test_prefixes_and_needless_quotes_are_mended_in_any_run() -> None:
    """Among items that need nothing, and without touching what stands inside strings."""
    items = b'add a=b\nset w.a="x" .b="y z" c="= \\"q\\" .d=" .e="\\_.f=1"\nset "g" h="\\"i"\nadd a=b\n'
    written = b'add a=b\nset w.a=x w.b="y z" c="= \\"q\\" .d=" w.e=" .f=1"\nset g h="\\"i"\nadd a=b\n'
    assert body(items) == written
    assert body(items.replace(b"set ", b"set  ")) == written
    for blanks in (b" ", b"  "):
        assert body(b"set w.a=1 .b.c=2" + blanks + b".d=3 .e=4\n") == b"set w.a=1 w.b.c=2 w.d=3 w.e=4\n"


def test_section_lines_are_written_once_for_neighbours() -> None:
    """Also between comments, empty sections and items of every form."""
    text = (
        HEADER
        + b"/a\n# c\n/b\n/a\nset  x=1\n# d\n/a\nset x=2\n/a set x=3\n/c\n/a\nset x=4\n/b\nset x=5\n/a\n/b\nset  x=6\n"
    )
    kept = b"/a\nset x=1\nset x=2\nset x=3\nset x=4\n/b\nset x=5\nset x=6\n"
    assert normal(text).endswith(b"RB5009UG+S+\n" + kept)


@pytest.mark.parametrize(
    "item",
    [
        b'add a.b=c comment=" n.a=n .b=x"',
        b'add comment=" n.a=n .b=x"',
        b'set [ find name=" n.a=n .b=x" ] c=d',
        b'add " n.a=n .b=x" c',
    ],
)
def test_what_looks_like_properties_in_a_string_stays_as_it_is(item: bytes) -> None:
    """Prefixes are written in full where properties are, not where a comment speaks of some."""
    assert normal(b"/n\n" + item + b"\n") == b"/n\n" + item + b"\n"
    assert normal(b"/n\n" + item.replace(b" .b", b" n.b") + b"\n") != normal(b"/n\n" + item + b"\n")
