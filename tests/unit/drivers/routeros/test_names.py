"""What items are called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.model import RawConfig
from backupflow.drivers import driver
from backupflow.drivers.routeros.names import LONGEST
from backupflow.drivers.routeros.shown import shown

ROS = driver("routeros")
GRAMMAR = ROS.grammar


@pytest.mark.parametrize(
    ("menu", "item", "name"),
    [
        ("ip/firewall/filter", 'add action=drop chain=input comment="a b"', 'drop rule "a b"'),
        ("ip/firewall/filter", "add action=drop chain=input comment=ab", 'drop rule "ab"'),
        ("ip/firewall/filter", "add chain=input", "accept rule in input"),
        (
            "ip/firewall/nat",
            "add action=dst-nat chain=dstnat dst-port=1 log=yes protocol=tcp src-address=192.0.2.1 to-ports=2 ttl=3",
            "dst-nat rule in dstnat (dst-port 1, protocol tcp, src-address 192.0.2.1)",
        ),
        ("ip/firewall/nat", "add chain=x", "rule in x"),
        ("interface/bridge", "add name=lan", "lan"),
        ("interface/ethernet", "set [ find default-name=ether1 ] name=wan", "ether1"),
        ("interface/ethernet", 'set [ find default-name="ether 1" ] name=wan', '"ether 1"'),
        ("interface/lte", "set [ find ] mtu=1500", "[ find ]"),
        ("interface/wireless/security-profiles", "set [ find default=yes ] mode=none", "default profile"),
        ("ip/service", "set telnet disabled=yes", "telnet"),
        ("ip/dns", "set servers=192.0.2.1", ""),
        ("ip/route", "add gateway=192.0.2.1", "default route"),
        ("ip/route", "add comment=hq dst-address=10.0.0.0/8 gateway=192.0.2.1", 'route to 10.0.0.0/8 "hq"'),
        ("ipv6/route", "add dst-address=::/0 gateway=fe80::1", "default route"),
        ("ip/firewall/address-list", "add address=192.0.2.1 list=noc", "192.0.2.1 in noc"),
        ("interface/wireguard/peers", "add comment=c interface=wg name=n", "peer n"),
        ("interface/wireguard/peers", "add allowed-address=::/0 interface=wg", "peer ::/0 on wg"),
        ("interface/wifiwave2/access-list", "add comment=guest", 'rule "guest"'),
        ("snmp/community", "add addresses=192.0.2.1 name=hidden", "community"),
        ("snmp/community", "add comment=billing name=hidden", 'community "billing"'),
        ("snmp/community", "set [ find default=yes ] name=hidden", "default community"),
        ("snmp/community", "set hidden addresses=::/0", 'community "•••"'),
        ("container/envs", "add key=TZ list=pihole value=hidden", "variable TZ in pihole"),
        ("ppp/secret", 'add comment="password: hidden" service=any', 'user "password: •••"'),
        ("tool/sniffer", "set filter-interface=ether1", ""),
        ("some/menu", "add zz=1", "item"),
        ("some/menu", "remove 3", "3"),
        ("some/menu", 'add broken="', "a line that cannot be read"),
        ("header", "# by RouterOS 7.14", "RouterOS"),
        ("header", "# serial number = X", "serial number"),
        ("header", "# somebody's words", ""),
    ],
)
def test_an_item_is_called_as_its_owner_would(menu: str, item: str, name: str) -> None:
    """By its name, else its remark, else by what it does and where; a secret has no part in it."""
    assert GRAMMAR.name(menu, GRAMMAR.parsed(menu, item)) == name


def test_a_brief_name_leaves_out_what_is_told_beside_it() -> None:
    """The properties of a rule follow, but for those that the name says."""
    item = GRAMMAR.parsed("ip/firewall/filter", "add action=drop chain=input dst-port=1")
    assert GRAMMAR.name("ip/firewall/filter", item, brief=True) == "drop rule in input"
    assert GRAMMAR.named_by("ip/firewall/filter", item) == {"action", "chain"}
    assert GRAMMAR.named_by("ip/dns", GRAMMAR.parsed("ip/dns", "set servers=192.0.2.1")) == frozenset()


@given(st.text(alphabet='add set/[]=" \\\nname comment', max_size=80).map(str.encode))
def test_anything_has_a_bounded_name(body: bytes) -> None:
    """Whatever a router sends, on one line of printable letters."""
    for menu, items in GRAMMAR.tree(ROS.normalize(RawConfig(b"# by RouterOS 7.14\n/some menu\n" + body))).items():
        for item in items:
            for brief in (True, False):
                name = GRAMMAR.name(menu, GRAMMAR.parsed(menu, item), brief=brief)
                assert len(name) <= 2 * LONGEST
                assert name.isprintable()


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("ether1", "ether1"),
        (r'"a\$b \? \"c\" \\ \r\n"', r'"a$b ? \"c\" \\ \r\n"'),
        (r'"B\C3\BCro"', '"Büro"'),
        (r'"B\FCro"', '"Büro"'),
        (r'"\CF\F0\E8\E2\E5\F2"', '"Привет"'),
        (r'"\D0\9F\D1\80"', '"Пр"'),
        (r'"\E2\80\AE"', r'"\E2\80\AE"'),  # turns the direction of what follows: no letter
        (r'"\\D0\\9F"', r'"\\D0\\9F"'),
        (r'"\1B[m"', r'"\1B[m"'),
    ],
)
def test_a_value_is_shown_in_letters(value: str, seen: str) -> None:
    """UTF-8, else the code page that Winbox probably wrote; what is no letter stays as it is."""
    assert shown(value) == seen
