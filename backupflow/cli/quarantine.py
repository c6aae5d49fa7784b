"""`backupflow quarantine`: messages that could not be stored. All that they say is hostile, and shown as such."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output, quarantine_view
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson, Yes, actor, confirm_typed, seconds
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupflow.core.quarantine import Judged, Trace

POLL_SECONDS = 0.5
AT_ONCE = 500

Numbers = Annotated[
    list[int] | None, typer.Argument(metavar="ID…", min=1, max=2**63 - 1, help="Numbers in `quarantine list`.")
]
OfReason = Annotated[str | None, typer.Option("--reason", help="All of this reason.", show_default=False)]

app = typer.Typer(
    name="quarantine",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at messages that could not be stored, give them back, or drop them."
    "\n\nExample: backupflow quarantine list",
)
app.command("list")(quarantine_view.list_messages)
app.command()(quarantine_view.show)


@app.command()
def release(
    numbers: Numbers = None,
    reason: OfReason = None,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Watch until the ingester has judged them.")] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="SPAN", help="With --wait: give up watching after this.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give messages back to the ingester, after an upgrade or a repair.

    Each goes through the very same checks again: it is stored and leaves the quarantine, or stays with the reason that
    holds now. With --wait exit code 1 says that one was not stored.

    \b
    Examples:
      backupflow quarantine release 7 8 --wait
      backupflow quarantine release --reason "message_malformed: unknown schema version"
    """  # noqa: D301 - \b keeps the lines of the examples
    patience = seconds(timeout)
    chosen = _chosen(numbers, reason, with_bytes=True)
    traces = wiring().quarantine_desk("reader").traced(chosen) if wait else []
    _in_parts(chosen, lambda part: wiring().quarantine_desk("operator").release(part, actor()))
    if not wait:
        _told(chosen, "released", f"released {len(chosen)}: the next drain takes them", as_json=as_json)
        _mind_ingest()
        return
    judged = _watch(traces, patience)
    if as_json:
        output.as_document({"messages": [_document(one) for one in judged]})
    else:
        for one in judged:
            output.say(_in_words(one))
    if any(one.fate != "stored" for one in judged):
        raise typer.Exit(Exit.WRONG)


@app.command()
def drop(numbers: Numbers = None, reason: OfReason = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete messages with their bytes, for good; what they were is kept in the audit.

    \b
    Examples:
      backupflow quarantine drop 7 8
      backupflow quarantine drop --reason wrong_subject --yes
    """  # noqa: D301 - \b keeps the lines of the examples
    chosen = _chosen(numbers, reason)
    confirm_typed(f"Delete {len(chosen)} of the quarantine? Nobody else has these bytes.", "drop", yes=yes)
    _in_parts(chosen, lambda part: wiring().quarantine_desk("operator").drop(part, actor()))
    _told(chosen, "dropped", f"dropped {len(chosen)}", as_json=as_json)


def _chosen(numbers: Sequence[int] | None, reason: str | None, *, with_bytes: bool = False) -> list[int]:
    if bool(numbers) == bool(reason):
        raise typer.BadParameter("give numbers, or --reason")
    if not reason:
        return sorted(set(numbers or ()))
    found = wiring().quarantine_desk("reader").numbers(reason, with_bytes=with_bytes)
    if not found:
        kept = " with its bytes" if with_bytes else ""
        output.stop(Exit.NOT_FOUND, f"nothing{kept} is in quarantine for the reason {reason!r}; see `quarantine list`")
    return found


def _in_parts(numbers: Sequence[int], act: Callable[[Sequence[int]], None]) -> None:
    """An act at a time holds up what the ingester puts aside: many are done in parts."""
    for start in range(0, len(numbers), AT_ONCE):
        act(numbers[start : start + AT_ONCE])
        if len(numbers) > AT_ONCE:
            output.note(f"{min(start + AT_ONCE, len(numbers))} of {len(numbers)}")


def _told(numbers: Sequence[int], done: str, words: str, *, as_json: bool) -> None:
    if as_json:
        output.as_document({done: list(numbers)})
    else:
        output.say(words)


def _watch(traces: Sequence[Trace], patience: float | None) -> list[Judged]:
    """Look until each is judged; what became of each then."""
    until = time.monotonic() + patience if patience is not None else None
    desk, minded = wiring().quarantine_desk("reader"), False
    while True:
        judged = desk.judged(traces)
        if all(one.fate != "waiting" for one in judged):
            return judged
        if until is not None and time.monotonic() >= until:
            output.note("backupflow: not all are judged; what is released stays released")
            return judged
        minded = minded or _mind_ingest()
        time.sleep(POLL_SECONDS)


def _mind_ingest() -> bool:
    """Say so if nobody would take them up; True if it was said."""
    overview = wiring().statuses.overview()
    if any(process.role == "ingester" and process.alive(overview.now) for process in overview.processes):
        return False
    output.note(
        "backupflow: no ingest worker is alive; what is released waits until one runs (`backupflow up`, `doctor`)"
    )
    return True


def _document(judged: Judged) -> dict[str, Any]:
    return {
        "id": judged.number,
        "outcome": judged.fate,
        "stored": judged.fate == "stored",
        "reason": judged.reason,
        "kept_as": judged.kept_as,
    }


def _in_words(judged: Judged) -> str:
    match judged.fate.value:
        case "stored":
            return f"{judged.number}: stored"
        case "waiting":
            return f"{judged.number}: not judged yet"
        case "gone":
            return f"{judged.number}: gone, and not stored: somebody has dropped it, the audit says who"
    where = "" if judged.kept_as == judged.number else f" as {judged.kept_as}"
    return f"{judged.number}: still here{where}: {judged.reason}"
