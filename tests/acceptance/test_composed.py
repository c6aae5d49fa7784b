"""A composed install: what docker-compose.yml runs, run as processes with nothing but their own rooms."""

from __future__ import annotations

import hashlib
import json
import stat
from contextlib import closing
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from backupflow.cli.doctor import CHECKS
from backupflow.cli.provision import provision
from backupflow.cli.secrets import secrets as make_secrets
from backupflow.core.inventory import NewDevice
from backupflow.core.model import DeviceId, Login, TenantId
from backupflow.errors import ServerUnusable
from backupflow.flows import history
from backupflow.settings import Settings
from backupflow.simulator import Fleet, RouterSpec
from backupflow.wiring import Wiring
from backupflow.wiring.rooms import INSTALL, READERS, files
from tests.acceptance.composed import SERVERS, Composed, await_text
from tests.acceptance.install import enrol, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Size

SECONDS = 90.0
# What one collection and the jobs of looking after need; a soak runs every service, with two beats.
FEW = ("worker-collect", "worker-ingest", "worker-maintain")
ALL = (*FEW, "worker-collect-slow", "worker-interpret", "worker-status", "flower")


@pytest.fixture(scope="module")
def composed(size: Size) -> Iterator[Composed]:
    """An install in the order of depends_on; beat was started first, before there was anything for it."""
    settings = {"CONFIG_BACKUP_SPREAD_FROM": "0", "CONFIG_BACKUP_SPREAD_TO": "0", "CONFIG_STATUS_INTERVAL": "5"}
    with Composed(settings) as it:
        it.start("beat")
        await_text(it.log("beat"), "waiting for scheduler.postgres, scheduler.redis", SECONDS)
        it.run("secrets")
        it.make_volumes()
        for server in SERVERS:
            it.configure(server)
            it.start(server)
        it.run("provision")
        for service in ALL if size == "soak" else FEW:
            it.start(service)
        if size == "soak":
            it.start("beat", 2)
        yield it


@pytest.fixture
def console(composed: Composed) -> Iterator[Wiring]:
    """What a person's command has: the room of the service `backupflow`."""
    with closing(Wiring(Settings(composed.environment("backupflow")))) as wiring:
        yield wiring


@pytest.mark.timeout(300)
def test_the_services_collect_a_router_each_with_its_own_room(composed: Composed, console: Wiring) -> None:
    """Enrolled, collected and given back byte for byte, and `doctor` finds that all is well."""
    tenant_id = TenantId(console.make_tenant())
    with Fleet([RouterSpec("core-1", seed=1)]) as fleet:
        new = NewDevice(tenant_id, DeviceId(uuid4()), "core-1", "127.0.0.1", fleet["core-1"].port, "routeros", {})
        enrol(console, new, Login("backup", "backup"))
        numbers = console.requests.ask(tenant_id, ["core-1"], "test")
        wait_for(lambda: all(one.ended for one in console.requests.asked(numbers)), "a collection", SECONDS)
        assert console.requests.asked(numbers)[0].state == "stored", composed.log("worker-collect").read_text("utf-8")
        read = history.export(console.history_ports("test"), tenant_id, "core-1", None)
        assert isinstance(read, history.Exported)
        given = [dict(event.facts)["sent_digest"] for event in fleet.history if event.kind == "export_served"]
        assert hashlib.sha256(read.raw).hexdigest() in given
    wait_for(lambda: all(job.outcome for job in console.statuses.overview().jobs), "each job to be done once", SECONDS)
    wrong = [check for name, look in CHECKS.items() if (check := look(console)).remedy]
    assert not wrong
    assert "CONFIG_SECRETS_DIR" not in "".join(composed.log(name).read_text("utf-8") for name in FEW)
    wait_for(lambda: composed.is_healthy("worker-ingest"), "the health check of the ingester", SECONDS)


