"""Puts markers by hand into every place that is searched: the positive control of the search."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
import tempfile
import zlib
from typing import TYPE_CHECKING
from uuid import uuid4

import nats
import redis
from celery import Celery

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    import psycopg

    from tests.acceptance.install import Install
    from tests.acceptance.search import Markers

ROOMS = ("postgres/data", "redis", "nats", "openbao", "logs", "run", "secrets")
DISGUISES: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda text: text,
    **{f"base64, {number} before": lambda text, n=number: base64.b64encode(bytes(n) + text) for number in range(3)},  # type: ignore[misc]
    "hex": lambda text: text.hex().encode(),
    "HEX": lambda text: text.hex().upper().encode(),
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "zlib": zlib.compress,
    "zlib in base64": lambda text: base64.b64encode(zlib.compress(text)),
}
_LONG = "a line that compresses well, "
_WAIT = "import sys, time; sys.stdout.write('up'); sys.stdout.flush(); time.sleep(60)"
_HOLD = "import sys, tempfile; file = tempfile.TemporaryFile(); file.write(sys.stdin.buffer.readline()); file.flush();"


class Planter:
    """Plants until its context ends; `planted` says for each marker where it must be found, by how that begins."""

    def __init__(self, install: Install, markers: Markers, stack: ExitStack) -> None:
        self.planted: dict[str, set[str]] = {}
        self._install = install
        self._markers = markers
        self._stack = stack

    def _new(self, name: str, *where: str) -> str:
        self.planted[name] = set(where)
        return self._markers.make(name)

    def in_files(self) -> None:
        """A file in every room of the data folder, a temporary one, and lines of logs in every disguise."""
        for room in ROOMS:
            self._file(self._install.data / room / "planted", self._new(f"in {room}", f"folder data/{room}/planted"))
        handle, name = tempfile.mkstemp(prefix="planted-")
        self._stack.callback(os.unlink, name)
        with os.fdopen(handle, "w") as file:
            file.write(self._new("temporary", f"temporary {name}"))
        for disguise, wrap in DISGUISES.items():
            text = self._new(f"logged, {disguise}", "folder data/logs/collect.log").encode()
            with (self._install.data / "logs" / "collect.log").open("ab") as log:
                log.write(b"{" + wrap(text) + b"}\n")
        with (self._install.root / "up.log").open("a") as log:
            log.write(self._new("printed by up", "folder up.log") + "\n")

    def _file(self, path: Path, text: str) -> None:
        path.write_text(text)
        self._stack.callback(path.unlink)

    def in_database(self, admin: psycopg.Connection) -> None:
        """A short row, a long one that is compressed, bytes, and the text of a statement."""
        files = ("folder data/postgres/data/base/", "folder data/postgres/data/pg_wal/")
        admin.execute("CREATE TABLE planted (words text, data bytea)")
        self._stack.callback(admin.execute, "DROP TABLE planted")
        insert = "INSERT INTO planted VALUES (%s, %s)"
        admin.execute(insert, (self._new("row", "table planted", *files), b""))
        admin.execute(insert, (_LONG * 1000 + self._new("long row", "table planted") + _LONG * 1000, b""))
        inside = zlib.compress(self._new("bytes of a row", "table planted", *files).encode())
        admin.execute(insert, ("", inside))
        admin.execute(f"SELECT '{self._new('statement', 'table pg_stat_activity')}'".encode())

    def in_broker(self) -> None:
        """A key, and a task with an argument that is no id."""
        aof = "folder data/redis/appendonlydir/"
        url = self._install.wiring.broker_url("operator")
        with redis.Redis.from_url(url) as client:
            client.lpush("planted.reply.celery.pidbox", self._new("key", aof))
            self._stack.callback(self._forget, url)
        with Celery("planting", broker=url) as app:
            app.send_task("maintain.run", [self._new("task", aof, "events")], queue="maintain")

    @staticmethod
    def _forget(url: str) -> None:
        with redis.Redis.from_url(url) as client:
            client.delete("planted.reply.celery.pidbox")

    def on_bus(self) -> None:
        """A message that is not sealed."""
        text = self._new("message", "folder data/nats/jetstream/")
        password = (self._install.data / "secrets" / "collector.nats").read_text()

        async def publish() -> None:
            url = self._install.wiring.settings.servers.nats_url
            client = await nats.connect(url, user="collector", password=password, inbox_prefix="_INBOX_collector")
            await client.jetstream().publish(f"config.snapshot.create.{uuid4()}", f"planted: {text}".encode())
            await client.close()

        asyncio.run(publish())

    def on_processes(self) -> None:
        """One with a marker in argv, one in its environment, one in a file that is deleted already."""
        self._start([sys.executable, "-c", _WAIT, self._new("argument", "cmdline of ")])
        self._start([sys.executable, "-c", _WAIT], {"PLANTED": self._new("variable", "environ of ")})
        self._start([sys.executable, "-c", _HOLD + _WAIT], said=self._new("deleted file", "open file of "))

    def _start(self, argv: list[str], environment: dict[str, str] | None = None, said: str = "") -> None:
        process = subprocess.Popen(
            argv, env={**os.environ, **(environment or {})}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        assert process.stdin
        assert process.stdout
        process.stdin.write(said.encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.read(2) == b"up"

    def on_terminal(self) -> None:
        """A command that repeats what it was given."""
        self._install.command("export", self._new("answer", "terminal export "), check=False)
