"""One whole collection for each class of failure that a device can meet: how its row ends, and what follows.

A claim, a real session with a real router (or none), the real vault and database; see docs/retries.md for the waits.
"""
# ruff: noqa: D103 - each situation says by its name what it is

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backupflow import errors
from backupflow.adapters.bus import Bus, BusLogin
from backupflow.adapters.db.collections import Collections
from backupflow.adapters.db.engine import Postgres, open_engine
from backupflow.adapters.reader import ProcessReader
from backupflow.adapters.reader.process import Bounds
from backupflow.adapters.ssh.jump import ways_of_process
from backupflow.adapters.vault import AppRoleLogin, Vault
from backupflow.core import backoff
from backupflow.core.inventory import Placement
from backupflow.core.model import HostKey, Login
from backupflow.core.scopes import ScopeKind
from backupflow.errors import BackupflowError, Verdict
from backupflow.flows.admitting import login_secret
from backupflow.flows.collect import collect
from backupflow.simulator import Fleet, JumpSpec, RouterSpec
from tests.conftest import copied_database, install_on
from tests.integration.worker_path import WorkerPath, fail, own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from backupflow.core.ledger import Assignment
    from backupflow.core.model import DeviceId
    from backupflow.embedded import Servers
    from backupflow.flows.outcome import Outcome

NOWHERE = "127.0.0.1:9"  # the discard port: nothing of ours listens there
ACROSS = (Verdict.RETRY, Verdict.BLOCK, Verdict.GIVE_UP, Verdict.PAUSE)


@dataclass
class Scene:
    """A router, perhaps behind a jump host, and the device that it is; `ended` is what a test looks at."""

    path: WorkerPath
    fleet: Fleet
    device: DeviceId | None = None
    ports: dict[str, Any] = field(default_factory=dict)

    def add(self, settings: Mapping[str, Any] | None = None, password: str = "backup", jump: str = "") -> DeviceId:
        """The device."""
        placement = Placement(jump=jump) if jump else Placement()
        self.device = self.path.add(self.fleet["r1"].port, own(password), settings, placement)
        return self.device

    def behind(self) -> str:
        """A jump host on the way; its name."""
        hop, path = self.fleet.jump_hosts["j1"], self.path
        profile = path.scope(ScopeKind.PROFILE, login=Login("jump", "jump"))
        return path.scope(ScopeKind.JUMP_HOST, profile=profile.name, host=hop.host, port=hop.port).name

    def behave(self, **does: Any) -> None:  # noqa: ANN401 - as a router takes them
        """What the router does now."""
        self.fleet["r1"].behave(**does)

    def well(self) -> None:
        """It was collected once before."""
        assert self.device is not None
        assert self.path.run(self.device).what == "published"
        self.path.due(self.device)

    def collect(self) -> Outcome:
        """A tick and its worker, with what stands in for a part of its world."""
        assert self.device is not None
        ports = self.path.ports(self.ports.pop("store", None))
        return collect(replace(ports, **self.ports), self.path.claim(self.device), "holder", fail)


class Meanwhile(Collections):
    """Somebody does something while the session is between its handshake and its login."""

    def __init__(self, path: WorkerPath, statement: str, role: str = "operator") -> None:
        super().__init__(path.install.wiring.engine("collector"), path.install.wiring.policy)
        self._path, self._statement, self._role = path, statement, role
        self._after = "collection" not in statement

    def pin(self, assignment: Assignment, key: HostKey, *how: Any) -> None:  # noqa: ANN401 - as it is given
        """Pin it, after or before that."""
        if self._after:
            super().pin(assignment, key, *how)
        self._path.write(self._statement, self._role, d=assignment.device_id)
        if not self._after:
            super().pin(assignment, key, *how)


# --- what leads to each ----------------------------------------------------------------------------------------------


def unreachable(scene: Scene) -> None:
    scene.add()
    scene.behave(reset_at="banner")


def unresolved(scene: Scene) -> None:
    device = scene.add()
    scene.path.write("UPDATE device SET host = :h WHERE id = :d", d=device, h="x" * 64 + ".invalid")


def refused_connection(scene: Scene) -> None:
    scene.add()
    scene.behave(listening=False)


def jump_host_away(scene: Scene) -> None:
    scene.add(jump=scene.behind())
    scene.fleet.jump_hosts["j1"].behave(listening=False)


