"""What of an inventory can be taken over, and what a login is called the next time."""

from __future__ import annotations

import random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.importing import Known, Wanted, WantedProfile
from backupflow.core.model import DeviceId
from backupflow.core.syncing import Inventory, apart, renamed, too_many_gone, usable, without_idle

_ID = DeviceId(UUID(int=1))


def known(name: str, profile: str | None = None, source: str | None = "tool") -> Known:
    """A device that is here."""
    return Known("default", _ID, name, "192.0.2.1", 22, profile, source=source)


@pytest.mark.parametrize(
    "row",
    [
        Wanted("a\x1b[31m", "192.0.2.1", line=2),
        Wanted("a\u202eb", "192.0.2.1", line=2),
        Wanted("../a", "192.0.2.1", line=2),
        Wanted("-rf", "192.0.2.1", line=2),
        Wanted("x" * 101, "192.0.2.1", line=2),
        Wanted("", "192.0.2.1", line=2),
        Wanted("a", "-oProxyCommand=x", line=2),
        Wanted("a", "s3cr3t s3cr3t", line=2),
        Wanted("a", None, line=2),
        Wanted("a", "192.0.2.1", 70000, line=2),
        Wanted("a", "192.0.2.1", group="g\n", line=2),
        Wanted("a", "192.0.2.1", jump="j/j", line=2),
        Wanted("ok", "192.0.2.9", line=2),
    ],
)
def test_what_cannot_be_a_device_is_listed_without_its_values(row: Wanted) -> None:
    """It is not taken, and its device here, if there is one, is not gone."""
    good = Wanted("ok", "192.0.2.1", line=1)
    inventory = usable(Inventory("tool", (good, row), places={2: "line 2"}))
    assert inventory.wanted == (good,)
    assert inventory.held == {row.name}
    (leftover,) = inventory.leftovers
    assert leftover.where == "line 2"
    assert "s3cr3t" not in leftover.says
    assert leftover.says.isprintable()


@pytest.mark.parametrize(
    "profile",
    [
        WantedProfile("p", "", "pw"),
        WantedProfile("p", "u\n", "pw"),
        WantedProfile("p", "u", ""),
        WantedProfile("p", "u", "\n"),
        WantedProfile("p", "u", "a\0b"),
        WantedProfile("p", "u"),
        WantedProfile("-p", "u", "pw"),
    ],
)
def test_a_login_that_can_be_none_is_left_out(profile: WantedProfile) -> None:
    """Its devices are held: they neither come, to be sent the login of their group, nor count as gone."""
    inventory = usable(Inventory("tool", (Wanted("a", "192.0.2.1", profile=profile.name, line=1),), (profile,)))
    assert inventory.profiles == ()
    assert (list(inventory.wanted), set(inventory.held)) == ([], {"a"})
    assert len(inventory.leftovers) == 2


def test_one_name_in_two_spellings_is_one_device() -> None:
    """However another system writes an accent."""
    rows = (Wanted("caf\u00e9", "192.0.2.1", line=1), Wanted("cafe\u0301", "192.0.2.2", line=2))
    found = usable(Inventory("tool", rows))
    assert [(row.name, row.host) for row in found.wanted] == [("caf\u00e9", "192.0.2.1")]
    assert len(found.leftovers) == 1


def of_folder(*devices: str) -> Inventory:
    """A folder with one login for all."""
    rows = tuple(Wanted(device, "192.0.2.1", profile="tool") for device in devices)
    return Inventory("tool", rows, (WantedProfile("tool", "u", "pw"),))


def test_the_login_of_another_folder_is_sent_to_nobody() -> None:
    """A name that says all is a folder's own only where one of its devices uses it; a number keeps its login later."""
    first = renamed(of_folder("a1", "a2"), [], [])
    assert set(passwords(first)) == {"tool"}
    second = renamed(of_folder("b1"), here(first), ["tool"])
    assert set(passwords(second)) == {row.profile for row in second.wanted} == {"tool-2"}
    fleet = [*here(first), *here(second)]
    assert set(passwords(renamed(of_folder("b1", "b2"), fleet, ["tool", "tool-2"]))) == {"tool-2"}
    assert set(passwords(renamed(of_folder("a1", "a3"), fleet, ["tool", "tool-2"]))) == {"tool"}
    assert set(passwords(renamed(of_folder("z"), [known("z", "tool", source="import")], ["tool"]))) == {"tool-2"}


def test_a_name_that_says_all_is_not_given_for_a_number() -> None:
    """A group that is called 2 has a login of its own."""
    rows = (Wanted("a", "192.0.2.1", profile="tool"), Wanted("b", "192.0.2.2", profile="tool-2"))
    both = Inventory("tool", rows, (WantedProfile("tool", "u", "one"), WantedProfile("tool-2", "u", "two")))
    moved = [known("a", "tool-2"), known("b", "tool-2")]
    assert passwords(renamed(both, moved, ["tool-2"])) == {"tool": "one", "tool-2": "two"}


