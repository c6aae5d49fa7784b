"""Finds the install that a command is for: configured in the environment, or running on a data folder here."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.errors import NotRunning, ServerUnusable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.embedded import Addresses, DataFolder
    from backupflow.wiring import Wiring

DATABASE = "backupflow"  # of a one-machine install
_SETTINGS = "settings.json"


def open_wiring(data_dir: Path | None) -> Wiring:
    """The wiring of this process: what the environment names, and for the rest what runs on the folder.

    Raises NotRunning, with what to do, if there is neither; ServerUnusable if `up` would not start on that folder.
    """
    from backupflow.embedded import STORAGE_GONE, default_folder, running_install, storage_is_gone
    from backupflow.settings import Settings
    from backupflow.wiring import Wiring, use

    folder = data_dir or default_folder()
    environment = {name: value for name, value in os.environ.items() if value}
    running = running_install(folder)
    if running is None and "DATABASE_URL" not in environment:
        if storage_is_gone(folder):
            raise ServerUnusable(f"nothing runs on {folder}, and `up` does not start there: {STORAGE_GONE}")
        ways = "another folder: --data-dir; your own servers: DATABASE_URL and its like"
        raise NotRunning("; ".join([f"none on {folder}", *_without_key(folder), ways]))
    if running is not None:
        found_here = addresses(running) | {"CONFIG_SECRETS_DIR": str(folder / "secrets")}
        environment = told_settings(folder) | found_here | environment
    found = Wiring(Settings(environment))
    use(found)
    return found


def _without_key(folder: Path) -> list[str]:
    """That the key of the vault's seal is not where `up` looks for it; a unit of systemd may name another place."""
    from backupflow.embedded import missing_key

    if (key := missing_key(folder)) is None:
        return []
    way_out = "bring it back, or name it with `up --seal-key FILE`"
    return [f"the key of the vault's seal is not at {key}: {way_out}; without it nothing in this folder can be opened"]


def said_elsewhere(folder: Path) -> str:
    """How a terminal that knows nothing of this one says `backupflow` for an install on `folder`.

    A virtual environment is active where it was activated; the program's whole path is understood everywhere.
    """
    from backupflow.embedded import default_folder

    ours = Path(sys.prefix) / "bin"
    found = shutil.which("backupflow")
    is_in_venv = sys.prefix != sys.base_prefix and (found is None or Path(found).parent == ours)
    program = ours / "backupflow" if is_in_venv and (ours / "backupflow").exists() else Path("backupflow")
    where = [] if folder == default_folder().resolve() else ["--data-dir", str(folder)]
    return shlex.join([str(program), *where])


def tell_settings(folder: DataFolder, environment: Mapping[str, str]) -> None:
    """Tell the commands of other terminals the settings of this run: a new device shall follow its spread."""
    settings = {name: value for name, value in environment.items() if name.startswith("CONFIG_")}
    settings.pop("CONFIG_SECRETS_DIR", None)  # the folder holds no path to itself
    (folder.room("run") / _SETTINGS).write_text(json.dumps(settings), encoding="utf-8")


def told_settings(folder: Path) -> dict[str, str]:
    """The settings of the install that runs on the folder; none if none runs."""
    try:
        told: dict[str, str] = json.loads((folder / "run" / _SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return told


def addresses(running: Addresses) -> dict[str, str]:
    """The addresses of an install as settings; a server that was left out has none."""
    told = {
        "DATABASE_URL": running.postgres and f"postgresql://{running.postgres}/{DATABASE}",
        "REDIS_URL": running.redis and f"redis://{running.redis}/0",
        "NATS_URL": running.nats and f"nats://{running.nats}",
        "OPENBAO_ADDR": running.openbao_url,
    }
    return {name: value for name, value in told.items() if value}
