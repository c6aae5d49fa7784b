"""What a sync shows: what is done, what is left to do by hand, and all that was left out; never a secret."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backupflow.cli import import_view, output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from backupflow.core.importing import Changed, Difference, Wanted
    from backupflow.flows.syncing import Sync
    from backupflow.wiring.inventories import Address as Address  # noqa: PLC0414 - for who builds one

GROUPS_FROM = ("role", "tenant", "platform", "location", "cluster", "tag")
_MOST = 20  # lines of one kind for a person; JSON has all
_JUMP = "jump"


@dataclass(frozen=True, slots=True)
class Shown:
    """What is to be shown, and how; `waiting`: jump hosts that are not there, with who waits for them."""

    sync: Sync
    waiting: Mapping[str, Sequence[Wanted]]
    dry_run: bool
    lines: bool

    @property
    def wrong(self) -> bool:
        """Whether something that should be here is not, and a person must act."""
        return bool(self.sync.problems or self.sync.apart)


def doubt(sync: Sync) -> str:
    """The question before most of an inventory's devices are paused."""
    gone, source = len(sync.agreed.gone), sync.inventory.source
    wanted = len(sync.inventory.wanted)
    has = f"has {output.counted(wanted, 'device')}" if wanted else "has no RouterOS device at all"
    return f"{source} {has}, and {gone:,} of the {sync.ours:,} that came from it are gone. Pause them?"


def show(shown: Shown, *, as_json: bool) -> None:
    """What was done, or would be."""
    if as_json:
        output.as_document(_document(shown))
        return
    sync = shown.sync
    if shown.lines:
        for line in _lines(sync):
            output.say(line)
    if shown.dry_run and sync.doubtful:
        output.note(f"it would be asked first: {doubt(sync)}")
    _tell("to do", [_jump_command(sync, name, rows) for name, rows in shown.waiting.items()])
    _tell("left", [f"{row.name}: it came from {known.source or 'the command line'}; --adopt takes it over"
                   for row, known in sync.apart])  # fmt: skip
    _tell("left", _problems(sync))
    _tell("left out", [f"{it.says} ({it.where})" for it in sync.inventory.leftovers])
    if sync.kept:
        output.note(f"logins that are there stay as they are: {_some(sync.kept)}; --update-logins seals them anew")
    import_view.tell_refused(sync.refused)
    for name in sync.suspended:
        output.note(f"the login {name} is sealed anew and stays suspended: `credential resume {shlex.quote(name)}`")
    for file in sync.inventory.exposed:
        output.note(f"others may read {file}, which holds logins: chmod 600 it")
    if sync.inventory.with_secrets:
        output.note(f"logins are still in {_some(sync.inventory.with_secrets)}: remove them when they are not needed")
    output.say(_summary(sync) + ("; nothing was done (--dry-run)" if shown.dry_run else ""))


def _summary(sync: Sync) -> str:
    plan, source = sync.agreed, sync.inventory.source
    counts = {
        "added": len(plan.added),
        "changed": len(plan.changed),
        "unchanged": len(plan.unchanged),
        "paused": len(plan.gone),
        "resumed": len(plan.back),
        "logins made": sum(kind == "profile" for _, kind, _ in plan.makes),
        "logins sealed anew": len(sync.renews),
        "from elsewhere, left": len(sync.apart),
        "not possible": len({problem.line for problem in sync.problems}),
    }
    always = {"added", "changed", "unchanged", "paused"}
    return f"{source}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items() if count or what in always)


def _lines(sync: Sync) -> Iterator[str]:
    plan = sync.agreed
    yield from (f"make      {kind} {name}" for _, kind, name in plan.makes)
    yield from (f"added     {row.name}  {row.host}, port {row.port or 22}{_placed(row)}" for row in plan.added)
    yield from (f"changed   {it.known.name}  {_differences(it)}" for it in plan.changed)
    yield from (f"paused    {known.name}  {known.host}" for known in plan.gone)
    yield from (f"resumed   {known.name}  {known.host}" for known in plan.back)


def _placed(row: Wanted) -> str:
    said = ((name, getattr(row, name)) for name in ("profile", "group", "site", "jump"))
    return "".join(f", {name} {value}" for name, value in said if value)


def _differences(change: Changed) -> str:
    return "; ".join(f"{one.what} {one.old or 'none'} → {one.new or 'none'}" for one in change.differences)


def _jump_command(sync: Sync, name: str, rows: Sequence[Wanted]) -> str:
    host, port = sync.inventory.jumps.get(name, (name, 22))
    words = ["backupflow", "jump", "add", name, host, *(["--port", str(port)] if port != 22 else [])]  # noqa: PLR2004
    return (
        f"{len(rows):,} devices wait for the jump host {name}: `{shlex.join(words)} --profile NAME`, then this again "
        f"({_some([row.name for row in rows])})"
    )


def _problems(sync: Sync) -> list[str]:
    """Equal ones together; those of a jump host are told with their command."""
    together: dict[str, list[str]] = {}
    names = _names(sync)
    for problem in sync.problems:
        if problem.column != _JUMP:
            says = f"{problem.column}: {problem.says}" if problem.column else problem.says
            together.setdefault(says, []).append(names.get(problem.line, f"entry {problem.line}"))
    return [f"{output.counted(len(each), 'device')}: {says} ({_some(each)})" for says, each in together.items()]


def _names(sync: Sync) -> Mapping[int, str]:
    """Which device each entry is, and where it stands."""
    return {row.line: f"{row.name} in {sync.inventory.place(row.line)}" for row in sync.given.wanted}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")  # noqa: PLR2004


def _tell(kind: str, says: Sequence[str]) -> None:
    for each in says[:_MOST]:
        output.note(f"{kind}: {each}")
    if len(says) > _MOST:
        output.note(f"{kind}: … and {len(says) - _MOST:,} lines more: --json")


def _document(shown: Shown) -> dict[str, Any]:
    sync, plan, names = shown.sync, shown.sync.agreed, _names(shown.sync)
    return {
        "dry_run": shown.dry_run,
        "source": sync.inventory.source,
        "counts": plan.counts,
        "added": [_device(row) for row in plan.added],
        "changed": [
            {"name": it.known.name, "differences": [_difference(one) for one in it.differences]} for it in plan.changed
        ],
        "paused": [known.name for known in plan.gone],
        "resumed": [known.name for known in plan.back],
        "made": [{"kind": kind, "name": name} for _, kind, name in plan.makes],
        "logins_sealed_anew": [profile.name for profile in sync.renews],
        "logins_kept": list(sync.kept),
        "stay_blocked": sync.refused,
        "stay_suspended": list(sync.suspended),
        "from_elsewhere": [{"name": row.name, "source": known.source} for row, known in sync.apart],
        "waiting_for_jump_hosts": {name: [row.name for row in rows] for name, rows in shown.waiting.items()},
        "problems": [
            {"where": names[problem.line], "column": problem.column, "says": problem.says} for problem in sync.problems
        ],
        "left_out": [{"where": it.where, "says": it.says} for it in sync.inventory.leftovers],
        "files_with_logins": list(sync.inventory.with_secrets),
        "files_that_others_may_read": list(sync.inventory.exposed),
    }


def _device(row: Wanted) -> dict[str, Any]:
    names = ("name", "host", "port", "profile", "group", "site", "jump")
    return {name: getattr(row, name) for name in names}


def _difference(one: Difference) -> dict[str, Any]:
    return {"what": one.what, "old": one.old, "new": one.new}
