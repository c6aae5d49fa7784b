"""`quarantine list|show|release|drop`, and what `status` and `doctor` say of it."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import typer

from backupflow.adapters.db.collections import Collections
from backupflow.adapters.db.observations import Observations
from backupflow.adapters.db.quarantine import Quarantine, Room
from backupflow.cli.exits import Exit
from backupflow.cli.options import confirm_typed
from backupflow.core.message import SnapshotMessage, encode
from backupflow.core.model import SealedConfig
from backupflow.core.quarantine import Fate
from backupflow.flows import ingest
from tests.integration.db.fleet import message, published

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.model import DeviceId
    from tests.integration.scene import Scene

HOSTILE = "\x1b[2J\u202eevil\x07"
SAID_SEALED = "vault:v1:" + "QUJD" * 1000


@dataclass
class Bytes:
    """A delivery."""

    payload: bytes
    subject: str


class Empty:
    """A bus on which nothing comes, and a vault that is never asked."""

    def fetch(self) -> list[Bytes]:
        """Inbox."""
        return []

    def newest(self) -> int:
        """Inbox."""
        return 0

    def drained(self, upto: int | None = None) -> bool:
        """Inbox."""
        return False


def aside(scene: Scene, sent: SnapshotMessage | bytes, reason: str, room: Room | None = None) -> int:
    """Put a message aside as the ingester does; its number."""
    payload = sent if isinstance(sent, bytes) else encode(sent)
    subject = "config.snapshot.create.x" if isinstance(sent, bytes) else sent.subject
    Quarantine(scene.install.wiring.engine("ingester"), room).set_aside(Bytes(payload, subject), reason)
    return int(scene.rows("SELECT max(id) FROM quarantine")[0][0])


def passed(scene: Scene, device_id: DeviceId) -> SnapshotMessage:
    """An observation that has passed the fence."""
    assignment, wiring = scene.claim(device_id), scene.install.wiring
    assert Collections(wiring.engine("collector"), wiring.policy).publish(assignment, published("A"))
    return message(assignment, "A")


def drain(scene: Scene) -> None:
    """Let the ingester take what was released."""
    wiring, empty = scene.install.wiring, Empty()
    engine = wiring.engine("ingester")
    ports: Any = (empty, Observations(engine, lambda: 0.0), Quarantine(engine), wiring.vault("ingester"), print)
    ingest.drain(ingest.IngestPorts(*ports), 1)


@contextmanager
def draining(scene: Scene) -> Iterator[None]:
    """Let an ingester run beside the command."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.05):
            drain(scene)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def acts(scene: Scene) -> list[tuple[str, int, str]]:
    """What the audit has of the quarantine."""
    rows = scene.rows("SELECT action, detail FROM audit WHERE action LIKE 'quarantine%' ORDER BY id")
    return [(row.action, row.detail["message"], row.detail["reason"]) for row in rows]


def test_what_is_in_quarantine_is_listed(scene: Scene) -> None:
    """The newest first, with the names of those that it claims, if they are here; hostile text harms no terminal."""
    assert scene.run("quarantine", "list").out == b"nothing is in quarantine\n"
    sent = passed(scene, scene.add("core-1"))
    first = aside(scene, sent, "other_digest")
    second = aside(scene, b"\x1b noise", "message_malformed: not a snapshot message")
    third = aside(scene, b"more", HOSTILE, Room(size=0))
    listed = json.loads(scene.run("quarantine", "list", "--json").out)
    assert listed["total"] == 3
    shown = [(one["id"], one["claimed_tenant"], one["claimed_device"], one["size"]) for one in listed["messages"]]
    assert shown == [
        (third, None, None, None),
        (second, None, None, 7),
        (first, "default", "core-1", len(encode(sent))),
    ]
    text = scene.run("quarantine", "list").out
    assert b"\x1b" not in text
    assert b"digest only" in text
    only = json.loads(scene.run("quarantine", "list", "--reason", "other_digest", "--json").out)
    assert (only["total"], [one["id"] for one in only["messages"]]) == (1, [first])
    assert "and 2 more" in scene.run("quarantine", "list", "--limit", "1").out.decode()


