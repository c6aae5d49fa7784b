"""What is written for the day on which nothing of ours is left: for whom, under which names, and when it is late."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.model import TenantId

ESCROW: Final = "escrow"  # the job
# What was written so lately is not written again by the job: less than a day, so that each daily run writes one.
WINDOW: Final = timedelta(hours=20)
LATE: Final = timedelta(days=2)
MOST_RECIPIENTS: Final = 20
# The longest name that fits the oldest form of tar, which everything unpacks, with `-`, an id and `.rsc` behind it.
_LONGEST_NAME: Final = 59
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")
_RECIPIENT: Final = re.compile(r"age1[02-9ac-hj-np-z]{58}")
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


def recipients(lines: Iterable[str]) -> tuple[str, ...]:
    """The public keys of age among these lines, each once; InputInvalid names what is none, but never a secret."""
    found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for one in found:
        if one.upper().startswith("AGE-SECRET-KEY-"):
            raise InputInvalid("that is a secret key: give the public one, age1…, and make a new pair, for this one is "
                               "known by now to whoever reads the history of this shell")  # fmt: skip
        if one.startswith("ssh-"):
            raise InputInvalid("keys of SSH are not taken: make a pair for this alone with `age-keygen -o key.txt`, "
                               "and keep it where no router's password is")  # fmt: skip
        if not _RECIPIENT.fullmatch(one):
            raise InputInvalid(f"not a public key of age: {one[:80]!r}; `age-keygen -o key.txt` makes a pair, and says "
                               "the public one, age1…")  # fmt: skip
    unique = tuple(dict.fromkeys(found))
    if not unique:
        raise InputInvalid("no recipient was named: --recipient age1…")
    if len(unique) > MOST_RECIPIENTS:
        raise InputInvalid(f"{len(unique)} recipients; at most {MOST_RECIPIENTS} can open one file")
    return unique
