"""All commands, as typer knows them. Each is imported when it is asked for, so that none waits for the others."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from backupflow.cli import output, session
from backupflow.cli.exits import Exit, table

# In the order of the help: the module of this package, what of it is the command or the group of commands, and the
# class of a command that needs one of its own.
COMMANDS = {
    "up": "up:up",
    "demo": "demo:demo",
    "device": "device:app",
    "credential": "credential:app",
    "group": "group:app",
    "site": "site:app",
    "tenant": "tenant:app",
    "jump": "jump:app",
    "hostkey": "hostkey:app",
    "inventory": "inventory:app",
    "backup": "backup:backup",
    "runs": "runs:runs",
    "run": "runs:app",
    "history": "timeline:history",
    "diff": "diff:diff",
    "show": "show:show",
    "snapshots": "history:snapshots",
    "export": "export:export",
    "escrow": "escrow:app",
    "retention": "retention:app",
    "purge": "purge:purge",
    "search": "search:search",
    "ignore": "ignore:app",
    "reinterpret": "reinterpret:reinterpret",
    "verify": "verify:verify",
    "status": "status:status",
    "check": "nagios:check:Plugin",
    "alarm": "alarm:app",
    "event": "event:app",
    "quarantine": "quarantine:app",
    "keys": "keys:app",
    "backup-system": "backup_system:app",
    "doctor": "doctor:doctor",
    "health": "health:health",
    "normalize": "judge:normalize",
    "check-export": "judge:check_export",
    "migrate": "doctor:migrate",
    "secrets": "secrets:secrets",
    "provision": "provision:provision",
    "process": "process:process",
}


class Loaded(Mapping[str, Any]):
    """The commands by their names; each is loaded when it is looked up."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a command's type is none of typer's public ones
        """The command of that name; KeyError if there is none."""
        return _load(name, COMMANDS[name])

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(COMMANDS)

    def __len__(self) -> int:
        """How many there are."""
        return len(COMMANDS)


@cache
def _load(name: str, where: str) -> Any:  # noqa: ANN401 - as above
    module_name, *attributes = where.split(":")
    module = import_module(f"backupflow.cli.{module_name}")
    found, *cls = [getattr(module, attribute) for attribute in attributes]
    if isinstance(found, typer.Typer):
        return get_group(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, cls=cls[0] if cls else None)(found)
    return get_command(alone)


class Commands(TyperGroup):
    """Whoever leaves a question with Ctrl-C or Ctrl-D is told that nothing came of it: questions come before acts."""

    def __init__(self, **about: Any) -> None:  # noqa: ANN401 - typer's
        super().__init__(**about)
        self.commands = ChainMap(self.commands, Loaded())  # type: ignore[arg-type]  # of the second is only read

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - its type is none of typer's public ones
        """Run the command."""
        try:
            return super().invoke(ctx)
        except typer.Abort:
            output.note("")
            output.stop(Exit.INTERRUPTED, "interrupted; nothing was changed")
        except KeyboardInterrupt as exc:  # whose text, if it has one, is what came of the work
            output.stop(Exit.INTERRUPTED, "; ".join(["interrupted", *map(str, exc.args)]))


app = typer.Typer(
    name="backupflow",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they would print the values of variables
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=table(),
)


@app.callback()
def begin(
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="BACKUPFLOW_DATA_DIR", help="Folder of the one-machine install.", show_default=False),
    ] = None,
) -> None:
    """Keep every configuration of your routers, sealed, and give each one back byte for byte."""
    session.begin(data_dir)
