"""The keys of a tenant: rotated, everything moved to the newest version, the older ones retired; renewed when lost.

Rewrapping, in steps of which each leaves everything readable, and all can be run again:

1. the vault must have the keys that are known (their canaries)
2. move every sealed text that is not under the newest version; one that cannot be moved is told and left
3. let the canaries be of the newest version: who asks for them looks again what is expected, if the old ones are gone
4. take in nothing older any more, once nothing older is left or under way
5. retire the older versions in the vault; none is deleted, so that even that could be taken back
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core.keys import Held, KeyRecord, Loss, Renewal, Renewed, Rewrapped, Unmoved, loss
from backupflow.core.model import Purpose, Sealed
from backupflow.errors import BackupflowError, Conflict, NotFound, TransitKeyMissing
from backupflow.flows.ingest import check_marks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backupflow.core.keys import Item, KeyVersions, Stock
    from backupflow.core.model import TenantId
    from backupflow.core.ports import KeyKeeper, KeyMaker, KeyStore, RenewalStore, SealedStore

Expected = dict[tuple["TenantId", Purpose], str]


@dataclass(frozen=True, slots=True)
class KeyPorts:
    """What work on keys needs of the world; `actor` is who does it."""

    vault: KeyKeeper
    ledger: KeyStore
    texts: SealedStore
    actor: str


@dataclass(frozen=True, slots=True)
class RenewPorts:
    """What renewing needs beside that."""

    keys: KeyPorts
    maker: KeyMaker
    store: RenewalStore


def _silent(_: int) -> None:
    return


def _no_patience(_: Sequence[str]) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Watching:
    """Who watches: `began` hears how many there are to move, `moved` of so many more that were looked at.

    `patient` hears why older versions cannot be retired yet, and says whether to look again; it waits by itself.
    """

    began: Callable[[int], None] = _silent
    moved: Callable[[int], None] = _silent
    patient: Callable[[Sequence[str]], bool] = _no_patience


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key as vault and database have it; `vault` None: the vault has none of its name."""

    purpose: Purpose
    vault: KeyVersions | None
    record: KeyRecord
    stock: tuple[Stock, ...]


def show(ports: KeyPorts, tenant_id: TenantId) -> list[KeyState]:
    """How each key stands, and how much is sealed under which of its versions."""
    records, stock = _records(ports, tenant_id), ports.texts.stock(tenant_id)
    return [
        KeyState(
            purpose,
            ports.vault.key(tenant_id, purpose),
            records[purpose],
            tuple(one for one in stock if one.held.purpose is purpose),
        )
        for purpose in Purpose
        if purpose in records
    ]


def rotate(ports: KeyPorts, tenant_id: TenantId) -> dict[Purpose, int]:
    """Add a version to each key; what is sealed from now on is under it. Written down before it is done."""
    with ports.ledger.alone(tenant_id):
        _check(ports, tenant_id)
        next_versions = {purpose: version + 1 for purpose, version in _newest(ports, tenant_id).items()}
        detail = {purpose.value: version for purpose, version in next_versions.items()}
        ports.ledger.record(tenant_id, ports.actor, "keys_rotated", detail)
        return {purpose: ports.vault.rotate(tenant_id, purpose) for purpose in next_versions}


def rewrap(ports: KeyPorts, tenant_id: TenantId, watching: Watching | None = None) -> Rewrapped:
    """Move everything to the newest versions, then retire the older ones; can be cut off and run again anywhere."""
    watching = watching or Watching()
    done = Rewrapped()
    with ports.ledger.alone(tenant_id):
        _check(ports, tenant_id)  # 1
        newest = _newest(ports, tenant_id)
        left = ports.texts.count_left(tenant_id, newest)
        if left:
            detail = {"texts": left} | {purpose.value: version for purpose, version in newest.items()}
            ports.ledger.record(tenant_id, ports.actor, "keys_rewrapped", detail)
        watching.began(left)
        moving = _Moving(ports, tenant_id, newest, watching, done)
        while True:
            moving.all()  # 2
            done.holds = list(_retire(ports, tenant_id, newest, done, moving))
            if not done.holds or not watching.patient(done.holds):
                return done


