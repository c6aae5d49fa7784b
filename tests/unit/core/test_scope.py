"""Settings that resolve from the global ones to those of a device."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from backupflow.core.model import SecretsPolicy, Trust
from backupflow.core.scope import LONGEST_INTERVAL, LONGEST_SESSION, SHORTEST_INTERVAL, Policy, checked, resolve
from backupflow.errors import InputInvalid


def test_the_nearest_scope_wins() -> None:
    """What a device says stands over its site, what a site says over the tenant, each for itself."""
    policy = resolve(Policy(), {"interval_seconds": 60, "legacy_ssh": True}, None, {"interval_seconds": 30}, {})
    assert policy.interval == timedelta(seconds=30)
    assert policy.legacy_ssh
    assert policy.trust is Trust.TOFU


def test_whether_secrets_and_end_marks_are_asked_for_resolves_like_all_else() -> None:
    """They are unless somebody says otherwise, and the nearest scope has the last word."""
    assert (Policy().secrets, Policy().end_mark) == (SecretsPolicy.COLLECT, True)
    policy = resolve(Policy(), {"secrets": "omit", "end_mark": False}, {"secrets": "collect"})
    assert (policy.secrets, policy.end_mark) == (SecretsPolicy.COLLECT, False)
    policy = resolve(Policy(), {"secrets": "collect"}, {"secrets": "omit", "end_mark": True})
    assert (policy.secrets, policy.end_mark) == (SecretsPolicy.OMIT, True)


def test_a_command_time_out_leaves_the_other_time_outs() -> None:
    """One time-out is changed without touching the rest."""
    policy = resolve(Policy(), {"command_timeout_seconds": 5, "trust": "manual"})
    assert policy.timeouts.command == timedelta(seconds=5)
    assert policy.timeouts.connect == Policy().timeouts.connect
    assert policy.trust is Trust.MANUAL


@pytest.mark.parametrize(
    "settings",
    [
        {"interval_seconds": 0},
        {"interval_seconds": "6"},
        {"interval_seconds": True},
        {"interval_seconds": 3660 * 86400 + 1},
        {"interval_seconds": 1e300},
        {"interval_seconds": 10**400},
        {"interval_seconds": math.inf},
        {"interval_seconds": math.nan},
        {"command_timeout_seconds": True},
        {"command_timeout_seconds": 0.5},
        {"command_timeout_seconds": 86400},
        {"legacy_ssh": 1},
        {"trust": "all"},
        {"trust": True},
        {"secrets": "shown"},
        {"secrets": True},
        {"secrets": None},
        {"end_mark": 1},
        {"end_mark": "no"},
        {"colour": "red"},
        {"colour": True},
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(settings: dict[str, Any]) -> None:
    """Nothing that resolve could not read is ever stored, and the error names the place."""
    with pytest.raises(InputInvalid, match=next(iter(settings))):
        checked(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"interval_seconds": 1},
        {"interval_seconds": 3660 * 86400},
        {"command_timeout_seconds": 1.5},
        {"command_timeout_seconds": 86400 - 1200},
        {"legacy_ssh": False},
        {"trust": "manual"},
        {"secrets": "omit", "end_mark": True},
    ],
)
def test_what_is_taken_can_be_worked_with(settings: dict[str, Any]) -> None:
    """Up to the bounds that a collection is held to: none of them is refused later."""
    policy = resolve(Policy(), checked(settings))
    assert SHORTEST_INTERVAL <= policy.interval <= LONGEST_INTERVAL
    assert timedelta(0) < policy.timeouts.deadline <= LONGEST_SESSION
