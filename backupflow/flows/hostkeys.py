"""Host keys of a fleet: what first keys are worth, which ones wait for a person, and what a person says of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

from backupflow.core.inventory import Update
from backupflow.core.key_acts import comparable, hop_key_known, key_known
from backupflow.core.key_owners import KeyOwner, Learnt, Listed, Outcome
from backupflow.core.scopes import ScopeKind, ScopeUpdate
from backupflow.core.trust import SharedLogin, devices_in_question
from backupflow.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from backupflow.core.inventory import DeviceRecord, SeenKey
    from backupflow.core.key_file import Compared
    from backupflow.core.model import HostKey, TenantId, Trust
    from backupflow.core.ports import DeviceStore, ScopeStore, TrustStore
    from backupflow.core.scopes import HopRecord, Record


@dataclass(frozen=True, slots=True)
class KnownPorts:
    """What learning from a file needs of the world; `actor` is who does it."""

    devices: DeviceStore
    scopes: ScopeStore
    actor: str


def settle_trust(
    store: TrustStore,
    tenant_id: TenantId,
    adding: Mapping[str, int],
    ask: Callable[[str, int], Trust],
    *,
    actor: str,
    new: Container[str] = (),
    to_password: Container[str] = (),
) -> Mapping[str, Trust]:
    """Have somebody say, once for each password that comes past the number, what first keys are worth: name -> answer.

    `new` are names of password profiles that are still to be made: their answers are only given back. `to_password` are
    profiles whose key gives way to a password.
    """
    known = {
        login.name: replace(login, method="password") if login.name in to_password else login
        for login in store.shared(tenant_id, list(adding))
    }
    said: dict[str, Trust] = {}
    for name, more in adding.items():
        login = known.get(name) or (SharedLogin(name, "password", 0, None) if name in new else None)
        devices = devices_in_question(login, more) if login else None
        if devices is None:
            continue
        answer = ask(name, devices)
        said[name] = store.settle(tenant_id, name, answer, devices, actor) if name in known else answer
    return said


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one line that somebody compared: `why` is empty if it was taken, or was so already."""

    said: Compared
    why: str = ""
    changed: bool = False
    pinned: bool = False  # False: it will be the only one that may


def take(
    store: DeviceStore,
    tenant_id: TenantId,
    lines: Iterable[Compared],
    decide: Callable[[DeviceRecord, str], Update | None],
    actor: str,
) -> Iterator[Taken]:
    """Do what each line says, one audited act a device; one that cannot be done leaves its device as it is."""
    for line in lines:
        try:
            record, changed = store.change(tenant_id, line.name, partial(_decided, decide, line.fingerprint), actor)
        except (Conflict, NotFound) as exc:
            yield Taken(line, exc.detail)
        else:
            yield Taken(line, changed=changed, pinned=record.pinned is not None)


def learn(ports: KnownPorts, tenant_id: TenantId, listed: Listed, *, dry_run: bool) -> Iterator[Learnt]:
    """Let every device and jump host have the keys that a file lists for it; a contradiction changes nothing."""
    for owner, keys in listed.owners:
        try:
            act = _learn_hop if owner.jump_host else _learn_device
            yield act(ports, tenant_id, owner, keys, dry_run)
        except Conflict as exc:
            yield Learnt(owner, Outcome.CONTRADICTS, exc.detail)
        except NotFound:
            continue  # removed at this moment


def _learn_device(
    ports: KnownPorts,
    tenant_id: TenantId,
    owner: KeyOwner,
    keys: Sequence[HostKey],
    dry_run: bool,  # noqa: FBT001
) -> Learnt:
    store, updates = ports.devices, list[Update]()

    def decide(record: DeviceRecord) -> Update | None:
        update = key_known(record, keys)
        updates.extend([update] if update else [])
        return update

    if dry_run:
        record = store.find(tenant_id, owner.name)
        decide(record)
    else:
        record, _ = store.change(tenant_id, owner.name, decide, ports.actor)
    return _learnt(owner, updates[0].expects if updates else None, record.pinned, keys, changed=bool(updates))


def _learn_hop(
    ports: KnownPorts,
    tenant_id: TenantId,
    owner: KeyOwner,
    keys: Sequence[HostKey],
    dry_run: bool,  # noqa: FBT001
) -> Learnt:
    store, updates = ports.scopes, list[ScopeUpdate]()

    def decide(record: Record) -> ScopeUpdate | None:
        update = hop_key_known(cast("HopRecord", record), keys)
        updates.extend([update] if update else [])
        return update

    if dry_run:
        record = store.find(ScopeKind.JUMP_HOST, tenant_id, owner.name)
        decide(record)
    else:
        record = store.change(ScopeKind.JUMP_HOST, tenant_id, owner.name, decide, ports.actor)[0]
    pinned = cast("HopRecord", record).pinned
    return _learnt(owner, updates[0].expects if updates else None, pinned, keys, changed=bool(updates))


def _learnt(
    owner: KeyOwner, expects: Sequence[object] | None, pinned: SeenKey | None, keys: Sequence[HostKey], *, changed: bool
) -> Learnt:
    if expects:
        types = ", ".join(dict.fromkeys(key.key_type for key in keys))
        return Learnt(owner, Outcome.EXPECTED, types)
    if changed:
        return Learnt(owner, Outcome.VOUCHED)
    if not comparable(pinned, keys) and pinned:
        return Learnt(owner, Outcome.OTHER_TYPE, f"pinned is {pinned.key.key_type}")
    return Learnt(owner, Outcome.NOTHING)


def _decided(
    decide: Callable[[DeviceRecord, str], Update | None], fingerprint: str, record: DeviceRecord
) -> Update | None:
    return decide(record, fingerprint)
