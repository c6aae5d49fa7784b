"""`backupflow alarm`: what is wrong until somebody says that it is mended."""

from __future__ import annotations

from typing import Annotated

import typer

from backupflow.cli import output
from backupflow.cli.options import AsJson, actor
from backupflow.cli.session import wiring

app = typer.Typer(
    name="alarm",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List and clear alarms.\n\nExample: backupflow alarm list",
)


@app.command("list")
def list_alarms(
    cleared: Annotated[bool, typer.Option("--cleared", help="Show those that were cleared too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the alarms that stand, the newest first. Example: `backupflow alarm list`."""
    from backupflow.cli.standing_lines import to_do
    from backupflow.cli.status_document import alarm_document

    alarms = wiring().statuses.alarms(cleared=cleared)
    if as_json:
        output.as_document({"alarms": [alarm_document(alarm) for alarm in alarms]})
    elif not alarms:
        output.say("no alarm stands")
    else:
        for alarm in alarms:
            ended = f", cleared {output.in_words(alarm.cleared_at)}" if alarm.cleared_at else ""
            output.say_long(f"{alarm.number}  {alarm.code}  since {output.in_words(alarm.since)}{ended}")
            detail = output.told(alarm.detail or alarm.scope, output.LONGEST_DETAIL)
            output.say_long(f"   {to_do(detail, alarm.code)}")


@app.command()
def clear(
    number: Annotated[int, typer.Argument(help="The number of the alarm in `alarm list`.")], as_json: AsJson = False
) -> None:
    """Clear an alarm whose cause was mended; it is raised again if not. Example: `backupflow alarm clear 7`."""
    cleared = wiring().requests.clear_alarm(number, actor())
    if as_json:
        output.as_document({"number": number, "cleared": cleared})
    else:
        output.say(f"cleared: {cleared}")
