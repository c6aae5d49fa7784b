"""The secrets that events are signed with: made and retired by a person, each act with its audit row."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupflow.wiring import Wiring


def count(wiring: Wiring) -> int:
    """How many there are; SettingsInvalid if there is none that can be used."""
    from backupflow.adapters.hook import read_secrets

    return len(read_secrets(wiring.settings.servers.secrets_dir))


def first() -> bytes:
    """The file with one secret, for an install whose rooms are filled before anybody can ask for it."""
    from backupflow.adapters.hook import new_secret

    return f"{new_secret()}\n".encode()


def add(wiring: Wiring, actor: str) -> str:
    """Make one, which is shown once; Conflict if there are two already."""
    from backupflow.adapters.hook import add_secret

    with wiring.event_desk("operator").audited("event_secret_made", actor):
        return add_secret(wiring.settings.servers.secrets_dir)


def retire(wiring: Wiring, actor: str) -> int:
    """Keep the newest only; how many went."""
    from backupflow.adapters.hook import retire_secrets

    with wiring.event_desk("operator").audited("event_secrets_retired", actor):
        return retire_secrets(wiring.settings.servers.secrets_dir)
