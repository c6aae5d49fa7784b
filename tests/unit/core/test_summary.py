"""One line of a change; see `said` for what whole edits are told as."""

from __future__ import annotations

import json

import pytest

from backupflow.cli.change_lines import _change
from backupflow.core.changes import Action, Change, Property, changes
from backupflow.core.ignoring import touches
from backupflow.core.model import RawConfig
from backupflow.core.summary import LONGEST, summary, told
from backupflow.core.wording import clipped
from backupflow.drivers import driver

ROS = driver("routeros")
GRAMMAR = ROS.grammar


def edit(before: str, after: str) -> tuple[Change, ...]:
    """What turns one export into the other."""
    old, new = (GRAMMAR.tree(ROS.normalize(RawConfig(text.encode()))) for text in (before, after))
    return changes(old, new, GRAMMAR)


def lines(before: str, after: str, *, reveal: bool = False, menu: str = "/tool menu") -> list[str]:
    """What is told of an edit in one menu, without the name of the menu."""
    found = told(edit(*(f"# by RouterOS 7.14\n{menu}\n{items}\n" for items in (before, after))), GRAMMAR, reveal=reveal)
    return [line.removeprefix(menu[1:].replace(" ", "/") + ": ") for line in found]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("add name=a x=1", "add name=a x=2", "a: x 1 → 2"),
        ("add name=a", "add name=a x=2", "a: x set to 2"),
        ("add name=a x=1", "add name=a", "a: x 1 removed"),
        ("add name=a", "add name=a blackhole", "a: blackhole set"),
        ("add name=a blackhole", "add name=a", "a: blackhole removed"),
        ("add name=a x=1", "add name=a !x", "a: x 1 → (unset)"),
        ("add name=a disabled=yes", "add name=a", "a enabled"),
        ("add name=a", "add name=a disabled=yes", "a disabled"),
        ("add name=a", "add name=a disabled=no", "a enabled"),
        ("add name=a disabled=no", "add name=a", "a: disabled no removed"),
        ("add name=a disabled=yes x=1", "add name=a x=2", "a: enabled, x 1 → 2"),
        ("add name=a", "add name=a password=x", "a: password ••• set"),
        ("add name=a password=x", "add name=a", "a: password ••• removed"),
        ("add name=a password=x", 'add name=a password=""', 'a: password ••• → ""'),
        ("add name=a password=x", "add name=a password=y", "a: password ••• changed"),
        ("set [ find default=yes ] x=1", "", "default: x 1 removed"),
        ("set x=1 y=2", "set x=2 y=3", "x 1 → 2, y 2 → 3"),
        ("", "add name=b zz=1 password=x disabled=yes", "b added: disabled, password •••, zz 1"),
        ('add name=a do="1\\r\\n2"', 'add name=a do="1\\r\\n3\\r\\n4"', "a: do changed (2 lines added, 1 removed)"),
        ('add name=a do="1\\r\\n2"', 'add name=a do="1\\r\\n2\\r\\n"', "a: do changed (1 line added)"),
        ('add name=a source="1\\n2"', 'add name=a source="2\\n1"', "a: source changed (lines moved)"),
        ("add name=a", 'add name=a source="1\\n2"', "a: source set (2 lines)"),
        ('add comment="key: x" name=a', 'add comment="key: y" name=a', "a: comment ••• changed"),
    ],
)  # fmt: skip
def test_an_edit_is_one_line(before: str, after: str, line: str) -> None:
    """With what was, and what is."""
    assert lines(before, after) == [line]


def test_those_who_may_see_secrets_see_them() -> None:
    """Both, where both are."""
    assert lines("add name=a password=x1", "add name=a password=y2", reveal=True) == ["a: password x1 → y2"]
    old, new = ('add name=a on-event=":local pass \\"x1\\""', 'add name=a on-event=":local pass \\"y2\\""')
    assert "x1" in lines(old, new, reveal=True)[0]
    assert lines(old, new) == ["a: on-event ••• changed"]


RULES = [f'add action=accept chain=input comment="{name}" protocol=icmp' for name in "abcd"]


@pytest.mark.parametrize(
    ("after", "line"),
    [
        ([3, 0, 1, 2], 'accept rule "d" moved up, now before accept rule "a"'),
        ([1, 2, 3, 0], 'accept rule "a" moved down, now last'),
        ([1, 2, 0, 3], 'accept rule "a" moved down, now before accept rule "d"'),
    ],
)
def test_a_move_says_where_to(after: list[int], line: str) -> None:
    """By the neighbour that follows."""
    reordered = "\n".join(RULES[at] for at in after)
    assert lines("\n".join(RULES), reordered, menu="/ip firewall filter") == [line]


def test_what_is_added_last_says_so() -> None:
    """Where order has a meaning; elsewhere there is no last."""
    assert lines("\n".join(RULES[:3]), "\n".join(RULES), menu="/ip firewall filter") == [
        'accept rule "d" added at the end: chain input, protocol icmp',
    ]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("7.9.2", "7.10", "upgrade: RouterOS 7.9.2 → 7.10"),
        ("7.10rc5", "7.10", "upgrade: RouterOS 7.10rc5 → 7.10"),
        ("7.10beta2", "7.10rc1", "upgrade: RouterOS 7.10beta2 → 7.10rc1"),
        ("7.10", "7.10rc5", "downgrade: RouterOS 7.10 → 7.10rc5"),
        ("7.14.3", "6.49.10", "downgrade: RouterOS 7.14.3 → 6.49.10"),
        ("7.14.1 (owner's note)", "7.14.1", "upgrade: RouterOS 7.14.1 (owner's note) → 7.14.1"),
    ],
)
def test_a_version_goes_up_or_down(old: str, new: str, line: str) -> None:
    """As versions are counted, not as letters are sorted."""
    found = edit(f"# by RouterOS {old}\n", f"# by RouterOS {new}\n")
    assert told(found, GRAMMAR) == (line,)


