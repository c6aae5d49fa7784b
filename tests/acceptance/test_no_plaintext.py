"""No plaintext of a configuration or a login lies, passes or shows anywhere (I5), and the search would find it."""

from __future__ import annotations

import os
import resource
import signal
import stat
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import sql

from backupflow.core.model import Login
from backupflow.simulator import Behaviour, Fleet, RouterSpec
from backupflow.simulator import Login as Account
from tests.acceptance.hostile import talker
from tests.acceptance.install import PATIENT, Install, wait_for
from tests.acceptance.openssh import WAYS, OpenSshServer, serving
from tests.acceptance.planting import Planter
from tests.acceptance.search import Finder, Hit, Markers
from tests.acceptance.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = PATIENT

LIMIT = 200_000  # bytes of the largest export that is accepted
# Every way in which a collection ends, by device: its state and code.
EXPECTED = {
    "plain": ("stored", None),
    "commented": ("stored", None),
    "interactive": ("stored", None),
    "key": ("stored", None),
    "talkative": ("stored", None),
    "changed": ("stored", None),
    "sshd": ("stored", None),
    "refused": ("blocked", "authentication_failed"),
    "cut": ("failed", "output_truncated"),
    "closed": ("failed", "output_truncated"),
    "status": ("failed", "output_truncated"),
    "page": ("failed", "not_a_configuration"),
    "rejected": ("failed", "command_rejected"),
    "complaining": ("failed", "command_rejected"),
    "great": ("failed", "output_too_large"),
    "stalled": ("failed", "device_timeout"),
    "mute": ("failed", "device_timeout"),
    "babbling": ("failed", "device_unreachable"),
}
GOOD = [name for name, (state, _) in EXPECTED.items() if state == "stored"]
SLOW = [name for name in GOOD if name != "sshd"]
PUBLISHED = "SELECT DISTINCT device_id FROM collection WHERE state IN ('published', 'stored')"


@dataclass
class Scene:
    """An install after all that may go wrong has gone wrong, with markers wherever a secret was."""

    install: Install
    markers: Markers
    fleet: Fleet
    witness: Witness
    given: Path  # what the test itself gave to the commands, and got from them: the one place with plaintext
    sshd: OpenSshServer
    began: float
    in_transit: set[Hit]  # found while messages lay in the stream
    open_sessions: int  # when the worker was killed


def export(marker: str) -> bytes:
    """A whole one with a marker wherever a secret may stand."""
    return (
        "# 2026-01-02 03:04:05 by RouterOS 7.14\r\n# software id = ABCD-EFGH\r\n"
        f'/interface bridge\r\nadd comment="{marker}" name=bridge\r\n/ppp secret\r\nadd name=u password={marker}\r\n'
        f'/system script\r\nadd name=s source="# {marker}\\r\\n:log info {marker}"\r\n'
        + "".join(f'/ip dns static\r\nadd address=192.0.2.{number} comment="{marker}"\r\n' for number in range(100))
    ).encode()


def specs(markers: Markers) -> Iterator[tuple[RouterSpec, Login]]:
    """The simulated routers and how to log in."""

    def answering(name: str, wrap: str = "{}", **behaviour: object) -> tuple[RouterSpec, Login]:
        text = export(markers.make(f"{name}: configuration"))
        if wrap != "{}":
            text = wrap.format(markers.make(f"{name}: answer")).encode()
        return router(name, raw_export=text, **behaviour)

    def router(name: str, **behaviour: object) -> tuple[RouterSpec, Login]:
        password = markers.make(f"{name}: password")
        marker = markers.make(f"{name}: simulated")
        account = Account("backup", password)
        spec = RouterSpec(name, logins=(account,), marker=marker, behaviour=Behaviour().changed(behaviour))
        return spec, Login("backup", password)

    yield router("plain")
    yield answering("commented")
    yield router("interactive", login_methods=("keyboard-interactive",))
    yield router("talkative", stderr=markers.make("talkative: stderr"))
    yield router("changed")
    yield router("refused", refuse_login=True)
    yield answering("cut", cut_after=3000)
    yield answering("closed", cut_after=3000, cut_manner="channel", exit_status=None)
    yield answering("status", exit_status=1)
    yield answering("page", "<html><title>{}</title></html>\r\n")
    yield answering("rejected", "bad command name {} (line 1 column 1)\r\n")
    yield router("complaining", raw_export=b"", stderr=f"failure: {markers.make('complaining: stderr')}\r\n")
    yield answering("great", export_size=2 * LIMIT)
    yield answering("stalled", stall_after=3000)
    yield router("mute", mute="command")
    yield with_key(markers)


