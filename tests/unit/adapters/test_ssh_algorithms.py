"""What is offered to a server, and how what it offers is put into words."""

from __future__ import annotations

import socket

import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paramiko.auth_handler import AuthHandler

from backupflow.adapters.ssh.algorithms import (
    host_key_algorithms,
    lacks_pinned_type,
    listed,
    mismatch,
    offer,
    speaks_only_legacy,
)
from backupflow.adapters.ssh.internals import AuthHandlerInside, TransportInside
from backupflow.adapters.ssh.transport import Transport
from backupflow.adapters.ssh.userauth import LoginHandler
from backupflow.adapters.ssh.wire import Wire
from backupflow.core.model import ExpectedKey, HostKey, TrustedHow
from backupflow.errors import AlgorithmsIncompatible

ED25519 = HostKey("ssh-ed25519", b"x")
RSA = HostKey("ssh-rsa", b"x")
SHA1 = ("sha1", "ssh-rsa", "ssh-dss", "cbc", "md5")


def offered(pinned: HostKey | None, *, legacy: bool) -> dict[str, tuple[str, ...]]:
    """What a transport offers."""
    left, right = socket.socketpair()
    with right, Wire(fileno=left.detach()) as wire:
        transport = Transport(wire, lambda: None)
        offer(transport, pinned, legacy=legacy)
        return {**transport.ours(), "all host keys": tuple(transport.preferred_keys)}


def test_nothing_weak_is_offered_unless_the_device_says_so() -> None:
    """No SHA-1, no CBC, in no list."""
    names = [name for names in offered(None, legacy=False).values() for name in names]
    assert names
    assert not [name for name in names if any(weak in name for weak in SHA1)]


def test_what_old_routers_need_is_offered_last_and_only_on_request() -> None:
    """A router that can do better does; DSA and MD5 are never spoken."""
    legacy = offered(None, legacy=True)
    for kind, names in offered(None, legacy=False).items():
        assert legacy[kind][: len(names)] == names
    every = {name for names in legacy.values() for name in names}
    if paramiko.__version__ < "5":  # 5 has no SHA-1 at all
        assert {"ssh-rsa", "diffie-hellman-group14-sha1", "hmac-sha1"} <= every
    assert {"aes128-cbc", "3des-cbc"} <= every
    assert not {name for name in every if "md5" in name or "dss" in name}


def test_the_cheapest_algorithms_go_first() -> None:
    """A handshake with the curve costs a thirteenth of one with a 4096-bit group."""
    ours = offered(None, legacy=False)
    assert ours["key exchange"][:3] == ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
    assert ours["cipher"][0] == "aes128-gcm@openssh.com"
    assert ours["host key"][0] == "ssh-ed25519"