def test_a_message_is_shown_against_the_row_that_it_names(scene: Scene) -> None:
    """Which fields differ, why it is here and what to do; of what is sealed only the first characters."""
    sent = passed(scene, scene.add("core-1"))
    number = aside(scene, replace(sent, sealed=SealedConfig(SAID_SEALED)), "other_digest")
    looked = scene.run("quarantine", "show", str(number))
    text = looked.out.decode()
    assert f"collection {sent.collection_id} is seq {sent.seq} of core-1 (default), and published" in text
    assert "vault:v1:QUJDQUJ… (4009 characters)" in text
    assert "QUJDQUJDQUJD" not in text
    assert "the NATS logins" in text
    found = json.loads(scene.run("quarantine", "show", str(number), "--json").out)
    assert [one["field"] for one in found["fields"] if one["differs"]] == ["digest"]
    assert found["collection"] == {"tenant": "default", "device": "core-1", "seq": sent.seq, "state": "published"}
    assert "QUJDQUJDQUJD" not in json.dumps(found)
    assert scene.run("quarantine", "show", "99").code == Exit.NOT_FOUND
    assert scene.run("quarantine", "show", str(2**63)).code == Exit.USAGE


STRANGE = [
    b"",
    b"\x1b]0;evil\x07",
    json.dumps({"schema_version": 1, "sealed": HOSTILE, "tenant_id": HOSTILE, "seq": 5}).encode(),
    json.dumps({"collection_id": -1, "content_hash": "00" * 4000}).encode(),
    b"[" * 100_000,
]


def test_whatever_was_put_aside_can_be_shown(scene: Scene) -> None:
    """Nothing of it reaches the terminal as it is."""
    for payload in STRANGE:
        number = aside(scene, payload, "message_malformed: not a snapshot message")
        for arguments in ((), ("--json",)):
            looked = scene.run("quarantine", "show", str(number), *arguments)
            assert looked.code == Exit.OK
            assert not {"\x1b", "\x07", "\u202e"} & set(looked.out.decode())
            assert len(looked.out) < 4000


def test_what_is_released_is_stored_or_comes_back(scene: Scene) -> None:
    """With --wait the exit code says which; both acts are audited; what is stored takes its alarm with it."""
    sent = passed(scene, scene.add("core-1"))
    good, bad = aside(scene, sent, "unexpected: Cause"), aside(scene, b"noise", "unexpected: Cause")
    with draining(scene):
        waited = scene.run("quarantine", "release", str(good), "--wait", "--timeout", "60s")
    assert (waited.code, waited.out.decode()) == (Exit.OK, f"{good}: stored\n")
    assert [row.state for row in scene.rows("SELECT state FROM collection")] == ["stored"]
    with draining(scene):
        waited = scene.run("quarantine", "release", "--reason", "unexpected: Cause", "--wait", "--json")
    assert waited.code == Exit.WRONG
    reason = "message_malformed: not a snapshot message"
    told = {"id": bad, "outcome": "still_here", "stored": False, "reason": reason, "kept_as": bad}
    assert json.loads(waited.out) == {"messages": [told]}
    assert acts(scene) == [("quarantine_released", number, "unexpected: Cause") for number in (good, bad)]
    standing = scene.rows("SELECT scope FROM alarm WHERE cleared_at IS NULL")
    assert [row.scope for row in standing] == [reason]


def test_the_same_bytes_for_two_reasons_are_told_as_they_are(scene: Scene) -> None:
    """One of them stays, whichever was released: none is taken for stored because its row is gone."""
    reason = "message_malformed: not a snapshot message"
    first, second = aside(scene, b"noise", "unexpected: Cause"), aside(scene, b"noise", reason)
    with draining(scene):
        waited = scene.run("quarantine", "release", str(first), "--wait")
    assert (waited.code, waited.out.decode()) == (Exit.WRONG, f"{first}: still here: {reason}\n")
    assert [row.id for row in scene.rows("SELECT id FROM quarantine")] == [first]
    second = aside(scene, b"noise", "unexpected: Cause")
    with draining(scene):
        waited = scene.run("quarantine", "release", str(first), str(second), "--wait")
    assert waited.code == Exit.WRONG
    assert waited.out.decode().count("still here") == 2
    (left,) = scene.rows("SELECT id, released_at FROM quarantine")
    assert left.released_at is None


def test_what_is_released_too_late_stays_until_somebody_drops_it(scene: Scene) -> None:
    """It is neither stored nor deleted without a word; what somebody dropped meanwhile is not called stored."""
    sent = passed(scene, scene.add("core-1"))
    number = aside(scene, sent, "unexpected: Cause")
    scene.write("migrator", "UPDATE device SET kept_from_seq = 100")
    with draining(scene):
        waited = scene.run("quarantine", "release", str(number), "--wait")
    assert (waited.code, waited.out.decode()) == (Exit.WRONG, f"{number}: still here: expired\n")
    assert "quarantine drop" in scene.run("quarantine", "show", str(number)).out.decode()
    desk = scene.install.wiring.quarantine_desk("reader")
    traces = desk.traced([number])
    assert scene.run("quarantine", "drop", str(number), "--yes").code == Exit.OK
    assert [one.fate for one in desk.judged(traces)] == [Fate.GONE]
    assert acts(scene)[-1] == ("quarantine_dropped", number, "expired")


