"""What an import plans: against whatever is here, for whatever is wanted."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core import becoming
from backupflow.core.importing import (
    Asked,
    Difference,
    Fleet,
    Known,
    Orphans,
    Plan,
    ScopeSays,
    TenantScopes,
    Wanted,
    WantedProfile,
)
from backupflow.core.inventory import DIRECT, OWN_LOGIN
from backupflow.core.model import DeviceId, TenantId
from backupflow.core.planning import plan
from backupflow.core.table import read_table
from backupflow.core.table_cells import COLUMNS

SCOPES = TenantScopes(
    TenantId(UUID(int=1)),
    ScopeSays(),
    {"g": ScopeSays(), "hopped": ScopeSays("h2"), "straight": ScopeSays(direct=True)},
    {"s": ScopeSays(profile="p"), "far": ScopeSays("h1", profile="q")},
    frozenset({"p", "q"}),
    frozenset({"h1", "h2"}),
)
PRINT, OTHER = "SHA256:" + "a" * 43, "SHA256:" + "b" * 43
UPDATE = Asked(update=True)


def known(number: int, name: str = "", **more: object) -> Known:
    """A device that is here, with a login of its own unless it has a profile."""
    usual = {} if more.get("profile") else {"username": "u"}
    return Known(
        "default",
        DeviceId(UUID(int=number)),
        name or f"d{number}",
        f"192.0.2.{number}",
        22,
        **{**usual, **more},  # type: ignore[arg-type]
    )


def fleet(*devices: Known, **tenants: TenantScopes) -> Fleet:
    """All that is here."""
    return Fleet({"default": SCOPES, **tenants}, devices)


def planned(here: Fleet, *rows: Wanted, asked: Asked = UPDATE) -> Plan:
    """The plan for rows that are numbered from 2 on."""
    return plan(here, [replace(row, line=number) for number, row in enumerate(rows, 2)], asked)


def said(found: Plan) -> list[str]:
    """What is wrong."""
    return [str(problem) for problem in found.problems]


NEW = Wanted("new", "192.0.2.200", profile="p")
TAKEN = "column host: the same address and port as a device that is here, and the same way there"
NO_LOGIN = "column profile: no login: name a profile, or give its group, site or tenant one"
TWO_LOGINS = "column profile: beside a login of its own: only one of them would be used"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (replace(NEW, tenant="nobody"), "column tenant: no such tenant"),
        (replace(NEW, profile="x"), "column profile: no such profile; make it with `credential add`"),
        (replace(NEW, group="x"), "column group: no such group; make it with `group add`, or say --make-groups"),
        (replace(NEW, site="x"), "column site: no such site; make it with `site add`, or say --make-groups"),
        (replace(NEW, jump="x"), "column jump: no such jump host; make it with `jump add`, or say `direct`"),
        (replace(NEW, host=None), "column host: missing; a new device needs one"),
        (replace(NEW, username="u", password="w"), TWO_LOGINS),
        (replace(NEW, profile=None), NO_LOGIN),
        (replace(NEW, name="d1", profile=""), NO_LOGIN),
        (replace(NEW, host="192.0.2.2"), TAKEN),
        (Wanted("d1", "192.0.2.2"), TAKEN),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_has_its_message(row: Wanted, message: str) -> None:
    """Of what only the fleet can tell; nothing is planned of that row, and no value of it is repeated."""
    found = planned(fleet(known(1, profile="q"), known(2)), row)
    assert said(found) == [f"line 2, {message}"]
    assert (found.added, found.changed) == ((), ())


def test_a_name_and_an_address_stand_for_one_row() -> None:
    """The first row has them; the same name in another tenant is another device, the same address there too."""
    rows = (NEW, NEW, replace(NEW, name="n2"), replace(NEW, tenant="other"))
    found = planned(fleet(other=SCOPES), *rows)
    assert said(found) == [
        "line 3, column name: the same name as in line 2",
        "line 4, column host: the same address and port as in line 2, and the same way there",
    ]
    assert [row.line for row in found.added] == [2, 5]


WAYS = [
    ({}, None), ({"jump": "h1"}, "h1"), ({"site": "far"}, "h1"), ({"group": "hopped"}, "h2"),
    ({"group": "hopped", "site": "far"}, "h2"), ({"group": "straight", "site": "far"}, None),
    ({"group": "hopped", "jump": "h1"}, "h1"), ({"group": "hopped", "jump": DIRECT}, None),
]  # fmt: skip


@pytest.mark.parametrize(("one", "one_via"), WAYS)
@pytest.mark.parametrize(("two", "two_via"), WAYS)
def test_equal_addresses_collide_by_the_same_way_only(
    one: dict[str, str], one_via: str | None, two: dict[str, str], two_via: str | None
) -> None:
    """Whichever scope says the way, the nearest one that does counts."""
    first, second = replace(NEW, **one), replace(NEW, name="second", **two)  # type: ignore[arg-type]
    assert becoming.via(becoming.then(None, first), SCOPES) == one_via
    assert bool(planned(fleet(), first, second).problems) == (one_via == two_via)


def test_addresses_may_be_exchanged() -> None:
    """What counts is who has which when all is done; without an update nobody moves, and a new one finds it taken."""
    here = fleet(known(1), known(2))
    swapped = (Wanted("d1", "192.0.2.2"), Wanted("d2", "192.0.2.1"))
    assert said(planned(here, *swapped)) == []
    moved = (Wanted("d1", "192.0.2.9"), replace(NEW, host="192.0.2.1"))
    assert said(planned(here, *moved)) == []
    assert len(said(planned(here, *moved, asked=Asked()))) == 1
    gone = replace(NEW, host="192.0.2.1")
    assert said(planned(here, gone, asked=Asked(orphans=Orphans.REMOVE))) == []
    assert len(said(planned(here, gone, asked=Asked(orphans=Orphans.STAY)))) == 1


def test_a_row_that_is_left_out_leaves_its_device_where_it_is() -> None:
    """Of a partial import too two devices never have one address: who wanted that of the other is left out as well."""
    here = fleet(known(1), known(2))
    rows = (Wanted("d1", "192.0.2.9", group="unknown"), Wanted("d2", "192.0.2.1"), replace(NEW, host="192.0.2.2"))
    found = planned(here, *rows, asked=replace(UPDATE, partial=True))
    assert [problem.line for problem in found.problems] == [2, 3, 4]
    assert not found.changes_anything


def test_what_differs_is_changed_by_an_update_only() -> None:
    """Old and new of each field; of a login only that it is another. What the row does not say stays."""
    here = known(
        1, group="g", profile="p", settings={"legacy_ssh": False, "trust": "manual"}, expected=frozenset({OTHER})
    )
    row = Wanted(
        "d1", "192.0.2.9", 23, "q", "hopped", "far", DIRECT, PRINT, True, interval=900.0, username=None, line=2,
    )  # fmt: skip
    wanted = [
        Difference("host", "192.0.2.1", "192.0.2.9"), Difference("port", "22", "23"), Difference("profile", "p", "q"),
        Difference("group", "g", "hopped"), Difference("site", None, "far"), Difference("jump", None, "direct"),
        Difference("fingerprint", OTHER, PRINT), Difference("legacy_ssh", "no", "yes"),
        Difference("interval", None, "900s"),
    ]  # fmt: skip
    left = planned(fleet(here), row, asked=Asked())
    assert (left.changed, [list(it.differences) for it in left.differing]) == ((), [wanted])
    assert not left.changes_anything
    done = planned(fleet(here), row)
    assert (done.differing, [list(it.differences) for it in done.changed]) == ((), [wanted])
    assert planned(fleet(here), Wanted("d1")).unchanged == (here,)


def test_a_login_of_its_own_is_told_without_a_word_of_it() -> None:
    """A sealed password cannot be compared, so one that is given is set; a profile takes the place of an own login."""
    given_one = planned(fleet(known(1)), Wanted("d1", username="u", password="w"))
    assert [it.differences for it in given_one.changed] == [(Difference("login", None, None),)]
    profile = planned(fleet(known(1)), Wanted("d1", profile="p"))
    assert Difference("login", OWN_LOGIN, "that of the profile") in profile.changed[0].differences
    assert profile.comes_to == {("default", "p"): 1}


def test_a_pinned_key_stays_and_is_spoken_of() -> None:
    """An import never puts another key in place of one that routers have proved to have."""
    here = fleet(known(1, pinned=OTHER))
    found = planned(here, Wanted("d1", fingerprint=PRINT))
    assert (found.changed, len(found.unchanged)) == ((), 1)
    assert [str(it) for it in found.remarks] == [
        "line 2, column fingerprint: another host key is pinned, and stays; see `hostkey show`"
    ]
    assert planned(here, Wanted("d1", fingerprint=OTHER)).remarks == ()


def test_who_is_missing_is_of_a_tenant_that_is_spoken_of() -> None:
    """Removed only if that was asked for, and never while something of the file could not be read."""
    here = fleet(known(1), known(2), replace(known(3), tenant="other"), other=SCOPES)
    row = Wanted("d1")
    assert [it.name for it in planned(here, row).missing] == ["d2"]
    assert planned(here, row).gone == ()
    prune = Asked(orphans=Orphans.REMOVE)
    assert [it.name for it in planned(here, row, asked=prune).gone] == ["d2"]
    assert planned(here, row, replace(NEW, profile="x"), asked=replace(prune, partial=True)).gone == ()
    assert planned(here, asked=prune).gone == ()


def test_an_inventory_pauses_its_own_orphans_and_takes_them_back() -> None:
    """Those that came from it and are active; back is who was paused as gone from it, nobody else."""
    asked = Asked(source="nb", orphans=Orphans.PAUSE, held=frozenset({"d6"}))
    here = fleet(
        known(1, source="nb"), known(2, source="nb"), known(3, source="other"), known(4, source="nb", status="paused"),
        known(5, source="nb", status="paused", paused_reason="gone from nb"), known(6, source="nb"),
        known(7, source="nb", status="paused", paused_reason="the site is being rebuilt"),
    )  # fmt: skip
    found = planned(here, Wanted("d1"), Wanted("d5"), Wanted("d7"), asked=asked)
    assert [it.name for it in found.gone] == ["d2"]
    assert [it.name for it in found.missing] == ["d2", "d4"]
    assert [it.name for it in found.back] == ["d5"]


def test_an_orphan_that_is_paused_keeps_its_address() -> None:
    """It may be back; the database would refuse whoever else wants to be there."""
    asked = Asked(source="nb", orphans=Orphans.PAUSE)
    found = planned(fleet(known(1, source="nb")), replace(NEW, host="192.0.2.1"), asked=asked)
    assert said(found) == [f"line 2, {TAKEN}"]


def test_scopes_are_made_if_that_was_asked_for_and_profiles_if_they_are_brought() -> None:
    """Each once, and only those that somebody who is taken in needs."""
    asked = replace(UPDATE, makes_scopes=True)
    rows = (replace(NEW, group="x", site="s"), replace(NEW, name="n2", host="192.0.2.201", group="x", site="y"))
    assert planned(fleet(), *rows, asked=asked).makes == (("default", "group", "x"), ("default", "site", "y"))
    here = fleet(known(1))
    assert planned(here, Wanted("d1", group="x"), asked=replace(asked, update=False)).makes == ()
    brought = [WantedProfile("fresh", "u", "w"), WantedProfile("p", "u", "w")]
    found = plan(fleet(), [replace(NEW, profile="fresh", line=2)], UPDATE, brought)
    assert (said(found), found.makes) == ([], (("default", "profile", "fresh"),))


def test_who_comes_to_share_a_login_is_counted_wherever_it_comes_from() -> None:
    """A profile of the row, of its group, site or tenant; not who has it already, nor who has one of its own."""
    here = fleet(known(1, profile="p"), known(2))
    rows = (
        NEW, replace(NEW, name="n2", host="r2", profile=None, site="far"),
        Wanted("d1", site="far"), Wanted("d2", site="s"),
    )  # fmt: skip
    assert planned(here, *rows).comes_to == {("default", "p"): 1, ("default", "q"): 1}


_NAMES = st.sampled_from([f"d{number}" for number in range(6)])
_SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "legacy_ssh": st.booleans(),
        "interval_seconds": st.integers(60, 10**7).map(float),
        "trust": st.just("tofu"),
    },
) | st.just({"cron": "0 2 * * SUN Europe/Berlin"})
_DEVICES = st.builds(
    Known,
    tenant=st.just("default"),
    device_id=st.uuids().map(DeviceId),
    name=_NAMES,
    host=st.sampled_from(["192.0.2.1", "2001:db8::1", "r1.example.net", "192.0.2.2"]),
    port=st.sampled_from([22, 2222]),
    profile=st.sampled_from([None, "p", "q"]),
    group=st.sampled_from([None, *SCOPES.groups]),
    site=st.sampled_from([None, *SCOPES.sites]),
    says=st.sampled_from([ScopeSays(), ScopeSays("h1"), ScopeSays(direct=True)]),
    settings=_SETTINGS,
    username=st.sampled_from([None, "u"]),
    pinned=st.sampled_from([None, PRINT]),
    expected=st.sampled_from([frozenset[str](), frozenset({PRINT})]),
    status=st.sampled_from(["active", "paused"]),
)


def _here(devices: list[Known]) -> list[Known]:
    """As the database would have them: each name and each place once."""
    by_name = {device.name: device for device in devices}
    return list({becoming.place(device, SCOPES): device for device in by_name.values()}.values())


def exported(devices: list[Known]) -> str:
    """A fleet as a table."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(COLUMNS)
    for it in devices:
        legacy, interval = it.settings.get("legacy_ssh"), it.settings.get("interval_seconds")
        says = DIRECT if it.says.direct else it.says.jump
        switch = {None: None, True: "yes", False: "no"}[legacy]
        fingerprint = it.pinned or next(iter(it.expected), None)
        span = interval and f"{interval:.15g}s"
        writer.writerow(
            [
                it.name,
                it.host,
                it.port,
                it.profile,
                it.group,
                it.site,
                says,
                fingerprint,
                switch,
                it.tenant,
                span,
                it.settings.get("cron"),
            ]
        )
    return written.getvalue()


