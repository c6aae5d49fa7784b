"""What is not told: a rule hides what it covers whole, and what changes nearly every time is found by its keys."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupflow.core.changes import changes
from backupflow.core.ignoring import (
    LOOKED_AT,
    MOST_TOUCHED,
    OFTEN,
    Rule,
    often,
    rule,
    suggested,
    touched,
    touches,
    with_ignored,
)
from backupflow.core.model import NormalConfig, Pepper
from backupflow.drivers import driver
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from backupflow.core.changes import Change

GRAMMAR = driver("routeros").grammar
PEPPER = Pepper(b"p" * 32)


def between(old: str, new: str) -> tuple[Change, ...]:
    """The changes from one text to the other."""
    before, after = (GRAMMAR.tree(NormalConfig(f"# by RouterOS 7.14\n{text}".encode())) for text in (old, new))
    return changes(before, after, GRAMMAR)


def hidden(old: str, new: str, *rules: str) -> list[bool]:
    """Whether each change is hidden by these rules."""
    return [change.ignored for change in with_ignored(between(old, new), [rule(text) for text in rules], GRAMMAR)]


NOTE = ("/system note\nset note=one\n", "/system note\nset note=two\n")
LEASE = (
    "/ip dhcp-server lease\nadd address=10.0.0.1 mac-address=AA:BB:CC:DD:EE:01 server=lan\n",
    "/ip dhcp-server lease\nadd address=10.0.0.2 comment=x mac-address=AA:BB:CC:DD:EE:01 server=lan\n",
)
RULES = (
    "/ip firewall filter\nadd action=accept chain=input comment=a\nadd action=drop chain=input comment=b\n",
    "/ip firewall filter\nadd action=drop chain=input comment=b\nadd action=accept chain=input comment=a\n",
)
ETHER = (
    "/interface ethernet\nset [ find default-name=ether1 ] comment=a\nset [ find default-name=ether2 ] comment=a\n",
    "/interface ethernet\nset [ find default-name=ether1 ] comment=b\nset [ find default-name=ether2 ] comment=b\n",
)


def test_a_change_is_hidden_if_all_of_it_is_covered() -> None:
    """By one rule or by several together; by none of another menu or property, and by none if one property is not."""
    assert hidden(*NOTE, "system/note:note") == [True]
    assert hidden(*NOTE, "system/note:show-at-login", "system/identity:note") == [False]
    assert hidden(*LEASE, "ip/dhcp-server/lease:comment") == [False]
    assert hidden(*LEASE, "ip/dhcp-server/lease:comment", "ip/dhcp-server/lease:address") == [True]
    assert hidden(*LEASE, "ip/dhcp-server/lease:*") == [True]
    assert hidden(*LEASE, "ip/dhcp-server:*") == [False]


def test_what_comes_or_goes_is_more_than_its_properties() -> None:
    """An item that is added or removed, or that moves, is hidden by `*` alone, not by the list of what it has."""
    everything = ("ip/dhcp-server/lease:address", "ip/dhcp-server/lease:mac-address", "ip/dhcp-server/lease:server")
    for old, new in (("", LEASE[0]), (LEASE[0], "")):
        assert hidden(old, new, *everything) == [False]
        assert hidden(old, new, "ip/dhcp-server/lease:*") == [True]
    assert hidden(*RULES, "ip/firewall/filter:comment") == [False]
    assert hidden(*RULES, "ip/firewall/filter:*") == [True]


def test_settings_that_come_or_go_are_changes_of_their_properties() -> None:
    """A menu's own settings stand in an export only where they differ from the defaults."""
    for old, new in (("", NOTE[0]), (NOTE[0], "")):
        assert hidden(old, new, "system/note:note") == [True]
        assert hidden(old, new, "system/note:other") == [False]


def test_a_rule_may_be_for_some_items_only() -> None:
    """By a pattern for what the item is called, before or after; a bracket stands for itself."""
    assert hidden(*ETHER, "interface/ethernet:comment, ether1") == [True, False]
    assert hidden(*ETHER, "interface/ethernet:comment, ether?") == [True, True]
    assert hidden(*ETHER, "interface/ethernet:comment, ether[12]") == [False, False]
    assert hidden(*ETHER, "interface/ethernet:comment, eth") == [False, False]


