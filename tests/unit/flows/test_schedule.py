"""The schedule flow over small fakes: when it is claimed, and that what was claimed is committed before it is sent."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from backupflow.adapters.vault import VaultStatus
from backupflow.core.ledger import Claimed, Limits
from backupflow.core.model import Claim, CollectionId, Lane, Purpose, TenantId
from backupflow.errors import BackupflowError, BusUnavailable, StoreUnavailable, VaultUnavailable
from backupflow.flows import maintain
from backupflow.flows.schedule import NOT_LOOKED, Readiness, Seen, Ticked, Watched, look, tick

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta

TENANT = TenantId(UUID(int=1))
WELL = VaultStatus("1", initialised=True, sealed=False, active=True)
NEW, AGAIN = Claim(CollectionId(1), Lane.NORMAL), Claim(CollectionId(2), Lane.SLOW)


class World:
    """Ledger, vault, bus and broker in one."""

    def __init__(self, claimed: Claimed | None = None) -> None:
        self.claimed = claimed
        self.limits: list[Limits] = []
        self.sent: list[Claim] = []
        self.store: BackupflowError | None = None
        self.vault: str | BackupflowError = "mark"
        self.bus: int | BackupflowError = 1000
        self.health: VaultStatus | BackupflowError = WELL
        self.seen = Seen()
        self.asked = 0  # how often for all the marks

    def claim(self, limits: Limits) -> Claimed | None:
        """ClaimStore."""
        assert self.sent == []
        self.limits.append(limits)
        return self.claimed

    def emit(self, claims: Sequence[Claim]) -> int:
        """Broker."""
        assert self.limits
        self.sent += claims
        return len(claims)

    def all_marks(self) -> dict[tuple[TenantId, Purpose], str]:
        """KeyLedger."""
        if self.store:
            raise self.store
        return {(TENANT, purpose): "mark" for purpose in Purpose}

    def mark(self, tenant_id: TenantId, purpose: Purpose, version: int = 1) -> str:
        """Canary; the pepper's key is the one that may fail."""
        if purpose is not Purpose.PEPPER:
            return "mark"
        self.asked += 1
        if isinstance(self.vault, BackupflowError):
            raise self.vault
        return self.vault

    def status(self) -> VaultStatus:
        """Vault."""
        if isinstance(self.health, BackupflowError):
            raise self.health
        return self.health

    def room(self) -> int:
        """BusGauge."""
        if isinstance(self.bus, BackupflowError):
            raise self.bus
        return self.bus

    def look(self, now: float = 0) -> Readiness:
        """Look with 1000 bytes needed."""
        return look(Watched(self, self, self, 1000), self.seen, now)

    def asks_at(self, *times: float) -> list[float]:
        """At which of these times a look asks for the marks; each look sees all well."""
        asked = []
        for now in times:
            before = self.asked
            assert self.look(now) == Readiness()
            asked += [now] * (self.asked - before)
        return asked


def test_all_well_means_that_it_may_claim() -> None:
    """Every key of every tenant answers as it did, and the stream has just the room that is needed."""
    assert World().look() == Readiness()
    assert Readiness().may_claim


@pytest.mark.parametrize(
    ("part", "state", "code"),
    [
        ("store", StoreUnavailable("x"), "store_unavailable"),
        ("vault", VaultUnavailable("x"), "vault_unavailable"),
        ("vault", "another", "transit_key_missing"),
        ("health", VaultUnavailable("x"), "vault_unavailable"),
        ("health", replace(WELL, sealed=True, active=False), "vault_unavailable"),
        ("health", replace(WELL, initialised=False), "vault_unavailable"),
        ("bus", BusUnavailable("x"), "bus_unavailable"),
        ("bus", 999, "bus_unavailable"),
    ],
)
def test_anything_that_is_not_well_means_that_it_may_not(part: str, state: object, code: str) -> None:
    """Whatever is behind the collectors: nothing is collected that could not be sealed, published and stored (I15)."""
    world = World()
    setattr(world, part, state)
    assert world.look().code == code
    assert not world.look().may_claim


def test_the_marks_are_asked_for_seldom() -> None:
    """Each question is written into the vault's audit log: at first, then every five minutes while nothing happens."""
    assert World().asks_at(*range(0, 901, 2)) == [0, 300, 600, 900]


def test_while_devices_are_claimed_the_marks_are_never_older_than_a_minute() -> None:
    """What is collected must be sealed with the keys that are known."""
    world = World()
    assert world.asks_at(0, 2, 70) == [0]
    world.seen.claimed = True
    assert world.asks_at(72, 74, 130, 140) == [72]
    world.seen.claimed = True
    assert world.asks_at(141, 200, 202, 441, 502) == [141, 441]