class _Moving:
    """2: passes over all that is left, until one finds nothing more that can be moved."""

    def __init__(
        self,
        ports: KeyPorts,
        tenant_id: TenantId,
        newest: dict[Purpose, int],
        watching: Watching,
        done: Rewrapped,
    ) -> None:
        self._ports = ports
        self._tenant_id = tenant_id
        self._newest = newest  # grows with what the vault gives: others may rotate a key, too
        self._watching = watching
        self._done = done
        self._failed: set[tuple[Held, object]] = set()
        self.in_hand = False  # what a running collection has in hand was moved: pepper or login

    def all(self) -> None:
        """Everything of every kind."""
        for held in Held:
            while self._pass(held):
                pass

    def _pass(self, held: Held) -> bool:
        """Once through all by key; whether anything was moved, or was another by then: there may be more."""
        after, again = None, False
        while batch := self._ports.texts.left(self._tenant_id, held, self._newest[held.purpose], after):
            after = batch[-1].key
            fresh = [item for item in batch if (held, item.key) not in self._failed]
            if fresh:
                again = self._batch(held, fresh) or again
                self._watching.moved(len(fresh))
        return again

    def _batch(self, held: Held, batch: Sequence[Item]) -> bool:
        texts: list[tuple[Item, Sealed]] = []
        for item in batch:
            try:
                texts.append((item, held.sealed_as(item.sealed)))
            except BackupflowError as exc:
                self._fail(item, exc)
        pairs: list[tuple[Item, str]] = []
        for item, new in self._rewrapped(held, texts):
            if isinstance(new, BackupflowError):
                self._fail(item, new)
            elif new.key_version < self._newest[held.purpose]:
                self._fail(item, BackupflowError("the vault gave it back under an old version"))
            else:
                self._newest[held.purpose] = new.key_version
                pairs.append((item, new.text))
        moved = self._ports.texts.replace(pairs)
        self._done.moved += moved
        self.in_hand = self.in_hand or (moved > 0 and held.purpose is not Purpose.DATA)
        return bool(pairs)

    def _rewrapped(
        self, held: Held, texts: Sequence[tuple[Item, Sealed]]
    ) -> list[tuple[Item, Sealed | BackupflowError]]:
        if not texts:
            return []
        given = [(item.context, sealed) for item, sealed in texts]
        results = self._ports.vault.rewrap_all(self._tenant_id, held.purpose, given)
        return [(item, result) for (item, _), result in zip(texts, results, strict=True)]

    def _fail(self, item: Item, exc: BackupflowError) -> None:
        self._failed.add((item.held, item.key))
        if item.given_up:
            self._done.given_up += 1
        else:
            self._done.unmoved.append(Unmoved(item.name, exc.detail or exc.code))


def _retire(
    ports: KeyPorts, tenant_id: TenantId, newest: Mapping[Purpose, int], done: Rewrapped, moving: _Moving
) -> Sequence[str]:
    """3-5; why that cannot be yet, if it cannot."""
    if done.unmoved:
        return [f"{len(done.unmoved)} texts could not be moved"]
    records = _records(ports, tenant_id)
    for purpose, version in newest.items():  # 3
        if records[purpose].version != version or moving.in_hand:
            mark = ports.vault.mark(tenant_id, purpose, version)
            ports.ledger.remark(tenant_id, purpose, records[purpose].mark, mark)
    moving.in_hand = False
    if any(records[purpose].oldest_version < version for purpose, version in newest.items()):
        holds = ports.ledger.close(tenant_id, newest, ports.actor)  # 4
        if holds:
            return holds
    for purpose, version in newest.items():  # 5
        key = ports.vault.key(tenant_id, purpose)
        if key is not None and key.oldest_opened < version:
            ports.vault.retire(tenant_id, purpose, version)
            done.retired[purpose] = version
    return []


def lost(ports: KeyPorts, tenant_id: TenantId) -> dict[Purpose, Loss]:
    """Which keys count as lost, and why; a vault that is away or refuses raises: that says nothing about its keys."""
    records, stock = _records(ports, tenant_id), ports.texts.stock(tenant_id)
    found = {}
    for purpose, record in records.items():
        versions = [one.version or 0 for one in stock if one.held.purpose is purpose and not one.given_up]
        key = ports.vault.key(tenant_id, purpose)
        if key is not None and key.oldest_opened > record.version:
            raise Conflict(
                f"the {purpose} key opens nothing below version {key.oldest_opened}, and its canary is of version "
                f"{record.version}: set its min_decryption_version back in the vault, nothing of it is lost"
            )
        answers = key is not None and _answers(ports, tenant_id, purpose, record)
        if why := loss(key, max(versions, default=0), answers=answers):
            found[purpose] = why
    return found


