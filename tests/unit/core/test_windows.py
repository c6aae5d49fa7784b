"""Weekly windows of maintenance, and what a person says of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.maintenance import Wish, read_until, scope_maintained, with_windows
from backupflow.core.model import TenantId
from backupflow.core.scope import Policy, checked_for, effective
from backupflow.core.scopes import ScopeKind, ScopeRecord
from backupflow.core.windows import (
    DAYS,
    ENDED,
    LONGEST_BY_HAND,
    Window,
    after_edit,
    by_hand,
    current,
    read_window,
    read_windows,
    standing,
    until,
)
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland")
WINDOWS = st.builds(
    Window,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.sampled_from(ZONES),
).filter(lambda window: window.start != window.end)
WEEKEND = read_windows(("sat,sun 01:00-05:00 Europe/Berlin",))
HOUR = timedelta(hours=1)


def at(*words: int) -> datetime:
    """A moment, in UTC."""
    return datetime(*words, tzinfo=UTC)  # type: ignore[misc,arg-type]


def says(window: Window, now: datetime) -> bool:
    """Whether a clock on the wall stands within a window: told apart from how the code goes about it."""
    local = now.astimezone(ZoneInfo(window.zone))
    minute, today = local.hour * 60 + local.minute, local.weekday()
    if window.start < window.end:
        return today in window.days and window.start <= minute < window.end
    return (today in window.days and minute >= window.start) or ((today - 1) % 7 in window.days and minute < window.end)


@given(st.lists(WINDOWS, max_size=3), MOMENTS)
def test_a_window_is_open_when_the_clock_on_the_wall_says_so(windows: list[Window], now: datetime) -> None:
    """In any time zone and over midnight; but for the nights of a change, of which the other tests speak."""
    changes = any(
        (now + timedelta(days=n)).astimezone(ZoneInfo(zone)).utcoffset() != now.astimezone(ZoneInfo(zone)).utcoffset()
        for zone in ZONES
        for n in (-2, 2)
    )
    if not changes:
        assert (until(windows, now) is not None) == any(says(window, now) for window in windows)


@given(st.lists(WINDOWS, min_size=1, max_size=4), MOMENTS)
def test_what_is_open_is_open_to_its_end_and_not_after(windows: list[Window], now: datetime) -> None:
    """All the time in between; windows that touch are one."""
    found = current(windows, now)
    if found is None:
        return
    assert found.start <= now < found.end
    for share in (0.0, 0.3, 0.999):
        assert until(windows, now + (found.end - now) * share) is not None
    if found.end - now < timedelta(days=7):
        assert until(windows, found.end) is None


@given(WINDOWS, st.integers(0, 700))
def test_windows_over_a_year_never_last_longer_than_they_say(window: Window, day: int) -> None:
    """Not by more than the hour that comes twice."""
    found = window.on((at(2026, 1, 1) + timedelta(days=day)).date())
    length = timedelta(minutes=(window.end - window.start) % 1440 or 1440)
    assert found is None or timedelta(0) < found.end - found.start <= length + HOUR


@pytest.mark.parametrize(
    ("text", "now", "end"),
    [
        ("sat,sun 01:00-05:00 Europe/Berlin", at(2026, 6, 6, 0), at(2026, 6, 6, 3)),
        ("fri 22:00-02:00", at(2026, 6, 6, 1), at(2026, 6, 6, 2)),
        ("fri 22:00-02:00", at(2026, 6, 5, 1), None),
        ("mon-fri 00:00-24:00", at(2026, 6, 1, 3), at(2026, 6, 6)),
        ("fri-mon 10:00-11:00", at(2026, 6, 1, 10, 30), at(2026, 6, 1, 11)),
        ("sun 02:00-04:00 Europe/Berlin", at(2026, 3, 29, 1), at(2026, 3, 29, 2)),
        ("sun 02:00-02:30 Europe/Berlin", at(2026, 3, 29, 1, 15), at(2026, 3, 29, 1, 30)),
        ("sun 02:30-04:00 Europe/Berlin", at(2026, 3, 29, 1, 15), None),
        ("sun 01:00-02:30 Europe/Berlin", at(2026, 10, 25, 1, 15), at(2026, 10, 25, 1, 30)),
        ("sun 02:30-03:00 Europe/Berlin", at(2026, 10, 25, 0, 45), at(2026, 10, 25, 2)),
    ],
)  # fmt: skip
def test_how_long_it_is_open(text: str, now: datetime, end: datetime | None) -> None:
    """Over midnight, through the week, in the night of a missing hour and in that of a doubled one."""
    assert until(read_windows((text,)), now) == end


@pytest.mark.parametrize(
    "text",
    ["", "sat", "sat 1-5", "sat 01:00", "xyz 01:00-02:00", "sat 25:00-26:00", "sat 01:60-02:00", "sat 01:00-01:00",
     "sat 24:00-01:00", "sat 01:00-02:00 Berlin", "sat 01:00-02:00 Europe/Berlin x", "1 01:00-02:00",
     "sat, 01:00-02:00"],
)  # fmt: skip
def test_what_is_no_window_is_refused(text: str) -> None:
    """And never stored, of whichever scope."""
    with pytest.raises(InputInvalid, match=r"maintenance|time zone"):
        read_window(text)
    with pytest.raises(InputInvalid):
        checked_for("site", {"maintenance": [text]})


@pytest.mark.parametrize("value", [[], "sat 01:00-02:00", [5], None, ["sat 01:00-02:00"] * 21])
def test_windows_are_a_list_of_few(value: object) -> None:
    """Each tick reads them."""
    with pytest.raises(InputInvalid):
        checked_for("site", {"maintenance": value})


def test_windows_of_all_scopes_hold() -> None:
    """They are shown together, with where they come from."""
    shown = effective(
        Policy(), [("tenant x", {"maintenance": ["sat 01:00-02:00"]}), ("device", {"maintenance": ["a"]})]
    )
    assert shown["maintenance"] == (["sat 01:00-02:00", "a"], "tenant x, device")
    assert len(DAYS) == 7


SATURDAY = at(2026, 6, 6, 0)
END = at(2026, 6, 6, 3)


@pytest.mark.parametrize(
    ("windows", "said", "becomes"),
    [
        ((), None, None),
        (WEEKEND, None, END),
        (WEEKEND, SATURDAY + HOUR, END),
        (WEEKEND, by_hand(END + HOUR), by_hand(END + HOUR)),
        (WEEKEND, END + timedelta(days=7), END),
        (WEEKEND, SATURDAY - HOUR, END),
        (WEEKEND, ENDED, ENDED),
        ((), by_hand(SATURDAY + HOUR), by_hand(SATURDAY + HOUR)),
        ((), by_hand(SATURDAY + LONGEST_BY_HAND), None),
        (read_windows(("wed 01:00-05:00",)), at(2026, 6, 10, 5), None),
        (read_windows(("wed 01:00-05:00",)), at(2031, 6, 4, 5), None),
        (read_windows(("wed 01:00-05:00",)), by_hand(at(2026, 6, 10, 5)), by_hand(at(2026, 6, 10, 5))),
        ((), SATURDAY - HOUR, SATURDAY - HOUR),
        ((), SATURDAY - timedelta(days=1), None),
        ((), ENDED, None),
    ],
)
def test_what_stands_in_the_row(windows: Sequence[Window], said: datetime | None, becomes: datetime | None) -> None:
    """A window makes it longer and never shorter; what was ended by hand stays so while the window lasts.

    A window that is not open yet was only open by a clock that stood ahead.
    """
    assert standing(windows, said, SATURDAY) == becomes


@given(st.lists(WINDOWS, max_size=3), st.none() | st.just(ENDED) | MOMENTS, MOMENTS)
def test_looking_again_changes_nothing(windows: list[Window], said: datetime | None, now: datetime) -> None:
    """And nothing that a person said for longer is lost."""
    once = standing(windows, said, now)
    assert standing(windows, once, now) == once
    if said is not None and now < said == by_hand(said) <= now + LONGEST_BY_HAND:
        assert once is not None
        assert once >= said


@pytest.mark.parametrize(
    ("after", "said", "becomes"),
    [((), END, None), ((), by_hand(END), by_hand(END)), (read_windows(("daily 00:00-02:00",)), END, at(2026, 6, 6, 2)),
     ((), ENDED, None), (WEEKEND, None, END)],
)  # fmt: skip
def test_what_is_open_ends_with_the_window_that_is_taken_away(
    after: Sequence[Window], said: datetime | None, becomes: datetime | None
) -> None:
    """What a person said beside it stays."""
    assert after_edit(WEEKEND, after, said, SATURDAY) == becomes


def test_an_edit_of_windows_is_one_of_what_is_open() -> None:
    """Other settings are none."""
    weekend, nothing = {"maintenance": ["sat,sun 01:00-05:00 Europe/Berlin"]}, {"trust": "tofu"}
    assert with_windows(nothing, weekend, None, SATURDAY) == {"maintenance_until": END}
    assert with_windows(weekend, nothing, END, SATURDAY) == {"maintenance_until": None}
    assert with_windows(weekend, {**weekend, **nothing}, END, SATURDAY) == {}
    assert with_windows(weekend, None, END, SATURDAY) == {}
    assert with_windows({"maintenance": 5}, nothing, by_hand(END), SATURDAY) == {}


SITE = ScopeRecord(
    ScopeKind.SITE, UUID(int=1), TenantId(UUID(int=2)), "north", {}, None, None, direct=False, devices=3, now=SATURDAY
)


@pytest.mark.parametrize(
    ("settings", "said", "wish", "becomes"),
    [
        ({}, None, Wish(lasts=HOUR), by_hand(SATURDAY + HOUR)),
        ({}, END, Wish(lasts=HOUR), by_hand(SATURDAY + HOUR)),
        ({}, None, Wish(until="05:00"), by_hand(at(2026, 6, 6, 5))),
        ({}, END, Wish(), SATURDAY),
        ({"maintenance": ["sat 00:00-04:00"]}, END, Wish(), ENDED),
        ({"maintenance": ["sat 00:00-04:00"]}, None, Wish(lasts=HOUR), at(2026, 6, 6, 4)),
    ],
)
def test_what_a_word_makes_of_a_site(
    settings: dict[str, object], said: datetime | None, wish: Wish, becomes: datetime | None
) -> None:
    """For a while, until a time, over; a window that is open lasts as long as it does, unless it is ended."""
    update = scope_maintained(replace(SITE, settings=settings, maintenance_until=said), wish)
    assert update is not None
    assert update.columns == {"maintenance_until": becomes}
    assert update.action == "site_maintenance"


def test_what_is_over_already_needs_no_word() -> None:
    """No audit row for nothing."""
    assert scope_maintained(SITE, Wish()) is None


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("05:00", at(2026, 6, 6, 5)), ("00:00", at(2026, 6, 7)), ("5:00 Europe/Berlin", at(2026, 6, 6, 3)),
        ("01:30 Europe/Berlin", at(2026, 6, 6, 23, 30)), ("2026-06-06T07:00+02:00", at(2026, 6, 6, 5)),
    ],
)  # fmt: skip
def test_a_time_of_day_is_the_next_one(text: str, then: datetime) -> None:
    """In UTC, as all times are shown, unless a zone is named."""
    assert read_until(text, SATURDAY) == then


@pytest.mark.parametrize("text", ["", "5", "25:00", "05:60", "soon", "2026-06-06", "2026-06-06T07:00", "05:00 Berlin"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """A time without its offset is of nobody knows which clock."""
    with pytest.raises(InputInvalid):
        read_until(text, SATURDAY)


@pytest.mark.parametrize(
    "wish", [Wish(lasts=timedelta(0)), Wish(lasts=timedelta(days=32)), Wish(until="2026-06-05T00:00Z")]
)
def test_no_maintenance_is_forgotten_for_a_month(wish: Wish) -> None:
    """Nothing is collected and nobody is called: what is to rest for longer is paused, with a reason."""
    with pytest.raises(InputInvalid, match="31 days"):
        wish.end(SATURDAY)
