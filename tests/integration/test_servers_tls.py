"""All four servers by TLS with a private authority: who is trusted, who is refused, and what is said then."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import kombu
import psycopg
import pytest
import redis
from flower.utils import broker as flower_broker
from sqlalchemy import text

import backupflow
from backupflow.adapters.broker import why
from backupflow.adapters.db.engine import transaction
from backupflow.cli.processes import processes
from backupflow.core.inventory import NewDevice
from backupflow.core.model import DeviceId, Login, TenantId
from backupflow.core.tls import Refusal
from backupflow.embedded import Server, ServerOptions, Servers, open_folder, start_servers
from backupflow.errors import BackupflowError, BusUnavailable, SettingsInvalid, StoreUnavailable, VaultUnavailable
from backupflow.settings import Settings
from backupflow.simulator import Fleet, RouterSpec
from backupflow.tasks import app as door
from backupflow.tasks import flower  # noqa: F401 - its client takes the place of Flower's own
from backupflow.wiring import Wiring, provision, use
from tests.acceptance.install import enrol, wait_for
from tests.integration.private_ca import Authority, Pair, overheard, terminated

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = "127.0.0.1"
CLIENTS = ("postgres", "admin", "openbao", "nats", "redis", "kombu", "presence", "flower")
ALIVE_SECONDS = 90.0
AT_ONCE = {"CONFIG_BACKUP_SPREAD_FROM": "0", "CONFIG_BACKUP_SPREAD_TO": "0"}


@dataclass(frozen=True)
class Scene:
    """Servers that speak TLS with a certificate for 127.0.0.1, and where they are in clear."""

    servers: Servers
    ours: Authority
    theirs: Authority
    secure: dict[str, str]
    clear: dict[str, str]

    def environment(self, ca: Path | None, addresses: dict[str, str]) -> dict[str, str]:
        """The settings of a process."""
        told = {"CONFIG_SECRETS_DIR": str(self.servers.folder.path / "secrets"), **AT_ONCE, **addresses}
        return told | ({"CONFIG_SERVERS_CA": str(ca)} if ca else {})

    @contextlib.contextmanager
    def wiring(self, ca: Path | None, addresses: dict[str, str]) -> Iterator[Wiring]:
        """A wiring with these settings."""
        made = Wiring(Settings(self.environment(ca, addresses)))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Servers of its own, set up through TLS from the first connection on."""
    place = tmp_path_factory.mktemp("tls")
    ours, theirs = Authority(place / "ours"), Authority(place / "theirs")
    pair = ours.gives(HERE)
    with ExitStack() as ends:
        folder = ends.enter_context(open_folder(place / "data"))
        users = provision.server_users(folder.secret)
        options = ServerOptions(
            redis_users=users.redis, nats_users=users.nats, seal_key=place / "seal.key", fsync=False
        )
        servers = ends.enter_context(start_servers(folder, options))
        at = servers.addresses
        assert at.postgres
        assert at.redis
        _postgres_speaks_tls(servers, pair)
        clear = {
            "DATABASE_URL": f"postgresql://{at.postgres}/backupflow",
            "REDIS_URL": f"redis://{at.redis}/0",
            "NATS_URL": f"nats://{at.nats}",
            "OPENBAO_ADDR": at.openbao_url,
        }
        secure = {
            "DATABASE_URL": clear["DATABASE_URL"],
            "REDIS_URL": f"rediss://{ends.enter_context(terminated(pair, at.redis.port))}/0",
            "NATS_URL": f"tls://{at.nats}",
            "OPENBAO_ADDR": f"https://{_openbao_speaks_tls(servers, pair)}",
        }
        _nats_speaks_tls(servers, pair)
        made = Scene(servers, ours, theirs, secure, clear)
        with made.wiring(ours.file, secure) as wiring:
            provision.set_up(wiring, folder.secret, lambda _: None)
        yield made


def _postgres_speaks_tls(servers: Servers, pair: Pair) -> None:
    """The files lie where the server's user may read them."""
    data = servers.folder.path / "postgres" / "data"
    owner = data.stat()
    for name, file in (("server.crt", pair.certificate), ("server.key", pair.key)):
        shutil.copy(file, data / name)
        (data / name).chmod(0o600)
        if os.geteuid() == 0:
            os.chown(data / name, owner.st_uid, owner.st_gid)
    with _superuser(servers) as admin:
        admin.execute("ALTER SYSTEM SET ssl = on")
        admin.execute("SELECT pg_reload_conf()")


def _superuser(servers: Servers) -> psycopg.Connection:
    address = servers.addresses.postgres
    assert address
    where = psycopg.conninfo.make_conninfo(host=address.host, port=address.port, dbname="postgres", user="admin")
    return psycopg.connect(where, password=servers.secret_path("admin.postgres").read_text(), autocommit=True)


