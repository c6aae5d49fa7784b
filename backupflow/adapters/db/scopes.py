"""The enroller's view of what stands above devices: one act, one transaction, one audit row, and all that follows.

Lock order: the devices that are concerned (by id), then the scope, then jump hosts. A trigger writes the way to each
device anew when a scope above it gets another jump host.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from backupflow.adapters.db import host_keys, rotations
from backupflow.adapters.db.alarms import clear_alarm
from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.expected_keys import expect_of_jump_host, forget_of_jump_host
from backupflow.adapters.db.keys import oldest_version
from backupflow.adapters.db.placing import columns_of
from backupflow.adapters.db.rescheduling import reschedule, timetables
from backupflow.adapters.db.scope_following import (
    clash,
    due_anew,
    follow,
    lock_all,
    refused_hops,
    standing,
    try_hops_again,
)
from backupflow.adapters.db.scope_records import LISTED, TABLES, record, records
from backupflow.core.inventory import Placement
from backupflow.core.keys import KEYS_LOST
from backupflow.core.model import Purpose
from backupflow.core.refusals import LOGIN_REFUSED
from backupflow.core.scope import Policy
from backupflow.core.scopes import Acted, NewScope, Record, ScopeKind, ScopeUpdate, name_taken
from backupflow.errors import Conflict, LoginUnusable, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from uuid import UUID

    from backupflow.core.inventory import DeviceLogin
    from backupflow.core.model import TenantId

_FIND = "SELECT id FROM {table} WHERE tenant_id = :tenant AND name = :name"
_FIND_TENANT = text("SELECT id FROM tenant WHERE id = :tenant AND removed_at IS NULL")
_LOGIN = text("""
    UPDATE credential_profile SET username = :username, method = :method, sealed = :sealed, changed_at = now(),
        suspended_at = NULL, suspended_reason = NULL, trial_at = NULL, trials = 0 WHERE id = :scope""")
# What a person suspended stays so; a new secret is readable in any case.
_LOGIN_UNTRIED = text(f"""
    UPDATE credential_profile SET username = :username, method = :method, sealed = :sealed, changed_at = now(),
        suspended_at = CASE WHEN suspended_reason IS DISTINCT FROM '{KEYS_LOST}' THEN suspended_at END,
        suspended_reason = CASE WHEN suspended_reason IS DISTINCT FROM '{KEYS_LOST}' THEN suspended_reason END
    WHERE id = :scope""")
# Another name does not bring a secret back whose key was lost. Nor does it let what a person suspended be used again;
# that devices refused the login of the other name says nothing of this one, if it is tried at once.
_RENAME_LOGIN = text("""
    UPDATE credential_profile SET username = :username, changed_at = now(),
        suspended_at = CASE WHEN trial_at IS NULL OR NOT :tried THEN suspended_at END,
        suspended_reason = CASE WHEN trial_at IS NULL OR NOT :tried THEN suspended_reason END,
        trial_at = CASE WHEN NOT :tried THEN trial_at END, trials = CASE WHEN :tried THEN 0 ELSE trials END
    WHERE id = :scope""")
# A person's word takes the place of a suspension that would end by itself.
_SUSPEND = text("""
    UPDATE credential_profile SET suspended_at = now(), suspended_reason = :reason, trial_at = NULL, trials = 0
    WHERE id = :scope""")
# What was refused before is not counted any more.
_RESUME = text("""
    UPDATE credential_profile SET suspended_at = NULL, suspended_reason = NULL, trial_at = NULL, trials = 0,
        proved_at = now()
    WHERE id = :scope""")
# What was removed still says where it stood: that must not hold up what is gone from everywhere else.
_LEAVE = "UPDATE device SET {column} = NULL WHERE {column} = :scope AND status = 'removed'"
_OF_DEVICE = {
    ScopeKind.PROFILE: "credential_profile_id",
    ScopeKind.GROUP: "device_group_id",
    ScopeKind.SITE: "site_id",
    ScopeKind.JUMP_HOST: "jump_host_id",
}
STANDARD = Policy()


class Scopes:
    """core.ports.ScopeStore. `defaults` are the global settings."""

    def __init__(self, engine: Engine, defaults: Policy = STANDARD) -> None:
        self._engine = engine
        self._defaults = defaults

    def find(self, kind: ScopeKind, tenant_id: TenantId, name: str) -> Record:
        """The one of that kind and name; NotFound if there is none. Of a tenant: itself, whatever its name."""
        with transaction(self._engine) as tx:
            return record(tx, kind, _found(tx, kind, tenant_id, name))

    def every(self, kind: ScopeKind, tenant_id: TenantId | None) -> list[Record]:
        """All of that kind, by name; of all tenants if None."""
        with transaction(self._engine) as tx:
            return records(tx, kind, tenant_id)

    def add(self, new: NewScope, actor: str) -> Record:
        """Make it; Conflict if there is one of its name, NotFound names what is missing that it names."""
        with transaction(self._engine) as tx:
            insert(tx, new, actor)
            return record(tx, new.kind, new.scope_id)

    def change(
        self,
        kind: ScopeKind,
        tenant_id: TenantId,
        name: str,
        decide: Callable[[Record], ScopeUpdate | None],
        actor: str,
    ) -> Acted:
        """Lock its devices, then it, let `decide` say what changes, and apply that with what follows."""
        with transaction(self._engine) as tx:
            scope_id = _found(tx, kind, tenant_id, name)
            devices = lock_all(tx, kind, scope_id)
            if devices is None:
                raise _missing(kind, name)
            there = record(tx, kind, scope_id)
            update = decide(there)
            if update is None:
                return Acted(there, changed=False)
            before = standing(tx, devices)
            turns = timetables(tx, devices if "settings" in update.columns else (), self._defaults)
            _write(tx, kind, there, update, actor)
            _rotate(tx, there, update, devices)
            follow(tx, before, update, there.scope_id)
            soon = due_anew(tx, devices, there.scope_id) if update.ends_refusals else None
            anew = reschedule(tx, turns, self._defaults)
            record_act(tx, actor, update.action, tenant_id=there.tenant_id, detail=update.detail)
            after = there if update.removes else record(tx, kind, scope_id)
            return Acted(after, changed=True, rescheduled=anew, expected=soon)


def insert(tx: Connection, new: NewScope, actor: str) -> UUID:
    """Make it within a transaction, with its audit row; fails as `Scopes.add` does."""
    values: dict[str, Any] = {"id": new.scope_id, "name": new.name, "settings": json.dumps(dict(new.settings))}
    if new.kind is not ScopeKind.TENANT:
        values["tenant_id"] = new.tenant_id
    if new.kind is ScopeKind.JUMP_HOST:
        values |= {"host": new.host, "port": new.port}
    if new.kind is ScopeKind.PROFILE and new.login and new.login.sealed:
        _still_good(tx, new.tenant_id, new.login)
        values |= {"username": new.login.username, "method": new.login.method, "sealed": new.login.sealed.text}
    values |= _named(tx, new.kind, new.tenant_id, new.profile, new.jump)
    columns = ", ".join(values)
    marks = ", ".join("CAST(:settings AS jsonb)" if column == "settings" else f":{column}" for column in values)
    with _name_taken(new.kind, new.name), tx.begin_nested():
        tx.execute(text(f"INSERT INTO {TABLES[new.kind]} ({columns}) VALUES ({marks})"), values)
    told: dict[str, Any] = {
        new.kind.value: new.name,
        "settings": dict(new.settings),
        "host": new.host,
        "profile": new.profile,
    }
    if new.kind is ScopeKind.JUMP_HOST:
        expect_of_jump_host(tx, new.tenant_id, new.scope_id, new.expected, actor)
        told |= {"port": new.port, "expected": [key.fingerprint for key in new.expected]}
    told |= {"jump": new.jump, "username": new.login and new.login.username}
    detail = {name: value for name, value in told.items() if value}
    record_act(tx, actor, f"{new.kind}_added", tenant_id=new.tenant_id, detail=detail)
    return new.scope_id


def _found(tx: Connection, kind: ScopeKind, tenant_id: TenantId, name: str) -> UUID:
    statement = _FIND_TENANT if kind is ScopeKind.TENANT else text(_FIND.format(table=TABLES[kind]))
    found: UUID | None = tx.scalar(statement, {"tenant": tenant_id, "name": name})
    if found is None:
        raise _missing(kind, name)
    return found


def _missing(kind: ScopeKind, name: str) -> NotFound:
    return NotFound(f"{kind.word} {name!r}; see `{LISTED[kind]}`")


def _named(tx: Connection, kind: ScopeKind, tenant_id: UUID, profile: str | None, jump: str | None) -> dict[str, Any]:
    columns = columns_of(tx, tenant_id, Placement(profile=profile, jump=jump))
    if kind is ScopeKind.JUMP_HOST and columns.get("credential_profile_id"):
        rotations.refuse_for_jump_host(tx, columns["credential_profile_id"])
    return {name: value for name, value in columns.items() if name != "jump_direct" or kind is ScopeKind.GROUP}


def _rotate(tx: Connection, there: Record, update: ScopeUpdate, devices: Sequence[UUID]) -> None:
    if update.rotates_to is not None:
        _still_good(tx, there.tenant_id, update.rotates_to)
        rotations.begin(tx, there.scope_id, devices, update.rotates_to)
    if update.ends_rotation is not None:
        rotations.end(tx, there.scope_id, devices, update.ends_rotation)


def _write(tx: Connection, kind: ScopeKind, there: Record, update: ScopeUpdate, actor: str) -> None:
    scope_id = there.scope_id
    scope = {"scope": scope_id}
    columns = dict(update.columns) | _named(tx, kind, there.tenant_id, update.profile, update.jump)
    if "suspended_reason" in columns:
        reason = columns.pop("suspended_reason")
        tx.execute(_SUSPEND if reason else _RESUME, scope | ({"reason": reason} if reason else {}))
        clear_alarm(tx, LOGIN_REFUSED, f"login {scope_id}")
    if columns:
        sets = ", ".join(f"{n} = CAST(:{n} AS jsonb)" if n == "settings" else f"{n} = :{n}" for n in columns)
        values = {name: json.dumps(v) if name == "settings" else v for name, v in columns.items()}
        with _name_taken(kind, str(columns.get("name"))), _addresses_apart(tx, kind, scope_id, columns):
            tx.execute(text(f"UPDATE {TABLES[kind]} SET {sets} WHERE id = :scope"), values | scope)
    if update.login:
        _log_in(tx, there.tenant_id, scope_id, update.login, tried=update.ends_refusals)
    if update.ends_refusals:
        try_hops_again(tx, refused_hops(tx, scope_id))
    if kind is ScopeKind.JUMP_HOST:
        _write_hop(tx, there.tenant_id, scope_id, update, actor)
    if update.removes:
        _remove(tx, kind, there)


def _remove(tx: Connection, kind: ScopeKind, there: Record) -> None:
    scope = {"scope": there.scope_id}
    if kind is ScopeKind.PROFILE:
        clear_alarm(tx, LOGIN_REFUSED, f"login {there.scope_id}")
    tx.execute(text(_LEAVE.format(column=_OF_DEVICE[kind])), scope)
    try:
        with tx.begin_nested():
            tx.execute(text(f"DELETE FROM {TABLES[kind]} WHERE id = :scope"), scope)
    except IntegrityError as exc:
        raise Conflict(f"something came to use {kind.word} {there.name} at this moment; nothing was changed") from exc


def _write_hop(tx: Connection, tenant_id: UUID, scope_id: UUID, update: ScopeUpdate, actor: str) -> None:
    if update.retires:
        host_keys.retire(tx, scope_id, update.retires)
    if update.pins is not None and update.how is not None:
        host_keys.pin(tx, scope_id, update.pins, update.how, actor)
    elif update.how is not None:
        host_keys.vouch(tx, scope_id, update.how, actor)
    if update.expects is not None:
        forget_of_jump_host(tx, scope_id)
        expect_of_jump_host(tx, tenant_id, scope_id, update.expects, actor)
    if update.ends_trouble:
        try_hops_again(tx, [scope_id])


def _log_in(tx: Connection, tenant_id: UUID, scope_id: UUID, login: DeviceLogin, *, tried: bool) -> None:
    values = {"scope": scope_id, "username": login.username}
    if tried:
        clear_alarm(tx, LOGIN_REFUSED, f"login {scope_id}")
    if login.sealed is None:
        tx.execute(_RENAME_LOGIN, values | {"tried": tried})
    else:
        _still_good(tx, tenant_id, login)
        clear_alarm(tx, LoginUnusable.code, f"login {scope_id}")
        tx.execute(_LOGIN if tried else _LOGIN_UNTRIED, values | {"method": login.method, "sealed": login.sealed.text})


def _still_good(tx: Connection, tenant_id: UUID, login: DeviceLogin) -> None:
    if login.sealed and login.sealed.key_version < oldest_version(tx, tenant_id, Purpose.CREDENTIALS):  # type: ignore[arg-type]
        raise Conflict("the keys were rotated at this moment; nothing was changed: do it once more")


@contextmanager
def _name_taken(kind: ScopeKind, name: str) -> Iterator[None]:
    """What breaks the unique index of names is what somebody else has already."""
    try:
        yield
    except IntegrityError as exc:
        constraint = getattr(getattr(exc.orig, "diag", None), "constraint_name", None) or ""
        if not (constraint.startswith(f"uq_{TABLES[kind]}_") and constraint.endswith("_name")):
            raise
        raise name_taken(kind.word, name) from exc


@contextmanager
def _addresses_apart(tx: Connection, kind: ScopeKind, scope_id: UUID, columns: Mapping[str, Any]) -> Iterator[None]:
    """No two devices get one address: Conflict names both."""
    try:
        with tx.begin_nested():
            yield
    except IntegrityError as exc:
        if getattr(getattr(exc.orig, "diag", None), "constraint_name", None) != "uq_device_address":
            raise
        raise Conflict(clash(tx, kind, scope_id, columns)) from exc
