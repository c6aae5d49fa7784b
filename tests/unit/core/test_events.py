"""Which alarm is told as what: none is forgotten, and who is told by what does not work is nobody."""

from __future__ import annotations

import pytest

from backupflow.core.events import HOLD, HOLD_REFUSED, KINDS, UNDELIVERED, Kind, Severity, hold_of, kind_of, severity_of
from backupflow.errors import BackupflowError, LoginSuspended, Verdict
from tests.test_house import ALARMS, FAILURES

NO_ALARM = {LoginSuspended.code, "lease_lost"}  # of these nothing is raised


def test_every_alarm_has_a_kind() -> None:
    """Whoever adds an alarm says here who has to act: it stands in KINDS, be it as one that is never told."""
    assert ALARMS - set(KINDS) == set()


@pytest.mark.parametrize("failure", FAILURES.values(), ids=lambda failure: failure.code)
def test_what_blocks_is_told_as_blocked_and_what_is_ours_as_a_dependency(failure: type[BackupflowError]) -> None:
    """The verdict of a failure says who has to act, and so does the kind of its alarm."""
    if failure.code in NO_ALARM:
        assert failure.code not in KINDS
    elif failure.verdict is Verdict.BLOCK:
        assert KINDS[failure.code] is Kind.BLOCKED
    elif failure.verdict is Verdict.PAUSE:
        assert KINDS[failure.code] is Kind.DEPENDENCY


def test_what_nobody_knows_is_told_all_the_same() -> None:
    """An alarm of a newer version, or one that somebody forgot, is told rather than lost."""
    assert kind_of("of_tomorrow") is Kind.DEPENDENCY


def test_the_alarm_of_the_hook_is_never_sent_to_it() -> None:
    """What could not be told would raise what cannot be told, for ever."""
    assert kind_of(UNDELIVERED) is None


@pytest.mark.parametrize(
    ("kind", "code", "severity"),
    [
        (Kind.BLOCKED, "host_key_mismatch", Severity.CRITICAL),
        (Kind.BLOCKED, "authentication_failed", Severity.WARNING),
        (Kind.DOWN, "site_down", Severity.CRITICAL),
        (Kind.DOWN, "device_down", Severity.WARNING),
        (Kind.RECOVERED, "site_down", Severity.INFO),
        (Kind.DEPENDENCY, "vault_unavailable", Severity.CRITICAL),
        (Kind.DEPENDENCY, "clock_skew", Severity.WARNING),
        (Kind.SUSPENDED, "login_refused", Severity.CRITICAL),
        (Kind.TEST, "test", Severity.INFO),
    ],
)
def test_how_soon_somebody_should_look(kind: Kind, code: str, severity: Severity) -> None:
    """A changed key and a site without answer are urgent, the end of something never is."""
    assert severity_of(kind, code) is severity


def test_a_refused_login_that_is_shared_is_told_late() -> None:
    """Many devices refuse it at once when its server is down: then it is the login that is told of."""
    assert hold_of("authentication_failed", shared_login=True) == HOLD_REFUSED
    assert hold_of("authentication_failed", shared_login=False) == HOLD
    assert hold_of("host_key_mismatch", shared_login=True) == HOLD
