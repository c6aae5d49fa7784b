"""A router has at least one host key, and at most one of a type."""

from __future__ import annotations

import pytest

from backupflow.errors import InputInvalid
from backupflow.simulator.keyring import KeyRing
from backupflow.simulator.spec import RouterSpec


def types(ring: KeyRing) -> list[str]:
    """What kinds of key it has."""
    return [key.key_type for key in ring.keys]


def test_keys_come_and_go_and_the_others_stay() -> None:
    """A change replaces the first; the same seed gives the same first key again."""
    spec = RouterSpec("r1", more_host_keys=("ecdsa",))
    ring, again = KeyRing(spec), KeyRing(spec)
    first, second = (key.fingerprint for key in ring.keys)
    assert [key.fingerprint for key in again.keys] == [first, second]
    ring.add("rsa")
    assert types(ring) == ["ed25519", "ecdsa", "rsa"]
    assert ring.change(None).fingerprint != first
    assert ring.keys[1].fingerprint == second
    ring.drop("ed25519")
    assert types(ring) == ["ecdsa", "rsa"]


def test_what_no_router_has_is_refused_and_changes_nothing() -> None:
    """Two keys of a type, or none at all."""
    ring = KeyRing(RouterSpec("r1", more_host_keys=("ecdsa",)))
    for wrong in (lambda: ring.add("ecdsa"), lambda: ring.change("ecdsa"), lambda: ring.drop("rsa")):
        with pytest.raises(InputInvalid):
            wrong()
        assert types(ring) == ["ed25519", "ecdsa"]
    ring.drop("ecdsa")
    with pytest.raises(InputInvalid):
        ring.drop("ed25519")


def test_what_a_server_offers_follows_its_keys() -> None:
    """An RSA key signs with SHA-2, or only with SHA-1; one that speaks only SHA-1 offers nothing else."""
    ring = KeyRing(RouterSpec("r1", more_host_keys=("rsa",)))
    assert list(ring.options(legacy=False).server_host_keys) == [b"ssh-ed25519", b"rsa-sha2-256", b"rsa-sha2-512"]
    assert list(ring.options(legacy=True).server_host_keys) == [b"ssh-rsa"]
    ring.drop("ed25519")
    assert list(ring.options(legacy=False).server_host_keys) == [b"rsa-sha2-256", b"rsa-sha2-512"]