@pytest.mark.timeout(300)
def test_run_again_the_one_shots_change_nothing_but_that_the_vault_is_set_up(
    composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an update, or a restart of the machine, everybody finds the logins that he had."""
    before = _contents(composed, *READERS, INSTALL)
    there = composed.services["secrets"]["volumes"]
    make_secrets(composed.root / "rooms", volumes=True)
    again = composed.environment("provision")
    for name in ("DATABASE_URL", "REDIS_URL", "NATS_URL", "OPENBAO_ADDR"):
        monkeypatch.setenv(name, again[name])
    monkeypatch.setattr("backupflow.cli.process.end_on_sigterm", lambda: None)  # not in the process of the tests
    provision(composed.root / "rooms", volumes=True, patience=60)
    make_secrets(composed.root / "rooms", volumes=True)
    assert _contents(composed, *READERS, INSTALL) == before
    assert {mount.split(":")[0].removeprefix("room-") for mount in there} >= {*READERS, *SERVERS, INSTALL}
    told = json.loads((composed.volume("room-openbao") / "openbao.json").read_text("utf-8"))
    assert "initialize" not in told  # storage that is lost is restored, and gets no second set of keys
    assert not (composed.volume("room-openbao") / "installer-secret-id").exists()


def test_a_room_holds_what_its_reader_needs_and_no_more(composed: Composed) -> None:
    """Who breaks into the ingester finds no login that opens a configuration or a router's password."""
    for room in READERS:
        folder = composed.volume(f"room-{room}")
        assert sorted(path.name for path in folder.iterdir()) == sorted(files(room))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o400}
    assert {path.name for path in composed.volume("room-collector").iterdir()} == {
        "collector.postgres", "collector.redis", "collector.nats", "collector.openbao",
    }  # fmt: skip


def test_postgresql_in_its_container_lets_nobody_in_without_a_password(composed: Composed) -> None:
    """Its configuration is the one of `up`: scram for everybody, statements not logged."""
    address = f"host=127.0.0.1 port={composed.ports['postgres']} dbname=postgres user=admin"
    with pytest.raises(psycopg.OperationalError, match=r"no password|authentication failed"):
        psycopg.connect(address).close()
    password = (composed.volume("room-install") / "admin.postgres").read_text("utf-8")
    with psycopg.connect(address, password=password) as admin:
        shown = {
            name: admin.execute(f"SHOW {name}").fetchone()
            for name in ("password_encryption", "log_statement", "log_min_error_statement", "data_checksums", "fsync")
        }
    assert shown == {
        "password_encryption": ("scram-sha-256",), "log_statement": ("none",), "log_min_error_statement": ("panic",),
        "data_checksums": ("on",), "fsync": ("on",),
    }  # fmt: skip


def test_the_seal_is_never_made_anew(tmp_path: Path) -> None:
    """A key that is gone from everywhere is asked for, and another one is refused: both would lose everything."""
    make_secrets(tmp_path, volumes=True)
    key = tmp_path / "install" / "seal.key"
    kept = key.read_bytes()
    key.unlink()
    make_secrets(tmp_path, volumes=True)  # the vault's room still has it
    assert key.read_bytes() == kept
    key.chmod(0o600)
    key.write_bytes(bytes(32))
    with pytest.raises(ServerUnusable, match="not the key that the vault was sealed with"):
        make_secrets(tmp_path, volumes=True)
    key.unlink()
    (tmp_path / "openbao" / "seal.key").unlink()
    with pytest.raises(ServerUnusable, match="bring it back"):
        make_secrets(tmp_path, volumes=True)


def test_a_vault_of_ones_own_is_set_up_with_its_admins_token(tmp_path: Path) -> None:
    """The installer that was made for the composed vault would be refused there, and the token never asked for."""
    make_secrets(tmp_path, volumes=True)
    assert (tmp_path / "install" / "installer.openbao").exists()
    (tmp_path / "install" / "admin.openbao").write_text("token", "utf-8")
    make_secrets(tmp_path, volumes=True)
    assert not (tmp_path / "install" / "installer.openbao").exists()  # as wiring.provision wants it
    (tmp_path / "install" / "installer.openbao").write_text("made there", "utf-8")
    (tmp_path / "install" / "vault-is-set-up").touch()
    make_secrets(tmp_path, volumes=True)
    assert (tmp_path / "install" / "installer.openbao").read_text("utf-8") == "made there"


def _contents(composed: Composed, *rooms: str) -> dict[str, str]:
    paths = [path for room in rooms for path in composed.volume(f"room-{room}").iterdir()]
    return {f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
