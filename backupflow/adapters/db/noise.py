"""What changes nearly every time: the keys of what the last runs touched, and the newest changes that have them."""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine, text

from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.ignore_rules import PLACES, rules_of
from backupflow.core.ignoring import LOOKED_AT, OFTEN, Noisy, often
from backupflow.core.model import DeviceId, SealedSecret, Seq, TenantId
from backupflow.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupflow.core.ignoring import Place

_MOST_OPENED: Final = 3  # changes of one device
_MOST_DEVICES: Final = 2000
# Equal observations that were taken away since they said nothing more count as what they were.
_RUNS = text("""
    SELECT d.id, jsonb_agg(coalesce(i.touched, '[]') ORDER BY c.seq DESC) AS touched,
        array_agg(c.compacted ORDER BY c.seq DESC) AS compacted, array_agg(c.seq ORDER BY c.seq DESC) AS seqs
    FROM device d CROSS JOIN LATERAL (
        SELECT id, seq, compacted, interpreted_after_seq FROM collection
        WHERE device_id = d.id AND state = 'stored' AND seq > d.router_since_seq ORDER BY seq DESC LIMIT :looked_at) c
    LEFT JOIN interpretation i ON i.collection_id = c.id AND i.after_seq = c.interpreted_after_seq
    WHERE d.tenant_id = :tenant AND d.status <> 'removed' AND (CAST(:device AS uuid) IS NULL OR d.id = :device)
      AND (CAST(:group AS uuid) IS NULL OR d.device_group_id = :group)
    GROUP BY d.id, d.name HAVING count(*) FILTER (WHERE i.touched <> '[]') >= :often ORDER BY d.name LIMIT :most""")
_CHANGES = text("""
    SELECT d.id, d.name, d.driver, t.pepper, i.seq, i.after_seq, i.changes_sealed FROM interpretation i
    JOIN device d ON d.id = i.device_id JOIN tenant t ON t.id = d.tenant_id
    WHERE i.device_id = :device AND i.seq = ANY(:seqs) AND i.changes_sealed IS NOT NULL AND t.pepper IS NOT NULL
    ORDER BY i.seq DESC""")


class Noise:
    """core.ports.NoiseStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def noisy(self, tenant_id: TenantId, place: Place) -> Sequence[Noisy]:
        """Changes of which some part came nearly every time, and the keys of that; by name of their device."""
        with transaction(self._engine) as tx:
            ids = {}
            for kind, name in (("device", place.device), ("group", place.group)):
                ids[kind] = None if name is None else tx.scalar(PLACES[kind], {"tenant": tenant_id, "name": name})
                if name is not None and ids[kind] is None:
                    raise NotFound(f"{kind} {name!r}; see `{kind} list`")
            values = {"tenant": tenant_id, **ids, "looked_at": LOOKED_AT, "often": OFTEN, "most": _MOST_DEVICES}
            found = {}
            for row in tx.execute(_RUNS, values):
                runs = list(chain.from_iterable(_runs(row.touched, row.compacted)))
                if keys := often(runs):
                    found[DeviceId(row.id)] = (keys, _newest(keys, row.touched, row.seqs))
            rules = rules_of(tx, list(found))
            return [
                Noisy(
                    tenant_id, device_id, row.name, row.driver, Seq(row.seq), Seq(row.after_seq), row.changes_sealed,
                    SealedSecret(row.pepper), keys, rules.get(device_id, ()),
                )
                for device_id, (keys, seqs) in found.items()
                for row in tx.execute(_CHANGES, {"device": device_id, "seqs": seqs})
            ]  # fmt: skip


def _runs(touched: Sequence[Sequence[str]], compacted: Sequence[int]) -> Iterator[Iterator[Sequence[str]]]:
    for keys, equal in zip(touched, compacted, strict=True):
        yield chain([keys], repeat((), min(equal, LOOKED_AT)))


def _newest(keys: frozenset[str], touched: Sequence[Sequence[str]], seqs: Sequence[int]) -> list[int]:
    """The newest runs that have all of these keys between them."""
    left, chosen = set(keys), list[int]()
    for has, seq in zip(touched, seqs, strict=True):
        if left.intersection(has) and len(chosen) < _MOST_OPENED:
            chosen.append(seq)
            left.difference_update(has)
    return chosen
