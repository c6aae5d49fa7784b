"""Where a device belongs: names become ids, and who has its name or its address already is named."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from backupflow.core.inventory import DIRECT, Placement
from backupflow.core.scopes import name_taken
from backupflow.errors import Conflict, InputInvalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

_NAMED = text("""
    SELECT (SELECT id FROM credential_profile WHERE tenant_id = :tenant AND name = :profile) AS profile,
        (SELECT id FROM device_group WHERE tenant_id = :tenant AND name = :group) AS group,
        (SELECT id FROM site WHERE tenant_id = :tenant AND name = :site) AS site,
        (SELECT id FROM jump_host WHERE tenant_id = :tenant AND name = :jump) AS jump""")
_COLUMNS = {
    "profile": "credential_profile_id",
    "group": "device_group_id",
    "site": "site_id",
    "jump": "jump_host_id",
}
_CALLED = {
    "profile": ("credential profile", "credential list"),
    "group": ("group", "group list"),
    "site": ("site", "site list"),
    "jump": ("jump host", "jump list"),
}
_INHERITED = text("""
    SELECT p.name FROM tenant t LEFT JOIN device_group g ON g.id = CAST(:group AS uuid)
    LEFT JOIN site s ON s.id = CAST(:site AS uuid)
    JOIN credential_profile p ON p.id = coalesce(CAST(:profile AS uuid), g.credential_profile_id,
        s.credential_profile_id, t.credential_profile_id)
    WHERE t.id = :tenant""")
# The jump host that a device so placed is reached through; as the trigger of the table reckons it.
WAY = """
    SELECT CASE WHEN CAST(:direct AS boolean) THEN NULL
                WHEN CAST(:jump AS uuid) IS NOT NULL THEN CAST(:jump AS uuid)
                WHEN g.jump_direct THEN NULL
                ELSE coalesce(g.jump_host_id, s.jump_host_id, t.jump_host_id) END
    FROM tenant t LEFT JOIN device_group g ON g.id = CAST(:group AS uuid)
    LEFT JOIN site s ON s.id = CAST(:site AS uuid) WHERE t.id = :tenant"""
_TAKEN_BY = text(f"""
    SELECT o.name, v.name AS via FROM device o LEFT JOIN jump_host v ON v.id = o.via_id
    WHERE o.tenant_id = :tenant AND o.status <> 'removed' AND o.id <> :id AND o.host = :host AND o.port = :port
      AND o.via_id IS NOT DISTINCT FROM ({WAY})""")


def columns_of(tx: Connection, tenant_id: UUID, placement: Placement) -> dict[str, Any]:
    """What is to be written of what a placement speaks of; NotFound names what is missing."""
    named = placement.named
    if not named:
        return {}
    names = dict.fromkeys(_COLUMNS) | {what: name or None for what, name in named.items()}
    row = tx.execute(_NAMED, {"tenant": tenant_id, **names}).mappings().one()
    columns: dict[str, Any] = {}
    for what, name in named.items():
        direct = what == "jump" and name == DIRECT
        if name and not direct and row[what] is None:
            noun, see = _CALLED[what]
            raise NotFound(f"{noun} {name!r}; see `{see}`")
        columns[_COLUMNS[what]] = None if direct else row[what]
        columns |= {"jump_direct": direct} if what == "jump" else {}
    return columns


def inherited_profile(tx: Connection, tenant_id: UUID, placement: Placement) -> str | None:
    """The profile whose login a device so placed would use, if it has none of its own."""
    columns = columns_of(tx, tenant_id, placement)
    ids = {what: columns.get(column) for what, column in _COLUMNS.items()}
    found: str | None = tx.scalar(_INHERITED, {"tenant": tenant_id, **ids})
    return found


@contextmanager
def placed(tx: Connection, device: Mapping[str, Any]) -> Iterator[None]:
    """Write a device within a savepoint; Conflict says which device has its name or its address.

    `device`: its columns as they are to be; also where they are not written.
    """
    try:
        with tx.begin_nested():
            yield
    except IntegrityError as exc:
        name = getattr(getattr(exc.orig, "diag", None), "constraint_name", None) or ""
        if name == "uq_device_name":
            raise name_taken("device", device["name"]) from exc
        if name == "uq_device_address":
            raise Conflict(_whose_address(tx, device)) from exc
        if name.startswith("fk_device_"):
            raise Conflict(f"{device['name']}: a scope or jump host of it was removed at this moment") from exc
        raise


def check_address(tx: Connection, device: Mapping[str, Any]) -> None:
    """Conflict if another device has its address on the same way now; `device`: its columns as they are to be."""
    if tx.execute(_TAKEN_BY, _way_of(device)).first() is not None:
        raise Conflict(_whose_address(tx, device))


def _way_of(device: Mapping[str, Any]) -> dict[str, Any]:
    return {name: device.get(name) for name in ("id", "host", "port")} | {
        "tenant": device["tenant_id"],
        "group": device.get("device_group_id"),
        "site": device.get("site_id"),
        "jump": device.get("jump_host_id"),
        "direct": device.get("jump_direct", False),
    }


def _whose_address(tx: Connection, device: Mapping[str, Any]) -> str:
    row = tx.execute(_TAKEN_BY, _way_of(device)).first()
    where = f"{device['host']} port {device['port']}"
    if row is None:  # moved or removed at this moment
        return f"{device['name']}: another device has {where} already"
    return f"{device['name']}: device {row.name} has {where}{f' behind {row.via}' if row.via else ''} already"


def needs_login(name: str) -> InputInvalid:
    """What to say of a device that would have none."""
    return InputInvalid(
        f"{name} would have no login: give it a password or a key of its own, or a profile, itself or its group or site"
    )
