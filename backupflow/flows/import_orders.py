"""A plan that was agreed to -> the orders of one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backupflow.core import becoming
from backupflow.core.enrolment import Edit, edited, paused, removed, resumed
from backupflow.core.fleet import Act, Enrolment, NewProfile, NewScope, Orders
from backupflow.core.importing import DEFAULT_PORT, Asked, Changed, Fleet, Orphans, Plan, Wanted, gone_from
from backupflow.core.inventory import DeviceLogin, NewDevice, Placement, Update
from backupflow.core.model import DeviceId, ExpectedKey, TrustedHow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from backupflow.core.inventory import DeviceRecord

DRIVER = "routeros"


@dataclass(frozen=True, slots=True)
class Ordering:
    """A plan that was agreed to, over the fleet as it stands; `first_run` draws when a new device runs first."""

    asked: Asked
    agreed: Plan
    standing: Fleet
    first_run: Callable[[Wanted, int], timedelta]

    def orders(
        self,
        ids: Mapping[int, DeviceId],
        logins: Mapping[int, DeviceLogin],
        profiles: tuple[NewProfile, ...],
        about: Mapping[str, Any],
    ) -> Orders:
        """`ids` and `logins` by line; `about` goes into the audit with the counts."""
        agreed, source = self.agreed, self.asked.source
        gone = removed if self.asked.orphans is Orphans.REMOVE else _paused_as(gone_from(source))
        return Orders(
            action="devices_imported",
            about={it.tenant_id: {**about, **self._counts(name)} for name, it in self.standing.tenants.items()},
            profiles=profiles,
            scopes=tuple(
                NewScope(self.standing.tenants[tenant].tenant_id, kind, name)
                for tenant, kind, name in agreed.makes
                if kind != "profile"
            ),
            acts=(
                *(Act(known.device_id, gone) for known in agreed.gone),
                *(Act(it.known.device_id, _edited_as(it, logins.get(it.wanted.line))) for it in agreed.changed),
                *(Act(known.device_id, resumed) for known in agreed.back),
            ),
            displaced=self._displaced(),
            added=tuple(self._enrolment(row, ids[row.line], logins.get(row.line)) for row in agreed.added),
        )

    def _counts(self, tenant: str) -> dict[str, Any]:
        of_tenant: dict[str, Sequence[object]] = {
            "added": [row for row in self.agreed.added if row.tenant == tenant],
            "changed": [it for it in self.agreed.changed if it.known.tenant == tenant],
            "gone": [known for known in self.agreed.gone if known.tenant == tenant],
            "back": [known for known in self.agreed.back if known.tenant == tenant],
            "unchanged": [known for known in self.agreed.unchanged if known.tenant == tenant],
        }
        counts = {name: len(what) for name, what in of_tenant.items()}
        return {"source": self.asked.source, **counts}

    def _displaced(self) -> frozenset[DeviceId]:
        """Devices that change and whose present address is wanted by another one."""
        changing = {it.known.device_id: it for it in self.agreed.changed}
        rows: list[tuple[DeviceId | None, Wanted]] = [(None, row) for row in self.agreed.added]
        rows += [(device_id, it.wanted) for device_id, it in changing.items()]
        tenants = self.standing.tenants
        wanted = {}
        for device_id, row in rows:
            then = becoming.then(changing[device_id].known if device_id else None, row)
            wanted[becoming.place(then, tenants[then.tenant])] = device_id
        places = {becoming.place(it.known, tenants[it.known.tenant]): its for its, it in changing.items()}
        return frozenset(its for place, its in places.items() if place in wanted and wanted[place] != its)

    def _enrolment(self, row: Wanted, device_id: DeviceId, login: DeviceLogin | None) -> Enrolment:
        device = NewDevice(
            self.standing.tenants[row.tenant or self.asked.tenant].tenant_id,
            device_id,
            row.name,
            row.host or "",
            row.port or DEFAULT_PORT,
            DRIVER,
            becoming.settings(row),
            Placement(row.profile or None, row.group or None, row.site or None, row.jump or None),
            (ExpectedKey(row.fingerprint, TrustedHow.IMPORT),) if row.fingerprint else (),
            self.asked.source,
        )
        return Enrolment(device, login, self.first_run(row, len(self.agreed.added)))


def _edited_as(change: Changed, login: DeviceLogin | None) -> Callable[[DeviceRecord], Update | None]:
    """A login that is written ends no block and no suspension: an import may be repeated by a clock, without a person.

    Who was refused would send the same password each time, until the account is locked.
    """
    row, what = change.wanted, {difference.what for difference in change.differences}
    placement = Placement(**{name: getattr(row, name) for name in ("profile", "group", "site", "jump") if name in what})
    named = becoming.settings(row) if {"legacy_ssh", "interval", "cron"} & what else {}
    wanted = Edit(
        host=row.host if "host" in what else None,
        port=row.port if "port" in what else None,
        settings=named or None,
        placement=placement,
        fingerprint=row.fingerprint if "fingerprint" in what else None,
    )

    def decided(record: DeviceRecord) -> Update | None:
        update = edited(record, wanted, login)
        if "source" in what:
            update = _adopted(update, row.source)
        return update and replace(update, tries_login=False)

    return decided


def _adopted(update: Update | None, source: str | None) -> Update:
    update = update or Update("device_edited")
    detail = {**update.detail, "changed": [*update.detail.get("changed", ()), "source"], "source": source}
    return replace(update, columns={**update.columns, "source": source}, detail=detail)


def _paused_as(reason: str) -> Callable[[DeviceRecord], Update | None]:
    return lambda record: paused(record, reason)
