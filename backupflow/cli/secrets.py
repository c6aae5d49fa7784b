"""`backupflow secrets`: what a composed install needs before its servers start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import output

if TYPE_CHECKING:
    from backupflow.embedded.rooms import Rooms

RoomsFolder = Annotated[
    Path, typer.Option("--rooms", metavar="DIR", help="Folder of the rooms: one of secrets for each reader.")
]
Volumes = Annotated[
    bool,
    typer.Option("--volumes", help="Each room is a volume: that of a server may be read by any user."),
]


def secrets(rooms: RoomsFolder, volumes: Volumes = False) -> None:
    """Make passwords, keys and the servers' configurations, before the servers of a composed install start.

    \b
    What is there is kept, so that it can be run again at any time. docs/compose.md tells who reads what.
    Example: backupflow secrets --rooms /rooms --volumes
    """  # noqa: D301 - \b keeps the lines as they stand
    from backupflow.core.system_backup import EVENTS
    from backupflow.embedded.composed import configure
    from backupflow.embedded.rooms import Rooms
    from backupflow.wiring import event_secrets, provision
    from backupflow.wiring.rooms import INSTALL, passwords

    all_rooms = Rooms(rooms.absolute(), INSTALL, volumes)
    with all_rooms.held():
        made = sum(not all_rooms.bring_back(name) for name in (*passwords(), EVENTS))
        for name in passwords():
            all_rooms.secret(name)
        if not all_rooms.has(EVENTS):
            all_rooms.keep(INSTALL, EVENTS, event_secrets.first())
        users = provision.server_users(all_rooms.secret)
        configure(all_rooms, redis_users=users.redis, nats_users=users.nats)
        hand_out(all_rooms)
    kept = len(passwords()) + 1 - made
    output.say(f"{output.counted(made, 'secret')} made, {kept} kept; the servers' configurations are in their rooms")


def hand_out(rooms: Rooms) -> int:
    """Give each reader what it is to have, and take away what it is not to have any more; how many were given."""
    from backupflow.wiring.rooms import READERS, files, taken_away

    given = 0
    for room in READERS:
        given += rooms.copy(room, files(room))
        rooms.take_away(room, taken_away(room))
    return given
