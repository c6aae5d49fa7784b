"""An export that broke off anywhere: what finds it, and what does not."""

from __future__ import annotations

from collections import Counter

import pytest

from backupflow.core.driver import Incomplete, Reading, Reason
from backupflow.core.suspicion import Accepted, Known, judge
from backupflow.drivers import driver
from tests.unit.drivers.routeros.streams import read, seen

ROS = driver("routeros")
NONCE = "4f9Zq7"
_RULES = b"".join(
    b"# in/out-interface matcher not possible when interface (ether%d) is slave\r\n"
    b'add action=accept chain=input comment="rule %d" dst-port=%d protocol=\\\r\n    tcp src-address=192.0.2.%d\r\n'
    % (n, n, n, n)
    for n in range(40)
)  # fmt: skip
EXPORTS = {
    "six": b"# sep/29/2022 10:00:00 by RouterOS 6.49.7\r\n# software id = ABCD-EFGH\r\n#\r\n/interface bridge\r\n"
    b"add name=bridge1\r\n/ip firewall filter\r\n" + _RULES + b"/system identity\r\nset name=core-1\r\n",
    "seven": b"# 2025-06-10 18:46:11 by RouterOS 7.19.1\n# system id = HL/tSHpX7/M\n#\n"
    + b"".join(b"/menu%d\nadd name=a%d password=x\nset [ find default=yes ] comment=b\n" % (n, n) for n in range(60))
    + b'/system script\nadd name=s source="one\\n\\\n    # two [\\n\\\n    three\\r\\n"\n',
}


def finder(whole: Reading, cut: bytes) -> str:
    """What finds this cut."""
    said = read(cut)
    if isinstance(said, Incomplete):
        return "text"
    return "nothing" if isinstance(judge(Known(seen(whole)), seen(said)), Accepted) else "suspicion"


@pytest.mark.parametrize("raw", EXPORTS.values(), ids=EXPORTS)
def test_every_cut_inside_a_line_is_refused(raw: bytes) -> None:
    """At every fourth byte, which is more than at each 1 %, with an exit status that says that all is well."""
    for at in range(1, len(raw), 4):
        cut = raw[:at]
        if not cut.endswith(b"\n"):
            said = read(cut)
            assert isinstance(said, Incomplete), at
            assert said.reason is Reason.TRUNCATED or b"\n" not in cut, at


@pytest.mark.parametrize("raw", EXPORTS.values(), ids=EXPORTS)
def test_every_cut_is_found_by_an_end_mark(raw: bytes) -> None:
    """At every line end, where the text alone may look whole."""
    whole = read(raw + f"{NONCE}\r\n".encode(), NONCE)
    assert isinstance(whole, Reading)
    assert (whole.raw, whole.ended) == (raw, True)
    for at in range(len(raw)):
        if raw[:at].endswith(b"\n"):
            said = read(raw[:at], NONCE)
            assert isinstance(said, Incomplete) or (said.marked and not said.ended), at


@pytest.mark.parametrize(("name", "found"), [
    ("six", {"text": 86, "suspicion": 20, "nothing": 21}),
    ("seven", {"text": 66, "suspicion": 60, "nothing": 60}),
])  # fmt: skip
def test_without_an_end_mark_some_cuts_at_a_line_end_are_found(name: str, found: dict[str, int]) -> None:
    """By the text where an item was to come, by the suspect rule where half is gone; the rest passes as a change."""
    raw = EXPORTS[name]
    whole = read(raw)
    assert isinstance(whole, Reading)
    ends = [at for at in range(1, len(raw)) if raw[:at].endswith(b"\n")]
    assert Counter(finder(whole, raw[:at]) for at in ends) == found
