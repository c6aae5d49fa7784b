"""Which keys and algorithms a device is spoken to with: a pin and a ratchet, and no way around either."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backupflow.adapters.ssh import SshCollector
from backupflow.core.model import ExpectedKey, HostKey, Login, Target, TrustedHow
from backupflow.errors import (
    AlgorithmsIncompatible,
    AuthenticationFailed,
    BackupflowError,
    HostKeyMismatch,
    OutputTruncated,
    SshDowngraded,
)
from tests.integration.ssh_strangers import ECDSA, RSA, Server, login, new_ed25519, pin, say, serving, target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ED25519 = new_ed25519()
OLD_KEX = {"kex": ("diffie-hellman-group14-sha1",)}
OLD_SIGNATURE = {"key_types": ("ssh-rsa",)}
OLD_CIPHER = {"ciphers": ("aes128-cbc",)}
OLD_MAC = {"digests": ("hmac-sha1",), "ciphers": ("aes256-ctr",)}
ONLY_OLD = {
    "key exchange: the device offers diffie-hellman-group14-sha1": OLD_KEX,
    "host key: the device offers ssh-rsa": OLD_SIGNATURE,
    "cipher: the device offers aes128-cbc; cipher to it: the device offers aes128-cbc": OLD_CIPHER,
    "MAC: the device offers hmac-sha1; MAC to it: the device offers hmac-sha1": OLD_MAC,
}
WHOLE = ("eof", "status", "close")


def server(speaks: Mapping[str, tuple[str, ...]], *keys: paramiko.PKey) -> Server:
    """One that answers; with an RSA key if it does not matter which."""
    made = Server(say(*WHOLE))
    made.speaks, made.keys = speaks, keys or (RSA,)
    return made


def spoke_modern(wanted: Target, seen: list[HostKey] | None = None, credentials: Login | None = None) -> bool:
    """Whether a session that collected used modern algorithms only; `seen` receives the key."""
    admit: Callable[[HostKey], None] = (lambda _: None) if seen is None else seen.append
    with SshCollector().session(wanted, admit, lambda: credentials or login()) as session:
        assert session.run("/export").stdout == b"/ip dns\r\n"
        return session.modern


def refused(wanted: Target, kind: type[BackupflowError], match: str, seen: list[HostKey] | None = None) -> None:
    """Expect a refusal before the login was even asked for, whatever `admit` says."""
    admit: Callable[[HostKey], None] = (lambda _: None) if seen is None else seen.append
    with (
        pytest.raises(kind, match=match),
        SshCollector().session(wanted, admit, lambda: pytest.fail("the login was asked for")),
    ):
        pass


# --- modern, and the ratchet -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speaks", "modern"),
    [
        ({}, True),
        (OLD_KEX, False),
        (OLD_SIGNATURE, False),
        (OLD_CIPHER, False),
        (OLD_MAC, False),
        ({**OLD_MAC, "ciphers": ("aes128-gcm@openssh.com",)}, True),
    ],
    ids=["today", "key exchange", "signature", "cipher", "MAC", "a MAC that is not used"],
)
def test_a_connection_is_modern_if_nothing_in_it_is_old(speaks: Mapping[str, tuple[str, ...]], *, modern: bool) -> None:
    """Also where SHA-1 and CBC were offered: what counts is what was agreed on."""
    with serving(server(speaks)) as port:
        assert spoke_modern(replace(target(port), legacy_ssh=True)) == modern


def test_a_mac_that_is_not_used_is_not_negotiated() -> None:
    """A router with GCM and SHA-1 MACs needs no `legacy_ssh`, and one that was modern so is not taken for another."""
    stranger = server({"digests": ("hmac-sha1",), "ciphers": ("aes128-gcm@openssh.com",)})
    stranger.negotiates_macs = False
    with serving(stranger) as port:
        assert spoke_modern(replace(target(port), spoke_modern=True))


@pytest.mark.parametrize(("only", "speaks"), ONLY_OLD.items(), ids=[name.split()[0] for name in ONLY_OLD])
def test_sha1_again_is_refused(only: str, speaks: Mapping[str, tuple[str, ...]]) -> None:
    """A device that once did without is not asked again, whatever its record allows, and with or without a pin."""
    for allowed in (True, False):
        for pinned in (RSA, ED25519, None):
            stranger = server(speaks)
            seen: list[HostKey] = []
            with serving(stranger) as port:
                wanted = replace(target(port, pinned), legacy_ssh=allowed, spoke_modern=True)
                refused(wanted, SshDowngraded, rf"\({only}\)$", seen)
            assert (stranger.heard, seen) == ([], [])


@pytest.mark.parametrize(("only", "speaks"), ONLY_OLD.items(), ids=[name.split()[0] for name in ONLY_OLD])
def test_a_device_that_never_did_better_is_a_matter_of_algorithms(
    only: str, speaks: Mapping[str, tuple[str, ...]]
) -> None:
    """Blocked until SHA-1 is allowed for it, and collected then."""
    with serving(server(speaks)) as port:
        refused(target(port, RSA), AlgorithmsIncompatible, rf"\({only}\)$")
    with serving(server(speaks)) as port:
        assert not spoke_modern(replace(target(port, RSA), legacy_ssh=True))


def test_nothing_old_is_offered_to_a_device_that_spoke_modern() -> None:
    """Not even as the last choice: an attacker in between could leave only that."""
    seen = {}
    for once_modern in (False, True):
        stranger = server({})
        with serving(stranger) as port:
            assert spoke_modern(replace(target(port, RSA), legacy_ssh=True, spoke_modern=once_modern))
        assert stranger.transport is not None
        names = {name for names in stranger.transport.client_offers[0].values() for name in names}
        seen[once_modern] = {name for name in names if "sha1" in name or "cbc" in name or name == "ssh-rsa"}
    assert {"ssh-rsa", "hmac-sha1", "aes128-cbc", "diffie-hellman-group14-sha1"} <= seen[False]
    assert seen[True] == set()


def test_a_device_of_another_age_is_no_downgrade() -> None:
    """What it speaks was never spoken here: that is not what an attacker would offer."""
    stranger = server({"digests": ("hmac-md5",), "ciphers": ("aes256-ctr",)})
    with serving(stranger) as port:
        refused(replace(target(port, RSA), spoke_modern=True), AlgorithmsIncompatible, "hmac-md5")


def exchanges_keys_again(stranger: Server, **speaks: tuple[str, ...]) -> Callable[..., None]:
    """An answer that begins with another key exchange, of other algorithms."""

    def answer(_: paramiko.Transport, channel: paramiko.Channel) -> None:
        transport = stranger.transport
        assert transport is not None
        for field, names in speaks.items():
            setattr(transport.get_security_options(), field, names)
        try:
            transport.renegotiate_keys()
            say(*WHOLE)(transport, channel)
        except (paramiko.SSHException, OSError, EOFError):
            return  # the client has left

    return answer


def test_a_later_key_exchange_counts_too() -> None:
    """The export went through the second one; it may be old only where the first might have been."""
    for allowed, once_modern in ((True, False), (False, False), (True, True)):
        stranger = server({})
        stranger.answer = exchanges_keys_again(stranger, **OLD_KEX)
        with serving(stranger) as port:
            wanted = replace(target(port), legacy_ssh=allowed, spoke_modern=once_modern)
            if allowed and not once_modern:
                assert not spoke_modern(wanted)
            else:
                with pytest.raises(OutputTruncated):
                    spoke_modern(wanted)


def test_a_later_key_exchange_brings_no_other_key() -> None:
    """Whoever was admitted stays: the other key is never seen by `admit`."""
    for speaks, kind in (({"key_types": ("ssh-ed25519",)}, HostKeyMismatch), ({"key_types": ("rsa-sha2-512",)}, None)):
        stranger = server({"key_types": ("rsa-sha2-256",)}, RSA, ED25519)
        stranger.answer = exchanges_keys_again(stranger, **speaks)
        seen: list[HostKey] = []
        with serving(stranger) as port:
            if kind is None:
                assert spoke_modern(target(port, RSA), seen)
            else:
                with pytest.raises(kind):
                    spoke_modern(target(port, RSA), seen)
        assert seen == [pin(RSA)]


# --- the pinned key --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pinned", [ED25519, ECDSA, RSA], ids=lambda key: key.get_name())
def test_a_router_that_adds_a_key_type_keeps_its_pin(pinned: paramiko.PKey) -> None:
    """Whatever it would rather show, it is asked for the pinned one first."""
    for others in ((ED25519, ECDSA, RSA), (RSA, ECDSA, ED25519)):
        seen: list[HostKey] = []
        with serving(server({}, *others)) as port:
            assert spoke_modern(target(port, pinned), seen)
        assert seen == [pin(pinned)]


@pytest.mark.parametrize("pinned", [ED25519, ECDSA, RSA], ids=lambda key: key.get_name())
def test_a_router_that_lost_the_pinned_type_shows_its_new_key(pinned: paramiko.PKey) -> None:
    """`admit` sees it, so that it is on record; nothing is sent, even if `admit` lets it pass."""
    for shown in {ED25519, ECDSA, RSA} - {pinned}:
        seen: list[HostKey] = []
        stranger = server({}, shown)
        with serving(stranger) as port:
            refused(target(port, pinned), HostKeyMismatch, "another key than the pinned one", seen)
        assert seen == [pin(shown)]
        assert stranger.heard == []


def test_another_key_of_the_pinned_type_is_not_logged_in_to() -> None:
    """Nor is one whose bytes are pinned under another type."""
    seen: list[HostKey] = []
    with serving(server({}, new_ed25519())) as port:
        refused(target(port, ED25519), HostKeyMismatch, "another key than the pinned one", seen)
    assert len(seen) == 1
    with serving(server({}, ED25519)) as port:
        disguised = HostKey("ssh-rsa", ED25519.asbytes())
        refused(replace(target(port), pinned=disguised), HostKeyMismatch, "another key than the pinned one")


def test_a_new_type_that_may_not_be_spoken_is_named() -> None:
    """It has ssh-rsa and SHA-1 now, of which it was never known to do without: a changed key, that cannot be seen."""
    with serving(server(OLD_SIGNATURE)) as port:
        refused(target(port, ED25519), HostKeyMismatch, "no host key of the pinned type any more; .*offers ssh-rsa")


def test_a_new_type_is_shown_once_sha1_is_allowed() -> None:
    """After the fall back was answered, the router's other key is an ordinary one, to be seen and compared."""
    seen: list[HostKey] = []
    with serving(server({**OLD_SIGNATURE, **OLD_KEX})) as port:
        refused(replace(target(port, ED25519), legacy_ssh=True, spoke_modern=True), SshDowngraded, "ssh-rsa", seen)
        assert seen == []
    with serving(server({**OLD_SIGNATURE, **OLD_KEX})) as port:
        refused(replace(target(port, ED25519), legacy_ssh=True), HostKeyMismatch, "another key than the pinned", seen)
    assert seen == [pin(RSA)]


