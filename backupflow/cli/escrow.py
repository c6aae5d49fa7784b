"""`backupflow escrow`: the current configurations, each day, for whoever has the key, without anything of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.copy_lines import escrow_document
from backupflow.cli.escrow_folder import require_fit
from backupflow.cli.exits import Exit, exit_of
from backupflow.cli.options import AsJson, InTenant, Yes, actor, confirm
from backupflow.cli.progress import bar
from backupflow.cli.session import wiring
from backupflow.errors import BackupflowError, EscrowFailed, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.escrow import Escrow
    from backupflow.core.escrow_files import Written
    from backupflow.core.overview import Alarm

app = typer.Typer(
    name="escrow",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Each day a file with the current configuration of every device, that plain `age -d | tar x` opens: for the "
    "day on which nothing of this install is left.\n\nExample: backupflow escrow enable --recipient age1…",
)
OfTenant = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant's.", show_default="all")
]
_LARGEST_FILE = 64 * 1024  # of recipients


@app.command()
def enable(
    *,
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", "-r", metavar="AGE1…", help="A public key of age; again for more.",
                     show_default=False),
    ] = None,
    recipients_file: Annotated[
        Path | None, typer.Option("--recipients-file", "-R", metavar="FILE", help="One a line.", show_default=False)
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="Where the files go.", show_default="CONFIG_ESCROW_DIR"),
    ] = None,
    tenant: InTenant = "default",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Have a file written each day, from now on, that these can open: each alone, with nothing but age and tar.

    `age-keygen -o escrow-key.txt` makes a key and says the public one. Keep escrow-key.txt where neither this machine
    nor its backups are: whoever has it reads every password in every configuration. Named once more, the new recipients
    and folder take the place of the old ones; files that are there stay as they are.

    \b
    Examples:
      backupflow escrow enable --recipient age1… --to /mnt/escrow
      backupflow escrow enable --recipients-file owners.txt --tenant customer-1
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.recipients import recipients

    keys = recipients(recipient or [], _lines(recipients_file))
    folder = str(to.expanduser().absolute()) if to else None
    store, tenant_id = wiring().escrows("operator"), wiring().devices("reader").tenant(tenant)
    require_fit(folder, keys)
    _ask_about_old_ones(_of(store.every(), tenant), keys, yes=yes or as_json)
    escrow = store.enable(tenant_id, keys, folder, actor())
    if as_json:
        output.as_document(_document(escrow))
        return
    many = "1 key opens it" if len(keys) == 1 else f"{len(keys)} keys open it, each alone"
    output.say(f"the escrow of {escrow.tenant} is written each day to {place(escrow)}; {many}")
    output.note("the first file comes within minutes: `escrow status`. Then try that it opens, where the key is: "
                "age -d -i escrow-key.txt FILE | tar t")  # fmt: skip


@app.command()
def disable(tenant: InTenant = "default", *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Have no more files written. Those that are there stay where they are.

    \b
    Example: backupflow escrow disable --tenant customer-1
    """  # noqa: D301 - \b keeps the line of the example
    store, tenant_id = wiring().escrows("operator"), wiring().devices("reader").tenant(tenant)
    if _of(store.every(), tenant):
        confirm(f"Write no escrow of {tenant} any more?", yes=yes or as_json)
    done = store.disable(tenant_id, actor())
    if as_json:
        output.as_document({"tenant": tenant, "changed": done})
    else:
        output.say(f"no escrow of {tenant} is written any more" if done else f"none of {tenant} was written: no change")


