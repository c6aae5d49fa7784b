"""What `device show` says of a device whose last collection failed: its alarms, what to do, when it is tried again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from backupflow.cli import output
from backupflow.cli.asking import meaning
from backupflow.cli.standing_lines import to_do
from backupflow.core.model import State
from backupflow.core.next_step import next_step
from backupflow.core.outages import device_scope

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from backupflow.core.inventory import DeviceRecord
    from backupflow.core.overview import Alarm, LastCollection

_FAILED = frozenset({State.FAILED, State.LOST})


def after_failure(record: DeviceRecord, last: LastCollection | None, due: datetime | None) -> str | None:
    """What the failure advises, when it is tried again by itself, how at once, and its page; None if it did not fail.

    `due`: when it is collected next, None: nobody comes by himself.
    """
    if last is None or last.state not in _FAILED or record.status != "active":
        return None
    means = meaning(last.code)
    step = next_step(last.code, record.name, by_key=record.method == "key") or means.partition("; ")[2] or means
    says = [step.rstrip(".")] if step else []
    return to_do("; ".join([*says, _again(record, due)]), last.code)


def _again(record: DeviceRecord, due: datetime | None) -> str:
    force = " --force" if record.met.wary(record.now) else ""
    at_once = f"at once with `backup {shlex.quote(record.name)} --wait{force}`"
    if due is None:
        return f"nobody tries it again by himself, {at_once}"
    when = f"in {output.span(due - record.now)}" if due > record.now else "now"
    return f"it is tried again by itself {when}, {at_once}"


def raised(record: DeviceRecord, alarms: Iterable[Alarm]) -> str | None:
    """The alarms of it that stand."""
    scope = device_scope(record.device_id)
    return (
        ", ".join(
            f"{alarm.number} {alarm.code} since {output.in_words(alarm.since)}"
            for alarm in alarms
            if alarm.scope == scope
        )
        or None
    )
