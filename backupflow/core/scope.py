"""Settings that resolve device -> group -> site -> tenant -> global: the nearest scope that says something wins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from backupflow.core.model import SecretsPolicy, Timeouts, Trust
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORTEST_INTERVAL = timedelta(seconds=1)
# Beyond these a time cannot be reckoned with, or a lease would never end.
LONGEST_INTERVAL = timedelta(days=3660)
LONGEST_SESSION = timedelta(days=1)
_SWITCHES = ("legacy_ssh", "end_mark")
_SHORTEST_COMMAND = timedelta(seconds=1)
_LONGEST_COMMAND = LONGEST_SESSION - replace(Timeouts(), command=timedelta(0)).deadline


@dataclass(frozen=True, slots=True)
class Policy:
    """The effective settings of one device."""

    interval: timedelta = timedelta(hours=6)
    timeouts: Timeouts = Timeouts()
    legacy_ssh: bool = False
    trust: Trust = Trust.TOFU
    max_bytes: int = 16 * 1024 * 1024
    secrets: SecretsPolicy = SecretsPolicy.COLLECT
    end_mark: bool = True  # ask routers that repeat one for an end mark


def resolve(defaults: Policy, *scopes: Mapping[str, Any] | None) -> Policy:
    """Apply the scopes in the order given, the nearest last; unknown names are left to who wrote them."""
    policy = defaults
    for scope in scopes:
        for name, value in (scope or {}).items():
            policy = _apply(policy, name, value)
    return policy


def _apply(policy: Policy, name: str, value: object) -> Policy:
    match name:
        case "interval_seconds":
            return replace(policy, interval=timedelta(seconds=float(str(value))))
        case "command_timeout_seconds":
            return replace(policy, timeouts=replace(policy.timeouts, command=timedelta(seconds=float(str(value)))))
        case "legacy_ssh":
            return replace(policy, legacy_ssh=bool(value))
        case "trust":
            return replace(policy, trust=Trust(str(value)))
        case "secrets":
            return replace(policy, secrets=SecretsPolicy(str(value)))
        case "end_mark":
            return replace(policy, end_mark=bool(value))
        case _:
            return policy


def _within(seconds: float, shortest: timedelta, longest: timedelta) -> bool:
    """Compared as numbers: what is no number or endless is no timedelta."""
    return shortest.total_seconds() <= seconds <= longest.total_seconds()


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one scope as they may be stored; InputInvalid names the first wrong one."""
    for name, value in settings.items():
        match name, value:
            case _, bool() if name not in _SWITCHES:  # True is 1 to Python, and no number of seconds to anybody
                raise InputInvalid(f"setting {name}: {value!r}")
            case "interval_seconds", int() | float() if _within(value, SHORTEST_INTERVAL, LONGEST_INTERVAL):
                continue
            case "command_timeout_seconds", int() | float() if _within(value, _SHORTEST_COMMAND, _LONGEST_COMMAND):
                continue
            case str(), bool() if name in _SWITCHES:
                continue
            case "trust", str() if value in set(Trust):
                continue
            case "secrets", str() if value in set(SecretsPolicy):
                continue
            case _:
                raise InputInvalid(f"setting {name}: {value!r}")
    return dict(settings)
