"""The flow of keys over a vault and a ledger in memory: the order of its steps, and what is left alone."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest

from backupflow.core.keys import Held, Item, KeyRecord, KeyVersions, Loss, Renewal, Renewed, Stock, loss
from backupflow.core.model import Purpose, Sealed, SealedSecret, TenantId, key_version
from backupflow.errors import BackupflowError, Conflict, MessageMalformed, TransitKeyMissing, VaultUnavailable
from backupflow.flows.ingest import check_marks
from backupflow.flows.keys import KeyPorts, reopen, rotate
from backupflow.flows.renewing import RenewPorts, lost, renew
from backupflow.flows.rewrapping import Watching, rewrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TENANT = TenantId(UUID(int=1))
AT = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = [Held.PEPPER, Held.LOGIN, Held.ASIDE, Held.CONTENT]  # the others are moved as these are


def text(version: int, word: str = "QUJD") -> str:
    """A sealed text."""
    return f"vault:v{version}:{word}"


@dataclass
class World:
    """Vault, ledger, texts, maker and renewals in one; `steps` is what changed anything, in order."""

    newest: dict[Purpose, int] = field(default_factory=lambda: dict.fromkeys(Purpose, 2))
    opens_from: dict[Purpose, int] = field(default_factory=lambda: dict.fromkeys(Purpose, 1))
    gone: set[Purpose] = field(default_factory=set)
    foreign: set[Purpose] = field(default_factory=set)
    as_made: bool = True
    marks: dict[Purpose, str] = field(default_factory=lambda: {purpose: f"vault:v1:{purpose}1" for purpose in Purpose})
    oldest: int = 1
    texts: dict[tuple[Held, int], str] = field(default_factory=dict)
    given_up: set[int] = field(default_factory=set)
    bad: dict[int, BackupflowError] = field(default_factory=dict)
    holds: list[list[str]] = field(default_factory=list)
    made_before: dict[Purpose, str] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    renewals: list[Renewal] = field(default_factory=list)

    # --- the vault -----------------------------------------------------------------------------------------------

    def mark(self, tenant_id: TenantId, purpose: Purpose, version: int = 1) -> str:
        """Canary."""
        if purpose in self.gone or not self.opens_from[purpose] <= version <= self.newest[purpose]:
            raise TransitKeyMissing
        return f"vault:v{version}:{'other' if purpose in self.foreign else purpose}{version}"

    def key(self, tenant_id: TenantId, purpose: Purpose) -> KeyVersions | None:
        """KeyKeeper."""
        if purpose in self.gone:
            return None
        return KeyVersions(self.newest[purpose], self.opens_from[purpose], self.as_made)

    def rewrap_all(
        self, tenant_id: TenantId, purpose: Purpose, batch: Sequence[tuple[UUID, Sealed]]
    ) -> list[Sealed | BackupflowError]:
        """KeyKeeper; a text's context is its number."""
        return [self.bad.get(context.int) or type(one)(text(self.newest[purpose])) for context, one in batch]

    def rotate(self, tenant_id: TenantId, purpose: Purpose) -> int:
        """KeyKeeper."""
        self.steps.append(f"rotate {purpose}")
        self.newest[purpose] += 1
        return self.newest[purpose]

    def retire(self, tenant_id: TenantId, purpose: Purpose, version: int) -> None:
        """KeyKeeper."""
        self.steps.append(f"retire {purpose}")
        self.opens_from[purpose] = version

    def make_key(self, tenant_id: TenantId, purpose: Purpose) -> None:
        """KeyMaker."""
        self.steps.append(f"make {purpose}")
        self.gone.discard(purpose)
        self.foreign.add(purpose)
        self.newest[purpose] = 1

    def new_pepper(self, tenant_id: TenantId) -> SealedSecret:
        """KeyMaker."""
        self.steps.append("new pepper")
        return SealedSecret(text(1))

    # --- the ledger ----------------------------------------------------------------------------------------------

    @contextmanager
    def alone(self, tenant_id: TenantId) -> Iterator[None]:
        """KeyStore."""
        self.steps.append("begin")
        yield
        self.steps.append("end")

    def records(self, tenant_id: TenantId) -> dict[Purpose, KeyRecord]:
        """KeyStore."""
        return {purpose: KeyRecord(mark, AT, AT, self.oldest) for purpose, mark in self.marks.items()}

    def record(self, tenant_id: TenantId, actor: str, action: str, detail: Mapping[str, Any]) -> None:
        """KeyStore."""
        self.steps.append(action)

    def remark(self, tenant_id: TenantId, purpose: Purpose, old: str, new: str) -> None:
        """KeyStore."""
        assert self.marks[purpose] == old
        assert self.opens_from[purpose] <= key_version(old), "the canary of before does not answer any more"
        self.steps.append(f"mark {purpose}")
        self.marks[purpose] = new

    def close(self, tenant_id: TenantId, versions: Mapping[Purpose, int], actor: str) -> list[str]:
        """KeyStore."""
        if self.holds:
            return self.holds.pop(0)
        self.steps.append("close")
        self.oldest = max(versions.values())
        return []

    def reopen(self, tenant_id: TenantId, purpose: Purpose) -> None:
        """KeyStore."""
        self.steps.append(f"reopen {purpose}")
        self.oldest = 1

    # --- the texts -----------------------------------------------------------------------------------------------

    def stock(self, tenant_id: TenantId) -> list[Stock]:
        """SealedStore."""
        return [
            Stock(held, key_version(sealed), number in self.given_up, 1)
            for (held, number), sealed in self.texts.items()
        ]

    def left(self, tenant_id: TenantId, held: Held, newest: int, after: int | None) -> list[Item]:
        """SealedStore; two at a time."""
        found = sorted(
            number
            for (kind, number), sealed in self.texts.items()
            if kind is held and key_version(sealed) != newest and (after is None or number > after)
        )
        return [
            Item(held, number, UUID(int=number), self.texts[held, number], f"text {number}", number in self.given_up)
            for number in found[:2]
        ]

    def count_left(self, tenant_id: TenantId, newest: Mapping[Purpose, int]) -> int:
        """SealedStore."""
        return sum(key_version(sealed) != newest[held.purpose] for (held, _), sealed in self.texts.items())

    def replace(self, pairs: Sequence[tuple[Item, str]]) -> int:
        """SealedStore."""
        self.steps += [f"move {item.key}" for item, _ in pairs]
        for item, new in pairs:
            self.texts[item.held, cast("int", item.key)] = new
        return len(pairs)

    # --- renewals ------------------------------------------------------------------------------------------------

    def made(self, tenant_id: TenantId) -> dict[Purpose, str]:
        """RenewalStore."""
        return self.made_before

    def renew(self, renewal: Renewal, actor: str) -> Renewed:
        """RenewalStore."""
        self.renewals.append(renewal)
        return Renewed(renewal.lost, 0, 0)

    @property
    def ports(self) -> KeyPorts:
        """Of work on keys."""
        it = cast("Any", self)
        return KeyPorts(it, it, it, "me")

    @property
    def renew_ports(self) -> RenewPorts:
        """Of renewing."""
        it = cast("Any", self)
        return RenewPorts(self.ports, it, it)


