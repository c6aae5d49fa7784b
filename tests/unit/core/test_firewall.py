"""Our picture of a router's address lists beside the lists themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.firewall import LISTS, LONGEST, Met, met

START = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
# Pauses around each list's time, just short of it and just over it, and anything between.
PAUSES = st.one_of(
    st.integers(0, 5400),
    st.sampled_from([int(span.total_seconds() * factor) for span in LISTS for factor in (0.99, 1, 1.04, 1.06)]),
).map(lambda seconds: timedelta(seconds=seconds))
# What happens after each: something by itself, or a person asks.
VISITS = st.lists(st.tuples(PAUSES, st.booleans()), max_size=60)


@dataclass
class Router:
    """The four rules as RouterOS goes through them; a list keeps an address until its time is over."""

    until: dict[int, datetime] = field(default_factory=dict)
    banned: bool = False

    def connect(self, now: datetime) -> None:
        """One new connection."""
        on = {number for number, until in self.until.items() if now < until}
        self.banned = self.banned or 3 in on
        for number in (3, 2, 1):
            if number == 1 or number - 1 in on:
                self.until[number] = now + LISTS[number - 1]


@given(VISITS, st.integers(0, 15))
def test_whoever_connects_only_when_he_may_is_never_banned(visits: list[tuple[timedelta, bool]], late: int) -> None:
    """Whatever is asked for by hand within the policy, and although each connection comes some seconds late."""
    router, known, now = Router(), Met(), START
    for number, (pause, by_person) in enumerate(visits):
        now += pause
        if known.wary(now) if by_person else known.held(now):
            continue
        known = met(known, now)
        router.connect(now + timedelta(seconds=late * (number % 2)))
    assert not router.banned


@given(VISITS)
def test_our_picture_never_shows_us_off_a_list_that_we_are_on(visits: list[tuple[timedelta, bool]]) -> None:
    """Also for those who insist: until they are banned, the picture holds."""
    router, known, now = Router(), Met(), START
    for pause, _ in visits:
        now += pause
        on = {number for number, until in router.until.items() if now < until}
        assert known.held(now) or not on & {2, 3}
        assert known.wary(now) or 3 not in on
        if router.banned:
            return
        known = met(known, now)
        router.connect(now)


@given(VISITS)
def test_who_waits_is_let_in_again(visits: list[tuple[timedelta, bool]]) -> None:
    """No wait is longer than the third list's, and it never grows while nobody connects."""
    known, now = Met(), START
    for pause, _ in visits:
        now += pause
        known = met(known, now)
    assert not known.held(now + LISTS[2] * 1.06)
    assert known.hold_until is None or known.hold_until - now < LONGEST
    assert known.hold_until is not None or known.wary_until is None


def test_the_lists_are_those_of_the_manual() -> None:
    """A fourth connection within the windows is one too many; a third may be a person's only."""
    known = met(Met(), START)
    assert not known.held(START)
    known = met(known, START + 5 * MINUTE)
    assert (known.held(START + 20 * MINUTE), known.wary(START + 20 * MINUTE)) == (True, False)
    known = met(known, START + 20 * MINUTE)
    assert known.wary(START + 80 * MINUTE)
    assert not known.held(START + 84 * MINUTE)


def test_an_hourly_run_is_never_held() -> None:
    """What comes in an interval that no list reaches waits for nothing."""
    known, now = Met(), START
    for _ in range(100):
        known = met(known, now)
        now += timedelta(minutes=5.5)
        assert not known.held(now)


def test_a_time_from_a_clock_that_stood_ahead_means_nothing() -> None:
    """A year ahead: the device is neither held nor refused, and its next contact is as a first one."""
    ahead = START + timedelta(days=365)
    known = Met(ahead, ahead, ahead)
    assert (known.held(START), known.wary(START)) == (False, False)
    assert met(known, START) == Met(START)
