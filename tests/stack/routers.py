"""The simulated routers of the stack: their roster, their story, and a wire to steer them while they run."""

from __future__ import annotations

import json
import os
import secrets
import socket
from typing import TYPE_CHECKING, Any

from tests.stack.images import ROUTERS
from tests.stack.waiting import wait_for

if TYPE_CHECKING:
    from tests.stack.engine import Engine

COUNT = 50
HOST, USER, UID = "routers", "backup", 10001
FIRST_PORT = 2201
NETWORK = "backupflow-stack-outside"  # as the override names it
VERSIONS = ("7.14", "6.49.7", "7.9.2", "7.19.4")


class RoutersError(Exception):
    """The simulator did not do what it was told."""


class Routers:
    """Fifty routers in one container, each on a port of its own; `story` is the folder that it shares with us."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.story = story = engine.room / "story"
        story.mkdir()
        os.chown(story, UID, UID)
        self.history = story / "history.jsonl"
        self.password = secrets.token_urlsafe(18)
        self.names = tuple(f"r{number:03}" for number in range(1, COUNT + 1))
        roster = [self._line(number, name) for number, name in enumerate(self.names)]
        (story / "roster.jsonl").write_text("".join(json.dumps(one) + "\n" for one in roster))
        engine.podman("network", "create", NETWORK)

    def _line(self, number: int, name: str) -> dict[str, object]:
        place = {"host": "0.0.0.0", "port": FIRST_PORT + number}
        what = {"seed": number, "version": VERSIONS[number % len(VERSIONS)], "size": 12_000}
        return {"name": name, **place, "username": USER, "password": self.password, **what}

    def start(self) -> None:
        """Start them in a network that belongs to no install."""
        run = ("run", "--detach", "--name", HOST, "--network", NETWORK, "--network-alias", HOST)
        held = ("--read-only", "--cap-drop", "ALL")
        program = ("--user", f"{UID}:{UID}", "--volume", f"{self.story}:/story", "--entrypoint", "python", ROUTERS)
        told = ("--routers", "/story/roster.jsonl", "--log", "/story/history.jsonl", "--control", "/story/control")
        module = ("-m", "backupflow.simulator", "--ignore-stdin")
        self._engine.podman(*run, *held, *program, *module, *told, "--announce", "/story/ready")

    @property
    def address(self) -> str:
        """Where this host reaches them."""
        networks = self._engine.inspect("container", HOST)["NetworkSettings"]["Networks"]
        return str(networks[NETWORK]["IPAddress"])

    def await_ready(self) -> None:
        """Wait until all of them listen."""
        wait_for((self.story / "ready").exists, "the simulated routers", 180)

    def table(self) -> bytes:
        """All of them as `device import` reads them, with the keys that they have."""
        told = [json.loads(line) for line in (self.story / "ready").read_text().splitlines()]
        rows = [f"{one['name']},{HOST},{one['port']},fleet,{one['fingerprint']}" for one in told]
        return "\n".join(["name,host,port,profile,fingerprint", *rows, ""]).encode()

    def edit(self, *names: str) -> None:
        """Somebody changes something on each of these."""
        self._ask(*({"router": name, "do": "edit"} for name in names))

    def exchange_key(self, name: str) -> None:
        """It has another host key from now on."""
        self._ask({"router": name, "do": "change_key"})

    def behave(self, **how: object) -> None:
        """All of them answer like this from now on."""
        self._ask({"behave": how})

    def _ask(self, *wanted: dict[str, Any]) -> None:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(30)
            wire.connect(str(self.story / "control"))
            with wire.makefile("rwb") as lines:
                for one in wanted:
                    lines.write(json.dumps(one).encode() + b"\n")
                    lines.flush()
                    answer = json.loads(lines.readline())
                    if not answer.pop("ok"):
                        raise RoutersError(f"the routers: {answer}")