def jump_host_changed(scene: Scene) -> None:
    scene.add(jump=scene.behind())
    scene.well()
    scene.fleet.jump_hosts["j1"].change_key()
    ways_of_process().close()


def mute(scene: Scene) -> None:
    scene.add({"login_timeout_seconds": 1, "command_timeout_seconds": 1})
    scene.behave(mute="command")


def cut(scene: Scene) -> None:
    scene.add()
    scene.behave(cut_after=2000)


def shrunk(scene: Scene) -> None:
    scene.add()
    scene.well()
    scene.behave(shrunk=True)


def wrong_password(scene: Scene) -> None:
    scene.add(password="wrong")


def other_key(scene: Scene) -> None:
    scene.add()
    scene.well()
    scene.fleet["r1"].change_key()


def unapproved(scene: Scene) -> None:
    scene.add({"trust": "manual"})


def old_algorithms(scene: Scene) -> None:
    scene.add()
    scene.behave(legacy=True)


def downgraded(scene: Scene) -> None:
    scene.add()
    scene.well()
    scene.behave(legacy=True)


def other_serial(scene: Scene) -> None:
    scene.add()
    scene.well()
    scene.behave(serial="HZZ0SOMEONE")


def rejected(scene: Scene) -> None:
    scene.add()
    scene.behave(raw_export=b"expected end of command (line 1 column 9)\r\n")


def no_configuration(scene: Scene) -> None:
    scene.add()
    scene.behave(raw_export=b"Welcome to the hotel's WLAN\r\n")


def too_large(scene: Scene) -> None:
    scene.add()
    wiring = scene.path.install.wiring
    scene.ports["store"] = Collections(wiring.engine("collector"), replace(wiring.policy, max_bytes=1500))


def foreign_login(scene: Scene) -> None:
    device, wiring = scene.add(), scene.path.install.wiring
    other = wiring.vault("enroller").seal_login(scene.path.tenant_id, scene.path.tenant_id, b"{}")
    scene.path.write("UPDATE credential_profile SET sealed = :s WHERE device_id = :d", d=device, s=other.text)


def vault_away(scene: Scene) -> None:
    scene.add()
    scene.ports["secrets"] = Vault(f"http://{NOWHERE}", AppRoleLogin("role", "secret"))


def pepper_gone(scene: Scene) -> None:
    scene.add()
    vault = scene.path.install.wiring.vault("enroller")
    other = vault.seal_login(scene.path.tenant_id, scene.path.tenant_id, b"{}")
    scene.path.write("UPDATE tenant SET pepper = :s", s=other.text)


def bus_away(scene: Scene) -> None:
    scene.add()
    scene.ports["publisher"] = Bus(f"nats://{NOWHERE}", BusLogin("collector", "x"), timeout=timedelta(seconds=0.5))


def store_away(scene: Scene) -> None:
    scene.add()
    engine = open_engine(Postgres(f"postgresql://{NOWHERE}/x", "collector", "x"))
    scene.ports["store"] = Collections(engine, scene.path.install.wiring.policy)


def suspended(scene: Scene) -> None:
    scene.add()
    statement = "UPDATE credential_profile SET suspended_at = now() WHERE device_id = :d"
    scene.ports["store"] = Meanwhile(scene.path, statement)


def unusable_login(scene: Scene) -> None:
    device, path = scene.add(), scene.path
    secret = login_secret(Login("backup", private_key="no key at all"))
    sealed = path.install.wiring.vault("enroller").seal_login(path.tenant_id, device, secret)
    path.write("UPDATE credential_profile SET sealed = :s WHERE device_id = :d", d=device, s=sealed.text)


def lease_over(scene: Scene) -> None:
    scene.add()
    statement = "UPDATE collection SET state = 'lost', code = 'lease_over', ended_at = now() WHERE device_id = :d"
    scene.ports["store"] = Meanwhile(scene.path, statement)


def busy(scene: Scene) -> None:
    scene.add()
    scene.ports["reader"] = ProcessReader(Bounds(in_thread=1, time=timedelta(milliseconds=1)))


