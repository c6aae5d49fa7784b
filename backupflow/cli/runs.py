"""`backupflow runs`, `run show`: what was tried of a device, when, and what came of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import asking, moments, output
from backupflow.cli.another_router import among, documents, in_words
from backupflow.cli.options import AsJson, DeviceName, InTenant
from backupflow.cli.session import wiring
from backupflow.core.attempts import Stretch
from backupflow.core.ledger import LOG_KEPT

if TYPE_CHECKING:
    from backupflow.core.attempts import Attempt, Wish
    from backupflow.core.history import Replacement

_STYLES = {"changed": "green", "failed": "red", "blocked": "red", "lost": "yellow", "suspect": "yellow"}
_DROPS = ("began", "bytes", "took")  # where a terminal is narrow
_MARKS = {
    "untried": "not tried yet",
    "repeated": "the router repeats one: the next export is asked for it",
    "required": "it came, as it has to",
    "absent": "this version of the router gives none",
}

app = typer.Typer(
    name="run",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="One attempt at a device, with all that is known of it.\n\nExample: backupflow run show 1042",
)


def runs(
    name: DeviceName,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only from then on: 7d, 12h, or 2026-11-20T06:00.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many lines, the newest.")] = 50,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """List what was tried of a device, the newest first; runs in a row that ended alike are one line.

    Of what is older than CONFIG_RUNS_DAYS only the first and the last of such a line are kept, and how many there were.

    \b
    Examples:
      backupflow runs core-1
      backupflow runs core-1 --since 7d --json
    """  # noqa: D301 - \b keeps the lines of the examples
    tenant_id = wiring().devices("reader").tenant(tenant)
    stretches = wiring().attempts.stretches(tenant_id, name, moments.since(since), limit)
    others = wiring().attempts.replacements(tenant_id, name)
    if as_json:
        runs_of_it = [_stretch_document(one) for one in stretches]
        output.as_document({"device": name, "runs": runs_of_it, "another_router": documents(others)})
    elif not stretches:
        output.say(f"nothing of {name} was tried {'since then' if since else 'yet'}; see `status`")
    else:
        columns = ("run", "began", "until", "runs", "trigger", "took", "bytes", "result", "")
        rows = [_row(one) for one in among(stretches, others, lambda one: one.seq)]
        kept = output.fitting(columns, rows, _DROPS)
        places = [columns.index(column) for column in kept]
        output.show_table(kept, [[row[place] for place in places] for row in rows], _STYLES)


@app.command()
def show(
    number: Annotated[int, typer.Argument(metavar="ID", help="Its number in `runs`.")],
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show one attempt: what it waited for, who asked for it, and why it ended. Example: `backupflow run show 1042`."""
    attempt = wiring().attempts.attempt(wiring().devices("reader").tenant(tenant), number)
    if as_json:
        output.as_document(_document(attempt))
        return
    rows = [(what, says) for what, says in _says(attempt) if says is not None]
    output.show_table(("run", str(attempt.number)), rows)


def _row(one: Stretch | Replacement) -> tuple[output.Cell, ...]:
    if not isinstance(one, Stretch):
        return ("", "", one.at, "", "", "", "", "replaced", in_words(one))
    began = one.first_at if one.count > 1 else None
    result = one.result if one.result != "failed" else one.code
    detail = output.told(one.detail, output.LONGEST_DETAIL)
    trigger = one.triggers[0] if len(one.triggers) == 1 else "various"
    return (one.number, began, one.at, one.count, trigger, _took(one.session), one.raw_bytes, result, detail)


def _took(session: timedelta | None) -> str | None:
    return None if session is None else f"{session.total_seconds():.1f} s"


def _says(one: Attempt) -> tuple[tuple[str, output.Cell], ...]:
    compacted = f"{one.compacted:,} that ended alike, which were taken away" if one.compacted else None
    return (
        ("device", one.device),
        ("collection", one.seq),
        ("trigger", f"{one.trigger} ({one.lane})"),
        *(("asked for", _wish(wish)) for wish in one.wishes),
        ("claimed", one.claimed_at),
        ("sent to workers", output.counted(one.emits, "time")),
        ("waited", _took(one.waited)),
        ("began", one.started_at),
        ("session", _took(one.session)),
        ("jump host", one.jump_host),
        ("login", _login(one)),
        ("command", output.told(one.command, output.LONGEST_DETAIL)),
        ("end mark", _MARKS.get(one.end_mark or "", one.end_mark)),
        ("log of edits", one.who if one.who in {None, LOG_KEPT} else f"none: {one.who}"),
        ("exit status", one.exit_status),
        ("bytes", one.raw_bytes),
        ("stored", one.stored_at),
        ("ended", one.ended_at),
        ("result", one.result),
        ("hash", output.short(one.content_hash) if one.content_hash else None),
        ("why", _why(one)),
        ("kept", "aside: it is not believed (yet)" if one.kept_aside else None),
        ("before it", compacted),
    )


def _why(one: Attempt) -> str | None:
    said = (one.code, asking.meaning(one.code), output.told(one.detail, output.LONGEST_DETAIL))
    return ": ".join(word for word in said if word) or None


def _login(one: Attempt) -> str | None:
    if one.login is None:
        return None
    which = f", the {one.login_on} one" if one.login_on else ""
    return f"{one.login}{which}, sent {output.in_words(one.login_sent_at)}"


def _wish(wish: Wish) -> str:
    forced = " by force" if wish.forced else ""
    return f"by {wish.by} at {output.in_words(wish.at)}{forced}: {wish.answer or 'not answered'}"


def _stretch_document(one: Stretch) -> dict[str, Any]:
    return {
        "first_run": one.first_number,
        "first_at": one.first_at,
        "run": one.number,
        "at": one.at,
        "runs": one.count,
        "triggers": one.triggers,
        "snapshot": one.seq,
        "state": one.state,
        "result": one.result,
        "is_change": one.is_change,
        "code": one.code,
        "detail": one.detail,
        "session_seconds": one.session,
        "bytes": one.raw_bytes,
        "hash": one.content_hash.hex() if one.content_hash else None,
    }


def _document(one: Attempt) -> dict[str, Any]:
    return {
        "run": one.number,
        "device": one.device,
        "seq": one.seq,
        "trigger": one.trigger,
        "lane": one.lane,
        "state": one.state,
        "result": one.result,
        "is_change": one.is_change,
        "code": one.code,
        "detail": one.detail,
        "claimed_at": one.claimed_at,
        "started_at": one.started_at,
        "collected_at": one.collected_at,
        "stored_at": one.stored_at,
        "ended_at": one.ended_at,
        "emits": one.emits,
        "waited_seconds": one.waited,
        "session_seconds": one.session,
        "bytes": one.raw_bytes,
        "hash": one.content_hash.hex() if one.content_hash else None,
        "command": one.command,
        "exit_status": one.exit_status,
        "end_mark": one.end_mark,
        "who": one.who,
        "login": one.login,
        "login_on": one.login_on,
        "login_sent_at": one.login_sent_at,
        "jump_host": one.jump_host,
        "kept_aside": one.kept_aside,
        "taken_away_before": one.compacted,
        "requests": [
            {
                "request": wish.number,
                "by": wish.by,
                "at": wish.at,
                "kind": wish.kind,
                "forced": wish.forced,
                "answer": wish.answer,
            }
            for wish in one.wishes
        ],
    }
