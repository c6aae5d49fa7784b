"""`backupflow backup-system`: all of an install in one sealed file, and back into empty servers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import output
from backupflow.cli.options import AsJson, actor
from backupflow.cli.process import end_on_sigterm
from backupflow.cli.progress import bar
from backupflow.cli.session import session, wiring
from backupflow.cli.system_keys import IdentityFile, PassphraseFile, Recipient, key_of, lock_of
from backupflow.core.system_backup import SEAL_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.wiring.system_backup import Checked, Key

app = typer.Typer(
    name="backup-system",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="A backup of the whole system in one sealed file (docs/backup.md).\n\n"
    "Example: backupflow backup-system create monday.age --recipient age1…",
)
File = Annotated[Path, typer.Argument(metavar="FILE", help="The sealed file.")]
SealKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The key of the vault's seal, if it is kept elsewhere.", show_default=False),
]
_MIB = 1024 * 1024
WITHOUT_SEAL = (
    "It is WITHOUT the key of the vault's seal (--own-seal): no configuration in it opens unless you keep that key."
)


@app.command()
def create(
    file: File,
    *,
    recipient: Recipient = None,
    passphrase_file: PassphraseFile = None,
    seal_key: SealKey = None,
    own_seal: Annotated[
        bool, typer.Option("--own-seal", help="The vault is your own, and you keep its seal: leave that out.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there; take a folder in memory.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy everything into one sealed file: database, vault, the key of its seal, settings.

    While it runs all goes on, but for work on keys. The file appears when it is whole. Whoever opens it has every
    configuration and every login: keep its key away from it.

    \b
    Examples:
      backupflow backup-system create /backup/monday.age --recipient age1…
      backupflow backup-system create /backup/monday.age --passphrase-file passphrase
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.cli.system_place import programs, seal_in_use, settings_in_use
    from backupflow.wiring import system_backup

    end_on_sigterm()
    lock = lock_of(recipient, passphrase_file)
    found = wiring()
    seal = None if own_seal else seal_in_use(session().data_dir, found, seal_key)
    settings = settings_in_use(session().data_dir)
    order = system_backup.Order(file.absolute(), lock, seal, actor(), settings, programs(), force)
    with bar("copying (MiB)", quiet=as_json) as shown:
        moved = _in_mib(shown.moved)
        written = system_backup.create(found, order, moved, lambda size: shown.began(max(size // _MIB, 1)))
    if as_json:
        output.as_document({
            "file": str(file), "bytes": written.bytes, "sha256": written.sha256, "seal_key": seal is not None,
        })  # fmt: skip
        return
    output.say(f"{file} is whole: {_size(written.bytes)}, SHA-256 {written.sha256}")
    if seal is None:
        output.note(WITHOUT_SEAL)
    output.note("Keep it and what opens it apart, and try it: backup-system check")


@app.command()
def check(
    file: File, identity: IdentityFile = None, passphrase_file: PassphraseFile = None, as_json: AsJson = False
) -> None:
    """Open a file and look whether all in it is as it was made. No server is needed, and nothing is changed.

    \b
    Example: backupflow backup-system check /backup/monday.age --identity key.txt
    """  # noqa: D301 - \b keeps the line of the example
    checked = _checked(file, key_of(file, identity, passphrase_file), quiet=as_json)
    if as_json:
        output.as_document(_document(file, checked))
    else:
        _say_checked(file, checked)


@app.command()
def restore(
    file: File,
    identity: IdentityFile = None,
    passphrase_file: PassphraseFile = None,
    seal_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to put the key of the vault's seal.", show_default=False),
    ] = None,
    seal_only: Annotated[
        bool,
        typer.Option("--seal-only", help="Only put the key of the seal into place, before configured servers start."),
    ] = False,
) -> None:
    """Bring everything back, into a data folder that is empty, or into servers of your own that hold nothing yet.

    Without DATABASE_URL a new data folder is made, with servers of its own, which `up` then runs. Nothing is written
    before the whole file was read and found good. Stop the install that the file is of: two collect each router twice.

    \b
    Examples:
      backupflow --data-dir /srv/backupflow backup-system restore monday.age --identity key.txt
      backupflow backup-system restore monday.age --identity key.txt --seal-only
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.cli import system_place

    end_on_sigterm()
    configured = bool(os.environ.get("DATABASE_URL"))
    if not configured and not seal_only:
        system_place.require_empty(session().data_dir)
    key = key_of(file, identity, passphrase_file)
    checked = _checked(file, key, quiet=False)
    _say_checked(file, checked)
    if seal_only:
        place = system_place.put_seal_key(checked, seal_key)
        output.say(f"the key of the vault's seal is in {place}: start the servers, then restore without --seal-only")
        return
    with bar("restoring (MiB)", quiet=False) as shown:
        shown.began(max(_total(checked) // _MIB, 1))
        moved = _in_mib(shown.moved)
        if configured:
            tell = system_place.into_servers((file, key, checked), shown.note, moved)
        else:
            tell = system_place.into_folder(session().data_dir, seal_key, (file, key, checked), shown.note, moved)
    tell()  # where no bar is any more


def _checked(file: Path, key: Key, *, quiet: bool) -> Checked:
    from backupflow.wiring.system_backup import check as look

    with bar("reading (MiB)", quiet=quiet) as shown:
        shown.began(max(file.stat().st_size // _MIB, 1))
        return look(file, key, _in_mib(shown.moved))


def _in_mib(moved: Callable[[int], None]) -> Callable[[int], None]:
    """Bytes as they come, told on in MiB."""
    left = 0

    def more(size: int) -> None:
        nonlocal left
        left += size
        if left >= _MIB:
            moved(left // _MIB)
            left %= _MIB

    return more


def _total(checked: Checked) -> int:
    return sum(length for length, _ in checked.ended.sums.values())


def _size(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"


def _say_checked(file: Path, checked: Checked) -> None:
    begun, rows = checked.begun, checked.ended.rows
    devices, texts = output.counted(rows.get("device", 0), "device"), output.counted(rows.get("content", 0), "content")
    output.say(f"{file} is whole: {_size(checked.size)}, SHA-256 {checked.sha256}")
    output.say(
        f"made {output.in_words(begun.made_at)} by backupflow {begun.program}, schema {begun.revision}, "
        f"PostgreSQL {begun.postgres}, OpenBao {begun.openbao}: {devices}, {texts}"
    )
    if SEAL_KEY not in checked.secrets:
        output.note(WITHOUT_SEAL)


def _document(file: Path, checked: Checked) -> dict[str, object]:
    begun = checked.begun
    return {
        "file": str(file),
        "bytes": checked.size,
        "sha256": checked.sha256,
        "made_at": begun.made_at,
        "program": begun.program,
        "schema": begun.revision,
        "postgres": begun.postgres,
        "openbao": begun.openbao,
        "rows": dict(checked.ended.rows),
        "seal_key": SEAL_KEY in checked.secrets,
    }
