"""Logins that devices share: how many do, and what their profiles say of first host keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.effective import LOGIN
from backupflow.adapters.db.engine import transaction
from backupflow.core.model import Trust
from backupflow.core.trust import SharedLogin
from backupflow.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.model import TenantId

_SHARED = text(f"""
    SELECT p.name, p.method, p.settings ->> 'trust' AS trust,
        (SELECT count(*) FROM device d {LOGIN} WHERE d.tenant_id = p.tenant_id AND d.status <> 'removed'
            AND l.id = p.id) AS devices
    FROM credential_profile p WHERE p.tenant_id = :tenant AND p.name = ANY(:names) ORDER BY p.name""")
_LOCK = text("""
    SELECT id, settings ->> 'trust' AS trust FROM credential_profile
    WHERE tenant_id = :tenant AND name = :name FOR NO KEY UPDATE""")
_SETTLE = text("UPDATE credential_profile SET settings = settings || CAST(:said AS jsonb) WHERE id = :profile")


class SharedLogins:
    """core.ports.TrustStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def shared(self, tenant_id: TenantId, names: Sequence[str]) -> Sequence[SharedLogin]:
        """The profiles of these names, as far as there are any."""
        with transaction(self._engine) as tx:
            found = tx.execute(_SHARED, {"tenant": tenant_id, "names": list(names)})
            return [SharedLogin(r.name, r.method, r.devices, Trust(r.trust) if r.trust else None) for r in found]

    def settle(self, tenant_id: TenantId, name: str, trust: Trust, devices: int, actor: str) -> Trust:
        """Write it on the profile with its audit row; what somebody else has said meanwhile stays. NotFound."""
        with transaction(self._engine) as tx:
            row = tx.execute(_LOCK, {"tenant": tenant_id, "name": name}).one_or_none()
            if row is None:
                raise NotFound(f"credential profile {name!r}; see `credential list`")
            if row.trust:
                return Trust(row.trust)
            tx.execute(_SETTLE, {"profile": row.id, "said": json.dumps({"trust": trust})})
            detail = {"profile": name, "trust": trust, "devices": devices}
            record_act(tx, actor, "credential_trust_settled", tenant_id=tenant_id, detail=detail)
            return trust