def of_logins(*logins: tuple[str, tuple[str, ...]]) -> Inventory:
    """Logins of one user, each with its devices: numbered in this order; the password tells them apart."""
    names = ["tool-u", *(f"tool-u-{number}" for number in range(2, 20))]
    rows, profiles = [], []
    for name, (password, devices) in zip(names, logins, strict=False):
        profiles.append(WantedProfile(name, "u", password))
        rows += [Wanted(device, "192.0.2.1", profile=name) for device in devices]
    stems = {profile.name: "tool-u" for profile in profiles}
    return Inventory("tool", tuple(rows), tuple(profiles), stems=stems)


def passwords(inventory: Inventory) -> dict[str, str | None]:
    """By the name of the profile."""
    return {profile.name: profile.password for profile in inventory.profiles}


def here(inventory: Inventory) -> list[Known]:
    """The fleet after a sync with it."""
    return [known(row.name, row.profile) for row in inventory.wanted]


def test_a_login_keeps_its_name_whatever_the_order() -> None:
    """It is known by its devices."""
    first = renamed(of_logins(("one", ("a", "b")), ("two", ("c",))), [], [])
    assert passwords(first) == {"tool-u": "one", "tool-u-2": "two"}
    later = renamed(of_logins(("two", ("c",)), ("three", ("d",)), ("one", ("a", "b"))), here(first), passwords(first))
    assert passwords(later) == {"tool-u": "one", "tool-u-2": "two", "tool-u-3": "three"}
    assert {row.name: row.profile for row in later.wanted} == {
        "a": "tool-u", "b": "tool-u", "c": "tool-u-2", "d": "tool-u-3",
    }  # fmt: skip


def test_a_name_that_is_taken_never_comes_to_mean_another_login() -> None:
    """Also where nobody uses it any more: what is sealed under it is not known."""
    assert set(passwords(renamed(of_logins(("new", ("z",))), [], ["tool-u"]))) == {"tool-u-2"}
    elsewhere = [known("z", "tool-u", source="import")]
    assert set(passwords(renamed(of_logins(("new", ("z",))), elsewhere, ["tool-u"]))) == {"tool-u-2"}


@given(
    st.lists(st.sampled_from("abcdef"), min_size=8, max_size=8),
    st.lists(st.integers(0, 7), max_size=4, unique=True),
    st.integers(0, 2**16),
)
def test_a_device_whose_login_did_not_change_keeps_its_profile(kinds: list[str], moved: list[int], seed: int) -> None:
    """Unless most of those that share its profile went elsewhere: whatever moves, two logins never share a name."""

    def grouped(of: list[str], order: list[int]) -> Inventory:
        by: dict[str, list[str]] = {}
        for index in order:
            by.setdefault(of[index], []).append(f"d{index}")
        return of_logins(*((password, tuple(names)) for password, names in by.items()))

    first = renamed(grouped(kinds, list(range(8))), [], [])
    after = [("x" if index in moved else kind) for index, kind in enumerate(kinds)]
    order = list(range(8))
    random.Random(seed).shuffle(order)
    second = renamed(grouped(after, order), here(first), passwords(first))
    assert len(passwords(second)) == len(second.profiles)
    unchanged = {name: pw for name, pw in passwords(second).items() if name in passwords(first)}
    assert {name for name, pw in unchanged.items() if pw not in {passwords(first)[name], "x"}} == set()
    for row in second.wanted:
        if not moved:
            assert row.profile in {each.profile for each in first.wanted if each.name == row.name}


def test_a_login_that_nobody_uses_is_not_kept() -> None:
    """Unless the devices come from elsewhere, and it is all that there is."""
    inventory = of_logins(("one", ("a",)), ("two", ("b",)))
    used = without_idle(inventory, [row for row in inventory.wanted if row.name == "a"])
    assert set(passwords(used)) == {"tool-u"}
    alone = Inventory("tool", profiles=inventory.profiles, complete=False)
    assert without_idle(alone, []).profiles == inventory.profiles


def test_devices_from_elsewhere_are_apart() -> None:
    """By their names; those of this source, and new ones, are not."""
    inventory = Inventory("tool", tuple(Wanted(name, "192.0.2.1") for name in "abc"))
    rows, strangers = apart(inventory, [known("a"), known("b", source=None)])
    assert [row.name for row in rows] == ["a", "c"]
    assert [(row.name, there.source) for row, there in strangers] == [("b", None)]


@pytest.mark.parametrize(("gone", "ours", "doubt"), [(0, 0, False), (1, 1, True), (1, 2, False), (51, 100, True)])
def test_more_than_half_is_in_doubt(gone: int, ours: int, doubt: bool) -> None:
    """Half of them is not."""
    assert too_many_gone(gone, ours) is doubt
