"""Many devices are written in sets: what comes of it is what comes of one after the other, in few statements."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from backupflow.adapters.db.fleet import FleetDesk
from backupflow.core.enrolment import Edit, edited, paused, removed, resumed, router_replaced, unblocked
from backupflow.core.fleet import Act, Orders
from backupflow.core.inventory import DeviceLogin, Placement
from backupflow.core.model import DeviceId, SealedSecret
from backupflow.errors import Conflict, InputInvalid
from tests.integration.db.fleet import KEY, Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backupflow.core.inventory import DeviceRecord, Update

    Decide = Callable[[DeviceRecord], Update | None]

LOGIN = DeviceLogin("admin", "password", SealedSecret("vault:v1:YW5vdGhlcg=="))
_ITS_OWN = {"id", "name", "host", "anchor_at", "next_due_at", "removed_at", "created_at", "modern_ssh_at", "blocked_at"}


def of(login: DeviceLogin | None = None, **wanted: Any) -> Decide:  # noqa: ANN401 - as Edit has them
    """An edit."""
    return lambda record: edited(record, Edit(**wanted), login)


ACTS: Mapping[str, Decide] = {
    "settings": of(settings={"interval_seconds": 900.0, "legacy_ssh": True}),
    "group": of(placement=Placement(group="g")),
    "way": of(placement=Placement(jump="hop", site="s")),
    "direct": of(placement=Placement(jump="direct")),
    "profile": of(placement=Placement(profile="pw")),
    "inherits": of(placement=Placement(site="s"), forget_login=True),
    "login": of(LOGIN, settings={"trust": "manual"}),
    "port": of(port=2222),
    "expected": of(fingerprint=KEY.fingerprint, new_router=True),
    "paused": lambda record: paused(record, "why"),
    "removed": removed,
    "unblocked": unblocked,
    "replaced": router_replaced,
    "nothing": lambda _: None,
}


@pytest.fixture
def scopes(fleet: Fleet) -> Fleet:
    """A jump host, a shared login, a group, and a site that names both."""
    profile, tenant = fleet.login(name="pw"), {"t": fleet.tenant}
    fleet.sql("INSERT INTO jump_host (tenant_id, name, host, credential_profile_id) VALUES (:t, 'hop', 'h', :p)",
              p=profile, **tenant)  # fmt: skip
    fleet.sql("INSERT INTO device_group (tenant_id, name) VALUES (:t, 'g')", **tenant)
    fleet.sql("INSERT INTO site (tenant_id, name, credential_profile_id, jump_host_id) "
              "SELECT :t, 's', :p, id FROM jump_host", p=profile, **tenant)  # fmt: skip
    return fleet


def carry_out(fleet: Fleet, acts: Mapping[DeviceId, Decide]) -> None:
    """All of it in one transaction."""
    desk = FleetDesk(fleet.engine("enroller"), fleet.policy)
    orders = Orders("", {}, acts=tuple(Act(device, decide) for device, decide in acts.items()))
    desk.carry_out(["main"], list(acts), lambda _: orders, "me", lambda _: None)


def blocked(fleet: Fleet, name: str) -> DeviceId:
    """A device with a login of its own, a pinned key, and a refused login behind it."""
    device = fleet.device(name=name, failures=2, blocked_code="authentication_failed", believe_seq=0)
    fleet.sql("INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint) "
              "VALUES (:t, :d, 'pinned', :type, :blob, :print)", t=fleet.tenant, d=device, type=KEY.key_type,
              blob=KEY.blob, print=KEY.fingerprint)  # fmt: skip
    fleet.sql("INSERT INTO alarm (tenant_id, code, scope) VALUES (:t, 'authentication_failed', :s)",
              t=fleet.tenant, s=f"device {device}")  # fmt: skip
    return device


def all_of(fleet: Fleet, device: DeviceId) -> dict[str, Any]:
    """All that is known of it, but for what is its own."""
    [row] = fleet.sql("SELECT to_jsonb(d) AS d FROM device d WHERE id = :d", d=device)
    said = {name: value for name, value in row.d.items() if name not in _ITS_OWN}
    said |= {f"{name} is set": row.d[name] is not None for name in ("next_due_at", "removed_at", "blocked_at")}
    due = "SELECT next_due_at <= now() FROM device WHERE id = :d"
    logins = "SELECT username, method, sealed, suspended_at FROM credential_profile WHERE device_id = :d"
    keys = "SELECT status, fingerprint FROM host_key WHERE device_id = :d"
    expected = "SELECT fingerprint, how, added_by FROM expected_key WHERE device_id = :d"
    alarms = "SELECT code, cleared_at IS NULL FROM alarm WHERE scope = 'device ' || CAST(:d AS text)"
    acts = "SELECT action, actor, detail - 'name' FROM audit WHERE device_id = :d ORDER BY id"
    for what in (due, logins, keys, expected, alarms, acts):
        said[what] = [tuple(row) for row in fleet.sql(what, d=device)]
    return said


def test_many_become_what_each_becomes_alone(scopes: Fleet) -> None:
    """Columns, logins, keys, alarms, audit and what follows of another way or login: all is equal."""
    alone = {name: blocked(scopes, f"alone-{name}") for name in ACTS}
    together = {name: blocked(scopes, f"together-{name}") for name in ACTS}
    for name, decide in ACTS.items():
        scopes.devices.change(scopes.tenant, f"alone-{name}", decide, "me")
    carry_out(scopes, {together[name]: decide for name, decide in ACTS.items()})
    for name in ACTS:
        assert all_of(scopes, together[name]) == all_of(scopes, alone[name]), name
    assert len({json.dumps(all_of(scopes, device), default=str) for device in alone.values()}) == len(ACTS)


def test_many_devices_are_held_for_few_statements(scopes: Fleet) -> None:
    """Whoever waits for one of three hundred that change their place waits for some each hundred, not ten a device."""
    devices = [scopes.device() for _ in range(300)]
    seen: list[str] = []
    engine = scopes.engine("enroller")

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    try:
        carry_out(scopes, dict.fromkeys(devices, of(placement=Placement(profile="pw", site="s", group="g"))))
    finally:
        event.remove(engine, "before_cursor_execute", count)
    assert scopes.value("SELECT count(*) FROM device WHERE via_id IS NOT NULL AND site_id IS NOT NULL") == 300
    assert len(seen) < 100


def test_a_device_may_be_acted_on_twice(scopes: Fleet) -> None:
    """One that is back and is another: the second act is decided over what the first one left."""
    device = blocked(scopes, "back")
    scopes.sql("UPDATE device SET status = 'paused', paused_reason = 'gone'")
    desk = FleetDesk(scopes.engine("enroller"), scopes.policy)
    acts = (Act(device, of(port=2222)), Act(device, resumed))
    desk.carry_out(["main"], [device], lambda _: Orders("", {}, acts=acts), "me", lambda _: None)
    row = scopes.row("device", device)
    assert (row.port, row.status, row.paused_reason) == (2222, "active", None)
    acted = scopes.sql("SELECT action FROM audit WHERE device_id = :d ORDER BY id", d=device)
    assert [row.action for row in acted] == ["device_edited", "device_resumed"]


def test_who_has_an_address_already_is_named_among_many(scopes: Fleet) -> None:
    """And nobody is written; nor is one that would have no login."""
    devices = [scopes.device(name=f"d{number}") for number in range(5)]
    hop = scopes.value("SELECT id FROM jump_host")
    scopes.device(name="there", host=scopes.value("SELECT host FROM device WHERE name = 'd3'"), jump_host_id=hop)
    with pytest.raises(Conflict, match=r"d3: device there has .* behind hop already"):
        carry_out(scopes, dict.fromkeys(devices, of(placement=Placement(jump="hop"))))
    with pytest.raises(InputInvalid, match="d0 would have no login"):
        carry_out(scopes, dict.fromkeys(devices, of(forget_login=True)))
    assert scopes.value("SELECT count(*) FROM device d JOIN credential_profile p ON p.device_id = d.id "
                        "WHERE d.name LIKE 'd%' AND via_id IS NULL") == 5  # fmt: skip
