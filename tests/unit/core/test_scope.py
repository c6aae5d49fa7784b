"""Settings that resolve from the global ones to those of a device."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.model import SecretsPolicy, Trust
from backupflow.core.scope import (
    GLOBAL,
    LONGEST_INTERVAL,
    LONGEST_OF,
    LONGEST_SESSION,
    SHORTEST_INTERVAL,
    Policy,
    checked,
    checked_for,
    effective,
    resolve,
    settings_of,
)
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


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("device", {"concurrency": 2}),
        ("profile", {"interval_seconds": 60}),
        ("jump_host", {"secrets": "omit"}),
        ("group", {"connect_timeout_seconds": 301}),
        ("group", {"login_timeout_seconds": 601}),
        ("group", {"banner_timeout_seconds": 0.5}),
        ("group", {"concurrency": 10_001}),
        ("group", {"concurrency": "2"}),
    ],
)
def test_a_setting_has_its_place_and_its_bounds(kind: str, settings: dict[str, Any]) -> None:
    """What nobody would look at is not stored, and no sum of time-outs outlasts a session."""
    with pytest.raises(InputInvalid, match=next(iter(settings))):
        checked_for(kind, settings)


def test_the_longest_session_is_held_by_the_bounds_of_each_time_out() -> None:
    """Whichever scopes they come from."""
    longest = {f"{name}_timeout_seconds": bound.total_seconds() for name, bound in LONGEST_OF.items()}
    policy = resolve(Policy(), checked(longest), checked({"command_timeout_seconds": 86400 - 1200}))
    assert policy.timeouts.deadline == LONGEST_SESSION


SAID = st.fixed_dictionaries(
    {},
    optional={
        "interval_seconds": st.integers(1, 10**6),
        "connect_timeout_seconds": st.integers(1, 300),
        "banner_timeout_seconds": st.integers(1, 300),
        "login_timeout_seconds": st.integers(1, 600),
        "command_timeout_seconds": st.integers(1, 85200),
        "legacy_ssh": st.booleans(),
        "trust": st.sampled_from(["tofu", "manual"]),
        "secrets": st.sampled_from(["collect", "omit"]),
        "end_mark": st.booleans(),
        "concurrency": st.integers(1, 100),
    },
)
ORIGINS = ("tenant", "site", "group", "device")


@given(st.lists(st.none() | SAID, min_size=4, max_size=4), SAID)
def test_what_is_shown_is_what_is_done(said: list[dict[str, Any] | None], globally: dict[str, Any]) -> None:
    """`effective` and `resolve` agree, the nearest scope that speaks wins, and it is named; limits hold together."""
    defaults = resolve(Policy(), globally)
    shown = effective(defaults, list(zip(ORIGINS, said, strict=True)))
    assert resolve(Policy(), {name: value for name, (value, _) in shown.items()}) == resolve(defaults, *said)
    for name, (value, origin) in shown.items():
        speakers = [(where, scope[name]) for where, scope in zip(ORIGINS, said, strict=True) if scope and name in scope]
        if name == "concurrency":
            assert value == min(limit for _, limit in speakers)
            assert (origin, value) in speakers
        elif speakers:
            assert (origin, value) == speakers[-1]
        else:
            assert (origin, value) == (GLOBAL, settings_of(defaults)[name])
    assert set(settings_of(defaults)) | {"concurrency"} >= set(shown) >= set(settings_of(defaults))
