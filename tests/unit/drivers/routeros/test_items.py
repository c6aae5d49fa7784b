"""The normal form as a tree, its items read, and what tells them apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.model import NormalConfig, RawConfig
from backupflow.core.tree import FLAG, HEADER, UNSET, Parsed
from backupflow.drivers.routeros import items
from backupflow.drivers.routeros.grammar import RouterOSGrammar
from backupflow.drivers.routeros.normal import normalize
from backupflow.drivers.routeros.secrets import is_secret

ROS = RouterOSGrammar()
PARTS = st.sampled_from(
    ["/ip pool", "/ip/dns", "\n", "add ", "set ", "[ find ]", " a=b", ' c="x y"', " .d=1", " e.f=2", "!g", " h", "#",
     '"', "\\", "\xff", " = ", "[", "]", "# by RouterOS 7.1", "# model = x"]
)  # fmt: skip


def test_a_text_is_split_into_menus() -> None:
    """Sections of one path are one menu, in the order of the text; the header is one, too."""
    text = b"# by RouterOS 7.1\n/ip pool\nadd name=a\n/ip dns\nset x=1\n/ip pool\nadd name=b\n"
    assert ROS.tree(NormalConfig(text)) == {
        HEADER: ["# by RouterOS 7.1"],
        "ip/pool": ["add name=a", "add name=b"],
        "ip/dns": ["set x=1"],
    }


def test_a_text_without_a_header_or_without_anything_is_a_tree() -> None:
    """What is not there is no component."""
    assert ROS.tree(NormalConfig(b"/ip dns\nset x=1\n")) == {"ip/dns": ["set x=1"]}
    assert ROS.tree(NormalConfig(b"")) == {}


def test_what_is_no_configuration_is_one_item() -> None:
    """Nobody can say more of it."""
    normal = normalize(RawConfig(b"\x01 whatever\n/ip dns\n"))
    [(component, [text])] = ROS.tree(normal).items()
    assert (component, text.encode()) == (items.TEXT, normal)
    assert ROS.parsed(component, text).properties == {"": text}


@given(st.lists(PARTS, max_size=12).map("".join))
def test_every_line_of_every_text_is_read(text: str) -> None:
    """Whatever a router sends: no line is lost, and no error is raised."""
    normal = normalize(RawConfig(text.encode("latin-1")))
    found = ROS.tree(normal)
    kept = sum(len(texts) for texts in found.values())
    if items.TEXT not in found:
        assert kept == sum(not line.startswith(b"/") for line in normal.splitlines())
    for component, texts in found.items():
        for each in texts:
            parsed = ROS.parsed(component, each)
            assert parsed.properties or parsed.verb
            ROS.identity(component, parsed)
            ROS.alias(component, parsed)
            ROS.adjusts(component, parsed)


@given(st.lists(PARTS, max_size=8).map("".join))
def test_the_quick_way_reads_what_the_thorough_one_does(text: str) -> None:
    """It only leaves more to the other."""
    for texts in ROS.tree(normalize(RawConfig(b"/ip pool\n" + text.encode("latin-1")))).values():
        for each in texts:
            quick = items._plain(each)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(items, "_SHORT", -1)
                assert quick is None or quick == ROS.parsed("ip/pool", each)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('add name=a comment="x \\"y"', Parsed("add", None, (), {"name": "a", "comment": '"x \\"y"'})),
        ("set x=1", Parsed("set", None, (), {"x": "1"})),
        ("set telnet disabled=yes", Parsed("set", "telnet", (), {"disabled": "yes"})),
        ('set [ find default-name=e1 ] a=""', Parsed("set", "[ find default-name=e1 ]", (), {"a": '""'})),
        ('set [ find name="a ] b" ] a=1', Parsed("set", '[ find name="a ] b" ]', (), {"a": "1"})),
        ("add fib !src x=1", Parsed("add", None, ("fib", "!src"), {"fib": FLAG, "src": UNSET, "x": "1"})),
        ("add a=1 a=2 a=3", Parsed("add", None, (), {"a": "1", "a (2)": "2", "a (3)": "3"})),
        ('add a="open', Parsed("", None, (), {"": 'add a="open'})),
        ("strange line", Parsed("strange", "line", (), {})),
        ("Strange line", Parsed("", None, (), {"": "Strange line"})),
        ("add" + " a=1" * 3000, Parsed("", None, (), {"": "add" + " a=1" * 3000})),
    ],
)  # fmt: skip
def test_an_item_is_read(text: str, expected: Parsed) -> None:
    """Selector, words, properties; what is not made of tokens, or of far too many, stays one text."""
    assert ROS.parsed("ip/pool", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# by RouterOS 7.14.3", {"version": "7.14.3"}),
        ("# by RouterOS", {"version": '""'}),
        ("# serial number = AB12", {"serial number": "AB12"}),
        ("# software id =", {"software id": '""'}),
        ("# anything else", {"": "# anything else"}),
    ],
)
def test_a_line_of_the_header_is_read(text: str, expected: dict[str, str]) -> None:
    """By what it says something of."""
    assert ROS.parsed(HEADER, text).properties == expected


@pytest.mark.parametrize(
    ("component", "one", "other", "same"),
    [
        ("ppp/secret", "add name=a password=x", "add name=a profile=y", True),
        ("ppp/secret", "add name=a password=x", "add name=b password=x", False),
        ("ip/firewall/address-list", "add address=1 list=a", "add address=1 comment=x list=a", True),
        ("ip/firewall/address-list", "add address=1 list=a", "add address=1 list=b", False),
        ("ip/firewall/filter", "add chain=a comment=x", "add action=drop chain=a comment=x", True),
        ("ip/firewall/filter", "add chain=a comment=x", "add chain=b comment=x", False),
        ("ip/service", "set telnet port=1", "set telnet disabled=yes", True),
        ("ip/service", "set telnet port=1", "set ftp port=1", False),
        ("ip/route", "add gateway=1", "add dst-address=0.0.0.0/0 gateway=2", True),
        ("ip/route", "add dst-address=1.0.0.0/8", "add dst-address=2.0.0.0/8", False),
        ("interface/wifiwave2/security", "add name=a", "add name=a x=1", True),
        (HEADER, "# software id = A", "# system id = B", True),
        (HEADER, "# model = A", "# serial number = A", False),
    ],
)
def test_an_identity_tells_items_apart(component: str, one: str, other: str, same: bool) -> None:
    """And stays what it is when an item is edited."""
    first, second = (ROS.identity(component, ROS.parsed(component, text)) for text in (one, other))
    assert first is not None
    assert (first == second) is same


def test_a_rule_without_a_comment_has_no_identity() -> None:
    """Nothing tells it from another one for sure."""
    component = "ip/firewall/nat"
    assert ROS.identity(component, ROS.parsed(component, "add action=masquerade chain=srcnat")) is None


@pytest.mark.parametrize(
    ("component", "ordered"),
    [("ip/firewall/filter", True), ("ipv6/firewall/raw", True), ("queue/simple", True), ("ip/route/rule", True),
     ("interface/wifiwave2/access-list", True), ("ip/firewall/address-list", False), ("ip/address", False),
     ("queue/tree", False), (HEADER, False)],
)  # fmt: skip
def test_order_counts_where_items_are_looked_at_in_turn(component: str, ordered: bool) -> None:
    """Also under the name that an older version has for the menu."""
    assert ROS.is_ordered(component) is ordered


@pytest.mark.parametrize(
    ("component", "name", "secret"),
    [("ppp/secret", "password", True), ("ppp/secret", "password (2)", True), ("ppp/secret", "name", False),
     ("snmp/community", "name", True), ("snmp", "trap-community", True), ("container/envs", "value", True),
     ("container/envs", "key", False), ("ip/ipsec/identity", "key", False), ("ip/ipsec/identity", "secret", True),
     ("interface/wifi", "security.passphrase", True), ("interface/wireguard", "private-key", True),
     ("interface/wireguard", "public-key", False), ("routing/ospf/interface-template", "auth-key", True),
     ("tool/romon", "secrets", True), ("zerotier", "identity", True), ("x", "", True), ("x", "My-Token", True)],
)  # fmt: skip
def test_what_is_a_secret_is_known_by_menu_and_name(component: str, name: str, secret: bool) -> None:
    """Masked for those who may not see it, whether RouterOS hides it or not."""
    assert is_secret(component, name) is secret
