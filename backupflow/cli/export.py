"""`backupflow export`: one configuration, byte for byte."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import moments, output
from backupflow.cli.exits import Exit
from backupflow.cli.opened import whole
from backupflow.cli.options import AsJson, DeviceName, InTenant, actor
from backupflow.cli.session import wiring
from backupflow.cli.writing import to_stdout, write_private

if TYPE_CHECKING:
    from backupflow.core.history import Aside
    from backupflow.core.model import Seq
    from backupflow.flows.history import Exported


def export(
    name: DeviceName,
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="SNAPSHOT|TIME",
            help="A number of `snapshots`, or a time (UTC if it names no zone).",
            show_default="now",
        ),
    ] = None,
    *,
    at: Annotated[str | None, typer.Option(metavar="SNAPSHOT|TIME", help="The same.")] = None,
    aside: Annotated[
        bool, typer.Option("--aside", help="One that was not believed (`snapshots --aside`); the newest, or --at.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE|-", help="Where to; - is stdout.", show_default="a new file here"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show it, secrets and all, on the terminal.")] = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Give a configuration back, byte for byte.

    As the router gave it, secrets and all. Reading is audited. `show` lets it be read, with its secrets masked.

    It goes to `router-DEVICE-TIME.rsc` here, readable by you alone, unless -o says otherwise. With --json, what was
    written is told on stdout.

    \b
    Examples:
      backupflow export core-1
      backupflow export core-1 17
      backupflow export core-1 --at 2026-11-20T06:00 -o before.rsc
      backupflow export core-1 -o - | age -r age1… > core-1.age
      backupflow export core-1 --aside -o suspect.rsc
    """  # noqa: D301 - \b keeps the lines of the examples
    if which is not None and at is not None:
        raise typer.BadParameter("name the snapshot once: as an argument or with --at")
    moment = moments.at(which if at is None else at)
    wants_stdout = out == "-"
    if wants_stdout and as_json:
        raise typer.BadParameter("--json and -o - both want stdout")
    if wants_stdout and sys.stdout.isatty() and not reveal:
        output.stop(Exit.REFUSED, "a configuration holds secrets: --reveal shows it on the terminal, -o FILE keeps it")
    given = None if out is None or wants_stdout else Path(out)
    if given and given.exists() and not force:  # before anything is read: reading is audited
        output.stop(Exit.WOULD_OVERWRITE, f"{given} is there already: --force replaces it")
    found = _read_aside(name, moment, tenant) if aside else _Found(_read(name, moment, tenant))
    exported = found.exported
    if wants_stdout:
        to_stdout(exported.raw)
        output.note(found.origin)
        return
    path = given or Path(found.file_name)
    write_private(path, exported.raw, force=force)
    if as_json:
        output.as_document({"file": str(path), **found.document})
    else:
        output.note(f"{path} written, {len(exported.raw)} bytes; {found.origin}")


@dataclass(frozen=True, slots=True)
class _Found:
    """An export and, if it is one that was kept aside, why."""

    exported: Exported
    aside: Aside | None = None

    @property
    def origin(self) -> str:
        """Which one it is, for stderr."""
        return _origin(self.exported) if self.aside is None else _warning(self.exported, self.aside)

    @property
    def file_name(self) -> str:
        """`router-{device}-{timestamp}.rsc`, the time of the collection; a name never leaves this folder."""
        snapshot = self.exported.snapshot
        name = "".join(c if c.isprintable() and c not in "/\\\0" else "_" for c in snapshot.device_name)
        ending = "" if self.aside is None else "-aside"
        return f"router-{name}-{snapshot.collected_at.astimezone(UTC):%Y%m%dT%H%M%SZ}{ending}.rsc"

    @property
    def document(self) -> dict[str, Any]:
        """As JSON, but for where it was written."""
        why = None if self.aside is None else {"code": self.aside.code, "detail": self.aside.detail}
        return {**_exported(self.exported), "aside": why}


def _read(name: str, moment: Seq | datetime | None, tenant: str) -> Exported:
    from backupflow.flows import history

    tenant_id = wiring().devices("reader").tenant(tenant)
    return whole(history.export(wiring().history_ports(actor()), tenant_id, name, moment))


def _read_aside(name: str, moment: Seq | datetime | None, tenant: str) -> _Found:
    from backupflow.core.model import Seq
    from backupflow.flows import history

    if isinstance(moment, datetime):
        raise typer.BadParameter("--aside goes with the number of a collection: it was never current at any time")
    tenant_id = wiring().devices("reader").tenant(tenant)
    asides = history.asides(wiring().snapshots, tenant_id, name)
    chosen = next((aside for aside in asides if moment in (None, aside.seq)), None)
    if chosen is None:
        which = "" if moment is None else f" from collection {moment}"
        output.stop(Exit.NOT_FOUND, f"nothing of {name}{which} was kept aside; see `snapshots --aside`")
    ports = wiring().history_ports(actor())
    return _Found(whole(history.aside(ports, tenant_id, name, Seq(chosen.seq))), chosen)


def _origin(exported: Exported) -> str:
    """Which one it is: the export given is the first with that text, so its own header may name an older time (I16)."""
    snapshot = exported.snapshot
    text = f"snapshot {snapshot.number} of {snapshot.device_name}, collected {output.in_words(snapshot.collected_at)}"
    if snapshot.first_seq == snapshot.seq:
        return text
    which = "" if snapshot.first_seq == snapshot.number else f" (snapshot {snapshot.first_seq})"
    first = output.in_words(snapshot.first_collected_at)
    return f"{text}; this text was first given {first}{which}, as its header may say"


def _warning(exported: Exported, aside: Aside) -> str:
    """Whoever restores this must know that nobody believed it."""
    snapshot = exported.snapshot
    which = f"collection {snapshot.seq} of {snapshot.device_name}, {output.in_words(snapshot.collected_at)}"
    return f"KEPT ASIDE, never current: {which}, {aside.code}: {output.told(aside.detail, output.LONGEST_DETAIL)}"


def _exported(exported: Exported) -> dict[str, Any]:
    snapshot = exported.snapshot
    return {
        "bytes": len(exported.raw),
        "sha256": exported.header.raw_sha256,
        "device": snapshot.device_name,
        "snapshot": snapshot.number,
        "collection": snapshot.seq,
        "collected_at": snapshot.collected_at,
        "first_snapshot": snapshot.first_seq,
        "first_collected_at": snapshot.first_collected_at,
    }
