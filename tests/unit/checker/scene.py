"""Two devices with a history of which every promise holds, to be broken in one place at a time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from backupflow.simulator.history import Event
from tests.checker.case import Evidence, Terms
from tests.checker.routers import routers_of
from tests.checker.values import Act, Aside, Content, Device, HostKey, Interpretation, Opened, Owned, Row

if TYPE_CHECKING:
    from collections.abc import Iterable

START = datetime(2026, 1, 1, tzinfo=UTC)
TENANT, OTHER_TENANT = UUID(int=1), UUID(int=2)
CORE, EDGE = UUID(int=11), UUID(int=12)
NAMES = {CORE: "core", EDGE: "edge"}
TERMS = Terms(settled={"core"}, revisions={"core": [0, 1]}, fingerprints={"core": "SHA256:core", "edge": "SHA256:edge"})


def at(seconds: float) -> datetime:
    """So many seconds after the start."""
    return START + timedelta(seconds=seconds)


def text_of(revision: int) -> str:
    """The digest of a router's canonical text."""
    return hashlib.sha256(b"text %d" % revision).hexdigest()


def sent_at(seconds: float) -> str:
    """The digest of what went, which holds the time."""
    return hashlib.sha256(b"sent %f" % seconds).hexdigest()


def hash_of(revision: int) -> bytes:
    """The keyed hash of a text."""
    return hashlib.sha256(b"keyed %d" % revision).digest()


def device(key: UUID, last_seq: int, current: tuple[int, int]) -> Device:
    """An active device that is due in a while."""
    return Device(
        id=key, tenant_id=TENANT, name=NAMES[key], driver="routeros", status="active", settings={},
        scopes=({}, None, None), next_due_at=at(3600), blocked_code=None, failures=0, losses=0, last_seq=last_seq,
        kept_from_seq=0, current_seq=current[0], unreadable_to_seq=0, unhashed_to_seq=0,
        current_collection_id=current[1], created_at=START, removed_at=None, has_login=True, suspended_at=None,
    )  # fmt: skip


def row(key: UUID, number: int, seq: int, begun: float, **more: Any) -> Row:  # noqa: ANN401 - fields by name
    """A row that was claimed, begun and failed within some seconds."""
    failed = Row(
        id=number, tenant_id=TENANT, device_id=key, seq=seq, state="failed", code="device_timeout",
        claimed_at=at(begun - 1), emitted_at=at(begun - 1), emits=1, started_at=at(begun), holder="somebody",
        lease_until=None, collected_at=None, content_hash=None, digest=None, normalization_version=None, raw_bytes=None,
        stored_at=None, content_id=None, is_change=None, ended_at=at(begun + 5),
    )  # fmt: skip
    return replace(failed, **more)


def stored(key: UUID, number: int, seq: int, begun: float, *, revision: int, content: int, change: bool) -> Row:
    """A row whose export was stored."""
    return row(
        key, number, seq, begun, state="stored", code=None, collected_at=at(begun + 3), content_hash=hash_of(revision),
        digest=b"d%d" % number, normalization_version=1, raw_bytes=100, stored_at=at(begun + 5), content_id=content,
        is_change=change,
    )  # fmt: skip


def session(router: str, number: int, begun: float, revision: int | None, *, accepted: bool = True) -> list[Event]:
    """What a router writes down of a session, with an export if a revision is given."""
    export: dict[str, object] = {
        "revision": revision, "digest": text_of(revision or 0), "menu": "", "exact": True, "complete": True,
        "sent_digest": sent_at(begun),
    }  # fmt: skip
    told: list[tuple[float, str, dict[str, object]]] = [
        (begun + 0.1, "session_opened", {"peer": "127.0.0.1:1"}),
        (begun + 1, "login_offered", {"method": "password", "accepted": accepted}),
        *([(begun + 2, "export_served", export)] if revision is not None else []),
        (begun + 3.1, "session_closed", {}),
    ]
    return [Event(at(when), 0, router, kind, number, facts) for when, kind, facts in told]