def renew(ports: RenewPorts, tenant_id: TenantId, *, adopt: bool = False) -> Renewed:
    """Give up the keys that are lost and use others; Conflict, and nothing done, while all of them answer.

    A key is never deleted and never overwritten. One that is there in place of a lost one is used only if it is of the
    kind that is made here, and if `adopt` says so or an earlier renewal that was cut off may have made it.
    """
    keys = ports.keys
    with keys.ledger.alone(tenant_id):
        gone = lost(keys, tenant_id)
        if not gone:
            raise Conflict("the keys answer as ever: nothing is lost, and nothing was changed")
        records = _records(keys, tenant_id)
        _refuse_strangers(ports, tenant_id, gone, adopt=adopt)
        keys.ledger.record(tenant_id, keys.actor, "keys_renewal_began", {p.value: why.name for p, why in gone.items()})
        for purpose, why in gone.items():
            if why is Loss.GONE:
                ports.maker.make_key(tenant_id, purpose)
        versions = _newest(keys, tenant_id)
        # With the old pepper a text of before would have the hash of before, and not be stored: its content is there,
        # sealed with what is lost.
        pepper = ports.maker.new_pepper(tenant_id) if gone.keys() & {Purpose.PEPPER, Purpose.DATA} else None
        renewal = Renewal(
            tenant_id,
            gone,
            {purpose: records[purpose].mark for purpose in gone},
            {purpose: keys.vault.mark(tenant_id, purpose, versions[purpose]) for purpose in gone},
            pepper,
            _logins_above(gone, versions),
        )
        return ports.store.renew(renewal, keys.actor)


def _refuse_strangers(ports: RenewPorts, tenant_id: TenantId, gone: Mapping[Purpose, Loss], *, adopt: bool) -> None:
    there = {purpose: ports.keys.vault.key(tenant_id, purpose) for purpose in gone}
    for purpose, key in there.items():
        if key is not None and not key.as_made:
            raise Conflict(f"the vault has a key of another kind under the name {purpose}-{tenant_id}: not ours to use")
    strangers = [purpose.value for purpose, why in gone.items() if why is Loss.OTHER]
    if strangers and not adopt and not ports.store.begun(tenant_id):
        raise Conflict(
            f"the vault has another key than before ({', '.join(strangers)}): is it the right vault? "
            "--adopt uses what is there from now on, and overwrites nothing of it"
        )


def _logins_above(gone: Mapping[Purpose, Loss], versions: Mapping[Purpose, int]) -> int | None:
    """Of a key that lacks its newest versions, what is under the others still opens."""
    why = gone.get(Purpose.CREDENTIALS)
    if why is None:
        return None
    return versions[Purpose.CREDENTIALS] if why is Loss.OLDER else 0


def _answers(ports: KeyPorts, tenant_id: TenantId, purpose: Purpose, record: KeyRecord) -> bool:
    try:
        return ports.vault.mark(tenant_id, purpose, record.version) == record.mark
    except TransitKeyMissing:
        return False


def _records(ports: KeyPorts, tenant_id: TenantId) -> dict[Purpose, KeyRecord]:
    records = dict(ports.ledger.records(tenant_id))
    if not records:
        raise NotFound("this tenant has no keys yet: the set-up makes them")
    return records


def _check(ports: KeyPorts, tenant_id: TenantId) -> None:
    """1: with other keys than those that are known nothing is begun."""

    def expected() -> Expected:
        return {(tenant_id, purpose): record.mark for purpose, record in _records(ports, tenant_id).items()}

    check_marks(ports.vault, expected(), expected)


def _newest(ports: KeyPorts, tenant_id: TenantId) -> dict[Purpose, int]:
    newest = {}
    for purpose in Purpose:
        key = ports.vault.key(tenant_id, purpose)
        if key is None:
            raise TransitKeyMissing(f"there is no {purpose} key")
        newest[purpose] = key.newest
    return newest
