"""Private keys of logins, in each format in which operators have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from backupflow.adapters.ssh.login import private_key
from backupflow.errors import LoginUnusable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

PASSPHRASE = "pa§phrase"
KEYS: dict[str, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {
    "ssh-ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ecdsa-sha2-nistp256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-sha2-nistp521": ec.generate_private_key(ec.SECP521R1()),
    "ssh-rsa": rsa.generate_private_key(65537, 2048),
}
FORMATS = {
    "OpenSSH": serialization.PrivateFormat.OpenSSH,
    "PKCS#8": serialization.PrivateFormat.PKCS8,
    "PEM": serialization.PrivateFormat.TraditionalOpenSSL,
}


def written(key: PrivateKeyTypes, form: str, passphrase: str | None) -> str:
    """The key as an operator has it."""
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        lock = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, FORMATS[form], lock).decode()


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["open", "locked"])
@pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind in KEYS for form in FORMATS if (kind, form) != ("ssh-ed25519", "PEM")]
)
def test_a_key_opens_in_each_format(kind: str, form: str, passphrase: str | None) -> None:
    """RSA, ECDSA and Ed25519, with and without a passphrase: it is the same key afterwards."""
    key = private_key(written(KEYS[kind], form, passphrase), passphrase)
    public = KEYS[kind].public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert f"{key.get_name()} {key.get_base64()}" == public.decode()


@pytest.mark.parametrize("given", [None, "", "another"], ids=str)
def test_a_key_that_does_not_open_is_a_login_that_cannot_be_used(given: str | None) -> None:
    """Without a word of the key or the passphrase, and without the foreign error, which could hold either."""
    for form in FORMATS:
        with pytest.raises(LoginUnusable) as failure:
            private_key(written(KEYS["ssh-rsa"], form, PASSPHRASE), given)
        assert failure.value.__suppress_context__
        assert str(given or PASSPHRASE) not in str(failure.value)


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END"], ids=str)
def test_what_is_no_key_is_a_login_that_cannot_be_used(text: str) -> None:
    """A file of another kind, or a part of one."""
    with pytest.raises(LoginUnusable):
        private_key(text, None)


def test_a_key_of_a_type_that_is_not_spoken_is_a_login_that_cannot_be_used() -> None:
    """DSA, which no current router takes."""
    with pytest.raises(LoginUnusable, match="type"):
        private_key(written(dsa.generate_private_key(1024), "PKCS#8", None), None)  # noqa: S505 - quick to make


@pytest.mark.parametrize(
    ("text", "passphrase", "says"),
    [
        ("ssh-ed25519 AAAAC3Nz backup@here\n", None, "a public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n", None, "a public key"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\n", None, "a public key"),
        ("hunter2\n", None, "not a private key"),
        (written(KEYS["ssh-ed25519"], "OpenSSH", PASSPHRASE), None, "needs its passphrase"),
        (written(KEYS["ssh-rsa"], "PEM", PASSPHRASE), None, "needs its passphrase"),
        (written(KEYS["ssh-ed25519"], "OpenSSH", PASSPHRASE), "another", "does not open with its passphrase"),
        (written(KEYS["ssh-ed25519"], "OpenSSH", None), PASSPHRASE, "has no passphrase"),
        (written(KEYS["ssh-rsa"], "PKCS#8", None)[:400], None, "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 and "\n" not in value else "key",
)
def test_what_is_wrong_with_a_key_is_said(text: str, passphrase: str | None, says: str) -> None:
    """Each has another remedy: another file, or the passphrase."""
    with pytest.raises(LoginUnusable, match=says):
        private_key(text, passphrase)
