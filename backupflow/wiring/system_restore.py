"""A backup of the system into servers that hold nothing yet.

The order is such that it can be said once more after a crash at any moment: the database is loaded beside the empty
one, that one is put aside and looked at once more, the vault takes its snapshot, all is looked at, and only then the
database takes its place, in one statement.
"""

from __future__ import annotations

import json
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import make_url

from backupflow.core.system_backup import EVENTS, INSTALLER, Here, differing, why_not
from backupflow.errors import Conflict, InputInvalid, StoreUnavailable, VaultUnavailable
from backupflow.flows import system_backup as flow
from backupflow.flows.ingest import check_marks
from backupflow.settings import Settings
from backupflow.wiring import Wiring, provision, shipped
from backupflow.wiring.system_backup import Checked, installer, migrator, program_version, system_backups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import psycopg

    from backupflow.adapters.copies import Identities, Passphrase
    from backupflow.adapters.vault.raft import RaftVault
    from backupflow.core.system_backup import Begun

Done = TypeVar("Done")

_DRAFT = "_restoring"
# Says that the vault may be the one of the backup already: a restore was cut off after that.
MARK = "restoring"
_PATIENCE = timedelta(seconds=120)
_TELL_EVERY = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to: servers as an environment names them, and what keeps the install's secrets there.

    `keep` writes one, None takes it away; `secret` gives one that is made if it is missing.
    """

    environment: Mapping[str, str]
    secret: Callable[[str], str]
    keep: Callable[[str, bytes | None], None]
    actor: str
    programs: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was looked at, and what opens it."""

    file: Path
    key: Identities | Passphrase
    checked: Checked


def restore(source: Source, target: Target, say: Callable[[str], None], moved: Callable[[int], None]) -> None:
    """Put it into the servers; Conflict if they hold anything, InputInvalid if they are of an older version.

    Whatever fails before the vault took its snapshot leaves the servers as empty as they were.
    """
    from backupflow.adapters.db.system_backups import drop, put_back, put_into_place

    name = _name(target)
    with _wiring(target, "") as place:
        vault = _patiently(partial(_empty, place, name, source.checked), say)
    with closing(vault), _wiring(target, _DRAFT) as draft, provision.postgres_admin(draft) as admin:
        drop(admin, name + _DRAFT)
        try:
            provision.make_postgres_roles(draft, target.secret)
            clear = partial(_clear, draft, admin, name)
            _read(source, _Load(source.checked, target, draft, vault, say, clear), moved)
        except BaseException:
            draft.close()
            with suppress(StoreUnavailable, Conflict):  # what went wrong first is what is told
                drop(admin, name + _DRAFT)
                put_back(admin, name)
            raise
        draft.close()
        say("PostgreSQL: the database takes its place")
        put_into_place(admin, name + _DRAFT, name)
    target.keep(MARK, None)


def _read(source: Source, load: _Load, moved: Callable[[int], None]) -> None:
    from backupflow.adapters import copies

    with copies.opened(source.file, source.key) as plain:
        flow.read(copies.members_of(plain), load, moved)
    load.finish()


class _Load:
    """flows.system_backup.Taker that puts each part where it belongs."""

    def __init__(  # noqa: PLR0917 - all that a restore has
        self,
        checked: Checked,
        target: Target,
        draft: Wiring,
        vault: RaftVault,
        say: Callable[[str], None],
        clear: Callable[[], None],
    ) -> None:
        self._checked = checked
        self._target = target
        self._draft = draft
        self._vault = vault
        self._say = say
        self._clear = clear
        self._secrets: dict[str, bytes] = {}

    def begun(self, begun: Begun) -> None:
        """It must be what was looked at."""
        if begun != self._checked.begun:
            raise InputInvalid("the file is another one than a moment ago")
        if refused := why_not(begun, _here(self._draft)):
            raise InputInvalid(refused)

    def secret(self, name: str, content: bytes) -> None:
        """Kept for when the vault knows it."""
        self._secrets[name] = content

    def settings(self, text: str) -> None:
        """They are told, and never followed by themselves."""

    def database(self, chunks: Iterable[bytes]) -> None:
        """Load it, and count."""
        from backupflow.adapters.db.programs import find
        from backupflow.adapters.db.programs import restore as load

        self._say("PostgreSQL: loading the dump")
        backups = system_backups(self._draft)
        major, _ = backups.server()
        load(find("pg_restore", major, self._target.programs), migrator(self._draft), chunks)
        if wrong := differing(self._checked.ended.rows, backups.rows()):
            raise StoreUnavailable(f"not all came back: {'; '.join(wrong)}")
        revision = self._draft.migrate()
        self._say(f"PostgreSQL: schema {revision}")

    def vault(self, chunks: Iterable[bytes]) -> None:
        """Let the vault become the one of then, and know its installer."""
        self._clear()
        self._say("OpenBao: restoring its keys and roles")
        self._target.keep(MARK, b"")
        self._vault.restore(chunks)
        for name in (INSTALLER, EVENTS):
            if name in self._secrets:
                self._target.keep(name, self._secrets[name])

    def finish(self) -> None:
        """New logins for the roles, each key proven by its canary, and a row that says where all of it comes from."""
        self._say("OpenBao: logins of the roles")
        _patiently(lambda: provision.make_vault_roles(self._draft, self._say), self._say)
        ledger = self._draft.keys("operator")
        check_marks(self._draft.vault("operator"), ledger.all_marks(), ledger.all_marks)
        begun, size, digest = self._checked.begun, self._checked.size, self._checked.sha256
        system_backups(self._draft).restored(self._target.actor, begun.made_at, begun.revision, size, digest)


