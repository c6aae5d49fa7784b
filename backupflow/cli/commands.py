"""All commands, as typer knows them. Importing them opens nothing and imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backupflow.cli import (
    alarm,
    backup,
    credential,
    demo,
    device,
    diff,
    doctor,
    event,
    export,
    group,
    history,
    hostkey,
    ignore,
    inventory,
    judge,
    jump,
    keys,
    nagios,
    output,
    purge,
    quarantine,
    reinterpret,
    retention,
    runs,
    search,
    session,
    show,
    site,
    status,
    tenant,
    timeline,
    up,
    verify,
)
from backupflow.cli.exits import Exit, table


class Commands(TyperGroup):
    """Whoever leaves a question with Ctrl-C or Ctrl-D is told that nothing came of it: questions come before acts."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - its type is none of typer's public ones
        """Run the command."""
        try:
            return super().invoke(ctx)
        except typer.Abort:
            output.note("")
            output.stop(Exit.INTERRUPTED, "interrupted; nothing was changed")


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


app.command()(up.up)
app.command()(demo.demo)
app.add_typer(device.app)
app.add_typer(credential.app)
app.add_typer(group.app)
app.add_typer(site.app)
app.add_typer(tenant.app)
app.add_typer(jump.app)
app.add_typer(hostkey.app)
app.add_typer(inventory.app)
app.command()(backup.backup)
app.command()(runs.runs)
app.add_typer(runs.app)
app.command()(timeline.history)
app.command()(diff.diff)
app.command()(show.show)
app.command()(history.snapshots)
app.command()(export.export)
app.add_typer(retention.app)
app.command()(purge.purge)
app.command()(search.search)
app.add_typer(ignore.app)
app.command()(reinterpret.reinterpret)
app.command()(verify.verify)
app.command()(status.status)
app.command(cls=nagios.Plugin)(nagios.check)
app.add_typer(alarm.app)
app.add_typer(event.app)
app.add_typer(quarantine.app)
app.add_typer(keys.app)
app.command()(doctor.doctor)
app.command()(judge.normalize)
app.command("check-export")(judge.check_export)
app.command()(doctor.migrate)