def full() -> World:
    """A world with a text of each kind under version 1, and one under version 2."""
    return World(texts={(held, number): text(1) for number, held in enumerate(KINDS, 1)} | {(Held.CONTENT, 9): text(2)})


def test_the_canaries_move_before_anything_is_retired() -> None:
    """Everything moved, then all canaries, then nothing older is taken in, and only then is it retired."""
    world = full()
    done = rewrap(world.ports, TENANT, retire=True)
    assert (done.moved, done.unmoved, done.holds) == (4, [], [])
    assert world.steps == [
        "begin", "mark credentials", "mark data", "mark pepper", "keys_rewrapped",
        "move 1", "move 2", "move 3", "move 4",
        "mark credentials", "mark data", "mark pepper", "close",
        "retire credentials", "retire data", "retire pepper", "end",
    ]  # fmt: skip
    assert set(world.texts.values()) == {text(2)}
    again = rewrap(world.ports, TENANT, retire=True)
    assert (again.moved, again.retired, world.steps[17:]) == (0, {}, ["begin", "end"])


def test_a_bad_item_is_named_and_keeps_the_old_versions() -> None:
    """The others of its batch are moved; nothing is retired, since it is under an older version."""
    world = full()
    world.bad[4] = MessageMalformed("altered")
    done = rewrap(world.ports, TENANT, retire=True)
    assert [(one.name, one.why) for one in done.unmoved] == [("text 4", "altered")]
    assert done.moved == 3
    assert world.texts[Held.CONTENT, 4] == text(1)
    assert not [step for step in world.steps if step.startswith(("close", "retire"))]
    assert done.holds == ["1 texts could not be moved"]


