"""What is a whole configuration, and why something is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.driver import Complete, Facts, Incomplete, Reason, Reply
from backupflow.drivers import driver

ROS = driver("routeros")
SIX = (
    b"# sep/29/2022 10:00:00 by RouterOS 6.49.7\r\n# software id = ABCD-EFGH\r\n#\r\n# model = RB750\r\n"
    b"# serial number = 0123456789AB\r\n/ip address\r\nadd address=192.0.2.1/24 interface=ether1\r\n"
)
SEVEN = (
    b"# 2025-06-10 18:46:11 by RouterOS 7.19.1\n# system id = HL/tSHpX7/M\n#\n/ip dns\nset servers=192.0.2.53\n"
    b'/system script\nadd name=s source="one\\n\\\n    # two [\\n"\n/interface ethernet\n'
    b"set [ find default-name=ether1 ] name=wan\n"
)
NEITHER = b"# 2025-06-10 18:46:11 by RouterOS 7.19.1\n"


def wire(stdout: bytes, status: int | None = 0, command: str = "/export show-sensitive", stderr: bytes = b"") -> Reply:
    """An answer of a router."""
    return Reply(command=command, stdout=stdout, stderr=stderr, exit_status=status)


def reason(judged: Complete | Incomplete) -> Reason | None:
    """Why it is not complete."""
    return judged.reason if isinstance(judged, Incomplete) else None


def test_a_whole_export_is_complete_and_says_whose_it_is() -> None:
    """Version, model and numbers come from the header."""
    assert ROS.judge(wire(SIX)) == Complete(
        Facts(vendor="MikroTik", version="6.49.7", model="RB750", serial="0123456789AB", system_id="ABCD-EFGH")
    )
    assert ROS.judge(wire(SEVEN)) == Complete(Facts(vendor="MikroTik", version="7.19.1", system_id="HL/tSHpX7/M"))


@pytest.mark.parametrize(
    "raw",
    [
        SEVEN.replace(b"2025-06-10 18:46:11", b"____-__-__ __:__:__"),
        SEVEN.replace(b"2025-06-10 18:46:11 ", b""),
        b"#hostname\n\n[admin@R1] > export\n" + SEVEN,
        SEVEN[SEVEN.index(b"/ip dns") :],
        SEVEN.replace(b"\n/", b"\n\n/"),
        SEVEN.removesuffix(b"\n"),
        SEVEN.replace(b"/system script\n", b"/system/script "),
        SEVEN.replace(b"system id = HL/tSHpX7/M", b"software id = "),
    ],
)
def test_what_owners_do_to_files_is_no_damage(raw: bytes) -> None:
    """Masked or missing headers, captured prompts before them, another layout."""
    assert isinstance(ROS.judge_file(raw), Complete)


def test_menus_that_could_not_be_exported_are_told_apart() -> None:
    """A marker is a fact of a complete export, once each, in a stable order."""
    text = SEVEN + b'#error exporting "/ip/ssh"  (timeout)\n/ip dns\n#error exporting "/a"\n#error exporting "/a"\n'
    judged = ROS.judge(wire(text))
    assert isinstance(judged, Complete)
    assert judged.facts.markers == ('error exporting "/a"', 'error exporting "/ip/ssh" (timeout)')


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (SEVEN + b"#error exporting /ip socks\n#interrupted\n", Reason.INTERRUPTED),
        (SEVEN + b"interrupted\n", Reason.INTERRUPTED),
        (SEVEN + b'/ip proxy\nset name="x\n', Reason.TRUNCATED),
        (SEVEN.replace(b'source="', b'source=""'), Reason.TRUNCATED),
        (SEVEN + b"/ip proxy\nset name=\\\n", Reason.TRUNCATED),
        (SEVEN + b"set [ find default-na\n", Reason.TRUNCATED),
        (SEVEN + b"/ip proxy\n", Reason.TRUNCATED),
        (SEVEN + b"# ether1 not ready\n", Reason.TRUNCATED),
        (SEVEN + b"#\n", Reason.TRUNCATED),
        (NEITHER, Reason.TRUNCATED),
        (NEITHER + b"\\\n", Reason.TRUNCATED),
        (SEVEN + b"<<<<<<< HEAD\n", Reason.NOT_A_CONFIGURATION),
        (SEVEN + b"=======\n", Reason.NOT_A_CONFIGURATION),
        (SEVEN + b"[admin@R1] > quit\n", Reason.NOT_A_CONFIGURATION),
        (SEVEN + b"pply the new settings\n", Reason.NOT_A_CONFIGURATION),
        (SEVEN + SEVEN, Reason.NOT_A_CONFIGURATION),
        (SEVEN + b"add comment=\x00\n", Reason.NOT_A_CONFIGURATION),
        (b"Welcome\n/ip dns\nset a=b\n", Reason.NOT_A_CONFIGURATION),
        (b"<html>\n<body>/</body></html>\n", Reason.NOT_A_CONFIGURATION),
        (b"\\\n", Reason.NOT_A_CONFIGURATION),
        (b"\n" * 9, Reason.NOT_A_CONFIGURATION),
        (b"x\n" * 2000, Reason.NOT_A_CONFIGURATION),
        (b"not enough permissions (9)\n", Reason.REJECTED),
        (b"expected end of command (line 1 column 9)\r\n", Reason.REJECTED),
        (b"bad command name bash (line 1 column 1)\n", Reason.REJECTED),
        (b"syntax error (line 1 column 3)\n", Reason.REJECTED),
        (b"no such item\n", Reason.REJECTED),
        (NEITHER + b"not enough permissions (9)\n", Reason.REJECTED),
        (SEVEN + b"failure: timeout\n", Reason.REJECTED),
    ],
)
def test_each_damage_has_its_reason(raw: bytes, why: Reason) -> None:
    """Nothing broken is complete, on the wire or in a file, and the reason is a stable word."""
    assert reason(ROS.judge(wire(raw))) is why
    assert reason(ROS.judge_file(raw)) is why


@given(st.integers(1, len(SEVEN) - 1), st.sampled_from([SEVEN, SEVEN.replace(b"\n", b"\r\n"), SIX]))
def test_a_cut_inside_a_line_is_never_complete(at: int, raw: bytes) -> None:
    """On the wire a complete export ends with its last line's end."""
    cut = raw[:at]
    if not cut.endswith(b"\n") and len(cut) < len(raw):
        assert reason(ROS.judge(wire(cut, None))) in {Reason.TRUNCATED, Reason.NOT_A_CONFIGURATION}
        assert reason(ROS.judge(wire(cut))) is not None


