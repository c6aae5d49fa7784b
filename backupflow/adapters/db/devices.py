"""The enroller's view of devices: one act, one locked device, one transaction, one audit row."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.exc import IntegrityError

from backupflow.adapters.db import host_keys
from backupflow.adapters.db.alarms import clear_alarm
from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.claims import LOGIN, policy_of
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.keys import oldest_version
from backupflow.core.inventory import DeviceLogin, DeviceRecord, NewDevice, Update
from backupflow.core.keys import KEYS_LOST
from backupflow.core.model import DeviceId, Purpose, TenantId
from backupflow.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from backupflow.core.scope import Policy

_TENANT = text("SELECT id FROM tenant WHERE name = :name AND removed_at IS NULL")
_FIND = "SELECT id FROM device WHERE tenant_id = :tenant AND name = :name AND status <> 'removed'"
_LOCK = f"{_FIND} FOR NO KEY UPDATE"
_LOAD = text(f"""
    SELECT d.*, d.settings AS device_settings, g.settings AS group_settings, s.settings AS site_settings,
        t.settings AS tenant_settings, l.username, l.method, own.id IS NOT NULL AS has_own_login, now() AS now,
        coalesce(l.suspended_at IS NOT NULL AND l.suspended_reason = :lost, false) AS login_lost,
        CASE WHEN d.unreadable_to_seq > 0 THEN (SELECT k.created_at FROM transit_key k
            WHERE k.tenant_id = d.tenant_id AND k.purpose = 'data') END AS keys_given_up_at,
        (SELECT max(c.collected_at) FROM collection c WHERE c.device_id = d.id AND c.state = 'stored')
            AS last_collected_at,
        current.facts, d.believe_seq > accepted.seq AS believes,
        EXISTS (SELECT 1 FROM collection s WHERE s.device_id = d.id AND s.state = 'suspect' AND s.seq > accepted.seq)
            AS in_doubt
    FROM device d {LOGIN} LEFT JOIN collection current ON current.id = d.current_collection_id
    CROSS JOIN LATERAL (
        SELECT greatest(d.router_since_seq, max(a.seq)) AS seq FROM collection a
        WHERE a.device_id = d.id AND a.state IN ('published', 'stored')) accepted
    WHERE d.id = :device""")
_INSERT = text("""
    INSERT INTO device (id, tenant_id, name, host, port, driver, settings, anchor_at, next_due_at)
    VALUES (:id, :tenant, :name, :host, :port, :driver, CAST(:settings AS jsonb), :due, :due)""")
# A new id: a session that was started with the old login finds it gone right before it would send it.
_LOGIN = text("""
    INSERT INTO credential_profile (tenant_id, device_id, username, method, sealed)
    VALUES (:tenant, :device, :username, :method, :sealed)
    ON CONFLICT (device_id) DO UPDATE SET id = gen_random_uuid(), username = excluded.username,
        method = excluded.method, sealed = excluded.sealed, suspended_at = NULL, suspended_reason = NULL,
        changed_at = now()""")
# Another name does not bring a secret back whose key was lost.
_RENAME_LOGIN = text("""
    UPDATE credential_profile SET id = gen_random_uuid(), username = :username, changed_at = now(),
        suspended_at = CASE WHEN suspended_reason = :lost THEN suspended_at END,
        suspended_reason = CASE WHEN suspended_reason = :lost THEN suspended_reason END
    WHERE device_id = :device""")
_DROP_LOGIN = text("DELETE FROM credential_profile WHERE device_id = :device")
_COLUMNS = {
    "name",
    "host",
    "port",
    "settings",
    "status",
    "removed_at",
    "next_due_at",
    "blocked_code",
    "blocked_detail",
    "blocked_at",
    "failures",
    "remembered_command",
    "router_since_seq",
    "end_mark",
    "believe_seq",
    "modern_ssh_at",
}
_TAKEN = {
    "uq_device_name": "a device of this name is there already",
    "uq_device_address": "a device with this address and port is there already",
}


class Devices:
    """core.ports.DeviceStore. `defaults` are the global settings."""

    def __init__(self, engine: Engine, defaults: Policy) -> None:
        self._engine = engine
        self._defaults = defaults

    def tenant(self, name: str) -> TenantId:
        """The tenant of that name; NotFound if there is none."""
        with transaction(self._engine) as tx:
            found = tx.scalar(_TENANT, {"name": name})
        if found is None:
            raise NotFound(f"tenant {name!r}")
        return TenantId(found)

    def find(self, tenant_id: TenantId, name: str) -> DeviceRecord:
        """The device of that name that was not removed; NotFound if there is none."""
        with transaction(self._engine) as tx:
            return self._record(tx, _found(tx, _FIND, tenant_id, name))

    def add(
        self, device: NewDevice, login: DeviceLogin, due: Callable[[datetime], datetime], actor: str
    ) -> DeviceRecord:
        """Insert it with its login and its first run; Conflict if its name or address is taken."""
        with _conflicts(), transaction(self._engine) as tx:
            values = {
                "id": device.device_id,
                "tenant": device.tenant_id,
                "name": device.name,
                "host": device.host,
                "port": device.port,
                "driver": device.driver,
                "settings": json.dumps(dict(device.settings)),
            }
            tx.execute(_INSERT, values | {"due": due(tx.execute(text("SELECT now()")).scalar_one())})
            _log_in(tx, device.tenant_id, device.device_id, login)
            told = {"name": device.name, "host": device.host, "port": device.port, "driver": device.driver}
            owner = {"tenant_id": device.tenant_id, "device_id": device.device_id}
            record_act(tx, actor, "device_added", **owner, detail=told)
            return self._record(tx, device.device_id)

    def change(
        self, tenant_id: TenantId, name: str, decide: Callable[[DeviceRecord], Update | None], actor: str
    ) -> tuple[DeviceRecord, bool]:
        """Lock it, let `decide` say what changes, apply that with its audit row."""
        with _conflicts(), transaction(self._engine) as tx:
            record = self._record(tx, _found(tx, _LOCK, tenant_id, name))
            update = decide(record)
            if update is None:
                return record, False
            _apply(tx, record, update)
            owner = {"tenant_id": record.tenant_id, "device_id": record.device_id}
            record_act(tx, actor, update.action, **owner, detail=update.detail)
            return self._record(tx, record.device_id), True

    def _record(self, tx: Connection, device_id: DeviceId) -> DeviceRecord:
        row = tx.execute(_LOAD, {"device": device_id, "lost": KEYS_LOST}).one()
        return _record(row, policy_of(self._defaults, row), host_keys.keys_of(tx, device_id))


def _found(tx: Connection, statement: str, tenant_id: TenantId, name: str) -> DeviceId:
    found = tx.scalar(text(statement), {"tenant": tenant_id, "name": name})
    if found is None:
        raise NotFound(f"device {name!r}; see `device list`")
    return DeviceId(found)


def _apply(tx: Connection, record: DeviceRecord, update: Update) -> None:
    device_id = record.device_id
    if update.columns:
        if stray := set(update.columns) - _COLUMNS:
            raise ValueError(stray)
        sets = ", ".join(f"{n} = CAST(:{n} AS jsonb)" if n == "settings" else f"{n} = :{n}" for n in update.columns)
        values = {name: json.dumps(v) if name == "settings" else v for name, v in update.columns.items()}
        tx.execute(text(f"UPDATE device SET {sets} WHERE id = :id"), values | {"id": device_id})
    if update.login:
        _log_in(tx, record.tenant_id, device_id, update.login, record.username)
    if update.drops_login:
        tx.execute(_DROP_LOGIN, {"device": device_id})
    if update.retires:
        host_keys.retire(tx, device_id, update.retires)
    if update.pins is not None:
        host_keys.pin(tx, device_id, update.pins)
    for code in update.clears:
        clear_alarm(tx, code, f"device {device_id}")


def _log_in(
    tx: Connection, tenant_id: TenantId, device_id: DeviceId, login: DeviceLogin, known_as: str | None = None
) -> None:
    values = {"tenant": tenant_id, "device": device_id, "username": login.username or known_as}
    if login.sealed is None:
        tx.execute(_RENAME_LOGIN, values | {"lost": KEYS_LOST})
    elif login.sealed.key_version < oldest_version(tx, tenant_id, Purpose.CREDENTIALS):
        raise Conflict("the keys were rotated at this moment; nothing was changed: do it once more")
    else:
        tx.execute(_LOGIN, values | {"method": login.method, "sealed": login.sealed.text})


def _record(row: Row[Any], policy: Policy, keys: tuple[Any, ...]) -> DeviceRecord:
    return DeviceRecord(
        tenant_id=TenantId(row.tenant_id),
        device_id=DeviceId(row.id),
        name=row.name,
        host=row.host,
        port=row.port,
        driver=row.driver,
        status=row.status,
        settings=row.device_settings,
        username=row.username,
        method=row.method,
        has_own_login=row.has_own_login,
        blocked_code=row.blocked_code,
        blocked_detail=row.blocked_detail,
        blocked_at=row.blocked_at,
        failures=row.failures,
        anchor_at=row.anchor_at,
        next_due_at=row.next_due_at,
        interval=policy.interval,
        last_collected_at=row.last_collected_at,
        now=row.now,
        keys=keys,
        last_seq=row.last_seq,
        modern_ssh_at=row.modern_ssh_at,
        in_doubt=row.in_doubt,
        believes=row.believes,
        facts=row.facts or {},
        login_lost=row.login_lost,
        unreadable_to_seq=row.unreadable_to_seq,
        keys_given_up_at=row.keys_given_up_at,
    )


@contextmanager
def _conflicts() -> Iterator[None]:
    """What breaks a unique index is what somebody else has already."""
    try:
        yield
    except IntegrityError as exc:
        name = getattr(getattr(exc.orig, "diag", None), "constraint_name", None)
        if name not in _TAKEN:
            raise
        raise Conflict(_TAKEN[name]) from exc
