"""Write the escrow of a tenant: every current configuration, opened and checked one by one, and never all at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.core.escrow import configuration_name, file_name, outdated
from backupflow.core.escrow_files import (
    END,
    INVENTORY,
    MISSING,
    NONE_YET,
    README,
    Filed,
    Written,
    inventory,
    lacking,
    member,
    missing,
    readme,
)
from backupflow.errors import BackupflowError, EscrowFailed, StoreUnavailable, TransitKeyMissing, VaultUnavailable
from backupflow.flows import history
from backupflow.flows.ingest import check_marks
from backupflow.flows.maintain import Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backupflow.core.escrow import Escrow
    from backupflow.core.escrow_files import Held
    from backupflow.core.ports import Canary, EscrowFolder, EscrowStore, KeyLedger

AGAIN_AFTER = timedelta(minutes=30)  # what failed
# So many that name a version of the key which the vault does not have are rows that were altered; more of them mean a
# vault that is older than what was sealed.
OTHER_VERSIONS = 20


@dataclass(frozen=True, slots=True)
class EscrowPorts:
    """What it needs of the world; `history` opens, as for an operator who reads."""

    store: EscrowStore
    folder: EscrowFolder
    history: history.HistoryPorts
    keys: KeyLedger
    canary: Canary
    keep: int


def _silent(_: object) -> None:
    return


@dataclass(frozen=True, slots=True)
class Watching:
    """Who watches: `began` hears how many devices there are, `moved` of each; `alarmed` of a new alarm.

    `unexpected` is told what nobody foresaw about one configuration.
    """

    began: Callable[[int], None] = _silent
    moved: Callable[[int], None] = _silent
    alarmed: Callable[[str], None] = _silent
    unexpected: Callable[[Exception], None] = _silent


def write_due(ports: EscrowPorts, watching: Watching) -> Ran:
    """The job: each tenant whose file is due; one that fails holds up no other, and is tried again before long.

    StoreUnavailable ends it all: there is nobody to tell.
    """
    written: list[Written] = []
    failed = 0
    for escrow in ports.store.every():
        if escrow.is_due:
            try:
                written.append(write(ports, escrow, watching))
            except StoreUnavailable:
                raise
            except BackupflowError:
                failed += 1
    counts = {
        "written": len(written), "devices": sum(one.devices for one in written),
        "lacking": sum(len(one.lacking) for one in written), "failed": failed,
    }  # fmt: skip
    return Ran(counts, again_in=AGAIN_AFTER if failed else None)


def write(ports: EscrowPorts, escrow: Escrow, watching: Watching | None = None) -> Written:
    """Write one; whatever keeps it from being written is an alarm, and raised: the files before it stand.

    Who writes for whom is in the audit before anything is opened. A configuration that does not open is left out and
    named; keys or servers that are away end it, and so does a file that would hold nothing of what there is.
    """
    watching = watching or Watching()
    try:
        written = _write(ports, escrow, watching)
    except StoreUnavailable:
        raise
    except BackupflowError as exc:
        why = f"{escrow.tenant}: {exc.detail if isinstance(exc, EscrowFailed) else exc}"
        if ports.store.failed(escrow, why):
            watching.alarmed(why)
        raise
    if ports.store.written(escrow, written, ports.history.actor):
        watching.alarmed(f"{escrow.tenant}: {written.lacks}")
    ports.folder.remove(escrow, outdated(ports.folder.names(escrow), ports.keep, written.file))
    return written


def _write(ports: EscrowPorts, escrow: Escrow, watching: Watching) -> Written:
    ports.folder.ready(escrow)
    _check_keys(ports, escrow)
    total = ports.store.begin(escrow, ports.history.actor)
    watching.began(total)
    remembered = replace(ports.history, secrets=history.OnePepper(ports.history.secrets))
    run = _Run(replace(ports, history=remembered), escrow, watching)
    name, size = ports.folder.write(escrow, run.members(total), run.name)
    return Written(name, size, len(run.filed) - len(run.without), tuple(lacking(run.filed)))


def _check_keys(ports: EscrowPorts, escrow: Escrow) -> None:
    """The tenant's keys are what they were, or TransitKeyMissing: then no configuration is to blame."""
    marks = {key: mark for key, mark in ports.keys.all_marks().items() if key[0] == escrow.tenant_id}
    check_marks(ports.canary, marks, ports.keys.all_marks)


@dataclass(slots=True)
class _Run:
    ports: EscrowPorts
    escrow: Escrow
    watching: Watching
    filed: list[Filed] = field(default_factory=list)
    other_versions: int = 0

    @property
    def without(self) -> list[Filed]:
        return [one for one in self.filed if not one.file]

    def name(self, taken: Sequence[str]) -> str:
        """What it is to be called, when all is written; EscrowFailed if it has nothing of what there should be."""
        found = lacking(self.filed)
        if found and len(self.without) == len(self.filed):
            raise EscrowFailed(f"not one configuration opens, for example {found[0].held.name}: {found[0].why}")
        return file_name(self.escrow.now, taken, whole=not found)

    def members(self, total: int) -> Iterator[bytes]:
        """The tar, piece by piece; no more than one configuration is held."""
        now = self.escrow.now
        yield from member(README, readme(self.escrow, total), now)
        held = self.ports.store.next(self.escrow, None)
        while held is not None:
            yield from self._one(held)
            self.watching.moved(1)
            held = self.ports.store.next(self.escrow, held.device_id)
        yield from member(INVENTORY, inventory(self.filed), now)
        if lacking(self.filed):
            yield from member(MISSING, missing(self.filed), now)
        yield END

    def _one(self, held: Held) -> Iterator[bytes]:
        outcome = self._opened(held)
        bare = replace(held, snapshot=held.snapshot and replace(held.snapshot, sealed=""))  # all of these are kept
        if isinstance(outcome, str):
            self.filed.append(Filed(bare, why=outcome))
            return
        snapshot, raw = outcome.snapshot, outcome.raw
        name = configuration_name(held.name, held.device_id)
        self.filed.append(Filed(bare, name, len(raw), hashlib.sha256(raw).hexdigest()))
        yield from member(name, raw, snapshot.collected_at)

    def _opened(self, held: Held) -> history.Exported | str:
        """The configuration, or why there is none."""
        if held.snapshot is None:
            return held.why or NONE_YET
        try:
            outcome = history.told(self.ports.history, held.snapshot)
        except (StoreUnavailable, VaultUnavailable):
            raise
        except TransitKeyMissing as exc:
            return self._of_this_one(exc)
        except BackupflowError as exc:
            return f"it cannot be checked: {exc.code}, {exc.detail}"
        except Exception as exc:  # noqa: BLE001 - what one row meets must not keep the others out
            self.watching.unexpected(exc)
            return f"it cannot be checked: {type(exc).__name__}"
        match outcome:
            case history.Damaged():
                return outcome.why
            case history.GivenUp():
                return "it was sealed with keys that were lost and given up"
        return outcome

    def _of_this_one(self, exc: TransitKeyMissing) -> str:
        """Why it is this one that has no key; TransitKeyMissing if it is its tenant."""
        _check_keys(self.ports, self.escrow)
        self.other_versions += 1
        if self.other_versions > OTHER_VERSIONS:
            raise exc
        return exc.detail
