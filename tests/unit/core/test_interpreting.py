"""What an interpretation is: its kind, its counts, and what of it may stand in clear."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupflow.core import changes as changes_module
from backupflow.core import diff, interpreting
from backupflow.core.change_codec import decode
from backupflow.core.ignoring import Rule
from backupflow.core.interpretation import Interpretation, Kind, Question
from backupflow.core.interpreting import MOST_COMPONENTS, UNTRUE, answer, named
from backupflow.core.model import Pepper, RawConfig, content_hash
from backupflow.core.told_change import LINES
from backupflow.core.wording import OTHER
from backupflow.drivers import driver

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.changes import Change

ROUTER = driver("routeros")
PEPPER = Pepper(b"p" * 32)


def export(*lines: str, version: str = "7.14") -> RawConfig:
    """An export of these lines."""
    return RawConfig("\r\n".join([f"# 2026-01-02 03:04:05 by RouterOS {version}", "#", *lines, ""]).encode())


def asked(before: RawConfig | None, after: RawConfig, **said: object) -> Question:
    """Two exports of one router."""
    return replace(Question("routeros", before, after, PEPPER), **said)  # type: ignore[arg-type]


def interpreted(before: RawConfig | None, after: RawConfig, **said: object) -> Interpretation:
    """What is made of them."""
    return answer(asked(before, after, **said), ROUTER).interpretation


ADDRESSES = ["/ip address", "add address=192.0.2.1/24 interface=ether1", "add address=192.0.2.2/24 interface=ether2"]
OLD = export(*ADDRESSES)
NEW = export(*ADDRESSES[:2], "add address=192.0.2.3/24 interface=ether2")


@pytest.mark.parametrize(
    ("before", "after", "said", "kind", "count"),
    [
        (None, NEW, {}, Kind.FIRST, 0),
        (OLD, NEW, {}, Kind.CHANGE, 1),
        (OLD, NEW, {"versions": ("7.14", "7.15")}, Kind.UPGRADE, 1),
        (OLD, NEW, {"only_secrets": True}, Kind.SECRETS, 1),
        (OLD, export(*ADDRESSES[:1], *ADDRESSES[:0:-1]), {}, Kind.ORDER, 0),
        (OLD, export(*ADDRESSES[:1], *ADDRESSES[:0:-1]), {"versions": ("7.14", "7.15")}, Kind.ORDER, 0),
    ],
)
def test_each_kind_is_told_from_the_others(
    before: RawConfig | None, after: RawConfig, said: dict[str, object], kind: Kind, count: int
) -> None:
    """By what is known of both exports, and by what differs between them."""
    found = interpreted(before, after, **said)
    assert (found.kind, found.count, found.ignored) == (kind, count, 0)
    assert (found.diff is None) == (found.changes is None) == (before is None)


def test_two_texts_of_one_normal_form_are_the_same() -> None:
    """Another date in the header is no difference; the hashes are those that the rows have."""
    said = answer(asked(OLD, RawConfig(OLD.replace(b"2026", b"2027"))), ROUTER)
    assert said.is_same
    assert said.hash_before == said.hash_after == content_hash(PEPPER, ROUTER.normalize(OLD))
    assert not answer(asked(OLD, NEW), ROUTER).is_same


@pytest.mark.parametrize("of", [lambda found: found[1:], lambda found: (*found, found[0])], ids=["one short", "twice"])
def test_changes_that_lead_elsewhere_are_not_told(
    monkeypatch: pytest.MonkeyPatch, of: Callable[[tuple[Change, ...]], tuple[Change, ...]]
) -> None:
    """Whoever reads them does not read the texts: rather none than wrong ones. The lines that differ are there."""
    monkeypatch.setattr(interpreting, "changes", lambda *trees: of(changes_module.changes(*trees)))
    found = interpreted(OLD, NEW)
    assert (found.kind, found.detail, found.changes, found.summaries) == (Kind.UNREAD, UNTRUE, None, ())
    assert (found.lines_added, found.lines_removed, found.components) == (1, 1, ("ip/address",))
    assert found.diff


def test_what_its_owner_ignores_is_kept_and_not_told() -> None:
    """It is among the sealed changes, marked; it is counted apart, and no event has a word of it."""
    rules = (Rule("ip/address", "address"),)
    found = interpreted(OLD, NEW, rules=rules)
    assert (found.kind, found.count, found.ignored, found.summaries) == (Kind.CHANGE, 0, 1, ())
    assert [change.ignored for change in decode(found.changes or b"")] == [True]
    assert found.touched == ()
    told = interpreted(OLD, NEW)
    assert (len(told.summaries), len(told.touched)) == (1, 1)


def test_of_many_changes_some_are_told_and_the_rest_is_counted() -> None:
    """In as many lines as an event has, and one more that says where the rest is."""
    many = [f"add address=10.0.{n}.1/24 interface=ether{n} x{n}=1" for n in range(LINES + 5)]
    found = interpreted(OLD, export(*ADDRESSES, *many))
    assert found.count == LINES + 5
    assert len(found.summaries) == LINES + 1
    assert found.summaries[-1] == "and 5 more in ip/address (5)"


def test_an_event_has_the_one_line_that_matters_among_thousands() -> None:
    """A list that a script wrote anew does not hide the rule that went with it."""
    rules = ["/ip firewall filter", "add action=accept chain=input", "add action=drop chain=input in-interface=wan"]
    old, new = (
        ["/ip firewall address-list", *(f"add address=10.{net}.{n // 250}.{n % 250} list=blk" for n in range(2000))]
        for net in (1, 2)
    )
    found = interpreted(export(*old, *rules), export(*new, *rules[:-1]))
    assert found.count == 4001
    assert found.summaries == (
        "ip/firewall/address-list: 2,000 in blk removed (10.1.0.0, 10.1.0.1, 10.1.0.2, …)",
        "ip/firewall/address-list: 2,000 in blk added (10.2.0.0, 10.2.0.1, 10.2.0.2, …)",
        "ip/firewall/filter: drop rule in input removed: in-interface wan",
    )


def test_more_changes_than_can_be_told_leave_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is marked as unread, with the reason; the diff and the menus are there."""
    monkeypatch.setattr(changes_module, "MOST_CHANGES", 0)
    found = interpreted(OLD, NEW)
    assert (found.kind, found.changes, found.components) == (Kind.UNREAD, None, ("ip/address",))
    assert diff.decode(found.diff or b"").added == found.lines_added == 1
    assert found.detail


def test_only_names_of_menus_stand_in_clear() -> None:
    """What a router sends may look like a path, and hold what somebody typed: it is told as something else."""
    hostile = ["ip/firewall/filter", "password=S3cret", "ip/Sneaky word", "x" * 101, "", "ip//address", "header"]
    hostile += ["ppp/secret/correct-horse", "user/hunter", "ip/hunter2-my-psk", "my/psk", "ip/a/b/c/d/e/f"]
    assert named(hostile, ROUTER.grammar) == ("header", "ip/firewall/filter", OTHER)
    letters = "abcdefghijklmnopqrst"
    many = named((f"ip/{one}-{other}" for one in letters for other in letters), ROUTER.grammar)
    assert len(many) == MOST_COMPONENTS + 1
    assert many[-1] == OTHER
