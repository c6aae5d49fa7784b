"""The log files of the programs: bounded in size, and without the place of the data folder, which may be moved."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LONGEST_LINE = 65_536
_TAIL = 20


def rotate(path: Path, keep: int) -> None:
    """Move `x.log` to `x.log.1`, that to `x.log.2`, and so on; the one beyond `keep` goes."""
    for number in range(keep, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        newer = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
        with suppress(FileNotFoundError):
            newer.rename(older)


class BoundedLog:
    """One log file of at most `limit` bytes, and the `keep` before it; readable by its owner alone."""

    def __init__(
        self,
        path: Path,
        *,
        hide: str = "",
        on_line: Callable[[str], None] | None = None,
        limit: int = 10_000_000,
        keep: int = 2,
    ) -> None:
        self.path = path
        self._on_line = on_line
        self.last: deque[str] = deque(maxlen=_TAIL)
        self._hide = hide.encode()
        self._limit = limit
        self._keep = keep

    def follow(self, stream: IO[bytes]) -> threading.Thread:
        """Copy what comes until the stream ends, in a thread of its own."""
        thread = threading.Thread(target=self._copy, args=(stream,), name=f"log {self.path.name}", daemon=True)
        thread.start()
        return thread

    def _copy(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(_LONGEST_LINE):
                self.write(line)

    def write(self, line: bytes) -> None:
        """Append a line; a full disk or a closed terminal costs lines, never the program that wrote them."""
        if self._hide:
            line = line.replace(self._hide, b".")
        text = line.decode("utf-8", "replace").rstrip()
        self.last.append(text)
        if self._on_line:
            with suppress(OSError, ValueError):
                self._on_line(text)
        with suppress(OSError):
            if self.path.exists() and self.path.stat().st_size > self._limit:
                rotate(self.path, self._keep)
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(fd, "ab") as file:
                file.write(line)

    def tail(self, lines: int = 3) -> str:
        """The last words, on one printable line: for an error's detail."""
        said = [line for line in self.last if line.strip()][-lines:]
        text = " | ".join(said) or "it said nothing"
        return "".join(letter if letter.isprintable() else " " for letter in text)[-600:]
