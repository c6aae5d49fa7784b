"""The past in the terms of a newer normalizer: what is kept is opened, normalized and hashed anew, device by device.

1. of each content of an older normalization the newer hashes are gathered, beside the old ones
2. once a device has all of them, its history is rewritten at once: equal texts become one, and what differed from its
   neighbour by what the newer normalizer calls noise is no change any more
Exports are never touched: of texts that become one the earliest stays, byte for byte (I16). Whoever is killed in 1 goes
on after what was gathered; 2 is one transaction. What cannot be opened keeps its old hash, and an alarm stands.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from backupflow.core.model import SealedConfig, content_hash, keyed_hash
from backupflow.core.renormalizing import Rehashed
from backupflow.errors import BackupflowError, InputInvalid, MessageMalformed, TransitKeyMissing
from backupflow.flows import history
from backupflow.flows.maintain import NEXT_PART, Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backupflow.core.model import DeviceId
    from backupflow.core.ports import RenormalizeStore
    from backupflow.core.renormalizing import Old
    from backupflow.flows.history import Exported, HistoryPorts

RENORMALIZE: Final = "renormalize"
DEVICES: Final = 100  # that are asked for at once


@dataclass(frozen=True, slots=True)
class RenormalizePorts:
    """What it needs of the world; `reading` opens and checks, and says who acts. `version`: of its normalizer."""

    store: RenormalizeStore
    reading: HistoryPorts
    version: int


def renormalize_part(ports: RenormalizePorts, enough: Callable[[], bool]) -> Ran:
    """Go over what is of an older normalization, until there was enough; a tenant without its keys waits."""
    remembered = replace(ports.reading, secrets=history.OnePepper(ports.reading.secrets))
    run = _Run(replace(ports, reading=remembered), enough)
    ended = run.all()
    note, again_in = "", None
    if run.missing:
        note = f"a tenant has not its keys: {run.missing}"
    if not ended or run.counts["waiting"]:
        note, again_in = "to be continued", NEXT_PART
    return Ran(dict(run.counts), note, again_in)


class _Run:
    def __init__(self, ports: RenormalizePorts, enough: Callable[[], bool]) -> None:
        self.ports = ports
        self.counts: Counter[str] = Counter()
        self.missing = ""
        self._enough = enough

    def all(self) -> bool:
        """Every device; whether there are no more."""
        last: DeviceId | None = None
        while page := self.ports.store.waiting(self.ports.version, last, DEVICES):
            for last in page:
                try:
                    ended = self._device(last)
                except TransitKeyMissing as exc:  # of all that is its tenant's
                    self.missing, ended = exc.detail or exc.code, True
                if not ended:
                    return False
        return True

    def _device(self, device_id: DeviceId) -> bool:
        """1 and 2 of one device; False: there was enough."""
        store, version = self.ports.store, self.ports.version
        last, without = 0, list[int]()
        while batch := store.texts(device_id, version, last):
            if self._enough():
                return False
            found = list(self._rehashed(batch))
            store.keep(device_id, version, found)
            last = batch[-1].number
            without += sorted({old.number for old in batch} - {one.number for one in found})
        done = store.rewrite(device_id, version, without, self.ports.reading.actor)
        self.counts["unreadable"] += len(without)
        if done is None:
            self.counts["waiting"] += 1
        elif done.texts or done.merged:
            self.counts.update(
                devices=1, texts=done.texts, merged=done.merged, no_changes=done.unchanged, anew=done.anew
            )
        return not self._enough()

    def _rehashed(self, batch: Sequence[Old]) -> Iterator[Rehashed]:
        """The newer hashes of what opens."""
        for old, exported in self._opened(batch):
            snapshot = old.snapshot
            driver, pepper = self.ports.reading.driver(snapshot.driver), history.pepper_of(self.ports.reading, snapshot)
            normal = driver.normalize(exported.raw)
            drawn = driver.outline(normal)
            yield Rehashed(
                old.number,
                content_hash(pepper, normal),
                keyed_hash(pepper, drawn.shape),
                keyed_hash(pepper, drawn.masked),
            )

    def _opened(self, batch: Sequence[Old]) -> Iterator[tuple[Old, Exported]]:
        sealed = list[tuple["Old", SealedConfig]]()
        for old in batch:
            try:
                self.ports.reading.driver(old.snapshot.driver)
                sealed.append((old, SealedConfig(old.snapshot.sealed)))
            except InputInvalid:  # a driver that this version does not have: what is known of it stays
                continue
            except MessageMalformed as exc:
                self._damaged(old, exc)
        if not sealed:
            return
        given = [(old.snapshot.device_id, text) for old, text in sealed]
        envelopes = self.ports.reading.configs.open_configs(batch[0].snapshot.tenant_id, given)
        for (old, _), envelope in zip(sealed, envelopes, strict=True):
            if (exported := self._unpacked(old, envelope)) is not None:
                yield old, exported

    def _unpacked(self, old: Old, envelope: bytes | BackupflowError) -> Exported | None:
        reading = self.ports.reading
        try:
            if isinstance(envelope, TransitKeyMissing):  # moved to a newer version of its key since it was read
                exported = history.opened(reading, old.snapshot)
                return exported if isinstance(exported, history.Exported) else None
            if isinstance(envelope, BackupflowError):
                raise envelope
            return history.unpacked(old.snapshot, envelope, reading)
        except MessageMalformed as exc:
            self._damaged(old, exc)
        except TransitKeyMissing:  # or under a version that the vault does not have: `verify` tells of it
            pass
        return None

    def _damaged(self, old: Old, exc: MessageMalformed) -> None:
        history.damaged(self.ports.reading, old.snapshot, exc.detail or "it cannot be opened")
