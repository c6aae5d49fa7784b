"""A whole install as an operator runs it: `backupflow up` in a process of its own, on a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psutil
import pytest
from sqlalchemy import Row, text

from backupflow.adapters.db.devices import Devices
from backupflow.adapters.db.engine import transaction
from backupflow.cli.install import open_wiring
from backupflow.core.inventory import NOWHERE, NewDevice, Placement
from backupflow.core.model import DeviceId, Login, TenantId
from backupflow.drivers import driver
from backupflow.embedded import running_install
from backupflow.flows import enroll, history

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from backupflow.wiring import Wiring

# How a server's process is told from its children and from its launcher.
SERVERS = {"postgres": "postgres", "redis": "valkey-server", "nats": "nats-server", "openbao": "bao"}
START_SECONDS = 90.0
HERE_ONLY = ("CONFIG_", "BACKUPFLOW_", "FLOWER_")  # variables of this process that are nothing to an install
# For tests that share one install: the first of them starts it. A soak says how long it may take.
PATIENT = pytest.mark.timeout(float(os.environ.get("PYTEST_TIMEOUT", "300")))


class Install:
    """`backupflow up` on `root/data`; `settings` are its CONFIG_ variables. The seal key lies beside the folder."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.root = root
        self.data = root / "data"
        self.settings = {name: str(value) for name, value in settings.items()}
        self.process: subprocess.Popen[bytes] | None = None
        self.program = [sys.executable, "-m", "backupflow"]
        self.cwd = root
        self.told: dict[str, bytes] = {}  # what each command wrote to its terminal

    @property
    def environment(self) -> dict[str, str]:
        """What `up` and the commands are run with."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(HERE_ONLY)}
        return {**kept, "FLOWER_LISTEN": "off", **self.settings}

    def start(self) -> None:
        """Run `up` and wait until it says that it is up."""
        self.__dict__.pop("wiring", None)
        log = (self.root / "up.log").open("ab")
        argv = [*self.program, "--data-dir", str(self.data), "up"]
        argv += ["--seal-key", str(self.root / "seal.key")]
        began = log.tell()
        self.process = subprocess.Popen(argv, env=self.environment, stdout=log, stderr=subprocess.STDOUT, cwd=self.cwd)
        log.close()

        def is_up() -> bool:
            if self.process is None or self.process.poll() is not None:
                raise AssertionError(f"`up` ended: {self.output()[-3000:]}")
            return b"backupflow is up" in (self.root / "up.log").read_bytes()[began:]

        wait_for(is_up, "`up` to be up", START_SECONDS)

    def output(self) -> str:
        """What `up` printed so far, in all its runs."""
        return (self.root / "up.log").read_text("utf-8", "replace")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ask `up` to end, and wait until it has; gives its exit status."""
        if self.process is None:
            return 0
        if "wiring" in self.__dict__:
            self.wiring.close()
        self.process.send_signal(number)
        status = self.process.wait(90)
        self.process = None
        return status

    def command(self, *argv: str, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run another command on the folder, as from another terminal."""
        process = self.begin(*argv)
        try:
            stdout, stderr = process.communicate(stdin, 120)
        finally:
            process.kill()
        done = subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)
        self.told[" ".join(argv)] = stdout + stderr
        if check and done.returncode:
            raise AssertionError(f"{argv}: {done.returncode}: {done.stderr.decode(errors='replace')}")
        return done

    def forget_meetings(self) -> None:
        """Routers that are asked again within minutes, as tests do, have no firewall that bans for it."""
        if self.is_running():
            with transaction(self.wiring.engine("collector")) as tx:
                tx.execute(text("UPDATE device SET met_at = NULL, hold_until = NULL, wary_until = NULL"))

    def begin(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start another command on the folder, with pipes to all its streams."""
        whole = [*self.program, "--data-dir", str(self.data), *argv]
        pipe = subprocess.PIPE
        return subprocess.Popen(whole, env=self.environment, stdin=pipe, stdout=pipe, stderr=pipe, cwd=self.cwd)

    @cached_property
    def wiring(self) -> Wiring:
        """The install's wiring in this process."""
        return open_wiring(self.data)

    @cached_property
    def tenant_id(self) -> TenantId:
        """The tenant that every install has."""
        return TenantId(self.rows("SELECT id FROM tenant")[0].id)

    def add(
        self,
        name: str,
        port: int,
        login: Login,
        settings: Mapping[str, Any] | None = None,
        placement: Placement = NOWHERE,
    ) -> DeviceId:
        """Enrol a device on loopback, by the code of `device add`.

        A router of an earlier test may have had the port, and is gone: its device moves to where nobody is.
        """
        with transaction(self.wiring.engine("operator")) as tx:
            gone = (
                "UPDATE device SET host = '127.255.0.' || 1 + floor(random() * 254) WHERE host = :here AND port = :port"
            )
            tx.execute(text(gone), {"here": "127.0.0.1", "port": port})
        device_id, named = DeviceId(uuid4()), dict(settings or {})
        new = NewDevice(self.tenant_id, device_id, name, "127.0.0.1", port, "routeros", named, placement)
        return enrol(self.wiring, new, login)

    def collected(self, name: str) -> str | None:
        """Collect it now, by the code of `backup --wait`, which costs a process less: the state in which that ends."""
        requests = self.wiring.requests
        numbers = requests.ask(self.tenant_id, [name], "test")
        wait_for(lambda: all(one.ended for one in requests.asked(numbers)), f"backup of {name}", 120)
        return requests.asked(numbers)[0].state

    def exported(self, name: str) -> bytes:
        """Its newest configuration, by the code of `export`."""
        read = history.export(self.wiring.history_ports("test"), self.tenant_id, name, None)
        assert isinstance(read, history.Exported)
        return read.raw

    def rows(self, statement: str, **values: object) -> list[Row[Any]]:
        """What a query by the reader gives."""
        with transaction(self.wiring.engine("reader")) as tx:
            return list(tx.execute(text(statement), values))

    def processes(self) -> list[psutil.Process]:
        """`up` and everything below it."""
        assert self.process is not None
        up = psutil.Process(self.process.pid)
        return [up, *up.children(recursive=True)]

    def server(self, name: str) -> psutil.Process | None:
        """The main process of a server, if it runs at this moment."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            try:
                if child.name() == SERVERS[name]:
                    return child
            except psutil.NoSuchProcess:
                continue
        return None

    def keep_down(self, name: str, seconds: float) -> int:
        """Kill a server with -9, again whenever it was started anew, for so long; how many kills it took."""
        kills, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            found = self.server(name)
            if found is not None:
                with suppress(psutil.NoSuchProcess):  # it ended by itself just then
                    found.kill()
                    kills += 1
            time.sleep(0.02)
        return kills

    def kill_all(self) -> None:
        """kill -9 of everything at once."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # the death of `up` is the end of its children, too
                process.kill()
        assert self.process is not None
        self.process.wait(10)
        self.process = None

    def is_running(self) -> bool:
        """Whether another terminal's commands would find it."""
        return running_install(self.data) is not None


def enrol(wiring: Wiring, new: NewDevice, login: Login | None) -> DeviceId:
    """Enrol a device, by the code of `device add`; without a login it uses a profile's."""
    store, vault = Devices(wiring.engine("enroller"), wiring.policy), wiring.vault("enroller")
    ports = enroll.EnrollPorts(store, vault, driver, wiring.spread, wiring.dice, "test")
    enroll.add(ports, new, login)
    return new.device_id


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait until it is so; a failure says what was waited for."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)
