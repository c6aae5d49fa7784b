"""The secrets that events are signed with: a file of its own, one a line, the newest first (Standard Webhooks)."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from typing import TYPE_CHECKING

from backupflow.errors import Conflict, SettingsInvalid

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "whsec_"
FILE = "events.webhook"
_BYTES = 32
_FEWEST, _MOST = 24, 64  # bytes, by the specification
_AT_ONCE = 2  # while one takes the place of the other


def read_secrets(folder: Path) -> list[str]:
    """All of them, the newest first; SettingsInvalid if there is none, or one that cannot be one."""
    try:
        text = (folder / FILE).read_text(encoding="ascii")
    except FileNotFoundError:
        raise SettingsInvalid(f"{FILE} is missing: `backupflow event secret` makes it") from None
    except (OSError, UnicodeDecodeError):
        raise SettingsInvalid(f"{FILE} cannot be read") from None
    found = text.split()
    if not found or len(found) > _AT_ONCE or not all(_good(secret) for secret in found):
        raise SettingsInvalid(f"{FILE} does not hold one or two secrets of the form {PREFIX}…")
    return found


def add_secret(folder: Path) -> str:
    """Make one and put it before what is there; Conflict if there are two already."""
    found = read_secrets(folder) if (folder / FILE).exists() else []
    if len(found) >= _AT_ONCE:
        raise Conflict("events are signed with two secrets already; end that with `event secret --finish` first")
    made = PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()
    _write(folder, [made, *found])
    return made


def retire_secrets(folder: Path) -> int:
    """Keep the newest only; how many went."""
    newest, *older = read_secrets(folder)
    if older:
        _write(folder, [newest])
    return len(older)


def _good(secret: str) -> bool:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        return False
    return secret.startswith(PREFIX) and _FEWEST <= len(key) <= _MOST


def _write(folder: Path, lines: list[str]) -> None:
    """Whole or not at all; its owner alone may read it."""
    draft = folder / f".{FILE}.new"
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(fd)
    draft.rename(folder / FILE)
