"""Changes between two trees: the laws that hold for all of them, and what an operator would call right."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core import changes as module
from backupflow.core.applying import applied
from backupflow.core.changes import Action, Change, Property, TooManyChanges, changes
from backupflow.core.model import NormalConfig
from backupflow.core.tree import FLAG, Tree, equal
from backupflow.drivers.routeros.grammar import RouterOSGrammar
from tests.unit.core.item_diff import at_most, kept_at_most

ROS = RouterOSGrammar()
FILTER, POOL = "ip/firewall/filter", "ip/pool"
NAMES = ("action", "chain", "comment", "name", "src-address")


# Few different ones, so that there are equal ones, nearly equal ones, and ones of the same name.
VERBS = ("add", "add", "add", "set a", "set [ find default-name=b ]", "set")
SOME = [
    f"{verb} {' '.join(f'{name}={value}' for name, value in zip(names, values, strict=False))}"
    for verb in VERBS
    for count in (1, 2, 4)
    for names in combinations(NAMES, count)
    for values in ("xxxx", "xyxx", "yxzx")
]
ITEMS = st.sampled_from(SOME)


COMPONENTS = st.sampled_from([FILTER, POOL, "queue/simple", "interface/wifiwave2", "interface/wifi", "header", "text"])
TREES = st.dictionaries(COMPONENTS, st.lists(ITEMS, min_size=1, max_size=8), max_size=4)
SEQUENCES = st.lists(ITEMS, max_size=9)


def said(old: Tree, new: Tree) -> tuple[Change, ...]:
    """What is told."""
    return changes(old, new, ROS)


def lines(*texts: str) -> Tree:
    """A filter, whose order has a meaning."""
    return {FILTER: list(texts)}


def mirrored(change: Change) -> Change:
    """The same change on the way back; what an item stands before is another one there."""
    action = {Action.ADDED: Action.REMOVED, Action.REMOVED: Action.ADDED}.get(change.action, change.action)
    return replace(
        change,
        component=change.was_in or change.component,
        was_in=change.component if change.was_in else None,
        action=action,
        properties=tuple(Property(each.name, each.new, each.old) for each in change.properties),
        old=change.new,
        new=change.old,
        at_old=change.at_new,
        at_new=change.at_old,
        before=None,
    )


@given(TREES, TREES)
def test_changes_turn_the_old_tree_into_the_new_one(old: Tree, new: Tree) -> None:
    """They are all that happened."""
    assert equal(applied(old, said(old, new), ROS), new, ROS.is_ordered)


@given(TREES, TREES)
def test_there_are_no_more_changes_than_items_that_differ(old: Tree, new: Tree) -> None:
    """A move counts as one, whatever else happened to the item."""
    assert len(said(old, new)) <= at_most(old, new, ROS.is_ordered)


@given(TREES, TREES)
def test_the_way_back_is_told_as_the_same_changes_backwards(old: Tree, new: Tree) -> None:
    """Who undoes a change reads what he did."""
    back = (replace(change, before=None) for change in said(new, old))
    assert Counter(map(mirrored, said(old, new))) == Counter(back)


@given(TREES)
def test_nothing_changed_is_no_change(tree: Tree) -> None:
    """A tree against itself."""
    assert said(tree, tree) == ()


@given(TREES.filter(lambda tree: tree and "text" not in tree), st.data())
def test_an_edit_of_one_property_is_one_change_that_names_it(tree: Tree, data: st.DataObject) -> None:
    """Set, altered or taken away, of whatever item among equal ones."""
    component = data.draw(st.sampled_from(sorted(tree)))
    at = data.draw(st.integers(0, len(tree[component]) - 1))
    text = tree[component][at]
    known = ROS.parsed(component, text).properties
    name = data.draw(st.sampled_from(NAMES))
    value = data.draw(st.sampled_from(["x", "y", "z", "new", None]).filter(lambda one: one != known.get(name)))
    edited = {**known, name: value}
    verb = text[: text.index(f" {next(iter(known))}=") + 1]
    line = verb + " ".join(f"{key}={it}" for key, it in sorted(edited.items()) if it is not None)
    after = {**tree, component: [*tree[component][:at], line.rstrip(), *tree[component][at + 1 :]]}
    [change] = said(tree, after)
    assert (change.component, change.action, change.moved) == (component, Action.MODIFIED, False)
    assert change.properties == (Property(name, known.get(name), value),)
    assert (change.at_old, change.at_new) == ((at, at) if ROS.is_ordered(component) else (None, None))


@given(st.permutations(range(12)))
def test_the_fewest_items_are_moved(order: list[int]) -> None:
    """As many stay as one can leave where they are."""
    old, new = [f"add name=q{n}" for n in range(12)], [f"add name=q{n}" for n in order]
    found = said({"queue/simple": old}, {"queue/simple": new})
    assert {change.action for change in found} <= {Action.MOVED}
    assert len(found) == 12 - kept_at_most(old, new)


@given(SEQUENCES.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_order_without_a_meaning_is_no_change(both: tuple[list[str], list[str]]) -> None:
    """Pools are a set."""
    assert said({POOL: both[0]}, {POOL: both[1]}) == ()


def test_a_renamed_item_is_one_change_of_its_name() -> None:
    """Everything else of it is what it was."""
    [change] = said({POOL: ["add name=a ranges=1-9"]}, {POOL: ["add name=b ranges=1-9"]})
    assert change.properties == (Property("name", "a", "b"),)


def test_an_item_keeps_its_identity_whatever_else_changes() -> None:
    """More than half of it is new, and it is the same user."""
    [change] = said(
        {"ppp/secret": ["add name=ann password=x profile=p"]}, {"ppp/secret": ["add name=ann password=y profile=q"]}
    )
    assert change.action is Action.MODIFIED
    assert change.secret == {"password"}


def test_one_that_goes_and_one_that_comes_are_no_edit() -> None:
    """Two users who share a profile are two users."""
    old, new = "add name=ann password=x profile=p service=l2tp", "add name=bob password=y profile=p service=l2tp"
    found = said({"ppp/secret": [old]}, {"ppp/secret": [new]})
    assert [change.action for change in found] == [Action.REMOVED, Action.ADDED]


def test_what_is_in_doubt_was_removed_and_added() -> None:
    """Which of two addresses became which of two others nobody can tell."""
    list_ = "ip/firewall/address-list"
    old = {list_: ["add address=1.1.1.1 list=a", "add address=1.1.1.2 list=a"]}
    new = {list_: ["add address=1.1.1.3 list=a", "add address=1.1.1.4 list=a"]}
    assert Counter(change.action for change in said(old, new)) == {Action.ADDED: 2, Action.REMOVED: 2}


def test_rules_that_are_edited_in_their_places_are_told_apart() -> None:
    """Each could be either by its text; by its place it is clear."""
    old = lines("add action=drop src-address=1", "add action=log", "add action=drop src-address=2")
    new = lines("add action=drop src-address=3", "add action=log", "add action=drop src-address=4")
    assert [change.properties for change in said(old, new)] == [
        (Property("src-address", "1", "3"),),
        (Property("src-address", "2", "4"),),
    ]


def test_a_rule_that_is_moved_and_modified_is_one_change() -> None:
    """It says both."""
    others = [f"add action=accept chain=input comment=c{n}" for n in range(4)]
    old = lines(*others, "add action=drop chain=input comment=mine")
    new = lines("add action=drop chain=input comment=mine limit=5", *others)
    [change] = said(old, new)
    assert (change.action, change.moved, change.at_old, change.at_new) == (Action.MODIFIED, True, 4, 0)
    assert change.properties == (Property("limit", None, "5"),)


def test_the_most_alike_rules_are_one() -> None:
    """Two properties of five are others, and no other rule is nearer."""
    old = lines("add action=accept chain=input dst-port=22 in-interface=e1 protocol=tcp", "add action=drop chain=input")
    new = lines("add action=accept chain=input dst-port=22 in-interface=e2 limit=1 protocol=tcp", "add action=log")
    found = said(old, new)
    assert [change.action for change in found] == [Action.MODIFIED, Action.REMOVED, Action.ADDED]


def test_what_was_in_doubt_is_looked_at_again() -> None:
    """Once the two that are nearest are paired, nothing but one is left for the third."""
    shared = "add action=accept chain=forward dst-address-list=k in-interface-list=m"
    old = lines(f"{shared} disabled=yes out-interface-list=a port=22", f"{shared} disabled=yes out-interface-list=a")
    new = lines("add action=log", f"{shared} out-interface-list=b port=22", f"{shared} out-interface-list=c")
    found = said(old, new)
    assert [change.action for change in found] == [Action.ADDED, Action.MODIFIED, Action.MODIFIED]


def test_an_address_is_known_by_its_interface_when_it_is_edited() -> None:
    """Its network is another with it; two on one interface are in doubt."""
    one, other, third = (f"add address=10.0.{n}.1/24 interface=e1 network=10.0.{n}.0" for n in (1, 2, 3))
    [change] = said({"ip/address": [one]}, {"ip/address": [other]})
    assert [each.name for each in change.properties] == ["address", "network"]
    found = said({"ip/address": [one]}, {"ip/address": [other, third]})
    assert Counter(change.action for change in found) == {Action.ADDED: 2, Action.REMOVED: 1}


def test_a_default_route_is_one_whether_it_says_so_or_not() -> None:
    """RouterOS 6 leaves its destination out."""
    [change] = said(
        {"ip/route": ["add distance=1 gateway=10.0.0.1"]},
        {"ip/route": ["add disabled=no dst-address=0.0.0.0/0 gateway=10.0.0.1"]},
    )
    assert change.action is Action.MODIFIED


def test_settings_that_come_or_go_are_modified() -> None:
    """A `set` adjusts what is there: without it there is the default, and nothing is gone."""
    [change] = said({}, {"ip/service": ["set telnet disabled=yes"]})
    assert (change.action, change.old, change.new) == (Action.MODIFIED, None, "set telnet disabled=yes")
    assert change.properties == (Property("disabled", None, "yes"),)
    [back] = said({"ip/service": ["set telnet disabled=yes"]}, {})
    assert (back.action, back.new, back.properties) == (Action.MODIFIED, None, (Property("disabled", "yes", None),))


def test_settings_of_another_item_are_another_change() -> None:
    """Telnet is not FTP, though the lines differ in one word."""
    found = said({"ip/service": ["set telnet disabled=yes"]}, {"ip/service": ["set ftp disabled=yes"]})
    assert [(change.old is None, change.new is None) for change in found] == [(False, True), (True, False)]


def test_one_of_several_equal_items_that_goes_is_one_change() -> None:
    """Copies are counted."""
    [change] = said({POOL: ["add name=a"] * 3}, {POOL: ["add name=a"] * 2})
    assert change.action is Action.REMOVED


def test_another_order_of_properties_is_a_change_without_properties() -> None:
    """It is another text, and the same thing."""
    [change] = said({POOL: ["add name=a ranges=1"]}, {POOL: ["add ranges=1 name=a"]})
    assert (change.action, change.properties, change.moved) == (Action.MODIFIED, (), False)


def test_a_flag_is_a_property() -> None:
    """It has a name, and no value."""
    [change] = said({"ip/route": ["add dst-address=1.0.0.0/8"]}, {"ip/route": ["add blackhole dst-address=1.0.0.0/8"]})
    assert change.properties == (Property("blackhole", None, FLAG),)


def test_the_header_is_told_by_its_lines() -> None:
    """An upgrade, a licence that is asked for in another way, a serial number that shows up."""
    old = ROS.tree(NormalConfig(b"# by RouterOS 7.16\n# software id = A\n"))
    new = ROS.tree(NormalConfig(b"# by RouterOS 7.17\n# system id = A\n# serial number = S\n"))
    assert [(change.action, change.properties) for change in said(old, new)] == [
        (Action.MODIFIED, (Property("version", "7.16", "7.17"),)),
        (Action.MODIFIED, (Property("software id", "A", None), Property("system id", None, "A"))),
        (Action.MODIFIED, (Property("serial number", None, "S"),)),
    ]


def test_a_menu_that_a_version_renamed_is_the_same_menu() -> None:
    """Its items are where it is now; what was edited meanwhile is told."""
    old = {"interface/wifiwave2/security": ["add name=a passphrase=x", "add name=b"]}
    new = {"interface/wifi/security": ["add name=a passphrase=y", "add name=b"]}
    edited, other = said(old, new)
    assert (edited.component, edited.was_in) == ("interface/wifi/security", "interface/wifiwave2/security")
    assert edited.properties == (Property("passphrase", "x", "y"),)
    assert (other.action, other.moved, other.properties) == (Action.MOVED, True, ())


def test_two_menus_that_become_one_are_told_apart() -> None:
    """Which of them was renamed nobody can tell, and none is lost."""
    old = {"interface/wifiwave2": ["add name=a"], "routing/rule": ["add x=1"], "ip/route/rule": ["add x=1"]}
    assert Counter(change.component for change in said(old, {})) == dict.fromkeys(old, 1)
    both = {"interface/wifiwave2": ["add name=a"], "interface/wifi": ["add name=b"]}
    assert equal(applied({}, said({}, both), ROS), both, ROS.is_ordered)
    assert equal(applied(both, said(both, {}), ROS), {}, ROS.is_ordered)


def test_changes_come_in_the_order_of_the_text() -> None:
    """What is gone stands where it was."""
    old = {POOL: ["add name=a", "add name=b x=1", "add name=c"], "ip/dns": ["set servers=1"]}
    new = {"ip/dns": ["set servers=2"], POOL: ["add name=a", "add name=b x=2", "add name=d y=1"]}
    found = said(old, new)
    assert [(change.old, change.new) for change in found] == [
        ("set servers=1", "set servers=2"),
        ("add name=b x=1", "add name=b x=2"),
        ("add name=c", None),
        (None, "add name=d y=1"),
    ]


def test_changes_of_another_tree_are_not_applied() -> None:
    """Nothing is made up."""
    done = said(lines("add action=drop"), lines("add action=log"))
    for tree in ({}, lines("add action=accept"), lines("add action=log", "add action=drop")):
        with pytest.raises(ValueError):  # noqa: PT011  (it has no words)
            applied(tree, done, ROS)


def test_more_changes_than_anybody_reads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that memory is bounded."""
    monkeypatch.setattr(module, "MOST_CHANGES", 3)
    assert len(said({}, lines(*(f"add x={n}" for n in range(3))))) == 3
    with pytest.raises(TooManyChanges):
        said({}, lines(*(f"add x={n}" for n in range(4))))


def test_no_change_prints_what_is_in_it() -> None:
    """A traceback or a log line with one says nothing of the configuration."""
    [change] = said(
        {"ppp/secret": ["add name=ann password=marker1"]}, {"ppp/secret": ["add name=ann password=marker2"]}
    )
    assert "marker" not in repr(change)