def test_who_releases_learns_that_no_ingester_runs(scene: Scene) -> None:
    """It stays released until one does."""
    number = aside(scene, b"noise", "x")
    ran = scene.run("quarantine", "release", str(number), "--wait", "--timeout", "0s")
    assert ran.code == Exit.WRONG
    assert "no ingest worker is alive" in ran.err or "not judged" in ran.out.decode()
    assert scene.rows("SELECT 1 FROM quarantine WHERE released_at IS NOT NULL AND released_by LIKE 'cli:%'")
    assert "no ingest worker is alive" in scene.run("quarantine", "release", str(number)).err
    assert len(acts(scene)) == 1  # once released it is


def test_what_cannot_be_given_back_is_refused_as_a_whole(scene: Scene) -> None:
    """A digest is no message, and a number that is not there is a mistake: then nothing is released or dropped."""
    good, digest = aside(scene, b"noise", "x"), aside(scene, b"more", "x", Room(size=0))
    assert scene.run("quarantine", "release", str(good), str(digest)).code == Exit.REFUSED
    for act in (("release",), ("drop", "--yes")):
        assert scene.run("quarantine", *act, str(good), "999").code == Exit.NOT_FOUND
        assert scene.run("quarantine", *act).code == Exit.USAGE
        assert scene.run("quarantine", *act, str(good), "--reason", "x").code == Exit.USAGE
        assert scene.run("quarantine", *act, "--reason", "nothing").code == Exit.NOT_FOUND
    assert scene.rows("SELECT count(*) FROM quarantine WHERE released_at IS NULL")[0][0] == 2
    assert acts(scene) == []
    assert scene.run("quarantine", "release", "--reason", "x").code == Exit.OK
    assert acts(scene) == [("quarantine_released", good, "x")]  # the other has no bytes


def test_what_is_dropped_is_gone_and_on_record(scene: Scene) -> None:
    """Not without a word; the alarm of a reason stays while another of it is there, and goes with the last."""
    numbers = [aside(scene, b"%d" % n, "x") for n in range(3)]
    other = aside(scene, b"other", "y")
    assert scene.run("quarantine", "drop", str(numbers[0])).code == Exit.REFUSED
    assert scene.run("quarantine", "drop", str(numbers[0]), "--yes").code == Exit.OK
    standing = "SELECT scope FROM alarm WHERE cleared_at IS NULL ORDER BY scope"
    assert [row.scope for row in scene.rows(standing)] == ["x", "y"]
    assert scene.run("quarantine", "drop", "--reason", "x", "--yes").code == Exit.OK
    assert [row.scope for row in scene.rows(standing)] == ["y"]
    assert [row.id for row in scene.rows("SELECT id FROM quarantine")] == [other]
    assert acts(scene) == [("quarantine_dropped", number, "x") for number in numbers]
    kept = scene.rows("SELECT detail FROM audit WHERE action = 'quarantine_dropped' ORDER BY id")[0].detail
    assert (len(kept["digest"]), kept["size"]) == (64, 1)


def test_the_word_has_to_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`y` is typed too easily for what nobody else has."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, goes_on in (("drop", True), (" drop ", True), ("y", False), ("", False), ("DROP", False)):
        monkeypatch.setattr(typer, "prompt", lambda *_, said=answer, **__: said)
        if goes_on:
            confirm_typed("Delete?", "drop", yes=False)
        else:
            with pytest.raises(typer.Exit):
                confirm_typed("Delete?", "drop", yes=False)


def test_status_and_doctor_tell_of_it(scene: Scene) -> None:
    """Also after its alarm was cleared by hand."""
    assert "QUARANTINE" not in scene.run("status").out.decode()
    aside(scene, b"noise", "x")
    aside(scene, b"more", "x")
    alarm = json.loads(scene.run("alarm", "list", "--json").out)["alarms"][0]
    assert "`quarantine list`" in alarm["detail"]
    scene.run("alarm", "clear", str(alarm["number"]))
    assert "QUARANTINE  2 messages – `quarantine list`" in scene.run("status").out.decode()
    assert json.loads(scene.run("status", "--json").out)["quarantined"] == 2
    checks = {check["part"]: check for check in json.loads(scene.run("doctor", "--json").out)["checks"]}
    assert checks["quarantine"]["finding"] == "2 messages could not be stored"
