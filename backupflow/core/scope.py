"""Settings that resolve device -> group -> site -> tenant -> global: the nearest scope that says something wins.

A credential profile stands between a device and its group, and speaks of `trust` only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from backupflow.core.model import SecretsPolicy, Timeouts, Trust
from backupflow.core.timetable import Cron, Timetable, read_cron
from backupflow.core.windows import read_windows
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GLOBAL = "global"  # where a setting comes from that no scope says anything of: the environment, or the default
SHORTEST_INTERVAL = timedelta(seconds=1)
# Beyond these a time cannot be reckoned with, or a lease would never end.
LONGEST_INTERVAL = timedelta(days=3660)
LONGEST_SESSION = timedelta(days=1)
LONGEST_OF = {"connect": timedelta(minutes=5), "banner": timedelta(minutes=5), "login": timedelta(minutes=10)}
MOST_AT_A_TIME = 10_000
_SWITCHES = ("legacy_ssh", "end_mark", "who")
_SHORTEST_WAIT = timedelta(seconds=1)
_LONGEST_COMMAND = LONGEST_SESSION - sum(LONGEST_OF.values(), timedelta(0))
_TIMEOUTS = tuple(f"{name}_timeout_seconds" for name in ("connect", "banner", "login", "command"))
# Name -> kinds of scopes that may have it; a jump host and a profile are not in the line of a device's scopes.
_PLACES = ("device", "group", "site", "tenant")
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "interval_seconds": _PLACES,
    "cron": _PLACES,  # in place of an interval: of these two the nearest scope that says either wins
    "maintenance": _PLACES,  # weekly windows; those of all scopes hold
    **dict.fromkeys(_TIMEOUTS, _PLACES),
    "legacy_ssh": (*_PLACES, "jump_host"),
    "trust": (*_PLACES, "profile", "jump_host"),
    "secrets": _PLACES,
    "end_mark": _PLACES,
    "who": _PLACES,
    "concurrency": ("group", "site", "tenant"),  # sessions at a time with all of its devices together
}


@dataclass(frozen=True, slots=True)
class Policy:
    """The effective settings of one device. When it runs is asked of its `timetable`: `interval` may not hold."""

    interval: timedelta = timedelta(hours=6)
    cron: Cron | None = None
    timeouts: Timeouts = Timeouts()
    legacy_ssh: bool = False
    trust: Trust = Trust.TOFU
    max_bytes: int = 16 * 1024 * 1024
    secrets: SecretsPolicy = SecretsPolicy.COLLECT
    end_mark: bool = True  # ask routers that repeat one for an end mark
    who: bool = False  # ask routers for their log of edits too

    @property
    def timetable(self) -> Timetable:
        """When it runs."""
        return Timetable(self.interval, self.cron)


def resolve(defaults: Policy, *scopes: Mapping[str, Any] | None) -> Policy:
    """Apply the scopes in the order given, the nearest last; unknown names are left to who wrote them."""
    policy = defaults
    for scope in scopes:
        for name, value in (scope or {}).items():
            if name != "interval_seconds" or "cron" not in (scope or {}):
                policy = _apply(policy, name, value)
    return policy


def _apply(policy: Policy, name: str, value: object) -> Policy:
    match name:
        case "interval_seconds":
            return replace(policy, interval=timedelta(seconds=float(str(value))), cron=None)
        case "cron":
            return replace(policy, cron=read_cron(str(value)))
        case _ if name in _TIMEOUTS:
            which = name.removesuffix("_timeout_seconds")
            return replace(policy, timeouts=replace(policy.timeouts, **{which: timedelta(seconds=float(str(value)))}))
        case "legacy_ssh":
            return replace(policy, legacy_ssh=bool(value))
        case "trust":
            return replace(policy, trust=Trust(str(value)))
        case "secrets":
            return replace(policy, secrets=SecretsPolicy(str(value)))
        case "end_mark":
            return replace(policy, end_mark=bool(value))
        case "who":
            return replace(policy, who=bool(value))
        case _:
            return policy


def _within(seconds: float, shortest: timedelta, longest: timedelta) -> bool:
    """Compared as numbers: what is no number or endless is no timedelta."""
    return shortest.total_seconds() <= seconds <= longest.total_seconds()


def checked_for(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one scope as they may be stored; InputInvalid names the first that is wrong or out of place.

    `kind`: device, group, site, tenant, profile or jump_host.
    """
    for name, value in settings.items():
        if kind not in SETTINGS.get(name, (kind,)):
            raise InputInvalid(f"setting {name}: a {kind.replace('_', ' ')} has no such setting")
        if not _makes_sense(name, value):
            raise InputInvalid(f"setting {name}: it cannot be {value!r}")
    if {"cron", "interval_seconds"} <= set(settings):
        raise InputInvalid("setting cron: an interval or a cron expression, not both")
    return {**settings, **({"cron": str(read_cron(settings["cron"]))} if "cron" in settings else {})}


