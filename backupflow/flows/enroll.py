"""A device's life, one audited act at a time: each act decides over the locked record what it changes.

The decisions are pure: the store locks the device, shows its record, and applies what was decided in one transaction
with the audit row (I12). None decided: there is nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backupflow.core import cadence
from backupflow.core.enrolment import (
    Edit,
    edited,
    export_believed,
    paused,
    removed,
    restored,
    resumed,
    router_replaced,
    unblocked,
)
from backupflow.core.inventory import (
    DeviceLogin,
    DeviceRecord,
    NewDevice,
    Update,
    checked_fingerprint,
    checked_host,
    checked_name,
    checked_port,
    checked_username,
)
from backupflow.core.key_acts import key_accepted, key_reset
from backupflow.core.maintenance import Wish, device_maintained
from backupflow.core.scope import checked
from backupflow.errors import InputInvalid
from backupflow.flows.admitting import login_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from backupflow.core.driver import Driver
    from backupflow.core.model import DeviceId, Login, TenantId
    from backupflow.core.ports import DeviceStore, SecretSealer


@dataclass(frozen=True, slots=True)
class EnrollPorts:
    """What enrolling needs of the world; `actor` is who does it."""

    store: DeviceStore
    sealer: SecretSealer
    driver: Callable[[str], Driver]
    spread: tuple[timedelta, timedelta]
    dice: Callable[[], float]
    actor: str


@dataclass(frozen=True, slots=True)
class Done:
    """What an act did; `changed` is False if all was so already."""

    device: DeviceRecord
    changed: bool


def add(ports: EnrollPorts, device: NewDevice, login: Login | None) -> Done:
    """Enrol a device with its own login, sealed for it, or with a profile's; Conflict if its name or address is taken.

    InputInvalid if it would have no login, or two.
    """
    new = checked_device(ports, device)
    if login is not None and new.placement.profile:
        raise InputInvalid("a login of its own and that of a profile: only one of them is used; name one")
    stored = None if login is None else sealed_login(ports, device.tenant_id, device.device_id, login)
    spread, dice = ports.spread, ports.dice()
    record = ports.store.add(new, stored, lambda now: cadence.first_due(now, spread, dice), ports.actor)
    return Done(record, changed=True)


def look_before_adding(ports: EnrollPorts, device: NewDevice) -> None:
    """Raise what `add` would now, whatever the login, before anybody is asked for one."""
    ports.store.look(checked_device(ports, device))


def checked_device(ports: EnrollPorts, device: NewDevice) -> NewDevice:
    """A device as it may be stored; InputInvalid says what is wrong with it."""
    ports.driver(device.driver)
    return replace(
        device,
        name=checked_name(device.name),
        host=checked_host(device.host),
        port=checked_port(device.port),
        settings=checked(device.settings),
        expected=tuple(replace(key, fingerprint=checked_fingerprint(key.fingerprint)) for key in device.expected),
    )


def edit(ports: EnrollPorts, tenant_id: TenantId, name: str, wanted: Edit) -> Done:
    """Change a device. New credentials end a refused login's block, and the device is due at once."""
    login = None
    if wanted.login is not None:
        device_id = ports.store.find(tenant_id, name).device_id
        login = sealed_login(ports, tenant_id, device_id, wanted.login)
    elif wanted.username is not None:
        login = DeviceLogin(username=checked_username(wanted.username))
    return _act(ports, tenant_id, name, lambda record: edited(record, wanted, login))


def remove(ports: EnrollPorts, tenant_id: TenantId, name: str) -> Done:
    """Stop collecting for good: the login goes, the name is free, the history stays."""
    return _act(ports, tenant_id, name, removed)


def restore(ports: EnrollPorts, tenant_id: TenantId, name: str, login: Login | None) -> Done:
    """Collect the device of that name again that was removed last, with its history and its pinned key.

    InputInvalid if it would have no login, Conflict if its name or its address is another device's by now.
    """
    there = ports.store.find_removed(tenant_id, name)
    sealed = None if login is None else sealed_login(ports, tenant_id, there.device_id, login)
    return Done(ports.store.restore(there, lambda record: restored(record, sealed), ports.actor), changed=True)


def pause(ports: EnrollPorts, tenant_id: TenantId, name: str, reason: str | None = None) -> Done:
    """Stop collecting until it is resumed; `reason` is kept with it."""
    return _act(ports, tenant_id, name, lambda record: paused(record, reason))


def resume(ports: EnrollPorts, tenant_id: TenantId, name: str) -> Done:
    """Collect again, in its phase, or at once if a run was missed."""
    return _act(ports, tenant_id, name, resumed)


def unblock(ports: EnrollPorts, tenant_id: TenantId, name: str) -> Done:
    """Try again at once whatever blocked it; a pinned host key stays pinned."""
    return _act(ports, tenant_id, name, unblocked)


def maintain(ports: EnrollPorts, tenant_id: TenantId, name: str, wish: Wish) -> Done:
    """Nobody comes to it by himself for a while, or somebody does again."""
    return _act(ports, tenant_id, name, lambda record: device_maintained(record, wish))


def believe(ports: EnrollPorts, tenant_id: TenantId, name: str) -> Done:
    """The next export is believed, however much smaller it is; Conflict if none is in doubt."""
    return _act(ports, tenant_id, name, export_believed)


def replaced(ports: EnrollPorts, tenant_id: TenantId, name: str) -> Done:
    """Another router stands at the old name: forget the old one's key, and contact it at once."""
    return _act(ports, tenant_id, name, router_replaced)


def accept_key(ports: EnrollPorts, tenant_id: TenantId, name: str, fingerprint: str) -> Done:
    """Pin the offered key of that fingerprint in place of the pinned one."""
    return _act(ports, tenant_id, name, lambda record: key_accepted(record, fingerprint))


def reset_key(ports: EnrollPorts, tenant_id: TenantId, name: str) -> Done:
    """Forget the pinned key: the next one is a first sight again."""
    return _act(ports, tenant_id, name, key_reset)


def _act(ports: EnrollPorts, tenant_id: TenantId, name: str, decide: Callable[[DeviceRecord], Update | None]) -> Done:
    record, changed = ports.store.change(tenant_id, name, decide, ports.actor)
    return Done(record, changed)


def sealed_login(ports: EnrollPorts, tenant_id: TenantId, device_id: DeviceId, login: Login) -> DeviceLogin:
    """A login as it is stored, sealed for its device."""
    method = "key" if login.private_key is not None else "password"
    sealed = ports.sealer.seal_login(tenant_id, device_id, login_secret(login))
    return DeviceLogin(checked_username(login.username), method, sealed)
