"""What could not be opened, told so that nobody takes it for the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from backupflow.cli import output
from backupflow.cli.exits import Exit

if TYPE_CHECKING:
    from backupflow.flows.history import Damaged, GivenUp

T = TypeVar("T")


def whole(outcome: T | Damaged | GivenUp) -> T:
    """What was opened, else the end of the command."""
    from backupflow.flows import history

    if isinstance(outcome, history.GivenUp):
        what = f"snapshot {outcome.snapshot.number} of {outcome.snapshot.device_name}"
        says = output.given_up(outcome.snapshot.given_up_at)
        output.stop(Exit.UNAVAILABLE, f"{what} is {says}: nobody can open it; newer ones: see `snapshots`")
    if isinstance(outcome, history.Damaged):
        what = f"snapshot {outcome.snapshot.number} of {outcome.snapshot.device_name}"
        output.stop(
            Exit.DATA,
            f"DAMAGED: {what} is not what was collected: {outcome.why}. Nothing was written, and an alarm stands: "
            "restore the database from a backup",
        )
    return outcome
