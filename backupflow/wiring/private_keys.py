"""Whether a private key can log in anywhere, looked at before it is sealed and nobody can look any more."""

from __future__ import annotations


def is_public(text: str) -> bool:
    """Whether it is a public key, which anybody may read."""
    from backupflow.adapters.ssh import login

    return login.is_public(text)


def check(text: str, passphrase: str | None) -> None:
    """Open it; LoginUnusable says why it does not, without a word of it."""
    from backupflow.adapters.ssh.login import private_key

    private_key(text, passphrase)
