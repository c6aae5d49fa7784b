"""`backupflow health` over real sockets: one process quickly, or all that `up` runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest

from backupflow.cli.probes import tell_prometheus
from backupflow.core.health import Answer
from backupflow.embedded import open_folder
from backupflow.tasks.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.tasks.health import Health

PATIENCE = 60.0
READY = Answer(well=True, says="ready")
AWAY = Answer(well=False, says="not ready: it has no connection to the broker")
HEAVY = ("typer", "rich", "pydantic", "sqlalchemy", "structlog", "http.client", "email", "prometheus_client")


class Process:
    """One that says this of itself."""

    def __init__(self, ready: Answer) -> None:
        self._ready = ready

    def live(self) -> Answer:
        """It lives."""
        return Answer(well=True, says="alive")

    def ready(self) -> Answer:
        """As it was made."""
        return self._ready


@contextmanager
def served(ready: Answer) -> Iterator[str]:
    """A process that answers, at this address."""
    endpoint = Endpoint("127.0.0.1", 0, cast("Health", Process(ready)))
    endpoint.start()
    try:
        yield f"127.0.0.1:{endpoint.port(PATIENCE)}"
    finally:
        endpoint.stop()


def asked(*argv: str, listen: str = "", python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The command, as a container's health check runs it."""
    environment = {**os.environ, "CONFIG_METRICS_LISTEN": listen}
    command = [sys.executable, *python, "-m", "backupflow", *argv]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_a_probe_ends_with_the_word_and_the_reason() -> None:
    """0 and 1, and one line: for compose, and for the person who reads why."""
    with served(AWAY) as address:
        done = asked("health", listen=address)
        assert (done.returncode, done.stdout) == (1, f"{AWAY.says}\n")
        done = asked("health", "live", listen=address.replace("127.0.0.1", "0.0.0.0"))
        assert (done.returncode, done.stdout) == (0, "alive\n")


def test_a_probe_imports_next_to_nothing() -> None:
    """It runs every few seconds, in each container: the libraries of the other commands would cost a core."""
    with served(READY) as address:
        done = asked("health", "ready", listen=address, python=("-X", "importtime"))
    assert (done.returncode, done.stdout) == (0, "ready\n")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "backupflow.cli.probing" in imported
    assert imported.isdisjoint(HEAVY)


def test_all_that_up_runs_is_asked_at_once(tmp_path: Path) -> None:
    """Each by its name; one that is not well is enough for a 1, and one that is gone is not well."""
    with open_folder(tmp_path / "data") as folder, served(READY) as well:
        tell_prometheus(folder, {"beat": well, "collect": "127.0.0.1:1"})
        done = asked("--data-dir", str(folder.path), "health")
        assert done.returncode == 1
        assert done.stdout.splitlines() == ["beat: ready", "collect: no answer from 127.0.0.1:1: Connection refused"]
        tell_prometheus(folder, {"beat": well})
        done = asked("--data-dir", str(folder.path), "health", "--json")
        assert (done.returncode, json.loads(done.stdout)) == (0, {"beat": {"well": True, "says": "ready"}})


@pytest.mark.parametrize("listen", ["", "off"])
def test_without_any_address_it_says_what_to_do(tmp_path: Path, listen: str) -> None:
    """In one line, with the code of a setting that is missing."""
    done = asked("--data-dir", str(tmp_path), "health", listen=listen)
    assert done.returncode == 78
    assert "set CONFIG_METRICS_LISTEN, or start `backupflow up`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_address_that_is_none_is_said_without_a_traceback() -> None:
    """By the name of the setting."""
    done = asked("health", listen="here")
    assert done.returncode == 78
    assert "CONFIG_METRICS_LISTEN: not host:port" in done.stderr