@pytest.mark.parametrize(("status", "whole"), [(0, True), (1, False), (None, False)])
def test_routeros_7_must_end_well(status: int | None, whole: bool) -> None:
    """Any other exit status than 0, or none, is a broken channel."""
    assert isinstance(ROS.judge(wire(SEVEN, status)), Complete) is whole


@pytest.mark.parametrize("status", [0, 1, None])
def test_the_exit_status_of_routeros_6_says_nothing(status: int | None) -> None:
    """The text decides."""
    assert isinstance(ROS.judge(wire(SIX, status)), Complete)
    assert reason(ROS.judge(wire(SIX[:-2], status))) is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("stderr", "status", "why"),
    [
        (b"", None, Reason.TRUNCATED),
        (b"", 0, Reason.NOT_A_CONFIGURATION),
        (b"not enough permissions (9)\n", 1, Reason.REJECTED),
        (SEVEN, 0, Reason.REJECTED),
        (b"hello\n", 0, Reason.NOT_A_CONFIGURATION),
    ],
)
def test_an_empty_answer_is_never_complete(stderr: bytes, status: int | None, why: Reason) -> None:
    """Nothing on stdout is no configuration, whatever stands on stderr."""
    assert reason(ROS.judge(wire(b" \r\n", status, stderr=stderr))) is why


def test_a_detail_never_holds_what_the_router_sent() -> None:
    """Details go to logs; configurations hold secrets."""
    for raw in (SEVEN + b'add password="hunter2', SEVEN + b"hunter2 x\n", b"hunter2", SEVEN + b"add hunter2=\\"):
        judged = ROS.judge_file(raw)
        assert isinstance(judged, Incomplete)
        assert "hunter2" not in judged.detail


def test_facts_are_short_and_printable() -> None:
    """A header is hostile text too."""
    judged = ROS.judge_file(SEVEN.replace(b"HL/tSHpX7/M", b"\xff" * 5000))
    assert isinstance(judged, Complete)
    assert judged.facts.system_id == r"\FF" * 66 + r"\F"
