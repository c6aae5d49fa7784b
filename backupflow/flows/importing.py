"""A fleet gets in: what is wanted is planned against what is here, and done in one transaction, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from backupflow.core import cadence
from backupflow.core.fleet import CarriedOut, NewProfile, Orders
from backupflow.core.importing import Orphans, Wanted
from backupflow.core.inventory import DeviceLogin
from backupflow.core.model import DeviceId, Login
from backupflow.core.planning import plan
from backupflow.errors import Conflict, InputInvalid
from backupflow.flows.admitting import login_secret
from backupflow.flows.import_orders import Ordering

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from backupflow.core.importing import Asked, Fleet, Plan, WantedProfile
    from backupflow.core.model import TenantId, Trust
    from backupflow.core.ports import FleetStore, SecretSealer

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

    def first_run(self, row: Wanted, among: int) -> timedelta:
        """Spread over so long that the workers can follow, and within an interval: later it would be called sooner."""
        shortest, longest = self.spread
        longest = max(longest, shortest + EACH * among)
        if row.interval is not None:
            longest = min(longest, max(timedelta(seconds=row.interval), shortest))
        return cadence.first_after((shortest, longest), self.dice())


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
        return Ordering(given.asked, agreed, now, ports.first_run).orders(ids, logins, profiles, given.about)

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
