"""A backup of the whole system: made in one go, and read in one go."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from backupflow.core.system_backup import (
    DATABASE,
    SECRETS,
    SETTINGS,
    VAULT,
    Begun,
    Ended,
    Member,
    Sums,
    begun_in,
    ended_in,
    first,
    last,
    parts,
)
from backupflow.core.system_backup_readme import readme
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime


class Moment(Protocol):
    """The database as it was at one moment."""

    @property
    def at(self) -> datetime:
        """When that was, by its own clock."""
        ...

    @property
    def rows(self) -> Mapping[str, int]:
        """How many there were."""
        ...


class Origin(Protocol):
    """What a backup is made of."""

    def still(self) -> AbstractContextManager[Moment]:
        """One moment of the database; until it is left nobody works on keys."""
        ...

    def dump(self, moment: Moment, /) -> Iterator[bytes]:
        """The database as of then."""
        ...

    def snapshot(self) -> Iterator[bytes]:
        """The vault as it is now."""
        ...


@dataclass(frozen=True, slots=True)
class About:
    """What is known before anything is read. `secrets` are the files that are kept, `key_id` names the seal's key."""

    program: str
    revision: str
    postgres: str
    openbao: str
    key_id: str
    secrets: Mapping[str, bytes]
    settings: str


class Taker(Protocol):
    """What takes the parts of a backup as they come; each stream is read to its end by it."""

    def begun(self, begun: Begun, /) -> None:
        """What it is of."""
        ...

    def secret(self, name: str, content: bytes, /) -> None:
        """One of the files in its secrets."""
        ...

    def settings(self, text: str, /) -> None:
        """The settings of then."""
        ...

    def database(self, chunks: Iterable[bytes], /) -> None:
        """PostgreSQL's dump."""
        ...

    def vault(self, chunks: Iterable[bytes], /) -> None:
        """OpenBao's snapshot."""
        ...


def members(origin: Origin, about: About, moved: Callable[[int], None]) -> Generator[Member, None, None]:
    """All parts in their order; `moved` is told how many bytes of the streams went by.

    The vault is copied after the database, while the keys are held: it has every key that the dump needs.
    """
    sums = Sums()
    with origin.still() as moment:
        begun = Begun(about.program, about.revision, about.postgres, about.openbao, moment.at)
        text = readme(about.program, about.postgres, about.openbao, moment.at.isoformat(), about.key_id)
        small = [Member(f"{SECRETS}/{name}", content) for name, content in about.secrets.items()]
        for member in (*first(text, begun), *small, Member(SETTINGS, about.settings.encode())):
            yield sums.add(member)
        for member in parts(DATABASE, origin.dump(moment)):
            yield sums.add(member)
            moved(len(member.data))
        for member in parts(VAULT, origin.snapshot()):
            yield sums.add(member)
            moved(len(member.data))
    yield last(Ended(sums.all(), moment.rows))


def read(found: Iterable[Member], take: Taker, moved: Callable[[int], None]) -> tuple[Begun, Ended]:
    """Hand all parts on as they come; what it was of, and what it had.

    InputInvalid if anything is missing, not as it was, or unknown: what was taken is then of no use.
    """
    sums, begun, ended = Sums(), None, None
    for name, group in groupby(found, key=lambda member: member.stream):
        if ended is not None:
            raise InputInvalid(f"there is more in it than there should be: {name[:80]!r}")
        if begun and name == DATABASE:
            take.database(_passing(group, sums, moved))
        elif begun and name == VAULT:
            take.vault(_passing(group, sums, moved))
        else:
            member = next(group)
            ended = ended_in(member)
            if ended is None:
                begun = _small(sums.add(member), begun, take)
            elif dict(ended.sums) != sums.all():
                raise InputInvalid("not all in it is what it was when it was made")
    if begun is None or ended is None:
        raise InputInvalid("it is not whole: its last part is missing")
    return begun, ended


def _small(member: Member, begun: Begun | None, take: Taker) -> Begun | None:
    folder, _, name = member.name.partition("/")
    if begun is None:
        begun = begun_in(member)
        if begun is not None:
            take.begun(begun)
        elif member.name != "README.txt":
            raise InputInvalid("it is no backup of a system")
    elif member.name == SETTINGS:
        take.settings(member.data.decode("utf-8", "replace"))
    elif folder == SECRETS and name:
        take.secret(name, member.data)
    else:
        raise InputInvalid(f"what {member.name[:80]!r} in it is for is not known here: restore it with a newer version")
    return begun


def _passing(group: Iterable[Member], sums: Sums, moved: Callable[[int], None]) -> Iterator[bytes]:
    for member in group:
        yield sums.add(member).data
        moved(len(member.data))
