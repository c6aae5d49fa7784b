"""`backupflow secrets`: what a composed install needs before its servers start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backupflow.cli import output

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
    from backupflow.embedded.composed import configure
    from backupflow.embedded.rooms import Rooms
    from backupflow.wiring import provision
    from backupflow.wiring.rooms import INSTALL, READERS, logins, passwords

    all_rooms = Rooms(rooms.absolute(), INSTALL, volumes)
    with all_rooms.held():
        made = sum(not all_rooms.bring_back(name) for name in passwords())
        for name in passwords():
            all_rooms.secret(name)
        users = provision.server_users(all_rooms.secret)
        configure(all_rooms, redis_users=users.redis, nats_users=users.nats)
        for room in READERS:
            all_rooms.copy(room, logins(room))
    kept = len(passwords()) - made
    output.say(f"{output.counted(made, 'secret')} made, {kept} kept; the servers' configurations are in their rooms")