def test_what_was_hidden_before_is_shown_when_its_rule_is_gone() -> None:
    """What the changes say of it themselves counts no more; one that need not be altered is not made anew."""
    done = tuple(replace(change, ignored=True) for change in between(*NOTE))
    assert [change.ignored for change in with_ignored(done, [], GRAMMAR)] == [False]
    fresh = between(*NOTE)
    assert with_ignored(fresh, [], GRAMMAR)[0] is fresh[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("system/note:note", Rule("system/note", "note")),
        ("/system note : note", Rule("system/note", "note")),
        ("ip/dhcp-server/lease:*", Rule("ip/dhcp-server/lease", "*")),
        ("interface/ethernet:comment, ether1", Rule("interface/ethernet", "comment", "ether1")),
        ("interface/wifi:channel.band,wifi 1, upstairs", Rule("interface/wifi", "channel.band", "wifi 1, upstairs")),
    ],
)
def test_a_rule_is_read_as_it_is_written(text: str, expected: Rule) -> None:
    """And is written as it is read."""
    assert rule(text) == expected
    assert rule(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "system/note", ":note", "a:b c", "a:", "system/note:note,", "a:b,\x07", "a b\n:c\x00"]
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    """With what one is."""
    with pytest.raises(InputInvalid):
        rule(text)


def keys(old: str, new: str) -> list[str]:
    """What these changes touched."""
    return touched(between(old, new), GRAMMAR, PEPPER)


def test_the_same_item_has_the_same_key_and_nobody_can_read_it() -> None:
    """Whatever it changes to; another property, another item or another pepper gives another one."""
    again = ("/system note\nset note=three\n", "/system note\nset note=four\n")
    assert keys(*NOTE) == keys(*again)
    assert len(keys(*ETHER)) == 2
    assert not set(keys(*ETHER)) & set(keys(*LEASE))
    assert touched(between(*NOTE), GRAMMAR, Pepper(b"q" * 32)) != keys(*NOTE)
    for key in keys(*ETHER):
        assert len(bytes.fromhex(key)) == 12
    assert touched(with_ignored(between(*NOTE), [rule("system/note:note")], GRAMMAR), GRAMMAR, PEPPER) == []


def test_what_is_remembered_of_one_change_is_bounded() -> None:
    """A list of a thousand new addresses is no thousand keys."""
    many = "".join(f"add address=10.0.{n // 250}.{n % 250} list=x\n" for n in range(1000))
    assert len(keys("", f"/ip firewall address-list\n{many}")) == MOST_TOUCHED


def test_noise_is_what_was_touched_in_nearly_all_of_the_last_runs() -> None:
    """Eight of ten, a key counted once a run; too few runs say nothing, and older ones count no more."""
    noisy, rare = ["a", "a"], ["b"]
    runs = [noisy] * OFTEN + [rare] * (LOOKED_AT - OFTEN)
    assert often(runs) == {"a"}
    assert often(runs[1:]) == frozenset()
    assert often([*runs[1:], rare]) == frozenset()
    assert often([[]] * LOOKED_AT + [noisy] * 50) == frozenset()


def rules(old: str, new: str) -> list[str]:
    """What would be suggested if all that these changes touched were noise."""
    return [str(one) for one in suggested(between(old, new), frozenset(keys(old, new)), GRAMMAR, PEPPER)]


def test_what_is_suggested_hides_the_noise_and_no_more() -> None:
    """The property of the item; of many items the property; of items that come and go under other names the menu."""
    assert rules(*NOTE) == ["system/note:note"]
    assert rules(*ETHER) == ["interface/ethernet:comment, ether1", "interface/ethernet:comment, ether2"]
    three = [old + f"set [ find default-name=ether3 ] comment={word}\n" for old, word in zip(ETHER, "ab", strict=True)]
    assert rules(three[0], three[1]) == ["interface/ethernet:comment"]
    assert rules(LEASE[0], LEASE[0].replace("10.0.0.1", "10.0.0.9").replace("EE:01", "EE:09")) == [
        "ip/dhcp-server/lease:*"
    ]
    for old, new in (NOTE, ETHER, LEASE):
        assert all(hidden(old, new, *rules(old, new)))


def test_no_suggestion_is_made_of_what_is_not_noise() -> None:
    """Only what is among the keys, though other things changed with it."""
    both = [note + lease for note, lease in zip(NOTE, LEASE, strict=True)]
    found = suggested(between(both[0], both[1]), frozenset(keys(*NOTE)), GRAMMAR, PEPPER)
    assert found == [Rule("system/note", "note")]
    assert next(touches(between(*NOTE)[0], GRAMMAR)).property == "note"


def test_a_secret_is_no_name() -> None:
    """Neither a suggestion nor a pattern says, or tells by matching, what a secret is."""
    old, new = (f"/snmp community\nadd name=hidden-word addresses=10.0.0.{n}/32\n" for n in (1, 2))
    assert [text for text in rules(old, new) if "hidden" in text] == []
    assert not any(hidden(old, new, "snmp/community:*, hidden*"))
    assert all(hidden(old, new, "snmp/community:*"))


def test_a_remark_that_an_item_is_known_by_is_told_without_its_secret() -> None:
    """It is what would be suggested."""
    old, new = (f'/ip firewall filter\nadd chain=input comment="password: hidden-word" src-port={n}\n' for n in (1, 2))
    assert [text for text in rules(old, new) if "hidden" in text] == []
    assert any("password: " in text for text in rules(old, new))
