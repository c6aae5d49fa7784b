"""A backup of the system from real servers and into new ones: what is refused, what a crash leaves, what goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyrage
import pytest

import backupflow
from backupflow.adapters.copies import Identities, Recipients, members_of, sealed_chunks, tar_of, write_whole
from backupflow.adapters.copies import opened as opened_file
from backupflow.cli import system_place
from backupflow.cli.exits import Exit
from backupflow.cli.install import DATABASE
from backupflow.core.model import TenantId
from backupflow.core.system_backup import INSTALLER, SEAL_KEY, Ended, Member, Sums, ended_in, last
from backupflow.embedded import Server, ServerOptions, open_folder, start_servers
from backupflow.errors import Conflict, InputInvalid, VaultUnavailable
from backupflow.flows import history
from backupflow.flows.ingest import check_marks
from backupflow.settings import Settings
from backupflow.wiring import Wiring, provision
from backupflow.wiring.system_backup import check, installer, system_backups
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import LiteralString

    from backupflow.embedded import Servers
    from backupflow.wiring.system_backup import Checked
    from tests.integration.scene import Ran, Scene

NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEY = pyrage.x25519.Identity.generate()
LOGINS_OF_ROLES = "OpenBao: logins of the roles"  # what is said once the vault has become the one of then


@pytest.fixture
def whole(scene: Scene, servers: Servers, tmp_path: Path) -> Scene:
    """An install with a device and two snapshots, whose commands have the installer's login too."""
    logins = tmp_path / "logins"
    shutil.copytree(scene.install.environment["CONFIG_SECRETS_DIR"], logins)
    for name in ("installer.openbao", "admin.postgres"):
        shutil.copy(servers.secret_path(name), logins)
    scene.monkeypatch.setenv("CONFIG_SECRETS_DIR", str(logins))
    scene.monkeypatch.setenv("CONFIG_BACKUP_INTERVAL", "7200")
    scene.monkeypatch.setattr("backupflow.adapters.copies.require_lasting", lambda _: None)  # /tmp may be a tmpfs
    device = scene.add()
    scene.observe(device, export_text("one"))
    scene.observe(device, export_text("two"))
    return scene


def create(scene: Scene, servers: Servers, file: Path, *seal: str) -> Ran:
    """By the command."""
    named = seal or ("--seal-key", str(servers.folder.path.parent / "seal.key"))
    return scene.run("backup-system", "create", str(file), "--recipient", str(KEY.to_public()), *named)


def looked(file: Path) -> Checked:
    """What is in it."""
    return check(file, Identities(str(KEY)), lambda _: None)


def opened(wiring: Wiring) -> bytes:
    """The newest configuration of the device."""
    tenant = TenantId(wiring.devices("reader").tenant("default"))
    found = history.export(wiring.history_ports("test"), tenant, "core-1", None)
    assert isinstance(found, history.Exported)
    return found.raw


@contextmanager
def configured(root: Path, seal: Path) -> Iterator[dict[str, str]]:
    """New servers of somebody's own, and the environment that names them."""
    options = ServerOptions(leave_out=frozenset({Server.REDIS, Server.NATS}), seal_key=seal, fsync=False)
    with open_folder(root) as folder, start_servers(folder, options) as running:
        yield {
            "DATABASE_URL": f"postgresql://{running.addresses.postgres}/{DATABASE}",
            "OPENBAO_ADDR": running.addresses.openbao_url,
            "CONFIG_SECRETS_DIR": str(folder.path / "secrets"),
        }


def test_nobody_works_on_keys_while_a_system_is_copied(whole: Scene, servers: Servers, tmp_path: Path) -> None:
    """Nor is it copied while somebody does; then nothing is left, and the next one comes through."""
    wiring = whole.install.wiring
    tenant = TenantId(wiring.devices("reader").tenant("default"))
    with system_backups(wiring).still() as moment, pytest.raises(Conflict), wiring.keys("operator").alone(tenant):
        pass
    assert moment.rows["content"] == 2
    file = tmp_path / "it.age"
    with wiring.keys("operator").alone(tenant):
        refused = create(whole, servers, file)
    assert refused.code == Exit.REFUSED
    assert "works on the keys" in refused.err
    assert not list(tmp_path.glob("*.age*"))
    assert not list(tmp_path.glob(".*.unfinished"))
    assert whole.rows("SELECT count(*) FROM system_backup")[0][0] == 0
    done = create(whole, servers, file)
    assert done.code == 0, done.err
    acts = [row[0] for row in whole.rows("SELECT action FROM audit WHERE action LIKE 'system%' ORDER BY id")]
    assert acts == ["system_backup_begun", "system_backup_begun", "system_backup_made"]
    checked = looked(file)
    assert (checked.ended.rows["content"], checked.settings) == (2, "CONFIG_BACKUP_INTERVAL=7200\n")
    again = create(whole, servers, file)
    assert again.code == Exit.WOULD_OVERWRITE
    assert "--force" in again.err


