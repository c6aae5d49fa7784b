"""The options that several commands have, each defined once."""

from __future__ import annotations

import os
import pwd
import re
import sys
from typing import Annotated

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, with stable field names.")]
InTenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose device it is.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DeviceName = Annotated[str, typer.Argument(metavar="DEVICE", help="Name of the device.")]

BY_FINGERPRINT = "--yes with the --fingerprint that you compared"
_ANSWER = 12  # columns for ` [y/N]: ` and what is typed
SHORTEST_INTERVAL = 60.0  # seconds; what a person may want, not what could be done
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|min|h|d)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def seconds(text: str | None) -> float | None:
    """`90`, `90s`, `15m`, `6h` or `1d` as seconds."""
    if text is None:
        return None
    found = _SPAN.fullmatch(text.strip())
    if not found:
        raise typer.BadParameter(f"not a span such as 90s, 15m, 6h or 1d: {text!r}")
    return float(found[1]) * _SECONDS[found[2]]


def interval_seconds(text: str | None) -> float | None:
    """How often, as seconds: with its unit, since a bare 2 is no more two hours than two seconds; a minute at least."""
    if text is None:
        return None
    if text.strip().replace(".", "", 1).isdigit():
        if not float(text):
            raise typer.BadParameter("an interval is a minute at least; `device pause` ends collecting a device")
        raise typer.BadParameter(f"an interval needs a unit: {text.strip()}m, {text.strip()}h or {text.strip()}d")
    found = seconds(text)
    if found is not None and found < SHORTEST_INTERVAL:
        raise typer.BadParameter(f"an interval is a minute at least: {text!r}")
    return found


def actor() -> str:
    """Who does it, for the audit: the user of the process, not what the environment says; and who became root."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    behind = os.environ.get("SUDO_USER", "")
    return output.visible(f"cli:{user}" + (f" (sudo by {behind})" if behind and behind != user else ""))


def confirm_typed(question: str, word: str, *, yes: bool) -> None:
    """Have a word typed before something is gone for good; without a terminal to ask at, and without --yes, refuse."""
    if yes:
        return
    if not sys.stdin.isatty():
        output.stop(Exit.REFUSED, f"{question} Nobody can be asked here: say --yes")
    answer: str = typer.prompt(
        output.wrapped(f"{question} Type {word} to go on", _ANSWER), default="", show_default=False, err=True
    )
    if answer.strip() != word:
        output.stop(Exit.REFUSED, "not confirmed; nothing was changed")


def confirm(question: str, *, yes: bool, instead: str = "--yes") -> None:
    """Ask; without a terminal to ask at, and without --yes, it is refused: `instead` is what to say there."""
    if yes:
        return
    if not sys.stdin.isatty():
        output.stop(Exit.REFUSED, f"{question} Nobody can be asked here: say {instead}")
    if not typer.confirm(output.wrapped(question, _ANSWER), err=True):
        output.stop(Exit.REFUSED, "not confirmed; nothing was changed")
