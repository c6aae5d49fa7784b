"""The real docker-compose.yml, the settings that it is tried with, and its words for podman-compose 1.0.3."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from tests.stack.sources import TREE

COMPOSE = TREE / "docker-compose.yml"
# Rounds of seconds, and leases that run out while one waits.
SETTINGS = {
    "CONFIG_BACKUP_INTERVAL": "20",
    "CONFIG_BACKUP_SPREAD_FROM": "0",
    "CONFIG_BACKUP_SPREAD_TO": "5",
    "CONFIG_BACKUP_MAX_CONCURRENT": "6",
    "CONFIG_BACKUP_CONNECT_TIMEOUT": "4",
    "CONFIG_BACKUP_BANNER_TIMEOUT": "4",
    "CONFIG_BACKUP_LOGIN_TIMEOUT": "6",
    "CONFIG_BACKUP_COMMAND_TIMEOUT": "8",
    "CONFIG_LEASE_GRACE": "4",
    "CONFIG_EMIT_AGAIN_AFTER": "5",
    "CONFIG_LOST_AFTER": "20",
}


def services() -> dict[str, dict[str, Any]]:
    """The services of the real file, by their names."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def translated(compose: str) -> dict[str, Any]:
    """The real file in the words that podman-compose 1.0.3 understands.

    It takes `${NAME:-}` for plain text, and of a health check that two containers share it takes the first word away
    twice.
    """
    found: dict[str, Any] = yaml.safe_load(compose.replace(":-}", "}"))
    for service in found["services"].values():
        test = service.get("healthcheck", {}).get("test", "")
        if isinstance(test, list):
            words = test[1:]
            service["healthcheck"]["test"] = words[0] if test[0] == "CMD-SHELL" else shlex.join(words)
    return found
