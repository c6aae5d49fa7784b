"""A backup of the system from the servers of an install, and a look into one.

With the logins of those who may do everything: the migrator owns the tables, the installer may copy the vault.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from backupflow.core.system_backup import INSTALLER, KEPT_SECRETS, SEAL_KEY, Begun, Ended
from backupflow.errors import InputInvalid, SettingsInvalid
from backupflow.flows import system_backup as flow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from backupflow.adapters.copies import Identities, Lock, Passphrase, Written
    from backupflow.adapters.db.engine import Postgres
    from backupflow.adapters.db.system_backups import Moment, SystemBackups
    from backupflow.adapters.vault.raft import RaftVault
    from backupflow.wiring import Wiring

    SealedFor = Lock
    Key = Identities | Passphrase

_DUMP_MAGIC = b"PGDMP"
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made: where, for whom, by whom; `programs` are folders in which pg_dump may be."""

    file: Path
    lock: Lock
    seal: Seal | None
    actor: str
    settings: Mapping[str, str]
    programs: Sequence[Path] = ()
    force: bool = False


@dataclass(frozen=True, slots=True)
class Seal:
    """The key of the vault's seal, and what OpenBao's configuration calls it."""

    name: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that is whole: what it is of and had, and the SHA-256 of the file itself."""

    begun: Begun
    ended: Ended
    size: int
    sha256: str
    settings: str
    secrets: Mapping[str, bytes] = field(repr=False)


def program_version() -> str:
    """The version of this program."""
    return version("backupflow")


def for_recipients(keys: Sequence[str]) -> Lock:
    """Sealed for whoever has one of the keys that belong to these; InputInvalid if one is none."""
    from backupflow.adapters import copies

    lock = copies.Recipients(tuple(keys))
    copies.check(lock)
    return lock


def by_passphrase(text: str) -> Passphrase:
    """Sealed, or opened, with a passphrase."""
    from backupflow.adapters.copies import Passphrase

    return Passphrase(text)


def by_identities(text: str) -> Identities:
    """Opened by one of the keys in the text of a file."""
    from backupflow.adapters.copies import Identities

    return Identities(text)


def is_by_passphrase(file: Path) -> bool:
    """Whether a passphrase opens it; InputInvalid if it cannot be read, or is no age file."""
    from backupflow.adapters.copies import sealed_by_passphrase

    return sealed_by_passphrase(file)


def create(wiring: Wiring, order: Order, moved: Callable[[int], None], began: Callable[[int], None]) -> Written:
    """Make the file; `began` is told how large the database is, `moved` how many bytes more are in.

    What can be found out is found out before anything is read; and before that the act is in the audit.
    """
    from backupflow.adapters import copies
    from backupflow.adapters.db.programs import find

    copies.check(order.lock)
    copies.require_free(order.file, force=order.force)
    if not order.force:
        copies.require_lasting(order.file)
    about = _about(wiring, order)
    backups = system_backups(wiring)
    major, _ = backups.server()
    program = find("pg_dump", major, order.programs)
    _prove(wiring, order.seal)
    backups.begun(order.actor, {"for": _whom(order.lock)})
    origin = _Origin(wiring, backups, program, began, order.seal.key if order.seal else None)
    members = flow.members(origin, about, moved)
    made_at = backups.clock()

    def fill(write: Callable[[bytes], int]) -> None:
        copies.sealed_chunks(copies.tar_of(members, made_at), order.lock, write)

    try:
        written = copies.write_whole(order.file, fill, force=order.force)
    finally:
        members.close()
    backups.made(order.actor, made_at, about.revision, written.bytes, written.sha256)
    return written


def check(file: Path, key: Identities | Passphrase, moved: Callable[[int], None]) -> Checked:
    """Read the file to its end; InputInvalid if this key does not open it, or if not all in it is as it was made.

    The key of the seal in it, if there is one, opens the vault in it.
    """
    from backupflow.adapters import copies
    from backupflow.adapters.vault.raft import SnapshotJudge

    look = Look(SnapshotJudge)
    with copies.opened(file, key) as plain:
        begun, ended = flow.read(copies.members_of(plain), look, moved)
    if INSTALLER not in look.secrets:
        raise InputInvalid("the installer's login is not in it: it cannot be restored; make another one")
    size, digest = _digest(file)
    return Checked(begun, ended, size, digest, look.told, look.secrets)


class Look:
    """flows.system_backup.Taker that keeps the small parts only, and proves what can be proven of the others."""

    def __init__(self, judge: Callable[[], Any]) -> None:
        self._judge = judge
        self.secrets: dict[str, bytes] = {}
        self.told = ""

    def begun(self, begun: Begun) -> None:
        """What it is of."""

    def secret(self, name: str, content: bytes) -> None:
        """Keep it."""
        self.secrets[name] = content

    def settings(self, text: str) -> None:
        """Keep them."""
        self.told = text

    def database(self, chunks: Iterable[bytes]) -> None:
        """It must begin as a dump does; that it is the one that was made is told by its sum."""
        for number, chunk in enumerate(chunks):
            if not number and not chunk.startswith(_DUMP_MAGIC):
                raise InputInvalid("the dump of PostgreSQL in it is none")

    def vault(self, chunks: Iterable[bytes]) -> None:
        """It must be whole."""
        judge = self._judge()
        for chunk in chunks:
            judge.see(chunk)
        judge.end()
        if SEAL_KEY in self.secrets and not judge.opens_with(self.secrets[SEAL_KEY]):
            raise InputInvalid("the key of the seal in it does not open the vault in it: keep the right one beside it")


def system_backups(wiring: Wiring) -> SystemBackups:
    """The database, as its owner."""
    from backupflow.adapters.db.system_backups import SystemBackups

    return SystemBackups(wiring.engine("migrator"), wiring.engine("operator"))


def installer(wiring: Wiring, login: Mapping[str, str] | None = None) -> RaftVault:
    """The vault, with the login of the installer, which is tried."""
    from backupflow.adapters.vault import AppRoleLogin
    from backupflow.adapters.vault.raft import RaftVault

    known = login or json.loads(wiring.secret("installer", "openbao"))
    found = AppRoleLogin(known["role_id"], known["secret_id"])
    vault = RaftVault(wiring.settings.servers.openbao_addr, found, ca=wiring.vault_ca)
    try:
        vault.call("GET", "auth/token/lookup-self")
    except BaseException:
        vault.close()
        raise
    return vault


def migrator(wiring: Wiring) -> Postgres:
    """The database as its owner, for PostgreSQL's own programs."""
    from backupflow.adapters.db.engine import Postgres

    url = wiring.settings.servers.database_url
    return Postgres(url, "migrator", wiring.secret("migrator", "postgres"), wiring.postgres_options)


