"""The four real servers: data that outlive kills and moves, nothing left behind, nothing secret in sight."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hvac
import nats
import psutil
import psycopg
import pytest
import redis
from hvac.exceptions import Forbidden

from backupflow.embedded import (
    Addresses,
    DataFolder,
    Restart,
    Server,
    ServerOptions,
    Servers,
    binaries,
    open_folder,
    openbao,
    running_install,
    start_servers,
)
from backupflow.embedded.addresses import choose_ports
from backupflow.errors import FolderInUse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from nats.js import JetStreamContext

_UP = textwrap.dedent("""
    import sys
    from pathlib import Path
    from backupflow.embedded import ServerOptions, open_folder, start_servers
    options = ServerOptions(seal_key=Path(sys.argv[2]), fsync=False)
    with open_folder(Path(sys.argv[1])) as folder, start_servers(folder, options):
        print("ready", flush=True)
        sys.stdin.read()
    print("stopped", flush=True)
""")
_AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
# What the tests run from may lie below root's home, closed to all others: then the ordinary user gets the right to read
# everything, and no other; the servers own and write as that user.
_READ = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search"]
_NEEDED = (Path(sys.executable).resolve().parent, Path(sys.prefix), Path(__file__).parents[2])
if not all(binaries._is_open(place) for place in _NEEDED):
    _AS_NOBODY += _READ
_SELF: list[str] = []
USERS = [pytest.param(_SELF, id="as-who-runs-the-tests")]
if os.geteuid() == 0:
    USERS.append(pytest.param(_AS_NOBODY, id="as-an-ordinary-user"))


@dataclass
class Install:
    """An `up` in a process of its own, on a folder that may be moved between runs."""

    data: Path
    key: Path
    user: list[str]
    process: subprocess.Popen[str] | None = None

    def up(self) -> Addresses:
        """Start, and wait until it is ready."""
        argv = [*self.user, sys.executable, "-c", _UP, str(self.data), str(self.key)]
        env = {"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd="/"
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        found = running_install(self.data)
        assert found is not None
        assert found.pid == self.process.pid
        return found

    def family(self) -> list[psutil.Process]:
        """All processes below `up`."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self, *, everything: bool) -> None:
        """Kill -9 `up`, and its servers before it or not; either way no process is left."""
        assert self.process is not None
        doomed = self.family()
        assert len(doomed) >= 4
        for process in doomed if everything else []:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.communicate()
        assert not psutil.wait_procs(doomed, timeout=20)[1]

    def down(self) -> None:
        """Stop in order."""
        assert self.process is not None
        said, _ = self.process.communicate(timeout=60)
        assert said == "stopped\n"
        assert self.process.returncode == 0

    def secret(self, name: str) -> str:
        """Read a secret as its owner."""
        return (self.data / "secrets" / name).read_text(encoding="utf-8")


@pytest.fixture(params=USERS)
def install(request: pytest.FixtureRequest) -> Iterator[Install]:
    """Make a place of a user's own, short and open to him, and end what runs in it."""
    place = Path(tempfile.mkdtemp(prefix="bf-"))
    user: list[str] = request.param
    if user:
        nobody = pwd.getpwnam("nobody")
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
    run = Install(place / "data", place / "config" / "seal.key", user)
    try:
        yield run
    finally:
        if run.process is not None and run.process.poll() is None:
            family = run.family()
            run.process.kill()
            psutil.wait_procs(family, timeout=20)
        if run.process is not None:
            with contextlib.suppress(OSError, ValueError):
                run.process.communicate(timeout=20)
        shutil.rmtree(place)


