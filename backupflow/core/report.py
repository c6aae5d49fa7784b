"""What a test or a scan of a device found, step by step, in the order in which it can be found out.

A step is well, or it failed, or the test did not come to it. What it says may be a router's words: whoever shows it
makes it visible first.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from backupflow.core.ledger import Step
from backupflow.errors import (
    AlgorithmsIncompatible,
    BackupflowError,
    CommandRejected,
    ConnectionRefused,
    DeviceTimeout,
    DeviceUnreachable,
    HostKeyMismatch,
    HostKeyUnapproved,
    JumpHostBlocked,
    JumpHostUnreachable,
    LoginUnusable,
    NameUnresolved,
    SshDowngraded,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


class Stage(StrEnum):
    """The name of a step."""

    JUMP = "jump"  # the jump host, where there is one
    RESOLVE = "resolve"
    REACH = "reach"  # something speaks SSH there
    KEY = "key"
    LOGIN = "login"
    RIGHTS = "rights"  # the user may export
    COMPLETENESS = "completeness"
    VERSION = "version"  # and which router it is
    SECRETS = "secrets"
    SIZE = "size"


TEST = tuple(Stage)
SCAN = (Stage.JUMP, Stage.RESOLVE, Stage.REACH, Stage.KEY)
SECRETS_HIDDEN = "secrets_hidden"  # code of a step, and of an alarm
_AT: Mapping[type[BackupflowError], Stage] = {
    JumpHostUnreachable: Stage.JUMP,
    JumpHostBlocked: Stage.JUMP,
    NameUnresolved: Stage.RESOLVE,
    AlgorithmsIncompatible: Stage.KEY,
    SshDowngraded: Stage.KEY,
    HostKeyMismatch: Stage.KEY,
    HostKeyUnapproved: Stage.KEY,
    LoginUnusable: Stage.LOGIN,
    CommandRejected: Stage.RIGHTS,
}
_OF_THE_DEVICE = (DeviceUnreachable, ConnectionRefused, DeviceTimeout)  # its jump host was passed


# How a pin came about, after "trusted by".
HOW_IN_WORDS = {
    "first_use": "first use",
    "approved": "approval",
    "accepted": "acceptance",
    "import": "an import",
    "known_hosts": "a known_hosts file",
}


def stage_of(failure: BackupflowError, passed: Collection[Stage], stages: Sequence[Stage] = TEST) -> Stage:
    """At which step it failed: some failures say it themselves, the others by how far it came."""
    told = _AT.get(type(failure))
    if told is not None and told in stages:
        return told
    if Stage.LOGIN in passed:
        return Stage.COMPLETENESS
    if Stage.REACH not in passed and isinstance(failure, _OF_THE_DEVICE):
        return Stage.REACH
    return next((stage for stage in stages if stage not in passed), stages[-1])


def steps(
    stages: Sequence[Stage], passed: Collection[Stage], found: Mapping[Stage, Step], failed: Step | None = None
) -> tuple[Step, ...]:
    """All steps: what was found at each that was passed; nothing is known of what comes after the one that failed."""
    end = stages.index(Stage(failed.name)) if failed else len(stages)
    report = [
        found.get(stage, Step(stage, well=True if stage in passed else None))
        if number < end
        else Step(stage, well=None)
        for number, stage in enumerate(stages)
    ]
    if failed:
        report[end] = failed
    return tuple(report)


def first_failure(report: Sequence[Step]) -> Step | None:
    """The step that is not well, the first of them."""
    return next((step for step in report if step.well is False), None)


def with_key(report: Sequence[Step], how: str | None, other: str | None, others: int) -> tuple[Step, ...]:
    """Add what is on record of the key that was seen: how it came to be trusted, and who else shows the same."""
    told = {"trusted_how": how, "shared_with": other, "shared_by": others + 1 if others else None}
    facts = {name: value for name, value in told.items() if value is not None}
    words = f", trusted by {HOW_IN_WORDS.get(how, how)}" if how else ""
    if other:
        words += f"; the same key as {other}" + (f" and {others - 1} more" if others > 1 else "")
    return tuple(
        replace(step, says=step.says + words, facts={**step.facts, **facts}) if step.name == Stage.KEY else step
        for step in report
    )


def from_rows(rows: object) -> tuple[Step, ...]:
    """A report as it is kept, see adapters.db.endings; of anything else nothing."""
    if not isinstance(rows, list):
        return ()
    return tuple(
        Step(
            str(row.get("name")),
            row.get("well"),
            str(row.get("says", "")),
            str(row.get("code", "")),
            row.get("facts") or {},
        )
        for row in rows
        if isinstance(row, dict)
    )
