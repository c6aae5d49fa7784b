"""What is kept is still what was collected: every export opened and checked in its turn, by the code that gives it out.

First each device: its history must agree with itself, and its current export must open. Then whatever an alarm stands
for, and last a share of all the rest, the longest unverified first. The database remembers when each was looked at, so
a run that was cut off goes on where it was; one row is held at a time.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

from backupflow.core.model import Seq
from backupflow.core.verification import Finding, Flaw, Kept, Keyless, Rest, Verified, alarm_scope
from backupflow.errors import BackupflowError, StoreUnavailable, TransitKeyMissing, VaultUnavailable
from backupflow.flows import history
from backupflow.flows.ingest import check_marks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backupflow.core.history import SealedSnapshot
    from backupflow.core.model import DeviceId, TenantId
    from backupflow.core.ports import Canary, KeyLedger, VerifyStore
    from backupflow.core.verification import Due, Wanted

PAGE = 500  # devices or numbers asked for at a time
NOTED = 50  # exports whose turn is written down together
# So many that name a version of the key which the vault does not have are rows that were altered; more of them mean a
# vault that is older than what was sealed, of which no snapshot is to blame.
OTHER_VERSIONS = 20
NOT_READ = "its history was not read in time, while those of others were"


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
    """Who watches: `found` hears of each finding, `moved` of each export out of how many; `enough` ends the run.

    `unexpected` is told what nobody foresaw about one export.
    """

    found: Callable[[Finding], None] = _silent
    moved: Callable[[tuple[int, int]], None] = _silent
    enough: Callable[[], bool] = _not_yet
    unexpected: Callable[[Exception], None] = _silent


def verify(ports: VerifyPorts, wanted: Wanted, watching: Watching | None = None, rest: Rest | None = None) -> Verified:
    """Verify what is wanted, or what an earlier part left of it.

    A server of ours that is away ends the run: that is no damage. A tenant without its keys is left out, with an alarm
    of its own; so is a row that nothing can be made of: neither holds up the others.
    """
    remembered = replace(ports.history, secrets=history.OnePepper(ports.history.secrets))
    run = _Run(replace(ports, history=remembered), wanted, watching or Watching(), rest)
    try:
        run.all()
    except (StoreUnavailable, VaultUnavailable) as exc:
        run.done.trouble = exc
    with suppress(StoreUnavailable):  # then some come again
        run.note()
    return run.done


class _Run:
    def __init__(self, ports: VerifyPorts, wanted: Wanted, watching: Watching, rest: Rest | None) -> None:
        self.ports = ports
        self.wanted = wanted
        self.watching = watching
        self.done = Verified()
        self._rest = rest
        self._left: dict[Kept, int] = {}
        self._noted: dict[Kept, list[int]] = {kept: [] for kept in Kept}
        self._histories: list[DeviceId] = []
        self._whole: list[str] = []
        self._with_keys: set[TenantId] = set()
        self._without_keys: dict[TenantId, str] = {}
        self._other_versions: Counter[TenantId] = Counter()
        self._stuck: Due | None = None
        self._total = 0

    def all(self) -> None:
        """All that is wanted, or until there was enough."""
        rest = self._rest or self._begun()
        self.standing, self._left = rest.standing, {Kept.CONTENT: rest.contents, Kept.ASIDE: rest.asides}
        self._leave_out(rest.without_keys)
        now = self.standing
        self.done.unreadable = now.unreadable
        self._total = now.devices + min(rest.contents, max(now.contents - now.devices, 0)) + rest.asides
        steps = (
            self._devices,
            lambda: self._alarmed(Kept.CONTENT),
            lambda: self._alarmed(Kept.ASIDE),
            lambda: self._share(Kept.CONTENT),
            lambda: self._share(Kept.ASIDE),
        )
        ended = all(step() for step in steps)
        if not ended:
            self.done.rest = Rest(now, self._left[Kept.CONTENT], self._left[Kept.ASIDE], self._without_keys)
        elif self._without_keys:
            self.done.trouble = TransitKeyMissing(next(iter(self._without_keys.values())))
        self.done.complete = ended and not self._without_keys

    def _begun(self) -> Rest:
        now = self.ports.store.begin(self.wanted)
        share = self.wanted.share
        contents = max(ceil(share * now.contents) - now.contents_done, 0)
        return Rest(now, contents, max(ceil(share * now.asides) - now.asides_done, 0))

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
        self._pass_by()
        return True

    def _alarmed(self, kept: Kept) -> bool:
        self.note()  # what was looked at does not come again
        for number in self.ports.store.alarmed(kept, self.wanted, self.standing.before, PAGE):
            if self.watching.enough():
                return False
            self._look(kept, number)
        return True

    def _share(self, kept: Kept) -> bool:
        while self._left[kept] > 0:
            self.note()
            most = min(self._left[kept], PAGE)
            numbers = self.ports.store.oldest(kept, self.wanted, self.standing.before, most)
            for number in numbers:
                if self.watching.enough():
                    return False
                self._left[kept] -= 1
                self._look(kept, number)
            if not numbers:
                break
        return True

    def _history(self, due: Due) -> None:
        """One that cannot be read in time is passed by, if the next one can: two in a row are the database."""
        try:
            flaws = self.ports.store.flaws(due.device_id)
            new = self.ports.store.settle_history(due, flaws)
        except StoreUnavailable:
            again = self._stuck is not None
            self._pass_by()
            if again:
                raise
            self._stuck = due
            return
        self._pass_by()
        self._looked_at(due, flaws, new=new)

    def _pass_by(self) -> None:
        due, self._stuck = self._stuck, None
        if due is not None:
            flaws, new = [Flaw(Seq(0), None, NOT_READ)], True
            with suppress(StoreUnavailable):  # it is this row of alarms, maybe, that somebody holds
                new = self.ports.store.settle_history(due, flaws)
            self._looked_at(due, flaws, new=new)

    def _looked_at(self, due: Due, flaws: Sequence[Flaw], *, new: bool) -> None:
        self.done.devices += 1
        self._histories.append(due.device_id)
        for flaw in flaws:
            self._tell(_of_history(due, flaw, new=new))
        if len(self._histories) >= NOTED:
            self.note()

    def _look(self, kept: Kept, number: int) -> None:
        sight = self.ports.store.sight(kept, number)
        if isinstance(sight, Keyless):
            self._without(sight.tenant_id, sight.why)
        if sight is None or sight.tenant_id in self._without_keys or isinstance(sight, Keyless):
            return
        snapshot = sight.snapshot
        outcome = self._open(snapshot) if not sight.why else history.damaged(self.ports.history, snapshot, sight.why)
        if outcome is None:
            return
        self.done.opened += 1
        if isinstance(outcome, history.Damaged):
            self._tell(_of_export(outcome, aside=kept is Kept.ASIDE))
        else:
            self._is_whole(snapshot)
        self._noted[kept].append(number)
        if len(self._noted[kept]) >= NOTED:
            self.note()
        self.watching.moved((self.done.opened, max(self._total, self.done.opened)))

    def _is_whole(self, snapshot: SealedSnapshot) -> None:
        self._whole.append(alarm_scope(snapshot.device_id, snapshot.first_seq))
        if snapshot.tenant_id not in self._with_keys:
            self._with_keys.add(snapshot.tenant_id)
            self.ports.store.settle_keys(snapshot.tenant_id)

    def _open(self, snapshot: SealedSnapshot) -> history.Exported | history.Damaged | None:
        """None: its tenant has not its keys."""
        try:
            return history.opened(self.ports.history, snapshot)
        except (StoreUnavailable, VaultUnavailable):
            raise
        except TransitKeyMissing as exc:
            why = self._of_this_one(snapshot, exc)
        except BackupflowError as exc:
            why = f"it cannot be checked: {exc.code}, {exc.detail}"
        except Exception as exc:  # noqa: BLE001 - what one row meets must not keep the others from being opened
            self.watching.unexpected(exc)
            why = f"it cannot be checked: {type(exc).__name__}"
        return history.damaged(self.ports.history, snapshot, why) if why else None

    def _of_this_one(self, snapshot: SealedSnapshot, exc: TransitKeyMissing) -> str:
        """Why it is this export that has no key; empty if it is its tenant."""
        tenant_id = snapshot.tenant_id
        try:
            self._check_keys(snapshot)
        except TransitKeyMissing as missing:
            self._without(tenant_id, missing.detail)
            return ""
        self._other_versions[tenant_id] += 1
        if self._other_versions[tenant_id] > OTHER_VERSIONS:
            self._without(tenant_id, exc.detail)
            return ""
        return exc.detail

    def _check_keys(self, snapshot: SealedSnapshot) -> None:
        """The tenant's keys and pepper are what they were, or TransitKeyMissing: then no export is to blame."""
        expected = {key: mark for key, mark in self.ports.keys.all_marks().items() if key[0] == snapshot.tenant_id}
        check_marks(self.ports.canary, expected, self.ports.keys.all_marks)
        history.pepper_of(self.ports.history, snapshot)

    def _without(self, tenant_id: TenantId, why: str) -> None:
        if tenant_id not in self._without_keys:
            self.ports.store.settle_keys(tenant_id, why)
            self._leave_out({tenant_id: why})

    def _leave_out(self, tenants: Mapping[TenantId, str]) -> None:
        self._without_keys |= tenants
        self.done.without_keys = len(self._without_keys)
        self.wanted = replace(self.wanted, without=tuple(self._without_keys))

    def _tell(self, finding: Finding) -> None:
        self.done.damaged += 1
        self.watching.found(finding)

    def note(self) -> None:
        """Write down what was looked at since the last time."""
        if self._histories:
            self.ports.store.looked_at_histories(self._histories)
            self._histories.clear()
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