class Clients:
    """The administrators' clients of a running install."""

    def __init__(self, secrets: Path, addresses: Addresses) -> None:
        self._secrets = secrets
        self._at = addresses

    def _secret(self, name: str) -> str:
        return (self._secrets / name).read_text(encoding="utf-8")

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements, return the rows of the last."""
        assert self._at.postgres is not None
        with psycopg.connect(
            host=self._at.postgres.host,
            port=self._at.postgres.port,
            user="admin",
            password=self._secret("admin.postgres"),
            dbname="postgres",
            autocommit=True,
        ) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def redis(self) -> Iterator[redis.Redis]:
        """Talk to Redis."""
        assert self._at.redis is not None
        host, port = self._at.redis.host, self._at.redis.port
        client = redis.Redis(host=host, port=port, username="admin", password=self._secret("admin.redis"))
        with contextlib.closing(client):
            yield client

    def nats(self, work: Callable[[JetStreamContext], Awaitable[bytes]]) -> bytes:
        """Talk to JetStream."""

        async def talk() -> bytes:
            password = self._secret("admin.nats")
            client = await nats.connect(f"nats://{self._at.nats}", user="admin", password=password)
            try:
                return await work(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(talk())

    def installer(self) -> hvac.Client:
        """The login that the vault made for the set-up."""
        client = hvac.Client(self._at.openbao_url)
        client.auth.approle.login(**json.loads(self._secret("installer.openbao")))
        return client

    def vault(self) -> hvac.Client:
        """A role that may use Transit, made by the installer as the set-up does it."""
        installer = self.installer()
        installer.sys.create_or_update_policy("tester", 'path "transit/*" { capabilities = ["create", "update"] }')
        installer.auth.approle.create_or_update_approle("tester", token_policies=["tester"])
        login = {
            "role_id": installer.auth.approle.read_role_id("tester")["data"]["role_id"],
            "secret_id": installer.auth.approle.generate_secret_id("tester")["data"]["secret_id"],
        }
        client = hvac.Client(self._at.openbao_url)
        client.auth.approle.login(**login)
        return client


def write_everywhere(clients: Clients) -> str:
    """A row, a key, a message, a Transit key; returns what was sealed with it."""
    clients.sql("CREATE TABLE kept (value text)", "INSERT INTO kept VALUES ('row')")
    with clients.redis() as client:
        client.set("kept", "key")

    async def publish(stream: JetStreamContext) -> bytes:
        await stream.add_stream(name="KEPT", subjects=["kept.>"])
        await stream.publish("kept.one", b"message")
        return b""

    clients.nats(publish)
    clients.installer().sys.enable_secrets_engine("transit")
    vault = clients.vault()
    vault.write_data("transit/keys/kept")
    sealed = vault.secrets.transit.encrypt_data("kept", base64.b64encode(b"sealed").decode())
    time.sleep(1.1)  # Redis' file is written once a second, by its own choice
    return str(sealed["data"]["ciphertext"])


def read_everywhere(clients: Clients, sealed: str) -> tuple[object, ...]:
    """What `write_everywhere` wrote."""
    with clients.redis() as client:
        value = client.get("kept")

    async def fetch(stream: JetStreamContext) -> bytes:
        return bytes((await stream.get_msg("KEPT", seq=1)).data or b"")

    opened = clients.vault().secrets.transit.decrypt_data("kept", sealed)["data"]["plaintext"]
    return (*clients.sql("SELECT value FROM kept")[0], value, clients.nats(fetch), base64.b64decode(opened))


EVERYTHING = ("row", b"key", b"message", b"sealed")


def test_data_and_keys_outlive_kills_and_a_move(install: Install) -> None:
    """Kill -9 leaves no process; the next start finds everything, also in another place; at rest all is in order."""
    clients = Clients(install.data / "secrets", install.up())
    sealed = write_everywhere(clients)
    install.kill(everything=False)
    assert running_install(install.data) is None

    old = install.data
    install.data = old.rename(old.with_name("moved"))
    assert read_everywhere(Clients(install.data / "secrets", install.up()), sealed) == EVERYTHING
    install.kill(everything=True)

    assert read_everywhere(Clients(install.data / "secrets", install.up()), sealed) == EVERYTHING
    install.down()
    assert list((install.data / "nats" / "jetstream").glob("**/KEPT"))  # in the folder, not beside it
    assert files_with(install.data, *(str(path).encode() for path in (old, install.data, install.key))) == []
    assert_order(install)


def files_with(folder: Path, *texts: bytes) -> list[str]:
    """The files that hold one of these texts, pages of databases and journals included."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [str(file.relative_to(folder)) for file in files if any(text in file.read_bytes() for text in texts)]


def assert_order(install: Install) -> None:
    """At rest: no login outside its file, nothing of the run, nothing for others' eyes."""
    logins = [path.read_bytes() for path in (install.data / "secrets").iterdir()]
    logins += [value.encode() for value in json.loads(install.secret("installer.openbao")).values()]
    assert len(logins) == 6
    assert not [name for name in files_with(install.data, *logins) if not name.startswith("secrets/")]
    assert [path.name for path in (install.data / "run").iterdir()] == ["lock"]
    assert not list((install.data / "postgres" / "data").glob("postmaster.*"))  # it names the place of the programs
    assert {stat.S_IMODE(room.stat().st_mode) for room in (install.data, *install.data.glob("*/"))} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (install.data / "secrets").iterdir()} == {0o600}
    assert stat.S_IMODE(install.key.stat().st_mode) == 0o600