def test_a_key_that_does_not_open_the_vault_makes_no_backup(whole: Scene, servers: Servers, tmp_path: Path) -> None:
    """It is tried before anything is copied; a file without a key says so, and so does one with another."""
    file, other = tmp_path / "it.age", tmp_path / "other.key"
    other.write_bytes(b"o" * 32)
    refused = create(whole, servers, file, "--seal-key", str(other))
    assert (refused.code, "not the key of this vault's seal" in refused.err) == (Exit.SETTINGS, True)
    assert not file.exists()
    assert not whole.rows("SELECT 1 FROM audit WHERE action LIKE 'system_backup%'")
    done = create(whole, servers, file, "--own-seal")
    assert (done.code, "WITHOUT the key" in done.err) == (0, True)
    (tmp_path / "key.txt").write_text(str(KEY))
    told = whole.run("backup-system", "check", str(file), "--identity", str(tmp_path / "key.txt"))
    assert (told.code, "WITHOUT the key" in told.err) == (0, True)
    for altered, why in (({SEAL_KEY: b"o" * 32}, "does not open the vault"), ({INSTALLER: None}, "installer's login")):
        with pytest.raises(InputInvalid, match=why):
            looked(with_secrets(file, altered))


def with_secrets(file: Path, other: Mapping[str, bytes | None]) -> Path:
    """The same backup with these secrets instead, None: without; its sums are right."""
    with opened_file(file, Identities(str(KEY))) as plain:
        members = [one for one in members_of(plain) if not one.name.startswith("secrets/")]
        kept = {INSTALLER: b"{}"} | dict(other)
    members[2:2] = [Member(f"secrets/{name}", content) for name, content in kept.items() if content is not None]
    sums, ended = Sums(), ended_in(members.pop())
    assert ended
    members = [sums.add(one) for one in members]
    made = file.with_name("altered.age")
    told = [*members, last(Ended(sums.all(), ended.rows))]
    lock = Recipients([str(KEY.to_public())])
    write_whole(made, lambda write: sealed_chunks(tar_of(told, NOW), lock, write), force=True)
    return made


def test_no_secret_is_in_the_arguments_or_the_environment_of_a_program(
    whole: Scene, servers: Servers, tmp_path: Path
) -> None:
    """pg_dump has the password of the migrator from a file that is in no file system."""
    seen = tmp_path / "seen"
    program = tmp_path / "pg_dump"
    real = system_place.programs()[0] / "pg_dump"
    program.write_text(f'#!/bin/sh\n(echo "$@"; env) >> {seen}\nexec {real} "$@"\n')
    program.chmod(0o755)
    whole.monkeypatch.setattr(system_place, "programs", lambda: (tmp_path,))
    assert create(whole, servers, tmp_path / "it.age").code == 0
    said, password = seen.read_text(), whole.install.wiring.secret("migrator", "postgres")
    assert "--snapshot=" in said
    assert password not in said


def test_it_comes_back_in_a_folder_and_over_nothing_else(whole: Scene, servers: Servers, tmp_path: Path) -> None:
    """Into a new folder, by code; never into one that has anything, nor over another key."""
    file, root, seal = tmp_path / "it.age", tmp_path / "new" / "data", tmp_path / "new.key"
    assert create(whole, servers, file).code == 0
    found = (file, Identities(str(KEY)), looked(file))

    def restore() -> None:
        system_place.into_folder(root, seal, found, lambda _: None, lambda _: None, options=ServerOptions(fsync=False))

    seal.write_bytes(b"another key of the same length!!")
    with pytest.raises(Conflict, match="another key"):
        restore()
    seal.unlink()
    root.mkdir(parents=True)
    restore()
    with pytest.raises(Conflict, match="not empty"):
        restore()
    assert sorted(path.name for path in root.parent.iterdir()) == ["data"]
    with configured(root, seal) as environment:
        wiring = Wiring(Settings(environment))
        assert opened(wiring) == export_text("two")
        assert (root / "settings.restored.env").read_text() == "CONFIG_BACKUP_INTERVAL=7200\n"
        wiring.close()


def test_a_restore_that_was_killed_is_said_once_more(whole: Scene, servers: Servers, tmp_path: Path) -> None:
    """Into servers of one's own, killed when the vault is the one of then and the database is not in its place yet."""
    file, seal = tmp_path / "it.age", tmp_path / "seal.key"
    assert create(whole, servers, file).code == 0
    (tmp_path / "key.txt").write_text(str(KEY))
    system_place.put_seal_key(looked(file), seal)
    with configured(tmp_path / "data", seal) as environment:
        assert said_until(LOGINS_OF_ROLES, file, environment)
        for name, value in environment.items():
            whole.monkeypatch.setenv(name, value)
        again = whole.run("backup-system", "restore", str(file), "--identity", str(tmp_path / "key.txt"))
        assert again.code == 0, again.err
        wiring = Wiring(Settings(environment))
        marks = wiring.keys("operator").all_marks()
        check_marks(wiring.vault("operator"), marks, lambda: marks)
        assert opened(wiring) == export_text("two")
        wiring.close()
        more = whole.run("backup-system", "restore", str(file), "--identity", str(tmp_path / "key.txt"))
        assert more.code == Exit.REFUSED
        assert "not empty" in more.err


