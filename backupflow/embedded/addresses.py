"""Where the servers of a running install listen: for this `up` itself, and for another terminal's commands."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.embedded.folder import DataFolder, lock_path, write_private
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HOST = "127.0.0.1"
# Below the range that Linux takes for outgoing connections (32768-60999): at the next start it is rarely taken.
_PORTS = range(20_000, 30_000)


class Server(StrEnum):
    """The servers of a one-machine install, by the names used in addresses, logs and secrets."""

    POSTGRES = "postgres"
    REDIS = "redis"
    NATS = "nats"
    OPENBAO = "openbao"


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """As written in addresses: host:port."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Addresses:
    """The addresses of a running install; None for a server that was left out. `pid` is the process of `up`."""

    pid: int
    postgres: Address | None = None
    redis: Address | None = None
    nats: Address | None = None
    openbao: Address | None = None

    @property
    def openbao_url(self) -> str:
        """The address of OpenBao as its clients want it."""
        return f"http://{self.openbao}" if self.openbao else ""


def addresses_from(ports: Mapping[str, int]) -> Addresses:
    """The addresses of the servers that have a port, in this process."""
    found = {server.value: Address(HOST, ports[server]) for server in Server if server in ports}
    return Addresses(os.getpid(), **found)


def publish(folder: DataFolder, addresses: Addresses) -> None:
    """Tell commands in other terminals; the file goes when the folder is closed."""
    write_private(folder.room("run") / "addresses.json", json.dumps(asdict(addresses)))


def running_install(data_dir: Path) -> Addresses | None:
    """The addresses of the install that runs on this folder; None if none runs or it is not ready yet.

    Raises ServerUnusable if this user may not look.
    """
    try:
        if not _is_held(lock_path(data_dir)):
            return None
        told = json.loads((data_dir / "run" / "addresses.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except PermissionError as exc:
        raise ServerUnusable(f"{data_dir} belongs to another user") from exc
    pid = told.pop("pid")
    if not Path("/proc", str(pid)).exists():  # killed: its last servers still hold the lock for a moment
        return None
    return Addresses(pid, **{name: Address(**value) for name, value in told.items() if value})


def _is_held(lock: Path) -> bool:
    fd = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def choose_ports(folder: DataFolder, names: Iterable[str], *, anew: bool = False) -> dict[str, int]:
    """A free port for each name: the one of the last start if it is free, unless `anew`. Other names keep theirs."""
    file = folder.path / "ports.json"
    last: dict[str, int] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    ports = {} if anew else {name: last[name] for name in names if name in last and _is_free(last[name])}
    for name in names:
        while name not in ports:
            port = _PORTS[secrets.randbelow(len(_PORTS))]
            if port not in {*last.values(), *ports.values()} and _is_free(port):
                ports[name] = port
    write_private(file, json.dumps({**last, **ports}))
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: connections that still linger from the last run do not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
