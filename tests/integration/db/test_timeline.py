"""The changes that a reader is shown, on a real PostgreSQL, as the role `reader`."""

# ruff: noqa: ANN401 - what is wanted has values of any type

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from backupflow.adapters.db.timeline import Timelines
from backupflow.core.model import Seq, TenantId
from backupflow.core.timeline import Wanted, component_of, is_within, likely
from backupflow.errors import NotFound
from tests.integration.db.fleet import Fleet, message, published

if TYPE_CHECKING:
    from backupflow.core.model import DeviceId

_TELL = """
    INSERT INTO interpretation (collection_id, tenant_id, device_id, seq, after_seq, at, normalization_version, kind,
        lines_added, components, changes_sealed)
    SELECT id, tenant_id, device_id, seq, :after, collected_at, 1, :kind, 2, CAST(:components AS jsonb), :sealed
    FROM collection WHERE device_id = :device AND seq = :seq"""
SEALED = "vault:v1:Y2hhbmdlcw=="
ALL = Wanted(100)


def observe(fleet: Fleet, contents: str, name: str = "core-1") -> DeviceId:
    """A device of which these words, each a letter, were observed one after the other."""
    device = fleet.device(name=name)
    for letter in contents:
        running = fleet.running(device)
        assert fleet.collections.publish(running, published(letter))
        assert [one.acceptable for one in fleet.observations.store([message(running, letter)])] == [True]
    return device


def tell(fleet: Fleet, device: DeviceId, seq: int, after: int, *components: str, kind: str = "change") -> None:
    """What an interpreter writes of one change."""
    values = {"device": device, "seq": seq, "after": after}
    fleet.sql(_TELL, **values, kind=kind, components=json.dumps(components), sealed=SEALED)
    fleet.sql("UPDATE collection SET interpreted_after_seq = :after WHERE device_id = :device AND seq = :seq", **values)


def timelines(fleet: Fleet) -> Timelines:
    """As the reader."""
    return Timelines(fleet.engine("reader"))


def told(fleet: Fleet, **wanted: Any) -> list[tuple[int, int, str | None]]:
    """The entries of `core-1`: seq, the one before it, and what was told."""
    read = timelines(fleet).history(fleet.tenant, "core-1", Wanted(**{"limit": 100, **wanted}))
    return [(one.seq, one.previous_seq, one.told.kind if one.told else None) for one in read.entries]


def test_each_change_is_an_entry_the_newest_first(fleet: Fleet) -> None:
    """What came back is a change again; what was equal is none."""
    observe(fleet, "aabba")
    assert told(fleet) == [(5, 4, None), (3, 2, None), (1, 0, None)]
    assert told(fleet, limit=2) == [(5, 4, None), (3, 2, None)]


def test_a_device_that_never_changed_has_its_first(fleet: Fleet) -> None:
    """One entry, and since when it is so, until when, and how often that was seen."""
    observe(fleet, "aaa")
    read = timelines(fleet).history(fleet.tenant, "core-1", ALL)
    assert [one.seq for one in read.entries] == [1]
    assert read.standing is not None
    assert (read.standing.seq, read.standing.last_seq, read.standing.observations) == (1, 3, 3)
    assert read.standing.since < read.standing.last_seen_at
    assert read.uninterpreted == 1


def test_how_it_stands_counts_since_the_last_change(fleet: Fleet) -> None:
    """With those that were taken away since they said nothing more."""
    device = observe(fleet, "aabbb")
    fleet.sql("UPDATE collection SET compacted = 40 WHERE device_id = :d AND seq = 5", d=device)
    fleet.sql("UPDATE collection SET compacted = 7 WHERE device_id = :d AND seq = 3", d=device)
    standing = timelines(fleet).history(fleet.tenant, "core-1", ALL).standing
    assert standing is not None
    assert (standing.seq, standing.last_seq, standing.observations) == (3, 5, 43)


