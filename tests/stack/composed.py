"""The composed install of the real docker-compose.yml, and hands on its containers."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, text

from backupflow.adapters.db.engine import transaction
from backupflow.settings import Settings
from backupflow.wiring import Wiring
from tests.stack import compose_words
from tests.stack.compose_file import COMPOSE, SETTINGS, services, translated
from tests.stack.engine import EngineError
from tests.stack.images import HERE, OURS
from tests.stack.waiting import wait_for

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from tests.stack.engine import Engine
    from tests.stack.page import Line

SERVERS = ("postgres", "redis", "nats", "openbao")
ONE_SHOTS = ("secrets", "provision")


class Composed:
    """podman-compose's project: started as an operator does it, and asked over the bridge that this host is on."""

    def __init__(self, engine: Engine, project: str) -> None:
        self.engine = engine
        self.project = project
        self.services = {name: one for name, one in services().items() if "profiles" not in one}
        self._environment = {
            "BACKUPFLOW_IMAGE": OURS,
            "FLOWER_PORT": str(_free_port()),
            "PYTHONUNBUFFERED": "1",  # what podman-compose says stands before and after what a command says
            **SETTINGS,
        }
        self._translated = engine.room / "docker-compose.json"
        self._translated.write_text(json.dumps(translated(COMPOSE.read_text())))
        self._wiring: Wiring | None = None

    def up(self, *names: str) -> None:
        """`up -d` of these services; podman-compose 1.0.3 awaits no condition and starts one container a second."""
        done = self._compose("up", "--detach", "--no-build", *names)
        if compose_words.refused(done.stdout.decode("utf-8", "replace")):
            raise EngineError(f"up: {_last_words(done)}")

    def await_one_shot(self, name: str, seconds: float) -> None:
        """Wait until a container that is to end has ended with 0."""

        def is_over() -> bool:
            state = self._state(self.name(name))
            if state["Status"] == "exited" and state["ExitCode"] and name == ONE_SHOTS[0]:
                raise EngineError(f"{name} ended with {state['ExitCode']}:\n{self.engine.logs(self.name(name))}")
            return bool(state["Status"] == "exited" and not state["ExitCode"])

        wait_for(is_over, f"`{name}` to end", seconds)

    def command(self, *argv: str, stdin: bytes = b"") -> bytes:
        """`backupflow …` in a container of its own, as `docker compose run --rm backupflow` does it; what it says."""
        return self._run("run", "--rm", "--no-deps", "-T", "backupflow", *argv, stdin=stdin)

    def type(self, line: Line, here: Path) -> None:
        """Do what a line of a page says, in a folder: `docker compose …`."""
        verb, *rest = compose_words.told(line.words)
        stdin = (here / line.stdin).read_bytes() if line.stdin else b""
        match verb:
            case "build":
                self.engine.podman("image", "exists", OURS)  # it was made from the same Dockerfile before
            case "up":
                self.up("secrets")  # the servers would not wait for it
                self.await_one_shot("secrets", 180)
                names = [word for word in rest if word in self.services]
                self.up(*(names or self.services))
            case "down":
                self.down()
            case _:
                said = self._run(verb, *rest, stdin=stdin)
                if line.stdout:
                    (here / line.stdout).write_bytes(said)

    def down(self) -> None:
        """`down`: processes first, with the time that the file gives them; the volumes stay.

        podman-compose stops one after the other, and kills each after ten seconds.
        """
        self.close()
        servers = [self.name(server) for server in SERVERS]
        for names in ([name for name in self.containers() if name not in servers], servers):
            self.engine.podman("stop", "--time", "60", *names)
        self.engine.podman("rm", *self.containers())

    # --- its containers ------------------------------------------------------------------------------------------

    def name(self, service: str, number: int = 1) -> str:
        """The name of a container."""
        return f"{self.project}_{service}_{number}"

    def containers(self, *, hearts: bool = False) -> list[str]:
        """All that are there; `hearts`: those that tell whether they are ready."""
        found = self.engine.podman("ps", "--all", "--format", "{{.Names}}").split()
        own = [name for name in found if name.startswith(f"{self.project}_")]
        silent = {"flower", *ONE_SHOTS, *SERVERS}
        return [name for name in own if not hearts or name.split("_")[1] not in silent]

    def pid(self, container: str) -> int:
        """The number of its main process, as this host counts."""
        return int(self._state(container)["Pid"])

    def is_back(self, container: str, was: int) -> bool:
        """Whether it runs again, in another process."""
        state = self._state(container)
        return bool(state["Running"]) and int(state["Pid"]) not in (0, was)

    def hostname(self, container: str) -> str:
        """What its processes take for the name of their machine."""
        return str(self.engine.inspect("container", container)["Config"]["Hostname"])

    def restart(self, service: str) -> None:
        """Stop and start a server, in order."""
        self.engine.podman("restart", self.name(service))

    def address(self, container: str) -> str:
        """An address at which this host reaches it; it may have another after a restart."""
        networks = self.engine.inspect("container", container)["NetworkSettings"]["Networks"]
        return str(next(network["IPAddress"] for network in networks.values() if network["IPAddress"]))

    def stored(self) -> dict[str, int]:
        """How many bytes lie in the volume of each server: what is not there is gone with its container."""
        there = self.engine.podman("volume", "ls", "--format", "{{.Name}}").split()
        found = dict.fromkeys(SERVERS, 0)
        for server, name in {server: f"{self.project}_{server}-data" for server in SERVERS}.items():
            if name in there:
                volume = Path(self.engine.inspect("volume", name)["Mountpoint"])
                found[server] = sum(file.stat().st_size for file in volume.rglob("*") if file.is_file())
        return found

    # --- what it holds -------------------------------------------------------------------------------------------

    @property
    def wiring(self) -> Wiring:
        """This process's own way to its PostgreSQL and OpenBao, with the logins of the room for commands."""
        if self._wiring is None:
            room = self.engine.inspect("volume", f"{self.project}_room-console")["Mountpoint"]
            at = {server: self.address(self.name(server)) for server in ("postgres", "openbao")}
            told = {
                "DATABASE_URL": f"postgresql://{at['postgres']}:5432/backupflow",
                "OPENBAO_ADDR": f"http://{at['openbao']}:8200",
                "CONFIG_SECRETS_DIR": str(room),
                **SETTINGS,
            }
            self._wiring = Wiring(Settings(told))
        return self._wiring

    def rows(self, statement: str, **values: object) -> list[Row[Any]]:
        """What a query by the reader gives."""
        with transaction(self.wiring.engine("reader")) as tx:
            return list(tx.execute(text(statement), values))

    def close(self) -> None:
        """Let go of its servers."""
        if self._wiring is not None:
            self._wiring.close()
            self._wiring = None

    def _state(self, container: str) -> dict[str, Any]:
        state: dict[str, Any] = self.engine.inspect("container", container)["State"]
        return state

    def _run(self, *argv: str, stdin: bytes) -> bytes:
        done = self._compose(*argv, stdin=stdin)
        status, said = compose_words.heard(done.stdout)
        if status:
            raise EngineError(f"{' '.join(argv)} ended with {status}: {_last_words(done)}")
        return said

    def _compose(self, *argv: str, stdin: bytes = b"") -> CompletedProcess[bytes]:
        files = (f"--file={self._translated}", f"--file={HERE / 'override.yml'}")
        # Where the file sets a limit, podman asks for its own others again: more than some machines allow. And it gives
        # a read-only container folders to write in that nobody asked for, where Docker gives none.
        options = (*(f"--ulimit={limit}" for limit in self.engine.limits), "--read-only-tmpfs=false")
        more = (f"--podman-run-args={option}" for option in options)
        whole = ("podman-compose", "--project-name", self.project, *files, *more, *argv)
        return self.engine.run(*whole, stdin=stdin, environment=self._environment)


def _last_words(done: CompletedProcess[bytes]) -> str:
    return (done.stdout[-2000:] + done.stderr[-2000:]).decode("utf-8", "replace")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
