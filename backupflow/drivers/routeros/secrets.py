"""Which properties of RouterOS hold secrets, and which of them it leaves out of an export when it hides secrets.

No manual lists either, so there are two lists. What RouterOS hides (`hidden_keys`) was read off real exports of which
another property shows whether secrets were hidden in them (a `/ppp secret` without `password=`, a WireGuard interface
without `private-key=`). What looks like a secret (`ending`) goes by the name, for all that is not known.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Names of properties; of a dotted name (`security.passphrase`) the last part counts. Masking one too many is harmless
# where a person is shown a configuration, so `key` and `identity` are here, which hold a secret in few menus only.
SECRET_KEYS: Final = frozenset(
    {
        "auth-key",
        "authentication-key",
        "authentication-password",
        "cak",
        "eap-password",
        "encryption-key",
        "encryption-password",
        "identity",
        "ipsec-secret",
        "key",
        "l2tp-secret",
        "mac-auth-password",
        "management-protection-key",
        "md5-key",
        "mschapv2-password",
        "nv2-preshared-key",
        "nv2-sync-secret",
        "passphrase",
        "password",
        "pin",
        "pre-shared-key",
        "preshared-key",
        "private-key",
        "private-passphrase",
        "private-pre-shared-key",
        "psk",
        "secret",
        "shared-secret",
        "sim-pin",
        "static-key-0",
        "static-key-1",
        "static-key-2",
        "static-key-3",
        "static-sta-private-key",
        "tcp-md5-key",
        "token",
        "wireless-enc-key",
        "wireless-psk",
        "wpa-pre-shared-key",
        "wpa2-pre-shared-key",
    },
)

# `key` is the name of a variable in `/container envs` and of a key in `/ip ipsec identity`, `identity` the name of a
# switch in `/system swos`: all three stand in exports that hide secrets.
_SECRET_IN_FEW_MENUS: Final = frozenset({"identity", "key"})

# Of `/ip hotspot profile`, `/interface lte`, `/tool sms` and `/disk`: not known whether RouterOS hides them.
_BY_NAME_ONLY: Final = frozenset({"encryption-key", "mac-auth-password", "pin", "sim-pin"})

_ONLY_THERE: Final[Mapping[bytes, frozenset[str]]] = {
    b"/tool romon": frozenset({"secrets"}),
    b"/tool romon port": frozenset({"secrets"}),
    b"/zerotier": frozenset({"identity"}),  # ends in the private key; not known whether any version hides it
}

# Shown by routers that hide secrets, so they say nothing about whether secrets are hidden:
_SHOWN_ALL_THE_SAME: Final[Mapping[bytes, frozenset[str]]] = {
    # 7.6 and 7.11.2, beside OpenVPN clients without `password=`
    b"/routing ospf interface-template": frozenset({"auth-key"}),
    # of the same kind, but by name not covered anyway, so that no line is needed here: `/snmp community name=` (7.18,
    # beside WireGuard interfaces without `private-key=`), `/snmp trap-community=`, `/container envs value=`, and
    # whatever a script holds
}

_HIDDEN_ANYWHERE: Final = SECRET_KEYS - _SECRET_IN_FEW_MENUS - _BY_NAME_ONLY

# How names of secrets end, whatever comes before; and which are one only as a whole word.
_ENDS: Final = ("passphrase", "passwd", "password", "pin", "psk", "secret", "secrets", "token")
_WORDS: Final = ("cak", "key", *(f"static-key-{digit}" for digit in range(10)))
_NO_SECRETS: Final = ("public-key", "static-transmit-key")  # the other half of one; which of four is in use
_NO_SECRETS_THERE: Final[Mapping[bytes, frozenset[str]]] = {
    **_SHOWN_ALL_THE_SAME,
    b"/container envs": frozenset({"key"}),  # the name of a variable
    b"/ip ipsec identity": frozenset({"key", "remote-key"}),  # names of keys, which no export holds
}

# Secrets by their menu, not by their name: a community is the password of SNMP, a variable of a container often one.
_MASKED_THERE: Final[Mapping[str, frozenset[str]]] = {
    "snmp/community": frozenset({"name"}),
    "snmp": frozenset({"trap-community"}),
    "container/envs": frozenset({"value"}),
}
# And by names that no rule about endings covers: of LoRa's join servers, and of SNMP in other menus than its own.
_MASKED_ANYWHERE: Final = frozenset({"app-skey", "appkey", "nwk-skey", "nwkkey", "snmp-community"})
_LONGEST_NAME: Final = 200  # bytes; longer names are no properties of RouterOS, and are not looked at a second time

_LITERALS: Final = tuple(word.encode() for word in (*_ENDS, "cak", "key", "identity"))

MENUS: Final = frozenset({*_ONLY_THERE, *_NO_SECRETS_THERE})
"""The menus (canonical paths) for which `hidden_keys` or `ending` differ from what they are for the rest."""


def hidden_keys(menu: bytes) -> frozenset[str]:
    """Give the names of the properties that an export of this menu lacks when it hides secrets."""
    return (_HIDDEN_ANYWHERE | _ONLY_THERE.get(menu, frozenset())) - _SHOWN_ALL_THE_SAME.get(menu, frozenset())


@lru_cache(maxsize=10_000)
def is_secret(component: str, name: str) -> bool:
    """Tell whether a property is masked for those who may not see secrets: all that is one, or looks so.

    `component` is a menu with slashes and without the leading one; whether versions hide it does not matter here. What
    has no name is an item that is not made of tokens: nobody knows what is in it.
    """
    name = name.partition(" (")[0]  # the second of one name
    if not name or name in _MASKED_THERE.get(component, ()):
        return True
    menu = b"/" + component.replace("/", " ").encode()
    if name in _NO_SECRETS_THERE.get(menu, frozenset()) - _SHOWN_ALL_THE_SAME.get(menu, frozenset()):
        return False
    last = name.rpartition(".")[2].lower()
    looks = _pattern(menu if menu in MENUS else b"").search(f" {name[-_LONGEST_NAME:]}=".encode())
    return looks is not None or last in _HIDDEN_ANYWHERE | _BY_NAME_ONLY | _MASKED_ANYWHERE


def ending(menu: bytes, after: bytes = b"=") -> bytes:
    """Give a pattern, to be used with IGNORECASE, for the place behind `after` if a name that looks secret precedes it.

    All that RouterOS is known to hide looks so. A look-behind: names end alike, and may begin anywhere. Most places
    are none, which the last letter alone settles.
    """
    ends = [(end[-1], f"(?<={re.escape(end)}%b)") for end in _ENDS]
    words = (*_WORDS, *_ONLY_THERE.get(menu, ()))
    ends += [(word[-1], rf"(?<=[^a-z0-9]{re.escape(word)}%b)") for word in words]
    tree = (
        f"(?<={last}%b)(?:{'|'.join(one for _, one in those)})"
        for last, those in groupby(sorted(ends), key=itemgetter(0))
    )
    none = [f"(?<!{re.escape(name)}%b)" for name in _NO_SECRETS]
    none += [f"(?<! {re.escape(name)}%b)" for name in sorted(_NO_SECRETS_THERE.get(menu, ()))]
    letters = "".join(sorted({last for last, _ in ends}))
    return f"(?<=[{letters}]%b)(?:{'|'.join(tree)}){''.join(none)}".encode().replace(b"%b", after)


def may_hold_some(text: bytes, after: bytes = b"=") -> bool:
    """Tell at a glance whether there may be such a place in a text in lower case."""
    return any(end + after in text for end in _LITERALS) or b"static-key-" in text


@lru_cache(maxsize=len(MENUS) + 1)
def _pattern(menu: bytes) -> re.Pattern[bytes]:
    return re.compile(ending(menu), re.IGNORECASE)