def test_nothing_is_known_of_a_device_without_a_snapshot(fleet: Fleet) -> None:
    """No entry and no standing; a device that there is not is another matter."""
    fleet.device(name="core-1")
    read = timelines(fleet).history(fleet.tenant, "core-1", ALL)
    assert (read.entries, read.standing) == ((), None)
    with pytest.raises(NotFound):
        timelines(fleet).history(fleet.tenant, "core-2", ALL)
    with pytest.raises(NotFound):
        timelines(fleet).change(fleet.tenant, "core-1", None)


def test_what_was_told_against_another_predecessor_is_void(fleet: Fleet) -> None:
    """An interpretation counts while the row says that it is of it."""
    device = observe(fleet, "abc")
    tell(fleet, device, 2, 1)
    tell(fleet, device, 3, 2)
    assert told(fleet) == [(3, 2, "change"), (2, 1, "change"), (1, 0, None)]
    fleet.sql("UPDATE collection SET interpreted_after_seq = NULL WHERE device_id = :d AND seq = 3", d=device)
    fleet.sql("UPDATE interpretation SET after_seq = 0 WHERE device_id = :d AND seq = 2", d=device)
    assert told(fleet) == [(3, 2, None), (2, 1, None), (1, 0, None)]


def test_what_was_told_stays_when_the_one_before_is_taken_away(fleet: Fleet) -> None:
    """Retention takes the past, not what was said of what is kept."""
    device = observe(fleet, "ab")
    tell(fleet, device, 2, 1)
    fleet.sql("DELETE FROM collection WHERE device_id = :d AND seq = 1", d=device)
    assert told(fleet) == [(2, 0, "change")]


def test_what_is_undecided_is_not_shown_as_a_change(fleet: Fleet) -> None:
    """Two normalizations: nobody knows yet; that there is something to come is said."""
    device = observe(fleet, "ab")
    fleet.sql("UPDATE collection SET is_change = NULL WHERE device_id = :d AND seq = 2", d=device)
    assert told(fleet) == [(1, 0, None)]
    assert timelines(fleet).history(fleet.tenant, "core-1", ALL).uninterpreted == 2


def test_a_component_and_all_below_it(fleet: Fleet) -> None:
    """By whole words of the path; what is not interpreted yet is in none."""
    device = observe(fleet, "abcd")
    tell(fleet, device, 2, 1, "ip/firewall/filter", "system/note")
    tell(fleet, device, 3, 2, "ip/firewallx")
    assert [one[0] for one in told(fleet, component="ip/firewall")] == [2]
    assert [one[0] for one in told(fleet, component="ip")] == [3, 2]
    assert [one[0] for one in told(fleet, component="system/note")] == [2]
    assert told(fleet, component="ip/firewall/filter/x") == []
    assert told(fleet, component="%") == []


def test_since_when(fleet: Fleet) -> None:
    """By the time of collection."""
    device = observe(fleet, "abc")
    fleet.sql("UPDATE collection SET collected_at = now() - seq * interval '-1 hour' WHERE device_id = :d", d=device)
    third = fleet.value("SELECT collected_at FROM collection WHERE device_id = :d AND seq = 3", d=device)
    assert [one[0] for one in told(fleet, since=third - timedelta(hours=1))] == [3, 2]


def test_another_router_begins_anew(fleet: Fleet) -> None:
    """Its first is an entry even if it equals the last of the one before, and is compared with nothing of it."""
    device = observe(fleet, "ab")
    fleet.sql("UPDATE device SET router_since_seq = 2 WHERE id = :d", d=device)
    fleet.sql(
        "INSERT INTO audit (tenant_id, actor, action, device_id, detail) "
        "VALUES (:t, 'me', 'device_replaced', :d, '{\"after_seq\": 2}')",
        t=fleet.tenant,
        d=device,
    )
    for letter in "bbc":
        running = fleet.running(device)
        assert fleet.collections.publish(running, published(letter))
        fleet.observations.store([message(running, letter)])
    assert told(fleet) == [(5, 4, None), (3, 0, None), (2, 1, None), (1, 0, None)]
    read = timelines(fleet).history(fleet.tenant, "core-1", ALL)
    assert [one.after_seq for one in read.others] == [2]


