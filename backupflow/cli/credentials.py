"""Secrets come from a prompt, a private file or stdin: others can read arguments and the environment."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit

if TYPE_CHECKING:
    from backupflow.core.model import Login

LONGEST = 64 * 1024  # bytes of a secret


@dataclass(frozen=True, slots=True)
class Source:
    """Where the credentials are to come from, as options."""

    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False
    password_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Read the password from a 0600 file.")] = (
        None
    )
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Log in with the private key in a 0600 file.")
    ] = None
    passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The passphrase of the key, in a 0600 file.")
    ] = None

    @property
    def given(self) -> bool:
        """Whether the command line names any."""
        return self.password_stdin or any((self.password_file, self.key_file, self.passphrase_file))


def read_login(username: str, source: Source, *, new: bool = False, twice: bool = False) -> Login:
    """The login, from exactly one source; from a prompt if none is named.

    `new`: it is to take the place of one that is known here, and the prompt says so; it may be the same one, where the
    keys that sealed it were lost. `twice`: no router has it yet, so that nothing but a second answer would tell a slip
    of a finger from it.
    """
    from backupflow.core.model import Login

    if source.passphrase_file and not source.key_file:
        raise typer.BadParameter("--passphrase-file goes with --key-file")
    if sum((source.password_stdin, bool(source.password_file), bool(source.key_file))) > 1:
        raise typer.BadParameter("give one of --password-stdin, --password-file and --key-file")
    if source.key_file:
        passphrase = read_private(source.passphrase_file) if source.passphrase_file else None
        return Login(username, private_key=_key(source.key_file, passphrase), passphrase=passphrase)
    if source.password_file:
        return Login(username, password=read_private(source.password_file))
    return Login(username, password=_from_stdin() if source.password_stdin else _from_prompt(username, new, twice))


def _key(path: Path, passphrase: str | None) -> str:
    """A private key that opens: once it is sealed nobody would see until a device is to be logged in to."""
    from backupflow.errors import LoginUnusable
    from backupflow.wiring.private_keys import check

    text = read_private(path, keep=True)
    try:
        check(text, passphrase)
    except LoginUnusable as exc:
        more = ": --passphrase-file" if passphrase is None and "needs its passphrase" in exc.detail else ""
        output.stop(Exit.DATA, f"{path}: {exc.detail}{more}; nothing was changed")
    return text


def _refuse_public(path: Path, data: bytes) -> None:
    """Say so before anybody is told to make it private, which would not make it the right one."""
    from backupflow.wiring.private_keys import is_public

    if is_public(data[:LONGEST].decode("utf-8", "replace")):
        output.stop(Exit.DATA, f"{path} is a public key: name the private one, often the same without .pub")


def read_private(path: Path, *, keep: bool = False) -> str:
    """A secret from a file that only its owner can read; `keep` its last line ending (a key has one)."""
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                output.stop(Exit.REFUSED, f"{path} is not a file")
            data = file.read(LONGEST + 1)
            if keep:
                _refuse_public(path, data)
            if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                output.stop(Exit.REFUSED, f"others may read {path}: chmod 600 {path}")
    except OSError as exc:
        output.stop(Exit.NOT_FOUND, f"{path} cannot be read: {exc.strerror}")
    return _text(data, str(path), keep=keep)


def _from_stdin() -> str:
    return _text(sys.stdin.buffer.read(LONGEST + 1), "stdin")


def _from_prompt(username: str, new: bool, twice: bool) -> str:
    if not sys.stdin.isatty():
        output.stop(Exit.USAGE, "no terminal to ask for the password: --password-stdin, --password-file or --key-file")
    what = "New password" if twice else "Password"
    prompt = output.visible(f"{what} of {username}{' from now on' if new and not twice else ''}")
    answer: str = typer.prompt(prompt, hide_input=True, err=True, confirmation_prompt="Again" if twice else False)
    return answer


def _text(data: bytes, source: str, *, keep: bool = False) -> str:
    if len(data) > LONGEST:
        output.stop(Exit.DATA, f"{source}: more than {LONGEST} bytes are no secret")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        output.stop(Exit.DATA, f"{source}: not UTF-8 text")
    text = text if keep else text.removesuffix("\n").removesuffix("\r")
    if not text.strip("\r\n"):
        output.stop(Exit.DATA, f"{source} is empty")
    return text
