"""`backupflow health`: what each process says of itself."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson
from backupflow.cli.probes import told_addresses
from backupflow.cli.probing import ask
from backupflow.cli.session import session
from backupflow.core.listen import listen_address
from backupflow.errors import InputInvalid, SettingsInvalid


class Asked(StrEnum):
    """The two questions."""

    LIVE = "live"
    READY = "ready"


def health(
    question: Annotated[
        Asked, typer.Argument(help="live: its loops go round. ready: it can do its work.")
    ] = Asked.READY,
    *,
    as_json: AsJson = False,
) -> None:
    """Ask the processes whether they live, or are ready; exit code 0 if all do, else 1, with the reason.

    \b
    Asks the one at CONFIG_METRICS_LISTEN, as the health check of a container does; without that setting all that
    `up` runs on the data folder. The install as a whole is the business of `status` and `check`.
    Example: backupflow health ready
    """  # noqa: D301 - \b keeps the lines as they stand
    answers = {name: ask(*where, question.value) for name, where in _asked().items()}
    if as_json:
        output.as_document({name: {"well": well, "says": says} for name, (well, says) in answers.items()})
    else:
        for name, (_, says) in answers.items():
            output.say(f"{name}: {says}")
    if not all(well for well, _ in answers.values()):
        raise typer.Exit(Exit.WRONG)


def _asked() -> dict[str, tuple[str, int]]:
    """Host and port by the name of the process."""
    from backupflow.embedded import default_folder

    listen = os.environ.get("CONFIG_METRICS_LISTEN", "")
    try:
        if listen not in {"", "off"}:
            return {"this process": listen_address(listen)}
        told = {name: listen_address(where) for name, where in told_addresses(session().data_dir or default_folder())}
    except InputInvalid as exc:
        raise SettingsInvalid(f"CONFIG_METRICS_LISTEN: {exc.detail}") from None
    except OSError:
        told = {}
    if not told:
        raise SettingsInvalid("no process says where it answers: set CONFIG_METRICS_LISTEN, or start `backupflow up`")
    return told