def with_key(markers: Markers) -> tuple[RouterSpec, Login]:
    """A router that takes a key with a passphrase."""
    key, passphrase = Ed25519PrivateKey.generate(), markers.make("key: passphrase")
    openssh, pem = serialization.PrivateFormat.OpenSSH, serialization.Encoding.PEM
    sealed = serialization.BestAvailableEncryption(passphrase.encode())
    text = key.private_bytes(pem, openssh, sealed).decode()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    markers.add("key: seed", key.private_bytes_raw())
    markers.add("key: text", text.splitlines()[2].encode())
    spec = RouterSpec(
        "key", logins=(Account("backup", None, (public.decode(),)),), marker=markers.make("key: simulated")
    )
    return spec, Login("backup", private_key=text, passphrase=passphrase)


@pytest.fixture(scope="module")
def scene(ssh_account: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Everything collected, refused, cut, killed; then the search may begin."""
    markers, began = Markers(), time.time()
    routers = list(specs(markers))
    install = Install(
        tmp_path_factory.mktemp("marked"),
        CONFIG_BACKUP_SPREAD_FROM=0,
        CONFIG_BACKUP_SPREAD_TO=0,
        CONFIG_BACKUP_MAX_CONCURRENT=24,
        CONFIG_BACKUP_BANNER_TIMEOUT=3,
        CONFIG_BACKUP_LOGIN_TIMEOUT=4,
        CONFIG_BACKUP_COMMAND_TIMEOUT=6,
        CONFIG_BACKUP_MAX_BYTES=LIMIT,
        CONFIG_LOG_LEVEL="DEBUG",
    )
    given = tmp_path_factory.mktemp("given")
    with ExitStack() as stack:
        sshd = stack.enter_context(serving(*ssh_account, methods=WAYS[:1]))
        (sshd.folder / "banner").write_text(markers.make("sshd: banner"))
        sshd.set_answer(export(markers.make("sshd: configuration")), "v7")
        if sshd.password:
            markers.add("sshd: password", sshd.password.encode())
        babble = stack.enter_context(talker(markers.make("babbling: name")))
        fleet = stack.enter_context(Fleet([spec for spec, _ in routers]))
        allow_cores()
        stack.callback(install.stop)
        install.start()
        witness = Witness(install, (install.root, given, sshd.folder))
        stack.callback(witness.stop)
        with stopped(worker(install, "ingest")):
            for spec, login in routers:
                enrol(install, given, spec.name, fleet[spec.name].port, login)
            install.add("sshd", sshd.port, login_of(sshd))
            install.add("babbling", babble, Login("backup", markers.make("babbling: password")))
            wait_for(lambda: len(install.rows(PUBLISHED)) == len(GOOD), "messages in the stream", 60)
            in_transit = markers.finder().in_tree(install.data / "nats")
            assert install.wiring.bus("operator").status().messages == len(GOOD)
        wait_for(lambda: ends(install) == EXPECTED, "every end", 60)
        open_sessions = trouble(install, fleet, markers, given)
        commands(install, markers, given)
        yield Scene(install, markers, fleet, witness, given, sshd, began, in_transit, open_sessions)


def allow_cores() -> None:
    """As where an operator wants core files: then nothing but the code itself keeps them from being written."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


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


class stopped:  # noqa: N801 - reads as a phrase
    """A process that does nothing as long as the context lasts."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process

    def __enter__(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGCONT)


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
        ("hostkey", "show", "changed"),
        ("device", "add", "plain", "192.0.2.2", "--password-file", str(given / "late")),
        ("status", "--json"),
        ("doctor",),
        ("alarm", "list"),
        ("backup", "cut", "--wait", "--timeout", "20s"),
        ("check-export", str(cut)),
        ("export", "cut"),
        ("export", "commented", "-o", str(given / "commented.rsc")),
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda argv: install.command(*argv, check=False), everything))


def search(scene: Scene, finder: Finder) -> set[Hit]:
    """Look everywhere."""
    hits = in_database(scene, finder)
    hits |= {Hit(f"folder {hit.where}", hit.marker, hit.form) for hit in finder.in_tree(scene.install.root)}
    hits |= {hit for argv, said in scene.install.told.items() for hit in finder.in_bytes(f"terminal {argv}", said)}
    return hits | scene.witness.search(finder) | in_temporary(scene, finder)


def in_database(scene: Scene, finder: Finder) -> set[Hit]:
    """Every row as text: large ones are compressed in the files, in a way that hides what is in them."""
    hits: set[Hit] = set()
    with database(scene) as admin:
        admin.execute("CHECKPOINT")
        names = admin.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        for (name,) in [*names, ("pg_stat_activity",)]:
            statement = sql.SQL("COPY (SELECT t::text FROM {} t) TO STDOUT").format(sql.Identifier(name))
            with admin.cursor() as cursor, cursor.copy(statement) as copy:
                hits |= finder.in_bytes(f"table {name}", b"".join(bytes(piece) for piece in copy))
    return hits


def database(scene: Scene) -> psycopg.Connection:
    """The database as its administrator."""
    url = scene.install.wiring.settings.servers.database_url
    password = (scene.install.data / "secrets" / "admin.postgres").read_text()
    return psycopg.connect(url, user="admin", password=password, autocommit=True)


def in_temporary(scene: Scene, finder: Finder) -> set[Hit]:
    """Files that are new since it began, wherever a process may leave some."""
    own = {scene.given, scene.sshd.folder, scene.install.root.parent}  # searched already, or the test's own
    hits: set[Hit] = set()
    for root in {Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")}:
        for here, below, names in os.walk(root):
            below[:] = [name for name in below if Path(here, name) not in own and not name.startswith("pytest-of-")]
            for path in (Path(here, name) for name in names):
                with suppress(OSError):
                    about = path.lstat()
                    if stat.S_ISREG(about.st_mode) and about.st_ctime >= scene.began:
                        hits |= finder.in_file(path, f"temporary {path}")
    return hits


def test_no_marker_is_found_anywhere(scene: Scene) -> None:
    """After every kind of success and failure, in no file, row, message, process, event or answer (I5)."""
    assert scene.in_transit == set()
    assert search(scene, scene.markers.finder()) == set()


def test_the_markers_went_all_the_way(scene: Scene) -> None:
    """What was looked for was really there: in what the routers were sent and gave, and in what was downloaded."""
    finder = scene.markers.finder()
    offered = {event.facts["offered"] for event in scene.fleet.history if event.kind == "login_offered"}
    found = {hit.marker for text in offered for hit in finder.in_bytes("offered", str(text).encode())}
    assert {"plain: password", "interactive: password", "refused: password", "cut: password"} <= found
    downloaded = {hit.marker for hit in finder.in_tree(scene.given) if hit.where.endswith(".rsc")}
    assert "commented: configuration" in downloaded
    served = [event for event in scene.fleet.history if event.kind == "export_served"]
    assert {event.router for event in served} >= {"cut", "closed", "great", "stalled", "page", "status"}
    assert scene.open_sessions >= 2
    assert scene.witness.looks > 20
    task = Markers()
    task.add("collect.device", b"collect.device")
    assert task.finder().in_bytes("events", b"\n".join(scene.witness.events))


def test_no_process_may_leave_a_core_file(scene: Scene) -> None:
    """A core file holds what the process held: none is allowed, whatever the limits of whoever started it."""
    for process in scene.install.processes():
        limits = Path(f"/proc/{process.pid}/limits").read_text("ascii")
        core = next(line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core == "0", process.cmdline()


def test_the_same_search_finds_what_is_planted_in_each_place(scene: Scene) -> None:
    """The positive control: by hand, in every place and disguise, and nothing is missed."""
    markers, install = Markers(), scene.install
    with ExitStack() as stack:
        admin = stack.enter_context(database(scene))
        planter = Planter(install, markers, stack)
        planter.in_database(admin)
        planter.in_files()
        planter.in_broker()
        planter.on_processes()
        planter.on_terminal()
        stack.enter_context(stopped(worker(install, "ingest")))
        planter.on_bus()
        wait_for(lambda: found_in_events(scene, markers), "the event of the planted task", 20)
        scene.witness.look()
        hits = search(scene, markers.finder())
    found = {
        name: {where for where in places if any(hit.where.startswith(where) for hit in hits if hit.marker == name)}
        for name, places in planter.planted.items()
    }
    assert found == planter.planted


def found_in_events(scene: Scene, markers: Markers) -> bool:
    """Whether the event that tells of the task has come."""
    return bool(markers.finder().in_bytes("events", b"\n".join(scene.witness.events)))
