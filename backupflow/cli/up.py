"""`backupflow up`: everything at once on one machine, in the foreground."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.cli.processes import Process, processes
from backupflow.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from backupflow.embedded import DataFolder, Program, Servers
    from backupflow.wiring import Wiring

# A worker may finish the collections that it has begun; what takes longer is fenced and collected again.
STOP_WITHIN = timedelta(seconds=20)
# What a process inherits from the terminal, and nothing else: an environment is easily read, and often full of secrets.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "SSL_CERT_FILE")


@dataclass(frozen=True, slots=True)
class Install:
    """An install that runs in this process's care."""

    servers: Servers
    wiring: Wiring
    environment: Mapping[str, str]


@contextmanager
def installed(
    data_dir: Path | None, seal_key: Path | None, say: Callable[[str], None], *, fsync: bool = True
) -> Iterator[Install]:
    """Servers, roles, schema and keys, without the processes (`start_processes`); stops all in order at the end."""
    from backupflow.embedded import ServerOptions, open_folder, start_servers
    from backupflow.wiring import Wiring, provision

    configured = Settings().servers
    with open_folder(data_dir) as folder:
        users = provision.server_users(folder.secret)
        options = ServerOptions(
            leave_out=_left_out(configured.model_dump()),
            redis_users=users.redis,
            nats_users=users.nats,
            seal_key=seal_key,
            fsync=fsync,
        )
        say(f"data folder {folder.path}")
        with start_servers(folder, options) as servers:
            environment = _environment(servers, folder)
            wiring = Wiring(Settings(environment))
            try:
                provision.set_up(wiring, folder.secret, say)
                yield Install(servers, wiring, environment)
            finally:
                wiring.close()


def start_processes(install: Install, say: Callable[[str], None]) -> None:
    """Start the Celery processes and wait until each has said that it lives."""
    wanted = processes(install.wiring.settings.collecting.max_concurrent)
    for process in wanted:
        say(f"starting {process.name}")
        install.servers.supervisor.start(_program(install, process))


def until_stopped() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    asked.wait()


def _left_out(configured: Mapping[str, object]) -> frozenset[object]:
    from backupflow.embedded import Server

    names = {
        Server.POSTGRES: "database_url",
        Server.REDIS: "redis_url",
        Server.NATS: "nats_url",
        Server.OPENBAO: "openbao_addr",
    }
    return frozenset(server for server, name in names.items() if configured[name])


def _environment(servers: Servers, folder: DataFolder) -> dict[str, str]:
    """What the processes are told: addresses and settings, never a secret."""
    at = servers.addresses
    told = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    told |= {name: value for name, value in os.environ.items() if name.startswith("CONFIG_")}
    told |= {
        name: os.environ[name]
        for name in ("DATABASE_URL", "REDIS_URL", "NATS_URL", "OPENBAO_ADDR")
        if name in os.environ
    }
    if at.postgres:
        told["DATABASE_URL"] = f"postgresql://{at.postgres}/backupflow"
    if at.redis:
        told["REDIS_URL"] = f"redis://{at.redis}/0"
    if at.nats:
        told["NATS_URL"] = f"nats://{at.nats}"
    if at.openbao:
        told["OPENBAO_ADDR"] = at.openbao_url
    return told | {"CONFIG_SECRETS_DIR": str(folder.path / "secrets")}


def _program(install: Install, process: Process) -> Program:
    from backupflow.embedded import Program

    folder = install.servers.folder
    return Program(
        name=process.name,
        argv=process.argv,
        cwd=folder.room("run"),
        log=folder.room("logs") / f"{process.name}.log",
        env={**install.environment, "CONFIG_ROLE": process.role},
        stop_timeout=STOP_WITHIN,
    )