def test_what_cannot_change_is_not_waited_for() -> None:
    """A text that is damaged is damaged in ten minutes too."""
    world = full()
    world.bad[4] = MessageMalformed("altered")
    heard: list[Sequence[str]] = []

    def patient(holds: Sequence[str]) -> bool:
        heard.append(holds)
        return False

    done = rewrap(world.ports, TENANT, Watching(patient=patient), retire=True)
    assert (heard, done.holds) == ([], ["1 texts could not be moved"])


def test_a_given_up_text_that_the_vault_only_did_not_get_to_is_not_moved() -> None:
    """It may open: what is retired for that would be lost by us."""
    world = full()
    world.bad[4] = VaultUnavailable("slow")
    world.given_up.add(4)
    done = rewrap(world.ports, TENANT, retire=True)
    assert (done.given_up, [one.name for one in done.unmoved], done.retired) == (0, ["text 4"], {})


def test_a_text_that_is_none_is_named_and_not_sent() -> None:
    """What stands in a row in place of a sealed text is no reason to stop."""
    world = full()
    world.texts[Held.CONTENT, 4] = "plain"
    done = rewrap(world.ports, TENANT, retire=True)
    assert [one.name for one in done.unmoved] == ["text 4"]


def test_what_was_given_up_is_tried_and_missed_by_nobody() -> None:
    """It is no failure, and holds up nothing."""
    world = full()
    world.bad[4] = MessageMalformed("altered")
    world.given_up.add(4)
    done = rewrap(world.ports, TENANT, retire=True)
    assert (done.given_up, done.unmoved, done.holds) == (1, [], [])
    assert len(done.retired) == 3


def test_an_answer_under_an_old_version_is_not_taken() -> None:
    """A vault that answers with an older version than it says would have the text moved back and forth."""
    world = full()
    vault = replace(world, newest=dict.fromkeys(Purpose, 1))
    world.rewrap_all = vault.rewrap_all  # type: ignore[method-assign]
    assert len(rewrap(world.ports, TENANT, retire=True).unmoved) == 4


def test_a_vault_that_goes_away_ends_the_run_and_leaves_what_is_done() -> None:
    """What was moved stays moved; the next run goes on."""
    world = full()

    def away(tenant_id: TenantId, purpose: Purpose, batch: Sequence[tuple[UUID, Sealed]]) -> list[Any]:
        if purpose is Purpose.DATA:
            raise VaultUnavailable
        return World.rewrap_all(world, tenant_id, purpose, batch)

    world.rewrap_all = away  # type: ignore[method-assign]
    with pytest.raises(VaultUnavailable):
        rewrap(world.ports, TENANT, retire=True)
    assert [number for (_, number), sealed in world.texts.items() if sealed == text(2)] == [1, 2, 9]


def test_it_is_looked_again_as_long_as_somebody_is_patient() -> None:
    """What holds it up is told each time; what came meanwhile is moved before the next look."""
    world = full()
    world.holds = [["1 runs"], ["1 published"]]
    heard: list[Sequence[str]] = []

    def patient(holds: Sequence[str]) -> bool:
        heard.append(holds)
        world.texts[Held.CONTENT, 10 + len(heard)] = text(1)
        return True

    done = rewrap(world.ports, TENANT, Watching(patient=patient), retire=True)
    assert heard == [["1 runs"], ["1 published"]]
    assert (done.moved, done.holds, len(done.retired)) == (6, [], 3)


def test_nobody_patient_leaves_the_old_versions_in_use() -> None:
    """What is under way could not be opened."""
    world = full()
    world.holds = [["1 runs"]]
    done = rewrap(world.ports, TENANT, retire=True)
    assert (done.holds, done.retired, world.opens_from[Purpose.DATA]) == (["1 runs"], {}, 1)


