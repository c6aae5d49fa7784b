"""What is a whole configuration, and why something is not: each row of the table in docs/completeness.md is a case."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.driver import Asking, Complete, Facts, Incomplete, Reading, Reason, Reply
from backupflow.core.model import SecretsPolicy
from backupflow.drivers import driver

ROS = driver("routeros")
PAGE = Path(__file__).parents[4] / "docs" / "completeness.md"
NONCE = "4f9Zq7"
SIX = (
    b"# sep/29/2022 10:00:00 by RouterOS 6.49.7\r\n# software id = ABCD-EFGH\r\n#\r\n# model = RB750\r\n"
    b"# serial number = 0123456789AB\r\n/ip address\r\nadd address=192.0.2.1/24 interface=ether1\r\n"
)
SEVEN = (
    b"# 2025-06-10 18:46:11 by RouterOS 7.19.1\n# system id = HL/tSHpX7/M\n#\n/ip dns\nset servers=192.0.2.53\n"
    b'/system script\nadd name=s source="one\\n\\\n    # two [\\n"\n/interface ethernet\n'
    b"set [ find default-name=ether1 ] name=wan\n"
)
HEADER = b"# 2025-06-10 18:46:11 by RouterOS 7.19.1\n"
BANNER = (
    b"Unauthorised access is prohibited.\r\n\r\n"
    b'Do you want to see the software license? [Y/n]: \r\nPress "Enter" to continue!\r\n'
)


def wire(stdout: bytes, status: int | None = 0, stderr: bytes = b"", *, mark: bool = False) -> tuple[Asking, Reply]:
    """What a router answers to every command of a session; `mark`: an end mark is asked for."""
    asking = Asking(SecretsPolicy.COLLECT, None, NONCE if mark else None)
    return asking, Reply("", stdout, stderr, status)


CASES = {
    "seven": wire(SEVEN),
    "six": wire(SIX),
    "six, failed": wire(SIX, 1),
    "six, no status": wire(SIX, None),
    "greeted": wire(BANNER + SEVEN),
    "masked time": wire(SEVEN.replace(b"2025-06-10 18:46:11", b"____-__-__ __:__:__")),
    "menu left out": wire(SEVEN + b'#error exporting "/ip/ssh" (timeout)\n'),
    "wrapped": wire(SEVEN.replace(b"192.0.2.53", b"192.0.\\\n    2.53").replace(b"\n", b"\r\n")),
    "mark": wire(SEVEN + NONCE.encode() + b"\r\n", mark=True),
    "remark on a name": wire(SEVEN.replace(b"set [", b"# wan by RouterOS not ready\n# interrupted by carrier\nset [")),
    "mark missing": wire(SEVEN, mark=True),
    "seven, failed": wire(SEVEN, 1),
    "seven, no status": wire(SEVEN, None),
    "no version, failed": wire(SEVEN.replace(b" 7.19.1", b""), 1),
    "no final newline": wire(SEVEN.removesuffix(b"\n")),
    "half a word": wire(SEVEN + b"se"),
    "half a string": wire(SEVEN + b'add comment="half a '),
    "open string": wire(SEVEN + b'add comment="open\n/ip dns\nset a=b\n'),
    "open bracket": wire(SEVEN + b"set [ find default-na\n"),
    "dangling": wire(SEVEN + b"set name=\\\n"),
    "section last": wire(SEVEN + b"/ip proxy\n"),
    "comment last": wire(SEVEN + b"# ether1 not ready\n"),
    "header only": wire(HEADER),
    "mark glued": wire(SEVEN.removesuffix(b"\n") + NONCE.encode() + b"\r\n", mark=True),
    "nothing, no status": wire(b"", None),
    "interrupted": wire(SEVEN + b"#error exporting /ip socks\n#interrupted\n"),
    "interrupted, plain": wire(b"interrupted\r\n"),
    "interrupted beside": wire(SEVEN, stderr=b"interrupted\r\n"),
    "rights": wire(b"not enough permissions (9)\r\n"),
    "unknown word": wire(b"expected end of command (line 1 column 9)\r\n"),
    "unknown command": wire(b"bad command name export (line 1 column 2)\r\n"),
    "syntax": wire(b"syntax error (line 1 column 3)\r\n"),
    "no item": wire(b"no such item\r\n"),
    "failure": wire(SEVEN + b"failure: timeout\n"),
    "timed out": wire(SEVEN + b"action timed out - try again\n"),
    "echo of the mark": wire(b'expected end of command: /export show-sensitive; :put "4f9Zq7"\r\n', mark=True),
    "refused beside": wire(SEVEN, stderr=b"not enough permissions (9)\r\n"),
    "only stderr": wire(b"", stderr=SEVEN),
    "nothing": wire(b""),
    "blank": wire(b" \r\n\r\n"),
    "web page": wire(b"<html>\n<body>/</body></html>\n"),
    "binary": wire(SEVEN + b"add comment=\x00\n"),
    "no header": wire(b"Welcome\n/ip dns\nset a=b\n"),
    "prompt": wire(SEVEN + b"[admin@R1] > quit\n"),
    "conflict": wire(SEVEN + b"<<<<<<< HEAD\nset a=b\n=======\n"),
    "rest of a comment": wire(SEVEN + b"pply the new settings\n"),
    "twice": wire(SEVEN + SEVEN),
    "endless greeting": wire(b"x\n" * 2000),
}


def heard(said: tuple[Asking, Reply]) -> Reading | Incomplete:
    """Run a session with a router that answers every command so."""
    asking, reply = said
    replies: list[Reply] = []
    while (command := ROS.next_command(asking, replies)) is not None:
        replies.append(Reply(command, reply.stdout, reply.stderr, reply.exit_status))
    return ROS.read(asking, replies)


def documented() -> dict[str, str]:
    """The rows of the page's first table: answer → verdict."""
    table = PAGE.read_text().partition("## Each kind of answer")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| .+ \| (\w+) \|$", table, re.MULTILINE))


