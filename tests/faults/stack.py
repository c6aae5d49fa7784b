"""The pipeline in parts: real servers, a fault proxy in front of each, and its processes one by one."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import psutil
from sqlalchemy import NullPool, Row, create_engine, make_url, text

import backupflow
from backupflow.adapters.db.engine import transaction
from backupflow.cli.processes import Process, processes
from backupflow.cli.up import installed
from backupflow.core.inventory import NewDevice
from backupflow.core.model import DeviceId, Login, TenantId
from backupflow.embedded import Server, ServerOptions, State, nats, valkey
from tests.acceptance.install import enrol, wait_for
from tests.faults.proxy import Proxy, ProxyLoop
from tests.faults.rounds import await_rounds
from tests.faults.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from types import TracebackType

    from backupflow.cli.up import Install
    from backupflow.embedded import Servers
    from backupflow.wiring import Wiring

__all__ = ["NO_SYNC", "SETTINGS", "Proxy", "Stack", "Worker"]

ALIVE_SECONDS = 90.0
KEEPER_SECONDS = 0.2
VARIABLES = {
    Server.POSTGRES: "DATABASE_URL",
    Server.REDIS: "REDIS_URL",
    Server.NATS: "NATS_URL",
    Server.OPENBAO: "OPENBAO_ADDR",
}
# Short, but a loaded machine must not time out a healthy router: the device would wait for minutes.
SETTINGS: Mapping[str, object] = {
    "CONFIG_BACKUP_INTERVAL": 3,
    "CONFIG_BACKUP_SPREAD_FROM": 0,
    "CONFIG_BACKUP_SPREAD_TO": 0,
    "CONFIG_BACKUP_CONNECT_TIMEOUT": 2,
    "CONFIG_BACKUP_BANNER_TIMEOUT": 3,
    "CONFIG_BACKUP_LOGIN_TIMEOUT": 5,
    "CONFIG_BACKUP_COMMAND_TIMEOUT": 6,
    "CONFIG_LEASE_GRACE": 3,
    "CONFIG_EMIT_AGAIN_AFTER": 5,
    "CONFIG_LOST_AFTER": 20,
}
NO_SYNC = ServerOptions(fsync=False)


class Stack:
    """As a context: servers up and set up, proxies open; at its end everything is stopped, whatever happened.

    `servers.secret_path("admin.<server>")` is the password of the user `admin` of PostgreSQL, Redis and NATS.
    `settings` are CONFIG_ variables; `options` says how to run the servers. The processes go through `proxies`, the
    test's own `wiring` goes to the servers directly. The seal key lies beside the data folder.
    """

    wiring: Wiring
    servers: Servers
    environment: dict[str, str]
    proxies: dict[str, Proxy]

    def __init__(self, root: Path, *, options: ServerOptions = NO_SYNC, **settings: object) -> None:
        self.root = root
        self.data = root / "data"
        self.seal_key = root / "seal.key"
        self.said: list[str] = []  # by the set-up, and of servers that were started again
        self.workers: list[Worker] = []
        self._options = options
        self._settings = {name: str(value) for name, value in {**SETTINGS, **settings}.items()}
        self._ends = ExitStack()
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        """Start the servers, and what watches over the processes."""
        with ExitStack() as ends:
            install = ends.enter_context(
                installed(self.data, self.seal_key, self.said.append, self._outside(), self._options)
            )
            self.wiring, self.servers = install.wiring, install.servers
            self._appoint_admins()
            ends.callback(self._resume_servers)
            self.proxying = ends.enter_context(ProxyLoop())
            self.proxies = {server.value: self._proxy(server) for server in Server}
            self.environment = self._environment(install)
            self._forker = ends.enter_context(ThreadPoolExecutor(1, "forker"))
            ends.callback(self._bury)
            keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
            keeper.start()
            ends.callback(keeper.join)
            ends.callback(self._ending.set)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop everything."""
        self._ends.close()

    # --- processes -----------------------------------------------------------------------------------------------

    def start(self, kind: str, *, restart: bool | str = False, **environment: str) -> Worker:
        """Start one more process of a kind (maintain, ingest, collect-slow, collect, status, beat); does not wait.

        `restart`: it is started again when it ends, a second later, as under a supervisor. (A text, so that a mapping
        of variables may be spread here.)
        """
        wanted = {process.name: process for process in self._processes(status=True)}[kind]
        number = sum(worker.kind == kind for worker in self.workers)
        name = f"{kind}-{number + 1}" if number else kind
        worker = Worker(
            kind,
            name,
            [argument.replace(f"{kind}@", f"{name}@") for argument in wanted.argv],
            {**self.environment, "CONFIG_ROLE": wanted.role, **environment},
            self.servers.folder.room("run"),
            self.servers.folder.room("logs") / f"{name}.log",
            bool(restart),
        )
        worker.spawn(self._forker)
        self.workers.append(worker)
        return worker

    def _processes(self, *, status: bool = False) -> tuple[Process, ...]:
        collecting = self.wiring.settings.collecting
        return processes(collecting.max_concurrent, status=status or bool(collecting.status_interval))

    def start_all(self) -> None:
        """Start one of each kind, and wait until they live."""
        for process in self._processes():
            self.start(process.name)
        self.await_alive()

    def await_alive(self, *workers: Worker, seconds: float = ALIVE_SECONDS) -> None:
        """Wait until these have said that they live; without a word of whom, all that have not ended."""
        wanted = workers or [worker for worker in self.workers if worker.is_alive]
        living = self.wiring.processes("reader")

        def alive() -> bool:
            ended = [worker for worker in wanted if not worker.restart and not worker.is_alive]
            assert not ended, f"{ended[0].name} ended with {ended[0].exit_status}: {ended[0].output()[-3000:]}"
            if not all(worker.is_alive for worker in wanted):
                return False  # it is about to be started again
            return living.said_alive([worker.pid for worker in wanted]) >= len(wanted)

        wait_for(alive, f"{[worker.name for worker in wanted]} to be alive", seconds)

    def server(self, name: str, seconds: float = 60.0) -> psutil.Process:
        """The main process of a server, as soon as it runs."""
        found: list[psutil.Process] = []

        def runs() -> bool:
            for status in self.servers.supervisor.status():
                if status.name == name and status.state is State.RUNNING and status.pid is not None:
                    process = psutil.Process(status.pid)
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
            return bool(found)

        wait_for(runs, f"{name} to run", seconds)
        return found[-1]

    def keep_down(self, name: str, seconds: float) -> int:
        """Kill a server with -9, again whenever it was started anew, for so long; how many kills it took."""
        kills, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            for status in self.servers.supervisor.status():
                if status.name == name and status.pid is not None:
                    process = psutil.Process(status.pid)
                    kills += process.status() != psutil.STATUS_ZOMBIE
                    process.kill()
            time.sleep(0.05)
        return kills

    # --- what it holds -------------------------------------------------------------------------------------------

    @cached_property
    def tenant_id(self) -> TenantId:
        """The tenant that every install has."""
        return TenantId(self.rows("SELECT id FROM tenant")[0].id)

    def add(self, name: str, port: int, login: Login, settings: Mapping[str, Any] | None = None) -> DeviceId:
        """Enrol a device on loopback, by the code of `device add`."""
        device_id = DeviceId(uuid4())
        new = NewDevice(self.tenant_id, device_id, name, "127.0.0.1", port, "routeros", dict(settings or {}))
        return enrol(self.wiring, new, login)

    def rows(self, statement: str, **values: object) -> list[Row[Any]]:
        """What a query by the reader gives."""
        with transaction(self.wiring.engine("reader")) as tx:
            return list(tx.execute(text(statement), values))

    def admin(self, statement: str, **values: object) -> list[Row[Any]]:
        """What a statement by the superuser of the database gives."""
        url = make_url(self.wiring.settings.servers.database_url)
        password = self.servers.secret_path("admin.postgres").read_text().strip()
        login = url.set(drivername="postgresql+psycopg", username="admin", password=password)
        engine = create_engine(login, poolclass=NullPool)
        with engine.begin() as tx:
            result = tx.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    def await_rounds(self, fleet: Collection[str], rounds: int, seconds: float) -> None:
        """Wait until every device was collected and stored so many more times; a failure tells each one's story."""
        await_rounds(self, fleet, rounds, seconds)

    def output(self) -> str:
        """What all processes said last, and which servers were started again."""
        words = [f"== {worker.name}\n{worker.output()[-1500:]}" for worker in self.workers]
        return "\n".join([*self.said[-20:], *words])

    # --- how it is made ------------------------------------------------------------------------------------------

    def _outside(self) -> dict[str, str]:
        """This process's environment without settings and servers of its own, with the tree that is tested."""
        left_out = ("CONFIG_", "BACKUPFLOW_", *VARIABLES.values())
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        tree = str(Path(backupflow.__file__).parents[1])
        return {**kept, "PYTHONPATH": tree, **self._settings}

    def _appoint_admins(self) -> None:
        """An install has nobody who may do everything on its broker and bus; a test has: `admin`, by his secret."""
        folder = self.servers.folder
        acl, users = (folder.room("run") / name for name in ("valkey.acl", "nats-users.conf"))
        acl.write_text(acl.read_text() + valkey.admin_only(folder))
        nobody_else = nats.admin_only(folder)
        admin = nobody_else[nobody_else.index("[") + 1 : nobody_else.index("]")]
        users.write_text(users.read_text().replace("[\n", f"[\n{admin}\n", 1))
        for server in (Server.REDIS, Server.NATS):
            self.servers.supervisor.restart(server)

    def _proxy(self, server: Server) -> Proxy:
        address = getattr(self.servers.addresses, server.value)
        return self.proxying.open(address.host, address.port)

    def _environment(self, install: Install) -> dict[str, str]:
        """The install's, with the proxies for its servers."""
        told = dict(install.environment)
        for server, variable in VARIABLES.items():
            told[variable] = self.through(server.value, self.proxies[server.value])[variable]
        return told

    def through(self, name: str, proxy: Proxy) -> dict[str, str]:
        """The variable that sends a process to a server through a proxy of its own (see `proxying.open`)."""
        server = Server(name)
        settings = self.wiring.settings.servers
        own = {
            Server.POSTGRES: settings.database_url,
            Server.REDIS: settings.redis_url,
            Server.NATS: settings.nats_url,
            Server.OPENBAO: settings.openbao_addr,
        }[server]
        return {VARIABLES[server]: own.replace(str(getattr(self.servers.addresses, name)), proxy.address)}

    def _keep(self) -> None:
        while not self._ending.wait(KEEPER_SECONDS):
            for worker in list(self.workers):
                worker.revive(self._forker)

    def _bury(self) -> None:
        for worker in self.workers:
            worker.bury()

    def _resume_servers(self) -> None:
        """One that was left stopped could not end."""
        for status in self.servers.supervisor.status():
            if status.pid is not None:
                psutil.Process(status.pid).resume()
