"""What an import shows of its plan: counts, the lines of devices that are another, and all of it as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backupflow.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.importing import Changed, Known, Plan, Problem, Wanted

_MOST_REMARKS = 20
_MOST_MISSING = 20
_ADDED = ("port", "profile", "group", "site", "jump", "fingerprint", "legacy_ssh", "interval", "cron")


@dataclass(frozen=True, slots=True)
class Shown:
    """What is to be shown, and how; `lines`: one for each device that is another."""

    plan: Plan
    problems: tuple[Problem, ...]
    sha256: str | None  # of the file; never of one that may hold logins: it would confirm guesses of them
    dry_run: bool
    lines: bool


def show(shown: Shown, *, as_json: bool) -> None:
    """The plan, or what was done of it."""
    if as_json:
        output.as_document(document(shown))
        return
    plan = shown.plan
    if shown.lines:
        for what, device, says in _lines(plan):
            output.say(f"{what:<9} {device}{f'  {says}' if says else ''}")
        _show_missing(plan)
    for remark in plan.remarks[:_MOST_REMARKS]:
        output.note(f"to be known: {remark}")
    if len(plan.remarks) > _MOST_REMARKS:
        output.note(f"to be known: … and {len(plan.remarks) - _MOST_REMARKS:,} lines more: --json")
    tell_refused(len(plan.stay_refused))
    output.say(_summary(plan) + ("; nothing was done (--dry-run)" if shown.dry_run else ""))


def tell_refused(devices: int) -> None:
    """Who gets another login and is not tried with it, and how that is done."""
    if devices:
        output.note(
            f"{devices:,} of the devices whose login is written stay blocked, since one was refused: an import ends no "
            "block. If it is right now: `device unblock --where blocked=authentication_failed`"
        )


def document(shown: Shown) -> dict[str, Any]:
    """The same as JSON; of a login never more than that it is another."""
    plan = shown.plan
    return {
        "dry_run": shown.dry_run,
        "sha256": shown.sha256,
        "counts": plan.counts,
        "stay_blocked": len(plan.stay_refused),
        "added": [{"tenant": row.tenant, "name": row.name, "line": row.line} for row in plan.added],
        "changed": [_change(change) for change in plan.changed],
        "differing": [_change(change) for change in plan.differing],
        "missing": [_which(known) for known in plan.missing],
        "gone": [_which(known) for known in plan.gone],
        "made": [{"tenant": tenant, "kind": kind, "name": name} for tenant, kind, name in plan.makes],
        "problems": [_problem(problem) for problem in shown.problems],
        "remarks": [_problem(remark) for remark in plan.remarks],
    }


def _summary(plan: Plan) -> str:
    counts = {
        "added": len(plan.added),
        "changed": len(plan.changed),
        "differ (left: --update changes them)": len(plan.differing),
        "unchanged": len(plan.unchanged),
        "missing": len(plan.missing) - len(plan.gone),
        "removed": len(plan.gone),
    }
    always = {"added", "changed", "unchanged", "missing"}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count or what in always)


def _lines(plan: Plan) -> Iterator[tuple[str, str, str]]:
    yield from (("make", f"{kind} {name}", "") for _, kind, name in plan.makes)
    yield from (("added", row.name, _new(row)) for row in plan.added)
    yield from (("changed", change.known.name, _differences(change)) for change in plan.changed)
    yield from (("differs", change.known.name, _differences(change)) for change in plan.differing)
    yield from (("removed", known.name, known.host) for known in plan.gone)


def _show_missing(plan: Plan) -> None:
    """Some of those that nothing happens to: a file of a few may be meant."""
    gone = {known.device_id for known in plan.gone}
    stay = [known for known in plan.missing if known.device_id not in gone]
    for known in stay[:_MOST_MISSING]:
        output.say(f"{'missing':<9} {known.name}  {known.host}")
    if len(stay) > _MOST_MISSING:
        output.say(f"{'missing':<9} … and {len(stay) - _MOST_MISSING:,} more: --json")


def _new(row: Wanted) -> str:
    said = ((name, getattr(row, name)) for name in _ADDED)
    words = [row.host or "", *(f"{name} {_word(value)}" for name, value in said if value is not None)]
    return ", ".join([*words, *(["a login of its own"] if row.password is not None else [])])


def _differences(change: Changed) -> str:
    return "; ".join(
        "login set anew"
        if one.old is None and one.new is None
        else f"{one.what} {one.old or 'none'} → {one.new or 'none'}"
        for one in change.differences
    )


def _word(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.15g}s"
        case _:
            return str(value)


def _change(change: Changed) -> dict[str, Any]:
    differences = [{"what": one.what, "old": one.old, "new": one.new} for one in change.differences]
    return {**_which(change.known), "line": change.wanted.line, "differences": differences}


def _which(known: Known) -> dict[str, Any]:
    return {"tenant": known.tenant, "name": known.name}


def _problem(problem: Problem) -> dict[str, Any]:
    return {"line": problem.line, "column": problem.column, "says": problem.says}
