"""`backupflow group`: devices that belong together, whatever their site."""

from __future__ import annotations

from backupflow.cli.scope_commands import commands_of
from backupflow.core.scopes import ScopeKind

app = commands_of(
    ScopeKind.GROUP,
    "access",
    "Groups of devices: one login, one way and the same settings for all of a kind.\n\n"
    "A device's own word stands over that of its group, a group's over that of the site.",
)
