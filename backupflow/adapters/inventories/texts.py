"""Files of another tool: read whole and bounded; which of them hold passwords, and which of those others may read."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backupflow.errors import InputInvalid, NotFound

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_FILE = 16 * 1024 * 1024  # bytes; a router.db of 100,000 lines has less
LARGEST_KEY = 64 * 1024
_OTHERS = stat.S_IRGRP | stat.S_IROTH


@dataclass(slots=True)
class Texts:
    """Reads files and remembers what there is to be said of them."""

    with_secrets: list[str] = field(default_factory=list)  # that still hold passwords when all is done
    exposed: list[str] = field(default_factory=list)  # those of them that others may read

    def read(self, path: Path, largest: int = LARGEST_FILE) -> str:
        """The text of a regular file, with plain line ends; NotFound, or InputInvalid if it is too large or no text."""
        try:
            with path.open("rb") as file:
                about = os.fstat(file.fileno())
                if not stat.S_ISREG(about.st_mode):
                    raise InputInvalid(f"{path} is not a file")
                data = file.read(largest + 1)
        except OSError as exc:
            raise NotFound(f"{path} cannot be read: {exc.strerror}") from exc
        if len(data) > largest:
            raise InputInvalid(f"{path} has more than {largest} bytes")
        if b"\0" in data:
            raise InputInvalid(f"{path} is not a text")
        return _text(data)

    def holds_secrets(self, path: Path) -> None:
        """Remember that a file that was read holds passwords."""
        if str(path) in self.with_secrets:
            return
        self.with_secrets.append(str(path))
        if path.stat().st_mode & _OTHERS:
            self.exposed.append(str(path))


def _text(data: bytes) -> str:
    """UTF-8 with or without its mark, else ISO 8859-1, which each byte is a character of."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("iso-8859-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
