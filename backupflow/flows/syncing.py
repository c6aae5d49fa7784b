"""A sync with the inventory of another system: planned, agreed to, and done in one transaction; again and again.

What it brings is added and changed; what it does not have any more is paused, never removed, and resumed when it is
back. A device of the same name that came from elsewhere is listed and left, unless it is to be taken over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backupflow.core import becoming, syncing
from backupflow.core.importing import Asked, Fleet, Known, Orphans, TenantScopes, Wanted
from backupflow.core.model import Login
from backupflow.core.planning import plan
from backupflow.core.scopes import Changes
from backupflow.errors import AuthenticationFailed, NotFound
from backupflow.flows import importing, scopes

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from backupflow.core.fleet import CarriedOut
    from backupflow.core.importing import Plan, Problem, WantedProfile
    from backupflow.core.model import DeviceId, TenantId, Trust
    from backupflow.core.syncing import Inventory
    from backupflow.flows.importing import Import, ImportPorts
    from backupflow.flows.scopes import ScopePorts


@dataclass(frozen=True, slots=True)
class Wish:
    """How a sync is to be done. `adopts`: also devices that came from elsewhere; `renews`: logins that are there.

    `profile`: the login of devices that come new and for which the inventory has none.
    """

    tenant: str = "default"
    profile: str | None = None
    adopts: bool = False
    renews: bool = False


@dataclass(frozen=True, slots=True)
class Sync:
    """What would be done: for a person to agree to."""

    inventory: Inventory
    given: Import
    agreed: Plan
    tenant_id: TenantId
    apart: tuple[tuple[Wanted, Known], ...]  # devices of these names that came from elsewhere
    renews: tuple[WantedProfile, ...]  # logins that are there and are sealed anew
    kept: tuple[str, ...]  # profiles that are there and stay as they are
    ours: int  # active devices that came from it until now
    refused: int  # devices with a login that is written, and that stay blocked since one was refused
    suspended: tuple[str, ...]  # logins that are sealed anew and stay suspended

    @property
    def doubtful(self) -> bool:
        """Whether so much would be paused that it may be the inventory that is wrong."""
        return syncing.too_many_gone(len(self.agreed.gone), self.ours)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What of it cannot be taken over as it is."""
        return self.agreed.problems


def look(ports: ImportPorts, inventory: Inventory, wish: Wish) -> Sync:
    """What would be done, at this moment; NotFound if there is no such tenant."""
    fleet = ports.store.standing({wish.tenant})
    if wish.tenant not in fleet.tenants:
        raise NotFound(f"tenant {wish.tenant!r}")
    there = fleet.tenants[wish.tenant]
    inventory = syncing.renamed(syncing.usable(inventory), fleet.devices, there.profiles)
    rows, apart = _rows(inventory, fleet, wish)
    asked = _asked(inventory, fleet, wish)
    first = plan(fleet, rows, asked, inventory.profiles)
    wrong = {problem.line for problem in first.problems}
    inventory = syncing.without_idle(inventory, [row for row in rows if row.line not in wrong])
    given = importing.Import(rows, asked, inventory.profiles, {"inventory": inventory.source})
    known = [profile for profile in inventory.profiles if profile.name in there.profiles]
    agreed = plan(fleet, rows, asked, inventory.profiles)
    renewed = {profile.name for profile in known} if wish.renews else set()
    return Sync(
        inventory,
        given,
        agreed,
        there.tenant_id,
        apart,
        tuple(known) if wish.renews else (),
        () if wish.renews else tuple(profile.name for profile in known),
        sum(each.source == inventory.source and each.status == "active" for each in fleet.devices),
        len(agreed.stay_refused | _refused(fleet.devices, there, renewed)),
        tuple(sorted(renewed & there.suspended)),
    )


def take(
    ports: ImportPorts,
    logins: ScopePorts,
    sync: Sync,
    *,
    trust: Mapping[str, Trust],
    moved: Callable[[int], None] = lambda _: None,
) -> CarriedOut:
    """Do it, in one transaction; then the logins that are sealed anew, each as an act of its own.

    They end no block and no suspension: a sync is repeated by a clock, and would have a password refused each time.
    Conflict if the fleet is another by now. `trust`: what profiles that are made say of first host keys.
    """
    answers = {(sync.given.asked.tenant, name): answer for name, answer in trust.items()}
    done = importing.take(ports, sync.given, sync.agreed, trust=answers, moved=moved)
    for profile in sync.renews:
        login = Login(profile.username, profile.password, profile.private_key, profile.passphrase)
        scopes.edit_profile(logins, sync.tenant_id, profile.name, Changes(), login, tried=False)
        moved(1)
    return done


def missing_jumps(sync: Sync, there: TenantScopes) -> Mapping[str, Sequence[Wanted]]:
    """The jump hosts that are named and not there, each with the devices that wait for it."""
    waiting: dict[str, list[Wanted]] = {}
    for row in sync.given.wanted:
        if row.jump and row.jump not in there.jump_hosts:
            waiting.setdefault(row.jump, []).append(row)
    return waiting


def _refused(devices: Iterable[Known], there: TenantScopes, profiles: Container[str]) -> set[DeviceId]:
    """Those that are blocked since one of these was refused."""
    blocked = (known for known in devices if known.blocked == AuthenticationFailed.code)
    return {known.device_id for known in blocked if becoming.login(known, there) in profiles}


def _rows(
    inventory: Inventory, fleet: Fleet, wish: Wish
) -> tuple[tuple[Wanted, ...], tuple[tuple[Wanted, Known], ...]]:
    here = {known.name for known in fleet.devices}
    rows, apart = (inventory.wanted, ()) if wish.adopts else syncing.apart(inventory, fleet.devices)
    return tuple(
        replace(
            row,
            source=inventory.source if wish.adopts else None,
            profile=row.profile or (None if row.name in here else wish.profile),
        )
        for row in rows
    ), apart


def _asked(inventory: Inventory, fleet: Fleet, wish: Wish) -> Asked:
    """Where the devices themselves were not to be had, each of them is held: none is gone."""
    every = {known.name for known in fleet.devices} if not inventory.complete else set()
    return Asked(
        wish.tenant,
        inventory.source,
        update=True,
        orphans=Orphans.PAUSE,
        makes_scopes=True,
        partial=True,
        held=inventory.held | every,
    )
