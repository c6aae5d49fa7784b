"""A fleet written down: the lines that a simulator announces may start the same fleet again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from backupflow.errors import InputInvalid
from backupflow.simulator.behaviour import Behaviour
from backupflow.simulator.spec import Login, RouterSpec

if TYPE_CHECKING:
    from pathlib import Path

_KEY_TYPES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa", "ecdsa-sha2-nistp256": "ecdsa"}
_PLAIN = ("name", "seed", "version", "model", "serial", "identity", "legacy", "size", "marker", "host", "port")


def read_roster(path: Path) -> list[RouterSpec]:
    """One router a line; raises InputInvalid (with the number of the line) and OSError."""
    found = []
    for number, row in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(_spec(json.loads(row)))
        except (ValueError, TypeError, KeyError, InputInvalid) as exc:
            msg = f"line {number} of the routers: {exc}"
            raise InputInvalid(msg) from exc
    return found


def _spec(given: dict[str, Any]) -> RouterSpec:
    login = Login(given.get("username", "backup"), given.get("password"), tuple(given.get("public_keys", ())))
    key_type = given.get("host_key_type", "ed25519")
    return RouterSpec(
        **{name: given[name] for name in _PLAIN if name in given},
        logins=(login,),
        host_key_type=_KEY_TYPES.get(key_type, key_type),
        behaviour=Behaviour().changed(given.get("behaviour", {})),
    )
