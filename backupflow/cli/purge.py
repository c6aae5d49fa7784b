"""`backupflow purge`: history that is taken away because somebody says so."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit
from backupflow.cli.moments import at as moment_of
from backupflow.cli.options import AsJson, DeviceName, InTenant, Yes, actor, confirm_typed
from backupflow.cli.session import wiring


def purge(
    name: DeviceName,
    *,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="SNAPSHOT|TIME",
            help="Only what is older than this snapshot, or was last seen before.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All there is, the current configuration too.")] = False,
    yes: Yes = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Take configurations of a device away for good, before their time. Nothing brings them back.

    What differs from them in the one that stays is forgotten too. Only the beginning of a history can go, or all of it:
    what is left is still what followed what.

    \b
    Examples:
      backupflow purge core-1 --before 42
      backupflow purge core-1 --before 2026-01-01
      backupflow purge core-1 --all
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.retaining import cut_at
    from backupflow.flows import purging

    if (before is not None) == everything:
        raise typer.BadParameter("say which: --before SNAPSHOT|TIME, or --all")
    at = moment_of(before)
    if at is None and not everything:
        raise typer.BadParameter("--before wants a snapshot or a time; --all takes the current configuration too")
    tenant_id = wiring().devices("reader").tenant(tenant)
    device_id, kept = wiring().purging.kept(tenant_id, name)
    cut = cut_at(kept, at)
    if cut is None:
        output.stop(Exit.NOT_FOUND, f"{name} has nothing before that; see `snapshots {shlex.quote(name)}`")
    what = output.counted(cut.configurations, "configuration")
    if not as_json:
        gone = kept[: cut.configurations]
        which = f"snapshots {gone[0].first} to {gone[-1].last}, last seen {output.in_words(gone[-1].last_at)}"
        output.note(f"{what} of {name} ({which}) will be gone for good, {_left(len(kept) - cut.configurations)}.")
    confirm_typed("They cannot be brought back.", name, yes=yes)
    taken = purging.purge(wiring().purging, tenant_id, device_id, at, actor())
    if as_json:
        output.as_document({"device": name, "configurations": taken.configurations, "collections": taken.collections})
    else:
        output.say(f"{taken.configurations} of {name} are gone, {_left(len(kept) - taken.configurations)}")


def _left(count: int) -> str:
    return "none is left" if count == 0 else f"{output.counted(count, 'configuration')} left"
