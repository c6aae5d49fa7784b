"""The enroller's view of many devices at once: one transaction, devices locked in the order of their ids.

Scopes are locked after devices, as whoever changes a scope does it; the audit, whose lock orders it, comes last.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from backupflow.adapters.db.audit import Done, record_acts
from backupflow.adapters.db.device_records import records
from backupflow.adapters.db.device_sets import write_all
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.enrolments import check_version, enrol
from backupflow.adapters.db.fleet_state import candidates, standing
from backupflow.core.fleet import CarriedOut
from backupflow.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from uuid import UUID

    from backupflow.core.fleet import Act, Candidate, NewProfile, NewScope, Orders
    from backupflow.core.importing import Fleet
    from backupflow.core.model import DeviceId, TenantId
    from backupflow.core.rescheduling import Rescheduled
    from backupflow.core.scope import Policy

_AT_ONCE = 100  # devices between two words about the progress
_SCOPES = tuple(
    text(f"SELECT 1 FROM {table} WHERE {tenant} = ANY(:tenants) ORDER BY id FOR SHARE")
    for table, tenant in (("tenant", "id"), ("device_group", "tenant_id"), ("site", "tenant_id"))
)
_TENANTS = text("SELECT id FROM tenant WHERE name = ANY(:names) AND removed_at IS NULL")
_LOCK = text("SELECT 1 FROM device WHERE id = ANY(:devices) ORDER BY id FOR NO KEY UPDATE")
# A host that no device can have: what leaves an address makes room before it has found its new place.
_LEAVE = text("UPDATE device SET host = '/' || id WHERE id = ANY(:devices)")
_HOSTS = text("SELECT id, host FROM device WHERE id = ANY(:devices)")
_NEW_SCOPE = {
    "group": text("INSERT INTO device_group (tenant_id, name) VALUES (:tenant, :name) RETURNING id"),
    "site": text("INSERT INTO site (tenant_id, name) VALUES (:tenant, :name) RETURNING id"),
}
_NEW_PROFILE = text("""
    INSERT INTO credential_profile (id, tenant_id, name, username, method, sealed, settings)
    VALUES (:id, :tenant, :name, :username, :method, :sealed, CAST(:settings AS jsonb))""")
_TAKEN = {"uq_device_name", "uq_device_address", "uq_device_group_tenant_id_name", "uq_site_tenant_id_name",
          "uq_credential_profile_tenant_id_name"}  # fmt: skip


class FleetDesk:
    """core.ports.FleetStore. `defaults` are the global settings."""

    def __init__(self, engine: Engine, defaults: Policy) -> None:
        self._engine = engine
        self._defaults = defaults

    def standing(self, tenants: Collection[str]) -> Fleet:
        """What is here of these tenants; those that there are not are left out."""
        with transaction(self._engine) as tx:
            return standing(tx, tenants)

    def candidates(self, tenant_id: TenantId) -> Sequence[Candidate]:
        """All devices of a tenant that were not removed, by what they may be chosen by."""
        with transaction(self._engine) as tx:
            return candidates(tx, tenant_id)

    def carry_out(
        self,
        tenants: Collection[str],
        touched: Collection[DeviceId],
        decide: Callable[[Fleet], Orders],
        actor: str,
        moved: Callable[[int], None],
    ) -> CarriedOut:
        """Lock what is touched, let `decide` give the orders, do them, with their audit rows at the end."""
        with _conflicts(), transaction(self._engine) as tx:
            tx.execute(_LOCK, {"devices": list(touched)})
            ids = tx.scalars(_TENANTS, {"names": list(tenants)}).all()
            for statement in _SCOPES:
                tx.execute(statement, {"tenants": ids})
            orders = decide(standing(tx, tenants))
            return _Work(tx, actor, self._defaults, moved).done(orders)


class _Work:
    def __init__(self, tx: Connection, actor: str, defaults: Policy, moved: Callable[[int], None]) -> None:
        self._tx = tx
        self._actor = actor
        self._defaults = defaults
        self._moved = moved
        self._audit: list[Done] = []
        self._rescheduled: Rescheduled | None = None

    def done(self, orders: Orders) -> CarriedOut:
        for profile in orders.profiles:
            self._make_profile(profile)
        for scope in orders.scopes:
            self._make_scope(scope)
        changed = self._act(orders.acts, orders.displaced)
        for start in range(0, len(orders.added), _AT_ONCE):
            part = orders.added[start : start + _AT_ONCE]
            self._audit += enrol(self._tx, part, self._actor)
            self._moved(len(part))
        self._audit += [Done(orders.action, tenant, None, about) for tenant, about in orders.about.items()]
        record_acts(self._tx, self._actor, self._audit)
        return CarriedOut(len(orders.added), changed, self._rescheduled)

    def _make_profile(self, new: NewProfile) -> None:
        login = new.login
        check_version(self._tx, new.tenant_id, login)
        settings = {"trust": new.trust} if new.trust else {}
        values = {"id": new.profile_id, "tenant": new.tenant_id, "name": new.name, "username": login.username}
        values |= {"method": login.method, "sealed": login.sealed and login.sealed.text}
        self._tx.execute(_NEW_PROFILE, values | {"settings": json.dumps(settings)})
        told = {"profile": new.name, "method": login.method, "username": login.username, "settings": settings}
        self._audit.append(Done("credential_added", new.tenant_id, None, told))

    def _make_scope(self, new: NewScope) -> None:
        self._tx.execute(_NEW_SCOPE[new.kind], {"tenant": new.tenant_id, "name": new.name})
        self._audit.append(Done(f"{new.kind}_added", new.tenant_id, None, {new.kind: new.name}))

    # --- devices that are here -----------------------------------------------------------------------------------

    def _act(self, acts: Sequence[Act], displaced: Collection[DeviceId]) -> frozenset[DeviceId]:
        hosts: dict[UUID, str] = {row.id: row.host for row in self._tx.execute(_HOSTS, {"devices": list(displaced)})}
        self._tx.execute(_LEAVE, {"devices": list(displaced)})
        changed: set[DeviceId] = set()
        for part in _parts(acts):
            known = records(self._tx, [act.device_id for act in part], self._defaults)
            decided = []
            for act in part:
                there = known[act.device_id]
                host = hosts.pop(act.device_id, None)
                there = replace(there, host=host) if host else there
                update = act.decide(there)
                if update is not None:
                    # Of a device that has left its address that is written too, if it only goes there by another way.
                    left = {"host": host} if host else {}
                    decided.append((there, replace(update, columns={**left, **update.columns})))
                    self._audit.append(Done(update.action, there.tenant_id, there.device_id, update.detail))
                    changed.add(act.device_id)
            anew = write_all(self._tx, decided, self._actor, self._defaults)
            self._rescheduled = anew if self._rescheduled is None or anew is None else self._rescheduled + anew
            self._moved(len(part))
        if hosts:
            raise Conflict("a device that was to move stays where it is; nothing was done")
        return frozenset(changed)


def _parts(acts: Sequence[Act]) -> Iterator[list[Act]]:
    """In their order, no device twice in one: its second act is decided over what the first one left."""
    part: dict[DeviceId, Act] = {}
    for act in acts:
        if act.device_id in part or len(part) == _AT_ONCE:
            yield list(part.values())
            part = {}
        part[act.device_id] = act
    if part:
        yield list(part.values())


@contextmanager
def _conflicts() -> Iterator[None]:
    """What breaks a unique index was done by somebody else since the orders were given."""
    try:
        yield
    except IntegrityError as exc:
        name = getattr(getattr(exc.orig, "diag", None), "constraint_name", None)
        if name not in _TAKEN:
            raise
        says = "somebody else took a name or an address at this moment; nothing was done: do it once more"
        raise Conflict(says) from exc
