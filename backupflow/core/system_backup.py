"""A backup of the whole system: what its parts are, in which order they come, and which version may restore which.

One tar, sealed by age. The parts, in this order, so that it can be written and read in one go:

1. README.txt     for whoever has this file and no backupflow
2. backup.json    what it is of: versions, the schema, the time (`Begun`)
3. secrets/…      the key of the vault's seal, the installer's login, the secret that events are signed with
4. settings.env   the settings of then
5. database/N     PostgreSQL's dump, in parts that are one file if they are joined
6. vault/N        OpenBao's raft snapshot, likewise; younger than the dump: keys are only ever added meanwhile
7. manifest.json  length and SHA-256 of all that came before, and how many rows there were (`Ended`)
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FORMAT: Final = 1
PART_BYTES: Final = 8 * 1024 * 1024
_README, _BEGUN, _ENDED = "README.txt", "backup.json", "manifest.json"
SETTINGS: Final = "settings.env"
DATABASE: Final = "database"
VAULT: Final = "vault"
SECRETS: Final = "secrets"
SEAL_KEY: Final = "seal.key"
INSTALLER: Final = "installer.openbao"
EVENTS: Final = "events.webhook"
# Of the folder with the logins; the others are made anew where it is restored, as at any first start.
KEPT_SECRETS: Final = (INSTALLER, EVENTS)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the tar; at most PART_BYTES long."""

    name: str
    data: bytes = field(repr=False)

    @property
    def stream(self) -> str:
        """What it is a part of, or its own name."""
        folder, _, _ = self.name.partition("/")
        return folder if folder in {DATABASE, VAULT} else self.name


@dataclass(frozen=True, slots=True)
class Begun:
    """What a backup is of. `postgres` and `openbao` are the versions of the servers, `revision` is the schema's."""

    program: str
    revision: str
    postgres: str
    openbao: str
    made_at: datetime
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Ended:
    """What came before: name -> (bytes, SHA-256 in hex), and how many rows of a kind."""

    sums: Mapping[str, tuple[int, str]]
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Here:
    """Where a backup is to be restored; `revisions` are the schemas that this version can bring to its own."""

    program: str
    revisions: frozenset[str]
    postgres: str
    openbao: str


class Sums:
    """Lengths and hashes of the members as they go by."""

    def __init__(self) -> None:
        self._lengths: dict[str, int] = {}
        self._hashes: dict[str, Any] = {}

    def add(self, member: Member) -> Member:
        """The member itself, counted."""
        name = member.stream
        self._lengths[name] = self._lengths.get(name, 0) + len(member.data)
        self._hashes.setdefault(name, hashlib.sha256()).update(member.data)
        return member

    def all(self) -> dict[str, tuple[int, str]]:
        """Of what went by."""
        return {name: (length, self._hashes[name].hexdigest()) for name, length in self._lengths.items()}


def first(readme: str, begun: Begun) -> tuple[Member, Member]:
    """The two that come first."""
    told = asdict(begun) | {"made_at": begun.made_at.isoformat()}
    return Member(_README, readme.encode()), Member(_BEGUN, _json(told))


def last(ended: Ended) -> Member:
    """The one that says that all is there."""
    return Member(_ENDED, _json({"sums": ended.sums, "rows": ended.rows}))


def parts(stream: str, chunks: Iterable[bytes]) -> Iterator[Member]:
    """A stream of unknown length as members of known length; an empty one is one empty member."""
    number, held = 0, bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= PART_BYTES:
            number += 1
            yield Member(f"{stream}/{number:06}", bytes(held[:PART_BYTES]))
            del held[:PART_BYTES]
    if held or not number:
        yield Member(f"{stream}/{number + 1:06}", bytes(held))


def begun_in(member: Member) -> Begun | None:
    """What it is of, if this is the member that says so; InputInvalid if it was made by a newer version."""
    if member.name != _BEGUN:
        return None
    told = _read(member)
    if told.get("format") != FORMAT:
        raise InputInvalid(
            f"it was made by backupflow {told.get('program', 'of another kind')}, in a form that this version does not "
            "know: restore it with that version"
        )
    try:
        made_at = datetime.fromisoformat(told["made_at"])
        return Begun(told["program"], told["revision"], told["postgres"], told["openbao"], made_at)
    except (KeyError, TypeError, ValueError):
        raise InputInvalid(f"{_BEGUN} in it cannot be understood") from None


def ended_in(member: Member) -> Ended | None:
    """What came before, if this is the member that says so."""
    if member.name != _ENDED:
        return None
    told = _read(member)
    try:
        sums = {str(name): (int(length), str(digest)) for name, (length, digest) in told["sums"].items()}
        return Ended(sums, {str(name): int(count) for name, count in told["rows"].items()})
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputInvalid(f"{_ENDED} in it cannot be understood") from None


def why_not(begun: Begun, here: Here) -> str | None:
    """Why this cannot be restored here; None if it can."""
    if begun.revision not in here.revisions:
        return (
            f"it was made by backupflow {begun.program} with the schema {begun.revision}, which {here.program} does "
            "not know: restore it with that version or a newer one"
        )
    if _number(begun.postgres, 1) > _number(here.postgres, 1):
        return f"it is of PostgreSQL {begun.postgres}, and here runs {here.postgres}: it needs that version or a newer"
    if _number(begun.openbao, 2) > _number(here.openbao, 2):
        return f"it is of OpenBao {begun.openbao}, and here runs {here.openbao}: it needs that version or a newer one"
    return None


def differing(said: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """What is not as many as it was, in words."""
    return [f"{name}: {found.get(name, 0)}, not {count}" for name, count in said.items() if found.get(name, 0) != count]


def _number(version: str, places: int) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall("[0-9]+", version)[:places])


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def _read(member: Member) -> dict[str, Any]:
    try:
        told = json.loads(member.data)
    except ValueError:
        raise InputInvalid(f"{member.name} in it cannot be understood") from None
    if not isinstance(told, dict):
        raise InputInvalid(f"{member.name} in it cannot be understood")
    return told
