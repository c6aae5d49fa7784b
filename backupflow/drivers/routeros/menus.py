"""What is known of the menus of RouterOS: where order counts, what tells items apart, what versions renamed.

No manual lists either. Where order counts was read off the menus that have `move`; what tells items apart off what
RouterOS refuses to have twice, or what an owner calls such a thing by. Names are as in the newest version.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Names: TypeAlias = tuple[tuple[str, ...], ...]
"""Names of properties that tell items apart, all of a tuple together; the first tuple that an item has counts."""

RENAMED: Final = (
    ("interface/wifiwave2", "interface/wifi"),  # 7.13
    ("ip/route/rule", "routing/rule"),  # 7.0
)

# What a path begins with, by the versions 3 to 7; and what stands below those menus in which people's names and secrets
# are: of what looks like the path of a menu and is none, these are what somebody may have typed.
_TOPS: Final = frozenset({
    "app", "blink", "caps-man", "certificate", "console", "container", "disk", "driver", "dude",
    "environment", "file", "interface", "iot", "ip", "ipv6", "isdn-channels", "kvm", "lcd", "log", "lora",
    "metarouter", "mpls", "openflow", "partitions", "port", "ppp", "queue", "radius", "routing", "snmp",
    "special-login", "store", "system", "task", "terminal", "tool", "tr069-client", "user", "user-manager",
    "xen", "zerotier",
})  # fmt: skip
_BELOW: Final[Mapping[str, frozenset[str]]] = {
    "certificate": frozenset({"builtin", "crl", "scep-server", "scep-server/otp", "scep-server/ra", "settings"}),
    "ppp": frozenset({"aaa", "active", "l2tp-secret", "profile", "secret"}),
    "radius": frozenset({"incoming"}),
    "snmp": frozenset({"community"}),
    "user": frozenset({"aaa", "active", "group", "settings", "ssh-keys", "ssh-keys/private"}),
}
_WITH_DIGITS: Final = frozenset({
    "6rd", "6to4", "dot1x", "eoipv6", "gre6", "ipipv6", "ipv6", "l2tp-client", "l2tp-ether", "l2tp-secret",
    "l2tp-server", "layer7-protocol", "nat64", "ospf-v3", "tr069-client", "w60g", "wifiwave2",
})  # fmt: skip
_WORD: Final = re.compile(r"[a-z]{1,24}(?:-[a-z]{1,24}){0,3}")
_MOST_WORDS: Final = 6  # interface/ethernet/switch/qos/tx-manager/queue

_RULES: Final = ("filter", "mangle", "nat", "raw")
ORDERED: Final = frozenset({
    *(f"{family}/firewall/{table}" for family in ("ip", "ipv6") for table in _RULES),
    *(f"interface/bridge/{table}" for table in ("filter", "nat")),
    *(f"interface/{kind}/access-list" for kind in ("wifi", "wireless")),
    *(f"ip/proxy/{table}" for table in ("access", "cache", "direct")),
    *(f"mpls/ldp/{table}" for table in ("accept-filter", "advertise-filter")),
    "caps-man/access-list",
    "caps-man/provisioning",
    "interface/ethernet/switch/rule",
    "interface/wifi/provisioning",
    "interface/wireless/connect-list",
    "ip/dns/static",  # of names that are patterns the first one answers
    "ip/hotspot/walled-garden",
    "ip/hotspot/walled-garden/ip",
    "ip/ipsec/policy",
    "ip/socks/access",
    "queue/simple",
    "radius",  # the first server is asked first
    "routing/filter",
    "routing/filter/rule",
    "routing/filter/select-rule",
    "routing/rule",
})  # fmt: skip
"""Menus whose items are looked at from the first to the last."""

_ANY: Final[Names] = (
    ("name",),
    ("address",),
    ("dst-address",),
    ("mac-address",),
    ("network",),
    ("interface",),
    ("host",),
    ("comment",),
)
_RULE: Final[Names] = (("name",), ("chain", "comment"), ("comment",))
_BY_ADDRESS: Final[Names] = (("mac-address", "server"), ("mac-address",), ("client-id",), ("address",))
_BY_INTERFACE: Final[Names] = (("interface",), ("interfaces",))
_IDENTITIES: Final[Mapping[str, Names]] = {
    "container": (("name",), ("root-dir",), ("interface",)),
    "container/envs": (("list", "key"), ("name", "key")),
    "container/mounts": (("list", "dst"), ("name",)),
    "interface/bridge/mst-override": (("interface", "identifier"),),
    "interface/bridge/port": _BY_INTERFACE,
    "interface/bridge/vlan": (("bridge", "vlan-ids"),),
    "interface/ethernet/switch/vlan": (("switch", "vlan-id"), ("vlan-id",)),
    "interface/list/member": (("list", "interface"),),
    "interface/wireguard/peers": (("name",), ("interface", "public-key")),
    "ip/dhcp-client": _BY_INTERFACE,
    "ip/dhcp-server/lease": _BY_ADDRESS,
    "ip/dns/static": (("name", "type"), ("name",), ("regexp",)),
    "ip/firewall/address-list": (("list", "address"),),
    "ip/hotspot/ip-binding": _BY_ADDRESS,
    "ip/ipsec/identity": (("peer", "remote-id"), ("peer",)),
    "ip/route": (("dst-address", "routing-table"), ("dst-address", "routing-mark"), ("dst-address",)),
    "ipv6/dhcp-client": _BY_INTERFACE,
    "ipv6/dhcp-server/binding": (("duid", "iaid"), ("duid",), ("address",)),
    "ipv6/firewall/address-list": (("list", "address"),),
    "ipv6/nd": _BY_INTERFACE,
    "ipv6/route": (("dst-address", "routing-table"), ("dst-address",)),
    "mpls/ldp/interface": _BY_INTERFACE,
    "ppp/secret": (("name", "service"), ("name",)),
    "radius": (("address", "service"), ("address",)),
    "routing/ospf/interface": _BY_INTERFACE,
    "routing/ospf/interface-template": (("interfaces",), ("networks",), ("area",)),
    "snmp/community": (("name",),),
    "system/logging": (("topics", "action"), ("topics",)),
    "system/ntp/client/servers": (("address",),),
}

# Of an address that was edited the network is another too; of a bridge that was renamed every VLAN.
_ALIASES: Final[Mapping[str, Names]] = {
    "interface/bridge/vlan": (("vlan-ids",),),
    "interface/vlan": (("interface", "vlan-id"),),
    "interface/wireguard/peers": (("interface", "allowed-address"),),
    "ip/address": (("interface",),),
    "ip/dhcp-server": (("interface",),),
    "ip/dhcp-server/lease": (("address",),),
    "ipv6/address": (("interface",),),
}
_DEFAULTS: Final[Mapping[str, Mapping[str, str]]] = {
    "ip/route": {"dst-address": "0.0.0.0/0"},
    "ipv6/route": {"dst-address": "::/0"},
}


@lru_cache(maxsize=10_000)
def is_menu(component: str) -> bool:
    """Tell whether this may be the path of a menu, and is no text that only looks like one; no list has all menus."""
    words = component.split("/", _MOST_WORDS)
    if words[0] not in _TOPS or len(words) > _MOST_WORDS:
        return False
    if len(words) > 1 and words[0] in _BELOW:
        return "/".join(words[1:]) in _BELOW[words[0]]
    return all(word in _WITH_DIGITS or _WORD.fullmatch(word) for word in words)


def lineage(component: str) -> str:
    """Give the name that a menu has in the newest RouterOS."""
    for old, new in RENAMED:
        if component == old or component.startswith(old + "/"):
            return new + component[len(old) :]
    return component


def identities(component: str) -> Names:
    """Give the names of the properties that tell the items of a menu apart."""
    menu = lineage(component)
    return _IDENTITIES.get(menu) or (_RULE if menu in ORDERED else _ANY)


def aliases(component: str) -> Names:
    """Give the names of the properties by which an item is known whose identity was edited."""
    return _ALIASES.get(component, ())


def defaults(component: str) -> Mapping[str, str]:
    """Give what an item's identity is without being written."""
    return _DEFAULTS.get(component, {})
