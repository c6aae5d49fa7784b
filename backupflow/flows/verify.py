"""What is kept is still what was collected: every export opened and checked in its turn, by the code that gives it out.

First each device: its history must agree with itself, and its current export must open. Then whatever an alarm stands
for, and last a share of all the rest, the longest unverified first. The database remembers when each was looked at, so
a run that was cut off goes on where it was; one row is held at a time.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

from backupflow.core.verification import Finding, Kept, Verified, alarm_scope
from backupflow.errors import BackupflowError, StoreUnavailable, TransitKeyMissing, Verdict
from backupflow.flows import history
from backupflow.flows.ingest import check_marks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from backupflow.core.history import SealedSnapshot
    from backupflow.core.model import DeviceId, Pepper, SealedSecret, TenantId
    from backupflow.core.ports import Canary, KeyLedger, SecretOpener, VerifyStore
    from backupflow.core.verification import Due, Flaw, Standing, Wanted

PAGE = 500  # devices or numbers asked for at a time
NOTED = 50  # exports whose turn is written down together
# So many that name a version of the key which the vault does not have are rows that were altered; more of them mean a
# vault that is older than what was sealed, of which no snapshot is to blame.
OTHER_VERSIONS = 20


@dataclass(frozen=True, slots=True)
class VerifyPorts:
    """What verifying needs of the world; `history` opens, as for an operator who reads."""

    store: VerifyStore
    history: history.HistoryPorts
    keys: KeyLedger
    canary: Canary


def _not_yet() -> bool:
    return False


def _silent(_: object) -> None:
    return


@dataclass(frozen=True, slots=True)
class Watching:
    """Who watches: `found` hears of each finding, `moved` of each export out of how many; `enough` ends the run."""

    found: Callable[[Finding], None] = _silent
    moved: Callable[[tuple[int, int]], None] = _silent
    enough: Callable[[], bool] = _not_yet


def verify(ports: VerifyPorts, wanted: Wanted, watching: Watching | None = None) -> Verified:
    """Verify what is wanted. A server of ours that is away, or has not its keys, ends the run: that is no damage."""
    remembered = replace(ports.history, secrets=_OnePepper(ports.history.secrets))
    run = _Run(replace(ports, history=remembered), wanted, watching or Watching(), ports.store.begin(wanted))
    try:
        run.done.complete = run.all()
    except BackupflowError as exc:
        if exc.verdict is not Verdict.PAUSE:
            raise
        run.done.trouble = exc
    with suppress(StoreUnavailable):  # then some come again
        run.note()
    return run.done


class _Run:
    def __init__(self, ports: VerifyPorts, wanted: Wanted, watching: Watching, standing: Standing) -> None:
        self.ports = ports
        self.wanted = wanted
        self.watching = watching
        self.standing = standing
        self.done = Verified(unreadable=standing.unreadable)
        self._noted: dict[Kept, list[int]] = {kept: [] for kept in Kept}
        self._whole: list[str] = []
        self._other_versions = 0
        self._total = 0

    def all(self) -> bool:
        """All that is wanted; False if there was enough before."""
        now = self.standing
        contents = max(ceil(self.wanted.share * now.contents) - now.contents_done, 0)
        asides = max(ceil(self.wanted.share * now.asides) - now.asides_done, 0)
        self._total = now.devices + min(contents, max(now.contents - now.devices, 0)) + asides
        return (
            self._devices()
            and self._alarmed(Kept.CONTENT)
            and self._alarmed(Kept.ASIDE)
            and self._share(Kept.CONTENT, contents)
            and self._share(Kept.ASIDE, asides)
        )

    def _devices(self) -> bool:
        after: DeviceId | None = None
        while page := self.ports.store.devices(self.wanted, self.standing.before, after, PAGE):
            for due in page:
                if self.watching.enough():
                    return False
                self._history(due)
                if due.content is not None:
                    self._look(Kept.CONTENT, due.content)
            after = page[-1].device_id
        return True

    def _alarmed(self, kept: Kept) -> bool:
        self.note()  # what was looked at does not come again
        numbers = self.ports.store.alarmed(kept, self.wanted, self.standing.before, PAGE)
        return self._each(kept, numbers)

    def _share(self, kept: Kept, left: int) -> bool:
        while left > 0:
            self.note()
            numbers = self.ports.store.oldest(kept, self.wanted, self.standing.before, min(left, PAGE))
            if not numbers:
                return True
            if not self._each(kept, numbers):
                return False
            left -= len(numbers)
        return True

    def _each(self, kept: Kept, numbers: Sequence[int]) -> bool:
        for number in numbers:
            if self.watching.enough():
                return False
            self._look(kept, number)
        return True

    def _history(self, due: Due) -> None:
        flaws = self.ports.store.flaws(due.device_id)
        new = self.ports.store.settle_history(due, flaws)
        self.done.devices += 1
        for flaw in flaws:
            self._tell(_of_history(due, flaw, new=new))

    def _look(self, kept: Kept, number: int) -> None:
        sight = self.ports.store.sight(kept, number)
        if sight is None:
            return
        snapshot = sight.snapshot
        outcome = self._open(snapshot) if not sight.why else history.damaged(self.ports.history, snapshot, sight.why)
        self.done.opened += 1
        if isinstance(outcome, history.Damaged):
            self._tell(_of_export(outcome, aside=kept is Kept.ASIDE))
        else:
            self._whole.append(alarm_scope(snapshot.device_id, snapshot.first_seq))
        self._noted[kept].append(number)
        if len(self._noted[kept]) >= NOTED:
            self.note()
        self.watching.moved((self.done.opened, max(self._total, self.done.opened)))

    def _open(self, snapshot: SealedSnapshot) -> history.Exported | history.Damaged:
        try:
            return history.opened(self.ports.history, snapshot)
        except TransitKeyMissing as exc:
            self._check_keys(snapshot)
            self._other_versions += 1
            if self._other_versions > OTHER_VERSIONS:
                raise
            return history.damaged(self.ports.history, snapshot, exc.detail)

    def _check_keys(self, snapshot: SealedSnapshot) -> None:
        """The tenant's keys and pepper are what they were, or TransitKeyMissing: then no export is to blame."""
        expected = {key: mark for key, mark in self.ports.keys.all_marks().items() if key[0] == snapshot.tenant_id}
        check_marks(self.ports.canary, expected, self.ports.keys.all_marks)
        history.pepper_of(self.ports.history, snapshot)

    def _tell(self, finding: Finding) -> None:
        self.done.damaged += 1
        self.watching.found(finding)

    def note(self) -> None:
        """Write down what was looked at since the last time."""
        for kept, numbers in self._noted.items():
            if numbers:
                self.ports.store.looked_at(kept, numbers, self._whole)
                numbers.clear()
        self._whole.clear()


def _of_history(due: Due, flaw: Flaw, *, new: bool) -> Finding:
    scope = alarm_scope(due.device_id, None)
    return Finding(due.device_id, due.device_name, flaw.seq, flaw.collected_at, aside=False, why=flaw.why,
                   scope=scope, new=new)  # fmt: skip


def _of_export(found: history.Damaged, *, aside: bool) -> Finding:
    it = found.snapshot
    scope = alarm_scope(it.device_id, it.first_seq)
    return Finding(
        it.device_id, it.device_name, it.first_seq, it.first_collected_at, aside, found.why, scope, found.new
    )


class _OnePepper:
    """core.ports.SecretOpener: the pepper that was opened last is not opened again for each export."""

    def __init__(self, secrets: SecretOpener) -> None:
        self._secrets = secrets
        self._last: tuple[TenantId, SealedSecret] | None = None
        self._pepper: Pepper | None = None

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """Never asked for here."""
        return self._secrets.open_login(tenant_id, context, sealed)

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """The tenant's pepper."""
        if self._pepper is None or self._last != (tenant_id, sealed):
            self._pepper, self._last = self._secrets.open_pepper(tenant_id, sealed), (tenant_id, sealed)
        return self._pepper
