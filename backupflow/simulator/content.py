"""Plausible RouterOS configurations of our own making, drawn from a seed: distinct per router, of a wanted size."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from backupflow.simulator.drawing import PLACES, address, drawn, place, word
from backupflow.simulator.grammar import Item, Section, line

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from backupflow.simulator.spec import RouterSpec

_SCRIPT = (
    ":local gone 0\r\n:foreach lease in=[/ip dhcp-server lease find where status=waiting] do={\r\n"
    '  # leases that nobody answered\r\n  :set gone ($gone + 1)\r\n}\r\n:log info "waiting: $gone"\r\n'
)


def _add(about: str = "", /, **args: str) -> Item:
    return Item("add", tuple((key.replace("_", "-"), value) for key, value in args.items()), about=about)


def _set(selector: str, about: str = "", /, **args: str) -> Item:
    return Item("set", tuple((key.replace("_", "-"), value) for key, value in args.items()), selector, about)


def sections(spec: RouterSpec) -> tuple[Section, ...]:
    """The configuration at revision 0: a small office router, filled up to the wanted size."""
    dice = drawn(spec, "content")
    menus: dict[str, list[Item]] = {}
    for part in (_interfaces, _wireless, _access, _firewall, _system):
        menus.update(part(spec, dice))
    _fill(menus, spec.size, dice)
    return tuple(Section(path, tuple(items)) for path, items in menus.items())


def _interfaces(spec: RouterSpec, dice: random.Random) -> dict[str, list[Item]]:
    plain = ("ether1", "ether3")
    ports = [
        *(_set(f"[ find default-name={name} ]", comment=place(dice)) for name in plain),
        *(
            _set(f"[ find default-name={name} ]", name=f"{name}-{dice.choice(PLACES)}", comment=place(dice))
            for name in ("ether4", "ether5")
        ),
    ]
    ports.insert(1, _set("[ find default-name=ether2 ]", "poe-out status: short_circuit", comment=place(dice)))
    return {
        "/interface bridge": [_add(name="bridge", comment=spec.remark, protocol_mode="rstp")],
        "/interface ethernet": ports,
        "/interface pppoe-client": [
            _add(
                add_default_route="yes",
                disabled="no",
                interface="ether1",
                name="pppoe-out1",
                password=word(dice),
                user=f"line{dice.randrange(10_000)}@isp.example",
            ),
        ],
        "/interface list": [_add(name="WAN"), _add(name="LAN")],
    }


def _wireless(spec: RouterSpec, dice: random.Random) -> dict[str, list[Item]]:
    ssid, psk = f"{dice.choice(PLACES)}-{dice.randrange(1000)}", word(dice, 20)
    if spec.old:
        return {
            "/interface wireless security-profiles": [
                _add(authentication_types="wpa2-psk", mode="dynamic-keys", name="home", wpa2_pre_shared_key=psk),
            ],
            "/interface wireless": [
                _set(
                    "[ find default-name=wlan1 ]",
                    f"channel: 2437/20-Ce/gn(20dBm), SSID: {ssid}, local forwarding",
                    band="2ghz-b/g/n",
                    security_profile="home",
                    ssid=ssid,
                ),
            ],
        }
    radio = Item(
        "set",
        (("configuration.country", "Latvia"), (".mode", "ap"), (".ssid", ssid), ("security.passphrase", psk)),
        "[ find default-name=wifi1 ]",
        f"mode: AP, SSID: {ssid}, channel: 2437/n",
    )
    return {"/interface wifi": [radio]}


def _access(spec: RouterSpec, dice: random.Random) -> dict[str, list[Item]]:
    net = f"192.168.{dice.randrange(1, 250)}"
    marked = [_add(name="vpn-audit", password=spec.marker, service="any")] if spec.marker else []
    return {
        "/ip pool": [_add(name="dhcp", ranges=f"{net}.10-{net}.250")],
        "/ip dhcp-server": [_add("No IP address on interface", address_pool="dhcp", interface="bridge", name="lan")],
        "/snmp community": [_set("[ find default=yes ]", addresses=f"{net}.0/24", name=f"ro-{word(dice, 8)}")],
        "/interface bridge port": [_add(bridge="bridge", interface=f"ether{n}") for n in (2, 3)],
        "/ip address": [_add(address=f"{net}.1/24", interface="bridge", network=f"{net}.0")],
        "/ip dhcp-client": [_add("DHCP client can not run on slave interface!", interface="ether2")],
        "/ip dhcp-server lease": [_lease(dice) for _ in range(4)],
        "/ip dhcp-server network": [_add(address=f"{net}.0/24", dns_server=f"{net}.1", gateway=f"{net}.1")],
        "/ip dns": [_set("", allow_remote_requests="yes", servers="9.9.9.9,1.1.1.1")],
        "/ip dns static": [_name(dice) for _ in range(3)],
        "/ppp secret": [*marked, *(_secret(dice) for _ in range(3))],
    }


def _firewall(_spec: RouterSpec, dice: random.Random) -> dict[str, list[Item]]:
    rules = [
        _add(
            action="accept",
            chain="input",
            comment="defconf: accept established,related,untracked",
            connection_state="established,related,untracked",
        ),
        _add("inactive time", action="drop", chain="forward", comment="no games at night", time="22h-6h,mon,tue,wed"),
        _add(
            "pppoe-out1 not ready", action="drop", chain="input", comment="drop all from WAN", in_interface="pppoe-out1"
        ),
        _add(
            action="drop",
            chain="forward",
            comment="defconf: drop all from WAN that was not translated",
            connection_nat_state="!dstnat",
            connection_state="new",
            in_interface_list="WAN",
        ),
    ]
    return {
        "/ip firewall address-list": [_listed(dice) for _ in range(6)],
        "/ip firewall filter": [*rules, *(_rule(dice) for _ in range(4))],
        "/ip firewall nat": [_add(action="masquerade", chain="srcnat", out_interface_list="WAN")],
    }


def _system(spec: RouterSpec, dice: random.Random) -> dict[str, list[Item]]:
    return {
        "/system clock": [_set("", time_zone_name="Europe/Riga")],
        "/system identity": [_set("", name=spec.identity or spec.name)],
        "/system note": [_set("", note=f"Property of the {place(dice)}. Ask before you change anything here.")],
        "/system script": [_add(name="leases", owner="admin", policy="read,test", source=_SCRIPT)],
    }


def _lease(dice: random.Random) -> Item:
    mac = ":".join(f"{dice.randrange(256):02X}" for _ in range(6))
    return _add(address=address(dice), comment=place(dice), mac_address=mac, server="lan")


def _name(dice: random.Random) -> Item:
    return _add(address=address(dice), name=f"{dice.choice(PLACES)}{dice.randrange(10**7)}.lan", ttl="5m")


def _secret(dice: random.Random) -> Item:
    return _add(name=f"user{dice.randrange(10**8)}", password=word(dice), profile="default", service="l2tp")


def _listed(dice: random.Random) -> Item:
    return _add(address=address(dice), comment=place(dice), list=dice.choice(("allowed", "blocked", "customers")))


def _rule(dice: random.Random) -> Item:
    port = str(dice.randrange(1024, 65_000))
    return _add(
        action="accept", chain="forward", comment=place(dice), dst_port=port, protocol="tcp", src_address=address(dice)
    )


rule = _rule
_FILLERS: tuple[tuple[str, Callable[[random.Random], Item]], ...] = (
    ("/ip firewall address-list", _listed),
    ("/ip dhcp-server lease", _lease),
    ("/ip firewall filter", _rule),
    ("/ppp secret", _secret),
    ("/ip dns static", _name),
)


def _fill(menus: dict[str, list[Item]], size: int, dice: random.Random) -> None:
    """Add items in turn until the text has about `size` bytes."""
    length = sum(
        len(path) + 2 + sum(len(line(item, sensitive=True)) + 2 for item in items) for path, items in menus.items()
    )
    turns: Iterator[tuple[str, Callable[[random.Random], Item]]] = itertools.cycle(_FILLERS)
    while length < size:
        path, make = next(turns)
        item = make(dice)
        menus[path].append(item)
        length += len(line(item, sensitive=True)) + 8  # many of them wrap
