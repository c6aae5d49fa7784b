"""What an export says about the router that gave it, as text that can be shown anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.driver import Complete, Facts
from backupflow.drivers import driver

ROS = driver("routeros")
EXPORT = b"# 2025-06-10 18:46:11 by RouterOS 7.19.1\n/ip dns\nset a=b\n/system identity\nset name=core-1\n"


def facts(raw: bytes) -> Facts:
    """What a whole export says."""
    judged = ROS.judge_file(raw)
    assert isinstance(judged, Complete)
    return judged.facts


@pytest.mark.parametrize(
    ("item", "name"),
    [
        (b"set name=core-1", "core-1"),
        (b'set name="core 1"', "core 1"),
        (b'set name="core\\_\\\n    1"', "core 1"),
        (b'set name="\\CF\\EE"', r"\CF\EE"),
        (b'set name="\xcf\xee"', r"\CF\EE"),
        (b'set name="<b>\\"x\\"</b>"', '<b>"x"</b>'),
        (b'set name="\\r\\n\\1B[2J"', r"\0D\0A\1B[2J"),
        (b'set name=""', None),
        (b"set x=y", None),
        (b"set", None),
    ],
)
def test_the_name_of_a_router_is_read_and_can_be_shown(item: bytes, name: str | None) -> None:
    """Decoded as RouterOS means it, then printable: no control sequence reaches a terminal."""
    assert facts(EXPORT.replace(b"set name=core-1", item)).identity == name


def test_another_layout_is_the_same_name() -> None:
    """Terse, the newer form of a path, and carriage returns."""
    assert facts(EXPORT.replace(b"/system identity\n", b"/system/identity ")).identity == "core-1"
    assert facts(EXPORT.replace(b"\n", b"\r\n")).identity == "core-1"


def test_a_router_without_a_name_has_none() -> None:
    """An export leaves out the one that RouterOS comes with."""
    assert facts(EXPORT[: EXPORT.index(b"/system")]).identity is None


def test_a_script_about_names_is_no_name() -> None:
    """Only the menu itself counts, not what stands in a string."""
    text = EXPORT[: EXPORT.index(b"/system")] + b'/system script\nadd source="\\n/system identity\\nset name=x\\n"\n'
    assert facts(text).identity is None


@given(st.binary(min_size=1, max_size=6000))
def test_facts_are_short_and_printable(value: bytes) -> None:
    """A header and a name are hostile text too."""
    line = bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F)
    said = b"".join(b'"' if byte == 0x22 else b"\\%02X" % byte for byte in value if byte != 0x22)
    header = b"# by RouterOS 7%b\n# model = %b\n# serial number = %b\n# software id = %b\n" % ((line,) * 4)
    known = facts(header + b'/system identity\nset name="%b"\n' % said + b"#error exporting %b\n" % line)
    for text in (known.version, known.model, known.serial, known.system_id, known.identity, *known.markers):
        assert text is None or (text.isascii() and text.isprintable() and len(text) <= 200)


def test_markers_are_bounded_and_one_more_is_another_set() -> None:
    """However many menus fail, a row stays small; but a new failure must not hide behind the bound."""

    def markers(count: int) -> tuple[str, ...]:
        return facts(EXPORT + b"".join(b"#error exporting /menu%d\n" % n for n in range(count))).markers

    assert len(markers(50)) == 50
    assert len(markers(5000)) == 50
    assert markers(5000)[-1] == "and 4951 more"
    assert set(markers(5001)) - set(markers(5000)) == {"and 4952 more"}
    assert facts(EXPORT + b"#error exporting /" + b"x" * 9999 + b"\n").markers == ("error exporting /" + "x" * 183,)
