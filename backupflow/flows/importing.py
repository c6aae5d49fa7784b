"""A fleet gets in: what is wanted is planned against what is here, and done in one transaction, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from backupflow.core import becoming, cadence
from backupflow.core.enrolment import Edit, edited, paused, removed, resumed
from backupflow.core.fleet import Act, CarriedOut, Enrolment, NewProfile, NewScope, Orders
from backupflow.core.importing import DEFAULT_PORT, Changed, Orphans, Wanted, gone_from
from backupflow.core.inventory import DeviceLogin, NewDevice, Placement, Update
from backupflow.core.model import DeviceId, ExpectedKey, Login, TrustedHow
from backupflow.core.planning import plan
from backupflow.errors import Conflict, InputInvalid
from backupflow.flows.admitting import login_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from backupflow.core.importing import Asked, Fleet, Plan, WantedProfile
    from backupflow.core.inventory import DeviceRecord
    from backupflow.core.model import TenantId, Trust
    from backupflow.core.ports import FleetStore, SecretSealer

DRIVER = "routeros"
SEALED_AT_ONCE = 100  # the vault refuses more than 1000 strings in a request, and an item has four
# What one new device more adds to the spread of first runs: 1,800 come within 8 minutes, 4 a second.
EACH = timedelta(milliseconds=250)

Key = tuple[str, str]  # tenant, name of a device or profile


@dataclass(frozen=True, slots=True)
class ImportPorts:
    """What importing needs of the world; `actor` is who does it, `moved` hears of each part that is done."""

    store: FleetStore
    sealer: SecretSealer
    spread: tuple[timedelta, timedelta]
    dice: Callable[[], float]
    new_id: Callable[[], UUID]
    actor: str


@dataclass(frozen=True, slots=True)
class Import:
    """What is wanted, and how; `about` goes into the audit with the counts."""

    wanted: Sequence[Wanted]
    asked: Asked
    profiles: Sequence[WantedProfile] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tenants(self) -> frozenset[str]:
        """That it speaks of, by name."""
        named = {row.tenant for row in self.wanted} | {profile.tenant for profile in self.profiles}
        named |= {None} if self.asked.orphans is Orphans.PAUSE else set()
        return frozenset(name or self.asked.tenant for name in named)


def look(ports: ImportPorts, given: Import) -> Plan:
    """What would be done, at this moment."""
    return _plan(given, ports.store.standing(given.tenants))


def take(
    ports: ImportPorts,
    given: Import,
    agreed: Plan,
    *,
    trust: Mapping[Key, Trust] | None = None,
    moved: Callable[[int], None] = lambda _: None,
) -> CarriedOut:
    """Do what was agreed to, all of it or nothing; Conflict if that is not what would be done any more.

    `trust`: what the profiles that are made say of first host keys. `moved` hears of logins sealed and of devices done.
    InputInvalid if something is wrong with what is wanted, and partial was not asked for.
    """
    if agreed.problems and not given.asked.partial:
        raise InputInvalid(f"{len(agreed.problems)} errors; nothing was taken")
    if not agreed.changes_anything:
        return CarriedOut()
    ids = {row.line: DeviceId(ports.new_id()) for row in agreed.added}
    known = {change.wanted.line: change.known.device_id for change in agreed.changed}
    standing = ports.store.standing(given.tenants)
    sealing = _Sealing(ports.sealer, {name: it.tenant_id for name, it in standing.tenants.items()}, moved)
    logins = sealing.of_rows([*agreed.added, *(change.wanted for change in agreed.changed)], ids | known)
    profiles = sealing.of_profiles(ports, given, agreed, trust or {})

    def orders(now: Fleet) -> Orders:
        if _plan(given, now).gist != agreed.gist:
            raise Conflict("the fleet was changed meanwhile; nothing was taken: do it once more")
        return _Ordering(ports, given, agreed, now).orders(ids, logins, profiles)

    touched = {known.device_id for known in (*(it.known for it in agreed.changed), *agreed.gone, *agreed.back)}
    return ports.store.carry_out(given.tenants, touched, orders, ports.actor, moved)


def _plan(given: Import, standing: Fleet) -> Plan:
    return plan(standing, given.wanted, given.asked, given.profiles)


@dataclass(frozen=True, slots=True)
class _Sealing:
    """Logins as they are stored, each sealed for its owner; before the transaction, which nobody should wait for."""

    sealer: SecretSealer
    tenants: Mapping[str, TenantId]
    moved: Callable[[int], None]

    def of_rows(self, rows: Sequence[Wanted], ids: Mapping[int, DeviceId]) -> dict[int, DeviceLogin]:
        """By line."""
        sealed: dict[int, DeviceLogin] = {}
        for tenant, tenant_id in self.tenants.items():
            own = [row for row in rows if row.password is not None and (row.tenant or tenant) == tenant]
            for start in range(0, len(own), SEALED_AT_ONCE):
                part = own[start : start + SEALED_AT_ONCE]
                secrets = [(ids[row.line], login_secret(Login(row.username or "", row.password))) for row in part]
                texts = self.sealer.seal_logins(tenant_id, secrets)
                sealed |= {
                    row.line: DeviceLogin(row.username, "password", text) for row, text in zip(part, texts, strict=True)
                }
                self.moved(len(part))
        return sealed

    def of_profiles(
        self, ports: ImportPorts, given: Import, agreed: Plan, trust: Mapping[Key, Trust]
    ) -> tuple[NewProfile, ...]:
        """Those that are made."""
        brought = {(it.tenant or given.asked.tenant, it.name): it for it in given.profiles}
        made = []
        for tenant, kind, name in agreed.makes:
            if kind == "profile":
                its, profile_id, tenant_id = brought[tenant, name], ports.new_id(), self.tenants[tenant]
                whole = Login(its.username, its.password, its.private_key, its.passphrase)
                text = self.sealer.seal_login(tenant_id, profile_id, login_secret(whole))
                login = DeviceLogin(its.username, "key" if its.private_key else "password", text)
                made.append(NewProfile(tenant_id, profile_id, name, login, trust.get((tenant, name))))
        return tuple(made)


@dataclass(frozen=True, slots=True)
class _Ordering:
    ports: ImportPorts
    given: Import
    agreed: Plan
    standing: Fleet

    def orders(
        self, ids: Mapping[int, DeviceId], logins: Mapping[int, DeviceLogin], profiles: tuple[NewProfile, ...]
    ) -> Orders:
        agreed, source = self.agreed, self.given.asked.source
        gone = removed if self.given.asked.orphans is Orphans.REMOVE else _paused_as(gone_from(source))
        return Orders(
            action="devices_imported",
            about={it.tenant_id: self._about(name) for name, it in self.standing.tenants.items()},
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

    def _about(self, tenant: str) -> dict[str, Any]:
        of_tenant: dict[str, Sequence[object]] = {
            "added": [row for row in self.agreed.added if row.tenant == tenant],
            "changed": [it for it in self.agreed.changed if it.known.tenant == tenant],
            "gone": [known for known in self.agreed.gone if known.tenant == tenant],
            "back": [known for known in self.agreed.back if known.tenant == tenant],
            "unchanged": [known for known in self.agreed.unchanged if known.tenant == tenant],
        }
        counts = {name: len(what) for name, what in of_tenant.items()}
        return {"source": self.given.asked.source, **self.given.about, **counts}

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
            self.standing.tenants[row.tenant or self.given.asked.tenant].tenant_id,
            device_id,
            row.name,
            row.host or "",
            row.port or DEFAULT_PORT,
            DRIVER,
            becoming.settings(row),
            Placement(row.profile or None, row.group or None, row.site or None, row.jump or None),
            (ExpectedKey(row.fingerprint, TrustedHow.IMPORT),) if row.fingerprint else (),
            self.given.asked.source,
        )
        return Enrolment(device, login, self._first_after(row))

    def _first_after(self, row: Wanted) -> timedelta:
        """Spread over so long that the workers can follow, and within an interval: later it would be called sooner."""
        shortest, longest = self.ports.spread
        longest = max(longest, shortest + EACH * len(self.agreed.added))
        if row.interval is not None:
            longest = min(longest, max(timedelta(seconds=row.interval), shortest))
        return cadence.first_after((shortest, longest), self.ports.dice())


def _edited_as(change: Changed, login: DeviceLogin | None) -> Callable[[DeviceRecord], Update | None]:
    row, what = change.wanted, {difference.what for difference in change.differences}
    placement = Placement(**{name: getattr(row, name) for name in ("profile", "group", "site", "jump") if name in what})
    named = becoming.settings(row) if {"legacy_ssh", "interval"} & what else {}
    wanted = Edit(
        host=row.host if "host" in what else None,
        port=row.port if "port" in what else None,
        login=Login(row.username or "", row.password) if login else None,
        settings=named or None,
        placement=placement,
        fingerprint=row.fingerprint if "fingerprint" in what else None,
    )
    if "source" in what:
        return lambda record: _adopted(edited(record, wanted, login), row.source)
    return lambda record: edited(record, wanted, login)


def _adopted(update: Update | None, source: str | None) -> Update:
    update = update or Update("device_edited")
    detail = {**update.detail, "changed": [*update.detail.get("changed", ()), "source"], "source": source}
    return replace(update, columns={**update.columns, "source": source}, detail=detail)


def _paused_as(reason: str) -> Callable[[DeviceRecord], Update | None]:
    return lambda record: paused(record, reason)
