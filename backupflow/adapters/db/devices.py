"""The enroller's view of devices: one act, one locked device, one transaction, one audit row.

`insert`, `record` and `apply` do the same within a transaction of many.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from backupflow.adapters.db import host_keys
from backupflow.adapters.db.alarms import clear_alarm
from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.device_records import record
from backupflow.adapters.db.effective import LOGIN
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.expected_keys import expect, forget
from backupflow.adapters.db.keys import oldest_version
from backupflow.adapters.db.placing import check_address, columns_of, inherited_profile, needs_login, placed
from backupflow.adapters.db.rescheduling import reschedule, timetables
from backupflow.core.inventory import Placement, composed
from backupflow.core.keys import KEYS_LOST
from backupflow.core.model import DeviceId, Purpose, TenantId, TrustedHow
from backupflow.core.scopes import name_taken
from backupflow.errors import Conflict, LoginUnusable, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from backupflow.core.inventory import DeviceLogin, DeviceRecord, Following, NewDevice, Update
    from backupflow.core.scope import Policy

_TENANT = text("SELECT id FROM tenant WHERE name = :name AND removed_at IS NULL")
_FIND = "SELECT id FROM device WHERE tenant_id = :tenant AND name = :name AND status <> 'removed'"
_LOCK = f"{_FIND} FOR NO KEY UPDATE"
_REMOVED = """
    SELECT id FROM device WHERE tenant_id = :tenant AND name = :name AND status = 'removed'
    ORDER BY removed_at DESC LIMIT 1"""
_LOCK_REMOVED = text("SELECT id FROM device WHERE id = :device AND status = 'removed' FOR NO KEY UPDATE")
INSERT = text("""
    INSERT INTO device (id, tenant_id, name, host, port, driver, settings, source, site_id, device_group_id,
        credential_profile_id, jump_host_id, jump_direct, anchor_at, next_due_at)
    VALUES (:id, :tenant_id, :name, :host, :port, :driver, CAST(:settings AS jsonb), :source, :site_id,
        :device_group_id, :credential_profile_id, :jump_host_id, :jump_direct, :due, :due)""")
_HERE = text("SELECT * FROM device WHERE id = :device")
_USED = text(f"""
    SELECT d.via_id, l.id AS login_id FROM device d {LOGIN} WHERE d.id = :device""")
# A new id: a session that was started with the old login finds it gone right before it would send it.
_OWN_LOGIN = """
    INSERT INTO credential_profile AS p (tenant_id, device_id, username, method, sealed)
    VALUES (:tenant, :device, :username, :method, :sealed)
    ON CONFLICT (device_id) DO UPDATE SET id = gen_random_uuid(), username = excluded.username,
        method = excluded.method, sealed = excluded.sealed, {suspended}, changed_at = now()"""
LOGIN_OF_ITS_OWN = text(_OWN_LOGIN.format(suspended="suspended_at = NULL, suspended_reason = NULL"))
# What a person suspended stays so; a new secret is readable in any case.
_LOGIN_UNTRIED = text(
    _OWN_LOGIN.format(
        suspended=f"""
        suspended_at = CASE WHEN p.suspended_reason IS DISTINCT FROM '{KEYS_LOST}' THEN p.suspended_at END,
        suspended_reason = CASE WHEN p.suspended_reason IS DISTINCT FROM '{KEYS_LOST}' THEN p.suspended_reason END"""
    )
)
# Another name does not bring a secret back whose key was lost.
_RENAME_LOGIN = text("""
    UPDATE credential_profile SET id = gen_random_uuid(), username = :username, changed_at = now(),
        suspended_at = CASE WHEN suspended_reason = :lost THEN suspended_at END,
        suspended_reason = CASE WHEN suspended_reason = :lost THEN suspended_reason END
    WHERE device_id = :device""")
_DROP_LOGIN = text("DELETE FROM credential_profile WHERE device_id = :device")
_PLACES = ("site_id", "device_group_id", "credential_profile_id", "jump_host_id")
_UNIQUE = {"name", "host", "port", "jump_direct", *_PLACES}  # what nobody else may have too
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
    "source",
    "paused_reason",
    "maintenance_until",
    "login_on",
    "refused_on",
    "login_since",
    "refused_at",
    "met_at",
    "hold_until",
    "wary_until",
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
        """The device of that name that was not removed; NotFound if there is none, and says if it was removed."""
        with transaction(self._engine) as tx:
            if _there(tx, _FIND, tenant_id, name) is None and _there(tx, _REMOVED, tenant_id, name) is not None:
                raise NotFound(f"device {name!r}: it was removed; `device restore {shlex.quote(name)}` brings it back")
            return record(tx, _found(tx, _FIND, tenant_id, name), self._defaults)

    def within(self, tenant_id: TenantId, group: str | None, site: str | None) -> set[DeviceId]:
        """The devices of a group, at a site, or both; NotFound names what is missing."""
        with transaction(self._engine) as tx:
            named = columns_of(tx, tenant_id, Placement(group=group, site=site))
            wanted = " AND ".join(f"{column} = :{column}" for column in named)
            return set(tx.scalars(text(f"SELECT id FROM device WHERE {wanted}"), named))

    def profile_for(self, tenant_id: TenantId, placement: Placement) -> str | None:
        """The profile whose login a device so placed would use; None: it needs one of its own."""
        with transaction(self._engine) as tx:
            return inherited_profile(tx, tenant_id, placement)

    def look(self, device: NewDevice) -> None:
        """Raise what `add` would of its name, its address and its scopes now: Conflict or NotFound; nothing is held."""
        with transaction(self._engine) as tx:
            columns = _columns_of(tx, device)
            if _there(tx, _FIND, device.tenant_id, device.name) is not None:
                raise name_taken("device", device.name)
            check_address(tx, columns)

    def add(
        self, device: NewDevice, login: DeviceLogin | None, due: Callable[[datetime], datetime], actor: str
    ) -> DeviceRecord:
        """Insert it with its login and its first run; Conflict if its name or address is taken."""
        with transaction(self._engine) as tx:
            device_id = insert(tx, device, login, due(tx.execute(text("SELECT now()")).scalar_one()), actor)
            return record(tx, device_id, self._defaults)

    def change(
        self, tenant_id: TenantId, name: str, decide: Callable[[DeviceRecord], Update | None], actor: str
    ) -> tuple[DeviceRecord, bool]:
        """Lock it, let `decide` say what changes, apply that with its audit row."""
        with transaction(self._engine) as tx:
            there = record(tx, _found(tx, _LOCK, tenant_id, name), self._defaults)
            update = decide(there)
            if update is None:
                return there, False
            apply(tx, there, update, actor, self._defaults)
            return record(tx, there.device_id, self._defaults), True

    def find_removed(self, tenant_id: TenantId, name: str) -> DeviceRecord:
        """The device of that name that was removed last; NotFound if there is none, Conflict if one is collected."""
        with transaction(self._engine) as tx:
            if _there(tx, _REMOVED, tenant_id, name) is None and _there(tx, _FIND, tenant_id, name) is not None:
                raise Conflict(f"{name} is not removed: it is collected; nothing was changed")
            return record(tx, _found(tx, _REMOVED, tenant_id, name), self._defaults)

    def restore(self, removed: DeviceRecord, decide: Callable[[DeviceRecord], Update], actor: str) -> DeviceRecord:
        """Lock one that was removed, and apply what `decide` says; fails as `add` does, and if it is back already."""
        with transaction(self._engine) as tx:
            if tx.scalar(_LOCK_REMOVED, {"device": removed.device_id}) is None:
                raise Conflict(f"{removed.name} was restored at this moment; nothing was changed")
            there = record(tx, removed.device_id, self._defaults)
            apply(tx, there, decide(there), actor, self._defaults)
            if _used(tx, there.device_id).login_id is None:
                raise needs_login(there.name)
            return record(tx, there.device_id, self._defaults)


def insert(tx: Connection, new: NewDevice, login: DeviceLogin | None, due: datetime, actor: str) -> DeviceId:
    """Enrol a device within a transaction, with its audit row; its first run is its anchor.

    NotFound names the scope that is missing, Conflict says which device has its name or its address. Without a login of
    its own it must have a profile, also from a scope: InputInvalid otherwise.
    """
    values = _columns_of(tx, new)
    with placed(tx, values):
        tx.execute(INSERT, values | {"due": due})
    if login is not None:
        _log_in(tx, new.tenant_id, new.device_id, login)
    elif _used(tx, new.device_id).login_id is None:
        raise needs_login(new.name)
    expect(tx, new.tenant_id, new.device_id, new.expected, actor)
    owner = {"tenant_id": new.tenant_id, "device_id": new.device_id}
    record_act(tx, actor, "device_added", **owner, detail=told_of(new))
    return new.device_id


def _columns_of(tx: Connection, new: NewDevice) -> dict[str, Any]:
    """What is to be written of it; NotFound names the scope that is missing."""
    return {
        "id": new.device_id,
        "tenant_id": new.tenant_id,
        "name": new.name,
        "host": new.host,
        "port": new.port,
        "driver": new.driver,
        "settings": json.dumps(dict(new.settings)),
        "source": new.source,
        **dict.fromkeys(_PLACES),
        "jump_direct": False,
        **columns_of(tx, new.tenant_id, new.placement),
    }


def told_of(new: NewDevice) -> dict[str, Any]:
    """What the audit is told of a device that is new."""
    told: dict[str, Any] = {"name": new.name, "host": new.host, "port": new.port, "driver": new.driver}
    told |= {"source": new.source} if new.source else {}
    told |= {"placement": new.placement.named} if new.placement.named else {}
    told |= {"expected": [key.fingerprint for key in new.expected]} if new.expected else {}
    return told


def apply(tx: Connection, there: DeviceRecord, update: Update, actor: str, defaults: Policy) -> None:
    """Write what was decided over a locked device, with its audit row; fails as `insert` does."""
    before = timetables(tx, [there.device_id] if may_reschedule(update) else [], defaults)
    write(tx, there, update, actor)
    reschedule(tx, before, defaults)
    owner = {"tenant_id": there.tenant_id, "device_id": there.device_id}
    record_act(tx, actor, update.action, **owner, detail=update.detail)


def may_reschedule(update: Update) -> bool:
    """Whether its timetable may become another one."""
    return "settings" in update.columns or update.placement.group is not None or update.placement.site is not None


def write(tx: Connection, there: DeviceRecord, update: Update, actor: str) -> None:
    """The same without its audit row: one lock orders the audit, and who does many acts takes it at the end."""
    if update.placement.named or update.login or update.drops_login:
        follows = _write_what_leads_there(tx, there, update)
    else:
        follows = []
        write_columns(tx, there, update.columns)
    write_keys(tx, there, update, actor)
    for following in follows:
        write_columns(tx, there, following.columns)
    for code in {*update.clears, *(code for following in follows for code in following.clears)}:
        clear_alarm(tx, code, f"device {there.device_id}")


def _write_what_leads_there(tx: Connection, there: DeviceRecord, update: Update) -> list[Following]:
    """What may make the way to it another, or its login; and what follows then."""
    used = _used(tx, there.device_id)
    write_columns(tx, there, dict(update.columns) | columns_of(tx, there.tenant_id, update.placement))
    write_login(tx, there, update)
    return what_follows(there, update, used, _used(tx, there.device_id))


def what_follows(there: DeviceRecord, update: Update, used: Row[Any], now: Row[Any]) -> list[Following]:
    """Of another way or another login than before (`via_id`, `login_id`); InputInvalid if it has no login any more."""
    if update.columns.get("status") != "removed" and used.login_id is not None and now.login_id is None:
        raise needs_login(there.name)
    follows = [update.if_moved] if used.via_id != now.via_id else []
    if used.login_id == now.login_id:
        return follows
    return [*follows, update.if_login_differs, *([update.if_other_login] if update.tries_login else [])]


def _there(tx: Connection, statement: str, tenant_id: TenantId, name: str) -> DeviceId | None:
    spelled = (tx.scalar(text(statement), {"tenant": tenant_id, "name": each}) for each in (name, composed(name)))
    found = next((found for found in spelled if found is not None), None)
    return None if found is None else DeviceId(found)


def _found(tx: Connection, statement: str, tenant_id: TenantId, name: str) -> DeviceId:
    found = _there(tx, statement, tenant_id, name)
    if found is None:
        raise NotFound(f"device {name!r}; see `device list`")
    return found


def _used(tx: Connection, device_id: DeviceId) -> Row[Any]:
    """The way to it and the login that are used, wherever they come from."""
    return tx.execute(_USED, {"device": device_id}).one()


def statement_of(columns: Iterable[str]) -> TextClause:
    """What writes these columns of a device."""
    names = list(columns)
    if stray := set(names) - _COLUMNS - set(_PLACES) - {"jump_direct"}:
        raise ValueError(stray)
    sets = ", ".join(f"{n} = CAST(:{n} AS jsonb)" if n == "settings" else f"{n} = :{n}" for n in names)
    return text(f"UPDATE device SET {sets} WHERE id = :id")


def values_of(there: DeviceRecord, columns: Mapping[str, Any]) -> dict[str, Any]:
    """What that statement is given."""
    return {n: json.dumps(v) if n == "settings" else v for n, v in columns.items()} | {"id": there.device_id}


def write_columns(tx: Connection, there: DeviceRecord, columns: Mapping[str, Any]) -> None:
    """Write these of a locked device; Conflict says which device has its name or its address."""
    if not columns:
        return
    statement, values = statement_of(columns), values_of(there, columns)
    if not _UNIQUE & set(columns):
        tx.execute(statement, values)
        return
    before = tx.execute(_HERE, {"device": there.device_id}).mappings().one()
    with placed(tx, {**before, **columns}):
        tx.execute(statement, values)


def write_login(tx: Connection, there: DeviceRecord, update: Update) -> None:
    """Its own login, another one or none any more."""
    if update.login:
        _log_in(tx, there.tenant_id, there.device_id, update.login, there.username, tried=update.tries_login)
    if update.drops_login:
        tx.execute(_DROP_LOGIN, {"device": there.device_id})


def write_keys(tx: Connection, there: DeviceRecord, update: Update, actor: str) -> None:
    """Its host keys, and those that are expected of it."""
    if update.retires:
        host_keys.retire(tx, there.device_id, update.retires)
    if update.pins is not None:
        host_keys.pin(tx, there.device_id, update.pins, update.how or TrustedHow.ACCEPTED, actor)
    elif update.how is not None:
        host_keys.vouch(tx, there.device_id, update.how, actor)
    if update.expects is not None:
        forget(tx, there.device_id)
        expect(tx, there.tenant_id, there.device_id, update.expects, actor)


def _log_in(
    tx: Connection,
    tenant_id: TenantId,
    device_id: DeviceId,
    login: DeviceLogin,
    known_as: str | None = None,
    *,
    tried: bool = True,
) -> None:
    values = {"tenant": tenant_id, "device": device_id, "username": login.username or known_as}
    if login.sealed is None:
        tx.execute(_RENAME_LOGIN, values | {"lost": KEYS_LOST})
    elif login.sealed.key_version < oldest_version(tx, tenant_id, Purpose.CREDENTIALS):
        raise Conflict("the keys were rotated at this moment; nothing was changed: do it once more")
    else:
        clear_alarm(tx, LoginUnusable.code, f"login {device_id}")
        statement = LOGIN_OF_ITS_OWN if tried else _LOGIN_UNTRIED
        tx.execute(statement, values | {"method": login.method, "sealed": login.sealed.text})
