"""Changes in a real database become events: one each, at once, with lines that are opened only to be sent."""
# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.db.outbox import Outbox
from backupflow.adapters.db.renewals import Renewals
from backupflow.adapters.db.told_changes import tell_change
from backupflow.core.delivery import Answer
from backupflow.core.event_body import body
from backupflow.core.gathering import gather
from backupflow.core.keys import Loss, Renewal
from backupflow.core.model import DeviceId, Purpose, SealedConfig, Seq
from backupflow.core.told_change import ToldChange, pack_lines
from backupflow.errors import MessageMalformed, SettingsInvalid, TransitKeyMissing, VaultUnavailable
from backupflow.flows.telling import TellPorts, Told, tell
from tests.integration.db.fleet import sealed
from tests.integration.db.hearing import NO, YES, Opener, Receiver

if TYPE_CHECKING:
    from tests.integration.db.fleet import Fleet

MARKER = "Kw4-planted-marker"
CHANGE = ToldChange("change", Seq(1), Seq(0), 2, components=("ip/firewall/filter",))
HOUR = timedelta(hours=1)


def stored(fleet: Fleet, count: int = 1, *, ago: timedelta = timedelta(0), name: str = "core 1") -> DeviceId:
    """A device with so many stored observations."""
    device = fleet.device(name=name)
    for n in range(count):
        fleet.observations.store([fleet.passed(f"content {n}", device)])
    fleet.sql(
        "UPDATE collection SET stored_at = now() - CAST(:ago AS interval) WHERE device_id = :d", ago=ago, d=device
    )
    return device


def interpreted(
    fleet: Fleet, opener: Opener, device: DeviceId, told: ToldChange = CHANGE, lines: tuple[str, ...] = ("one", "two")
) -> bool:
    """What whoever interprets a change writes in his transaction."""
    closed = sealed(f"{device}{told.seq}{lines}")
    opener.plain[closed.text] = pack_lines((fleet.tenant, device, told.seq), lines)
    with fleet.engine("interpreter").begin() as tx:
        return tell_change(tx, (fleet.tenant, device), told, closed)


def send(fleet: Fleet, receiver: Receiver | None, opener: Opener) -> Told:
    """One round."""
    ports = TellPorts(Outbox(fleet.engine("operator")), receiver, lambda: 0.0, lambda: opener)
    return tell(ports, lambda: False)


def test_a_change_is_told_at_once_with_its_lines(fleet: Fleet) -> None:
    """By the names of now; nothing of its lines is in clear here, and nothing sealed is left when it was taken."""
    device, opener, receiver = stored(fleet), Opener(), Receiver()
    line = f"ip/firewall/filter: accept rule: comment {MARKER} → b"
    assert interpreted(fleet, opener, device, replace(CHANGE, changes=1), (line,))
    assert send(fleet, receiver, opener) == Told(made=1, delivered=1)
    [said] = receiver.said
    assert (said["kind"], said["code"], said["severity"], said["tenant"]) == ("changed", "changed", "info", "main")
    assert (said["devices"], said["seq"], said["after_seq"], said["changes"]) == (["core 1"], 1, 0, [line])
    assert said["text"] == "core 1: 1 change in ip/firewall/filter (+0 -0 lines)"
    assert (
        fleet.sql("SELECT 1 FROM outbox WHERE sealed IS NOT NULL UNION SELECT 1 FROM event WHERE sealed IS NOT NULL")
        == []
    )
    kept = [str(row) for table in ("outbox", "event", "audit") for row in fleet.sql(f"SELECT * FROM {table}")]
    assert kept
    assert MARKER not in "".join(kept)
    assert send(fleet, receiver, opener) == Told()


