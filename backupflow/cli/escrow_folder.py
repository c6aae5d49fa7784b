"""Where an escrow may go, as far as only this machine knows: not where the install itself is."""

from __future__ import annotations

import os
from pathlib import Path

from backupflow.cli import output
from backupflow.cli.exits import Exit, exit_of
from backupflow.cli.session import session, wiring
from backupflow.errors import EscrowFailed


def require_fit(named: str | None, keys: tuple[str, ...]) -> None:
    """Stop if no file can be written there, None: where the settings say; a word if its disk is that of the install."""
    try:
        wiring().escrow_folder().fit(named, keys)
    except EscrowFailed as exc:
        output.stop(exit_of(exc), f"not enabled: {exc.detail}")
    folder, data = named or wiring().settings.keeping.escrow_dir, data_folder()
    if folder is None or data is None or not data.is_dir():
        return
    if is_within(Path(folder), data):
        output.stop(
            Exit.REFUSED, f"not enabled: {folder} is in the data folder, and goes with it: name one on another disk"
        )
    if Path(folder).stat().st_dev == data.stat().st_dev:
        output.note(f"{folder} is on the disk of the data folder, and goes with it: better one on another disk")


def is_within(folder: Path, data: Path) -> bool:
    """Whether it is the data folder or something in it, whatever links lead there."""
    return folder.resolve().is_relative_to(data.resolve())


def data_folder() -> Path | None:
    """The one of this install; None: its servers are those that the environment names."""
    from backupflow.embedded import default_folder

    return session().data_dir or (None if os.environ.get("DATABASE_URL") else default_folder())
