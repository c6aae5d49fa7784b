"""Alarms in a real database become events: by a trigger, together, once, and sent until they were taken."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from backupflow.adapters.db.alarms import Alarms, clear_alarm, raise_alarm
from backupflow.adapters.db.event_desk import EventDesk
from backupflow.adapters.db.outbox import Outbox
from backupflow.core.delivery import Answer, Failed
from backupflow.core.event_body import body
from backupflow.core.gathering import gather
from backupflow.flows.telling import TellPorts, Told, tell
from tests.integration.db.fleet import LIMITS
from tests.integration.db.hearing import NO, YES, Receiver

if TYPE_CHECKING:
    from backupflow.core.ports import ConfigOpener
    from tests.integration.db.fleet import Fleet

RAISERS = ("scheduler", "collector", "ingester", "interpreter", "operator")


def outbox(fleet: Fleet) -> Outbox:
    """As the process that sends."""
    return Outbox(fleet.engine("operator"))


def nobody() -> ConfigOpener:
    """Nothing of an alarm is sealed: the vault is not asked."""
    raise AssertionError


def send(fleet: Fleet, receiver: Receiver | None) -> Told:
    """One round."""
    return tell(TellPorts(outbox(fleet), receiver, lambda: 0.0, nobody), lambda: False)


def pass_by(fleet: Fleet, span: timedelta) -> None:
    """So much time passes for what waits, and for what was told."""
    fleet.sql("UPDATE outbox SET created_at = created_at - :span, due_at = due_at - :span", span=span)
    fleet.sql(
        "UPDATE event SET created_at = created_at - :span, due_at = due_at - :span, sent_at = sent_at - :span, "
        "failing_since = failing_since - :span, given_up_at = given_up_at - :span",
        span=span,
    )
    fleet.sql("UPDATE alarm SET since = since - :span, cleared_at = cleared_at - :span", span=span)


MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def alarm(fleet: Fleet, code: str, scope: str, detail: str = "", role: str = "collector") -> None:
    """Raise it, as a role does."""
    with fleet.engine(role).begin() as tx:
        raise_alarm(tx, code, scope, detail, fleet.tenant)


def clear(fleet: Fleet, code: str, scope: str, role: str = "collector") -> None:
    """Clear it."""
    with fleet.engine(role).begin() as tx:
        assert clear_alarm(tx, code, scope)


@pytest.mark.parametrize("role", RAISERS)
def test_whoever_raises_or_clears_an_alarm_writes_to_the_outbox(fleet: Fleet, role: str) -> None:
    """Once each, in the same transaction, without a right of its own; what is rolled back is told to nobody."""
    with fleet.engine(role).connect() as tx:
        assert raise_alarm(tx, "unexpected", "x", "")
        tx.rollback()
    assert fleet.sql("SELECT * FROM outbox") == []
    for _ in range(2):
        alarm(fleet, "unexpected", "x", role=role)
    clear(fleet, "unexpected", "x", role)
    found = fleet.sql(
        "SELECT o.kind, o.key, o.tenant_id, a.code FROM outbox o JOIN alarm a ON a.id = o.alarm_id ORDER BY o.id"
    )
    assert [(row.kind, row.code, row.tenant_id) for row in found] == [
        ("raised", "unexpected", fleet.tenant),
        ("cleared", "unexpected", fleet.tenant),
    ]
    assert len({row.key for row in found}) == 2


def test_what_stands_is_told_after_a_while_and_its_end_after_it(fleet: Fleet) -> None:
    """Not at once; then once, by names, with what mends it; then that it is over. Nothing waits after that."""
    site = fleet.value("INSERT INTO site (tenant_id, name) VALUES (:t, 'north') RETURNING id", t=fleet.tenant)
    device = fleet.device(name="core 1", site_id=site)
    receiver = Receiver()
    alarm(fleet, "device_down", f"device {device}", "core 1: no answer since 3 attempts")
    assert send(fleet, receiver) == Told()
    pass_by(fleet, MINUTE)
    assert send(fleet, receiver) == Told(made=1, delivered=1)
    assert send(fleet, receiver) == Told()
    [said] = receiver.said
    assert (said["kind"], said["code"], said["severity"]) == ("down", "device_down", "warning")
    assert (said["tenant"], said["site"], said["devices"], said["device_count"]) == ("main", "north", ["core 1"], 1)
    assert said["text"] == "core 1: no answer since 3 attempts"
    assert said["id"] == f"evt_{receiver.told[0][0].hex}"
    clear(fleet, "device_down", f"device {device}")
    pass_by(fleet, MINUTE)
    assert send(fleet, receiver) == Told(made=1, delivered=1)
    assert (receiver.said[1]["kind"], receiver.said[1]["text"]) == ("recovered", "core 1: device down is over")
    assert fleet.sql("SELECT * FROM outbox WHERE event_id IS NULL") == []


def test_what_is_over_soon_is_never_told(fleet: Fleet) -> None:
    """Neither that it was, nor that it is over."""
    alarm(fleet, "vault_unavailable", "claiming", role="scheduler")
    clear(fleet, "vault_unavailable", "claiming", role="scheduler")
    pass_by(fleet, MINUTE)
    receiver = Receiver()
    assert send(fleet, receiver) == Told()
    assert fleet.sql("SELECT * FROM outbox") == []


def test_a_block_of_200_devices_is_one_event_that_names_some(fleet: Fleet) -> None:
    """Together, with the number of all and the names of some, and one command for all of them."""
    site = fleet.value("INSERT INTO site (tenant_id, name) VALUES (:t, 'north') RETURNING id", t=fleet.tenant)
    fleet.fleet(200)
    fleet.sql("UPDATE device SET site_id = :s", s=site)
    fleet.sql(
        "INSERT INTO alarm (tenant_id, code, scope, detail) SELECT tenant_id, 'host_key_mismatch', 'device ' || id, "
        "name || ': another key' FROM device"
    )
    pass_by(fleet, MINUTE)
    receiver = Receiver()
    assert send(fleet, receiver) == Told(made=1, delivered=1)
    [said] = receiver.said
    assert (said["device_count"], len(said["devices"]), said["site"]) == (200, 20, "north")
    assert said["text"].startswith("200 devices at site north: host key mismatch; first: ")
    assert "`hostkey pending --changed`" in said["remedy"]
    assert len(receiver.told[0][1]) < 8000


def test_one_event_an_hour_lists_what_came_since(fleet: Fleet) -> None:
    """The second device waits for the end of the hour; one that is back by then is not told of."""
    devices = [fleet.device(name=f"r{number}") for number in range(4)]
    receiver = Receiver()
    alarm(fleet, "device_down", f"device {devices[0]}")
    pass_by(fleet, MINUTE)
    send(fleet, receiver)
    for device in devices[1:]:
        alarm(fleet, "device_down", f"device {device}")
    pass_by(fleet, HOUR / 2)
    assert send(fleet, receiver) == Told()
    clear(fleet, "device_down", f"device {devices[3]}")
    pass_by(fleet, HOUR / 2)
    assert send(fleet, receiver) == Told(made=1, delivered=1)
    assert [said["devices"] for said in receiver.said] == [["r0"], ["r1", "r2"]]


def test_whom_it_is_about_is_said_by_name(fleet: Fleet) -> None:
    """A site, a jump host, a login that is shared, one of a device, and what has no name: each with its remedy."""
    site = fleet.value("INSERT INTO site (tenant_id, name) VALUES (:t, 'north') RETURNING id", t=fleet.tenant)
    hop = fleet.jump_host(name="hop 1")
    profile = fleet.login(name="core logins")
    device = fleet.device(name="own", site_id=site)
    alarm(fleet, "site_down", f"site {site}")
    alarm(fleet, "jump_host_blocked", f"jump host {hop}", "another key")
    alarm(fleet, "login_refused", f"login {profile}", "40 of 200 devices refused it")
    alarm(fleet, "login_unusable", f"login {device}", "own: not a key")
    alarm(fleet, "snapshot_damaged", f"device {device} seq 7", "own: snapshot 7 does not open")
    alarm(fleet, "lane_without_workers", "lane collect.slow", role="scheduler")
    pass_by(fleet, MINUTE)
    receiver = Receiver()
    send(fleet, receiver)
    said = {one["code"]: one for one in receiver.said}
    assert (said["site_down"]["site"], said["site_down"]["text"]) == ("north", "site north: site down")
    assert said["jump_host_blocked"]["remedy"] == "`jump show 'hop 1'`"
    assert said["login_refused"]["remedy"].startswith("`credential ")
    assert said["login_unusable"]["devices"] == ["own"]
    assert said["login_unusable"]["remedy"].startswith("`device edit own --key-file FILE`")
    assert (said["snapshot_damaged"]["devices"], said["snapshot_damaged"]["site"]) == (["own"], "north")
    assert said["lane_without_workers"]["text"] == "lane collect.slow: lane without workers"
    assert said["lane_without_workers"]["remedy"] == "docs/runbook/lane_without_workers.md"
    assert {one["tenant"] for one in receiver.said} == {"main"}


def test_a_refused_login_that_is_shared_waits(fleet: Fleet) -> None:
    """For a quarter of an hour: by then its login may be suspended, and the block lifted. An own login does not."""
    profile = fleet.login(name="core")
    shared = fleet.device(name="shared", login=False, credential_profile_id=profile)
    alarm(fleet, "authentication_failed", f"device {shared}")
    own = fleet.device(name="own")
    alarm(fleet, "authentication_failed", f"device {own}")
    receiver = Receiver()
    pass_by(fleet, MINUTE)
    send(fleet, receiver)
    assert [said["devices"] for said in receiver.said] == [["own"]]
    pass_by(fleet, HOUR)
    send(fleet, receiver)
    assert receiver.said[1]["devices"] == ["shared"]
    assert receiver.said[1]["remedy"].startswith("`credential edit core")


def test_an_event_says_the_same_at_each_attempt(fleet: Fleet) -> None:
    """Whatever becomes of what it is about: the same id, the same bytes, later and later; then it was taken."""
    device = fleet.device(name="r")
    alarm(fleet, "host_key_mismatch", f"device {device}", "r: another key")
    pass_by(fleet, MINUTE)
    receiver = Receiver(NO)
    assert send(fleet, receiver).failed == "HTTP 500"
    assert send(fleet, receiver) == Told()  # not due yet
    fleet.sql("UPDATE device SET name = 'other'")
    clear(fleet, "host_key_mismatch", f"device {device}")
    waits = []
    for _ in range(7):
        waits.append(fleet.value("SELECT extract(epoch FROM due_at - tried_at) FROM event"))
        fleet.sql("UPDATE event SET due_at = now()")
        send(fleet, receiver)
    assert [round(float(wait)) for wait in waits] == [10, 30, 90, 270, 810, 2430, 3600]
    receiver.answer = YES
    fleet.sql("UPDATE event SET due_at = now()")
    send(fleet, receiver)
    assert len(receiver.told) == 9
    assert len(set(receiver.told)) == 1
    assert fleet.value("SELECT sent_at IS NOT NULL AND attempts = 9 FROM event")


def test_no_end_overtakes_its_beginning(fleet: Fleet) -> None:
    """While that something is down could not be told, that it is over waits; what is of something else does not."""
    alarm(fleet, "site_down", "site x")
    pass_by(fleet, MINUTE)
    receiver = Receiver(NO)
    send(fleet, receiver)
    clear(fleet, "site_down", "site x")
    alarm(fleet, "vault_unavailable", "claiming")
    pass_by(fleet, MINUTE)
    fleet.sql("UPDATE event SET due_at = now() + interval '30 minutes'")
    receiver.answer = YES
    send(fleet, receiver)
    assert [said["code"] for said in receiver.said] == ["site_down", "vault_unavailable"]
    fleet.sql("UPDATE event SET due_at = now()")
    send(fleet, receiver)
    assert [(said["code"], said["kind"]) for said in receiver.said[2:]] == [
        ("site_down", "down"),
        ("site_down", "recovered"),
    ]


def test_a_hook_that_fails_is_left_alone_for_a_while(fleet: Fleet) -> None:
    """One attempt a round, and no other event is tried before the pause is over."""
    for code in ("vault_unavailable", "bus_unavailable", "site_down"):
        alarm(fleet, code, code)
    pass_by(fleet, MINUTE)
    receiver = Receiver(NO)
    assert send(fleet, receiver) == Told(made=3, failed="HTTP 500")
    assert send(fleet, receiver) == Told()
    assert len(receiver.told) == 1


def test_what_is_given_up_is_an_alarm_that_is_never_told(fleet: Fleet) -> None:
    """After three days, or at once when the receiver wants no more of it; it is over when somebody had it taken."""
    alarm(fleet, "site_down", "site x")
    pass_by(fleet, MINUTE)
    receiver = Receiver(NO)
    send(fleet, receiver)
    assert fleet.alarms() == [("site_down", "site x")]
    pass_by(fleet, HOUR)
    assert send(fleet, receiver).alarm is True
    assert fleet.alarms()[1:] == [("events_undelivered", "hook")]
    pass_by(fleet, timedelta(days=3))
    assert send(fleet, receiver).alarm is False
    assert fleet.value("SELECT given_up_at IS NOT NULL FROM event")
    receiver.answer = YES
    alarm(fleet, "vault_unavailable", "claiming")
    pass_by(fleet, MINUTE)
    assert send(fleet, receiver) == Told(made=1, delivered=1)
    assert fleet.alarms()[1:2] == [("events_undelivered", "hook")]  # something is lost as long as it is given up
    desk = EventDesk(fleet.engine("operator"))
    assert len(desk.retry(None, "me")) == 1
    assert fleet.value("SELECT action FROM audit") == "events_retried"
    assert send(fleet, receiver) == Told(delivered=1)
    assert ("events_undelivered", "hook") not in fleet.alarms()
    pass_by(fleet, HOUR)
    send(fleet, receiver)
    assert "events_undelivered" not in {said["code"] for said in receiver.said}
    assert fleet.sql("SELECT * FROM outbox WHERE event_id IS NULL") == []
    receiver.answer = Answer(delivered=False, says="HTTP 410", gone=True)
    alarm(fleet, "bus_unavailable", "claiming")
    pass_by(fleet, MINUTE)
    assert send(fleet, receiver).alarm is True


def test_only_one_sends_at_a_time(fleet: Fleet) -> None:
    """Whoever comes second ends at once; the lock ends with its session."""
    with outbox(fleet).turn() as first, outbox(fleet).turn() as second:
        assert (first, second) == (True, False)
    with outbox(fleet).turn() as third:
        assert third is True


def test_without_a_hook_nothing_piles_up(fleet: Fleet) -> None:
    """What is older than an hour is dropped; what is younger is told by a hook that is set meanwhile."""
    alarm(fleet, "vault_unavailable", "claiming")
    pass_by(fleet, HOUR * 2)
    alarm(fleet, "bus_unavailable", "claiming")
    pass_by(fleet, MINUTE)
    assert send(fleet, None) == Told(dropped=1)
    assert send(fleet, None) == Told()
    receiver = Receiver()
    assert send(fleet, receiver) == Told(made=1, delivered=1)
    assert receiver.said[0]["code"] == "bus_unavailable"
    clear(fleet, "vault_unavailable", "claiming")  # it was never told: its end is not told either
    pass_by(fleet, MINUTE)
    assert send(fleet, receiver) == Told()


def test_a_flow_may_tell_of_what_is_no_alarm(fleet: Fleet) -> None:
    """By a row of its own, in its own transaction; of a kind that this version does not know it is not told."""
    device = fleet.device(name="r")
    with fleet.engine("interpreter").begin() as tx:
        for kind in ("overdue", "of_tomorrow"):
            tx.execute(
                text(
                    "INSERT INTO outbox (tenant_id, kind, key, payload) VALUES (:t, :kind, :kind, CAST(:said AS jsonb))"
                ),
                {
                    "t": fleet.tenant,
                    "kind": kind,
                    "said": json.dumps({"code": "late", "scope": f"device {device}", "text": "r: it is late"}),
                },
            )
    pass_by(fleet, MINUTE)
    receiver = Receiver()
    assert send(fleet, receiver) == Told(made=1, delivered=1)
    [said] = receiver.said
    assert (said["kind"], said["code"], said["devices"], said["text"]) == ("overdue", "late", ["r"], "r: it is late")
    assert fleet.value("SELECT count(*) FROM outbox WHERE event_id IS NULL") == 0


def test_beat_is_told_when_something_is_due(fleet: Fleet) -> None:
    """Not while it is held, nor while it waits for its hour or its next attempt."""

    def due() -> bool:
        claimed = fleet.claims.claim(LIMITS)
        assert claimed is not None
        return claimed.tells

    assert due() is False
    alarm(fleet, "vault_unavailable", "claiming")
    assert due() is False
    pass_by(fleet, MINUTE)
    assert due() is True
    receiver = Receiver(NO)
    send(fleet, receiver)
    assert due() is False
    fleet.sql("UPDATE event SET due_at = now()")
    assert due() is True
    receiver.answer = YES
    send(fleet, receiver)
    alarm(fleet, "vault_unavailable", "elsewhere")
    pass_by(fleet, MINUTE)
    send(fleet, receiver)
    assert due() is False
    pass_by(fleet, HOUR)
    assert due() is True


def test_what_was_told_long_ago_is_forgotten_but_for_what_still_stands(fleet: Fleet) -> None:
    """The end of an alarm that has stood for months is told; then its events go, and what belongs to them."""
    alarm(fleet, "vault_unavailable", "claiming")
    alarm(fleet, "site_down", "site x")
    receiver = Receiver()
    pass_by(fleet, MINUTE)
    send(fleet, receiver)
    clear(fleet, "site_down", "site x")
    pass_by(fleet, MINUTE)
    send(fleet, receiver)
    pass_by(fleet, timedelta(days=31))
    assert fleet.house.mend()["event_long_told"] == 2
    clear(fleet, "vault_unavailable", "claiming")
    pass_by(fleet, MINUTE)
    assert send(fleet, receiver) == Told(made=1, delivered=1)
    pass_by(fleet, timedelta(days=31))
    assert fleet.house.mend()["event_long_told"] == 2
    assert fleet.value("SELECT count(*) FROM outbox") == 0


def test_a_failure_of_one_of_many_is_listed(fleet: Fleet) -> None:
    """A person sees each with what came of it, or only those that were not taken; and how it stands with all."""
    for code in ("vault_unavailable", "bus_unavailable"):
        alarm(fleet, code, code)
    pass_by(fleet, MINUTE)
    send(fleet, Receiver())
    alarm(fleet, "site_down", "site x")
    pass_by(fleet, MINUTE)
    send(fleet, Receiver(NO))
    desk = EventDesk(fleet.engine("reader"))
    assert [event.code for event in desk.events(10)] == ["site_down", "bus_unavailable", "vault_unavailable"]
    [failed] = desk.events(10, failed=True)
    assert (failed.code, failed.attempts, failed.answer) == ("site_down", 1, "HTTP 500")
    state = desk.state()
    assert (state.waiting, state.failing, state.given_up, state.answer) == (1, 1, 0, "HTTP 500")
    assert state.sent_at is not None


def test_what_a_router_said_is_bounded_and_masked(fleet: Fleet) -> None:
    """No control character, no line of a configuration, no planted secret; the alarm itself did have it."""
    marker = "Xy7-hidden-marker"
    device = fleet.device(name="r\x1b[2J")
    said = f'r: bad line \x1b[31m/ppp secret add name=joe password="{marker}"\nset psk: {marker} vault:v1:{marker} '
    alarm(fleet, "export_suspect", f"device {device}", said + "x" * 5000)
    assert marker in fleet.value("SELECT detail FROM alarm")
    pass_by(fleet, MINUTE)
    receiver = Receiver()
    send(fleet, receiver)
    [(_, sent)] = receiver.told
    assert marker not in sent
    assert "password=…" in receiver.said[0]["text"]
    assert all(value.isprintable() for value in receiver.said[0].values() if isinstance(value, str))
    assert len(receiver.said[0]["text"]) <= 300
    assert receiver.said[0]["devices"] == ["r?[2J"]


def test_gathering_holds_nobody_up_and_loses_nothing(fleet: Fleet) -> None:
    """An alarm that is raised by a transaction which has not ended yet is told when it has."""
    store = outbox(fleet)
    with fleet.engine("collector").begin() as tx:
        raise_alarm(tx, "site_down", "site x", "")
        Alarms(fleet.engine("scheduler")).alarm("vault_unavailable", "claiming", "")
        fleet.sql("UPDATE outbox SET created_at = created_at - interval '1 minute'")
        assert store.gather(gather, body) == 1
    pass_by(fleet, MINUTE)
    assert store.gather(gather, body) == 1
    event, _ = store.next_due() or (None, None)
    assert event is not None
    store.failed(event, "no", Failed(None, timedelta(0), told=True))
    assert store.next_due() is not None
