"""Starts the servers of a one-machine install in order, and stops them: what `up` and the tests use."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backupflow.embedded import nats, openbao, postgres, valkey
from backupflow.embedded.addresses import Addresses, Server, addresses_from, choose_ports, publish
from backupflow.embedded.supervisor import Supervisor
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from backupflow.embedded.folder import DataFolder
    from backupflow.embedded.program import Program, Restart

_CLUSTER = "openbao-cluster"
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """How to run the servers; `fsync=False` is for tests: a power cut would lose data."""

    leave_out: frozenset[Server] = frozenset()
    binaries: Mapping[Server, Path] = field(default_factory=dict)  # folders with the machine's own programs
    redis_users: str | None = None  # lines of a Redis ACL file; None: `admin` alone
    nats_users: str | None = None  # NATS configuration text; None: `admin` alone
    seal_key: Path | None = None
    redis_memory: int = 256 * 1024**2  # bytes
    stream_store: int = 16 * 1024**3  # bytes that JetStream may take
    fsync: bool = True
    on_restart: Callable[[Restart], None] | None = None


@dataclass(frozen=True)
class Servers:
    """The servers that run. More programs may be started under the same supervisor: they are stopped before these."""

    folder: DataFolder
    addresses: Addresses
    supervisor: Supervisor

    def secret_path(self, name: str) -> Path:
        """The file with the secret of that name: admin.postgres, admin.redis, admin.nats, installer.openbao."""
        return self.folder.secret_path(name)


@contextmanager
def start_servers(folder: DataFolder, options: ServerOptions | None = None) -> Iterator[Servers]:
    """Run the servers as long as the context lasts; ServerUnusable says which one did not start, and its last words."""
    options = options or ServerOptions()
    supervisor, ports = _start(folder, options)
    try:
        addresses = addresses_from(ports)
        publish(folder, addresses)
        yield Servers(folder, addresses, supervisor)
    finally:
        _stop(folder, supervisor)


def _start(folder: DataFolder, options: ServerOptions) -> tuple[Supervisor, dict[str, int]]:
    """Start them all, on other ports if somebody took one between our look and the server's bind."""
    names = [*(server.value for server in Server), _CLUSTER]
    for attempt in range(1, _ATTEMPTS + 1):
        ports = choose_ports(folder, names, anew=attempt > 1)
        supervisor = Supervisor(on_restart=options.on_restart, keep_open=(folder.lock,), hide=str(folder.path))
        try:
            for server in Server:
                if server not in options.leave_out:
                    supervisor.start(_program(server, folder, options, ports))
        except BaseException as exc:
            _stop(folder, supervisor)
            taken = isinstance(exc, ServerUnusable) and "address already in use" in exc.detail.lower()
            if not taken or attempt == _ATTEMPTS:
                raise
        else:
            return supervisor, {name: port for name, port in ports.items() if name not in options.leave_out}
    raise AssertionError


def _program(server: Server, folder: DataFolder, options: ServerOptions, ports: Mapping[str, int]) -> Program:
    port, binaries = ports[server], options.binaries.get(server)
    match server:
        case Server.POSTGRES:
            return postgres.postgres(folder, port, binaries=binaries, fsync=options.fsync)
        case Server.REDIS:
            users = options.redis_users or valkey.admin_only(folder)
            return valkey.valkey(folder, port, users=users, memory=options.redis_memory, binaries=binaries)
        case Server.NATS:
            users = options.nats_users or nats.admin_only(folder)
            store = options.stream_store
            return nats.nats(folder, port, users=users, store=store, fsync=options.fsync, binaries=binaries)
        case Server.OPENBAO:
            key = options.seal_key
            return openbao.openbao(folder, port, ports[_CLUSTER], seal_key=key, binaries=binaries)


def _stop(folder: DataFolder, supervisor: Supervisor) -> None:
    supervisor.stop()
    postgres.tidy(folder)