def said_until(line: str, file: Path, environment: dict[str, str]) -> bool:
    """Run the command, and kill it with -9 when it says that."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONFIG_")}
    tree = {"PYTHONPATH": str(Path(backupflow.__file__).parents[1])}
    words = ["backup-system", "restore", str(file), "--identity", str(file.with_name("key.txt"))]
    with subprocess.Popen(
        [sys.executable, "-m", "backupflow", *words],
        env=inherited | tree | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        found = any(line in said for said in process.stderr)
        process.kill()
    return found


def test_a_vault_on_another_seal_takes_nothing_and_stays_as_it_was(
    whole: Scene, servers: Servers, tmp_path: Path
) -> None:
    """It would never open again: it is refused before anything of it is gone, and so is the vault of the backup."""
    file = tmp_path / "it.age"
    assert create(whole, servers, file).code == 0
    found = (file, Identities(str(KEY)), looked(file))
    with pytest.raises(Conflict, match="not empty"):
        into_servers(whole, {}, found)
    with configured(tmp_path / "data", tmp_path / "another.key") as environment:
        with pytest.raises(VaultUnavailable, match="its seal is not the one of the backup"):
            into_servers(whole, environment, found)
        wiring = Wiring(Settings(environment))
        with provision.postgres_admin(wiring) as admin:
            names = {row[0] for row in admin.execute("SELECT datname FROM pg_database WHERE NOT datistemplate")}
        assert names == {"postgres"}
        installer(wiring).close()  # its login of before is as good as ever
        assert not (tmp_path / "data" / "secrets" / "reader.openbao").exists()
        wiring.close()


def test_what_was_filled_meanwhile_is_not_taken_away(whole: Scene, servers: Servers, tmp_path: Path) -> None:
    """Hours after the look at an empty database the install may have been started: nobody is thrown out either.

    And servers that let nobody in yet are waited for.
    """
    file, seal = tmp_path / "it.age", tmp_path / "seal.key"
    assert create(whole, servers, file).code == 0
    found = (file, Identities(str(KEY)), looked(file))
    system_place.put_seal_key(found[2], seal)
    with configured(tmp_path / "data", seal) as environment:
        wiring = Wiring(Settings(environment))
        for name, value in environment.items():
            whole.monkeypatch.setenv(name, value)

        def meanwhile(act: Callable[[], object]) -> Callable[[str], None]:
            return lambda line: act() if "loading the dump" in line else None  # type: ignore[return-value]

        def names() -> set[str]:
            with provision.postgres_admin(wiring) as admin:
                return {row[0] for row in admin.execute("SELECT datname FROM pg_database WHERE NOT datistemplate")}

        def said(statement: LiteralString) -> None:
            with provision.postgres_admin(wiring, DATABASE) as there:
                there.execute(statement)

        with provision.postgres_admin(wiring) as admin:
            admin.execute(f"CREATE DATABASE {DATABASE}")
        with pytest.raises(Conflict, match="not empty any more"):
            system_place.into_servers(found, meanwhile(lambda: said("CREATE TABLE device ()")), lambda _: None)
        assert names() == {"postgres", DATABASE}
        said("DROP TABLE device")
        with ExitStack() as stack:
            use = lambda: stack.enter_context(provision.postgres_admin(wiring, DATABASE))  # noqa: E731
            with pytest.raises(Conflict, match="is used"):
                system_place.into_servers(found, meanwhile(use), lambda _: None)
        installer(wiring).close()  # the vault is the one of before: it had no turn
        said_of_waiting = let_in_later(whole, Path(environment["CONFIG_SECRETS_DIR"]) / "admin.postgres", found)
        assert "waiting for the servers" in said_of_waiting
        assert names() == {"postgres", DATABASE}
        wiring.close()
        wiring = Wiring(Settings(environment))
        assert opened(wiring) == export_text("two")
        wiring.close()


def let_in_later(scene: Scene, login: Path, found: system_place.Found) -> str:
    """Restore into servers that let nobody in, as some that were started a moment ago, then do; what is said first."""
    scene.monkeypatch.setattr("backupflow.wiring.system_restore._TELL_EVERY", timedelta(0))
    right, told = login.read_bytes(), []

    def say(line: str) -> None:
        told.append(line)
        login.write_bytes(right)

    login.write_bytes(b"not yet")
    system_place.into_servers(found, say, lambda _: None)
    return told[0]


def into_servers(scene: Scene, environment: dict[str, str], found: system_place.Found) -> None:
    """By the code of the command."""
    for name, value in environment.items():
        scene.monkeypatch.setenv(name, value)
    system_place.into_servers(found, lambda _: None, lambda _: None)
