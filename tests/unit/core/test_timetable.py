"""When devices run: intervals, cron expressions, time zones, and what the clock does twice a year."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupflow.core.scope import Policy, checked, effective, merged_settings, resolve
from backupflow.core.timetable import LONGEST_SPREAD, SPREAD, Cron, Timetable, phase, read_cron, upcoming
from backupflow.errors import InputInvalid

INTERVAL = timedelta(hours=6)
ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
NIGHTLY = "30 2 * * * Europe/Berlin"  # the hour that is missing on 29 March 2026, and comes twice on 25 October
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
EXPRESSIONS = st.sampled_from(
    ["0 2 * * *", "*/5 * * * *", "* * * * *", "0,1 2 * * *", "15 3 L * *", "0 4 1 1 *", "30 2-4 * * SUN", "0 */6 * * *"]
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
CRONS = st.builds(lambda expression, zone: read_cron(f"{expression} {zone}"), EXPRESSIONS, ZONES)
DEVICES = st.uuids()


def at(*words: int) -> datetime:
    """A moment, in UTC."""
    return datetime(*words, tzinfo=UTC)  # type: ignore[misc,arg-type]


def of(cron: Cron) -> Timetable:
    """A timetable by an expression."""
    return Timetable(INTERVAL, cron)


@given(CRONS, DEVICES, MOMENTS)
def test_the_next_run_is_in_the_future_and_soon_after_a_time_of_the_expression(
    cron: Cron, device: UUID, now: datetime
) -> None:
    """Within five minutes, and within a tenth of the time to the next one: it never comes up to that."""
    run = of(cron).next_run(device, ANCHOR, now)
    assert now < run
    times = _until(cron, run)
    assert run - times[-1] <= min(LONGEST_SPREAD, (next(cron.times(times[-1])) - times[-1]) * SPREAD)


@given(CRONS, DEVICES, MOMENTS)
def test_no_time_of_an_expression_is_left_out_and_none_comes_twice(cron: Cron, device: UUID, now: datetime) -> None:
    """Run after run, each belongs to the next time: so many in a row as there are times."""
    table, run = of(cron), of(cron).next_run(device, ANCHOR, now)
    for _ in range(3):
        later = table.next_run(device, ANCHOR, run)
        assert len(_between(cron, run, later)) == 1
        assert later - run <= table.period(run) + LONGEST_SPREAD
        run = later


@given(CRONS, DEVICES, MOMENTS)
def test_a_device_keeps_its_place_in_the_spread(cron: Cron, device: UUID, now: datetime) -> None:
    """Whenever it is asked, the answer for one time is the same."""
    table = of(cron)
    run = table.next_run(device, ANCHOR, now)
    assert table.next_run(device, ANCHOR + timedelta(days=9), run - timedelta(microseconds=1)) == run
    assert table.next_run(device, ANCHOR, now + (run - now) / 2) == run


@given(CRONS, MOMENTS)
def test_the_period_reaches_from_one_time_to_the_next(cron: Cron, now: datetime) -> None:
    """The gap around a moment, also in the nights in which the clock is changed."""
    following = next(cron.times(now))
    before = following - of(cron).period(now)
    assert before <= now < following
    assert next(cron.times(before - timedelta(microseconds=1))) == before
    assert next(cron.times(before)) == following


@settings(max_examples=10)
@given(st.lists(DEVICES, min_size=50, max_size=50, unique=True))
def test_devices_of_one_expression_do_not_start_together(devices: list[UUID]) -> None:
    """All of a tenant at two o'clock are spread over five minutes, as evenly as dice would."""
    runs = {of(Cron("0 2 * * *")).next_run(device, ANCHOR, ANCHOR) for device in devices}
    assert len(runs) == len(devices)
    assert max(runs) - min(runs) > timedelta(minutes=2)
    assert all(0 <= phase(device) < 1 for device in devices)


@pytest.mark.parametrize(
    ("text", "after", "times"),
    [
        (NIGHTLY, at(2026, 3, 28, 12), [at(2026, 3, 29, 1), at(2026, 3, 30, 0, 30)]),
        (NIGHTLY, at(2026, 10, 24, 12), [at(2026, 10, 25, 0, 30), at(2026, 10, 26, 1, 30)]),
        (NIGHTLY, at(2026, 10, 25, 0, 45), [at(2026, 10, 26, 1, 30)]),
        (NIGHTLY, at(2026, 10, 25, 1, 15), [at(2026, 10, 26, 1, 30)]),
        ("*/30 2 * * * Europe/Berlin", at(2026, 3, 28, 12), [at(2026, 3, 30, 0), at(2026, 3, 30, 0, 30)]),
        (
            "*/30 2 * * * Europe/Berlin", at(2026, 10, 24, 23),
            [at(2026, 10, 25, 0), at(2026, 10, 25, 0, 30), at(2026, 10, 25, 1), at(2026, 10, 25, 1, 30)],
        ),
    ],
    ids=["a missing time", "a time that comes twice", "between the two",
         "before the second", "a missing hour", "an hour that comes twice"],
)  # fmt: skip
def test_what_the_clock_does_twice_a_year(text: str, after: datetime, times: list[datetime]) -> None:
    """A time of day runs once a day, as soon as the clock allows; what goes by the time that passes, as it passes."""
    found = upcoming(read_cron(text), after, len(times))
    assert [time.astimezone(UTC) for time in found] == times