@app.command()
def run(*, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Write the files now, whether they are due or not. It is done each day; this is the same, by this process.

    Where this process may not write to the folder, or does not know it, the maintain worker is asked to do it at once.
    In the composed install it always is.

    \b
    Examples:
      backupflow escrow run
      backupflow escrow run --tenant customer-1
    """  # noqa: D301 - \b keeps the lines of the examples
    wanted = _enabled(tenant)
    done = [(escrow, _written(escrow, quiet=as_json) or _asked(escrow)) for escrow in wanted]
    if as_json:
        output.as_document([_ran(escrow, result) for escrow, result in done])
    else:
        for escrow, result in done:
            _tell(escrow, result)
    codes = [exit_of(result) for _, result in done if isinstance(result, BackupflowError)]
    lacking = any(result.lacking for _, result in done if not isinstance(result, BackupflowError))
    raise typer.Exit(codes[0] if codes else Exit.WRONG if lacking else Exit.OK)


@app.command()
def status(*, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Show for whom it is written, where, and how old the newest files are; and what stands against it.

    The exit code is 1 if one is late, or an alarm of it stands.

    \b
    Example: backupflow escrow status --json
    """  # noqa: D301 - \b keeps the line of the example
    found = _of(wiring().escrows("reader").every(), tenant)
    alarms = _alarms(found)
    if as_json:
        output.as_document(
            [_document(one) | {"alarms": [alarm.detail for alarm in alarms[one.scope]]} for one in found]
        )
    elif not found:
        output.say("none is written: `escrow enable --recipient age1…` (docs/escrow.md)")
    else:
        rows = [
            (one.tenant, len(one.recipients), one.filed_at, one.written_at, one.devices, one.bytes, place(one))
            for one in found
        ]
        names = ("tenant", "recipients", "newest file", "newest whole file", "devices", "bytes", "folder")
        output.show_table(names, rows)
        for one in found:
            output.say(f"{one.tenant}: {', '.join(one.recipients)}, enabled by {one.enabled_by} "
                       f"{output.in_words(one.enabled_at)}")  # fmt: skip
            for alarm in alarms[one.scope]:
                why = output.told(alarm.detail, output.LONGEST_DETAIL)
                output.say_long(f"ALARM since {output.in_words(alarm.since)}: {why} – docs/runbook/{alarm.code}.md")
    raise typer.Exit(Exit.WRONG if any(one.is_late or alarms[one.scope] for one in found) else Exit.OK)


def _alarms(found: Sequence[Escrow]) -> dict[str, list[Alarm]]:
    """What stands of each: that no file could be written, and what one lacks."""
    standing = (
        [one for one in wiring().statuses.alarms(cleared=False) if one.code == EscrowFailed.code] if found else []
    )
    return {
        one.scope: [alarm for alarm in standing if alarm.scope in {one.scope, one.scope_of_devices}] for one in found
    }


def _ask_about_old_ones(before: Sequence[Escrow], keys: Sequence[str], *, yes: bool) -> None:
    gone = [key for one in before for key in one.recipients if key not in keys]
    if gone:
        confirm(f"What is written from now on {', '.join(gone)} cannot open any more. Go on?", yes=yes)


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        with file.open("rb") as opened:
            data = opened.read(_LARGEST_FILE + 1)
    except OSError as exc:
        output.stop(Exit.NOT_FOUND, f"{file}: {exc.strerror}")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        output.stop(Exit.DATA, f"{file} is no file of public keys of age, one a line")
    if len(data) > _LARGEST_FILE:
        output.stop(Exit.DATA, f"{file} is too large for a file of recipients")
    return text.splitlines()


def _of(found: Sequence[Escrow], tenant: str | None) -> list[Escrow]:
    return [one for one in found if tenant in (None, one.tenant)]


def _enabled(tenant: str | None) -> list[Escrow]:
    if tenant is not None:
        wiring().devices("reader").tenant(tenant)
    found = _of(wiring().escrows("operator").every(), tenant)
    if not found:
        output.stop(Exit.NOT_FOUND, "no escrow is enabled" + (f" for {tenant}" if tenant else "") + ": `escrow enable`")
    return found


class Asked:
    """Somebody else writes it."""

    lacking = ()


def _asked(escrow: Escrow) -> Asked:
    wiring().escrows("operator").ask(escrow, actor())
    return Asked()


def _written(escrow: Escrow, *, quiet: bool) -> Written | BackupflowError | None:
    """What became of it; None: it is not this process's to write, which is no failure of it."""
    from backupflow.flows.escrow import Watching, write

    if not wiring().escrow_folder().is_ours(escrow):
        return None
    try:
        with bar(f"escrow of {output.visible(escrow.tenant)}", quiet=quiet) as shown:
            watching = Watching(began=shown.began, moved=shown.moved)
            return write(wiring().escrow_ports(actor()), escrow, watching)
    except StoreUnavailable:
        raise
    except BackupflowError as exc:
        return exc


def _tell(escrow: Escrow, result: Written | BackupflowError | Asked) -> None:
    if isinstance(result, Asked):
        output.say(f"{escrow.tenant}: {place(escrow)} is not this process's to write to: the maintain worker was "
                   "asked, and writes it within minutes; see `escrow status`")  # fmt: skip
        return
    if isinstance(result, BackupflowError):
        output.note(f"backupflow: {escrow.tenant}: {result}")
        return
    size = output.counted(result.devices, "configuration")
    output.say(f"{escrow.tenant}: {place(escrow)}/{result.file}, {size}, {result.bytes:,} bytes")
    for one in result.lacking:
        output.note(f"NOT in it: {one.held.name}: {output.told(one.why, output.LONGEST_DETAIL)}")


def _ran(escrow: Escrow, result: Written | BackupflowError | Asked) -> dict[str, Any]:
    if isinstance(result, Asked):
        return {"tenant": escrow.tenant, "file": None, "asked": True, "error": None}
    if isinstance(result, BackupflowError):
        return {"tenant": escrow.tenant, "file": None, "error": result.code, "detail": str(result)}
    return {
        "tenant": escrow.tenant,
        "file": f"{place(escrow)}/{result.file}",
        "bytes": result.bytes,
        "devices": result.devices,
        "lacking": [{"device": one.held.name, "why": one.why} for one in result.lacking],
        "error": None,
    }


def place(escrow: Escrow) -> str:
    """Where its files are; a folder of the settings is known only where they are."""
    folder = escrow.folder or wiring().settings.keeping.escrow_dir
    return f"{folder or '$CONFIG_ESCROW_DIR'}/{escrow.place}"


def _document(escrow: Escrow) -> dict[str, Any]:
    return escrow_document(escrow) | {"folder": place(escrow)}