def test_an_upgrade_marks_what_it_may_have_added_itself_and_tells_it_last() -> None:
    """An edit by a person in the same hour stands before it."""
    found = edit(
        "# by RouterOS 7.12\n/tool a\nadd name=x\n/tool b\nadd name=y z=1\n",
        "# by RouterOS 7.14\n/tool a\nadd name=x new=1\n/tool b\nadd name=y z=2\n",
    )
    assert told(found, GRAMMAR) == (
        "upgrade: RouterOS 7.12 → 7.14",
        "tool/b: y: z 1 → 2",
        "tool/a: x: new set to 1 (perhaps a default of 7.14)",
    )


def test_on_the_way_back_to_an_older_version_menus_and_properties_go_as_they_came() -> None:
    """It is no upgrade; and what is there no more may be what the older version does not know."""
    newer = "# by RouterOS 7.14.3\n/interface wifi\nadd name=w\n/tool a\nadd name=x new=1\nadd name=y z=1\n"
    older = "# by RouterOS 7.12.1\n/interface wifiwave2\nadd name=w\n/tool a\nadd name=x\nadd name=y z=2\n"
    assert told(edit(newer, older), GRAMMAR) == (
        "downgrade: RouterOS 7.14.3 → 7.12.1",
        "downgrade: interface/wifi is now interface/wifiwave2 (1 item)",
        "tool/a: y: z 1 → 2",
        "tool/a: x: new 1 removed (perhaps a default of 7.12.1)",
    )


@pytest.mark.parametrize("item", ["password= {}", "password = {}", "password {}", '"password: {}"'])
def test_a_word_that_may_be_the_secret_is_masked(item: str) -> None:
    """RouterOS does not write it so; whoever might read it so must not see it."""
    for before, after in (("", "planted"), ("planted", ""), ("planted", "another"), ("another", "planted")):
        texts = [f"add name=a {item.format(word)}" if word else "" for word in (before, after)]
        assert not any("planted" in line for line in lines(*texts))
        assert any("planted" in line for line in lines(*texts, reveal=True))


def test_an_owner_s_words_in_the_header_are_told() -> None:
    """But for a secret in them."""
    head = "# by RouterOS 7.14\n"
    assert told(edit(head, f"{head}# rack 4, password: x1\n"), GRAMMAR) == ("header: # rack 4, password: ••• added",)
    assert told(edit(f"{head}# rack 4\n", head), GRAMMAR) == ("header: # rack 4 removed",)


def test_of_long_lists_only_what_differs_is_told() -> None:
    """Short ones are told whole."""
    old = ",".join(f"policy-{at}" for at in range(10))
    assert lines(f"add name=a list={old}", f"add name=a list={old},policy-x") == ["a: list +policy-x"]
    assert lines("add name=a list=1,2,3", "add name=a list=1,2,4") == ["a: list 1,2,3 → 1,2,4"]


def test_of_long_values_the_place_where_they_differ_is_told() -> None:
    """Their common beginning is not."""
    begin = "x" * 100
    assert lines(f"add name=a v={begin}1", f"add name=a v={begin}2") == ["a: v …xxxxxxxxxx1 → …xxxxxxxxxx2"]


def test_what_is_cut_says_so() -> None:
    """It never ends in half an escape, and closes the quotes that it opened."""
    assert clipped("abcdef", 6) == "abcdef"
    assert clipped("abcdefg", 6) == "abcde…"
    assert clipped('"abcd\\\\efg"', 8) == '"abcd…"'


def test_a_line_is_bounded() -> None:
    """However much there is to tell; the rest is counted."""
    long = " ".join(f"p{at}={'v' * 500}" for at in range(300))
    [told_line] = lines("", f"add name={'n' * 1000} {long}", menu="/" + "m" * 500)
    assert len(told_line) <= LONGEST
    assert "more" in told_line
    odd = Change("m" * 900, Action.MODIFIED, (Property("p" * 900, "1", "2"),), "x" * 900, "y" * 900)
    assert len(summary(odd, GRAMMAR)) <= LONGEST


@pytest.mark.parametrize(
    ("menu", "item"),
    [
        ("/ppp secret", "add name=x password= planted"),
        ("/ppp secret", "set x password planted"),
        ("/system script", 'add name=a source=x "token:planted"'),
        ("/snmp community", "set 0 planted"),
        ("/snmp community", "set 0 !planted"),
        ("/ppp secret", "add name=x !Planted-planted"),
        ("/ppp secret", "add name=x password= planted planted"),
    ],
)
def test_a_word_that_may_be_a_secret_is_no_name_of_a_property(menu: str, item: str) -> None:
    """Neither in what is told, nor as JSON, nor in what might be ignored."""
    for old, new in (("", item), (item, ""), (item, item.replace("planted", "another"))):
        made = edit(f"{menu}\n{old}\n", f"{menu}\n{new}\n")
        rules = [str(touch.rule()) for change in made for touch in touches(change, GRAMMAR)]
        seen = [*told(made, GRAMMAR), *rules, *(json.dumps(_change(one, GRAMMAR, reveal=False)) for one in made)]
        assert made
        assert "planted" not in "\n".join(seen)
        assert "planted" in json.dumps([_change(one, GRAMMAR, reveal=True)["properties"] for one in made])