def test_only_who_says_so_retires_anything() -> None:
    """What was backed up before, of vault or database, opens by itself until then."""
    world = full()
    done = rewrap(world.ports, TENANT)
    assert (done.moved, done.retired) == (4, {})
    assert not [step for step in world.steps if step.startswith(("close", "retire"))]


def test_what_was_retired_is_taken_back_and_written_down_before() -> None:
    """Vault and database, also if only one of them knows of it; nothing to take back is no act."""
    world = full()
    rewrap(world.ports, TENANT, retire=True)
    world.marks = {purpose: f"vault:v1:{purpose}1" for purpose in Purpose}  # an older database
    world.steps.clear()
    assert reopen(world.ports, TENANT) == dict.fromkeys(Purpose, 2)
    assert world.steps == [
        "begin", "key_versions_reopened",
        *(f"{step} {purpose}" for purpose in ("credentials", "data", "pepper") for step in ("retire", "reopen")), "end",
    ]  # fmt: skip
    assert (world.opens_from, world.oldest) == (dict.fromkeys(Purpose, 1), 1)
    assert reopen(world.ports, TENANT) == {}
    world.oldest = 2
    assert reopen(world.ports, TENANT) == dict.fromkeys(Purpose, 1)


def test_another_key_is_not_opened_by_that() -> None:
    """Nor is it left open."""
    world = replace(full(), foreign={Purpose.DATA}, opens_from=dict.fromkeys(Purpose, 2))
    with pytest.raises(TransitKeyMissing, match="right vault"):
        reopen(world.ports, TENANT)
    assert world.opens_from[Purpose.DATA] == 2
    world.gone = {Purpose.CREDENTIALS}
    with pytest.raises(TransitKeyMissing):
        reopen(world.ports, TENANT)


def test_what_is_retired_again_is_looked_at_again() -> None:
    """Somebody set it back in the vault: with what came back since, nothing may be retired without a look."""
    world = full()
    rewrap(world.ports, TENANT, retire=True)
    world.opens_from[Purpose.DATA] = 1
    world.holds = [["1 in quarantine"]]
    done = rewrap(world.ports, TENANT, retire=True)
    assert (done.holds, done.retired, world.opens_from[Purpose.DATA]) == (["1 in quarantine"], {}, 1)


def test_with_other_keys_neither_rotated_nor_rewrapped() -> None:
    """The canary of a stranger must not become the one that is expected."""
    for wrong in (World(foreign={Purpose.DATA}), World(gone={Purpose.PEPPER})):
        for act in (rotate, rewrap):
            with pytest.raises(TransitKeyMissing):
                act(wrong.ports, TENANT)
        assert set(wrong.steps) == {"begin"}


def test_a_rotation_is_written_down_before_it_is_done() -> None:
    """An act that nobody wrote down would be worse than one that was not done."""
    world = World()
    assert rotate(world.ports, TENANT) == dict.fromkeys(Purpose, 3)
    assert world.steps == [
        "begin",
        "keys_rotated",
        *(f"{step} {p}" for step in ("rotate", "mark") for p in Purpose),
        "end",
    ]
    assert {key_version(mark) for mark in world.marks.values()} == {3}
    world.newest[Purpose.DATA] = 2  # the vault of before
    for act in (rotate, rewrap):
        with pytest.raises(TransitKeyMissing):
            act(world.ports, TENANT)


def test_a_vault_without_the_versions_of_what_is_sealed_is_neither_rotated_nor_rewrapped() -> None:
    """Its next version would have the number of one that is lost; what is under that would pass for moved."""
    world = replace(full(), newest=dict.fromkeys(Purpose, 1))
    for act in (rotate, rewrap):
        with pytest.raises(Conflict, match="newer backup"):
            act(world.ports, TENANT)
    assert set(world.steps) == {"begin"}
    world.given_up = {9}
    assert rotate(world.ports, TENANT) == dict.fromkeys(Purpose, 2)


