"""Which properties of RouterOS hold secrets, and which of them it leaves out of an export when it hides secrets.

The two differ, and no manual lists either. What is known was read off real exports of which another property shows
whether secrets were hidden in them (a `/ppp secret` without `password=`, a WireGuard interface without
`private-key=`); where nothing is known, a name that says "secret" is taken at its word.
"""

from __future__ import annotations

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
        "encryption-password",
        "identity",
        "ipsec-secret",
        "key",
        "l2tp-secret",
        "management-protection-key",
        "md5-key",
        "mschapv2-password",
        "nv2-preshared-key",
        "nv2-sync-secret",
        "passphrase",
        "password",
        "pre-shared-key",
        "preshared-key",
        "private-key",
        "private-passphrase",
        "private-pre-shared-key",
        "psk",
        "secret",
        "shared-secret",
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

_HIDDEN_ANYWHERE: Final = SECRET_KEYS - _SECRET_IN_FEW_MENUS

MENUS: Final = frozenset({*_ONLY_THERE, *_SHOWN_ALL_THE_SAME})
"""The menus (canonical paths) for which `hidden_keys` gives other names than for the rest."""


def hidden_keys(menu: bytes) -> frozenset[str]:
    """Give the names of the properties that an export of this menu lacks when it hides secrets."""
    return (_HIDDEN_ANYWHERE | _ONLY_THERE.get(menu, frozenset())) - _SHOWN_ALL_THE_SAME.get(menu, frozenset())
