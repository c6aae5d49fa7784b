"""A driver that behaves as badly as its text says, and the program of a process that reads with it.

Only tests name this program to a ProcessReader; the one that ships knows the vendors' drivers alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupflow.core.driver import Asking, Incomplete, Reading, Reply
    from backupflow.core.model import NormalConfig, RawConfig

NICE_WHILE_READING = 15  # shows from outside that a process is in its driver
NICE_WHEN_TOLD = 18  # set from outside: go on
_PR_GET_DUMPABLE = 3  # linux/prctl.h


class Strange:
    """Reads a text by its first word; whatever has no meaning here is a configuration."""

    name = "routeros"
    secret_keys: frozenset[str] = frozenset()

    def read(self, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
        """Do what the first answer says."""
        word = replies[0].stdout.split(maxsplit=1)[0].decode("ascii", "replace")
        does = _DOES.get(word)
        return does(asking, replies) if does else plain(asking, replies)

    def normalize(self, raw: RawConfig) -> NormalConfig:
        """The same for what is to be interpreted; a text without a meaning is its own normal form."""
        from backupflow.core.driver import Asking, Reply
        from backupflow.core.model import NormalConfig, SecretsPolicy

        word = raw.split(maxsplit=1)[0].decode("ascii", "replace")
        if word in _DOES:
            _DOES[word](Asking(SecretsPolicy.COLLECT, None), [Reply("", raw, b"", 0)])
        return NormalConfig(raw)


def plain(asking: Asking, replies: Sequence[Reply], command: str | None = None) -> Reading:
    """Read a text with a value in every field, made of all that was asked and answered."""
    from backupflow.core.driver import Facts, Outline, Reading
    from backupflow.core.model import NormalConfig, RawConfig, Secrets

    last = replies[-1]
    markers = tuple(f"{reply.command} {reply.exit_status} {len(reply.stderr)}" for reply in replies)
    return Reading(
        raw=RawConfig(last.stdout),
        normal=NormalConfig(last.stdout[::-1]),
        facts=Facts("vendor", "7.14", "a \udcff model", None, "", asking.remembered, markers),
        outline=Outline(3, len(last.stdout), 7, bytes(range(32)), bytes(range(200, 232))),
        secrets=Secrets.HIDDEN,
        command=last.command if command is None else command,
        remember=f"{asking.secrets} {asking.end_mark}",
        exit_status=last.exit_status,
        marked=asking.end_mark is not None,
        ended=bool(last.exit_status),
        may_hide=bool(last.stderr),
    )


def _look(asking: Asking, replies: Sequence[Reply]) -> Reading:
    """Say what this process is: nothing of it depends on the text."""
    import backupflow

    seen = {
        "argv": sys.orig_argv,
        "environment": dict(os.environ),
        "cwd": str(Path.cwd()),
        "package": backupflow.__file__,
        "json": json.__file__,
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "files": resource.getrlimit(resource.RLIMIT_FSIZE),
        "dumpable": ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0),
        "descriptors": [str(path) for path in Path("/proc/self/fd").iterdir()],
    }
    return plain(asking, replies, json.dumps(seen))


def _incomplete(_asking: Asking, _replies: Sequence[Reply]) -> Incomplete:
    from backupflow.core.driver import Incomplete, Reason

    return Incomplete(Reason.INTERRUPTED, "as it should be")


def _never_ends(_asking: Asking, _replies: Sequence[Reply]) -> NoReturn:
    """Hold the interpreter in one call for longer than anybody lives."""
    re.match(rb"(a+)+$", b"a" * 64 + b"!")
    raise AssertionError


def _waits(_asking: Asking, _replies: Sequence[Reply]) -> NoReturn:
    while True:
        time.sleep(3600)


def _waits_until_told(asking: Asking, replies: Sequence[Reply]) -> Reading:
    while os.getpriority(os.PRIO_PROCESS, 0) != NICE_WHEN_TOLD:
        time.sleep(0.01)
    return plain(asking, replies)


def _takes_memory(_asking: Asking, _replies: Sequence[Reply]) -> NoReturn:
    taken = []
    while True:
        taken.append(bytes(64 * 1024 * 1024))


def _raises(_asking: Asking, replies: Sequence[Reply]) -> NoReturn:
    raise KeyError(replies[0].stdout)


def _crashes(_asking: Asking, _replies: Sequence[Reply]) -> NoReturn:
    ctypes.string_at(0)
    raise AssertionError


def _floods(_asking: Asking, _replies: Sequence[Reply]) -> NoReturn:
    while True:
        os.write(1, bytes(65536))


def _babbles(_asking: Asking, _replies: Sequence[Reply]) -> NoReturn:
    os.write(1, b"\x00\x00\x00\x02{}")
    os._exit(0)


def _falls_silent(_asking: Asking, _replies: Sequence[Reply]) -> NoReturn:
    os.close(1)
    while True:
        time.sleep(3600)


_DOES: dict[str, Callable[[Asking, Sequence[Reply]], Reading | Incomplete]] = {
    "look": _look,
    "incomplete": _incomplete,
    "never_ends": _never_ends,
    "waits": _waits,
    "waits_until_told": _waits_until_told,
    "takes_memory": _takes_memory,
    "raises": _raises,
    "crashes": _crashes,
    "floods": _floods,
    "babbles": _babbles,
    "falls_silent": _falls_silent,
}


def main() -> None:
    """Be the reading process, with the strange driver for the only one."""
    sys.path.append(sys.argv[1])
    from backupflow import drivers
    from backupflow.adapters.reader import child

    class InProcess(Strange):
        def read(self, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
            os.setpriority(os.PRIO_PROCESS, 0, NICE_WHILE_READING)
            return super().read(asking, replies)

        def normalize(self, raw: RawConfig) -> NormalConfig:
            os.setpriority(os.PRIO_PROCESS, 0, NICE_WHILE_READING)
            return super().normalize(raw)

    vars(drivers)["DRIVERS"] = {Strange.name: InProcess()}
    child.main(*map(int, sys.argv[2:]))


if __name__ == "__main__":
    main()
