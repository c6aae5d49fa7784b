"""`backupflow snapshots` and `backupflow export`: what is kept, and one of them byte for byte."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson, DeviceName, InTenant, actor
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from backupflow.core.history import Run
    from backupflow.core.model import RawConfig, Seq
    from backupflow.flows.history import Exported


def snapshots(
    name: DeviceName,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest.")] = 50,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """List a device's configurations, the newest first.

    One that came back later is listed again: each is a run of equal collections.

    \b
    Example: backupflow snapshots core-1
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.flows import history

    tenant_id = wiring().devices("reader").tenant(tenant)
    runs = history.snapshots(wiring().snapshots, tenant_id, name, limit)
    if as_json:
        output.as_document({"device": name, "snapshots": [_document(run) for run in runs]})
    elif not runs:
        output.say(f"{name} has no snapshot yet; see `status`")
    else:
        columns = ("snapshot", "collected", "last seen", "seen", "bytes", "version")
        output.show_table(columns, [_row(run) for run in runs])


def export(
    name: DeviceName,
    *,
    at: Annotated[
        str | None,
        typer.Option(metavar="SNAPSHOT|TIME", help="A number of `snapshots`, or a time (UTC if it names no zone)."),
    ] = None,
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

    As the router gave it, secrets and all. Reading is audited.

    It goes to `router-DEVICE-TIME.rsc` here, readable by you alone, unless -o says otherwise. With --json, what was
    written is told on stdout.

    \b
    Examples:
      backupflow export core-1
      backupflow export core-1 --at 2026-11-20T06:00 -o before.rsc
      backupflow export core-1 -o - | age -r age1… > core-1.age
    """  # noqa: D301 - \b keeps the lines of the examples
    moment = _at(at)
    to_stdout = out == "-"
    if to_stdout and as_json:
        raise typer.BadParameter("--json and -o - both want stdout")
    if to_stdout and sys.stdout.isatty() and not reveal:
        output.stop(Exit.REFUSED, "a configuration holds secrets: --reveal shows it on the terminal, -o FILE keeps it")
    given = None if out is None or to_stdout else Path(out)
    if given and given.exists() and not force:  # before anything is read: reading is audited
        output.stop(Exit.WOULD_OVERWRITE, f"{given} is there already: --force replaces it")
    exported = _read(name, moment, tenant)
    if to_stdout:
        _to_stdout(exported.raw)
        output.note(_origin(exported))
        return
    path = given or Path(_file_name(exported))
    _write(path, exported.raw, force=force)
    if as_json:
        output.as_document(_exported(exported, path))
    else:
        output.note(f"{path} written, {len(exported.raw)} bytes; {_origin(exported)}")


def _read(name: str, moment: Seq | datetime | None, tenant: str) -> Exported:
    from backupflow.flows import history

    tenant_id = wiring().devices("reader").tenant(tenant)
    outcome = history.export(wiring().history_ports(actor()), tenant_id, name, moment)
    if isinstance(outcome, history.Damaged):
        what = f"snapshot {outcome.snapshot.seq} of {outcome.snapshot.device_name}"
        output.stop(
            Exit.DATA,
            f"DAMAGED: {what} is not what was collected: {outcome.why}. Nothing was written, and an alarm stands: "
            "restore the database from a backup",
        )
    return outcome


def _at(text: str | None) -> Seq | datetime | None:
    from backupflow.core.model import Seq

    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) < 19:  # noqa: PLR2004 - digits of a bigint
        return Seq(int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"neither a number of a snapshot nor a time such as 2026-11-20T06:00: {text!r}"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _to_stdout(raw: RawConfig) -> None:
    """The raw bytes; on a terminal with control characters made visible."""
    if sys.stdout.isatty():
        for line in raw.decode("utf-8", "backslashreplace").replace("\r\n", "\n").split("\n"):
            output.say(line)
        return
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()


def _write(path: Path, raw: RawConfig, *, force: bool) -> None:
    """A file for its owner alone, whole or not at all; never over one that is there unless forced."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(fd)
            if force:
                draft.replace(path)
            else:
                os.link(draft, path)  # fails if it is there, unlike a rename
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        output.stop(Exit.WOULD_OVERWRITE, f"{path} is there already: --force replaces it")
    except OSError as exc:
        output.stop(Exit.WOULD_OVERWRITE, f"{path} cannot be written: {exc.strerror}")


def _file_name(exported: Exported) -> str:
    """`router-{device}-{timestamp}.rsc`, the time of the collection; a name never leaves this folder."""
    name = "".join(c if c.isprintable() and c not in "/\\\0" else "_" for c in exported.snapshot.device_name)
    return f"router-{name}-{exported.snapshot.collected_at.astimezone(UTC):%Y%m%dT%H%M%SZ}.rsc"


def _origin(exported: Exported) -> str:
    """Which one it is: the export given is the first with that text, so its own header may name an older time (I16)."""
    snapshot = exported.snapshot
    text = f"snapshot {snapshot.seq} of {snapshot.device_name}, collected {output.in_words(snapshot.collected_at)}"
    if snapshot.first_seq == snapshot.seq:
        return text
    first = output.in_words(snapshot.first_collected_at)
    return f"{text}; this text was first given {first} (snapshot {snapshot.first_seq}), as its header may say"


def _row(run: Run) -> tuple[output.Cell, ...]:
    version = run.facts.get("version")
    last = run.last_collected_at if run.observations > 1 else None
    return (run.seq, run.collected_at, last, run.observations, run.raw_bytes, version)


def _document(run: Run) -> dict[str, Any]:
    return {
        "snapshot": run.seq,
        "collected_at": run.collected_at,
        "last_snapshot": run.last_seq,
        "last_collected_at": run.last_collected_at,
        "observations": run.observations,
        "bytes": run.raw_bytes,
        "facts": dict(run.facts),
        "current": run.is_current,
    }


def _exported(exported: Exported, path: Path) -> dict[str, Any]:
    snapshot = exported.snapshot
    return {
        "file": str(path),
        "bytes": len(exported.raw),
        "sha256": exported.header.raw_sha256,
        "device": snapshot.device_name,
        "snapshot": snapshot.seq,
        "collected_at": snapshot.collected_at,
        "first_snapshot": snapshot.first_seq,
        "first_collected_at": snapshot.first_collected_at,
    }
