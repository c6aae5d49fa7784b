"""What many changed keys at one site mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backupflow.core.pending import Outbreak, PendingKey, Waiting, by_site, outbreaks

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def key(minutes: int, site: str | None = "north", waiting: Waiting = Waiting.CHANGED, hop: bool = False) -> PendingKey:
    """One that is offered since so many minutes after noon."""
    at = NOON + timedelta(minutes=minutes)
    return PendingKey(
        "r", hop, site, None, "192.0.2.1", 22, waiting, "ssh-ed25519", "SHA256:new", ("SHA256:old",), None, at, at,
        blocked=True,
    )  # fmt: skip


def test_half_of_a_site_within_an_hour_is_told() -> None:
    """Since the first of them; what changed days ago is no part of it."""
    keys = [key(-3000), key(0), key(59), key(60), key(200)]
    assert list(outbreaks(keys, {"north": 6})) == [Outbreak("north", 3, 6, NOON)]
    assert list(outbreaks(keys, {"north": 7})) == []


@pytest.mark.parametrize(
    "keys",
    [
        [key(0)],
        [key(0), key(61)],
        [key(0, waiting=Waiting.FIRST), key(1, waiting=Waiting.FIRST)],
        [key(0), key(1, site="south")],
        [key(0), key(1, hop=True)],
        [],
    ],
    ids=["one", "not within an hour", "first keys", "two sites", "a jump host", "none"],
)
def test_what_is_no_pattern_is_not_told(keys: list[PendingKey]) -> None:
    """A site of two where one changed is no site in maintenance."""
    assert list(outbreaks(keys, {"north": 2, "south": 2})) == []


def test_devices_without_a_site_are_a_site_of_their_own() -> None:
    """Whoever has named none is told too; a key in place of an expected one counts."""
    keys = [key(0, site=None), key(5, site=None, waiting=Waiting.UNEXPECTED)]
    assert list(outbreaks(keys, {None: 3})) == [Outbreak(None, 2, 3, NOON)]


def test_sites_are_told_the_largest_first() -> None:
    """What changed there one by one is counted too, since the first of it, and is nothing that happened together."""
    keys = [
        key(-3000, "east"),
        *(key(n, "west") for n in range(50)),
        key(3, "south"),
        key(200, "south"),
        key(0, "south"),
    ]
    told = by_site(keys, {"west": 52, "south": 90, "east": 40})
    assert told == [
        Outbreak("west", 50, 52, NOON),
        Outbreak("south", 3, 90, NOON, together=False),
        Outbreak("east", 1, 40, NOON - timedelta(minutes=3000), together=False),
    ]
    assert list(outbreaks(keys, {"west": 52, "south": 90, "east": 40})) == told[:1]
