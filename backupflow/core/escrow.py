"""What is written for the day on which nothing of ours is left: for whom, under which names, and when it is late."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.model import TenantId

ESCROW: Final = "escrow"  # the job
# What was written so lately is not written again by the job: less than a day, so that each daily run writes one.
WINDOW: Final = timedelta(hours=20)
LATE: Final = timedelta(days=2)
# The longest name that fits the oldest form of tar, which everything unpacks, with `-`, an id and `.rsc` behind it.
_LONGEST_NAME: Final = 59
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")
_FILE: Final = re.compile(r"escrow-([0-9]{4}-[0-9]{2}-[0-9]{2})(-[0-9]{6}(?:-[0-9]{3,})?)?(\.incomplete)?\.tar\.age")


@dataclass(frozen=True, slots=True)
class Escrow:
    """Who may open what is written of a tenant, and where it is written; `folder` None: where the settings say.

    `now` is when this was looked up. `written_at`, `devices`, `bytes` are those of the newest whole file, `filed_at` is
    that of the newest of any kind; `asked_at` is set while somebody waits for one.
    """

    tenant_id: TenantId
    tenant: str
    recipients: tuple[str, ...]
    folder: str | None
    enabled_by: str
    enabled_at: datetime
    now: datetime
    written_at: datetime | None = None
    devices: int | None = None
    bytes: int | None = None
    filed_at: datetime | None = None
    asked_at: datetime | None = None

    @property
    def is_due(self) -> bool:
        """Whether the job has to write it. A time that lies in the future is of a clock that stood ahead."""
        if self.written_at is None or self.asked_at is not None:
            return True
        return not timedelta(0) <= self.now - self.written_at < WINDOW

    @property
    def is_late(self) -> bool:
        """Whether there should be a younger file: of any kind, since what one lacks has an alarm of its own."""
        return self.now - (self.filed_at or self.enabled_at) > LATE

    @property
    def place(self) -> str:
        """The folder of the tenant within the one for all: a name may be given to another tenant some day."""
        return f"{safe_name(self.tenant)}-{str(self.tenant_id)[:8]}"

    @property
    def scope(self) -> str:
        """Of the alarm that no file could be written."""
        return f"tenant {self.tenant_id} escrow"

    @property
    def scope_of_devices(self) -> str:
        """Of the alarm that a file was written which lacks devices."""
        return f"{self.scope} devices"


def safe_name(name: str) -> str:
    """A name as every file system and archiver bears it: no slash, no control character, no dot before it.

    It need not be unique: an id stands behind it, and the inventory has the name as it is.
    """
    plain = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    return _ODD.sub("_", plain)[:_LONGEST_NAME].lstrip(".-") or "_"


def configuration_name(name: str, device_id: UUID) -> str:
    """The name of a configuration within the file."""
    return f"configurations/{safe_name(name)}-{device_id}.rsc"


def file_name(at: datetime, taken: Iterable[str] = (), *, whole: bool) -> str:
    """The name of the file of a day; one that lacks devices says so, and none takes another's place.

    The second of a day has the time in its name: after a restore it may be of a database that is older than the first.
    """
    end = f"{'' if whole else '.incomplete'}.tar.age"
    before = set(taken)
    first = [f"escrow-{at:%Y-%m-%d}", f"escrow-{at:%Y-%m-%d-%H%M%S}"]
    more = (f"{first[1]}-{number:03}" for number in count(1))  # of the same second
    return next(f"{name}{end}" for name in chain(first, more) if f"{name}{end}" not in before)


def outdated(names: Iterable[str], keep: int, written: str) -> Sequence[str]:
    """Which files go when one was just written.

    Of each kind all but the newest so many days, and of a day all but the first and the last. What lacks devices never
    takes the place of a whole one; it goes when the whole one of its day is there. What is of a day to come, of a clock
    that stood ahead, stays, and takes the place of none.
    """
    found = [match for name in names if (match := _FILE.fullmatch(name))]
    today = _FILE.fullmatch(written)
    if today is None:
        return []
    gone: set[str] = set()
    for incomplete in (None, ".incomplete"):
        days: dict[str, list[str]] = {}
        for match in sorted((one for one in found if one[3] == incomplete), key=lambda one: (one[1], one[2] or "")):
            days.setdefault(match[1], []).append(match[0])
        past = sorted(day for day in days if day <= today[1])
        gone |= {name for day in past[:-keep] for name in days[day]} | {
            name for day in past for name in days[day][1:-1]
        }
    if today[3] is None:
        gone |= {match[0] for match in found if match[3] and match[1] == today[1]}
    return sorted(gone - {written})
