"""`backupflow provision`: roles, schema, keys and stream of a composed install, as soon as its servers answer."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import output
from backupflow.cli.secrets import RoomsFolder, Volumes, hand_out
from backupflow.errors import BusUnavailable, ServerUnusable, StoreUnavailable, VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.embedded.rooms import Rooms

_AGAIN_AFTER = 1.0
_TELL_EVERY = timedelta(seconds=10)
_NOT_YET = (StoreUnavailable, VaultUnavailable, BusUnavailable, ServerUnusable)


def provision(
    rooms: RoomsFolder,
    volumes: Volumes = False,
    patience: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="How long to wait for the servers.")] = 300,
) -> None:
    """Set up the servers of a composed install, and give each process its login to the vault.

    \b
    Waits for the servers. What is there is kept, so that it can be run again at any time: after an update too, for it
    brings the database to this version's schema.
    Example: backupflow provision --rooms /rooms --volumes
    """  # noqa: D301 - \b keeps the lines as they stand
    from backupflow.cli.process import end_on_sigterm
    from backupflow.embedded.composed import VAULT_IS_SET_UP
    from backupflow.embedded.rooms import Rooms
    from backupflow.wiring.rooms import INSTALL, READERS

    end_on_sigterm()
    all_rooms = Rooms(rooms.absolute(), INSTALL, volumes)
    with all_rooms.held():
        _until_they_answer(lambda say: _set_up(all_rooms, say), timedelta(seconds=patience))
        all_rooms.keep(INSTALL, VAULT_IS_SET_UP, b"")
        given = hand_out(all_rooms)
    output.say(f"ready: {output.counted(given, 'file')} in {output.counted(len(READERS), 'room')}")


def _set_up(rooms: Rooms, say: Callable[[str], None]) -> None:
    from backupflow.settings import Settings
    from backupflow.wiring import Wiring, provision

    folder = rooms.room(rooms.main)
    wiring = Wiring(Settings({**os.environ, "CONFIG_SECRETS_DIR": str(folder)}))
    try:
        provision.set_up(wiring, rooms.secret, say, os.environ.get("OPENBAO_TOKEN", ""))
        say("Redis: users")
        _, trouble = wiring.broker_version("scheduler")
        if trouble:
            raise ServerUnusable(f"Redis: {trouble}")
    finally:
        wiring.close()


def _until_they_answer(attempt: Callable[[Callable[[str], None]], None], patience: timedelta) -> None:
    """Try again as long as a server is not there; each step is told once, and every 10 s what is waited for."""
    steps: list[str] = []
    began = told = time.monotonic()

    def say(step: str) -> None:
        if step not in steps:
            steps.append(step)
            output.note(step)

    while True:
        try:
            attempt(say)
        except _NOT_YET as exc:
            now = time.monotonic()
            if now - began > patience.total_seconds():
                raise
            if now - told >= _TELL_EVERY.total_seconds():
                told = now
                output.note(f"waiting, {int(now - began)} s so far: {exc}")
        else:
            return
        time.sleep(_AGAIN_AFTER)
