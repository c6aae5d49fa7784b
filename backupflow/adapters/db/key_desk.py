"""Host keys of a whole fleet at one look: which wait for a person, whose are whose, how they came to be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine, Row, text

from backupflow.adapters.db.effective import LOGIN
from backupflow.adapters.db.engine import transaction
from backupflow.core.key_owners import KeyOwner, TrustCount, Twin
from backupflow.core.model import HostKey
from backupflow.core.pending import PendingKey, Waiting
from backupflow.core.trust import MOST_UNASKED
from backupflow.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from backupflow.core.model import DeviceId, TenantId

# What a device or a jump host offers, unless it has shown its pinned key since, and what there is instead of it.
_WAITING = """
    SELECT {owner}.name, {owner}.host, {owner}.port, {owner}.blocked_code IS NOT NULL AS blocked, {places},
        k.key_type, k.fingerprint, k.first_seen_at, k.last_seen_at, p.fingerprint AS pinned, p.key_type AS pinned_type,
        ARRAY(SELECT e.fingerprint FROM expected_key e WHERE e.{key} = {owner}.id ORDER BY e.id) AS expected
    FROM {owner} {joins}
    JOIN LATERAL (SELECT * FROM host_key o WHERE o.{key} = {owner}.id AND o.status = 'offered'
        ORDER BY o.last_seen_at DESC, o.id DESC LIMIT 1) k ON true
    LEFT JOIN host_key p ON p.{key} = {owner}.id AND p.status = 'pinned'
    WHERE {owner}.tenant_id = :tenant AND (p.id IS NULL OR p.last_seen_at < k.last_seen_at) AND {among}
    ORDER BY {owner}.name"""
_DEVICES_WAITING = text(
    _WAITING.format(
        owner="device",
        key="device_id",
        places="s.name AS site, g.name AS group_name, "
        "(SELECT facts FROM collection WHERE id = device.current_collection_id) AS facts",
        joins="LEFT JOIN site s ON s.id = device.site_id LEFT JOIN device_group g ON g.id = device.device_group_id",
        among="device.status <> 'removed' AND (CAST(:site AS text) IS NULL OR s.name = :site) "
        "AND (CAST(:group AS text) IS NULL OR g.name = :group)",
    )
)
_HOPS_WAITING = text(
    _WAITING.format(
        owner="jump_host",
        key="jump_host_id",
        places="NULL AS site, NULL AS group_name, NULL AS facts",
        joins="",
        among="true",
    )
)
_AT_SITES = text("""
    SELECT s.name, count(*) AS devices FROM device d LEFT JOIN site s ON s.id = d.site_id
    WHERE d.tenant_id = :tenant AND d.status <> 'removed' GROUP BY s.name""")
_NAMED = text("""
    SELECT (CAST(:site AS text) IS NULL OR EXISTS (SELECT 1 FROM site WHERE tenant_id = :tenant AND name = :site))
            AS site,
        (CAST(:group AS text) IS NULL OR EXISTS (
            SELECT 1 FROM device_group WHERE tenant_id = :tenant AND name = :group)) AS "group" """)
_OWNERS = text("""
    SELECT d.id, d.name, d.host, d.port, j.name AS via, false AS hop FROM device d
    LEFT JOIN jump_host j ON j.id = d.via_id WHERE d.tenant_id = :tenant AND d.status <> 'removed'
    UNION ALL SELECT id, name, host, port, NULL, true FROM jump_host WHERE tenant_id = :tenant
    ORDER BY hop DESC, name""")
_KEYS = text("""
    SELECT coalesce(device_id, jump_host_id) AS owner, status, key_type, blob FROM host_key
    WHERE tenant_id = :tenant AND status <> 'retired'""")
_EXPECTED = text("""
    SELECT coalesce(device_id, jump_host_id) AS owner, fingerprint FROM expected_key WHERE tenant_id = :tenant
    ORDER BY id""")
# One key may be that of one router on several ports, so it is a warning only. A serial number that is empty is none.
_SAME_KEY = text("""
    SELECT k.fingerprint AS value, array_agg(d.name ORDER BY d.name) AS names
    FROM host_key k JOIN device d ON d.id = k.device_id
    WHERE k.status = 'pinned' AND d.status <> 'removed' GROUP BY d.tenant_id, k.fingerprint, k.key_type
    HAVING count(*) > 1 ORDER BY min(d.name)""")
_SAME_SERIAL = text("""
    SELECT c.facts ->> 'serial' AS value, array_agg(d.name ORDER BY d.name) AS names
    FROM device d JOIN collection c ON c.id = d.current_collection_id
    WHERE d.status <> 'removed' AND c.facts ->> 'serial' <> '' GROUP BY d.tenant_id, c.facts ->> 'serial'
    HAVING count(*) > 1 ORDER BY min(d.name)""")
_LIKE = text("""
    SELECT o.name FROM host_key mine JOIN host_key theirs ON theirs.fingerprint = mine.fingerprint
        AND theirs.tenant_id = mine.tenant_id AND theirs.status = 'pinned' AND theirs.device_id <> mine.device_id
    JOIN device o ON o.id = theirs.device_id AND o.status <> 'removed'
    WHERE mine.device_id = :device AND mine.status IN ('pinned', 'offered') GROUP BY o.name ORDER BY o.name""")
_SERIAL_LIKE = text("""
    SELECT o.name FROM device d JOIN collection c ON c.id = d.current_collection_id
    JOIN device o ON o.tenant_id = d.tenant_id AND o.id <> d.id AND o.status <> 'removed'
    JOIN collection oc ON oc.id = o.current_collection_id AND oc.facts ->> 'serial' = c.facts ->> 'serial'
    WHERE d.id = :device AND c.facts ->> 'serial' <> '' ORDER BY o.name""")
_COUNT = text(f"""
    WITH used AS (
        SELECT l.id, l.name, l.method, l.settings ->> 'trust' AS trust, l.device_id IS NOT NULL AS own, count(*) AS n
        FROM device d {LOGIN} WHERE d.status <> 'removed' AND l.id IS NOT NULL
        GROUP BY l.id, l.name, l.method, l.settings ->> 'trust', l.device_id),
    pins AS (
        SELECT k.trusted_how FROM host_key k JOIN device d ON d.id = k.device_id
        WHERE k.status = 'pinned' AND d.status <> 'removed')
    SELECT coalesce(sum(n) FILTER (WHERE method = 'password' AND n > 1), 0) AS sharing,
        count(*) FILTER (WHERE method = 'password' AND n > 1) AS passwords,
        coalesce(sum(n) FILTER (WHERE own), 0) AS own,
        coalesce(array_agg(name ORDER BY name) FILTER (
            WHERE method = 'password' AND trust IS NULL AND n > {MOST_UNASKED}), '{{}}') AS unsettled,
        (SELECT count(*) FROM pins) AS pinned,
        (SELECT count(*) FROM pins WHERE coalesce(trusted_how, 'first_use') = 'first_use') AS on_first_use,
        now() AS now
    FROM used""")


class KeyDesk:
    """What the commands look at; it writes nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pending(self, tenant_id: TenantId, site: str | None = None, group: str | None = None) -> Sequence[PendingKey]:
        """What waits for a person, jump hosts first; NotFound if there is no such site or group."""
        values = {"tenant": tenant_id, "site": site, "group": group}
        with transaction(self._engine) as tx:
            named = tx.execute(_NAMED, values).one()
            for kind, name in (("site", site), ("group", group)):
                if not getattr(named, kind):
                    raise NotFound(f"{kind} {name!r}; see `{kind} list`")
            hops = tx.execute(_HOPS_WAITING, {"tenant": tenant_id}).all() if site is None and group is None else []
            devices = tx.execute(_DEVICES_WAITING, values).all()
        return [*(_pending(row, hop=True) for row in hops), *(_pending(row, hop=False) for row in devices)]

    def at_sites(self, tenant_id: TenantId) -> Mapping[str | None, int]:
        """How many devices there are at each site, and at none."""
        with transaction(self._engine) as tx:
            return {row.name: row.devices for row in tx.execute(_AT_SITES, {"tenant": tenant_id})}

    def owners(self, tenant_id: TenantId) -> Sequence[KeyOwner]:
        """All devices and jump hosts with their keys."""
        keys: dict[object, list[tuple[str, HostKey]]] = {}
        expected: dict[object, list[str]] = {}
        with transaction(self._engine) as tx:
            for row in tx.execute(_KEYS, {"tenant": tenant_id}):
                keys.setdefault(row.owner, []).append((row.status, HostKey(row.key_type, bytes(row.blob))))
            for row in tx.execute(_EXPECTED, {"tenant": tenant_id}):
                expected.setdefault(row.owner, []).append(row.fingerprint)
            return [
                KeyOwner(
                    row.name, row.hop, row.host, row.port, row.via, tuple(keys.get(row.id, ())),
                    tuple(expected.get(row.id, ())),
                )
                for row in tx.execute(_OWNERS, {"tenant": tenant_id})
            ]  # fmt: skip

    def twins(self) -> tuple[Sequence[Twin], Sequence[Twin]]:
        """Keys, and serial numbers, that several devices of one tenant have."""
        with transaction(self._engine) as tx:
            keys, serials = (tx.execute(statement).all() for statement in (_SAME_KEY, _SAME_SERIAL))
        return [Twin(row.value, tuple(row.names)) for row in keys], [Twin(r.value, tuple(r.names)) for r in serials]

    def likenesses(self, device_id: DeviceId) -> tuple[Sequence[str], Sequence[str]]:
        """The devices that have the same key pinned as this one has or offers, and those with its serial number."""
        with transaction(self._engine) as tx:
            values = {"device": device_id}
            return tx.scalars(_LIKE, values).all(), tx.scalars(_SERIAL_LIKE, values).all()

    def count(self) -> TrustCount:
        """How logins and keys stand, over all tenants."""
        with transaction(self._engine) as tx:
            row = tx.execute(_COUNT).one()
        return TrustCount(
            int(row.sharing), row.passwords, int(row.own), row.pinned, row.on_first_use, tuple(row.unsettled), row.now
        )


def _pending(row: Row[Any], *, hop: bool) -> PendingKey:
    if row.pinned:
        waiting, old = Waiting.CHANGED, (row.pinned,)
    else:
        waiting, old = (Waiting.UNEXPECTED if row.expected else Waiting.FIRST), tuple(row.expected)
    return PendingKey(
        row.name, hop, row.site, row.group_name, row.host, row.port, waiting, row.key_type, row.fingerprint, old,
        row.pinned_type, row.first_seen_at, row.last_seen_at, row.blocked,
        row.facts or {},
    )  # fmt: skip
