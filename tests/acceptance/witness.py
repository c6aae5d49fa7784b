"""Watches an install from beside it: what processes show to everybody, and what goes through the broker."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.install import Install
    from tests.acceptance.search import Finder, Hit

_EVERY = 0.2  # seconds between two looks
_GREATEST = 8 * 1024**2  # bytes read of an open file


class Witness:
    """Until it is stopped it keeps whatever this process's children, and theirs, have in argv and environment.

    And what they write to files outside of `known` folders, be they deleted already; and all events of Celery.
    """

    def __init__(self, install: Install, known: tuple[Path, ...]) -> None:
        self.looks = 0
        self.events: list[bytes] = []
        self._seen: dict[tuple[str, bytes], str] = {}
        self._install = install
        self._known = tuple(f"{folder}/" for folder in known)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=what, daemon=True) for what in (self._watch, self._listen)]
        self._listening = threading.Event()
        for thread in self._threads:
            thread.start()
        assert self._listening.wait(10)

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def search(self, finder: Finder) -> set[Hit]:
        """Look for markers in all that was seen."""
        seen = list(self._seen.items())  # it goes on looking
        hits = {hit for (kind, data), name in seen for hit in finder.in_bytes(f"{kind} of {name}", data)}
        return hits | finder.in_bytes("events", b"\n".join(self.events))

    def look(self) -> None:
        """Look once."""
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
                name = process.name()
                for kind in ("cmdline", "environ"):
                    self._seen.setdefault((kind, Path(f"/proc/{process.pid}/{kind}").read_bytes()), name)
                for data in self._written(process.pid):
                    self._seen.setdefault(("open file", data), name)
        self.looks += 1

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY):
            self.look()

    def _written(self, pid: int) -> Iterator[bytes]:
        """What lies in the regular files that a process has open for writing, outside of the known folders."""
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                flags = Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text("ascii").partition("flags:")[2].split()[0]
                if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY and stat.S_ISREG(fd.stat().st_mode):
                    place = str(fd.readlink())
                    if not place.startswith(self._known):
                        with fd.open("rb") as file:
                            yield place.encode() + b"\n" + file.read(_GREATEST)

    def _listen(self) -> None:
        """Celery's events, as its monitors get them: with the arguments of every task."""
        with redis.Redis.from_url(self._install.wiring.broker_url("flower")) as client, client.pubsub() as channel:
            channel.psubscribe("/0.celeryev/*")
            while not self._ended.is_set():
                message = channel.get_message(timeout=_EVERY)
                self._listening.set()
                if message and isinstance(message["data"], bytes):
                    self.events.append(message["data"])