def test_the_page_has_every_case_and_no_other() -> None:
    """A kind of answer that only one of both knows would be a claim that nothing holds."""
    assert list(documented()) == list(CASES)
    assert set(documented().values()) == {"complete", *Reason}


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_of_answer_ends_as_documented(kind: str) -> None:
    """The verdict of the page is the verdict of the driver."""
    said = heard(CASES[kind])
    assert (said.reason if isinstance(said, Incomplete) else "complete") == documented()[kind]


@pytest.mark.parametrize("kind", [kind for kind, (asking, _) in CASES.items() if not asking.end_mark])
def test_a_mark_that_is_not_required_changes_no_verdict(kind: str) -> None:
    """Whatever is asked for, damage is not mended by an end mark, and a refusal stays one."""
    _, reply = CASES[kind]
    marked = Reply("", reply.stdout + NONCE.encode() + b"\r\n", reply.stderr, reply.exit_status)
    said = heard((Asking(SecretsPolicy.COLLECT, None, NONCE), marked))
    assert isinstance(said, Incomplete) is (documented()[kind] != "complete")


@pytest.mark.parametrize("kind", [kind for kind, verdict in documented().items() if verdict == "complete"])
def test_what_is_whole_is_given_back_byte_for_byte(kind: str) -> None:
    """But for the end mark."""
    asking, reply = CASES[kind]
    said = heard((asking, reply))
    assert isinstance(said, Reading)
    assert said.raw == reply.stdout.removesuffix(f"{NONCE}\r\n".encode())
    assert said.exit_status == reply.exit_status


def test_a_whole_export_says_whose_it_is() -> None:
    """Version, model and numbers come from the header."""
    six, seven = heard(CASES["six"]), heard(CASES["seven"])
    assert isinstance(six, Reading)
    assert isinstance(seven, Reading)
    assert six.facts == Facts("MikroTik", "6.49.7", "RB750", "0123456789AB", "ABCD-EFGH")
    assert seven.facts == Facts("MikroTik", "7.19.1", system_id="HL/tSHpX7/M")


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        b"# sep/29/2022 10:00:00 by RouterOS 6.49.7\n",
        b"#2025-06-10 by RouterOS 7.19.1\n",
        b"# ____-__-__ __:__:__ by RouterOS 7.19.1\n",
        b"# ---/--/---- --:--:-- by RouterOS 7.19.1\n",
        b"# xxx/xx/2025 xx:xx:xx by RouterOS\n",
        b"# 10:00:00 by RouterOS 7.19.1\n",
        b"# by RouterOS 7.19.1\n",
    ],
)
def test_a_second_header_is_known_by_its_time_or_its_version(header: bytes) -> None:
    """In every form that headers come in."""
    judged = ROS.judge_file(SEVEN + header + b"/ip dns\nset a=b\n")
    assert isinstance(judged, Incomplete)
    assert judged.detail.startswith("a second export begins")