@given(st.lists(_DEVICES, max_size=8), st.booleans())
def test_a_fleet_that_is_exported_is_unchanged_when_it_is_imported(devices: list[Known], update: bool) -> None:
    """Whatever it is made of, its own table changes nothing of it; and imported into nothing it is that fleet."""
    here = _here(devices)
    rows, problems = read_table(exported(here))
    assert problems == ()
    found = plan(fleet(*here), rows, Asked(update=update))
    assert (found.problems, found.remarks) == ((), ())
    assert not found.changes_anything
    assert sorted(it.name for it in found.unchanged) == sorted(it.name for it in here)
    logged_in = [
        replace(row, username=None if row.profile else "u", password=None if row.profile else "w") for row in rows
    ]
    fresh = plan(fleet(), logged_in, Asked())
    assert fresh.problems == ()
    places = {becoming.place(becoming.then(None, row), SCOPES) for row in fresh.added}
    assert places == {becoming.place(it, SCOPES) for it in here}


@given(st.lists(_DEVICES, max_size=6), st.lists(_DEVICES, max_size=6), st.booleans())
def test_what_is_planned_is_what_is_there_afterwards(old: list[Known], new: list[Known], partial: bool) -> None:
    """Done as planned, no two devices have one address, and the same file once more changes nothing."""
    here = _here(old)
    rows = [replace(row, line=number) for number, row in enumerate(read_table(exported(new))[0])]
    asked = Asked(update=True, partial=partial)
    found = plan(fleet(*here), rows, asked)
    changed = {it.known.device_id: becoming.then(it.known, it.wanted) for it in found.changed}
    after = [changed.get(it.device_id, it) for it in here]
    after += [becoming.then(None, row) for row in found.added]
    places = [becoming.place(it, SCOPES) for it in after]
    assert len(places) == len(set(places))
    if not found.problems:
        again = plan(fleet(*after), rows, asked)
        assert (again.problems, again.changes_anything) == ((), False)
