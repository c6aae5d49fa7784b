"""`backupflow site`: devices that stand at one place."""

from __future__ import annotations

from backupflow.cli.scope_commands import commands_of
from backupflow.core.scopes import ScopeKind

app = commands_of(
    ScopeKind.SITE,
    "north",
    "Sites: one login, one way and the same settings for all devices at a place.\n\n"
    "The word of a device and of its group stands over that of its site, a site's over that of the tenant.",
)
