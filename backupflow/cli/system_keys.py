"""What seals and opens a backup of the system: options, and questions where there is a terminal to ask at."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import output
from backupflow.cli.credentials import LONGEST, read_private
from backupflow.cli.exits import Exit

if TYPE_CHECKING:
    from backupflow.wiring.system_backup import Key, SealedFor

SHORTEST = 12  # characters of a passphrase that seals everything there is

Recipient = Annotated[
    list[str] | None,
    typer.Option(
        "--recipient", metavar="age1…", help="Whose key opens it; once for each. `age-keygen` makes one.",
        show_default=False,
    ),
]  # fmt: skip
PassphraseFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The passphrase, in a 0600 file; else it is asked for.", show_default=False),
]
IdentityFile = Annotated[
    Path | None,
    typer.Option(
        "--identity", metavar="FILE", help="The key that opens it, as age-keygen wrote it; - reads it from stdin.",
        show_default=False,
    ),
]  # fmt: skip


def lock_of(recipients: list[str] | None, passphrase_file: Path | None) -> SealedFor:
    """What a new file is sealed by."""
    from backupflow.core.recipients import recipients as read_recipients
    from backupflow.wiring.system_backup import by_passphrase, for_recipients

    if recipients and passphrase_file:
        raise typer.BadParameter("--recipient or --passphrase-file: a file is sealed in one way")
    if recipients:
        return for_recipients(read_recipients(recipients))
    text = read_private(passphrase_file).strip("\r\n") if passphrase_file else _asked(confirm=True)
    if len(text) < SHORTEST:
        output.stop(Exit.REFUSED, f"a passphrase of {SHORTEST} characters at least: this file holds every secret")
    return by_passphrase(text)


def key_of(file: Path, identity: Path | None, passphrase_file: Path | None) -> Key:
    """What opens a file that is there."""
    from backupflow.wiring.system_backup import by_identities, by_passphrase, is_by_passphrase

    if is_by_passphrase(file):
        if identity:
            output.stop(Exit.DATA, f"{file} is sealed with a passphrase, not for a key: leave --identity out")
        return by_passphrase(read_private(passphrase_file).strip("\r\n") if passphrase_file else _asked(confirm=False))
    if identity is None:
        output.stop(Exit.USAGE, f"{file} is sealed for a key: --identity FILE, the one that age-keygen wrote")
    if str(identity) == "-":
        return by_identities(sys.stdin.read(LONGEST))
    try:
        _warn_of_others(identity)
        return by_identities(identity.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no text"
        output.stop(Exit.NOT_FOUND, f"{identity} cannot be read: {why}")


def _warn_of_others(identity: Path) -> None:
    """Not refused: a restore must not fail since the key lies on a disk without permissions."""
    mode = identity.stat().st_mode
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        output.note(f"others may read {identity}: chmod 600 {identity}; whoever has it opens every backup made for it")


def _asked(*, confirm: bool) -> str:
    if not sys.stdin.isatty():
        output.stop(Exit.USAGE, "no terminal to ask for a passphrase: --passphrase-file FILE, or --recipient age1…")
    answer: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return answer