def test_positive_control_of_the_search(tmp_path: Path) -> None:
    """The search of the tests above finds what is there."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\0x/srv/data\0")
    assert files_with(tmp_path, b"/srv/data") == ["deep/file"]


def test_no_login_is_in_a_command_line_or_an_environment(servers: Servers) -> None:
    """Other users of the machine can read the one, and a crash report the other."""
    logins = [path.read_text(encoding="utf-8") for path in servers.secret_path("admin.redis").parent.iterdir()]
    logins += json.loads(servers.secret_path("installer.openbao").read_text(encoding="utf-8")).values()
    for status in servers.supervisor.status():
        assert status.pid is not None
        shown = b"".join(Path(f"/proc/{status.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        assert not [login for login in logins if login.encode() in shown], status.name
        assert b"server" in shown or b"postgres" in shown  # the search looks where something stands


def test_every_server_listens_on_loopback_alone(servers: Servers) -> None:
    """Also the cluster port of the vault, and no further one."""
    listening = {}
    for status in servers.supervisor.status():
        found = [c.laddr for c in psutil.Process(status.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert {address.ip for address in found} == {"127.0.0.1"}
        listening[status.name] = len(found)
    assert listening == {"postgres": 1, "redis": 1, "nats": 1, "openbao": 2}


def test_a_second_one_on_the_folder_is_refused(servers: Servers) -> None:
    """Two would write over each other."""
    with pytest.raises(FolderInUse), open_folder(servers.folder.path):
        pass


def test_every_server_holds_the_lock_of_the_folder(servers: Servers) -> None:
    """After a kill -9 the next run must wait for the last of them."""
    lock = (servers.folder.path / "run" / "lock").stat().st_ino
    for status in servers.supervisor.status():
        held = [path.stat().st_ino for path in Path(f"/proc/{status.pid}/fd").iterdir() if path.exists()]
        assert lock in held, status.name


def test_another_terminal_finds_the_servers(servers: Servers) -> None:
    """By the folder alone."""
    assert running_install(servers.folder.path) == servers.addresses


def test_nobody_gets_in_without_a_login(servers: Servers) -> None:
    """Other users of the machine reach the ports."""
    at = servers.addresses
    assert at.postgres is not None
    assert at.redis is not None
    for password in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(
                host=at.postgres.host, port=at.postgres.port, user="admin", password=password, dbname="postgres"
            )
    stranger = redis.Redis(host=at.redis.host, port=at.redis.port)
    with contextlib.closing(stranger), pytest.raises(redis.exceptions.AuthenticationError):
        stranger.ping()

    assert at.nats is not None
    with socket.create_connection((at.nats.host, at.nats.port)) as connection, connection.makefile("rb") as answers:
        connection.sendall(b"CONNECT {}\r\nPING\r\n")
        assert b"Authorization Violation" in answers.read()
    with pytest.raises(Forbidden):
        hvac.Client(at.openbao_url).list("sys/policies/acl")


def test_the_servers_run_as_promised(servers: Servers) -> None:
    """Checksums, no eviction, append-only file, large messages: what the rest of the system leans on."""
    clients = Clients(servers.folder.path / "secrets", servers.addresses)
    names = ("data_checksums", "password_encryption", "log_min_error_statement", "TimeZone", "log_error_verbosity")
    assert [clients.sql(f"SHOW {name}")[0][0] for name in names] == ["on", "scram-sha-256", "panic", "UTC", "terse"]
    with clients.redis() as client:
        told = client.config_get("*")
        assert (told["appendonly"], told["maxmemory-policy"], told["maxmemory"]) == ("yes", "noeviction", "268435456")

    async def largest(stream: JetStreamContext) -> bytes:
        await stream.add_stream(name="LARGE", subjects=["large"], max_bytes=2 * 2**30)
        await stream.publish("large", b"x" * (8 * 2**20 - 100))
        await stream.delete_stream("LARGE")
        return b"sent"

    assert clients.nats(largest) == b"sent"


@pytest.mark.parametrize(
    "path",
    ["transit/export/encryption-key/x", "sys/audit", "sys/raw/core", "auth/token/accessors", "sys/seal-status/x"],
)
def test_the_installer_is_not_root(servers: Servers, path: str) -> None:
    """It may do what the set-up needs; it reads no keys, and hands out no tokens of its own."""
    client = Clients(servers.folder.path / "secrets", servers.addresses).installer()
    assert client.auth.token.lookup_self()["data"]["policies"] == ["default", "installer"]
    with pytest.raises(Forbidden):
        client.adapter.get(f"/v1/{path}")
    with pytest.raises(Forbidden):
        client.auth.token.create(policies=["root"])


def test_every_request_to_the_vault_is_audited_without_its_login(servers: Servers) -> None:
    """The audit device is on from the first request; secrets in it are HMACs."""
    Clients(servers.folder.path / "secrets", servers.addresses).installer()
    files = (servers.folder.path / "logs").glob("openbao-audit.log*")  # another test may have put one aside
    audit = "".join(file.read_text(encoding="utf-8") for file in files)
    assert '"path":"auth/approle/login"' in audit
    assert '"path":"auth/approle/role/installer/custom-secret-id"' in audit
    login = json.loads(servers.secret_path("installer.openbao").read_text(encoding="utf-8"))
    assert login["secret_id"] not in audit


def test_a_large_audit_file_is_put_aside(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vault writes on, into a new file."""
    monkeypatch.setattr(openbao, "_AUDIT_LIMIT", 100)
    clients = Clients(servers.folder.path / "secrets", servers.addresses)
    audit = servers.folder.path / "logs" / "openbao-audit.log"
    clients.installer()
    (pid,) = (status.pid for status in servers.supervisor.status() if status.name == "openbao")
    assert pid is not None
    openbao._bound_audit(servers.folder, pid)
    assert eventually(audit.exists)
    clients.installer()
    assert '"path":"auth/approle/login"' in audit.read_text(encoding="utf-8")
    assert audit.with_name("openbao-audit.log.1").exists()


