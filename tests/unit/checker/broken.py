"""Every promise broken in one place, each with what the checker has to say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backupflow.simulator.history import Event
from tests.checker.case import Evidence
from tests.checker.values import Alarm, Content, Opened, Owned
from tests.unit.checker import scene
from tests.unit.checker.scene import CORE, EDGE, OTHER_TENANT, TENANT, at

Break = Callable[[Evidence], Evidence]


def _one(things: tuple[Any, ...], number: int, changes: dict[str, object]) -> tuple[Any, ...]:
    assert number in {thing.id for thing in things}
    return tuple(replace(thing, **changes) if thing.id == number else thing for thing in things)


def row(number: int, **changes: object) -> Break:
    """Another row of that number."""
    return lambda e: replace(e, rows=_one(e.rows, number, changes))


def device(of: object, **changes: object) -> Break:
    """Another device."""
    return lambda e: replace(
        e, devices=tuple(replace(one, **changes) if one.id == of else one for one in e.devices)  # type: ignore[arg-type]
    )  # fmt: skip


def content(number: int, **changes: object) -> Break:
    """Another content of that number."""
    return lambda e: replace(e, contents=_one(e.contents, number, changes))


def host_key(number: int, **changes: object) -> Break:
    """Another host key of that number."""
    return lambda e: replace(e, host_keys=_one(e.host_keys, number, changes))


def act(number: int, **changes: object) -> Break:
    """Another act of that number, whose digest stays."""
    return lambda e: replace(e, acts=_one(e.acts, number, changes))


def acts(*kept: int) -> Break:
    """Only these acts were ever written down, in a chain without a fault."""
    return lambda e: replace(e, acts=scene.chain(scene.ACTS[number - 1] for number in kept))


def opened(number: int, **changes: object) -> Break:
    """Something else comes out of a content."""
    return lambda e: replace(e, opened={**e.opened, number: replace(e.opened[number], **changes)})  # type: ignore[arg-type]


def told(change: Callable[[Event], Event | None]) -> Break:
    """The routers wrote down something else."""
    return lambda e: replace(
        e, routers=scene.evidence([new for event in scene.story() if (new := change(event)) is not None]).routers
    )


def told_too(*events: Event) -> Break:
    """The routers wrote down more."""
    return lambda e: replace(
        e, routers=scene.evidence(sorted([*scene.story(), *events], key=lambda event: event.at)).routers
    )


def export(router: str, session: int, **facts: object) -> Break:
    """One export was another."""

    def change(event: Event) -> Event:
        is_it = (event.router, event.session, event.kind) == (router, session, "export_served")
        return replace(event, facts={**event.facts, **facts}) if is_it and not event.facts["menu"] else event

    return told(change)


def swapped(e: Evidence) -> Evidence:
    """Two rows took each other's text."""
    rows = {one.id: one for one in e.rows}
    text_2 = {"content_hash": rows[2].content_hash, "content_id": rows[2].content_id}
    text_4 = {"content_hash": rows[4].content_hash, "content_id": rows[4].content_id}
    e = row(2, **text_4, is_change=True)(row(4, **text_2)(e))
    return content(2, first_seq=2)(opened(2, seq=2)(e))


def without_row(number: int) -> Break:
    """A row is gone, and what was kept aside of it."""
    return lambda e: replace(
        e,
        rows=tuple(one for one in e.rows if one.id != number),
        asides=tuple(one for one in e.asides if one.collection_id != number),
    )


def begun(router: str, number: int, when: float) -> Event:
    """One more session."""
    return Event(at(when), 0, router, "session_opened", number, {})


def _no_revision_0(event: Event) -> Event:
    is_it = event.router == "core" and event.kind == "export_served" and not event.facts["menu"]
    return replace(event, facts={**event.facts, "revision": 1}) if is_it else event


def waiting(e: Evidence, state: str) -> Evidence:
    """The last row of core is open, and has been for an hour."""
    changes: dict[str, object] = {"state": state, "code": None, "ended_at": None, "lease_until": at(99)}
    if state == "claimed":
        changes |= {"started_at": None, "collected_at": None}
    return replace(row(5, **changes)(replace(e, asides=())), now=at(3600), opened_asides={})


