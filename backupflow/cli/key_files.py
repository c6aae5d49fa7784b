"""A file of compared fingerprints, given back: what is taken of it, and what is not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from backupflow.cli import key_view, output
from backupflow.cli.exits import Exit
from backupflow.cli.options import actor, confirm
from backupflow.cli.progress import progress
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupflow.core.inventory import DeviceRecord, Update
    from backupflow.core.key_file import Compared
    from backupflow.core.model import TenantId
    from backupflow.flows.hostkeys import Taken

_SHOWN = 200  # lines that were not taken


def by_file(
    decide: Callable[[DeviceRecord, str], Update | None],
    verb: str,
    tenant_id: TenantId,
    said: Sequence[Compared],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Do what each line says, and tell what was not taken; exit code 1 if anything was not."""
    from backupflow.core.pending import outbreaks
    from backupflow.flows.hostkeys import take

    desk = wiring().key_desk("enroller")
    if verb == "accept":
        for outbreak in outbreaks(desk.pending(tenant_id), desk.at_sites(tenant_id)):
            output.note(key_view.outbreak_line(outbreak))
    confirm(f"{verb.capitalize()} the keys of {output.counted(len(said), 'device')}?", yes=yes)
    done: list[Taken] = []
    with progress(verb, len(said), quiet=as_json) as moved:
        for one in take(wiring().devices("enroller"), tenant_id, said, decide, actor()):
            done.append(one)
            moved(1)
    _summary(verb, done, as_json=as_json)


def read(file: str) -> Sequence[Compared]:
    """The lines of a file, or of stdin; the command ends here if any of them is malformed."""
    from backupflow.core import key_file

    try:
        if file == "-":
            data = sys.stdin.buffer.read(key_file.MOST_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(key_file.MOST_BYTES + 1)
    except OSError as exc:
        output.stop(Exit.NOT_FOUND, f"{file} cannot be read: {exc.strerror}")
    if len(data) > key_file.MOST_BYTES:
        output.stop(Exit.DATA, f"{file}: more than {key_file.MOST_BYTES} bytes; nothing was taken")
    try:
        said, faults = key_file.read(data.decode("utf-8"))
    except UnicodeDecodeError:
        output.stop(Exit.DATA, f"{file}: not UTF-8 text; nothing was taken")
    for fault in faults:
        output.note(f"{file}:{fault.line}: {fault.says}")
    if faults or not said:
        what = f"{len(faults)} lines cannot be understood" if faults else "it names no device"
        output.stop(Exit.DATA, f"{file}: {what}; nothing was taken")
    return said


def _summary(verb: str, done: Sequence[Taken], *, as_json: bool) -> None:
    refused = [one for one in done if one.why]
    taken = [one for one in done if one.changed and one.pinned]
    expected = [one for one in done if one.changed and not one.pinned]
    so_already = [one for one in done if not one.why and not one.changed]
    if as_json:
        names = {"pinned": taken, "expected": expected, "unchanged": so_already}
        told = {kind: [one.said.name for one in some] for kind, some in names.items()}
        not_taken = [{"line": one.said.line, "device": one.said.name, "why": one.why} for one in refused]
        output.as_document({**told, "not_taken": not_taken})
    else:
        for one in refused[:_SHOWN]:
            output.say_long(f"line {one.said.line}: {one.said.name}: {one.why}")
        if len(refused) > _SHOWN:
            output.say(f"and {len(refused) - _SHOWN} more")
        counts = [(len(taken), "pinned"), (len(expected), "expected, never contacted yet")]
        counts += [(len(so_already), "so already"), (len(refused), "not taken")]
        output.say(f"{verb}: " + ", ".join(f"{count} {words}" for count, words in counts if count))
    if refused:
        raise typer.Exit(Exit.WRONG)