SITUATIONS: Mapping[type[BackupflowError], Callable[[Scene], None]] = {
    errors.DeviceUnreachable: unreachable,
    errors.NameUnresolved: unresolved,
    errors.ConnectionRefused: refused_connection,
    errors.JumpHostUnreachable: jump_host_away,
    errors.JumpHostBlocked: jump_host_changed,
    errors.DeviceTimeout: mute,
    errors.OutputTruncated: cut,
    errors.ExportSuspect: shrunk,
    errors.AuthenticationFailed: wrong_password,
    errors.HostKeyMismatch: other_key,
    errors.HostKeyUnapproved: unapproved,
    errors.AlgorithmsIncompatible: old_algorithms,
    errors.SshDowngraded: downgraded,
    errors.IdentityChanged: other_serial,
    errors.CommandRejected: rejected,
    errors.NotAConfiguration: no_configuration,
    errors.OutputTooLarge: too_large,
    errors.MessageMalformed: foreign_login,
    errors.VaultUnavailable: vault_away,
    errors.TransitKeyMissing: pepper_gone,
    errors.BusUnavailable: bus_away,
    errors.StoreUnavailable: store_away,
    errors.LoginSuspended: suspended,
    errors.LoginUnusable: unusable_login,
    errors.LeaseLost: lease_over,
    errors.CollectorBusy: busy,
}
OF_JUMP_HOST = {errors.JumpHostUnreachable, errors.JumpHostBlocked}
ROW_IS_NOT_OURS = {errors.StoreUnavailable: "claimed", errors.LeaseLost: "lost"}  # somebody else ends it
NOT_COUNTED = {errors.LoginUnusable, *OF_JUMP_HOST}


@pytest.fixture(scope="module")
def installed(servers: Servers, postgres_roles: Path, vault_roles: Path) -> Iterator[WorkerPath]:
    """Set one install up for all of these."""
    with copied_database(servers, postgres_roles) as database:
        install = install_on(servers, database, vault_roles)
        install.wiring.make_tenant()
        yield WorkerPath(install)
        install.wiring.close()


@pytest.fixture
def scene(installed: WorkerPath) -> Iterator[Scene]:
    """A router and a jump host of its own; nothing is left due."""
    (pepper,) = installed.rows("SELECT pepper FROM tenant")
    with Fleet([RouterSpec("r1")], jump_hosts=[JumpSpec("j1")]) as fleet:
        made = Scene(installed, fleet)
        yield made
        for part in made.ports.values():
            if hasattr(part, "close"):
                part.close()
        ways_of_process().close()
    installed.write("UPDATE tenant SET pepper = :p", p=pepper.pepper)
    installed.end_all()


def test_every_class_that_a_device_can_meet_has_its_collection() -> None:
    """Whoever adds a class adds what leads to it."""
    met = {kind for kind in BackupflowError.__subclasses__() if kind.verdict in ACROSS}
    assert met == set(SITUATIONS)


@pytest.mark.parametrize("kind", SITUATIONS, ids=lambda kind: kind.code)
def test_each_failure_ends_its_row_and_has_the_consequence_of_its_verdict(
    scene: Scene, kind: type[BackupflowError]
) -> None:
    """Its code is in the row and in what is told; the device waits, is blocked, goes on or is not blamed."""
    SITUATIONS[kind](scene)
    assert scene.device is not None
    outcome = scene.collect()
    row, device = scene.path.last(scene.device), scene.path.device(scene.device)
    assert outcome.code == kind.code, outcome
    if kind in ROW_IS_NOT_OURS:
        assert (row.state, device.failures, device.blocked_code) == (ROW_IS_NOT_OURS[kind], 0, None)
        return
    assert row.code == kind.code
    wait = device.next_due_at - row.ended_at
    if kind in OF_JUMP_HOST or kind.verdict is Verdict.PAUSE:
        assert (row.state, device.failures, device.blocked_code) == ("failed", 0, None)
        assert wait <= backoff.AGAIN_WITHIN
        return
    assert device.failures == (0 if kind in NOT_COUNTED else 1)
    match kind.verdict:
        case Verdict.BLOCK:
            assert (row.state, device.blocked_code) == ("blocked", kind.code)
        case Verdict.RETRY:
            assert row.state == ("suspect" if kind is errors.ExportSuspect else "failed")
            assert backoff.step(0, 0.0) <= wait <= backoff.step(0, 1.0)
        case _:
            assert (row.state, device.blocked_code) == ("failed", None)
            assert wait <= timedelta(seconds=61)  # its own interval
