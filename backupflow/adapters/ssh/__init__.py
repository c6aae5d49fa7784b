"""SSH through paramiko: connect, check the pinned key, log in once, run, read to the end under a deadline."""

from __future__ import annotations

from backupflow.adapters.ssh.session import SshCollector, SshSession

__all__ = ["SshCollector", "SshSession"]
