"""Host keys of a fleet: what first keys are worth, which ones wait for a person, and what a person says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.core.trust import SharedLogin, devices_in_question

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from backupflow.core.model import TenantId, Trust
    from backupflow.core.ports import TrustStore


def settle_trust(
    store: TrustStore,
    tenant_id: TenantId,
    adding: Mapping[str, int],
    ask: Callable[[str, int], Trust],
    *,
    actor: str,
    new: Container[str] = (),
) -> Mapping[str, Trust]:
    """Have somebody say, once for each password that comes past the number, what first keys are worth: name -> answer.

    `new` are names of password profiles that are still to be made: their answers are only given back.
    """
    known = {login.name: login for login in store.shared(tenant_id, list(adding))}
    said: dict[str, Trust] = {}
    for name, more in adding.items():
        login = known.get(name) or (SharedLogin(name, "password", 0, None) if name in new else None)
        devices = devices_in_question(login, more) if login else None
        if devices is None:
            continue
        answer = ask(name, devices)
        said[name] = store.settle(tenant_id, name, answer, devices, actor) if name in known else answer
    return said