def test_each_change_is_an_event_of_its_own(fleet: Fleet) -> None:
    """Of one device in the order of collection, within one hour too; of a site not together."""
    opener, receiver = Opener(), Receiver()
    site = fleet.value("INSERT INTO site (tenant_id, name) VALUES (:t, 'north') RETURNING id", t=fleet.tenant)
    devices = [stored(fleet, 2, name=name) for name in ("a", "b")]
    fleet.sql("UPDATE device SET site_id = :s", s=site)
    for seq in (Seq(1), Seq(2)):
        for device in devices:
            assert interpreted(fleet, opener, device, replace(CHANGE, seq=seq))
    assert send(fleet, receiver, opener) == Told(made=4, delivered=4)
    assert [(said["devices"], said["site"], said["seq"]) for said in receiver.said] == [
        (["a"], "north", 1), (["b"], "north", 1), (["a"], "north", 2), (["b"], "north", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("delivered", [True, False])
def test_a_receiver_that_echoes_what_it_was_told_leaves_nothing_here(fleet: Fleet, delivered: bool) -> None:
    """Of an event with lines only the status is kept, in the alarm too; of any other what was answered."""
    opener = Opener()
    receiver = Receiver(Answer(delivered=delivered, says="HTTP 422", quoted=f"ip/address: {MARKER} added"))
    fleet.sql("INSERT INTO alarm (code, scope, detail) VALUES ('vault_unavailable', 'claiming', 'it is sealed')")
    fleet.sql("UPDATE outbox SET created_at = now() - interval '1 minute'")
    send(fleet, receiver, opener)
    assert fleet.value("SELECT answer FROM event") == f"HTTP 422: ip/address: {MARKER} added"
    fleet.sql("DELETE FROM outbox")
    fleet.sql("DELETE FROM event")
    assert interpreted(fleet, opener, stored(fleet), lines=(MARKER,))
    assert not send(fleet, Receiver(NO), opener).delivered
    fleet.sql("UPDATE event SET due_at = now(), failing_since = now() - interval '4 days'")
    assert MARKER not in send(fleet, receiver, opener).failed
    assert receiver.said[-1]["changes"] == [MARKER]
    kept = [str(row) for table in ("outbox", "event", "alarm", "audit") for row in fleet.sql(f"SELECT * FROM {table}")]
    assert "HTTP 422" in "".join(kept)
    assert MARKER not in "".join(kept)


@pytest.mark.parametrize(
    "told",
    [
        replace(CHANGE, kind="first"),
        replace(CHANGE, kind="secrets"),
        replace(CHANGE, kind="order"),
        replace(CHANGE, changes=0, ignored=3),
    ],
)
def test_what_is_no_change_for_a_person_is_not_told(fleet: Fleet, told: ToldChange) -> None:
    """A first configuration, secrets that are shown since, an order that means nothing, all of it ignored."""
    device, opener = stored(fleet), Opener()
    assert not interpreted(fleet, opener, device, told)
    assert fleet.sql("SELECT * FROM outbox") == []


def test_what_cannot_be_read_is_told_as_that(fleet: Fleet) -> None:
    """Somebody should know that it changed; there are no lines, and nobody asks the vault."""
    device, opener, receiver = stored(fleet), Opener(), Receiver()
    with fleet.engine("interpreter").begin() as tx:
        assert tell_change(tx, (fleet.tenant, device), replace(CHANGE, kind="unread", changes=0), None)
    assert send(fleet, receiver, opener) == Told(made=1, delivered=1)
    assert (receiver.said[0]["text"], receiver.said[0]["changes"]) == (
        "core 1: changed; what changed could not be read",
        [],
    )
    assert opener.asked == 0


def test_a_change_is_told_once_and_the_past_never(fleet: Fleet) -> None:
    """However often it is interpreted; what was stored long ago is interpreted anew without a word to anybody."""
    opener, receiver = Opener(), Receiver()
    new, old = stored(fleet, name="new"), stored(fleet, ago=timedelta(hours=25), name="old")
    assert interpreted(fleet, opener, new)
    assert not interpreted(fleet, opener, new, lines=("other",))
    assert not interpreted(fleet, opener, old)
    assert send(fleet, receiver, opener) == Told(made=1, delivered=1)
    assert not interpreted(fleet, opener, new)
    assert send(fleet, receiver, opener) == Told()
    assert receiver.said[0]["changes"] == ["one", "two"]


@pytest.mark.parametrize(
    ("trouble", "only_own"),
    [(VaultUnavailable(), False), (SettingsInvalid(), False), (TransitKeyMissing(), True)],
)
def test_while_the_vault_is_away_changes_wait_and_alarms_are_told(
    fleet: Fleet, trouble: Exception, only_own: bool
) -> None:
    """It is asked once a round, nothing counts against what waits, and later it is told whole.

    Where only the keys of one tenant are missing, the changes of others are told.
    """
    opener, receiver = Opener(), Receiver()
    opener.trouble = {fleet.tenant if only_own else None: trouble}
    device = stored(fleet, 3)
    for seq in (Seq(1), Seq(2), Seq(3)):
        assert interpreted(fleet, opener, device, replace(CHANGE, seq=seq))
    fleet.sql("INSERT INTO alarm (code, scope, detail) VALUES ('vault_unavailable', 'claiming', 'it is sealed')")
    fleet.sql("UPDATE outbox SET created_at = now() - interval '1 minute' WHERE alarm_id IS NOT NULL")
    assert send(fleet, receiver, opener) == Told(made=4, delivered=1, closed=trouble.code)  # type: ignore[attr-defined]
    assert [said["code"] for said in receiver.said] == ["vault_unavailable"]
    assert opener.asked == 1
    assert send(fleet, receiver, opener) == Told()
    fleet.sql("UPDATE event SET due_at = now(), created_at = created_at - interval '10 days'")
    assert send(fleet, receiver, opener).delivered == 0
    rows = fleet.sql("SELECT attempts, failing_since, given_up_at, sealed FROM event WHERE kind = 'changed'")
    assert [(row.attempts, row.failing_since, row.given_up_at, row.sealed is not None) for row in rows] == [
        (0, None, None, True)
    ] * 3
    opener.trouble = {}
    fleet.sql("UPDATE event SET due_at = now()")
    assert send(fleet, receiver, opener) == Told(delivered=3)
    assert [said["changes"] for said in receiver.said[1:]] == [["one", "two"]] * 3


def test_missing_keys_of_one_tenant_hold_no_other_up(fleet: Fleet) -> None:
    """Its changes wait; those of another tenant are told."""
    opener, receiver = Opener(), Receiver()
    assert interpreted(fleet, opener, stored(fleet, name="own"))
    other = fleet.value("INSERT INTO tenant (name, pepper) VALUES ('other', 'vault:v1:AAAA') RETURNING id")
    opener.trouble = {fleet.tenant: TransitKeyMissing()}
    fleet.__dict__["tenant"] = other
    assert interpreted(fleet, opener, stored(fleet, name="theirs"))
    assert send(fleet, receiver, opener) == Told(made=2, delivered=1, closed="transit_key_missing")
    assert receiver.said[0]["devices"] == ["theirs"]


def test_what_was_exchanged_or_altered_is_told_without_lines(fleet: Fleet) -> None:
    """Another text of the same device in its place, or one that does not open: the rest of it is told all the same."""
    opener, receiver = Opener(), Receiver()
    device = stored(fleet, 2)
    for seq in (Seq(1), Seq(2)):
        assert interpreted(fleet, opener, device, replace(CHANGE, seq=seq), (f"line of {seq}",))
    fleet.sql(
        "UPDATE outbox o SET sealed = x.sealed FROM outbox x "
        "WHERE o.payload ->> 'seq' = '1' AND x.payload ->> 'seq' = '2'"
    )
    assert send(fleet, receiver, opener) == Told(made=2, delivered=2, closed="message_malformed")
    assert [said["changes"] for said in receiver.said] == [[], ["line of 2"]]
    opener.trouble = {None: MessageMalformed()}
    assert interpreted(fleet, opener, stored(fleet, name="r"))
    assert send(fleet, receiver, opener) == Told(made=1, delivered=1, closed="message_malformed")


def test_with_keys_that_are_given_up_it_is_told_without_lines(fleet: Fleet) -> None:
    """What waits, as an event or before that; the vault is not asked for it any more."""
    opener, receiver = Opener(), Receiver(NO)
    device = stored(fleet, 2)
    fleet.sql(
        "INSERT INTO transit_key (tenant_id, purpose, mark) VALUES (:t, 'data', 'vault:v1:bWFyaw==')", t=fleet.tenant
    )
    assert interpreted(fleet, opener, device)
    assert send(fleet, receiver, opener).failed
    assert interpreted(fleet, opener, device, replace(CHANGE, seq=Seq(2)))
    old, new = "vault:v1:bWFyaw==", "vault:v1:bmV3"
    lost = {Purpose.DATA: Loss.GONE}
    Renewals(fleet.engine("operator")).renew(
        Renewal(fleet.tenant, lost, {Purpose.DATA: old}, {Purpose.DATA: new}, None, None), "me"
    )
    receiver.answer, asked = YES, opener.asked
    fleet.sql("UPDATE event SET due_at = now()")
    assert send(fleet, receiver, opener) == Told(made=1, delivered=2)
    assert [said["changes"] for said in receiver.said] == [["one", "two"], [], []]
    assert opener.asked == asked


def test_a_change_says_the_same_at_each_attempt(fleet: Fleet) -> None:
    """Its lines are opened anew each time; the bytes are the same, also when they were sealed anew meanwhile."""
    opener, receiver = Opener(), Receiver(NO)
    device = stored(fleet)
    assert interpreted(fleet, opener, device, lines=('rule "ä": src-address a → b',) * 30)
    for n in range(4):
        fleet.sql("UPDATE event SET due_at = now()")
        assert send(fleet, receiver, opener).failed
        [(old,)] = fleet.sql("SELECT sealed FROM event")
        again = SealedConfig(f"vault:v{n + 2}:AAAA")
        opener.plain[again.text] = opener.plain[old]
        fleet.sql("UPDATE event SET sealed = :new", new=again.text)
        fleet.sql("UPDATE device SET name = name || 'x'")
    assert len(receiver.told) == 4
    assert len(set(receiver.told)) == 1
    assert json.loads(receiver.told[0][1])["changes"]


def test_alarms_do_not_wait_for_changes(fleet: Fleet) -> None:
    """However many changes there are: nobody has to act on them."""
    opener, receiver = Opener(), Receiver()
    for n in range(5):
        assert interpreted(fleet, opener, stored(fleet, name=f"r{n}"))
    assert Outbox(fleet.engine("operator")).gather(gather, body) == 5
    fleet.sql("INSERT INTO alarm (code, scope, detail) VALUES ('site_down', 'site x', '')")
    fleet.sql("UPDATE outbox SET created_at = now() - interval '1 minute' WHERE alarm_id IS NOT NULL")
    assert send(fleet, receiver, opener) == Told(made=1, delivered=6)
    assert [said["code"] for said in receiver.said] == ["site_down", *["changed"] * 5]


def test_without_a_hook_changes_do_not_pile_up(fleet: Fleet) -> None:
    """What nobody was there to be told of for an hour is dropped, and what was sealed with it."""
    opener = Opener()
    assert interpreted(fleet, opener, stored(fleet))
    fleet.sql("UPDATE outbox SET created_at = created_at - interval '2 hours'")
    assert send(fleet, None, opener) == Told(dropped=1)
    assert fleet.sql("SELECT * FROM outbox") == []