@pytest.mark.parametrize(
    ("pinned", "legacy", "first"),
    [
        (ED25519, False, ("ssh-ed25519",)),
        (HostKey("ecdsa-sha2-nistp384", b"x"), True, ("ecdsa-sha2-nistp384",)),
        (RSA, False, ("rsa-sha2-512", "rsa-sha2-256")),
        (RSA, True, ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")),
    ],
    ids=str,
)
def test_the_pinned_type_is_asked_for_before_all_others(pinned: HostKey, legacy: bool, first: tuple[str, ...]) -> None:
    """A server that still has it uses it; one that lost it shows another, once each; certificates are none of them."""
    ours = host_key_algorithms(pinned, legacy=legacy)
    assert ours[: len(first)] == first
    assert sorted(ours) == sorted(host_key_algorithms(None, legacy=legacy))
    assert ("ssh-rsa" in ours) == legacy
    known = tuple(name for name in ours if name != "ssh-rsa" or paramiko.__version__ < "5")
    assert offered(pinned, legacy=legacy)["all host keys"] == known


@pytest.mark.parametrize(
    ("types", "legacy", "first"),
    [
        (("ssh-rsa",), False, ("rsa-sha2-512", "rsa-sha2-256")),
        (("ssh-rsa",), True, ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")),
        (("ssh-rsa", "ecdsa-sha2-nistp256"), False, ("ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")),
        ((None, "ssh-dss", "ssh-ed25519\n"), True, ("ssh-ed25519",)),
    ],
    ids=str,
)
def test_expected_types_are_asked_for_before_all_others(
    types: tuple[str | None, ...], legacy: bool, first: tuple[str, ...]
) -> None:
    """A router with several keys shows the one that it is known by; a type that is not spoken here changes nothing."""
    expected = tuple(ExpectedKey("SHA256:x", TrustedHow.KNOWN_HOSTS, key_type) for key_type in types)
    ours = host_key_algorithms(None, legacy=legacy, expected=expected)
    assert ours[: len(first)] == first
    assert sorted(ours) == sorted(host_key_algorithms(None, legacy=legacy))
    assert host_key_algorithms(ED25519, legacy=legacy, expected=expected)[0] == "ssh-ed25519"


def test_a_pin_of_a_type_that_is_not_spoken_is_incompatible() -> None:
    """DSA keys are never accepted."""
    with pytest.raises(AlgorithmsIncompatible):
        host_key_algorithms(HostKey("ssh-dss", b"x"), legacy=True)


def test_an_rsa_key_that_is_used_with_sha1_is_still_the_pinned_type() -> None:
    """That is a matter of algorithms; only a server without the type is a matter of its key."""
    assert not lacks_pinned_type(RSA, {"host key": ["ssh-rsa"]})
    assert lacks_pinned_type(RSA, {"host key": ["ssh-ed25519"]})
    assert lacks_pinned_type(ED25519, {"host key": ["ssh-rsa"]})
    assert not lacks_pinned_type(None, {"host key": ["ssh-rsa"]})
    assert not lacks_pinned_type(RSA, {})


@pytest.mark.parametrize(
    ("signed_with", "legacy", "first"),
    [("ssh-ed25519", False, "rsa-sha2-256"), ("rsa-sha2-512", False, "rsa-sha2-512"), ("ssh-rsa", True, "ssh-rsa")],
)
def test_an_rsa_login_signs_first_as_the_server_does(signed_with: str, legacy: bool, first: str) -> None:
    """A server that does not say what it takes probably takes what it uses itself; SHA-1 only if that is allowed."""
    left, right = socket.socketpair()
    with right, Wire(fileno=left.detach()) as wire:
        transport = Transport(wire, lambda: None)
        offer(transport, RSA if signed_with in host_key_algorithms(RSA, legacy=True) else None, legacy=legacy)
        transport.host_key_type = signed_with
        transport.prefer_rsa_like_the_host_key()
        ways = [name for name in transport.preferred_pubkeys if "rsa" in name]
    assert ways[0] == (first if first in transport.get_security_options().key_types else "rsa-sha2-256")
    assert ("ssh-rsa" in ways) == (legacy and paramiko.__version__ < "5")


@pytest.mark.parametrize(
    ("theirs", "old"),
    [
        ({}, False),
        ({"key exchange": ["diffie-hellman-group14-sha1"]}, True),
        ({"host key": ["ssh-rsa"]}, True),
        ({"cipher": ["3des-cbc"]}, True),
        ({"cipher to it": ["3des-cbc"]}, True),
        ({"MAC": ["hmac-sha1"]}, True),
        ({"MAC to it": ["hmac-sha1"], "cipher": ["aes128-cbc"]}, True),
        ({"MAC": ["hmac-md5"]}, False),
        ({"MAC": ["hmac-sha1"], "cipher": ["chacha20-poly1305@openssh.com"]}, False),
        ({"key exchange": []}, False),
    ],
    ids=str,
)
def test_only_legacy_is_what_sha1_or_cbc_would_make_agree(theirs: dict[str, list[str]], old: bool) -> None:
    """A server that speaks something newer than we know, or nothing known at all, is not a downgrade."""
    today = {"key exchange": ["ecdh-sha2-nistp256"], "host key": ["ssh-ed25519"], "cipher": ["aes256-ctr"]}
    assert speaks_only_legacy(RSA, {**today, **theirs}) == old


def test_a_mismatch_names_only_what_has_nothing_in_common() -> None:
    """With the names that the device offers there."""
    ours = {"key exchange": ["a", "b"], "cipher": ["c"], "MAC": ["m"]}
    theirs = {"key exchange": ["x", "y"], "cipher": ["c", "d"], "MAC": []}
    assert mismatch(ours, theirs) == "key exchange: the device offers x, y; MAC: the device offers nothing"


@given(st.lists(st.text()))
def test_names_that_a_server_sends_are_printable_and_bounded(names: list[str]) -> None:
    """Whatever it sends: what is no name of an algorithm is left out."""
    said = listed(names)
    assert len(said) <= 12 * 66 + 2
    assert said.replace("…", "").isascii()
    assert said.isprintable()


def test_what_is_overridden_is_still_there() -> None:
    """The insides of paramiko have no promise: a version that names them otherwise must not pass unnoticed."""
    for ours, theirs, stub in (
        (Transport, paramiko.Transport, TransportInside),
        (LoginHandler, AuthHandler, AuthHandlerInside),
    ):
        assert stub is theirs
        inside = [name for name in vars(ours) if name.startswith("_") and not name.startswith("__")]
        assert len([name for name in inside if hasattr(theirs, name)]) >= 3
        assert [name for name in inside if not hasattr(theirs, name)] == []
