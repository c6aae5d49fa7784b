"""Keys that are lost for good are given up, and others used; what still opens stays in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core.keys import KEY_MADE, Held, Loss, Renewal, Renewed, loss
from backupflow.core.model import Purpose, key_version
from backupflow.errors import BackupflowError, Conflict, MessageMalformed, TransitKeyMissing
from backupflow.flows.keys import answers, newest_of, records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.model import TenantId
    from backupflow.core.ports import KeyMaker, RenewalStore
    from backupflow.flows.keys import KeyPorts


@dataclass(frozen=True, slots=True)
class RenewPorts:
    """What renewing needs beside that."""

    keys: KeyPorts
    maker: KeyMaker
    store: RenewalStore


def lost(ports: KeyPorts, tenant_id: TenantId) -> dict[Purpose, Loss]:
    """Which keys count as lost, and why; a vault that is away or refuses raises: that says nothing about its keys."""
    found = {}
    for purpose, record in records(ports, tenant_id).items():
        key = ports.vault.key(tenant_id, purpose)
        if key is not None and key.oldest_opened > record.version:
            raise Conflict(
                f"the {purpose} key opens nothing below version {key.oldest_opened}, and its canary is of version "
                f"{record.version}: the database is older than the vault, and nothing is lost: `keys reopen`"
            )
        same = key is not None and answers(ports, tenant_id, purpose, record)
        if why := loss(key, record.version, answers=same):
            found[purpose] = why
    if Purpose.PEPPER not in found and not _pepper_opens(ports, tenant_id):
        found[Purpose.PEPPER] = Loss.PEPPER
    return found


def _pepper_opens(ports: KeyPorts, tenant_id: TenantId) -> bool:
    """Whether the vault would move it: that authenticates it, and opens nothing."""
    for item in ports.texts.left(tenant_id, Held.PEPPER, 0, None):
        try:
            sealed = item.held.sealed_as(item.sealed)
        except MessageMalformed:
            return False
        (moved,) = ports.vault.rewrap_all(tenant_id, Purpose.PEPPER, [(item.context, sealed)])
        if isinstance(moved, MessageMalformed):
            return False
        if isinstance(moved, BackupflowError):
            key = ports.vault.key(tenant_id, Purpose.PEPPER)
            if isinstance(moved, TransitKeyMissing) and key is not None and sealed.key_version > key.newest:
                return False
            raise moved
    return True


def renew(
    ports: RenewPorts, tenant_id: TenantId, *, adopt: bool = False, confirmed: Mapping[Purpose, Loss] | None = None
) -> Renewed:
    """Give up the keys that are lost and use others; Conflict, and nothing done, while all of them answer.

    A key is never deleted and never overwritten. Another or an older one that is there in place of a lost one is used
    only if it is of the kind that is made here, and if `adopt` says so or an earlier renewal that was cut off has
    made it. `confirmed`: what somebody was asked for; Conflict if it is not that any more.
    """
    keys = ports.keys
    with keys.ledger.alone(tenant_id):
        gone = lost(keys, tenant_id)
        if not gone:
            raise Conflict("the keys answer as ever: nothing is lost, and nothing was changed")
        if confirmed is not None and confirmed != gone:
            raise Conflict("something else is lost than what was confirmed; nothing was changed: ask again")
        known = records(keys, tenant_id)
        ours = _ours(ports, tenant_id, gone)
        gone |= dict.fromkeys(ours, Loss.OTHER)
        _refuse_strangers(ports, tenant_id, {p: why for p, why in gone.items() if p not in ours}, adopt=adopt)
        keys.ledger.record(tenant_id, keys.actor, "keys_renewal_began", {p.value: why.name for p, why in gone.items()})
        for purpose, why in gone.items():
            if why is Loss.GONE:
                ports.maker.make_key(tenant_id, purpose)
                keys.ledger.record(tenant_id, keys.actor, KEY_MADE, {purpose: keys.vault.mark(tenant_id, purpose, 1)})
        versions = newest_of(keys, tenant_id)
        # With the old pepper a text of before would have the hash of before, and not be stored: its content is there,
        # sealed with what is lost.
        pepper = ports.maker.new_pepper(tenant_id) if gone.keys() & {Purpose.PEPPER, Purpose.DATA} else None
        renewal = Renewal(
            tenant_id,
            gone,
            {purpose: known[purpose].mark for purpose, why in gone.items() if why is not Loss.PEPPER},
            {p: keys.vault.mark(tenant_id, p, versions[p]) for p, why in gone.items() if why is not Loss.PEPPER},
            pepper,
            _logins_above(gone, versions),
        )
        return ports.store.renew(renewal, keys.actor)


def _ours(ports: RenewPorts, tenant_id: TenantId, gone: Mapping[Purpose, Loss]) -> set[Purpose]:
    """What is there in place of lost ones, and was made by a renewal that was cut off: known by its mark."""

    def same(purpose: Purpose, mark: str) -> bool:
        try:
            return ports.keys.vault.mark(tenant_id, purpose, key_version(mark)) == mark
        except TransitKeyMissing:
            return False

    return {
        purpose
        for purpose, mark in ports.store.made(tenant_id).items()
        if gone.get(purpose) in {Loss.OTHER, Loss.OLDER} and same(purpose, mark)
    }


def _refuse_strangers(ports: RenewPorts, tenant_id: TenantId, gone: Mapping[Purpose, Loss], *, adopt: bool) -> None:
    there = {purpose: ports.keys.vault.key(tenant_id, purpose) for purpose in gone}
    for purpose, key in there.items():
        if key is not None and not key.as_made:
            raise Conflict(f"the vault has a key of another kind under the name {purpose}-{tenant_id}: not ours to use")
    older = [purpose.value for purpose, why in gone.items() if why is Loss.OLDER]
    if older and not adopt:
        raise Conflict(
            f"the vault is older than the database ({', '.join(older)}): restore a newer backup of it; "
            "--adopt gives up what is sealed under the versions that it does not have"
        )
    strangers = [purpose.value for purpose, why in gone.items() if why is Loss.OTHER]
    if strangers and not adopt:
        raise Conflict(
            f"the vault has another key than before ({', '.join(strangers)}): is it the right vault? "
            "--adopt uses what is there from now on, and overwrites nothing of it"
        )


def _logins_above(gone: Mapping[Purpose, Loss], versions: Mapping[Purpose, int]) -> int | None:
    """Of a key that lacks its newest versions, what is under the others still opens."""
    why = gone.get(Purpose.CREDENTIALS)
    if why is None:
        return None
    return versions[Purpose.CREDENTIALS] if why is Loss.OLDER else 0
