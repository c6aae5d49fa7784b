"""The real docker-compose.yml as data, and in the words that podman-compose 1.0.3 understands."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from tests.stack.sources import TREE

COMPOSE = TREE / "docker-compose.yml"


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