def test_the_change_that_an_observation_belongs_to(fleet: Fleet) -> None:
    """Its own, or the one just before it; by number, by time, or the newest."""
    device = observe(fleet, "aabbb")
    fleet.sql("UPDATE collection SET collected_at = now() + seq * interval '1 hour' WHERE device_id = :d", d=device)
    second = fleet.value("SELECT collected_at FROM collection WHERE device_id = :d AND seq = 2", d=device)
    find = timelines(fleet).change
    assert [find(fleet.tenant, "core-1", Seq(seq)).seq for seq in (1, 2, 3, 5)] == [1, 1, 3, 3]
    assert find(fleet.tenant, "core-1", None).seq == 3
    assert find(fleet.tenant, "core-1", second).seq == 1
    with pytest.raises(NotFound):
        find(fleet.tenant, "core-1", second - timedelta(days=9))


def test_a_number_that_nothing_was_stored_under_has_no_change(fleet: Fleet) -> None:
    """Neither above the newest, nor in a gap, unless it was taken away since it said nothing more; times have one."""
    device = observe(fleet, "aabbb")

    def change(at: int) -> int:
        return timelines(fleet).change(fleet.tenant, "core-1", Seq(at)).seq

    assert [change(at) for at in (1, 2, 3, 4, 5)] == [1, 1, 3, 3, 3]
    for at in (6, 99999):
        with pytest.raises(NotFound, match=rf"no snapshot {at}; its newest is 5\)$"):
            change(at)
    fleet.sql("DELETE FROM collection WHERE device_id = :d AND seq = 4", d=device)
    with pytest.raises(NotFound, match=r"no snapshot 4; its newest is 5\)$"):
        change(4)
    fleet.sql("UPDATE collection SET compacted = 1 WHERE device_id = :d AND seq = 5", d=device)
    assert change(4) == 3
    at = fleet.value(
        "SELECT collected_at + interval '1 day' FROM collection WHERE device_id = :d AND seq = 5", d=device
    )
    assert isinstance(at, datetime)
    assert timelines(fleet).change(fleet.tenant, "core-1", at).seq == 3
    with pytest.raises(NotFound, match="no snapshot of 2001-02-03 02:05:06Z or before"):
        timelines(fleet).change(
            fleet.tenant, "core-1", datetime(2001, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
        )


def test_neighbours_are_led_to_by_one_change(fleet: Fleet) -> None:
    """Any observation of one run and any of the next; never across two changes, nor backwards."""
    observe(fleet, "aabbc")
    store = timelines(fleet)

    def lead(one: int, other: int) -> int | None:
        older, newer = (store.snapshot(fleet.tenant, "core-1", Seq(seq)) for seq in (one, other))
        found = store.leads(older, newer)
        return found.seq if found else None

    pairs = [(1, 3), (2, 4), (1, 2), (1, 5), (3, 5), (5, 1), (4, 4)]
    assert [lead(*pair) for pair in pairs] == [3, 3, None, None, 5, None, None]


def test_the_changes_of_a_tenant_are_interleaved(fleet: Fleet) -> None:
    """By time, of its own devices alone, without those that were removed; the rest is counted."""
    one, other = observe(fleet, "ab"), observe(fleet, "ab", "core-2")
    gone = observe(fleet, "ab", "core-3")
    for number, device in enumerate((one, other, gone)):
        tell(fleet, device, 1, 0, kind="first")
        tell(fleet, device, 2, 1, "ip/address")
        fleet.sql(
            "UPDATE collection SET collected_at = now() + (seq * 10 + :n) * interval '1 minute' WHERE device_id = :d",
            d=device,
            n=number,
        )
    fleet.sql("UPDATE device SET status = 'removed', removed_at = now() WHERE id = :d", d=gone)
    observe(fleet, "a", "core-4")
    read = timelines(fleet).fleet(fleet.tenant, ALL)
    assert [(entry.owner.name, entry.seq) for entry in read.entries] == [
        ("core-2", 2),
        ("core-1", 2),
        ("core-2", 1),
        ("core-1", 1),
    ]
    assert read.uninterpreted == 1
    within = timelines(fleet).fleet(fleet.tenant, Wanted(1, component="ip"))
    assert [(entry.owner.name, entry.seq, entry.previous_seq) for entry in within.entries] == [("core-2", 2, 1)]
    stranger = fleet.value("INSERT INTO tenant (name) VALUES ('other') RETURNING id")
    assert timelines(fleet).fleet(stranger, ALL).entries == ()


def test_a_first_one_is_news_of_the_fleet_if_its_device_is_new(fleet: Fleet) -> None:
    """Not if what was before it was taken away; another router is news."""
    device = observe(fleet, "abc")
    tell(fleet, device, 1, 0, kind="first")
    tell(fleet, device, 2, 0, kind="first")
    tell(fleet, device, 3, 2)

    def told_of() -> list[int]:
        return [one.seq for one in timelines(fleet).fleet(fleet.tenant, ALL).entries]

    assert told_of() == [3, 2, 1]
    fleet.sql("DELETE FROM interpretation WHERE device_id = :d AND seq = 1", d=device)
    fleet.sql("DELETE FROM collection WHERE device_id = :d AND seq = 1", d=device)
    fleet.sql("UPDATE device SET kept_from_seq = 2 WHERE id = :d", d=device)
    assert told_of() == [3]


def test_what_is_to_be_interpreted_is_late_after_a_while(fleet: Fleet) -> None:
    """Some seconds are usual; of a device and of all."""
    device = observe(fleet, "ab")

    def late() -> tuple[bool, bool]:
        store = timelines(fleet)
        return store.history(fleet.tenant, "core-1", ALL).late, store.fleet(fleet.tenant, ALL).late

    assert late() == (False, False)
    fleet.sql("UPDATE collection SET stored_at = now() - interval '1 hour' WHERE device_id = :d AND seq = 1", d=device)
    assert late() == (True, True)


def test_to_reveal_is_written_down(fleet: Fleet) -> None:
    """One act, with what; reading alone is none."""
    observe(fleet, "ab")
    store = timelines(fleet)
    owner = store.change(fleet.tenant, "core-1", None).owner
    store.snapshot(fleet.tenant, "core-1", None)
    assert fleet.sql("SELECT 1 FROM audit WHERE actor = 'somebody'") == []
    store.reveal("somebody", owner, {"what": "diff", "seq": 2})
    (act,) = fleet.sql("SELECT action, device_id, detail FROM audit WHERE actor = 'somebody'")
    assert tuple(act) == ("config_revealed", owner.device_id, {"what": "diff", "seq": 2})


@pytest.mark.parametrize(
    ("typed", "meant"), [("/ip firewall", "ip/firewall"), (" ip/firewall/ ", "ip/firewall"), ("header", "header")]
)
def test_a_menu_is_known_however_it_is_typed(typed: str, meant: str) -> None:
    """As RouterOS writes it, or as it is shown here."""
    assert component_of(typed) == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ip/firewal", "ip/firewall"),
        ("ip/firewall/fliter", "ip/firewall/filter"),
        ("ip/firewall", None),
        ("ip", None),
        ("system/note", None),
        ("queue/tree", None),
    ],
)
def test_a_menu_that_nothing_is_known_of_may_be_another(typed: str, meant: str | None) -> None:
    """One that is nearly the same, or what is above it; what is known, or like none, is none."""
    assert likely(typed, ("ip/firewall/filter", "system/note")) == meant


def test_the_menus_of_a_tenant_are_those_of_its_changes(fleet: Fleet) -> None:
    """Each once, of this tenant alone."""
    device = observe(fleet, "abc")
    tell(fleet, device, 2, 1, "ip/firewall/filter", "system/note")
    tell(fleet, device, 3, 2, "system/note")
    assert timelines(fleet).components(fleet.tenant) == ("ip/firewall/filter", "system/note")
    assert timelines(fleet).components(TenantId(uuid4())) == ()


def test_a_component_is_within_itself_and_what_is_above() -> None:
    """By whole words."""
    assert is_within("ip/firewall/filter", "ip/firewall")
    assert is_within("ip", "ip")
    assert not is_within("ip/firewallx", "ip/firewall")
