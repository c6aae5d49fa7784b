"""The order in which a system is copied, and what is not believed when it is read."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from backupflow.core.system_backup import Member
from backupflow.errors import InputInvalid, VaultUnavailable
from backupflow.flows.system_backup import About, members, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backupflow.core.system_backup import Begun
    from backupflow.flows.system_backup import Moment

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ABOUT = About("1.2", "0007", "17.10", "2.7.2", "key-1", {"seal.key": b"k" * 32}, "CONFIG_X=1\n")


@dataclass
class Then:
    """A moment of a database."""

    at: datetime = NOW
    rows: dict[str, int] = field(default_factory=lambda: {"device": 2})


@dataclass
class Servers:
    """An origin that notes what is done to it; `vault` may fail."""

    did: list[str] = field(default_factory=list)
    vault_fails: bool = False

    @contextmanager
    def still(self) -> Iterator[Moment]:
        """Hold it."""
        self.did.append("held")
        try:
            yield Then()
        finally:
            self.did.append("let go")

    def dump(self, moment: Moment) -> Iterator[bytes]:
        """Two pieces."""
        self.did.append("dump")
        yield b"PGDMP"
        yield b" of it"

    def snapshot(self) -> Iterator[bytes]:
        """One piece."""
        self.did.append("snapshot")
        yield b"vault"
        if self.vault_fails:
            raise VaultUnavailable("cut off")


@dataclass
class Taker:
    """Keeps what it is given."""

    got: dict[str, bytes] = field(default_factory=dict)
    of: Begun | None = None

    def begun(self, begun: Begun) -> None:
        """Keep it."""
        self.of = begun

    def secret(self, name: str, content: bytes) -> None:
        """Keep it."""
        self.got[name] = content

    def settings(self, text: str) -> None:
        """Keep them."""
        self.got["settings"] = text.encode()

    def database(self, chunks: Iterable[bytes]) -> None:
        """Join it."""
        self.got["database"] = b"".join(chunks)

    def vault(self, chunks: Iterable[bytes]) -> None:
        """Join it."""
        self.got["vault"] = b"".join(chunks)


def whole() -> list[Member]:
    """All parts of a good one."""
    return list(members(Servers(), ABOUT, lambda _: None))


def test_the_vault_is_copied_after_the_database_and_while_keys_are_held() -> None:
    """Else a key that a row of the dump needs could be retired before the vault is copied."""
    servers = Servers()
    list(members(servers, ABOUT, lambda _: None))
    assert servers.did == ["held", "dump", "snapshot", "let go"]


def test_keys_are_let_go_whatever_happens() -> None:
    """A vault that fails, or a disk that is full: who writes stops reading."""
    servers = Servers(vault_fails=True)
    with pytest.raises(VaultUnavailable):
        list(members(servers, ABOUT, lambda _: None))
    assert servers.did[-1] == "let go"
    servers = Servers()
    reading = members(servers, ABOUT, lambda _: None)
    next(reading)
    reading.close()
    assert servers.did == ["held", "let go"]


def test_what_was_written_is_handed_on() -> None:
    """All of it, and how many rows there were."""
    taker = Taker()
    begun, ended = read(whole(), taker, lambda _: None)
    assert taker.of == begun
    assert begun.made_at == NOW
    assert ended.rows == {"device": 2}
    assert taker.got == {
        "seal.key": b"k" * 32,
        "settings": b"CONFIG_X=1\n",
        "database": b"PGDMP of it",
        "vault": b"vault",
    }


@pytest.mark.parametrize("left_out", range(7))
def test_no_part_can_be_missing(left_out: int) -> None:
    """Nor the last one, which says what there must be."""
    found = whole()
    assert len(found) == 7
    del found[left_out]
    with pytest.raises(InputInvalid):
        read(found, Taker(), lambda _: None)


@pytest.mark.parametrize("altered", range(6))
def test_no_part_can_be_another(altered: int) -> None:
    """Age proves that nobody altered the file; this, that all parts are of one backup."""
    found = whole()
    found[altered] = replace(found[altered], data=found[altered].data + b" ")
    with pytest.raises(InputInvalid):
        read(found, Taker(), lambda _: None)


def test_nothing_may_follow_the_end_or_be_unknown() -> None:
    """What a version does not know it cannot restore."""
    with pytest.raises(InputInvalid, match="more in it"):
        read([*whole(), Member("database/000009", b"x")], Taker(), lambda _: None)
    found = whole()
    found.insert(3, Member("cache/1", b"x"))
    with pytest.raises(InputInvalid, match="not known"):
        read(found, Taker(), lambda _: None)


def test_nothing_is_taken_before_it_is_known_what_it_is_of() -> None:
    """A dump before its head is loaded nowhere."""
    taker = Taker()
    found = whole()
    with pytest.raises(InputInvalid):
        read([found[4], *found], taker, lambda _: None)
    assert taker.got == {}
