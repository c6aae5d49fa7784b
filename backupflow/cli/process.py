"""`backupflow process NAME`: becomes one process of an install; what containers and units of systemd run."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from backupflow.cli import output
from backupflow.cli.processes import Process, processes
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from types import FrameType

_LOOK_EVERY = 0.5
_TELL_EVERY = 10.0
_WHAT_TO_DO = ": `provision` writes them, or set it to the folder that has them (docs/how-to/scale-out.md); Ctrl-C ends"


def process(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="beat, collect, collect-slow, flower, ingest, interpret, maintain or status.",
        ),
    ],
) -> None:
    """Become one process of an install, with the logins in CONFIG_SECRETS_DIR; for containers and systemd.

    \b
    Waits until its logins are there. `up` runs all of them, so on one machine this is not needed. --data-dir is of no
    use here: addresses and the folder of the logins are settings.
    Example: backupflow process collect
    """  # noqa: D301 - \b keeps the lines as they stand
    from backupflow.settings import Settings
    from backupflow.wiring import ADDRESSES, Wiring
    from backupflow.wiring.rooms import logins

    settings = Settings()
    wanted = _find(name, settings.collecting.max_concurrent)
    end_on_sigterm()
    needed = logins(wanted.role)
    _wait_for(settings.servers.secrets_dir, needed)
    with closing(Wiring(settings)) as found:
        found.require_addresses(wanted.role, ADDRESSES.keys() & {name.partition(".")[2] for name in needed})
    _become(wanted)


def end_on_sigterm() -> None:
    """End at SIGTERM: the first process of a container is not ended by it unless it says so."""
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _find(name: str, max_concurrent: int) -> Process:
    there = {process.name: process for process in processes(max_concurrent, status=True, flower=True)}
    if name not in there:
        raise InputInvalid(f"there is no process {name!r}; there are {', '.join(sorted(there))}")
    return there[name]


def _wait_for(folder: Path, names: tuple[str, ...]) -> None:
    """A line at once and every 10 s, as long as a login is missing."""
    told: float | None = None
    while missing := [name for name in names if not os.access(folder / name, os.R_OK)]:
        now = time.monotonic()
        if told is None or now - told >= _TELL_EVERY:
            told = now
            output.note(f"waiting for {', '.join(missing)} in CONFIG_SECRETS_DIR={folder}{_WHAT_TO_DO}")
        time.sleep(_LOOK_EVERY)


def _become(wanted: Process) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(wanted.argv[0], wanted.argv, {**os.environ, "CONFIG_ROLE": wanted.role})  # noqa: S606 - no shell is wanted