def merged_settings(there: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of one scope after some are said anew: an interval takes the place of a cron expression, and back."""
    gone = {"cron": "interval_seconds", "interval_seconds": "cron"}
    without = {gone[name] for name in said if name in gone}
    return {**{name: value for name, value in there.items() if name not in without}, **said}


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a device as they may be stored; InputInvalid names the first wrong one."""
    return checked_for("device", settings)


def _makes_sense(name: str, value: object) -> bool:
    match name, value:
        case _, bool():  # True is 1 to Python, and no number of seconds to anybody
            return name in _SWITCHES
        case "interval_seconds", int() | float():
            return _within(value, SHORTEST_INTERVAL, LONGEST_INTERVAL)
        case "command_timeout_seconds", int() | float():
            return _within(value, _SHORTEST_WAIT, _LONGEST_COMMAND)
        case _, int() | float() if name in _TIMEOUTS:
            return _within(value, _SHORTEST_WAIT, LONGEST_OF[name.removesuffix("_timeout_seconds")])
        case "concurrency", int():
            return 1 <= value <= MOST_AT_A_TIME
        case "trust", str():
            return value in set(Trust)
        case "secrets", str():
            return value in set(SecretsPolicy)
        case "cron", str():
            return bool(read_cron(value))
        case "maintenance", list():
            return bool(value) and all(isinstance(one, str) for one in value) and bool(read_windows(value))
        case _:
            return False


def effective(defaults: Policy, scopes: Sequence[tuple[str, Mapping[str, Any] | None]]) -> dict[str, tuple[Any, str]]:
    """Each setting as `resolve` applies it, and which scope it comes from.

    `scopes` are (where it comes from, in words; its settings), the nearest last, as `resolve` takes them. Limits of how
    many sessions at a time hold all together: the smallest is shown. Windows of maintenance add up.
    """
    found: dict[str, tuple[Any, str]] = {name: (value, GLOBAL) for name, value in settings_of(defaults).items()}
    for origin, settings in scopes:
        for name, value in (settings or {}).items():
            if name == "concurrency" and name in found and found[name][0] <= value:
                continue
            if name == "maintenance" and name in found:
                found[name] = ([*found[name][0], *value], f"{found[name][1]}, {origin}")
            elif name in SETTINGS and (name != "interval_seconds" or "cron" not in (settings or {})):
                found = merged_settings(found, {name: (value, origin)})
    return found


def settings_of(policy: Policy) -> dict[str, Any]:
    """The settings that would make this policy of any other."""
    times = policy.timeouts
    when = {"cron": str(policy.cron)} if policy.cron else {"interval_seconds": policy.interval.total_seconds()}
    return {
        **when,
        "connect_timeout_seconds": times.connect.total_seconds(),
        "banner_timeout_seconds": times.banner.total_seconds(),
        "login_timeout_seconds": times.login.total_seconds(),
        "command_timeout_seconds": times.command.total_seconds(),
        "legacy_ssh": policy.legacy_ssh,
        "trust": policy.trust.value,
        "secrets": policy.secrets.value,
        "end_mark": policy.end_mark,
        "who": policy.who,
    }