def test_one_altered_row_is_no_reason_to_give_up_anything() -> None:
    """The key answers: what a row says of its version may be anything."""
    world = full()
    world.texts[Held.CONTENT, 9] = text(3)
    with pytest.raises(Conflict, match="nothing is lost"):
        renew(world.renew_ports, TENANT, adopt=True)


def test_a_canary_that_moved_meanwhile_is_no_missing_key() -> None:
    """Whoever read the old mark just before looks again; the same mark twice, or a vault that is away, counts."""
    world = World()
    old = {(TENANT, Purpose.DATA): world.marks[Purpose.DATA]}
    world.opens_from[Purpose.DATA] = 2  # the version of the old mark is retired
    new = {(TENANT, Purpose.DATA): world.mark(TENANT, Purpose.DATA, 2)}
    looks = [new]
    check_marks(cast("Any", world), old, looks.pop)
    assert looks == []
    check_marks(cast("Any", world), old, dict)  # the tenant is gone by now
    with pytest.raises(TransitKeyMissing):
        check_marks(cast("Any", world), old, lambda: old)
    world.foreign.add(Purpose.DATA)
    with pytest.raises(TransitKeyMissing, match="another data key"):
        check_marks(cast("Any", world), new, lambda: new)


@pytest.mark.parametrize(
    ("key", "marked", "answers", "why"),
    [
        (None, 1, False, Loss.GONE),
        (KeyVersions(1, 1, as_made=True), 1, False, Loss.OTHER),
        (KeyVersions(1, 1, as_made=True), 2, False, Loss.OLDER),
        (KeyVersions(2, 1, as_made=True), 2, True, None),
        (KeyVersions(3, 3, as_made=False), 0, True, None),
    ],
)
def test_what_counts_as_lost(key: KeyVersions | None, marked: int, answers: bool, why: Loss | None) -> None:
    """Gone, another one, or an older one than its canary; not one that answers."""
    assert loss(key, marked, answers=answers) is why


def test_a_vault_that_does_not_answer_has_lost_nothing() -> None:
    """To give keys up because of a time-out would throw everything away."""
    world = full()

    def away(*_: object) -> None:
        raise VaultUnavailable

    world.key = away  # type: ignore[assignment]
    with pytest.raises(VaultUnavailable):
        renew(world.renew_ports, TENANT)
    assert world.renewals == []


def test_keys_that_answer_are_not_renewed() -> None:
    """Nothing is thrown away that can be opened."""
    world = full()
    assert lost(world.ports, TENANT) == {}
    with pytest.raises(Conflict, match="nothing is lost"):
        renew(world.renew_ports, TENANT)
    assert (world.steps, world.renewals) == (["begin"], [])


def test_a_version_that_was_retired_by_hand_is_no_loss() -> None:
    """The key is there: it can be told to open older versions again."""
    world = full()
    world.opens_from[Purpose.DATA] = 2
    with pytest.raises(Conflict, match="keys reopen"):
        renew(world.renew_ports, TENANT)
    assert world.renewals == []


@pytest.mark.parametrize(
    ("gone", "pepper", "logins_above"),
    [
        ({Purpose.CREDENTIALS}, False, 0),
        ({Purpose.PEPPER}, True, None),
        ({Purpose.DATA}, True, None),
        (set(Purpose), True, 0),
    ],
    ids=["credentials", "pepper", "data", "all"],
)
def test_only_what_is_lost_is_renewed(gone: set[Purpose], pepper: bool, logins_above: int | None) -> None:
    """With the snapshots the pepper goes: else the first text of the new stretch would be taken for one of the old."""
    world = full()
    world.gone = set(gone)
    renew(world.renew_ports, TENANT)
    (renewal,) = world.renewals
    assert renewal.lost == dict.fromkeys(gone, Loss.GONE)
    assert (renewal.pepper is not None, renewal.logins_above) == (pepper, logins_above)
    assert renewal.gives_up_snapshots is (Purpose.DATA in gone)
    assert renewal.before == {purpose: f"vault:v1:{purpose}1" for purpose in gone}
    assert renewal.marks == dict.fromkeys(gone, "vault:v1:other1")
    assert [step for step in world.steps if step.startswith("make")] == [f"make {p}" for p in Purpose if p in gone]
    assert world.steps[1] == "keys_renewal_began"


