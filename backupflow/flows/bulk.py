"""One act on many devices at once: all of it in one transaction, or nothing, each with its audit row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from backupflow.core.choosing import chosen
from backupflow.core.enrolment import edited
from backupflow.core.fleet import Act, CarriedOut, Orders
from backupflow.errors import InputInvalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from backupflow.core.enrolment import Edit
    from backupflow.core.fleet import Candidate
    from backupflow.core.importing import Fleet
    from backupflow.core.inventory import DeviceRecord, Update
    from backupflow.core.ports import FleetStore


# How far apart devices are due that one act makes due at once: as many a second as an import brings (flows.importing).
EACH = timedelta(milliseconds=250)
MOST = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Part:
    """Which devices of a tenant, by what they have in common; None and () say nothing."""

    tenant: str
    group: str | None = None
    site: str | None = None
    where: tuple[str, ...] = ()


def devices_of(store: FleetStore, part: Part) -> Sequence[Candidate]:
    """Those, by name; NotFound if the tenant, the group or the site is missing, InputInvalid as core.choosing."""
    chosen((), group=None, site=None, conditions=part.where)
    scopes = store.standing([part.tenant]).tenants.get(part.tenant)
    if scopes is None:
        raise NotFound(f"tenant {part.tenant!r}; see `tenant list`")
    if part.group is not None and part.group not in scopes.groups:
        raise NotFound(f"group {part.group!r}; see `group list`")
    if part.site is not None and part.site not in scopes.sites:
        raise NotFound(f"site {part.site!r}; see `site list`")
    return chosen(store.candidates(scopes.tenant_id), group=part.group, site=part.site, conditions=part.where)


def act(
    store: FleetStore,
    tenant: str,
    devices: Sequence[Candidate],
    decide: Callable[[DeviceRecord], Update | None],
    actor: str,
    *,
    moved: Callable[[int], None] = lambda _: None,
) -> CarriedOut:
    """Do it to all of them; fails as a whole if it cannot be done to one.

    Those that it makes due at once are due one after another.
    """
    ids = sorted(device.device_id for device in devices)

    def orders(_: Fleet) -> Orders:
        return Orders("", {}, acts=tuple(Act(id_, _in_turn(decide, EACH * n)) for n, id_ in enumerate(ids)))

    return store.carry_out([tenant], ids, orders, actor, moved)


def _in_turn(
    decide: Callable[[DeviceRecord], Update | None], after: timedelta
) -> Callable[[DeviceRecord], Update | None]:
    """The same, but due so much later, where it is due at once; never later than its period, nor than MOST."""

    def decided(record: DeviceRecord) -> Update | None:
        update = decide(record)
        if update is None:
            return None
        wait = min(after, MOST, record.interval)
        moved, other = (
            replace(it, columns=_later(it.columns, record.now, wait)) for it in (update.if_moved, update.if_other_login)
        )
        return replace(update, columns=_later(update.columns, record.now, wait), if_moved=moved, if_other_login=other)

    return decided


def _later(columns: Mapping[str, Any], now: datetime, wait: timedelta) -> Mapping[str, Any]:
    return {**columns, "next_due_at": now + wait} if columns.get("next_due_at") == now else columns


def edits(wanted: Edit) -> Callable[[DeviceRecord], Update | None]:
    """What of many devices may be changed at once: not what is each one's own."""
    of_one = replace(wanted, settings=None, unset=(), port=None, forget_login=False, placement=type(wanted)().placement)
    if of_one != type(wanted)():
        raise InputInvalid("a name, an address, a host key or a login is each device's own: name one device")
    return lambda record: edited(record, wanted, None)
