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
# The room with everything (wiring/rooms.py: adapters know nothing of it), of which the others are copies.
_MAIN = "install"
_ELSEWHERE = (
    "say this with CONFIG_SECRETS_DIR=…/rooms/install (in a composed install: `docker compose run --rm keeper event "
    "secret …`), then run `secrets` again; docs/events.md"
)


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


def new_secret() -> str:
    """One that nobody knows."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def add_secret(folder: Path) -> str:
    """Make one and put it before what is there; Conflict if there are two already.

    SettingsInvalid, here and below, if the file is a copy that cannot or should not be changed.
    """
    found = read_secrets(folder) if (folder / FILE).exists() else []
    if len(found) >= _AT_ONCE:
        raise Conflict("events are signed with two secrets already; end that with `event secret --finish` first")
    made = new_secret()
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
    if folder.name != _MAIN and os.path.exists(folder.parent / _MAIN / FILE):  # noqa: PTH110 - False where it may not look
        raise SettingsInvalid(f"{folder / FILE} is a copy: {_ELSEWHERE}")
    draft = folder / f".{FILE}.new"
    try:
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(fd)
        draft.rename(folder / FILE)
    except OSError as exc:
        raise SettingsInvalid(f"{folder / FILE} cannot be written ({exc.strerror}): {_ELSEWHERE}") from exc
