"""Rules of what is not told: for whom each stands, and that nobody adds or removes one unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.ignore_rules import MOST, IgnoreRules, rules_of
from backupflow.core.ignoring import Place, Rule
from backupflow.errors import InputInvalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.model import DeviceId
    from tests.integration.db.fleet import Fleet

NOTE = Rule("system/note", "note")
LEASES = Rule("ip/dhcp-server/lease", "*")
NAMED = Rule("interface/ethernet", "comment", "ether1")


def acts(fleet: Fleet) -> list[tuple[str, str, object, object]]:
    """What the audit says of rules, in its order."""
    rows = fleet.sql("SELECT actor, action, device_id, detail FROM audit WHERE action LIKE 'ignore%' ORDER BY id")
    return [(row.actor, row.action, row.device_id, row.detail) for row in rows]


def stand(fleet: Fleet, *devices: DeviceId, role: str = "interpreter") -> Mapping[DeviceId, tuple[Rule, ...]]:
    """What stands for these, as a role sees it."""
    with transaction(fleet.engine(role)) as tx:
        return rules_of(tx, devices)


def test_a_rule_stands_for_its_device_its_group_or_the_whole_tenant(fleet: Fleet) -> None:
    """Who interprets and who reads sees for each device its own, its group's and its tenant's, and no other's."""
    group = fleet.value("INSERT INTO device_group (tenant_id, name) VALUES (:t, 'edge') RETURNING id", t=fleet.tenant)
    mine, in_group, other = fleet.device(name="a"), fleet.device(name="b", device_group_id=group), fleet.device()
    stranger = fleet.value("INSERT INTO tenant (name, pepper) VALUES ('x', 'vault:v1:AA==') RETURNING id")
    theirs = fleet.device(tenant_id=stranger, login=False)
    rules = IgnoreRules(fleet.engine("enroller"))
    assert rules.add(fleet.tenant, Place(device="a"), NAMED, "me")
    assert rules.add(fleet.tenant, Place(group="edge"), LEASES, "me")
    assert rules.add(fleet.tenant, Place(), NOTE, "me")
    expected = {mine: (NAMED, NOTE), in_group: (LEASES, NOTE), other: (NOTE,)}
    for role in ("interpreter", "reader"):
        assert stand(fleet, mine, in_group, other, theirs, role=role) == expected
    assert [(one.rule, one.device, one.group) for one in rules.rules(fleet.tenant)] == [
        (NOTE, None, None),
        (NAMED, "a", None),
        (LEASES, None, "edge"),
    ]
    assert acts(fleet) == [
        ("me", "ignore_added", mine, {"rule": "interface/ethernet:comment, ether1"}),
        ("me", "ignore_added", None, {"rule": "ip/dhcp-server/lease:*", "group": "edge"}),
        ("me", "ignore_added", None, {"rule": "system/note:note"}),
    ]


def test_a_rule_stands_once_and_goes_once(fleet: Fleet) -> None:
    """The same rule again changes nothing and is no act; without an identity it is another one than with one."""
    fleet.device(name="a")
    rules = IgnoreRules(fleet.engine("enroller"))
    for place in (Place(), Place(device="a")):
        assert rules.add(fleet.tenant, place, NOTE, "me")
        assert not rules.add(fleet.tenant, place, NOTE, "me")
        assert not rules.remove(fleet.tenant, place, Rule("system/note", "note", "x"), "me")
        assert rules.remove(fleet.tenant, place, NOTE, "me")
        assert not rules.remove(fleet.tenant, place, NOTE, "me")
    assert [act[1] for act in acts(fleet)] == ["ignore_added", "ignore_removed"] * 2
    assert rules.rules(fleet.tenant) == []


def test_a_rule_is_for_what_there_is(fleet: Fleet) -> None:
    """A device or group of another name is named, and nothing is written."""
    fleet.device(name="gone", status="removed")
    rules = IgnoreRules(fleet.engine("enroller"))
    for place in (Place(device="gone"), Place(group="gone"), Place(device="b")):
        for act in (rules.add, rules.remove):
            with pytest.raises(NotFound):
                act(fleet.tenant, place, NOTE, "me")
    assert acts(fleet) == []


def test_the_rules_of_a_tenant_are_of_bounded_number(fleet: Fleet) -> None:
    """Each is held against every change: a script gone wild is stopped."""
    fleet.sql(
        "INSERT INTO ignore_rule (tenant_id, component, property, added_by) "
        "SELECT :tenant, 'c' || n, '*', 'me' FROM generate_series(1, :most) n",
        tenant=fleet.tenant,
        most=MOST,
    )
    rules = IgnoreRules(fleet.engine("enroller"))
    with pytest.raises(InputInvalid, match="1000 rules"):
        rules.add(fleet.tenant, Place(), NOTE, "me")
    assert rules.remove(fleet.tenant, Place(), Rule("c1", "*"), "me")
    assert rules.add(fleet.tenant, Place(), NOTE, "me")
