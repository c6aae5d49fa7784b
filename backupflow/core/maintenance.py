"""Maintenance by a person's word: until when nobody comes by himself, of a device, a group, a site or a tenant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from backupflow.core.inventory import Update
from backupflow.core.scopes import ScopeUpdate
from backupflow.core.timetable import UTC_NAME, zone_of
from backupflow.core.windows import ENDED, LONGEST_BY_HAND, after_edit, by_hand, read_windows, until
from backupflow.errors import Conflict, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.inventory import DeviceRecord
    from backupflow.core.scopes import ScopeRecord
    from backupflow.core.windows import Window

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?:\s+(\S+))?")


@dataclass(frozen=True, slots=True)
class Wish:
    """For how long from now, or until when, as somebody writes it; neither: it is over."""

    lasts: timedelta | None = None
    until: str | None = None

    def end(self, now: datetime) -> datetime | None:
        """When it is over; InputInvalid if that is no time, past, or too far ahead."""
        if self.lasts is None and self.until is None:
            return None
        end = now + self.lasts if self.lasts is not None else read_until(self.until or "", now)
        if not now < end <= now + LONGEST_BY_HAND:
            raise InputInvalid(
                f"maintenance by hand ends within {LONGEST_BY_HAND.days} days from now; what rests for longer is paused"
            )
        return end


def read_until(text: str, now: datetime) -> datetime:
    """`05:00`, the next one, with a time zone behind it where it is not UTC; or a time as ISO 8601 with its offset."""
    found = _CLOCK.fullmatch(text.strip())
    try:
        if found is None:
            at = datetime.fromisoformat(text.strip())
            if at.tzinfo is None:
                raise ValueError
            return at.astimezone(UTC)
        local = now.astimezone(zone_of(found[3] or UTC_NAME))
        at = local.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0, fold=0)
    except (ValueError, OverflowError):
        raise InputInvalid(
            f"{text[:40]!r} is no time: 05:00, '05:00 Europe/Berlin' or 2026-11-22T05:00:00Z, with its offset"
        ) from None
    return (at if at.astimezone(UTC) > now else at + timedelta(days=1)).astimezone(UTC)


def device_maintained(record: DeviceRecord, wish: Wish) -> Update | None:
    """What a word on a device changes; Conflict if it rests by the word of one of its scopes, which it cannot end."""
    end = wish.end(record.now)
    others = record.maintenance_until is not None and record.maintenance_until != record.own_maintenance_until
    if end is None and others:
        raise Conflict(f"{record.name} is in maintenance with its group, site or tenant: end that, or `backup` it")
    said = _becomes(record.settings, record.own_maintenance_until, end, record.now)
    if said == record.own_maintenance_until:
        return None
    return Update("device_maintenance", _told(end), {"maintenance_until": said})


def scope_maintained(record: ScopeRecord, wish: Wish) -> ScopeUpdate | None:
    """The same of a group, a site or a tenant, for all of its devices."""
    end = wish.end(record.now)
    said = _becomes(record.settings, record.maintenance_until, end, record.now)
    if said == record.maintenance_until:
        return None
    detail = {record.kind.value: record.name, **_told(end)}
    return ScopeUpdate(f"{record.kind}_maintenance", detail, {"maintenance_until": said})


def with_windows(
    before: Mapping[str, Any], after: Mapping[str, Any] | None, said: datetime | None, now: datetime
) -> dict[str, Any]:
    """What of its columns becomes another when a scope's windows do: what is open ends with its window."""
    if after is None or before.get("maintenance") == after.get("maintenance"):
        return {}
    found = after_edit(windows_of(before), windows_of(after), said, now)
    return {} if found == said else {"maintenance_until": found}


def windows_of(settings: Mapping[str, Any]) -> tuple[Window, ...]:
    """The windows of a scope; none, if they make no sense."""
    try:
        return read_windows(tuple(settings.get("maintenance") or ()))
    except (InputInvalid, TypeError, AttributeError):
        return ()


def _becomes(
    settings: Mapping[str, Any], said: datetime | None, end: datetime | None, now: datetime
) -> datetime | None:
    """A window that is open lasts as long as it does; ended by hand, it does not open again."""
    window = until(windows_of(settings), now)
    if end is not None:
        return max(by_hand(end), window or end)
    if window is not None:
        return ENDED
    return said if said is None or said <= now else now


def _told(end: datetime | None) -> dict[str, Any]:
    return {"until": end.isoformat()} if end else {"ended": True}