def story() -> list[Event]:
    """What both routers wrote down."""
    small = {"menu": "/system identity", "revision": 0, "digest": "", "exact": True, "sent_digest": "", "complete": 1}
    return [
        *session("core", 1, 10, 0),
        Event(at(12.5), 0, "core", "export_served", 1, small),
        *session("core", 2, 20, 0),
        *session("core", 3, 30, None),
        Event(at(35), 0, "core", "edited", None, {"revision": 1}),
        *session("core", 4, 40, 1),
        *session("core", 5, 50, 1),
        *session("edge", 1, 10, 0),
        *session("edge", 2, 20, None, accepted=False),
        Event(at(28), 0, "edge", "key_changed", None, {"key_type": "rsa", "fingerprint": "SHA256:new"}),
        *session("edge", 3, 40, 0),
    ]


def chain(acts: Iterable[tuple[float, str, UUID, dict[str, object]]]) -> tuple[Act, ...]:
    """An audit as the database writes it."""
    made: list[Act] = []
    for number, (when, action, key, detail) in enumerate(acts, start=1):
        previous, text = made[-1].digest if made else b"", json.dumps([number, action, detail])
        digest = hashlib.sha256(previous + text.encode()).digest()
        made.append(Act(number, at(when), TENANT, action, key, detail, previous, digest, text))
    return tuple(made)


ACTS: tuple[tuple[float, str, UUID, dict[str, object]], ...] = (
    (0, "device_added", CORE, {}),
    (1, "device_added", EDGE, {}),
    (29, "device_unblocked", EDGE, {}),
    (30, "host_key_accepted", EDGE, {"accepted": "SHA256:new"}),
    (32, "config_backup_manual_trigger", CORE, {"request": 1}),
)


def key(number: int, owner: UUID, status: str, fingerprint: str, seen: float) -> HostKey:
    """A key that was seen first then."""
    return HostKey(number, TENANT, owner, status, fingerprint, at(seen), at(seen + 9), at(seen + 9))


def evidence(events: list[Event] | None = None) -> Evidence:
    """All of it, a minute after the start."""
    rows = (
        replace(stored(CORE, 1, 1, 10, revision=0, content=1, change=True), interpreted_after_seq=0),
        stored(CORE, 2, 2, 20, revision=0, content=1, change=False),
        row(CORE, 3, 3, 30, state="lost", code="lease_over"),
        replace(stored(CORE, 4, 4, 40, revision=1, content=2, change=True), interpreted_after_seq=2),
        row(
            CORE, 5, 5, 50, state="suspect", code="export_suspect", collected_at=at(53), content_hash=hash_of(1),
            digest=b"d5", normalization_version=1, raw_bytes=100,
        ),
        replace(stored(EDGE, 6, 1, 10, revision=0, content=3, change=True), interpreted_after_seq=0),
        row(EDGE, 7, 2, 20, state="blocked", code="authentication_failed"),
        stored(EDGE, 8, 3, 40, revision=0, content=3, change=False),
    )  # fmt: skip
    contents = (
        Content(1, TENANT, CORE, 1, hash_of(0), "", 100, 1),
        Content(2, TENANT, CORE, 1, hash_of(1), "", 100, 4),
        Content(3, TENANT, EDGE, 1, hash_of(0), "", 100, 1),
    )
    begun = {1: 10, 2: 40, 3: 10}
    opened = {
        one.id: Opened(
            "", one.tenant_id, one.device_id, one.first_seq, 1, sent_at(begun[one.id]), 100, one.content_hash
        )
        for one in contents
    }
    return Evidence(
        now=at(60),
        devices=(device(CORE, 5, (4, 4)), device(EDGE, 3, (3, 8))),
        rows=rows,
        contents=contents,
        asides=(Aside(5, TENANT, CORE, ""),),
        interpretations=(
            Interpretation(1, TENANT, CORE, 1, 0, "first", "", (), ()),
            Interpretation(4, TENANT, CORE, 4, 2, "change", "", ("ip/address",), (), "", ""),
            Interpretation(6, TENANT, EDGE, 1, 0, "first", "", (), ()),
        ),
        host_keys=(
            key(1, CORE, "pinned", "SHA256:core", 10.5),
            key(2, EDGE, "retired", "SHA256:edge", 10.5),
            key(3, EDGE, "pinned", "SHA256:new", 28.5),
        ),
        acts=chain(ACTS),
        owned=(Owned("request", "1", TENANT, CORE),),
        requests=(1,),
        opened=opened,
        opened_interpretations={4: ""},
        opened_asides={5: Opened("", TENANT, CORE, 5, 1, sent_at(50), 100, hash_of(1))},
        routers=routers_of(story() if events is None else events),
    )
