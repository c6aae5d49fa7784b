"""Tells events: to a command, or to an address that takes a signed POST."""

from __future__ import annotations

from backupflow.adapters.hook.command import CommandHook
from backupflow.adapters.hook.secrets import add_secret, new_secret, read_secrets, retire_secrets
from backupflow.adapters.hook.web import WebHook

__all__ = ["CommandHook", "WebHook", "add_secret", "new_secret", "read_secrets", "retire_secrets"]
