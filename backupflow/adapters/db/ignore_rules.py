"""Rules of what is not told, of a device, a group or a whole tenant; each act with its audit row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.core.ignoring import Rule, StandingRule
from backupflow.core.model import DeviceId
from backupflow.errors import InputInvalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from backupflow.core.ignoring import Place
    from backupflow.core.model import TenantId

MOST: Final = 1000  # of a tenant: each is held against every change
PLACES: Final = {  # by what is called so
    "device": text("SELECT id FROM device WHERE tenant_id = :tenant AND name = :name AND status <> 'removed'"),
    "group": text("SELECT id FROM device_group WHERE tenant_id = :tenant AND name = :name"),
}
_COUNT = text("SELECT count(*) FROM ignore_rule WHERE tenant_id = :tenant")
_ADD = text("""
    INSERT INTO ignore_rule (tenant_id, device_id, device_group_id, component, property, identity, added_by)
    VALUES (:tenant, :device, :group, :component, :property, :identity, :actor) ON CONFLICT DO NOTHING""")
_REMOVE = text("""
    DELETE FROM ignore_rule WHERE tenant_id = :tenant AND device_id IS NOT DISTINCT FROM CAST(:device AS uuid)
      AND device_group_id IS NOT DISTINCT FROM CAST(:group AS uuid) AND component = :component
      AND property = :property AND identity IS NOT DISTINCT FROM CAST(:identity AS text)""")
_LIST = text("""
    SELECT r.component, r.property, r.identity, d.name AS device, g.name AS device_group, r.added_by, r.created_at
    FROM ignore_rule r LEFT JOIN device d ON d.id = r.device_id LEFT JOIN device_group g ON g.id = r.device_group_id
    WHERE r.tenant_id = :tenant ORDER BY g.name NULLS FIRST, d.name NULLS FIRST, r.component, r.property, r.identity""")
_OF = text("""
    SELECT d.id, r.component, r.property, r.identity
    FROM device d JOIN ignore_rule r ON r.tenant_id = d.tenant_id AND (r.device_id = d.id
        OR r.device_group_id = d.device_group_id OR num_nonnulls(r.device_id, r.device_group_id) = 0)
    WHERE d.id = ANY(:devices) ORDER BY r.id""")


class IgnoreRules:
    """core.ports.IgnoreStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def rules(self, tenant_id: TenantId) -> Sequence[StandingRule]:
        """All of a tenant: its own first, then those of groups, then those of devices."""
        with transaction(self._engine) as tx:
            rows = tx.execute(_LIST, {"tenant": tenant_id}).all()
        return [
            StandingRule(
                Rule(row.component, row.property, row.identity),
                row.device,
                row.device_group,
                row.added_by,
                row.created_at,
            )
            for row in rows
        ]

    def add(self, tenant_id: TenantId, place: Place, rule: Rule, actor: str) -> bool:
        """Let it stand; False if it does already. NotFound if there is no such device or group."""
        with transaction(self._engine) as tx:
            values = _values(tx, tenant_id, place, rule)
            if tx.execute(_COUNT, {"tenant": tenant_id}).scalar_one() >= MOST:
                raise InputInvalid(f"there are {MOST} rules already, and each is held against every change")
            if not tx.execute(_ADD, {**values, "actor": actor}).rowcount:
                return False
            record_act(tx, actor, "ignore_added", **_said(values, place, rule))
        return True

    def remove(self, tenant_id: TenantId, place: Place, rule: Rule, actor: str) -> bool:
        """Let it stand no more; False if it does not. NotFound if there is no such device or group."""
        with transaction(self._engine) as tx:
            values = _values(tx, tenant_id, place, rule)
            if not tx.execute(_REMOVE, values).rowcount:
                return False
            record_act(tx, actor, "ignore_removed", **_said(values, place, rule))
        return True


def rules_of(tx: Connection, devices: Sequence[DeviceId]) -> Mapping[DeviceId, tuple[Rule, ...]]:
    """What stands for each of these: its own, those of its group and of its tenant; without those that have none."""
    found: dict[DeviceId, list[Rule]] = {}
    for row in tx.execute(_OF, {"devices": list(devices)}):
        found.setdefault(DeviceId(row.id), []).append(Rule(row.component, row.property, row.identity))
    return {device_id: tuple(rules) for device_id, rules in found.items()}


def _values(tx: Connection, tenant_id: TenantId, place: Place, rule: Rule) -> dict[str, Any]:
    ids: dict[str, UUID | None] = dict.fromkeys(PLACES)
    for kind, name in (("device", place.device), ("group", place.group)):
        if name is not None:
            ids[kind] = tx.scalar(PLACES[kind], {"tenant": tenant_id, "name": name})
            if ids[kind] is None:
                raise NotFound(f"{kind} {name!r}; see `{kind} list`")
    said = {"component": rule.component, "property": rule.property, "identity": rule.identity}
    return {"tenant": tenant_id, **ids, **said}


def _said(values: Mapping[str, Any], place: Place, rule: Rule) -> dict[str, Any]:
    """What the audit says of an act."""
    detail = {"rule": str(rule)} | ({"group": place.group} if place.group is not None else {})
    return {"tenant_id": values["tenant"], "device_id": values["device"], "detail": detail}