class _Origin:
    """flows.system_backup.Origin: the servers of this install."""

    def __init__(
        self, wiring: Wiring, backups: SystemBackups, program: Path, began: Callable[[int], None], key: bytes | None
    ) -> None:
        self._wiring = wiring
        self._backups = backups
        self._program = program
        self._began = began
        self._key = key
        self._moment: Moment | None = None

    @contextmanager
    def still(self) -> Iterator[flow.Moment]:
        """One moment of the database, and no work on keys."""
        with self._backups.still() as moment:
            self._began(moment.bytes)
            self._moment = moment
            yield moment

    def dump(self, moment: flow.Moment) -> Iterator[bytes]:
        """As of then."""
        from backupflow.adapters.db.programs import dump

        assert self._moment is moment  # noqa: S101 - there is only one
        return dump(self._program, migrator(self._wiring), self._moment.snapshot)

    def snapshot(self) -> Iterator[bytes]:
        """With a login of its own: that of the beginning may have run out."""
        vault = installer(self._wiring)
        try:
            yield from vault.snapshot(self._key)
        finally:
            vault.close()


def _prove(wiring: Wiring, seal: Seal | None) -> None:
    """The installer's login is accepted, and the key opens what the vault gives: known before hours of copying."""
    vault = installer(wiring)
    try:
        if seal is not None:
            for _ in vault.snapshot(seal.key):
                pass
    finally:
        vault.close()


def _about(wiring: Wiring, order: Order) -> flow.About:
    revision = wiring.require_schema("migrator")
    _, postgres = system_backups(wiring).server()
    openbao = wiring.vault("operator").status().version
    secrets = _kept(wiring)
    if order.seal is not None:
        secrets[SEAL_KEY] = order.seal.key
    name = order.seal.name if order.seal else "YOUR OWN"
    settings = "".join(f"{name}={value}\n" for name, value in sorted(order.settings.items()))
    return flow.About(program_version(), revision, postgres, openbao, name, secrets, settings)


def _kept(wiring: Wiring) -> dict[str, bytes]:
    folder = wiring.settings.servers.secrets_dir
    try:
        return {name: (folder / name).read_bytes() for name in KEPT_SECRETS if (folder / name).exists()}
    except OSError as exc:
        raise SettingsInvalid(f"CONFIG_SECRETS_DIR: {exc.strerror}") from exc


def _whom(lock: Lock) -> str:
    from backupflow.adapters.copies import Recipients

    return ", ".join(lock.keys) if isinstance(lock, Recipients) else "a passphrase"


def _digest(file: Path) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_READ_BYTES):
            size += len(chunk)
            digest.update(chunk)
    return size, digest.hexdigest()
