"""`backupflow show`: one configuration to be read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import moments, output, paging
from backupflow.cli.exits import Exit
from backupflow.cli.opened import whole
from backupflow.cli.options import AsJson, DeviceName, InTenant, actor
from backupflow.cli.session import wiring
from backupflow.cli.writing import to_stdout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.cli.paging import Line
    from backupflow.flows.showing import Shown


def show(
    name: DeviceName,
    at: Annotated[
        str | None,
        typer.Argument(
            metavar="SNAPSHOT|TIME",
            help="A number of `history`, or a time (UTC if it names no zone).",
            show_default="now",
        ),
    ] = None,
    *,
    raw: Annotated[bool, typer.Option("--raw", help="As the router gave it, byte for byte; needs --reveal.")] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show secrets too; that is audited.")] = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show one configuration in the form in which it is compared; secrets are masked.

    `export` gives it back byte for byte, as a file.

    \b
    Examples:
      backupflow show core-1
      backupflow show core-1 17
      backupflow show core-1 2026-11-20T06:00 --raw --reveal
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.flows import showing

    moment = moments.at(at)
    if raw and as_json:
        raise typer.BadParameter("--raw and --json are two forms of it")
    if raw and not reveal:
        output.stop(Exit.REFUSED, "as the router gave it, it holds secrets: --reveal shows them, `export` keeps a file")
    tenant_id = wiring().devices("reader").tenant(tenant)
    what = ("raw" if raw else "show") if reveal else ""
    found = whole(showing.show(wiring().timeline_ports(actor()), tenant_id, name, moment, reveal=what))
    if raw and not sys.stdout.isatty():
        to_stdout(found.exported.raw)
    elif as_json:
        output.as_document(_document(found, reveal=reveal))
    else:
        output.note(_which(found))
        paging.show(_raw(found) if raw else _styled(_text(found, reveal=reveal)))


def _text(found: Shown, *, reveal: bool) -> str:
    from backupflow.drivers import driver

    if reveal:
        return found.normal.decode("latin-1")
    return driver(found.exported.snapshot.driver).grammar.masked(found.normal)


def _styled(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        yield paging.line(line, "dim" if line.startswith("#") else "bold" if line.startswith("/") else "")


def _raw(found: Shown) -> Iterator[Line]:
    for line in found.exported.raw.decode("utf-8", "backslashreplace").replace("\r\n", "\n").split("\n"):
        yield paging.line(line)


def _which(found: Shown) -> str:
    snapshot = found.exported.snapshot
    return f"snapshot {snapshot.number} of {snapshot.device_name}, collected {output.in_words(snapshot.collected_at)}"


def _document(found: Shown, *, reveal: bool) -> dict[str, object]:
    snapshot = found.exported.snapshot
    return {
        "device": snapshot.device_name,
        "snapshot": snapshot.number,
        "collected_at": snapshot.collected_at,
        "text": _text(found, reveal=reveal),
    }
