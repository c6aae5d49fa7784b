"""What a person calls the items of each menu of RouterOS: a noun, and the properties that tell them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOUNS: Final[Mapping[str, str]] = {
    "interface/bridge/vlan": "vlan",
    "interface/wireguard/peers": "peer",
    "interface/wireless/security-profiles": "profile",
    "ip/dhcp-server/lease": "lease",
    "ip/dhcp-server/network": "network",
    "ip/dns/static": "record",
    "ip/hotspot/user": "user",
    "ip/hotspot/user/profile": "profile",
    "ip/ipsec/identity": "identity",
    "ip/ipsec/peer": "peer",
    "ip/ipsec/policy": "policy",
    "ip/ipsec/profile": "profile",
    "ip/ipsec/proposal": "proposal",
    "ip/route": "route",
    "ipv6/route": "route",
    "ppp/profile": "profile",
    "ppp/secret": "user",
    "queue/simple": "queue",
    "queue/tree": "queue",
    "queue/type": "queue type",
    "radius": "server",
    "routing/bgp/connection": "connection",
    "routing/bgp/peer": "peer",
    "routing/ospf/area": "area",
    "routing/ospf/instance": "instance",
    "routing/ospf/interface-template": "template",
    "routing/table": "table",
    "snmp/community": "community",
    "system/logging": "rule",
    "system/logging/action": "action",
    "system/ntp/client/servers": "server",
    "system/scheduler": "scheduler",
    "system/script": "script",
    "tool/netwatch": "watch",
    "user": "user",
    "user/group": "group",
}
# With `{property}`: the first one all of whose properties an item has is taken.
WAYS: Final[Mapping[str, Sequence[str]]] = {
    "container/envs": ("variable {key} in {list}", "variable {key} in {name}"),
    "interface/bridge/port": ("port {interface}",),
    "interface/bridge/vlan": ("vlan {vlan-ids} on {bridge}",),
    "interface/list/member": ("{interface} in {list}",),
    "interface/wireguard/peers": (
        "peer {name}",
        "peer {comment}",
        "peer {allowed-address} on {interface}",
    ),
    "ip/address": ("{address}",),
    "ip/dhcp-client": ("client on {interface}",),
    "ip/dhcp-server/lease": ("lease for {mac-address}", "lease of {address}"),
    "ip/dns/static": ("record {name}", "record {regexp}"),
    "ip/firewall/address-list": ("{address} in {list}",),
    "ip/ipsec/identity": ("identity for {peer}",),
    "ip/ipsec/policy": ("policy {comment}", "policy {src-address} to {dst-address}"),
    "ipv6/address": ("{address} on {interface}",),
    "ipv6/dhcp-client": ("client on {interface}",),
    "ipv6/firewall/address-list": ("{address} in {list}",),
    "routing/ospf/interface-template": ("template for {interfaces}", "template for {networks}"),
    "system/logging": ("rule for {topics} to {action}", "rule for {topics}"),
}
# An owner's remark is said beside what tells them apart.
REMARKED: Final = frozenset({"ip/dhcp-server/lease", "ip/route", "ipv6/route"})
ANY: Final = ("address", "dst-address", "mac-address", "network", "interface", "host", "topics", "numbers")
