"""Updates of many devices within a transaction: one statement for all that are alike, where one by one would be ten.

What comes of it is what `devices.write` does to one after the other; their locks are held for a fraction of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from backupflow.adapters.db.devices import (
    may_reschedule,
    statement_of,
    values_of,
    what_follows,
    write_columns,
    write_keys,
    write_login,
)
from backupflow.adapters.db.effective import LOGIN
from backupflow.adapters.db.placing import columns_of
from backupflow.adapters.db.rescheduling import reschedule, timetables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from backupflow.core.inventory import DeviceRecord, Following, Update
    from backupflow.core.rescheduling import Rescheduled
    from backupflow.core.scope import Policy

    Decided = tuple[DeviceRecord, Update]
    Written = tuple[DeviceRecord, Mapping[str, Any]]

_USED = text(f"SELECT d.id, d.via_id, l.id AS login_id FROM device d {LOGIN} WHERE d.id = ANY(:devices)")
_DROP_LOGINS = text("DELETE FROM credential_profile WHERE device_id = ANY(:devices)")
_CLEAR = text("UPDATE alarm SET cleared_at = now() WHERE code = :code AND scope = ANY(:scopes) AND cleared_at IS NULL")


def write_all(tx: Connection, decided: Sequence[Decided], actor: str, defaults: Policy) -> Rescheduled | None:
    """Write what was decided over locked devices, each of them once, without audit rows; fails as `write` does."""
    turning = [there.device_id for there, update in decided if may_reschedule(update)]
    timetables_before = timetables(tx, turning, defaults)
    leading = [each for each in decided if each[1].placement.named or each[1].login or each[1].drops_login]
    before = _used(tx, leading)
    _write_sets(tx, _with_places(tx, decided))
    _write_logins(tx, leading)
    after = _used(tx, leading)
    follows: list[tuple[DeviceRecord, Following]] = []
    for there, update in leading:
        found = what_follows(there, update, before[there.device_id], after[there.device_id])
        follows += [(there, following) for following in found]
    for there, update in decided:
        write_keys(tx, there, update, actor)
    _write_sets(tx, _joined(follows))
    _clear(tx, [*((there, update.clears) for there, update in decided), *((t, f.clears) for t, f in follows)])
    return reschedule(tx, timetables_before, defaults)


def _with_places(tx: Connection, decided: Iterable[Decided]) -> list[Written]:
    known: dict[object, dict[str, Any]] = {}
    written: list[Written] = []
    for there, update in decided:
        key = there.tenant_id, update.placement
        if key not in known:
            known[key] = columns_of(tx, there.tenant_id, update.placement)
        written.append((there, dict(update.columns) | known[key]))
    return written


def _joined(follows: Iterable[tuple[DeviceRecord, Following]]) -> list[Written]:
    """What follows for each device; of two words on one column the later holds."""
    found: dict[UUID, Written] = {}
    for there, following in follows:
        _, columns = found.get(there.device_id, (there, {}))
        found[there.device_id] = there, {**columns, **following.columns}
    return list(found.values())


def _write_sets(tx: Connection, written: Iterable[Written]) -> None:
    """In sets of those that change the same columns; where a name or an address is taken, one by one to say whose."""
    sets: dict[tuple[str, ...], list[Written]] = {}
    for there, columns in written:
        if columns:
            sets.setdefault(tuple(sorted(columns)), []).append((there, columns))
    for names, alike in sets.items():
        try:
            with tx.begin_nested():
                tx.execute(statement_of(names), [values_of(there, columns) for there, columns in alike])
        except IntegrityError:
            for there, columns in alike:
                write_columns(tx, there, columns)


def _write_logins(tx: Connection, leading: Iterable[Decided]) -> None:
    drops = [there.device_id for there, update in leading if update.drops_login and not update.login]
    if drops:
        tx.execute(_DROP_LOGINS, {"devices": drops})
    for there, update in leading:
        if update.login:
            write_login(tx, there, update)


def _used(tx: Connection, leading: Iterable[Decided]) -> dict[UUID, Row[Any]]:
    ids = [there.device_id for there, _ in leading]
    return {row.id: row for row in tx.execute(_USED, {"devices": ids})} if ids else {}


def _clear(tx: Connection, cleared: Iterable[tuple[DeviceRecord, tuple[str, ...]]]) -> None:
    scopes: dict[str, list[str]] = {}
    for there, codes in cleared:
        for code in codes:
            scopes.setdefault(code, []).append(f"device {there.device_id}")
    for code, each in sorted(scopes.items()):
        tx.execute(_CLEAR, {"code": code, "scopes": each})
