"""`backupflow hostkey scan`: which host keys devices show, without logging in to any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from backupflow.cli import asking, output
from backupflow.cli.asking import Chosen, Names, Timeout, Verbose
from backupflow.cli.exits import Exit
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, InTenant, seconds
from backupflow.cli.testing import remedy, summary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupflow.core.overview import Asked

SHOWN = 30  # devices with nothing new: of more only how many there are
_QUIET = {"pinned"}  # what nobody has to look at


@with_groups
def scan(
    devices: Names = None,
    *,
    chosen: Chosen,
    verbose: Verbose = False,
    timeout: Timeout = None,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Look which host keys devices show: connect and shake hands, and never log in.

    What is shown is compared with the pinned key, or with those that are expected. A key that is not
    pinned is kept on record, for `hostkey pending`; none is trusted by a look, and none blocks:
    the next collection does. Paused and blocked devices can be scanned too, and those without a
    login. Only the login of a jump host is used. Exit code 1 says that a key has changed, or that
    a device could not be scanned.

    \b
    Examples:
      backupflow hostkey scan core-1
      backupflow hostkey scan --group access --json
      backupflow hostkey scan --all
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.ledger import Kind

    patience = seconds(timeout)
    numbers = asking.ask(Kind.SCAN, devices, chosen, tenant)
    asked = asking.watch(numbers, patience, quiet=as_json)
    if as_json:
        output.as_document({"summary": summary(asked), "scans": [document(one) for one in asked]})
    else:
        _show(asked, everyone=verbose or len(asked) <= SHOWN)
    if not all(one.succeeded for one in asked):
        raise typer.Exit(Exit.WRONG)


def document(one: Asked) -> dict[str, Any]:
    """A scan as JSON."""
    return {
        "device": one.device,
        "ended": one.ended,
        "well": one.succeeded,
        "code": None if one.succeeded else asking.why(one),
        "detail": (one.answer if one.refused else one.detail) or None,
        "seconds": one.seconds,
        "key": dict(_key(one)) or None,
    }


def _show(asked: Sequence[Asked], *, everyone: bool) -> None:
    for one in asked:
        key = _key(one)
        if everyone or _standing(one) not in _QUIET or "shared_with" in key:
            _show_one(one, key)
    counted: dict[str, int] = {}
    for one in asked:
        counted[_standing(one)] = counted.get(_standing(one), 0) + 1
    output.say_long(", ".join(f"{n:,} {standing}" for standing, n in counted.items()))
    if counted.keys() & {"first", "changed"}:
        output.say("kept on record: `hostkey pending`")


def _show_one(one: Asked, key: Mapping[str, str | int]) -> None:
    if not key:
        output.say_long(f"{one.device}: {remedy(one)}")
        return
    output.say(f"{one.device}: {key['key_type']}")
    output.say(f"         {key['fingerprint']}")
    words = next(step.says for step in one.report if step.name == "key").partition(": ")[2]
    output.say_long(f"         {words}")


def _key(one: Asked) -> Mapping[str, str | int]:
    return next((step.facts for step in one.report if step.name == "key"), {})


def _standing(one: Asked) -> str:
    return str(_key(one).get("standing") or asking.why(one))
