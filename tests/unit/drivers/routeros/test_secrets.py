"""Which properties hold secrets."""

from __future__ import annotations

from backupflow.drivers import driver
from backupflow.drivers.routeros.secrets import MENUS, SECRET_KEYS, hidden_keys


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


def test_every_menu_with_names_of_its_own_is_listed() -> None:
    """The patterns are made for these menus only."""
    assert all(hidden_keys(menu) != hidden_keys(b"/any") for menu in MENUS)
