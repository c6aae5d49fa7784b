"""`backupflow hostkey import`: keys that somebody else's file lists."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import key_view, output
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson, InTenant, actor
from backupflow.cli.progress import progress
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.key_owners import KeyOwner, Learnt, Listed
    from backupflow.core.known_hosts import KnownHosts

_SHOWN = 100  # of each kind that somebody has to look at
_SHOWN_WELL = 10  # of each other one

app = typer.Typer(
    name="import",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Take over host keys.\n\nExample: backupflow hostkey import known_hosts ~/.ssh/known_hosts",
)


@app.callback()
def _group() -> None:
    """Without it typer would leave out the name of an only command."""


@app.command("known_hosts")
def known_hosts(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A known_hosts file of OpenSSH; - is stdin.")],
    jump: Annotated[
        str | None, typer.Option(metavar="NAME", help="It is the file of this jump host.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would follow, and change nothing.")] = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Take over the host keys that an OpenSSH file lists.

    By address or host name, exactly as it stands on record, with its port: `[192.0.2.1]:2222` if
    it is not 22; hashed names too. Whoever has no key yet may be pinned with these only; a pinned
    key that is in the file is known better than one of first use; one that contradicts it is
    listed and stays. Devices behind a jump host are passed over: an address means another router
    there; `--jump` says that the file is from there. Revoked keys are never taken, and whoever
    has one is listed. Exit code 1 if there is a contradiction or a revoked key in use.

    \b
    Examples:
      backupflow hostkey import known_hosts ~/.ssh/known_hosts --dry-run
      backupflow hostkey import known_hosts hop-1.known_hosts --jump hop-1
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core import known_hosts as format_of
    from backupflow.core.key_owners import Outcome, listed
    from backupflow.flows.hostkeys import learn

    devices = wiring().devices("enroller")
    tenant_id = devices.tenant(tenant)
    owners = wiring().key_desk("enroller").owners(tenant_id)
    if jump is not None and not any(owner.jump_host and owner.name == jump for owner in owners):
        output.stop(Exit.NOT_FOUND, f"jump host {jump!r}; see `jump list`")
    found = format_of.read(_read(file, format_of.MOST_BYTES))
    with progress("comparing", len(owners), quiet=as_json) as moved:
        says = listed(found, owners, jump, moved)
    learnt: list[Learnt] = []
    with progress("writing", len(says.owners), quiet=as_json) as moved:
        for one in learn(wiring().known_ports(actor()), tenant_id, says, dry_run=dry_run):
            learnt.append(one)
            moved(1)
    if as_json:
        output.as_document(_document(found, says, learnt, dry_run=dry_run))
    else:
        for line in _lines(found, says, learnt, dry_run=dry_run):
            output.say_long(line)
    if says.bearers or any(one.outcome is Outcome.CONTRADICTS for one in learnt):
        raise typer.Exit(Exit.WRONG)


def _read(file: str, most: int) -> bytes:
    try:
        if file == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(most + 1)
    except OSError as exc:
        output.stop(Exit.NOT_FOUND, f"{file} cannot be read: {exc.strerror}")
    if len(data) > most:
        output.stop(Exit.DATA, f"{file}: more than {most} bytes; nothing was taken")
    return data


def _lines(found: KnownHosts, says: Listed, learnt: list[Learnt], *, dry_run: bool) -> Iterator[str]:
    from backupflow.core.key_owners import Outcome

    yield from _some([f"line {fault.line}: {fault.says}; passed over" for fault in found.faults])
    yield from _some([f"line {line}: @cert-authority is not supported; passed over" for line in found.authorities])
    for via in sorted({owner.via for owner in says.elsewhere if owner.via}):
        behind = [owner.name for owner in says.elsewhere if owner.via == via]
        some = f"{output.counted(len(behind), 'device')} behind the jump host {via} ({key_view.named(behind)})"
        yield f"passed over: {some}; if the file is from there: --jump {shlex.quote(via)}"
    yield from _some(
        [f"{_named(owner)}: is not reached through this jump host; passed over" for owner in says.elsewhere
         if not owner.via]
    )  # fmt: skip
    for outcome in dict.fromkeys(one.outcome for one in learnt):
        if outcome is Outcome.NOTHING:
            continue
        lines = [
            f"{_named(one.owner)}: {one.outcome}{f' ({one.says})' if one.says else ''}"
            for one in learnt if one.outcome is outcome
        ]  # fmt: skip
        yield from _some(lines, _SHOWN_WELL if outcome.well else _SHOWN)
    yield from _some(
        [f"{_named(one.owner)}: a revoked key is {one.standing}: {one.fingerprint}" for one in says.bearers]
    )
    counts = Counter(one.outcome for one in learnt)
    words = [f"{outcome}: {count}" for outcome, count in counts.items()]
    words += [f"passed over: {len(says.elsewhere)}"] if says.elsewhere else []
    words += [f"a revoked key in use: {len(says.bearers)}"] if says.bearers else []
    yield "; ".join(words) or f"none of its {found.entries} lines names a device or a jump host of this tenant"
    if dry_run:
        yield "nothing was changed (--dry-run)"


def _some(lines: list[str], most: int = _SHOWN) -> Iterator[str]:
    yield from lines[:most]
    if len(lines) > most:
        yield f"and {len(lines) - most} more like these"


def _named(owner: KeyOwner) -> str:
    return f"jump host {owner.name}" if owner.jump_host else owner.name


def _document(found: KnownHosts, says: Listed, learnt: list[Learnt], *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "lines": found.entries,
        "found": [{**_who(one.owner), "outcome": one.outcome.name.lower(), "says": one.says or None} for one in learnt],
        "passed_over": [{**_who(owner), "via": owner.via} for owner in says.elsewhere],
        "revoked": [
            {**_who(one.owner), "standing": one.standing, "fingerprint": one.fingerprint} for one in says.bearers
        ],
        "faults": [{"line": fault.line, "says": fault.says} for fault in found.faults],
        "authorities": found.authorities,
    }


def _who(owner: KeyOwner) -> dict[str, str]:
    return {"name": owner.name, "kind": "jump host" if owner.jump_host else "device"}
