"""`backupflow device test`: what a collection of a device would meet, step by step; nothing is stored."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

from backupflow.cli import asking, output
from backupflow.cli.asking import Chosen, Names, Timeout, Verbose
from backupflow.cli.exits import Exit
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, InTenant, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.ledger import Step
    from backupflow.core.overview import Asked

LONGEST = output.LONGEST_DETAIL
SHOWN = 30  # devices in which all is well: of more only how many there are
STYLES = {"well": "green", "ok": "green", "not reached": "dim", "WRONG": "red"}
_RESULTS = {True: "ok", False: "WRONG", None: "not reached"}


@with_groups
def try_out(
    devices: Names = None,
    *,
    chosen: Chosen,
    verbose: Verbose = False,
    timeout: Timeout = None,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Log in and export as a collection does, say what was found, and store nothing.

    Each step in its order: jump host, name, reach, host key, login, rights, completeness, version,
    secrets, size. A login that is refused and a changed host key block the device and raise an
    alarm, as in a collection; a first key is trusted as ever. No snapshot is stored, and no due time moves. A paused
    device can be tested by its name. Exit code 1 says that one is not well.

    \b
    Examples:
      backupflow device test core-1
      backupflow device test --all
      backupflow device test --site north --json
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.ledger import Kind

    patience = seconds(timeout)
    numbers = asking.ask(Kind.TEST, devices, chosen, tenant)
    asked = asking.watch(numbers, patience, quiet=as_json)
    if as_json:
        output.as_document({"summary": summary(asked), "tests": [document(one) for one in asked]})
    elif verbose or len(asked) == 1:
        for number, one in enumerate(asked):
            if number:
                output.say("")
            _show_steps(one)
    else:
        _show_table(asked, 0 if devices else asking.blocked(chosen, tenant))
    if not all(one.succeeded for one in asked):
        raise typer.Exit(Exit.WRONG)


def document(one: Asked) -> dict[str, Any]:
    """A test as JSON."""
    return {
        "device": one.device,
        "ended": one.ended,
        "well": one.succeeded,
        "state": one.state,
        "code": None if one.succeeded else asking.why(one),
        "detail": (one.answer if one.refused else one.detail) or None,
        "seconds": one.seconds,
        "steps": [
            {"step": step.name, "well": step.well, "code": step.code or None, "says": step.says, **_facts(step)}
            for step in one.report
        ],
    }


def summary(asked: Sequence[Asked]) -> dict[str, Any]:
    """How many are well, and how many are not for each reason."""
    wrong = Counter(asking.why(one) for one in asked if not one.succeeded)
    return {"devices": len(asked), "well": sum(one.succeeded for one in asked), "not_well": dict(wrong.most_common())}


def in_words(asked: Sequence[Asked], well: str = "well") -> str:
    """The same in one line: `1,792 well, 5 authentication_failed`."""
    counted = summary(asked)
    return ", ".join([f"{counted['well']:,} {well}", *(f"{n:,} {why}" for why, n in counted["not_well"].items())])


def remedy(one: Asked) -> str:
    """What is wrong, and what to do."""
    if one.refused:
        return f"refused: {asking.refusal(one)}"
    if not one.ended:
        return "it has not ended yet" if one.state else "waiting for its turn"
    if one.state == "lost":
        return "its worker vanished: test it again"
    if one.state == "withdrawn":
        return f"not tried: {asking.withdrawal(one)}"
    return asking.failure(one)


def _facts(step: Step) -> dict[str, Any]:
    return {"facts": dict(step.facts)} if step.facts else {}


def _show_table(asked: Sequence[Asked], left_out: int) -> None:
    """Those that are not well first; the others too if they are few."""
    shown = [one for one in asked if not one.succeeded]
    shown += [one for one in asked if one.succeeded] if len(asked) <= SHOWN else []
    if shown:
        output.show_table(("device", "step", ""), [_row(one) for one in shown], STYLES)
        output.say("")
    output.say_long(in_words(asked))
    if left_out:
        output.say(f"left out, since they are blocked: {left_out:,}; see `status`")
    if any(one.report and not one.succeeded for one in asked):
        output.say("all steps of one: `device test NAME`; of these: --verbose")


def _row(one: Asked) -> tuple[str, str, str]:
    if one.succeeded:
        return one.device, "well", _gist(one)
    failed = _first_failure(one)
    return one.device, failed.name if failed else "–", remedy(one)


def _gist(one: Asked) -> str:
    """A test in which all is well, in a line."""
    found = {step.name: step.facts for step in one.report}
    version, secrets, size = (found.get(name, {}) for name in ("version", "secrets", "size"))
    told = [output.told(str(version[name])) for name in ("vendor", "version", "model") if name in version]
    words = " ".join(word for word in told if word)
    return f"{words}, secrets {secrets.get('secrets', '–')}, {size.get('bytes', 0):,} bytes, {_seconds(one)}"


def _show_steps(one: Asked) -> None:
    if not one.report and not one.succeeded:
        output.say_long(f"{one.device}: {remedy(one)}")
        return
    failed = _first_failure(one)
    at = f" at {failed.name}" if failed else ""
    took = f", {_seconds(one)}" if one.seconds is not None else ""
    output.say(f"{one.device}: " + (f"well{took}" if one.succeeded else f"{asking.why(one)}{at}{took}"))
    if one.report:
        output.show_table(("step", "", ""), [_step(step) for step in one.report], STYLES)
    if not one.succeeded:
        output.say_long(_remedy_of_step(one))


def _remedy_of_step(one: Asked) -> str:
    step, means = asking.next_of(one), asking.meaning(one.code)
    words = [f"{one.code}: {means}"] if means else []
    return " ".join([*words, *([f"Next: {step.removeprefix('then ')}"] if step else [])])


def _step(step: Step) -> tuple[str, str, str]:
    words = output.told(step.says, LONGEST) or ""
    return step.name, _RESULTS[step.well], f"{step.code}: {words}".rstrip(": ") if step.code else words


def _first_failure(one: Asked) -> Step | None:
    from backupflow.core.report import first_failure

    return first_failure(one.report)


def _seconds(one: Asked) -> str:
    seconds = one.seconds or 0.0
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