def test_a_server_that_dies_is_started_again(tmp_path: Path) -> None:
    """With what it had stored, on its port; the others run on. What is left out is not started."""
    told: list[Restart] = []
    left_out = frozenset({Server.REDIS, Server.OPENBAO})
    options = ServerOptions(leave_out=left_out, on_restart=told.append, fsync=False)
    with open_folder(tmp_path / "data") as folder, start_servers(folder, options) as servers:
        assert (servers.addresses.redis, servers.addresses.openbao) == (None, None)
        clients = Clients(folder.path / "secrets", servers.addresses)
        clients.sql("CREATE TABLE kept (value text)", "INSERT INTO kept VALUES ('row')")
        before = {status.name: status.pid for status in servers.supervisor.status()}
        assert list(before) == ["postgres", "nats"]
        assert before["postgres"] is not None
        os.kill(before["postgres"], signal.SIGKILL)

        def is_back() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                return clients.sql("SELECT value FROM kept") == [("row",)]
            return False

        assert eventually(lambda: bool(told))
        assert eventually(is_back)
        after = {status.name: status.pid for status in servers.supervisor.status()}
        assert after["nats"] == before["nats"]
        assert after["postgres"] != before["postgres"]
    assert [(restart.name, restart.exit_code) for restart in told] == [("postgres", -signal.SIGKILL)]


def test_a_port_that_is_taken_at_the_last_moment_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our look and the server's bind another may come; then all get other ports."""
    with socket.socket() as stranger, open_folder(tmp_path / "data") as folder:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        real = choose_ports

        def unlucky(folder: DataFolder, names: list[str], *, anew: bool = False) -> dict[str, int]:
            ports = real(folder, names, anew=anew)
            return ports if anew else {**ports, "nats": taken}

        monkeypatch.setattr("backupflow.embedded.servers.choose_ports", unlucky)
        options = ServerOptions(leave_out=frozenset(Server) - {Server.NATS})
        with start_servers(folder, options) as servers:
            assert servers.addresses.nats is not None
            assert servers.addresses.nats.port != taken


def test_a_vault_whose_set_up_was_cut_short_is_set_up_anew(tmp_path: Path) -> None:
    """A kill in the first second leaves storage without a login; nothing was sealed with it yet."""
    options = ServerOptions(leave_out=frozenset(Server) - {Server.OPENBAO}, seal_key=tmp_path / "seal.key")
    with open_folder(tmp_path / "data") as folder:
        (folder.room("openbao") / "unfinished").touch()
        (folder.room("openbao") / "vault.db").write_bytes(b"half")
        with start_servers(folder, options) as servers:
            clients = Clients(folder.path / "secrets", servers.addresses)
            assert clients.installer().is_authenticated()
            assert not (folder.path / "openbao" / "unfinished").exists()
            assert not (folder.path / "run" / "installer-secret-id").exists()


def eventually(what: Callable[[], bool], seconds: float = 30) -> bool:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.05)
    return what()