@pytest.mark.parametrize(
    "passing",
    [VaultUnavailable("x"), replace(WELL, sealed=True), replace(WELL, version="2")],
    ids=["away", "sealed", "another"],
)
def test_a_vault_that_changed_is_asked_at_once(passing: VaultStatus | BackupflowError) -> None:
    """It may have come back with other keys, or another one answers at its address."""
    world = World()
    assert world.asks_at(0, 2) == [0]
    world.health = passing
    world.look(4)
    world.health = WELL
    world.vault = "another"
    assert world.look(6).code == "transit_key_missing"


def test_a_key_that_is_missing_stays_missing_until_it_answers_again() -> None:
    """Looks that do not ask say what was found; it is asked again four times a minute."""
    world = World()
    world.vault = "another"
    assert [world.look(now).code for now in range(0, 45, 3)] == ["transit_key_missing"] * 15
    assert world.asked == 3
    world.vault = "mark"
    assert [world.look(now).may_claim for now in (44, 45)] == [False, True]
    assert world.asks_at(47, 120, 345) == [345]


def test_a_ledger_that_is_away_is_asked_again_at_once() -> None:
    """The question never reached the vault."""
    world = World()
    world.store = StoreUnavailable("x")
    assert not world.look(0).may_claim
    world.store = None
    assert world.asks_at(2) == [2]


def test_before_the_first_look_nothing_is_claimed() -> None:
    """A beat that has just started knows nothing yet."""
    assert not NOT_LOOKED.may_claim


def test_what_was_committed_is_sent() -> None:
    """New claims and those that were not started, in one go, after the claim transaction."""
    claimed = Claimed((NEW,), (AGAIN,), 3, 4, ("reconcile",))
    world = World(claimed)
    assert tick(world, world, Readiness(), Limits(batch=7)) == Ticked(claimed, 2)
    assert world.sent == [NEW, AGAIN]
    assert world.limits == [Limits(batch=7, may_claim=True)]


def test_while_something_is_away_only_housekeeping_is_asked_for() -> None:
    """The transaction runs all the same: leases end and claims are emitted again."""
    world = World(Claimed(again=(AGAIN,)))
    assert tick(world, world, Readiness("vault_unavailable"), Limits()).emitted == 1
    assert world.limits == [Limits(may_claim=False)]


def test_while_another_claims_nothing_is_sent() -> None:
    """One beat at a time."""
    world = World(None)
    assert tick(world, world, Readiness(), Limits()) == Ticked(None, 0)
    assert world.sent == []


class Rooms:
    """core.ports.HouseStore."""

    def __init__(self, mended: Mapping[str, int]) -> None:
        self._mended = mended
        self.said: list[tuple[str, str]] = []
        self.elsewhere: set[str] = set()

    def mend(self) -> Mapping[str, int]:
        """What the test says."""
        return self._mended

    @contextmanager
    def turn(self, job: str) -> Iterator[bool]:
        """Nobody else is there, unless the test says so."""
        yield job not in self.elsewhere

    def finished(self, job: str, outcome: str, again_in: timedelta | None = None) -> None:
        """Write it down."""
        self.said.append((job, outcome if again_in is None else f"{outcome}, again in {again_in}"))


@pytest.mark.parametrize(
    ("mended", "said"), [({"a": 0, "b": 0}, "nothing to do"), ({"a": 2, "b": 0, "c": 1}, "a 2, c 1")]
)
def test_a_job_says_what_it_did(mended: Mapping[str, int], said: str) -> None:
    """In its row, for `status`."""
    rooms = Rooms(mended)
    assert maintain.run("reconcile", rooms).counts == mended
    assert rooms.said == [("reconcile", said)]


@pytest.mark.parametrize(("exc", "code"), [(VaultUnavailable("x"), "vault_unavailable"), (ValueError(), "ValueError")])
def test_a_job_that_fails_says_so_and_comes_again(exc: Exception, code: str) -> None:
    """Whatever it was: before its next turn, and the task tells of it."""

    def fail() -> maintain.Ran:
        raise exc

    rooms = Rooms({})
    with pytest.raises(type(exc)):
        maintain.run("verify", rooms, {"verify": fail})
    assert rooms.said == [("verify", f"ended by {code}, again in 0:10:00")]


def test_a_job_that_is_done_elsewhere_is_left_alone() -> None:
    """One task does it, however many there are."""
    rooms = Rooms({"a": 1})
    rooms.elsewhere = {"reconcile"}
    assert maintain.run("reconcile", rooms).counts == {}
    assert rooms.said == []


def test_a_job_that_there_is_not_is_left_to_who_knows_it() -> None:
    """In a rolling update a worker of before meets jobs of after: no defect, and its row says nothing of it."""
    rooms = Rooms({})
    assert maintain.run("reboot", rooms) is maintain.UNKNOWN
    assert rooms.said == []
