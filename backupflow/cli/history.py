"""`backupflow snapshots`: what is kept of a device, and what was kept aside."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.another_router import among, documents, in_words
from backupflow.cli.options import AsJson, DeviceName, InTenant
from backupflow.cli.session import wiring
from backupflow.core.history import Run
from backupflow.core.model import Secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.history import Aside, Replacement

_MARK = "*"  # of a run that differs from the one before it in nothing but whether secrets are shown


def snapshots(
    name: DeviceName,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest.")] = 50,
    aside: Annotated[
        bool, typer.Option("--aside", help="Those that were not believed instead: kept aside, never current.")
    ] = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """List a device's configurations, the newest first.

    One that came back later is listed again: each is a run of equal collections. `history` says what changed.

    \b
    Examples:
      backupflow snapshots core-1
      backupflow snapshots core-1 --aside
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.flows import history

    tenant_id = wiring().devices("reader").tenant(tenant)
    asides = history.asides(wiring().snapshots, tenant_id, name)[:limit]
    if aside:
        _show_asides(name, asides, as_json=as_json)
        return
    runs = history.snapshots(wiring().snapshots, tenant_id, name, limit)
    others = wiring().attempts.replacements(tenant_id, name)
    if as_json:
        snapshots_of_it = [_document(run) for run in runs]
        output.as_document({"device": name, "snapshots": snapshots_of_it, "another_router": documents(others)})
        return
    if runs:
        _show_runs(runs, others)
    else:
        output.say(f"{name} has no snapshot yet; see `status`")
    waiting = [one for one in asides if not runs or one.seq > runs[0].last_seq]
    if waiting:
        output.say(f"not believed (yet), and kept aside: {len(waiting)}; see `snapshots {shlex.quote(name)} --aside`")


def _show_runs(runs: Sequence[Run], others: Sequence[Replacement]) -> None:
    columns: tuple[str, ...] = ("snapshot", "collected", "last seen", "seen", "bytes", "hash", "version", "secrets")
    rows = [_row(one) for one in among(runs, others, lambda run: run.last_seq)]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    output.show_table(columns, rows)
    if any(run.only_secrets for run in runs):
        output.say(f"{_MARK} only the visibility of its secrets changed")
    if gone := [run for run in runs if run.given_up_at]:
        newest = gone[0].last_seq
        output.say(f"up to {newest}: {output.given_up(gone[0].given_up_at)}, nobody can open them")


def _show_asides(name: str, asides: Sequence[Aside], *, as_json: bool) -> None:
    if as_json:
        output.as_document({"device": name, "aside": [_aside_document(aside) for aside in asides]})
    elif not asides:
        output.say(f"nothing of {name} was kept aside")
    else:
        columns = ("collection", "collected", "bytes", "version", "serial", "why", "")
        output.show_table(columns, [_aside_row(aside) for aside in asides])
        output.say(
            f"none of them was ever current; one comes with `export {shlex.quote(name)} --aside --at COLLECTION`"
        )


def _row(run: Run | Replacement) -> tuple[output.Cell, ...]:
    if not isinstance(run, Run):
        return ("", run.at, "", "", "", "", in_words(run), "")
    last = run.last_collected_at if run.observations > 1 else None
    version = output.told(run.facts.get("version"))
    digest = output.short(run.content_hash)
    return (run.seq, run.collected_at, last, run.observations, run.raw_bytes, digest, version, _secrets(run))


def _secrets(run: Run) -> str:
    """What is to be known of its secrets; nothing, where all that there are are shown, as they were before."""
    if run.only_secrets:
        return f"{run.secrets} {_MARK}"
    return "" if run.secrets in {Secrets.SHOWN, Secrets.NONE} else run.secrets


def _document(run: Run) -> dict[str, Any]:
    return {
        "snapshot": run.seq,
        "collected_at": run.collected_at,
        "last_snapshot": run.last_seq,
        "last_collected_at": run.last_collected_at,
        "observations": run.observations,
        "bytes": run.raw_bytes,
        "facts": dict(run.facts),
        "hash": run.content_hash.hex(),
        "current": run.is_current,
        "secrets": run.secrets or None,
        "only_visibility_of_secrets_changed": run.only_secrets,
        "keys_given_up_at": run.given_up_at,
    }


def _aside_row(aside: Aside) -> tuple[output.Cell, ...]:
    facts = aside.facts
    version, serial = output.told(facts.get("version")), output.told(facts.get("serial"))
    detail = output.told(aside.detail, output.LONGEST_DETAIL)
    return (aside.seq, aside.collected_at, aside.raw_bytes, version, serial, aside.code, detail)


def _aside_document(aside: Aside) -> dict[str, Any]:
    return {
        "collection": aside.seq,
        "collected_at": aside.collected_at,
        "state": aside.state,
        "code": aside.code,
        "detail": aside.detail,
        "bytes": aside.raw_bytes,
        "facts": dict(aside.facts),
        "keys_given_up_at": aside.given_up_at,
    }
