"""`backupflow verify`: what is kept is still what was collected."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit, exit_of
from backupflow.cli.options import AsJson, InTenant, actor
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.core.verification import Finding, Verified, Wanted
    from backupflow.flows.verify import Watching

    Moved = Callable[[tuple[int, int]], None]

_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%?")
_MOST_LISTED = 10_000  # findings in one JSON document
_REMEDY = "what to do: docs/runbook/snapshot_damaged.md"


def verify(
    sample: Annotated[
        str, typer.Option(metavar="N%", help="Open this share, the longest unverified first; the current ones always.")
    ] = "100%",
    device: Annotated[str | None, typer.Option(metavar="NAME", help="Of this device only.", show_default=False)] = None,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Open what is kept and check that it is what was collected.

    Each export must open for its device, name the collection that brought it, and have its hash; each history must
    agree with itself. What does not is listed, an alarm stands for it until it verifies again, and the exit code is 1.
    A job does the same every day for a share of all. Interrupted, the next run goes on with what was not looked at for
    longest.

    \b
    Examples:
      backupflow verify
      backupflow verify --sample 5%
      backupflow verify --device core-1 --json
    """  # noqa: D301 - \b keeps the lines of the examples
    share = _share(sample)
    wanted = _wanted(share, device, tenant)
    listed: list[Finding] = []
    with _progress(quiet=as_json) as moved:
        done = _verify(wanted, _watching(listed, moved, as_json=as_json))
    if as_json:
        output.as_document(_document(done, listed))
    else:
        output.say(_summary(done))
    if done.trouble is not None:
        output.note(f"backupflow: not all could be verified: {done.trouble}")
        raise typer.Exit(exit_of(done.trouble))
    if done.damaged:
        raise typer.Exit(Exit.WRONG)


def _share(sample: str) -> float:
    found = _PERCENT.fullmatch(sample.strip())
    share = float(found[1]) / 100 if found else -1.0
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"not a share such as 5%: {sample!r}")
    return share


def _wanted(share: float, device: str | None, tenant: str) -> Wanted:
    from backupflow.core.verification import Wanted

    devices = wiring().devices("reader")
    tenant_id = devices.tenant(tenant)
    device_id = None if device is None else devices.find(tenant_id, device).device_id
    return Wanted(share, tenant_id, device_id, actor=actor())


def _verify(wanted: Wanted, watching: Watching) -> Verified:
    from backupflow.flows import verify as flow

    return flow.verify(wiring().verify_ports(actor()), wanted, watching)


def _watching(listed: list[Finding], moved: Moved, *, as_json: bool) -> Watching:
    from backupflow.flows.verify import Watching

    def found(finding: Finding) -> None:
        if not as_json:
            output.say(words(finding))
        elif len(listed) < _MOST_LISTED:
            listed.append(finding)

    return Watching(found, moved)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Moved]:
    """How far it is, on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        "verifying", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True),
        transient=True, redirect_stdout=False, redirect_stderr=False,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=None)
        yield lambda far: bar.update(task, completed=far[0], total=far[1])


def words(finding: Finding) -> str:
    """One finding as one line: which one it is, what is wrong, and what to do."""
    which = "what was kept aside of collection" if finding.aside else "snapshot"
    when = output.in_words(finding.collected_at)
    if not finding.seq:
        return f"DAMAGED: {finding.device_name}: {finding.why}; {_REMEDY}"
    return f"DAMAGED: {finding.device_name}, {which} {finding.seq} ({when}): {finding.why}; {_REMEDY}"


def _summary(done: Verified) -> str:
    damaged = f"{done.damaged} damaged" if done.damaged else "nothing is damaged"
    given_up = f"; unreadable, given up with their keys: {done.unreadable}" if done.unreadable else ""
    keyless = f"; tenants without their keys: {done.without_keys}" if done.without_keys else ""
    return f"histories checked: {done.devices}, exports opened: {done.opened}, {damaged}{given_up}{keyless}"


def _document(done: Verified, listed: list[Finding]) -> dict[str, Any]:
    return {
        "histories": done.devices,
        "opened": done.opened,
        "damaged": done.damaged,
        "unreadable": done.unreadable,
        "tenants_without_keys": done.without_keys,
        "complete": done.complete,
        "trouble": done.trouble.code if done.trouble else None,
        "findings": [
            {
                "device": finding.device_name,
                "snapshot": finding.seq,
                "collected_at": finding.collected_at,
                "aside": finding.aside,
                "why": finding.why,
                "runbook": "snapshot_damaged",
            }
            for finding in listed
        ],
    }
