"""What there is beside the install itself, for the day on which it is gone: a line if that is too little."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from backupflow.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.escrow import Escrow
    from backupflow.core.overview import Overview


def copy_lines(overview: Overview) -> Iterator[str]:
    """A line as long as there is no young backup of the system, and one for each escrow that is late."""
    copies = overview.copies
    if copies is None:
        return
    if copies.lacks_backup:
        age = f"the newest is {output.span(copies.now - copies.backup_at)} old" if copies.backup_at else "there is none"
        yield f"SYSTEM BACKUP  {age}: on another disk or machine, `backup-system create FILE` (docs/backup.md)"
    for escrow in copies.late:
        since = output.in_words(escrow.filed_at or escrow.enabled_at)
        yield (
            f"ESCROW LATE  {escrow.tenant}: no file since {since} – "
            f"`escrow run --tenant {shlex.quote(escrow.tenant)}` says why"
        )


def copies_document(overview: Overview) -> dict[str, Any]:
    """The same as JSON; keys of recipients are public."""
    copies = overview.copies
    if copies is None:
        return {"system_backup": None, "escrow": []}
    return {
        "system_backup": {"newest_at": copies.backup_at, "overdue": copies.backup_overdue},
        "escrow": [escrow_document(one) for one in copies.escrows],
    }


def escrow_document(escrow: Escrow) -> dict[str, Any]:
    """One tenant's."""
    return {
        "tenant": escrow.tenant,
        "recipients": list(escrow.recipients),
        "enabled_by": escrow.enabled_by,
        "enabled_at": escrow.enabled_at,
        "written_at": escrow.written_at,
        "filed_at": escrow.filed_at,
        "asked_at": escrow.asked_at,
        "devices": escrow.devices,
        "bytes": escrow.bytes,
        "late": escrow.is_late,
    }
