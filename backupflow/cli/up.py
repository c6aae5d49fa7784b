"""`backupflow up`: everything at once on one machine, in the foreground."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import output
from backupflow.cli.install import said_elsewhere, tell_settings
from backupflow.cli.log_lines import calls
from backupflow.cli.probes import probe_addresses, tell_prometheus
from backupflow.cli.processes import Process, processes
from backupflow.cli.revive import Reviver
from backupflow.cli.session import session
from backupflow.errors import ServerUnusable, SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from backupflow.embedded import DataFolder, Program, Restart, Server, ServerOptions, Servers
    from backupflow.wiring import Wiring
    from backupflow.wiring.provision import ServerUsers

# A worker may finish the collections that it has begun; what takes longer is fenced and collected again.
STOP_WITHIN = timedelta(seconds=20)
ALIVE_WITHIN = timedelta(seconds=60)
# What a process inherits from the terminal, and nothing else: an environment is easily read, and often full of secrets.
_INHERITED = {"PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ", "HOME", "SSL_CERT_FILE"} | {
    "DATABASE_URL", "REDIS_URL", "NATS_URL", "OPENBAO_ADDR", "FLOWER_LISTEN", "FLOWER_WRITE", "FLOWER_MAX_TASKS",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Install:
    """An install that runs in this process's care."""

    servers: Servers
    wiring: Wiring
    environment: Mapping[str, str]
    seal_key: Path


@contextmanager
def installed(
    data_dir: Path | None,
    seal_key: Path | None,
    say: Callable[[str], None],
    outside: Mapping[str, str] = os.environ,
    options: ServerOptions | None = None,
) -> Iterator[Install]:
    """Servers, roles, schema and keys, without the processes (`start_processes`); stops all in order at the end.

    `outside` is the environment whose settings are followed; `options` says how to run the servers, but for what an
    install decides itself: who may log in, the key, what is left out, who is told of a restart.
    """
    from backupflow.embedded import Server, ServerOptions, default_seal_key, open_folder, start_servers
    from backupflow.settings import Settings
    from backupflow.wiring import Wiring, provision

    configured = Settings(outside).servers
    with open_folder(data_dir) as folder:
        key = seal_key or default_seal_key(folder)
        users = provision.server_users(folder.secret)
        left_out = _left_out(configured.model_dump())
        if configured.ca and len(left_out) < len(Server):
            raise SettingsInvalid(
                "CONFIG_SERVERS_CA is set, and servers that `up` runs itself listen in clear, on this machine alone: "
                "set the addresses of all four (docs/servers.md)"
            )
        _give_users(folder, left_out, users, say)
        options = replace(
            options or ServerOptions(),
            leave_out=left_out,
            redis_users=users.redis,
            nats_users=users.nats,
            seal_key=key,
            on_restart=lambda died: say(_restarted(died)),
        )
        say(f"data folder {folder.path}")
        with start_servers(folder, options) as servers:
            environment = _environment(servers, folder, outside)
            tell_settings(folder, environment)
            wiring = Wiring(Settings(environment))
            install = Install(servers, wiring, environment, key)
            try:
                provision.set_up(wiring, folder.secret, say, outside.get("OPENBAO_TOKEN", ""))
                yield install
            finally:
                _stop_processes(install)
                wiring.close()


def start_processes(install: Install, on_line: Callable[[str, str], None] | None = None) -> None:
    """Start the Celery processes and wait until each has said that it lives; `on_line` is told what they log."""
    wanted = _wanted(install)
    living = install.wiring.processes("reader")
    dead = living.ids()  # after a power cut in a container the same process ids come again
    folder, listen = install.servers.folder, install.wiring.settings.process.metrics_listen
    probes = probe_addresses(folder, [process.name for process in wanted if process.heart], listen)
    tell_prometheus(folder, probes)
    for process in wanted:
        program = _program(install, process, on_line)
        at = {"CONFIG_METRICS_LISTEN": probes.get(process.name, "off")}
        install.servers.supervisor.start(replace(program, env={**program.env, **at}))
    until = time.monotonic() + ALIVE_WITHIN.total_seconds()
    hearts = sum(process.heart for process in wanted)
    while living.said_alive([status.pid or 0 for status in install.servers.supervisor.status()], dead) < hearts:
        if time.monotonic() > until:
            raise ServerUnusable("not every process said that it lives; see the logs in the data folder")
        time.sleep(0.1)


def _wanted(install: Install) -> tuple[Process, ...]:
    settings = install.wiring.settings
    status, flower = bool(settings.collecting.status_interval), settings.watching.listen != "off"
    return processes(settings.collecting.max_concurrent, status=status, flower=flower)


def _about_flower(install: Install) -> list[str]:
    """Where Celery is watched, and how one gets in."""
    from backupflow.wiring.provision import FLOWER_LOGIN

    listen, folder = install.wiring.settings.watching.listen, install.servers.folder
    if listen == "off":
        return []
    user, password = FLOWER_LOGIN.partition(".")[0], folder.secret_path(FLOWER_LOGIN)
    return [f"Watch the workers at http://{listen}/ as user {user}; the password is in {password}."]