def test_a_key_of_no_use_to_anybody_is_no_fall_back() -> None:
    """The pinned type is gone, and something was never spoken here: SHA-1 would not help."""
    with serving(server({"digests": ("hmac-md5",), "ciphers": ("aes256-ctr",)})) as port:
        refused(replace(target(port, ED25519), spoke_modern=True), HostKeyMismatch, "no host key of the pinned type")


def test_an_rsa_key_is_one_key_whatever_it_signs_with() -> None:
    """The stored type and bytes are the same for each signature algorithm, so that one pin admits them all."""
    seen: list[HostKey] = []
    for algorithm in ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"):
        for known in (None, RSA):
            with serving(server({"key_types": (algorithm,)})) as port:
                wanted = replace(target(port, known), legacy_ssh=algorithm == "ssh-rsa")
                assert spoke_modern(wanted, seen) == (algorithm != "ssh-rsa")
    assert set(seen) == {HostKey("ssh-rsa", RSA.asbytes())}
    assert len(seen) == 6


# --- the key of a login ----------------------------------------------------------------------------------------------


def test_a_login_signed_with_sha1_is_not_modern() -> None:
    """Else the ratchet would take from a router the only signature that it takes; without it, nothing is signed."""
    made = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    key = Login("backup", private_key=made.decode())
    for signatures, allowed in ((("ssh-rsa",), True), (("ssh-rsa",), False), (("rsa-sha2-256",), True)):
        stranger = server({}, ED25519)
        stranger.methods, stranger.signatures = "publickey", signatures
        with serving(stranger) as port:
            wanted = replace(target(port), legacy_ssh=allowed)
            if allowed:
                assert spoke_modern(wanted, credentials=key) == (signatures != ("ssh-rsa",))
            else:
                with pytest.raises(AuthenticationFailed, match="signature"):
                    spoke_modern(wanted, credentials=key)


def test_no_thread_is_left_by_a_refusal() -> None:
    """Each of the refusals above ends the connection that it was about."""
    with serving(server(OLD_KEX)) as port:
        refused(replace(target(port, RSA), spoke_modern=True), SshDowngraded, "group14-sha1")
        assert not [thread for thread in threading.enumerate() if type(thread).__name__ == "Transport"]


@pytest.mark.parametrize("wanted", [RSA, ED25519, ECDSA], ids=lambda key: str(key.get_name()))
def test_a_server_with_several_keys_shows_the_expected_one(wanted: paramiko.PKey) -> None:
    """The type that a file or a person foretold is asked for first; the key is admitted before any login."""
    expected = (ExpectedKey(pin(wanted).fingerprint, TrustedHow.KNOWN_HOSTS, wanted.get_name()),)
    seen: list[HostKey] = []
    with serving(server({}, RSA, ED25519, ECDSA)) as port:
        assert spoke_modern(replace(target(port), expected=expected), seen)
    assert seen == [pin(wanted)]
