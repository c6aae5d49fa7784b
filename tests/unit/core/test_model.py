"""The values that everything speaks of."""

from __future__ import annotations

import pytest

from backupflow.core.model import HostKey, Login, NormalConfig, Pepper, SealedConfig, content_hash
from backupflow.errors import MessageMalformed


@pytest.mark.parametrize("text", ["", "vault:v0:QQ==", "vault:v1:", "# export", "vault:v1:QQ==\nx", "vault:v1:Q Q"])
def test_only_a_transit_ciphertext_is_sealed(text: str) -> None:
    """Plaintext cannot become a sealed value, so it fits no message and no row."""
    with pytest.raises(MessageMalformed):
        SealedConfig(text)


def test_a_login_does_not_show_its_secrets() -> None:
    """A login that ends in a log or a traceback shows its user and nothing else."""
    shown = repr(Login("backup", "hunter2", "-----BEGIN", "phrase"))
    assert shown == "Login(username='backup')"


def test_a_fingerprint_is_the_one_that_ssh_keygen_prints() -> None:
    """`SHA256:` and unpadded base64 of the key's blob; the value is `printf abc | sha256sum` in base64."""
    assert HostKey("ssh-ed25519", b"abc").fingerprint == "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0"


def test_the_hash_depends_on_the_pepper() -> None:
    """The same text under two peppers has two hashes: a guess of a template cannot be confirmed without the pepper."""
    text = NormalConfig(b"/system identity\nset name=r1\n")
    assert content_hash(Pepper(b"a" * 32), text) != content_hash(Pepper(b"b" * 32), text)
    assert content_hash(Pepper(b"a" * 32), text) == content_hash(Pepper(b"a" * 32), text)
