"""Where configurations go: to a file for its owner alone, or to stdout byte for byte."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from backupflow.cli import output
from backupflow.cli.exits import Exit

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.core.model import RawConfig


def to_stdout(raw: RawConfig) -> None:
    """The raw bytes; on a terminal with control characters made visible."""
    if sys.stdout.isatty():
        for line in raw.decode("utf-8", "backslashreplace").replace("\r\n", "\n").split("\n"):
            output.say(line)
        return
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()


def write_private(path: Path, raw: RawConfig, *, force: bool) -> None:
    """A file for its owner alone, whole or not at all; never over one that is there unless forced."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(fd)
            if force:
                draft.replace(path)
            else:
                os.link(draft, path)  # fails if it is there, unlike a rename
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        output.stop(Exit.WOULD_OVERWRITE, f"{path} is there already: --force replaces it")
    except OSError as exc:
        output.stop(Exit.WOULD_OVERWRITE, f"{path} cannot be written: {exc.strerror}")
