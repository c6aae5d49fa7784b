"""No plaintext of a configuration or a login lies, passes or shows anywhere (I5), and the search would find it."""

from __future__ import annotations

import resource
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupflow.core.model import Login
from backupflow.simulator import Fleet
from tests.acceptance.everywhere import Everywhere
from tests.acceptance.hostile import talker
from tests.acceptance.install import PATIENT, Install, wait_for
from tests.acceptance.marked_import import LOGGED_IN, MANY, imports
from tests.acceptance.marked_install import PUBLISHED, commands, ends, enrol, login_of, stopped, trouble, worker
from tests.acceptance.marked_routers import EXPECTED, GOOD, LIMIT, export, specs
from tests.acceptance.openssh import WAYS, OpenSshServer, serving
from tests.acceptance.planting import Planter
from tests.acceptance.search import Finder, Hit, Markers
from tests.acceptance.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = PATIENT


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

    @property
    def everywhere(self) -> Everywhere:
        """What is searched; the rest is searched already, or the test's own."""
        own = frozenset({self.given, self.sshd.folder, self.install.root.parent})
        return Everywhere(self.install, self.witness, own, self.began)

    def search(self, finder: Finder) -> set[Hit]:
        """Look everywhere."""
        return self.everywhere.search(finder)


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
        imports(install, markers, given)
        commands(install, markers, given)
        yield Scene(install, markers, fleet, witness, given, sshd, began, in_transit, open_sessions)


def allow_cores() -> None:
    """As where an operator wants core files: then nothing but the code itself keeps them from being written."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def test_no_marker_is_found_anywhere(scene: Scene) -> None:
    """After every kind of success and failure, in no file, row, message, process, event or answer (I5)."""
    assert scene.in_transit == set()
    assert scene.search(scene.markers.finder()) == set()


def test_the_markers_went_all_the_way(scene: Scene) -> None:
    """What was looked for was really there: in what the routers were sent and gave, and in what was downloaded."""
    finder = scene.markers.finder()
    offered = {event.facts["offered"] for event in scene.fleet.history if event.kind == "login_offered"}
    found = {hit.marker for text in offered for hit in finder.in_bytes("offered", str(text).encode())}
    assert {"plain: password", "interactive: password", "refused: password", "cut: password"} <= found
    downloaded = {hit.marker for hit in finder.in_tree(scene.given) if hit.where.endswith(".rsc")}
    assert "commented: configuration" in downloaded
    given = {hit.marker for hit in finder.in_tree(scene.given)}
    assert {"imported: password 0", "imported anew: password 0", "refused: slipped", "killed: password 0"} <= given
    assert {"rotated: shared password", "rotated: next password", "rotated: third password"} <= given
    rotates = "SELECT 1 FROM credential_profile WHERE name = 'rotated' AND next_changed_at IS NOT NULL"
    assert scene.install.rows(rotates)
    assert scene.install.rows(LOGGED_IN)[0].n >= MANY
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
        admin = stack.enter_context(scene.everywhere.database())
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
        hits = scene.search(markers.finder())
    found = {
        name: {where for where in places if any(hit.where.startswith(where) for hit in hits if hit.marker == name)}
        for name, places in planter.planted.items()
    }
    assert found == planter.planted


def found_in_events(scene: Scene, markers: Markers) -> bool:
    """Whether the event that tells of the task has come."""
    return bool(markers.finder().in_bytes("events", b"\n".join(scene.witness.events)))
