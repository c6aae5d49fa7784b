"""`backupflow event`: who is told of alarms, what was told, and what could not be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson, actor
from backupflow.cli.session import wiring
from backupflow.errors import SettingsInvalid

if TYPE_CHECKING:
    from backupflow.core.delivery import ListedEvent

app = typer.Typer(
    name="event",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What a hook (CONFIG_ON_EVENT) was told of alarms.\n\nExample: backupflow event list --failed",
)


@app.command("list")
def list_events(
    failed: Annotated[bool, typer.Option("--failed", help="Only what could not be told yet, or was given up.")] = False,
    last: Annotated[int, typer.Option(min=1, max=10_000, help="So many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what was told, the newest first, and what came of it.

    \b
    Example: backupflow event list --failed
    """  # noqa: D301 - \b keeps the line of the example
    events = wiring().event_desk("reader").events(last, failed=failed)
    if as_json:
        output.as_document({"events": [_document(event) for event in events]})
    elif not events:
        output.say("nothing failed" if failed else "nothing was told yet")
    else:
        for event in events:
            output.say_long(
                f"{event.number}  {event.kind}  {event.code}  {output.in_words(event.created_at)}  {_fate(event)}"
            )
            output.say_long(f"   {output.told(json.loads(event.body)['text'], output.LONGEST_DETAIL)}")


@app.command("test")
def try_hook(as_json: AsJson = False) -> None:
    """Tell the hook something now, from here, and say what comes back; exit code 1 if it did not take it.

    \b
    Example: backupflow event test
    """  # noqa: D301 - \b keeps the line of the example
    from datetime import UTC, datetime
    from uuid import uuid4

    from backupflow.core.event_body import trial_body
    from backupflow.core.hook_target import target

    found = wiring()
    hook, to = found.hook, target(found.settings.telling.on_event)
    if hook is None or to is None:
        raise SettingsInvalid("CONFIG_ON_EVENT is not set: nobody is told")
    event_id = uuid4()
    answer = hook.deliver(event_id, trial_body(event_id, datetime.now(UTC)))
    if as_json:
        output.as_document({"hook": to.shown, "delivered": answer.delivered, "answer": answer.whole})
    else:
        output.say_long(f"{to.shown}: {'taken' if answer.delivered else 'not taken'} – {answer.whole}")
    if not answer.delivered:
        raise typer.Exit(Exit.WRONG)


@app.command()
def retry(
    number: Annotated[
        int | None, typer.Argument(min=1, max=2**63 - 1, help="In `event list`; all if none is given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try what was not taken once more, at once, and for three days again; also what was given up.

    \b
    Example: backupflow event retry
    """  # noqa: D301 - \b keeps the line of the example
    numbers = wiring().event_desk("operator").retry(number, actor())
    if number is not None and not numbers:
        output.stop(Exit.NOT_FOUND, f"event {number} was taken, or there is none: see `event list --failed`")
    if as_json:
        output.as_document({"events": numbers})
    else:
        output.say(f"{output.counted(len(numbers), 'event')} to be told: see `event list`")


@app.command()
def secret(
    rotate: Annotated[bool, typer.Option("--rotate", help="One more: events are signed with both.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="End that: the older one signs no more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the secret that events to an address are signed with; it is shown this once.

    Give it to the receiver. To exchange it: --rotate, give the new one to the receiver, then --finish. Each
    machine with a maintain worker needs the same file.

    \b
    Example: backupflow event secret
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.wiring import event_secrets

    if rotate and finish:
        raise typer.BadParameter("first --rotate, then --finish")
    if finish:
        gone = event_secrets.retire(wiring(), actor())
        _say_secret({"retired": gone}, f"retired: {gone}", as_json=as_json)
        return
    try:
        there = event_secrets.count(wiring())
    except SettingsInvalid as exc:
        if "is missing" not in exc.detail:
            raise
        there = 0
    if there and not rotate:
        output.stop(Exit.WOULD_OVERWRITE, "there is one already, and it is not shown again: --rotate makes another "
                    "(where `secrets` made it, it is read in the file events.webhook: docs/events.md)")  # fmt: skip
    made = event_secrets.add(wiring(), actor())
    _say_secret({"secret": made}, made, as_json=as_json)


def _say_secret(document: dict[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        output.as_document(document)
    else:
        output.say(words)


def _fate(event: ListedEvent) -> str:
    tries = output.counted(event.attempts, "attempt")
    if event.sent_at:
        return f"taken {output.in_words(event.sent_at)} after {tries}"
    said = f": {output.told(event.answer, output.LONGEST_DETAIL)}" if event.answer else ""
    if event.given_up_at:
        return f"given up {output.in_words(event.given_up_at)} after {tries}{said}"
    return f"waits, {tries}, next {output.in_words(event.due_at)}{said}" if event.attempts else "waits"


def _document(event: ListedEvent) -> dict[str, Any]:
    return {
        "number": event.number,
        "event": json.loads(event.body),
        "created_at": event.created_at,
        "attempts": event.attempts,
        "tried_at": event.tried_at,
        "answer": event.answer,
        "sent_at": event.sent_at,
        "given_up_at": event.given_up_at,
        "due_at": None if event.sent_at or event.given_up_at else event.due_at,
    }
