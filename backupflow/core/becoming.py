"""What a device that is here becomes by what is wanted of it, and how that differs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from backupflow.core.importing import DEFAULT_PORT, Difference, Known, ScopeSays, TenantScopes, Wanted
from backupflow.core.inventory import DIRECT, OWN_LOGIN
from backupflow.core.model import DeviceId
from backupflow.core.scope import merged_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backupflow.core.inventory import Placement

_NOBODY = DeviceId(UUID(int=0))
_NO_SCOPE = ScopeSays()
Place = tuple[str, str | None, str, int]  # tenant, jump host, host, port


def then(known: Known | None, row: Wanted) -> Known:
    """The device as it will be; what the row does not speak of stays. A pinned key stays in any case."""
    known = known or Known(row.tenant or "", _NOBODY, row.name, "", DEFAULT_PORT)
    expected = known.expected if known.pinned or not row.fingerprint else frozenset({row.fingerprint})
    profile = _named(known.profile, row.profile)
    return replace(
        known,
        host=row.host or known.host,
        port=row.port or known.port,
        profile=profile,
        group=_named(known.group, row.group),
        site=_named(known.site, row.site),
        says=known.says if row.jump is None else ScopeSays(_own_jump(row.jump), direct=row.jump == DIRECT),
        settings=merged_settings(known.settings, settings(row)),
        expected=expected,
        username=row.username or (None if profile != known.profile and profile else known.username),
        source=row.source or known.source,
    )


def settings(row: Wanted) -> dict[str, Any]:
    """Those that the row speaks of, as core.scope knows them."""
    said = {"legacy_ssh": row.legacy_ssh, "interval_seconds": row.interval, "cron": row.cron}
    return {name: value for name, value in said.items() if value is not None}


def differences(known: Known, row: Wanted) -> tuple[Difference, ...]:
    """What would be another; a login that is given counts as one, since a sealed one cannot be compared."""
    after = then(known, row)
    old, said = _in_words(known), _in_words(after)
    found = [Difference(what, old[what], said[what]) for what in said if old[what] != said[what]]
    if row.password is not None:
        found.append(Difference("login", None, None))
    elif after.username != known.username:
        found.append(Difference("login", OWN_LOGIN, "that of the profile"))
    return tuple(found)


def place(device: Known, scopes: TenantScopes) -> Place:
    """Where a device is reached: what no two may share."""
    return device.tenant, via(device, scopes), device.host, device.port


def via(device: Known, scopes: TenantScopes) -> str | None:
    """The jump host that a device is reached through, as the database reckons it."""
    if device.says.direct or device.says.jump:
        return device.says.jump
    group = scopes.groups.get(device.group or "", _NO_SCOPE)
    if group.direct:
        return None
    return group.jump or scopes.sites.get(device.site or "", _NO_SCOPE).jump or scopes.says.jump


def login(device: Known, scopes: TenantScopes) -> str | None:
    """The profile whose login it uses; OWN_LOGIN: one of its own; None: it has no login."""
    if device.username:
        return OWN_LOGIN
    above = (scopes.groups.get(device.group or ""), scopes.sites.get(device.site or ""), scopes.says)
    return device.profile or next((scope.profile for scope in above if scope and scope.profile), None)


def placed(device: Known, placement: Placement, *, forgets_login: bool = False) -> Known:
    """The device at another place; a profile of its own, and forgetting it, end a login of its own."""
    return replace(
        device,
        profile=_named(device.profile, placement.profile),
        group=_named(device.group, placement.group),
        site=_named(device.site, placement.site),
        username=None if placement.profile or forgets_login else device.username,
    )


def saying(scopes: TenantScopes, kind: str, name: str, profile: str) -> TenantScopes:
    """The same scopes when a group, a site or the tenant itself names this profile; `""`: none."""
    if kind == "tenant":
        return replace(scopes, says=replace(scopes.says, profile=profile or None))
    there = scopes.groups if kind == "group" else scopes.sites
    if name not in there:
        return scopes
    said = {**there, name: replace(there[name], profile=profile or None)}
    return replace(scopes, groups=said) if kind == "group" else replace(scopes, sites=said)


def come_to(
    devices: Iterable[tuple[Known, Known]], scopes: TenantScopes, later: TenantScopes | None = None
) -> Counter[str]:
    """How many devices come to use each profile, of devices before and after an act; `later`: the scopes after it."""
    logins = ((login(before, scopes), login(after, later or scopes)) for before, after in devices)
    return Counter(now for was, now in logins if now and now not in {was, OWN_LOGIN})


def _named(old: str | None, said: str | None) -> str | None:
    return old if said is None else said or None


def _own_jump(said: str) -> str | None:
    return None if said == DIRECT else said or None


def _in_words(device: Known) -> Mapping[str, str | None]:
    legacy, interval = device.settings.get("legacy_ssh"), device.settings.get("interval_seconds")
    return {
        "host": device.host,
        "port": str(device.port),
        "profile": device.profile,
        "group": device.group,
        "site": device.site,
        "jump": DIRECT if device.says.direct else device.says.jump,
        "fingerprint": ", ".join(sorted(device.expected)) or None,
        "legacy_ssh": None if legacy is None else "yes" if legacy else "no",
        "interval": None if interval is None else f"{float(interval):.15g}s",
        "cron": device.settings.get("cron"),
        "source": device.source,
    }
