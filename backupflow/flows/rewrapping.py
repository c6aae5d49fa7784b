"""Everything that is sealed moves to the newest version of its key, then the older versions are retired.

In steps of which each leaves everything readable, and all can be run again:

1. the vault must have the keys that are known (their canaries)
2. move every sealed text that is not under the newest version; one that cannot be moved is told and left
3. let the canaries be of the newest version: who asks for them looks again what is expected, if the old ones are gone
4. take in nothing older any more, once nothing older is left or under way
5. retire the older versions in the vault; none is deleted, so that even that could be taken back
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core.keys import Held, Rewrapped, Unmoved
from backupflow.core.model import Purpose, Sealed
from backupflow.errors import BackupflowError, MessageMalformed, TransitKeyMissing
from backupflow.flows.keys import check, newest_of, records, refuse_older_vault, remark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backupflow.core.keys import Item
    from backupflow.core.model import TenantId
    from backupflow.flows.keys import KeyPorts


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


def rewrap(
    ports: KeyPorts, tenant_id: TenantId, watching: Watching | None = None, *, retire: bool = False
) -> Rewrapped:
    """Move everything to the newest versions, then `retire` the older ones; can be cut off and run again anywhere."""
    watching = watching or Watching()
    done = Rewrapped()
    with ports.ledger.alone(tenant_id):
        check(ports, tenant_id)  # 1
        newest = newest_of(ports, tenant_id)
        refuse_older_vault(ports, tenant_id, newest)
        known = records(ports, tenant_id)  # a rotation may have been cut off before it wrote its canaries down
        remark(ports, tenant_id, {purpose: new for purpose, new in newest.items() if known[purpose].version < new})
        left = ports.texts.count_left(tenant_id, newest)
        if left:
            detail = {"texts": left} | {purpose.value: version for purpose, version in newest.items()}
            ports.ledger.record(tenant_id, ports.actor, "keys_rewrapped", detail)
        watching.began(left)
        moving = _Moving(ports, tenant_id, newest, watching, done)
        while True:
            moving.all()  # 2
            done.holds = list(_retire(ports, tenant_id, newest, done, moving)) if retire else []
            if not done.holds or done.unmoved or not watching.patient(done.holds):
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
        # A running collection may have in hand what was moved: pepper or login. Or it was in a run that was cut off.
        self.in_hand = True

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
        if item.given_up and isinstance(exc, MessageMalformed | TransitKeyMissing):
            self._done.given_up += 1
        else:
            self._done.unmoved.append(Unmoved(item.name, exc.detail or exc.code))


def _retire(
    ports: KeyPorts, tenant_id: TenantId, newest: Mapping[Purpose, int], done: Rewrapped, moving: _Moving
) -> Sequence[str]:
    """3-5; why that cannot be yet, if it cannot."""
    if done.unmoved:
        return [f"{len(done.unmoved)} texts could not be moved"]
    known = records(ports, tenant_id)
    opened = [
        purpose
        for purpose, version in newest.items()
        if (key := ports.vault.key(tenant_id, purpose)) is not None and key.oldest_opened < version
    ]
    if opened or any(known[purpose].oldest_version < version for purpose, version in newest.items()):
        if moving.in_hand:
            remark(ports, tenant_id, newest)  # 3
            moving.in_hand = False
        holds = ports.ledger.close(tenant_id, newest, ports.actor)  # 4
        if holds:
            return holds
    for purpose in opened:  # 5
        ports.vault.retire(tenant_id, purpose, newest[purpose])
        done.retired[purpose] = newest[purpose]
    return []
