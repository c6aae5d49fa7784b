"""Which properties hold secrets."""

from __future__ import annotations

import re

import pytest

from backupflow.drivers import driver
from backupflow.drivers.routeros.secrets import MENUS, SECRET_KEYS, ending, hidden_keys


def test_secret_properties_are_known_by_name() -> None:
    """The keys that hold passwords and keys, without their prefix."""
    assert driver("routeros").secret_keys == SECRET_KEYS
    assert {"password", "secret", "private-key", "wpa2-pre-shared-key", "passphrase"} <= SECRET_KEYS
    assert "name" not in SECRET_KEYS


def test_a_menu_hides_what_routers_were_seen_to_hide_there() -> None:
    """Names that mean something else elsewhere count in their own menu only."""
    anywhere = hidden_keys(b"/ppp secret")
    assert "password" in anywhere
    assert not {"identity", "key", "name"} & anywhere
    assert "identity" in hidden_keys(b"/zerotier")
    assert "identity" not in hidden_keys(b"/system swos")
    assert "secrets" in hidden_keys(b"/tool romon")
    assert "auth-key" in anywhere
    assert "auth-key" not in hidden_keys(b"/routing ospf interface-template")


@pytest.mark.parametrize("name", sorted(SECRET_KEYS - {"identity"}))
def test_all_that_is_known_to_be_a_secret_looks_so(name: str) -> None:
    """The list of names goes further than that of what RouterOS hides."""
    assert looks(b"/any", name)
    assert looks(b"/any", "x." + name.upper())


@pytest.mark.parametrize(
    ("menu", "name", "is_one"),
    [
        (b"/ip hotspot profile", "mac-auth-password", True),
        (b"/interface lte", "pin", True),
        (b"/disk", "encryption-key", True),
        (b"/any", "some-new-secret", True),
        (b"/any", "key", True),
        (b"/any", "turnkey", False),
        (b"/any", "key-id", False),
        (b"/any", "password-hint", False),
        (b"/interface wireguard peers", "public-key", False),
        (b"/interface wireguard peers", "preshared-key", True),
        (b"/interface wireless security-profiles", "static-transmit-key", False),
        (b"/interface wireless security-profiles", "static-key-3", True),
        (b"/container envs", "key", False),
        (b"/container envs", "password", True),
        (b"/ip ipsec identity", "remote-key", False),
        (b"/ip ipsec identity", "secret", True),
        (b"/routing ospf interface-template", "auth-key", False),
        (b"/routing ospf interface", "auth-key", True),
        (b"/zerotier", "identity", True),
        (b"/system swos", "identity", False),
    ],
)
def test_a_secret_is_told_by_its_name_and_where_it_stands(menu: bytes, name: str, is_one: bool) -> None:
    """Where nothing is known a name is taken at its word; the exceptions are known."""
    assert looks(menu, name) is is_one


def looks(menu: bytes, name: str) -> bool:
    """Whether a property of this name looks like a secret."""
    return re.search(b"=" + ending(menu), f"add {name}=x".encode(), re.IGNORECASE) is not None


def test_every_menu_with_names_of_its_own_is_listed() -> None:
    """The patterns are made for these menus only."""
    own = [(hidden_keys(menu), ending(menu)) for menu in MENUS]
    assert (hidden_keys(b"/any"), ending(b"/any")) not in own
