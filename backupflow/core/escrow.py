"""What is written for the day on which nothing of ours is left: for whom, under which names, and when it is late."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import timedelta
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
_FILE: Final = re.compile(r"escrow-[0-9]{4}-[0-9]{2}-[0-9]{2}(\.incomplete)?\.tar\.age")


@dataclass(frozen=True, slots=True)
class Escrow:
    """Who may open what is written of a tenant, and where it is written; `folder` None: where the settings say.

    `now` is when this was looked up. `devices`, `bytes` are those of the newest file.
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

    @property
    def is_due(self) -> bool:
        """Whether the job has to write it. A time that lies in the future is of a clock that stood ahead."""
        return self.written_at is None or not timedelta(0) <= self.now - self.written_at < WINDOW

    @property
    def is_late(self) -> bool:
        """Whether there should be a younger file."""
        return self.now - (self.written_at or self.enabled_at) > LATE

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


def file_name(at: datetime, *, whole: bool) -> str:
    """The name of the file of a day; one that lacks devices says so, and takes no other's place."""
    return f"escrow-{at:%Y-%m-%d}{'' if whole else '.incomplete'}.tar.age"


def outdated(names: Iterable[str], keep: int, written: str) -> Sequence[str]:
    """Which files go when one was just written: all but the newest of each kind, and the incomplete one of that day.

    What lacks devices never takes the place of a whole one.
    """
    found = {name: _FILE.fullmatch(name) for name in names}
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for name in sorted((name for name, match in found.items() if match), reverse=True):
        kinds[".incomplete." not in name].append(name)
    same_day = written.replace(".tar.age", ".incomplete.tar.age")
    gone = {name for kind in kinds.values() for name in kind[keep:]} | ({same_day} & set(kinds[False]))
    return sorted(gone - {written})
