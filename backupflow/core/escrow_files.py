"""What an escrow is made of: a tar of the oldest form, with a text for whoever opens it and nothing else at hand."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from datetime import UTC
from tarfile import BLOCKSIZE, USTAR_FORMAT, TarInfo
from typing import TYPE_CHECKING, Any, Final

from backupflow.core.escrow import file_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from backupflow.core.escrow import Escrow
    from backupflow.core.history import SealedSnapshot
    from backupflow.core.model import DeviceId

END: Final = bytes(2 * BLOCKSIZE)  # of a tar
README, INVENTORY, MISSING = "README.txt", "inventory.csv", "MISSING.txt"
_NAMED: Final = 5  # devices, in an alarm
NONE_YET: Final = "none was collected yet"
_COLUMNS: Final = (
    "device", "id", "address", "port", "driver", "status", "site", "group", "jump_host", "login", "username",
    "login_by", "host_keys", "vendor", "version", "model", "serial", "identity", "snapshot", "collected_at",
    "first_collected_at", "secrets", "file", "bytes", "sha256", "not_here_because",
)  # fmt: skip
_OF_ROUTER: Final = ("vendor", "version", "model", "serial", "identity")
_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # what spreadsheets take for a formula


@dataclass(frozen=True, slots=True)
class Held:
    """A device, as its row has it, and its current configuration as it is sealed; None: there is none.

    `where` are the columns of the inventory that say how it is reached; `why` is set if there should be one.
    """

    device_id: DeviceId
    name: str
    where: Mapping[str, str]
    facts: Mapping[str, Any]
    snapshot: SealedSnapshot | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Filed:
    """A device and what became of its configuration: a file of this size and digest, or why there is none."""

    held: Held
    file: str = ""
    bytes: int = 0
    sha256: str = field(default="", repr=False)
    why: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is there; `devices` are the configurations in it, `lacking` those that should be."""

    file: str
    bytes: int
    devices: int
    lacking: tuple[Filed, ...]

    @property
    def lacks(self) -> str:
        """In words; empty if it lacks none."""
        if not self.lacking:
            return ""
        named = ", ".join(f"{one.held.name} ({one.why})" for one in self.lacking[:_NAMED])
        more = f" and {len(self.lacking) - _NAMED:,} more" if len(self.lacking) > _NAMED else ""
        return f"{self.file} lacks {len(self.lacking):,} of {self.devices + len(self.lacking):,}: {named}{more}"


def member(name: str, content: bytes, at: datetime) -> Iterator[bytes]:
    """A file within a tar, readable by its owner alone."""
    info = TarInfo(name)
    info.size, info.mtime, info.mode = len(content), int(at.timestamp()), 0o600
    yield info.tobuf(format=USTAR_FORMAT)
    yield content
    yield bytes(-len(content) % BLOCKSIZE)


def inventory(filed: Sequence[Filed]) -> bytes:
    """Every device, sorted by its name; no password, and nothing that a spreadsheet would take for a formula."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for one in sorted(filed, key=lambda each: (each.held.name, str(each.held.device_id))):
        values = _values(one)
        rows.writerow([cell(values.get(column, "")) for column in _COLUMNS])
    return text.getvalue().encode()


def _values(one: Filed) -> dict[str, str]:
    held, snapshot = one.held, one.held.snapshot
    facts = {key: str(held.facts.get(key) or "") for key in _OF_ROUTER}
    values = {"device": held.name, "id": str(held.device_id), **held.where, **facts, "not_here_because": one.why}
    if snapshot is not None:
        values |= {
            "snapshot": str(snapshot.number),
            "collected_at": _time(snapshot.collected_at),
            "first_collected_at": _time(snapshot.first_collected_at),
            "secrets": str(held.facts.get("secrets") or ""),
        }
    return values | ({"file": one.file, "bytes": str(one.bytes), "sha256": one.sha256} if one.file else {})


def cell(value: str) -> str:
    """A value of the inventory on one line; what would be a formula in a spreadsheet has a `'` before it."""
    plain = value if value.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return f"'{plain}" if value.startswith(_FORMULA) else plain


def missing(filed: Sequence[Filed]) -> bytes:
    """The devices whose configuration should be here and is not."""
    lines = [f"{cell(one.held.name)} ({one.held.device_id}): {cell(one.why)}" for one in lacking(filed)]
    head = ["The configurations of these devices are NOT in this file. An older file may have them.", ""]
    return ("\n".join([*head, *lines]) + "\n").encode()


def lacking(filed: Sequence[Filed]) -> list[Filed]:
    """Those whose configuration should be there."""
    return [one for one in filed if one.why and one.why != NONE_YET]


def readme(escrow: Escrow, devices: int) -> bytes:
    """What this is and how to use it, for somebody who has never heard of backupflow."""
    title = f"Configurations of {devices:,} devices of {cell(escrow.tenant)}, {_time(escrow.now)}"
    name = file_name(escrow.now, whole=True)
    return _README.format(title=title, line="=" * len(title), name=name, missing=MISSING).encode()


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


_README = """\
{title}
{line}

What this is

  The configuration that each device had at that time: byte for byte as the device gave
  it, with the secrets in it. Treat these files like passwords. Nothing but age and tar
  is needed to open it:

    age -d -i escrow-key.txt {name} | tar x

  A file that was cut or changed does not open to its end: age says so.

What is in it

  configurations/NAME-ID.rsc  one file a device. Odd characters of a name became _; the
                              inventory has the name as it is, and the ID is the same.
  inventory.csv               each device: its address, user name (no password), jump host,
                              host keys, model and serial number; which file is its
                              configuration, when it was collected, its SHA-256.
                              A ' before a value keeps spreadsheets from taking it for a
                              formula.
  {missing}                 only if configurations that should be here could not be opened.

  A device with no file and "none was collected yet" was added, and never collected.
  collected_at is when a device was last seen with this configuration;
  first_collected_at is when it gave this text, as the text's first line may say too.

How to restore a device of MikroTik (RouterOS)

  The same model and, at best, the same version. On a router that may be emptied, put
  :delay 15s before the first line of its file, or it begins before the ports are there
  and ends at the first line that names one. Upload it: where /file has a folder flash,
  into that folder, for all that lies beside it is gone at the reset. Then

    /system reset-configuration no-defaults=yes skip-backup=yes run-after-reset=FILE.rsc

  with FILE.rsc named as /file names it (flash/FILE.rsc). RouterOS gives that two minutes;
  what takes longer, or a part of it, goes in by /import or pasted.
  An export never holds the passwords of the router's users, certificates with their
  keys, or keys of SSH: set them anew. Look at what an import says: it ends at the first
  line that the router does not take.
"""