@pytest.mark.parametrize(
    "remark",
    [
        b"wan by RouterOS not ready",
        b"by RouterOS not ready",
        b"1 by RouterOS 7",
        b"jan/02 by RouterOS 7",
        b"interrupted by carrier",
        b"interrupted-1 not ready",
    ],
)
def test_a_remark_on_an_interface_with_a_strange_name_is_a_remark(remark: bytes) -> None:
    """Neither a second export, nor an end, nor a menu that is missing; but an item has to follow it."""
    text = SEVEN + b"# " + remark + b"\n"
    judged = ROS.judge_file(text + b"set a=b\n")
    assert isinstance(judged, Complete)
    assert judged.facts.markers == ()
    cut = ROS.judge_file(text)
    assert isinstance(cut, Incomplete)
    assert cut.reason is Reason.TRUNCATED


@pytest.mark.parametrize(
    "raw",
    [
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
    """Missing headers, captured prompts before them, another layout."""
    assert isinstance(ROS.judge_file(raw), Complete)


@pytest.mark.parametrize(
    "kind", ["open string", "dangling", "comment last", "interrupted", "failure", "conflict", "twice", "binary"]
)
def test_a_file_with_the_same_damage_is_refused_too(kind: str) -> None:
    """What the text shows needs no wire."""
    judged = ROS.judge_file(CASES[kind][1].stdout)
    assert isinstance(judged, Incomplete)
    assert judged.reason == documented()[kind]


def test_menus_that_could_not_be_exported_are_told_apart() -> None:
    """A marker is a fact of a complete export, once each, in a stable order."""
    text = SEVEN + b'#error exporting "/ip/ssh"  (timeout)\n/ip dns\n#error exporting "/a"\n#error exporting "/a"\n'
    judged = ROS.judge_file(text)
    assert isinstance(judged, Complete)
    assert judged.facts.markers == ('error exporting "/a"', 'error exporting "/ip/ssh" (timeout)')


@given(st.integers(1, len(SEVEN) - 1), st.sampled_from([SEVEN, SEVEN.replace(b"\n", b"\r\n"), SIX]))
def test_a_cut_inside_a_line_is_always_truncated(at: int, raw: bytes) -> None:
    """On the wire a complete export ends with its last line's end; half a line is no strange line."""
    cut = raw[:at]
    if not cut.endswith(b"\n") and len(cut) < len(raw):
        said = heard(wire(cut))
        assert isinstance(said, Incomplete)
        header_came = cut.count(b"\n") > 0
        assert said.reason is Reason.TRUNCATED or not header_came


@pytest.mark.parametrize("line", [b"[admin@R1] > ", b"pply the new"])
def test_what_was_strange_before_the_cut_stays_strange(line: bytes) -> None:
    """A prompt in the midst is no truncation, even if the text then breaks off."""
    said = heard(wire(SEVEN + line + b"\n" + SEVEN[-20:-1]))
    assert isinstance(said, Incomplete)
    assert said.reason is Reason.NOT_A_CONFIGURATION


def test_a_detail_never_holds_what_the_router_sent() -> None:
    """Details go to logs; configurations hold secrets."""
    for raw in (SEVEN + b'add password="hunter2', SEVEN + b"hunter2 x\n", b"hunter2", SEVEN + b"add hunter2=\\"):
        for said in (ROS.judge_file(raw), heard(wire(raw))):
            assert isinstance(said, Incomplete)
            assert "hunter2" not in said.detail
