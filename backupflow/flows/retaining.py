"""Retention: what is old goes, a few devices at a time, unless it would be too much at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backupflow.core.retaining import Taken, is_too_much
from backupflow.flows.maintain import NEXT_PART, Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.core.model import DeviceId, TenantId
    from backupflow.core.ports import RetentionStore
    from backupflow.core.retaining import Age, Aged, Holding

PAGE = 100  # devices that are looked at together
AT_ONCE = 20  # devices whose history is cut in one transaction


@dataclass(frozen=True, slots=True)
class Round:
    """What is to go of one tenant, and what went. `braked`: too much for a round that nobody has confirmed."""

    holding: Holding
    aged: tuple[Aged, ...]
    braked: bool
    taken: Taken = field(default_factory=Taken)
    new_alarm: bool = False
    complete: bool = True

    @property
    def configurations(self) -> int:
        """How many are old enough."""
        return sum(one.cut.configurations for one in self.aged if not one.waits)


def look(store: RetentionStore, age: Age, tenant_id: TenantId | None, *, confirmed: bool) -> Iterator[Round]:
    """What a round would take of each tenant, and whether it may."""
    for holding in store.holdings(tenant_id):
        aged = tuple(_aging(store, holding.tenant_id, age))
        gone = sum(one.cut.configurations for one in aged if not one.waits)
        yield Round(holding, aged, not confirmed and is_too_much(gone, holding.configurations))


def take(
    store: RetentionStore, age: Age, planned: Round, actor: str, enough: Callable[[], bool] = lambda: False
) -> Round:
    """Take it away, until there was enough; of a round that is too much nothing goes, and an alarm stands."""
    tenant_id = planned.holding.tenant_id
    if planned.braked:
        return Round(planned.holding, planned.aged, braked=True, new_alarm=store.brake(tenant_id, says(planned)))
    store.brake(tenant_id, "")
    taken = Taken()
    ready = [one.device_id for one in planned.aged if not one.waits]
    for begin in range(0, len(ready), AT_ONCE):
        if enough():
            return Round(planned.holding, planned.aged, braked=False, taken=taken, complete=False)
        taken += store.take(tenant_id, ready[begin : begin + AT_ONCE], age, actor)
    return Round(planned.holding, planned.aged, braked=False, taken=taken)


def says(planned: Round) -> str:
    """Why nothing went, for the alarm."""
    return (
        f"{planned.configurations:,} of {planned.holding.configurations:,} configurations of {planned.holding.tenant} "
        "are older than the retention time: more than a fifth at once, so nothing was taken; `retention run --dry-run`"
    )


def _aging(store: RetentionStore, tenant_id: TenantId, age: Age) -> Iterator[Aged]:
    last: DeviceId | None = None
    while page := store.aging(tenant_id, age, last, PAGE):
        yield from (aged for _, aged in page if aged is not None)
        last = page[-1][0]


def retain_part(store: RetentionStore, age: Age, enough: Callable[[], bool]) -> tuple[Ran, list[str]]:
    """A round over all tenants as a job, and what each new alarm says."""
    taken, waits, braked = Taken(), 0, list[str]()
    for planned in look(store, age, None, confirmed=False):
        done = take(store, age, planned, "job", enough)
        taken += done.taken
        waits += sum(1 for one in done.aged if one.waits)
        braked += [says(done)] if done.new_alarm else []
        if not done.complete:
            return Ran(_counts(taken, waits), "to be continued", NEXT_PART), braked
    return Ran(_counts(taken, waits)), braked


def _counts(taken: Taken, waits: int) -> dict[str, int]:
    return {
        "devices": taken.devices, "configurations": taken.configurations, "collections": taken.collections,
        "devices_that_wait": waits,
    }  # fmt: skip
