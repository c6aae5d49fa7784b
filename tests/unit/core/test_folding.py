"""Of many changes the lines that are read: each sort once, each menu at least once, and the rest counted."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.changes import Change, changes
from backupflow.core.folding import few
from backupflow.core.model import RawConfig
from backupflow.core.summary import told
from backupflow.core.told_change import LINES
from backupflow.drivers import driver

ROS = driver("routeros")
GRAMMAR = ROS.grammar
MENUS = ["ip address", "ip firewall nat", "ppp secret", "queue simple", "interface list", "ip route"]


def edit(before: str, after: str, versions: tuple[str, str] = ("7.14", "7.14")) -> tuple[Change, ...]:
    """What turns one export into the other."""
    old, new = (
        GRAMMAR.tree(ROS.normalize(RawConfig(f"# by RouterOS {version}\n{text}".encode())))
        for version, text in zip(versions, (before, after), strict=True)
    )
    return changes(old, new, GRAMMAR)


def menu(path: str, *items: str) -> str:
    """One section of an export."""
    return "\n".join([f"/{path}", *items, ""])


def numbered(item: str, count: int) -> list[str]:
    """Items that differ in a number."""
    return [item.format(n=n) for n in range(count)]


def folded(path: str, before: list[str], after: list[str], *, reveal: bool = False) -> list[str]:
    """What is told of one menu."""
    found = few(edit(menu(path, *before), menu(path, *after)), GRAMMAR, reveal=reveal)
    assert not found.rest
    return [line.partition(": ")[2] for line in found.lines]


@pytest.mark.parametrize(
    ("path", "before", "after", "line"),
    [
        (
            "ip firewall address-list",
            [],
            numbered("add address=10.0.0.{n} list=blk", 9),
            "9 in blk added (10.0.0.0, 10.0.0.1, 10.0.0.2, …)",
        ),
        (
            "interface vlan",
            numbered("add interface=bridge1 name=vlan{n} vlan-id=1{n}", 5),
            numbered("add interface=br-lan name=vlan{n} vlan-id=1{n}", 5),
            "interface bridge1 → br-lan on 5 items (vlan0, vlan1, vlan2, …)",
        ),
        (
            "interface vlan",
            numbered("add interface=br name=vlan{n} vlan-id=1{n}", 4),
            numbered("add comment={n} interface=br mtu=1400 name=vlan{n} vlan-id=1{n}", 4),
            "4 items: comment set, mtu set to 1400 (vlan0, vlan1, vlan2, …)",
        ),
        (
            "interface vlan",
            [],
            numbered("add interface=br name=vlan{n} vlan-id=1{n}", 4),
            "4 items added, all with interface br (vlan0, vlan1, vlan2, …)",
        ),
        ("a", numbered("add name=n{n} x={n}", 4), numbered("add name=n{n} x=1{n}", 4), "4 items: x changed (n0, n1, n2, …)"),  # noqa: E501
        ("a", numbered("add name=n{n} x={n}", 4), numbered("add name=n{n}", 4), "4 items: x removed (n0, n1, n2, …)"),
    ],
)  # fmt: skip
def test_many_of_one_sort_are_one_line(path: str, before: list[str], after: list[str], line: str) -> None:
    """What is the same for all of them is told once."""
    assert folded(path, before, after) == [line]


def test_three_are_told_one_by_one() -> None:
    """As ever."""
    assert folded("a", numbered("add name=n{n} x=1", 3), numbered("add name=n{n} x=2", 3)) == numbered(
        "n{n}: x 1 → 2", 3
    )


def test_a_rule_that_drops_is_never_told_among_those_that_accept() -> None:
    """Whether it went, or was disabled."""
    rules = numbered("add action=accept chain=input dst-port={n} protocol=tcp", 9)
    rules[5] = rules[5].replace("accept", "drop")
    gone = folded("ip firewall filter", [*rules, "add action=accept chain=output"], ["add action=accept chain=output"])
    assert [line.partition("(")[0] for line in gone] == [
        "8 items removed, all with action accept, chain input, protocol tcp ",
        "drop rule in input removed: dst-port 5, protocol tcp",
    ]
    disabled = folded("ip firewall filter", rules, [rule.replace(" dst", " disabled=yes dst") for rule in rules])
    assert disabled[0].startswith("disabled on 8 items (accept rule in input (dst-port 0")
    assert disabled[1:] == ["drop rule in input (dst-port 5, protocol tcp) disabled"]


@pytest.mark.parametrize("same", [True, False])
def test_no_secret_is_told_nor_that_two_are_the_same(same: bool) -> None:
    """Of many as of one; who may see secrets sees what all have."""

    def secrets(word: str) -> list[str]:
        mine = word if same else word + "{n}"
        return numbered(f'add comment="key: {mine}" name=u{{n}} password={mine}', 5)

    line = '5 items: comment changed, password ••• changed (user "u0", user "u1", user "u2", …)'
    assert folded("ppp secret", secrets("planted"), secrets("another")) == [line]
    assert folded("ppp secret", [], secrets("planted")) == ['5 items added (user "u0", user "u1", user "u2", …)']
    revealed = folded("ppp secret", [], secrets("planted"), reveal=True)
    assert ("password planted" in revealed[0]) is same


@pytest.mark.parametrize("item", ["password= planted{n}", "planted{n} password=", "!planted{n} password="])
def test_a_word_that_may_be_a_secret_is_told_as_if_it_were_alone(item: str) -> None:
    """Where it is masked."""
    for before, after in (([], [item]), ([item], []), ([item], ["x=1"])):
        texts = [
            [f"add name=a{n} {words.replace('{n}', '')}" for n in range(6) for words in some]
            for some in (before, after)
        ]
        assert not any("planted" in line for line in folded("a", *texts))


def test_each_menu_has_a_line_before_any_has_two() -> None:
    """In the order of the configuration; the last says how many changes are not told, and where."""

    def text(x: int) -> str:
        long = menu("ip pool", *numbered(f"add name=n{{n}} p{{n}}={x}", 30))
        return long + "".join(menu(m, *numbered(f"add name=n{{n}} p{{n}}={x}", 3)) for m in MENUS)

    found = few(edit(text(1), text(2)), GRAMMAR)
    of = [menu.replace(" ", "/") for menu in ["ip pool", *MENUS] for _ in range(3)][:20]
    assert [line.partition(":")[0] for line in found.lines] == of
    assert found.rest == "28 more in ip/pool (27), ip/route (1)"


def test_what_a_version_perhaps_set_gives_way() -> None:
    """But a menu in which there is nothing else has its line."""

    def text(x: int, more: str) -> str:
        return menu("ip pool", *numbered(f"add name=n{{n}} p{{n}}={x}", 30)) + menu(
            "user", *numbered("add name=d{n}" + more, 9)
        )

    found = few(edit(text(1, ""), text(2, " new{n}=1"), ("7.12", "7.14")), GRAMMAR)
    assert found.lines[0] == "upgrade: RouterOS 7.12 → 7.14"
    assert [line.partition(":")[0] for line in found.lines[1:]] == ["ip/pool"] * 18 + ["user"]
    assert found.lines[-1] == 'user: user "d0": new0 set to 1 (perhaps a default of 7.14)'
    assert found.rest == "20 more in ip/pool (12), user (8)"


def test_who_made_it_is_told_of_each() -> None:
    """What two users did is two lines."""
    made = edit(menu("ip pool"), menu("ip pool", *numbered("add name=n{n}", 8)))
    by = [replace(change, by="anna" if at < 4 else "bob") for at, change in enumerate(made)]
    assert few(by, GRAMMAR).lines == (
        "ip/pool: 4 items added (n0, n1, n2, …) (by anna)",
        "ip/pool: 4 items added (n4, n5, n6, …) (by bob)",
    )


ITEM = st.tuples(st.sampled_from(MENUS[:4]), st.integers(0, 40), st.sampled_from("xyz"), st.integers(0, 2))


@given(st.lists(ITEM, max_size=120), st.lists(ITEM, max_size=120))
def test_no_change_is_lost(old: list[tuple[str, int, str, int]], new: list[tuple[str, int, str, int]]) -> None:
    """Each is in a line, in the number of a line, or in the rest; few changes are told as they always were."""

    def text(items: list[tuple[str, int, str, int]]) -> str:
        once = {(path, n): f"add name=n{n} {word}={value}" for path, n, word, value in items}
        return "".join(menu(path, *(item for (of, _), item in once.items() if of == path)) for path in MENUS[:4])

    made = edit(text(old), text(new))
    found = few(made, GRAMMAR)
    counted = [re.search(r"(?:: |on )(\d+) items", line) for line in found.lines]
    rest = int(found.rest.partition(" ")[0] or 0) if found.rest else 0
    assert sum(int(one[1]) if one else 1 for one in counted) + rest == len(made)
    assert len(found.lines) <= LINES
    assert {line.partition(":")[0] for line in found.lines} == {change.component for change in made}
    if not any(counted) and not rest:
        assert found.lines == told(made, GRAMMAR)


def test_what_is_no_menu_is_not_named() -> None:
    """Neither in a folded line nor in the rest, but for who may see secrets."""
    text = menu("planted-word", *numbered("add name=n{n}", 9)), menu("planted-word", *numbered("set n{n} p{n}=1", 30))
    for made in (edit("", text[0]), edit("", text[1])):
        found = few(made, GRAMMAR)
        assert "planted" not in repr(found)
        assert "planted" in repr(few(made, GRAMMAR, reveal=True))


def renamed(ports: int, name: str = "name", other: str = "") -> tuple[str, ...]:
    """What is told of a bridge of another name, to which so many ports, and an address, belong."""

    def text(bridge: str) -> str:
        items = numbered(f"add bridge={bridge} interface=ether{{n}}", ports)
        return (
            menu("interface bridge", f"add {name}={bridge} x=1")
            + menu(
                "interface bridge port", *items, f"add bridge={other or 'b'}{bridge if other else ''} interface=sfp1"
            )
            + menu("ip address", f"add address=192.0.2.1/24 interface={bridge}")
        )

    found = few(edit(text("bridge1"), text("br-lan")), GRAMMAR)
    assert not found.rest
    return found.lines


def test_what_follows_a_new_name_is_counted_beside_it() -> None:
    """Four and more; an edit of the same property that is another one is told."""
    assert renamed(9) == (
        "interface/bridge: bridge1 renamed to br-lan (10 references follow in interface/bridge/port (9), ip/address (1))",  # noqa: E501
    )
    assert renamed(4, other="my-")[1:] == ("interface/bridge/port: port sfp1: bridge my-bridge1 → my-br-lan",)
    assert [line.partition(": ")[0] for line in renamed(2)] == [
        "interface/bridge",
        *["interface/bridge/port"] * 2,
        "ip/address",
    ]


def test_a_secret_that_is_spelled_as_the_name_follows_nothing() -> None:
    """It would be told."""

    def text(word: str) -> str:
        users = numbered(f"add name=u{{n}} password={word}", 5)
        return menu("interface bridge", f"add name={word} x=1") + menu("ppp secret", *users)

    lines = few(edit(text("planted"), text("another")), GRAMMAR).lines
    assert lines == (
        "interface/bridge: planted: name planted → another",
        'ppp/secret: 5 items: password ••• changed (user "u0", user "u1", user "u2", …)',
    )


def test_of_more_menus_than_a_router_has_the_rest_is_counted() -> None:
    """A text that is made of headings costs no more than another."""
    text = "".join(menu(f"ip pool m{n}", "add name=x") for n in range(900))
    found = few(edit("", text), GRAMMAR)
    assert len(found.lines) == LINES
    assert found.rest.startswith(f"{900 - LINES} more in ")


def test_what_is_no_menu_is_not_named_after_an_upgrade_either() -> None:
    """Below a menu that has another name now."""
    before, after = (menu(f"interface {one} Planted-Word", "add name=x") for one in ("wifiwave2", "wifi"))
    made = edit(before, after, ("7.12", "7.14"))
    for lines in (few(made, GRAMMAR).lines, told(made, GRAMMAR)):
        assert lines[1].startswith("upgrade: ")
        assert "lanted" not in repr(lines)