# What is broken: how the finding begins, and the break.
BROKEN: dict[str, tuple[str, Break]] = {
    "no change where there is one": ("I1 core: seq 4 after seq 2 has is_change False", row(4, is_change=False)),
    "a change where there is none": ("I1 core: seq 2 after seq 1 has is_change True", row(2, is_change=True)),
    "undecided": ("I1 core: seq 2 after seq 1 has is_change None", row(2, is_change=None)),
    "against another one": (
        "I1 core: seq 4 is interpreted against seq 1, and follows seq 2",
        row(4, interpreted_after_seq=1),
    ),
    "interpreted across routers": (
        "I1 core: seq 4 is interpreted against seq 2, and follows seq 0",
        lambda e: replace(e, acts=(*e.acts, replace(e.acts[0], action="device_replaced", detail={"after_seq": 3}))),
    ),
    "interpreted, and not recorded": (
        "I1 core: seq 4 is interpreted, and nothing is recorded",
        lambda e: replace(e, interpretations=e.interpretations[:1]),
    ),
    "a first that follows": (
        "I1 core: seq 4 is interpreted as first after seq 2",
        lambda e: replace(e, interpretations=(e.interpretations[0], replace(e.interpretations[1], kind="first"))),
    ),
    "no change and interpreted": ("I1 core: seq 2 is interpreted, and has", row(2, interpreted_after_seq=1)),
    "not interpreted": ("I9 core: the change of seq 4 is not interpreted", row(4, interpreted_after_seq=None)),
    "not read": (
        "I9 core: the change of seq 4 was not read: why",
        lambda e: replace(
            e, interpretations=(replace(e.interpretations[1], kind="unread", detail="why"), *e.interpretations[::2])
        ),
    ),
    "told of another text": (
        "I2 core: what is told of seq 4: its diff",
        lambda e: replace(e, opened_interpretations={4: "its diff leads to another text"}),
    ),
    "the first is no change": ("I1 edge: seq 1 as the first", row(6, is_change=False)),
    "two texts swapped": ("I1 core: seq 4 is stored with the text of seq 1", swapped),
    "the same text as two": (
        "I1 core: the router sent the same text at seq 1 and 4",
        export("core", 4, digest=scene.text_of(0)),
    ),
    "another text as the same": (
        "I1 core: seq 2 is stored with the text of seq 1",
        export("core", 2, digest=scene.text_of(9)),
    ),
    "stored and never sent": (
        "I1 core: seq 2 is stored (begun at",
        told(lambda event: None if (event.router, event.session) == ("core", 2) else event),
    ),
    "kept twice": (
        "I1 core: the content",
        lambda e: replace(e, contents=(*e.contents, replace(e.contents[0], id=9, content_hash=scene.hash_of(0)))),
    ),
    "a content of nobody": (
        "I1 core: content 9 is of no stored row",
        lambda e: replace(e, contents=(*e.contents, Content(9, TENANT, CORE, 1, b"x", "", 1, 1))),
    ),
    "a row with another content": ("I1 core: seq 2 refers to a content of another", row(2, content_id=2)),
    "brought by what is not stored": ("I1 core: content 2 was brought by seq 5", content(2, first_seq=5)),
    "a seq beyond the last": ("I1 core: seq 5 was given, and last_seq is 4", device(CORE, last_seq=4)),
    "an edit is missing": (
        "I1 core: the revisions [0] are not in the history",
        told(_no_revision_0),
    ),
    "not the newest": (
        "I1 core: the router is at revision 2",
        told_too(Event(at(36), 0, "core", "edited", None, {"revision": 2})),
    ),
    "does not open": ("I2 core: content 1 of seq 1 does not open", opened(1, trouble="message_malformed: ")),
    "was not opened": ("I2 core: content 1 was not opened", lambda e: replace(e, opened={})),
    "of another device": ("I2 core: the header of content 1", opened(1, device_id=EDGE)),
    "of another tenant": ("I2 core: the header of content 1", opened(1, tenant_id=OTHER_TENANT)),
    "of another seq": ("I2 core: the header of content 1", opened(1, seq=2)),
    "of another hash": ("I2 core: the text of content 1", opened(1, content_hash=b"")),
    "of another length": ("I2 core: content 1 of seq 1 has 99 bytes", opened(1, raw_bytes=99)),
    "of another normalization": ("I2 core: the header of content 1", opened(1, normalization_version=2)),
    "aside does not open": (
        "I2 core: what is kept aside of seq 5 does not open",
        lambda e: replace(e, opened_asides={5: Opened("message_malformed: ")}),
    ),
    "aside of another seq": (
        "I2 core: the header of what is kept aside of seq 5",
        lambda e: replace(e, opened_asides={5: replace(e.opened_asides[5], seq=4)}),
    ),
    "an older one is current": ("I3 core: current seq is 2", device(CORE, current_seq=2)),
    "the row of another one is current": (
        "I3 core: current seq is 4, but",
        device(CORE, current_collection_id=1),
    ),
    "nothing is current": ("I3 core: current seq is 0", device(CORE, current_seq=0)),
    "two sessions at once": (
        "I4 core: session 5 began at",
        told(
            lambda event: replace(event, at=at(51)) if event.kind == "session_closed" and event.session == 4 else event
        ),
    ),
    "a session never ended": (
        "I4 core: session 5 began at",
        told(lambda event: None if event.kind == "session_closed" and event.session == 4 else event),
    ),
    "a row was run twice": ("I4 core: the sessions 4, 9 are all of seq 4", told_too(begun("core", 9, 44))),
    "a session after the row": ("I4 core: session 9 was opened at", told_too(begun("core", 9, 57))),
    "a session of no row": ("I4 core: session 9 of", told_too(begun("core", 9, 2))),
    "a row begun before the last was over": (
        "I4 core: seq 2 was begun at",
        row(1, collected_at=at(21), stored_at=at(25)),
    ),
    "a login before the pin": ("I6 core: a login was offered", host_key(1, first_seen_at=at(11.5))),
    "a login without a pin": ("I6 core: a login was offered", lambda e: replace(e, host_keys=e.host_keys[1:])),
    "a login to an offered key": ("I6 core: a login was offered", host_key(1, status="offered")),
    "a login to another key": (
        "I6 core: a login was offered",
        told_too(Event(at(15), 0, "core", "key_changed", None, {"fingerprint": "SHA256:forged"})),
    ),
    "a login before the act": (
        "I6 edge: a login was offered",
        lambda e: replace(e, acts=_one(e.acts, 4, {"at": at(45)})),
    ),
    "verified before seen": ("I6 core: SHA256:core was verified", host_key(1, last_verified_at=at(1))),
    "a session after the block": ("I7 edge: it was blocked at", acts(1, 2, 5)),
    "a session after a test that was refused": (
        "I7 edge: it was blocked at",
        lambda e: row(7, state="tested", trigger="test")(acts(1, 2, 5)(e)),
    ),
    "a login in a scan": ("I7 core: a login was offered in session 3, of a scan", row(3, trigger="scan")),
    "a block that went by itself": ("I7 edge: it was blocked at", row(7, ended_at=at(31))),
    "two passwords": (
        "I7 core: 2 passwords",
        told_too(Event(at(11.2), 0, "core", "login_offered", 1, {"method": "password", "accepted": False})),
    ),
    "stored though cut": (
        "I8 core: seq 2 is stored, and its export broke off",
        export("core", 2, complete=False),
    ),
    "a content is gone": (
        "I8 core: the content of the stored seq 4",
        lambda e: replace(e, contents=e.contents[::2]),
    ),
    "a row is gone": ("I8 core: the rows of seq 3 are gone", without_row(3)),
    "stored, and aside": (
        "I8 core: seq 4 is kept aside, and its row is stored",
        lambda e: replace(e, asides=(replace(e.asides[0], collection_id=4),)),
    ),
    "emitted too often": ("I9 core: seq 3 was emitted 2 times", row(3, emits=2)),
    "never due": ("I9 core: it is active, and never due", device(CORE, next_due_at=None)),
    "overdue": (
        "I9 core: it is due since",
        lambda e: replace(device(CORE, next_due_at=at(30))(e), now=at(4000)),
    ),
    "due in three days, though it changes without end": (
        "I9 core: it is due at",
        device(CORE, next_due_at=at(3 * 86400), flapping_since=at(0)),
    ),
    "due in a year": ("I9 core: it is due at", device(CORE, next_due_at=at(9e6))),
    "no reason": ("I10 core: seq 3 is lost without a reason", row(3, code=None)),
    "no end": ("I10 core: seq 3 is lost and has no end", row(3, ended_at=None)),
    "an end too early": ("I10 core: seq 5 is running and has an end", row(5, state="running")),
    "lost after it was stored": (
        "I10 core: seq 4 is lost with what only",
        row(4, state="lost", code="lease_over"),
    ),
    "stored for a reason": ("I10 core: seq 4 is stored with the reason", row(4, code="message_gone")),
    "stored without a time": ("I10 core: seq 4 is stored without its", row(4, stored_at=None)),
    "stored without the fence": ("I10 core: seq 4 is stored and never passed", row(4, digest=None)),
    "times in disorder": ("I10 core: seq 4 is stored with times", row(4, claimed_at=at(41))),
    "open twice": (
        "I10 core: two of its rows are open",
        lambda e: row(3, state="claimed", code=None, started_at=None, ended_at=None)(
            row(5, state="claimed", code=None, started_at=None, ended_at=None)(e)
        ),
    ),
    "a claim lies about": (
        "I10 core: seq 5 is claimed, and it was emitted last",
        lambda e: waiting(e, "claimed"),
    ),
    "a lease is over": ("I10 core: seq 5 is running, and its lease was over", lambda e: waiting(e, "running")),
    "published for ever": (
        "I10 core: seq 5 is published, and it was collected",
        lambda e: waiting(e, "published"),
    ),
    "a row of another tenant": ("I11 core: collection 3 is of another tenant", row(3, tenant_id=OTHER_TENANT)),
    "a content of another tenant": ("I11 core: content 1 is of another", content(1, tenant_id=OTHER_TENANT)),
    "an aside of another tenant": (
        "I11 core: what is kept aside of 5 is of another",
        lambda e: replace(e, asides=(replace(e.asides[0], tenant_id=OTHER_TENANT),)),
    ),
    "an act of another tenant": ("I11 core: act 1 is of another tenant", act(1, tenant_id=OTHER_TENANT)),
    "a key of another tenant": (
        "I11 core: host_key 7 is of another tenant",
        lambda e: replace(e, owned=(*e.owned, Owned("host_key", "7", OTHER_TENANT, CORE))),
    ),
    "a row of no device": ("I11: collection 3 is of a device that does not exist", row(3, device_id=TENANT)),
    "another device's content": ("I11 core: seq 2 refers to a content of another device", row(2, content_id=3)),
    "another device's row": ("I11 core: its current row is another", device(CORE, current_collection_id=8)),
    "an act altered": ("I12: act 3 (device_unblocked) is not what was written down", act(3, text="[]")),
    "an act taken out": (
        "I12: act 3 (device_unblocked) does not follow",
        lambda e: replace(e, acts=e.acts[:1] + e.acts[2:]),
    ),
    "an act not written down": ("I12 edge: device_added was written down 0 times", acts(1, 3, 4, 5)),
    "a pause not written down": (
        "I12 core: it is paused, and",
        device(CORE, status="paused", next_due_at=None),
    ),
    "a request not written down": ("I12: request 1 was written down 0 times", acts(1, 2, 3, 4)),
    "an alarm that stands": (
        "I15: the alarm bus_unavailable of claiming stands",
        lambda e: replace(e, alarms=(Alarm("bus_unavailable", "claiming", "", at(5)),)),
    ),
    "not what was sent": ("I16 core: the export of seq 1", opened(1, raw_sha256=scene.sent_at(99))),
}