def _openbao_speaks_tls(servers: Servers, pair: Pair) -> str:
    """One more listener, so that the supervisor's own look stays what it is."""
    file = servers.folder.path / "run" / "openbao.json"
    config = json.loads(file.read_text("utf-8"))
    with socket.create_server((HERE, 0)) as free:
        address = f"{HERE}:{free.getsockname()[1]}"
    files = {"tls_cert_file": str(pair.certificate), "tls_key_file": str(pair.key)}
    config["listener"].append({"tcp": {"address": address, **files}})
    config.pop("initialize", None)
    file.write_text(json.dumps(config), "utf-8")
    servers.supervisor.restart(Server.OPENBAO)
    return address


def _nats_speaks_tls(servers: Servers, pair: Pair) -> None:
    config = servers.folder.path / "run" / "nats.conf"
    files = f"cert_file: {json.dumps(str(pair.certificate))}, key_file: {json.dumps(str(pair.key))}"
    config.write_text(f"{config.read_text('utf-8')}\ntls {{ {files} }}\n", "utf-8")
    servers.supervisor.restart(Server.NATS)


def _speak(client: str, wiring: Wiring) -> object:
    """One exchange by a client of ours; what it gives, or its error."""
    match client:
        case "postgres":
            return wiring.postgres_version("reader")
        case "admin":
            provision.make_postgres_roles(wiring, lambda name: wiring.secret(*name.split(".")))
            return "made"
        case "openbao":
            return wiring.vault("reader").status()
        case "nats":
            return wiring.bus("operator").status()
        case "redis":
            version, trouble = wiring.broker_version("operator")
            return version or _raise(BusUnavailable(trouble))
        case "presence":
            wiring.presence.offline([])
            wiring.presence.offline([wiring.process_id])  # type: ignore[list-item]
            trouble = wiring.presence.failure()
            return _raise(BusUnavailable(trouble)) if trouble else "asked"
        case "kombu":
            return _celery_connects(wiring)
        case "flower":
            return asyncio.run(_flower_counts(wiring))
    raise ValueError(client)


def _raise(exc: BackupflowError) -> object:
    raise exc


def _celery_connects(wiring: Wiring) -> str:
    """By the very settings that the app takes."""
    use(wiring)
    told = door._addresses()
    within = {"socket_timeout": 1, "socket_connect_timeout": 1}
    with kombu.Connection(  # type: ignore[no-untyped-call]
        told["broker_url"], ssl=told.get("broker_use_ssl", False), transport_options=within
    ) as connection:
        try:
            connection.channel().client.ping()
        except connection.connection_errors as exc:
            raise BusUnavailable(why(exc, wiring.trusted("REDIS_URL"))) from None
    return "pong"


async def _flower_counts(wiring: Wiring) -> object:
    """By the client that its page `Broker` makes for each request, with the settings that it takes."""
    use(wiring)
    told = door._addresses()
    about: dict[str, object] = {"broker_options": {}, "broker_use_ssl": told.get("broker_use_ssl")}
    try:
        return await flower_broker.Broker(told["broker_url"], **about).queues(["ingest"])
    except (redis.RedisError, OSError) as exc:
        return _raise(BusUnavailable(why(exc, wiring.trusted("REDIS_URL"))))


@pytest.mark.parametrize("client", CLIENTS)
def test_the_right_authority_is_all_that_it_takes(scene: Scene, client: str, caplog: pytest.LogCaptureFixture) -> None:
    """Every client of ours comes through by TLS, and has nothing to warn of."""
    with scene.wiring(scene.ours.file, scene.secure) as wiring:
        assert _speak(client, wiring)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []


def test_postgres_is_spoken_to_by_tls(scene: Scene) -> None:
    """Its address says nothing of TLS: the authorities do."""
    with scene.wiring(scene.ours.file, scene.secure) as wiring, transaction(wiring.engine("reader")) as tx:
        assert tx.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar_one() is True


@pytest.mark.parametrize("client", CLIENTS)
def test_only_the_given_authorities_count(scene: Scene, client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate by another authority is refused, even by one that the machine trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(scene.ours.file))
    with scene.wiring(scene.theirs.file, scene.secure) as wiring:
        assert _refused(client, wiring) == Refusal.UNTRUSTED