def test_a_stranger_is_used_only_if_it_is_said_or_our_own() -> None:
    """It may be the wrong vault; what a renewal that was cut off has left is taken without a word."""
    ours = dict.fromkeys(Purpose, "vault:v1:other1")
    for world, adopt in ((full(), True), (replace(full(), made_before=ours), False)):
        world.foreign = set(Purpose)
        renew(world.renew_ports, TENANT, adopt=adopt)
        assert not [step for step in world.steps if step.startswith("make")]
    theirs = {
        Purpose.PEPPER: "vault:v1:other1",
        Purpose.DATA: "vault:v1:third1",
        Purpose.CREDENTIALS: "vault:v3:other3",
    }
    for world in (full(), replace(full(), made_before=theirs)):
        world.foreign = set(Purpose)
        with pytest.raises(Conflict, match=r"--adopt"):
            renew(world.renew_ports, TENANT)
        assert (world.steps, world.renewals) == (["begin"], [])


def test_a_key_that_was_made_by_a_renewal_is_none_of_an_older_vault() -> None:
    """Its first version is below the canary of the lost one: nothing of before opens with it."""
    world = replace(full(), foreign=set(Purpose), newest=dict.fromkeys(Purpose, 1))
    world.marks = {purpose: f"vault:v2:{purpose}2" for purpose in Purpose}
    world.made_before = dict.fromkeys(Purpose, "vault:v1:other1")
    renew(world.renew_ports, TENANT)
    (renewal,) = world.renewals
    assert (set(renewal.lost.values()), renewal.logins_above) == ({Loss.OTHER}, 0)


def test_a_key_of_another_kind_is_never_used() -> None:
    """A key that is not derived would ignore whose a text is; it is not ours to delete either."""
    world = replace(full(), foreign=set(Purpose), as_made=False)
    with pytest.raises(Conflict, match="another kind"):
        renew(world.renew_ports, TENANT, adopt=True)
    assert world.renewals == []


def test_of_an_older_key_what_opens_stays_in_use() -> None:
    """A vault that was restored from a backup of before a rotation has only lost what came since."""
    world = full()
    world.newest = dict.fromkeys(Purpose, 1)
    world.marks[Purpose.CREDENTIALS] = text(2, "credentials2")
    with pytest.raises(Conflict, match=r"newer backup.*--adopt"):
        renew(world.renew_ports, TENANT)
    renew(world.renew_ports, TENANT, adopt=True)
    (renewal,) = world.renewals
    assert renewal.lost == {Purpose.CREDENTIALS: Loss.OLDER}
    assert (renewal.logins_above, renewal.pepper) == (1, None)


def test_a_pepper_that_does_not_open_is_lost_alone() -> None:
    """Nothing can be collected without it; its key stays, and so does its canary."""
    world = full()
    pepper = next(number for held, number in world.texts if held is Held.PEPPER)
    world.bad[pepper] = MessageMalformed("altered")
    renew(world.renew_ports, TENANT)
    (renewal,) = world.renewals
    assert (renewal.lost, renewal.marks) == ({Purpose.PEPPER: Loss.PEPPER}, {})
    assert renewal.pepper is not None
    assert not [step for step in world.steps if step.startswith("make")]
    world.bad[pepper] = VaultUnavailable("slow")
    with pytest.raises(VaultUnavailable):
        lost(world.ports, TENANT)
    for other in ("vault:v7:QUJD", "plain"):
        world.texts[Held.PEPPER, pepper] = other
        world.bad[pepper] = TransitKeyMissing("no such version")
        assert lost(world.ports, TENANT) == {Purpose.PEPPER: Loss.PEPPER}


def test_what_is_given_up_is_what_was_confirmed() -> None:
    """Between the question and the act more may have been lost."""
    world = replace(full(), gone={Purpose.DATA, Purpose.PEPPER})
    with pytest.raises(Conflict, match="than what was confirmed"):
        renew(world.renew_ports, TENANT, confirmed={Purpose.DATA: Loss.GONE})
    assert (world.steps, world.renewals) == (["begin"], [])
    renew(world.renew_ports, TENANT, confirmed={Purpose.DATA: Loss.GONE, Purpose.PEPPER: Loss.GONE})
