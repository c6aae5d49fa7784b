"""New devices, many at a time: one statement a table for all of them, where one by one would be nine for each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from backupflow.adapters.db.audit import Done
from backupflow.adapters.db.devices import INSERT, LOGIN_OF_ITS_OWN, told_of
from backupflow.adapters.db.effective import LOGIN
from backupflow.adapters.db.fleet_state import Names, names_of
from backupflow.adapters.db.keys import oldest_version
from backupflow.core.inventory import DIRECT
from backupflow.core.model import Purpose
from backupflow.errors import Conflict, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from backupflow.core.fleet import Enrolment
    from backupflow.core.inventory import DeviceLogin
    from backupflow.core.model import TenantId

_EXPECT = text("""
    INSERT INTO expected_key (tenant_id, device_id, fingerprint, key_type, how, added_by)
    VALUES (:tenant, :device, :fingerprint, :key_type, :how, :actor)""")
_WITHOUT_LOGIN = text(f"SELECT count(*) FROM device d {LOGIN} WHERE d.id = ANY(:devices) AND l.id IS NULL")


def enrol(tx: Connection, part: Sequence[Enrolment], actor: str) -> list[Done]:
    """Enrol them within a transaction; their audit rows are the caller's to write. InputInvalid if one has no login."""
    now: datetime = tx.execute(text("SELECT now()")).scalar_one()
    names = {tenant: names_of(tx, tenant) for tenant in {it.device.tenant_id for it in part}}
    tx.execute(INSERT, [_columns(it, names[it.device.tenant_id], now) for it in part])
    _log_in(tx, part)
    _expect(tx, part, actor)
    if tx.scalar(_WITHOUT_LOGIN, {"devices": [it.device.device_id for it in part]}):
        raise InputInvalid("a device would have no login; nothing was taken")
    return [Done("device_added", it.device.tenant_id, it.device.device_id, told_of(it.device)) for it in part]


def check_version(tx: Connection, tenant_id: TenantId, login: DeviceLogin) -> None:
    """Conflict if it was sealed under a version of the key that is not taken in any more."""
    if login.sealed and login.sealed.key_version < oldest_version(tx, tenant_id, Purpose.CREDENTIALS):
        raise Conflict("the keys were rotated at this moment; nothing was taken: do it once more")


def _log_in(tx: Connection, part: Sequence[Enrolment]) -> None:
    values = []
    for it in part:
        if it.login is not None and it.login.sealed is not None:
            check_version(tx, it.device.tenant_id, it.login)
            owner = {"tenant": it.device.tenant_id, "device": it.device.device_id, "username": it.login.username}
            values.append(owner | {"method": it.login.method, "sealed": it.login.sealed.text})
    if values:
        tx.execute(LOGIN_OF_ITS_OWN, values)


def _expect(tx: Connection, part: Sequence[Enrolment], actor: str) -> None:
    values = [
        {
            "tenant": it.device.tenant_id,
            "device": it.device.device_id,
            "fingerprint": key.fingerprint,
            "key_type": key.key_type,
            "how": key.how,
            "actor": actor,
        }
        for it in part
        for key in it.device.expected
    ]
    if values:
        tx.execute(_EXPECT, values)


def _columns(new: Enrolment, names: Names, now: datetime) -> dict[str, Any]:
    device, place = new.device, new.device.placement
    direct = place.jump == DIRECT
    return {
        "id": device.device_id,
        "tenant_id": device.tenant_id,
        "name": device.name,
        "host": device.host,
        "port": device.port,
        "driver": device.driver,
        "settings": json.dumps(dict(device.settings)),
        "source": device.source,
        "site_id": names.sites.get(place.site or ""),
        "device_group_id": names.groups.get(place.group or ""),
        "credential_profile_id": names.profiles.get(place.profile or ""),
        "jump_host_id": None if direct else names.jump_hosts.get(place.jump or ""),
        "jump_direct": direct,
        "due": now + new.first_after,
    }
