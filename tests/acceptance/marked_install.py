"""What is done to an install whose secrets are marked: devices are enrolled, things go wrong, people ask."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil

from backupflow.core.model import Login
from tests.acceptance.install import Install, wait_for
from tests.acceptance.marked_routers import GOOD, export
from tests.acceptance.openssh import WAYS, OpenSshServer
from tests.conftest import SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.simulator import Fleet
    from tests.acceptance.search import Markers

SLOW = [name for name in GOOD if name != "sshd"]
PUBLISHED = "SELECT DISTINCT device_id FROM collection WHERE state IN ('published', 'stored')"


def enrol(install: Install, given: Path, name: str, port: int, login: Login) -> None:
    """Some by the commands, as a person does it; the others by the same code, which is quicker."""
    argv = ["device", "add", name, "127.0.0.1", "--port", str(port)]
    if name == "plain":
        install.command(*argv, "--password-stdin", stdin=(login.password or "").encode())
    elif name == "refused":
        install.command(*argv, "--password-file", str(private(given / name, login.password)))
    elif name == "key":
        key, passphrase = private(given / "key", login.private_key), private(given / "passphrase", login.passphrase)
        install.command(*argv, "--key-file", str(key), "--passphrase-file", str(passphrase))
    else:
        install.add(name, port, login)


def login_of(sshd: OpenSshServer) -> Login:
    """Of the kind that it takes."""
    if WAYS[0] == "password":
        return Login(sshd.user, sshd.password)
    return Login(sshd.user, private_key=sshd.key_path.read_text("ascii"), passphrase=sshd.passphrase)


def private(path: Path, text: str | None) -> Path:
    """A file with a secret, as the commands want it."""
    path.touch(0o600)
    path.write_text(text or "")
    return path


def ends(install: Install) -> dict[str, tuple[str, str | None]]:
    """How the first collection of each device ended."""
    rows = install.rows(
        "SELECT d.name, c.state, c.code FROM collection c JOIN device d ON d.id = c.device_id WHERE seq = 1"
    )
    return {row.name: (row.state, row.code) for row in rows}


def worker(install: Install, name: str) -> psutil.Process:
    """The process of that name."""
    return next(process for process in install.processes() if f"{name}@%h" in process.cmdline())


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """It does nothing as long as the context lasts."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def trouble(install: Install, fleet: Fleet, markers: Markers, given: Path) -> int:
    """A vault that dies and a key that changes under open sessions, then a worker that dies under them."""
    for name in SLOW:
        fleet[name].behave(answer_delay=timedelta(seconds=2))
    fleet["changed"].change_key()
    install.command("backup", *GOOD)
    wait_for(lambda: fleet.stats()["open"] >= 4, "open sessions", 30)
    dying = threading.Thread(target=install.keep_down, args=("openbao", 3))
    dying.start()
    late = private(given / "late", markers.make("late: password"))
    install.command("device", "add", "late", "192.0.2.1", "--password-file", str(late), check=False)
    dying.join()
    ended = "SELECT id FROM collection WHERE code = :code"
    wait_for(lambda: len(install.rows(ended, code="host_key_mismatch")) == 1, "the changed key", 30)
    wait_for(lambda: len(install.rows(ended, code="vault_unavailable")) >= 1, "a collection without vault", 30)
    install.command("backup", *(name for name in GOOD if name != "changed"))
    wait_for(lambda: fleet.stats()["open"] >= 2, "open sessions", 60)
    open_sessions = int(fleet.stats()["open"])
    dead = worker(install, "collect")
    dead.kill()

    def is_back() -> bool:
        with suppress(StopIteration, psutil.NoSuchProcess):
            return worker(install, "collect").pid != dead.pid
        return False

    wait_for(is_back, "a new worker", 30)
    return open_sessions


def commands(install: Install, markers: Markers, given: Path) -> None:
    """What people ask, and what is refused to them."""
    cut = given / "cut.rsc"
    cut.write_bytes(export(markers.make("a file: configuration"))[:-20])
    everything = [
        ("device", "show", "refused", "--json"),
        ("status", "--json"),
        ("doctor",),
        ("backup", "cut", "--wait", "--timeout", "20s"),
        ("check-export", str(cut)),
        ("export", "cut"),
        ("export", "commented", "-o", str(given / "commented.rsc")),
    ]
    if SIZE == "soak":
        everything += [
            ("hostkey", "show", "changed"),
            ("device", "add", "plain", "192.0.2.2", "--password-file", str(given / "late")),
            ("alarm", "list"),
        ]
    with ThreadPoolExecutor(2) as pool:
        rotation = pool.submit(rotated, install, markers, given)
        list(pool.map(lambda argv: install.command(*argv, check=False), everything))
        rotation.result()


def rotated(install: Install, markers: Markers, given: Path) -> None:
    """A shared login and the one that is to take its place, both on record; and one that took it."""
    for number, what in enumerate(("shared", "next", "third")):
        private(given / f"rotated-{number}", markers.make(f"rotated: {what} password"))
    said = ("--password-file", str(given / "rotated-0"))
    install.command("credential", "add", "rotated", "--username", "backup", *said)
    install.command("credential", "rotate", "rotated", "--password-file", str(given / "rotated-1"))
    install.command("credential", "rotate", "rotated", "--finish")
    install.command("credential", "rotate", "rotated", "--password-file", str(given / "rotated-2"))
    install.command("credential", "show", "rotated", "--json")