def test_the_period_of_the_night_that_is_longer() -> None:
    """Between the two half past twos, looking back must find the first: it is 25 hours to the next one."""
    assert of(read_cron(NIGHTLY)).period(at(2026, 10, 25, 1, 15)) == timedelta(hours=25)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "five words"), ("0 2 * *", "five words"), ("0 0 2 * * * UTC", "five words"), ("@daily", "five words"),
        ("60 2 * * *", "'60' is no minute"), ("x 2 * * *", "'x' is no minute"), ("0 24 * * *", "'24' is no hour"),
        ("0 2 0 * *", "'0' is no day of month"), ("0 2 * 13 *", "'13' is no month"),
        ("0 2 * * 8", "'8' is no day of week"),
        ("0 2 * * MOO", "'MOO' is no day of week"), ("0 2 31 2 *", "day '31' never comes in month '2'"),
        ("*/0 * * * *", "no minute"),
        ("0 2 * * * Berlin", "time zone"), ("0 2 * * * Europe", "time zone"), ("0 2 * * * ../UTC", "time zone"),
        ("0 2 * * * localtime", "time zone"), ("0 2 * * * europe/berlin", "time zone"),
        ("1," * 200 + "1 2 * * *", "five"),
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused_by_its_place(text: str, says: str) -> None:
    """The word that is wrong, and what there may be."""
    with pytest.raises(InputInvalid, match=says):
        read_cron(text)


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    """Nothing else is ever raised, and what is taken has a next time and reads back as itself."""
    try:
        cron = read_cron(text)
    except InputInvalid:
        return
    assert read_cron(str(cron)) == cron
    assert next(cron.times(ANCHOR)) > ANCHOR


def test_the_nearest_scope_that_says_when_wins() -> None:
    """Whichever of the two it says; in one scope there is only one of them."""
    cron, interval = {"cron": "0 2 * * *"}, {"interval_seconds": 60}
    assert resolve(Policy(), cron, interval).timetable == Timetable(timedelta(minutes=1))
    assert str(resolve(Policy(), interval, cron).cron) == "0 2 * * *"
    assert resolve(Policy(), interval, {**cron, **interval}).cron is not None
    assert merged_settings(cron, interval) == interval
    assert merged_settings({**interval, "trust": "tofu"}, cron) == {"trust": "tofu", **cron}
    shown = effective(Policy(), [("tenant x", interval), ("site y", cron)])
    assert (shown["cron"], "interval_seconds" in shown) == (("0 2 * * *", "site y"), False)
    shown = effective(Policy(), [("tenant x", cron), ("site y", interval)])
    assert (shown["interval_seconds"], "cron" in shown) == ((60, "site y"), False)
    assert checked({"cron": " 0  2 * * sun  UTC "}) == {"cron": "0 2 * * SUN"}
    with pytest.raises(InputInvalid, match="not both"):
        checked({**cron, **interval})


@pytest.mark.parametrize("value", [None, 5, True, ["0 2 * * *"], "nightly"])
def test_a_wrong_expression_is_never_stored(value: object) -> None:
    """Nor is one of another type."""
    with pytest.raises(InputInvalid, match="cron"):
        checked({"cron": value})


def test_a_turn_is_missed_when_one_has_passed() -> None:
    """Since it was collected last: by an interval a whole one, by an expression any of its times."""
    device, now = UUID(int=1), at(2026, 6, 1, 12)
    every, nightly = Timetable(INTERVAL), of(read_cron("0 2,3 * * *"))
    assert every.missed(device, None, now)
    assert every.missed(device, now - INTERVAL, now)
    assert not every.missed(device, now - INTERVAL + timedelta(seconds=1), now)
    assert not nightly.missed(device, at(2026, 6, 1, 3, 10), now)
    assert nightly.missed(device, at(2026, 6, 1, 2, 30), now)


def _between(cron: Cron, after: datetime, until: datetime) -> list[datetime]:
    found = []
    for time in cron.times(after):
        if time > until:
            break
        found.append(time)
    return found


def _until(cron: Cron, run: datetime) -> list[datetime]:
    """The times up to a run that it may belong to."""
    return _between(cron, run - LONGEST_SPREAD - timedelta(seconds=1), run)