def _empty(place: Wiring, name: str, checked: Checked) -> RaftVault:
    """The vault, once both servers answer and hold nothing."""
    _settle(place, name)
    _require_empty(place, name)
    return _vault(place, checked)


def _patiently(act: Callable[[], Done], say: Callable[[str], None]) -> Done:
    """Servers that were started a moment ago, and a vault that becomes what it was given, answer some moments later."""
    began = told = time.monotonic()
    while True:
        try:
            return act()
        except (StoreUnavailable, VaultUnavailable) as exc:
            now = time.monotonic()
            if now - began > _PATIENCE.total_seconds():
                raise
            if now - told > _TELL_EVERY.total_seconds():
                told = now
                say(f"waiting for the servers, {now - began:.0f} s so far: {exc}")
        time.sleep(0.2)


@contextmanager
def _wiring(target: Target, suffix: str) -> Iterator[Wiring]:
    """The servers, with a database of that name and this behind it."""
    address = target.environment["DATABASE_URL"]
    url = make_url(address)
    told = url.set(database=f"{url.database}{suffix}").render_as_string(hide_password=False)
    wiring = Wiring(Settings({**target.environment, "DATABASE_URL": told if suffix else address}))
    try:
        yield wiring
    finally:
        wiring.close()


def _name(target: Target) -> str:
    return make_url(target.environment["DATABASE_URL"]).database or "backupflow"


def _settle(place: Wiring, name: str) -> None:
    """What a restore that was cut off had put aside has its name again, or goes if it is empty."""
    from backupflow.adapters.db.system_backups import aside_of, drop, holds, is_there, put_back

    with provision.postgres_admin(place) as admin:
        put_back(admin, name)
        if is_there(admin, aside_of(name)):
            with provision.postgres_admin(place, aside_of(name)) as there:
                if holds(there):
                    raise Conflict(f"the database {aside_of(name)} is not empty: look what it is, and remove it")
            drop(admin, aside_of(name))


def _require_empty(place: Wiring, name: str) -> None:
    """Looked at before anything is done: roles are a whole server's, and their passwords are set anew."""
    from backupflow.adapters.db.system_backups import holds, is_of_another, is_there

    with provision.postgres_admin(place) as admin:
        if is_of_another(admin) and not (place.settings.servers.secrets_dir / "migrator.postgres").exists():
            raise Conflict("this PostgreSQL has the roles of another backupflow: restore into a server of its own")
        if not is_there(admin, name):
            return
    with provision.postgres_admin(place, name) as there:
        if holds(there):
            raise Conflict("the database is not empty: a backup is restored into servers that hold nothing")


def _clear(draft: Wiring, admin: psycopg.Connection, name: str) -> None:
    """The empty database out of the way, so that nobody fills it from now on; Conflict if somebody did by now.

    Hours may have gone by since it was looked at: the install may have been started, and have devices.
    """
    from backupflow.adapters.db.system_backups import aside_of, holds, is_there, put_aside

    put_aside(admin, name)
    if is_there(admin, aside_of(name)):
        with provision.postgres_admin(draft, aside_of(name)) as there:
            if holds(there):
                raise Conflict(
                    "the database is not empty any more: a backup is restored into servers that hold nothing"
                )


def _vault(place: Wiring, checked: Checked) -> RaftVault:
    """The vault, unless it is the one that the backup was made of, which has keys that this file does not know."""
    of_then: dict[str, str] = json.loads(checked.secrets[INSTALLER])
    was_cut_off = (place.settings.servers.secrets_dir / MARK).exists()
    is_same = json.loads(place.secret("installer", "openbao")) == of_then
    if is_same and not was_cut_off:
        raise Conflict("this is the vault that the backup was made of: restore into new servers, or a new folder")
    try:
        return installer(place)
    except VaultUnavailable:
        if not was_cut_off:
            raise
        return installer(place, of_then)


def _here(wiring: Wiring) -> Here:
    from backupflow.adapters.db.migrate import revisions

    _, postgres = system_backups(wiring).server()
    openbao = _vault_version(wiring)
    return Here(program_version(), revisions(shipped("alembic")), postgres, openbao)


def _vault_version(wiring: Wiring) -> str:
    """The version of the vault, which it tells without a login."""
    from backupflow.adapters.vault import AppRoleLogin, Vault

    vault = Vault(wiring.settings.servers.openbao_addr, AppRoleLogin("", ""), ca=wiring.vault_ca)
    try:
        return vault.status().version
    finally:
        vault.close()