def _stop_processes(install: Install) -> None:
    """Nothing new is claimed first; then the workers end what they have begun, all at the same time."""
    names = [process.name for process in _wanted(install)]
    install.servers.supervisor.stop_together(names[-1:])
    install.servers.supervisor.stop_together(names[:-1])


def up(
    seal_key: Annotated[
        Path | None, typer.Option(help="File with the key that opens the vault; kept outside of the data folder.")
    ] = None,
) -> None:
    """Run everything on this machine, in the foreground, until Ctrl-C.

    \b
    Servers, roles, schema and keys are made at the first start and found again at the next.
    On a terminal it shows of its processes what is a warning or worse; the log files in the data folder have all.
    A server whose address is set (DATABASE_URL, REDIS_URL, NATS_URL, OPENBAO_ADDR) is left out.
    Example: backupflow --data-dir ./data up
    """  # noqa: D301 - \b keeps the lines as they stand
    from backupflow.telemetry import systemd

    stop = stop_signals()
    with installed(session().data_dir, seal_key, output.note) as install:
        start_processes(install, _show_warnings if sys.stderr.isatty() else _show)
        folder = install.servers.folder.path
        output.note(f"backupflow is up on {folder}; Ctrl-C stops it. All its logs are in {folder / 'logs'}.")
        output.note(f"That folder and the key in {install.seal_key} together are all secrets: keep them apart.")
        systemd.notify("READY=1", f"STATUS=up on {folder}")
        for line in _about_flower(install):
            output.note(line)
        add = f"{said_elsewhere(folder)} device add NAME ADDRESS --username USER"
        output.note(f"Add a router from another terminal: {add}")
        Reviver(install.servers.supervisor, install.wiring, output.note).run(stop)
        systemd.notify("STOPPING=1")
        output.note("stopping")
    output.note("backupflow is stopped; nothing is lost")


def _show(name: str, line: str) -> None:
    output.note(f"{name:>12} | {line}")


def _show_warnings(name: str, line: str) -> None:
    """To a person at a terminal: what `up` itself said last, such as where things are, shall not scroll away."""
    if calls(line):
        _show(name, line)


def stop_signals() -> threading.Event:
    """Set at Ctrl-C and at SIGTERM, so that everything is stopped in order; a second Ctrl-C interrupts that too."""
    asked = threading.Event()

    def ask(number: int, _frame: object) -> None:
        asked.set()
        signal.signal(number, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return asked


def _left_out(configured: Mapping[str, object]) -> frozenset[Server]:
    from backupflow.embedded import Server

    names = {
        Server.POSTGRES: "database_url",
        Server.REDIS: "redis_url",
        Server.NATS: "nats_url",
        Server.OPENBAO: "openbao_addr",
    }
    return frozenset(server for server, name in names.items() if configured[name])


def _give_users(
    folder: DataFolder, left_out: frozenset[Server], users: ServerUsers, say: Callable[[str], None]
) -> None:
    """A configured server is told its users by whoever runs it, from a file that is written here."""
    from backupflow.embedded import Server

    for server, text in ((Server.REDIS, users.redis), (Server.NATS, users.nats)):
        if server in left_out:
            folder.write_secret(f"users.{server}", text)
            say(f"the users of your own {server} are in {folder.secret_path(f'users.{server}')}: include it there")


def _restarted(died: Restart) -> str:
    return f"{died.name} ended with {died.exit_code} and is started again; see its log"


def _environment(servers: Servers, folder: DataFolder, outside: Mapping[str, str]) -> dict[str, str]:
    """What the processes are told: addresses and settings, never a secret."""
    from backupflow.embedded import choose_ports

    at = servers.addresses
    told = {name: value for name, value in outside.items() if name in _INHERITED or name.startswith("CONFIG_")}
    if at.postgres:
        told["DATABASE_URL"] = f"postgresql://{at.postgres}/backupflow"
    if at.redis:
        told["REDIS_URL"] = f"redis://{at.redis}/0"
    if at.nats:
        told["NATS_URL"] = f"nats://{at.nats}"
    if at.openbao:
        told["OPENBAO_ADDR"] = at.openbao_url
    if not told.get("FLOWER_LISTEN"):
        told["FLOWER_LISTEN"] = f"127.0.0.1:{choose_ports(folder, ['flower'])['flower']}"
    return told | {"CONFIG_SECRETS_DIR": str(folder.path / "secrets")}


def _program(install: Install, process: Process, on_line: Callable[[str, str], None] | None) -> Program:
    from backupflow.embedded import Program

    folder = install.servers.folder
    return Program(
        name=process.name,
        argv=process.argv,
        cwd=folder.room("run"),
        log=folder.room("logs") / f"{process.name}.log",
        env={**install.environment, "CONFIG_ROLE": process.role},
        stop_timeout=STOP_WITHIN,
        on_line=on_line and partial(on_line, process.name),
    )
