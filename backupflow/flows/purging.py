"""History that goes because somebody says so: a device's, or all of a tenant, with the keys that open it.

A tenant is shredded in three steps, each of which can be done again: who was cut off says it once more.
 1. nothing of it is collected or stored any more
 2. its keys are destroyed: what any backup still has of it opens never again
 3. its rows are taken away
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.core.retaining import cut_at

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import datetime

    from backupflow.core.model import DeviceId, Seq, TenantId
    from backupflow.core.ports import KeyMaker, PurgeStore
    from backupflow.core.retaining import Doomed, Taken


def purge(store: PurgeStore, tenant_id: TenantId, device_id: DeviceId, at: Seq | datetime | None, actor: str) -> Taken:
    """Take away what lies before a point of a device's history, None: all of it."""
    return store.purge(tenant_id, device_id, lambda kept: cut_at(kept, at), actor)


def shred(store: PurgeStore, keys: KeyMaker, alone: AbstractContextManager[None], doomed: Doomed, actor: str) -> None:
    """Remove a tenant with all that it has; `alone`: nobody else works on its keys meanwhile."""
    with alone:
        if not doomed.removed:
            store.remove_tenant(doomed.tenant_id, actor)  # 1
        keys.delete_keys(doomed.tenant_id)  # 2
        store.empty_tenant(doomed.tenant_id, actor)  # 3