@pytest.mark.parametrize("client", CLIENTS)
def test_a_certificate_for_another_name_is_refused(scene: Scene, client: str) -> None:
    """It is for 127.0.0.1, and the address says localhost."""
    addresses = {name: address.replace(HERE, "localhost") for name, address in scene.secure.items()}
    with scene.wiring(scene.ours.file, addresses) as wiring:
        assert _refused(client, wiring) == Refusal.ANOTHER_NAME


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_in_clear_is_refused_and_hears_no_login(scene: Scene, servers: Servers, client: str) -> None:
    """Addresses say TLS, the servers do not speak it: nothing of a login, nor a question, was sent to them."""
    at = servers.addresses
    with ExitStack() as ends:
        heard: list[bytearray] = []
        addresses = {}
        for variable, scheme, address in (
            ("DATABASE_URL", "postgresql://{}/backupflow", at.postgres),
            ("REDIS_URL", "rediss://{}/0", at.redis),
            ("NATS_URL", "tls://{}", at.nats),
            ("OPENBAO_ADDR", "https://{}", at.openbao),
        ):
            assert address
            way, words = ends.enter_context(overheard(address.host, address.port))
            addresses[variable] = scheme.format(way)
            heard.append(words)
        wiring = ends.enter_context(scene.wiring(scene.ours.file, addresses))
        wanted = {
            "redis": Refusal.SILENT,
            "presence": "TimeoutError",
            "kombu": Refusal.SILENT,
            "flower": Refusal.SILENT,
        }
        assert _refused(client, wiring) == wanted.get(client, Refusal.IN_CLEAR)
        said = b"".join(heard)
        assert said or client == "nats"
        assert not [login for login in _logins(scene) if login.encode() in said]


@pytest.mark.parametrize("variable", ["REDIS_URL", "NATS_URL", "OPENBAO_ADDR"])
def test_an_address_in_clear_is_refused_before_anything_is_sent(scene: Scene, variable: str) -> None:
    """With authorities of one's own an address that leads to a connection in clear is a mistake, and says which."""
    client = {"REDIS_URL": "redis", "NATS_URL": "nats", "OPENBAO_ADDR": "openbao"}[variable]
    addresses = scene.secure | {variable: scene.clear[variable]}
    with scene.wiring(scene.ours.file, addresses) as wiring, pytest.raises(SettingsInvalid, match=variable):
        _speak(client, wiring)


@pytest.mark.parametrize("client", CLIENTS)
def test_without_a_file_the_machines_authorities_count(
    scene: Scene, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each address says TLS itself; who is trusted by the machine is trusted, and nobody else."""
    addresses = scene.secure | {"DATABASE_URL": f"{scene.secure['DATABASE_URL']}?sslmode=verify-full"}
    monkeypatch.setenv("SSL_CERT_FILE", str(scene.ours.file))
    with scene.wiring(None, addresses) as wiring:
        assert _speak(client, wiring)
    monkeypatch.setenv("SSL_CERT_FILE", str(scene.theirs.file))
    with scene.wiring(None, addresses) as wiring:
        assert _refused(client, wiring) == Refusal.UNTRUSTED


@pytest.mark.timeout(300)
def test_a_router_is_collected_by_processes_that_speak_tls(scene: Scene) -> None:
    """Beat, a collector and an ingester, each with all its clients: a first snapshot is stored."""
    environment = {**_plain(), **scene.environment(scene.ours.file, scene.secure)}
    with Fleet([RouterSpec("r1")]) as fleet, scene.wiring(scene.ours.file, scene.secure) as wiring, ExitStack() as ends:
        tenant = TenantId(wiring.make_tenant())
        log = ends.enter_context((scene.servers.folder.room("logs") / "processes.log").open("w+b"))
        running: list[subprocess.Popen[bytes]] = []
        for process in processes(2, status=False):
            if process.name in {"beat", "collect", "ingest"}:
                started = subprocess.Popen(
                    process.argv, env={**environment, "CONFIG_ROLE": process.role}, stdout=log, stderr=log
                )
                running.append(started)
        ends.callback(lambda: [one.wait(60) for one in running])
        for one in running:
            ends.callback(one.terminate)
        new = NewDevice(tenant, DeviceId(uuid4()), "r1", HERE, fleet["r1"].port, "routeros", {})
        enrol(wiring, new, Login("backup", "backup"))

        def stored() -> bool:
            with transaction(wiring.engine("reader")) as tx:
                return bool(tx.execute(text("SELECT 1 FROM collection WHERE state = 'stored'")).all())

        try:
            wait_for(stored, "a first snapshot", ALIVE_SECONDS)
        except AssertionError as exc:
            raise AssertionError(f"{exc}: {Path(log.name).read_text('utf-8', 'replace')[-3000:]}") from None


def _plain() -> dict[str, str]:
    """This process's environment without settings, with the tree that is tested."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONFIG_", "BACKUPFLOW_"))}
    return {**kept, "PYTHONPATH": str(Path(backupflow.__file__).parents[1])}


def _refused(client: str, wiring: Wiring) -> str:
    """What is said of it; whoever asks gets one of our errors."""
    with pytest.raises((StoreUnavailable, BusUnavailable, VaultUnavailable)) as refused:
        _speak(client, wiring)
    return refused.value.detail


def _logins(scene: Scene) -> list[str]:
    """What must not be heard."""
    folder = scene.servers.folder.path / "secrets"
    words = [file.read_text("utf-8").strip() for file in folder.iterdir()]
    return [*words, *(json.loads(word)["secret_id"] for word in words if word.startswith("{"))]
