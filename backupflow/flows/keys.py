"""The keys of a tenant: how they stand, and a new version for each; see `rewrapping` and `renewing` for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core.model import Purpose
from backupflow.errors import Conflict, NotFound, TransitKeyMissing
from backupflow.flows.ingest import check_marks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.keys import KeyRecord, KeyVersions, Stock
    from backupflow.core.model import TenantId
    from backupflow.core.ports import KeyKeeper, KeyStore, SealedStore


@dataclass(frozen=True, slots=True)
class KeyPorts:
    """What work on keys needs of the world; `actor` is who does it."""

    vault: KeyKeeper
    ledger: KeyStore
    texts: SealedStore
    actor: str


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key as vault and database have it; `vault` None: the vault has none of its name."""

    purpose: Purpose
    vault: KeyVersions | None
    record: KeyRecord
    stock: tuple[Stock, ...]


def show(ports: KeyPorts, tenant_id: TenantId) -> list[KeyState]:
    """How each key stands, and how much is sealed under which of its versions."""
    known, stock = records(ports, tenant_id), ports.texts.stock(tenant_id)
    return [
        KeyState(
            purpose,
            ports.vault.key(tenant_id, purpose),
            known[purpose],
            tuple(one for one in stock if one.held.purpose is purpose),
        )
        for purpose in Purpose
        if purpose in known
    ]


def rotate(ports: KeyPorts, tenant_id: TenantId) -> dict[Purpose, int]:
    """Add a version to each key; what is sealed from now on is under it. Written down before it is done.

    The canaries are of the new versions at once, so that a vault that is put back to before them is noticed.
    """
    with ports.ledger.alone(tenant_id):
        check(ports, tenant_id)
        newest = newest_of(ports, tenant_id)
        refuse_older_vault(ports, tenant_id, newest)
        detail = {purpose.value: version + 1 for purpose, version in newest.items()}
        ports.ledger.record(tenant_id, ports.actor, "keys_rotated", detail)
        versions = {purpose: ports.vault.rotate(tenant_id, purpose) for purpose in newest}
        remark(ports, tenant_id, versions)
        return versions


def reopen(ports: KeyPorts, tenant_id: TenantId) -> dict[Purpose, int]:
    """Take in and open what is sealed under retired versions again; from which version on each key was opened before.

    The way back when the database is older than the vault. TransitKeyMissing, and the key as it was, if it turns out to
    be another one. Written down before it is done; can be cut off and run again anywhere.
    """
    with ports.ledger.alone(tenant_id):
        known, found = records(ports, tenant_id), {}
        for purpose, record in known.items():
            key = ports.vault.key(tenant_id, purpose)
            if key is None:
                raise TransitKeyMissing(f"there is no {purpose} key")
            if max(key.oldest_opened, record.oldest_version) > 1:
                found[purpose] = key.oldest_opened
        if found:
            detail = {purpose.value: version for purpose, version in found.items()}
            ports.ledger.record(tenant_id, ports.actor, "key_versions_reopened", detail)
        for purpose, opened_from in found.items():
            ports.vault.retire(tenant_id, purpose, 1)
            if not answers(ports, tenant_id, purpose, known[purpose]):
                ports.vault.retire(tenant_id, purpose, opened_from)
                raise TransitKeyMissing(f"the {purpose} key does not answer as ever: is it the right vault?")
            ports.ledger.reopen(tenant_id, purpose)
        return found


def records(ports: KeyPorts, tenant_id: TenantId) -> dict[Purpose, KeyRecord]:
    """What is known of its keys; NotFound if it has none."""
    found = dict(ports.ledger.records(tenant_id))
    if not found:
        raise NotFound("this tenant has no keys yet: the set-up makes them")
    return found


def check(ports: KeyPorts, tenant_id: TenantId) -> None:
    """TransitKeyMissing if the vault has other keys than those that are known: then nothing is begun."""

    def expected() -> dict[tuple[TenantId, Purpose], str]:
        return {(tenant_id, purpose): record.mark for purpose, record in records(ports, tenant_id).items()}

    check_marks(ports.vault, expected(), expected)


def newest_of(ports: KeyPorts, tenant_id: TenantId) -> dict[Purpose, int]:
    """The newest version of each key; TransitKeyMissing if one is gone."""
    newest = {}
    for purpose in Purpose:
        key = ports.vault.key(tenant_id, purpose)
        if key is None:
            raise TransitKeyMissing(f"there is no {purpose} key")
        newest[purpose] = key.newest
    return newest


def remark(ports: KeyPorts, tenant_id: TenantId, versions: Mapping[Purpose, int]) -> None:
    """Let the canaries be of these versions, and of now."""
    known = records(ports, tenant_id)
    for purpose, version in versions.items():
        mark = ports.vault.mark(tenant_id, purpose, version)
        ports.ledger.remark(tenant_id, purpose, known[purpose].mark, mark)


def refuse_older_vault(ports: KeyPorts, tenant_id: TenantId, newest: Mapping[Purpose, int]) -> None:
    """Conflict if texts are above these versions: another of the same number would be made, or they pass for moved."""
    above = [one for one in ports.texts.stock(tenant_id) if (one.version or 0) > newest[one.held.purpose]]
    if count := sum(one.count for one in above if not one.given_up):
        raise Conflict(
            f"{count} texts are sealed under versions that their keys in the vault do not have: if the vault is older "
            "than them, restore a newer backup of it; if it is not, `verify` names those that were altered"
        )


def answers(ports: KeyPorts, tenant_id: TenantId, purpose: Purpose, record: KeyRecord) -> bool:
    """Whether a key answers its canary; False also if it is gone, or has no such version (any more)."""
    try:
        return ports.vault.mark(tenant_id, purpose, record.version) == record.mark
    except TransitKeyMissing:
        return False
