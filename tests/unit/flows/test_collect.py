"""The collect flow over small fakes that write down what happens: in which order, and what each failure leads to."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backupflow.core import backoff
from backupflow.core.driver import Facts
from backupflow.core.envelope import unpack
from backupflow.core.ledger import Assignment, Ending, Withdrawn
from backupflow.core.message import MAX_BYTES, encode
from backupflow.core.model import (
    ContentHash,
    HostKey,
    Login,
    NormalConfig,
    Secrets,
    State,
    Trust,
    content_hash,
    keyed_hash,
)
from backupflow.core.suspicion import Known, Observed
from backupflow.errors import (
    AuthenticationFailed,
    BackupflowError,
    BusUnavailable,
    DeviceTimeout,
    HostKeyMismatch,
    LeaseLost,
    LoginUnusable,
    MessageMalformed,
    StoreUnavailable,
    VaultUnavailable,
)
from backupflow.flows.outcome import Outcome
from tests.unit.flows.world import EXPORT, KEY, NUMBER, OTHER, PEPPER, WORK, World


def test_everything_happens_in_its_order() -> None:
    """The fence lies between sealing and publishing; the login is opened and sent after the key was admitted."""
    world = World()
    assert world.collect() == Outcome("published", device="core-1", seq=3)
    before = ["start", "pepper", "connect", "allowed", "open", "login", "long", "close", "read"]
    assert world.calls == [*before, "seal", "fence", "publish"]
    assert world.logins == [Login("backup", password="s3cret")]


def test_what_is_sealed_is_the_export_and_what_is_told_is_not() -> None:
    """The envelope holds the raw bytes with their owner; row and message have a keyed hash of the normal text."""
    world = World()
    world.collect()
    header, raw = unpack(world.envelope, 10**6)
    assert raw == EXPORT
    assert (header.tenant_id, header.device_id, header.seq) == (WORK.tenant_id, WORK.device_id, WORK.seq)
    hashed = content_hash(PEPPER, NormalConfig(EXPORT.replace(b"\r", b"")))
    told, sent = world.passed[0], world.sent[0]
    assert (told.observed.content_hash, told.digest, told.raw_bytes, told.command) == (
        hashed,
        sent.sealed.digest,
        36,
        "long",
    )
    assert (sent.content_hash, sent.collection_id, sent.seq) == (hashed, NUMBER, WORK.seq)
    assert told.observed.facts.version == "7.1"
    assert (told.host_key, told.modern_ssh) == (KEY, True)


@pytest.mark.parametrize(
    ("work", "what"), [(None, Outcome("not_claimed")), (Withdrawn("paused"), Outcome("withdrawn", detail="paused"))]
)
def test_without_a_claim_nothing_is_done(work: Withdrawn | None, what: Outcome) -> None:
    """A second copy of a message, or a device that was paused: no connection."""
    world = World()
    assert world.collect(work) == what
    assert world.calls == ["start"]


def test_a_first_key_is_pinned_before_the_login_is_opened() -> None:
    """On first use the pin is committed, then the login is fetched (I6)."""
    world = World()
    world.collect(replace(WORK, target=replace(WORK.target, pinned=None)))
    assert world.calls[2:6] == ["connect", "pin", "allowed", "open"]


@pytest.mark.parametrize("pinned", [KEY, None])
def test_a_key_that_is_not_trusted_gets_no_login(pinned: HostKey | None) -> None:
    """Another key than the pinned one, or a first one that a person must approve: it is kept to be shown (I6, I7)."""
    world = World()
    world.offers = OTHER
    trust = Trust.TOFU if pinned else Trust.MANUAL
    outcome = world.collect(replace(WORK, trust=trust, target=replace(WORK.target, pinned=pinned)))
    assert outcome.code == ("host_key_mismatch" if pinned else "host_key_unapproved")
    assert world.calls == ["start", "pepper", "connect", "end"]
    ending = world.endings[0]
    assert (ending.state, ending.blocks, ending.offered) == (State.BLOCKED, True, OTHER)


def test_a_key_that_was_pinned_meanwhile_gets_no_login() -> None:
    """Two first sights at once: the second is measured against the first."""
    world = World(pin=HostKeyMismatch("meanwhile"))
    world.collect(replace(WORK, target=replace(WORK.target, pinned=None)))
    assert "open" not in world.calls
    assert world.endings[0].blocks


def test_a_login_that_may_not_be_used_is_not_even_opened() -> None:
    """Suspended or paused after the start: it ends without counting against the device (I7)."""
    world = World()
    world.allowed = False
    assert world.collect().code == "suspended"
    assert "open" not in world.calls
    assert (world.endings[0].state, world.endings[0].counts, world.endings[0].blocks) == (State.FAILED, False, False)
    assert world.endings[0].alarm == ""


def test_a_pause_that_goes_on_waits() -> None:
    """The third in a row waits like a failure, and each says that it is one."""
    world = World(pepper=VaultUnavailable())
    world.collect(replace(WORK, losses=2))
    assert (world.endings[0].again_in, world.endings[0].pauses) == (backoff.step(0, 0.0), True)


def paused(code: str, detail: str) -> Ending:
    """Ours is down: due again at once, with an alarm."""
    return Ending(State.FAILED, code, detail, again_in=timedelta(0), pauses=True, alarm="collecting")


@pytest.mark.parametrize(
    ("where", "error", "ending"),
    [
        (
            "connect",
            DeviceTimeout(),
            Ending(State.FAILED, "device_timeout", "", True, False, backoff.step(1, 0.0), slow=True),
        ),
        ("login", LoginUnusable("x"), Ending(State.FAILED, "login_unusable", "x", alarm=f"login {WORK.login_context}")),
        ("login", AuthenticationFailed(), Ending(State.BLOCKED, "authentication_failed", "", True, True)),
        ("pepper", VaultUnavailable("x"), paused("vault_unavailable", "x")),
        ("pepper", MessageMalformed("x"), paused("transit_key_missing", "the tenant's pepper does not open: x")),
        ("seal", VaultUnavailable(), paused("vault_unavailable", "")),
        ("publish", BusUnavailable("full"), paused("bus_unavailable", "full")),
    ],
)
def test_each_failure_ends_the_row_with_its_reason(where: str, error: BackupflowError, ending: Ending) -> None:
    """Wherever it happens: once, with the code, and with what follows for the device (I10)."""
    world = World(**{where: error})
    outcome = world.collect()
    assert (outcome.what, outcome.code) == (ending.state, ending.code)
    assert world.endings == [ending]
    assert world.calls[-1] == "end"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"truncated", "output_truncated"),
        (b"interrupted", "output_truncated"),
        (b"rejected", "command_rejected"),
        (b"not_a_configuration", "not_a_configuration"),
    ],
)
def test_what_is_not_complete_is_not_sealed(answer: bytes, code: str) -> None:
    """An answer that shows a sign of being partial never comes near the vault or the fence (I8)."""
    world = World()
    world.answers["long"] = answer
    assert world.collect().code == code
    assert not {"seal", "fence", "publish"} & set(world.calls)


def test_what_the_bus_could_never_take_is_not_worth_the_vaults_time() -> None:
    """An export that does not get smaller by deflating: its size is known before it is sealed."""
    world = World()
    world.answers["long"] = b"/a\n" + random.Random(7).randbytes(7 * 1024**2)
    assert world.collect().code == "output_too_large"
    assert "seal" not in world.calls


@pytest.mark.parametrize("over", [0, 1])
def test_what_no_message_can_hold_never_reaches_the_fence(over: int) -> None:
    """A row behind it says that its configuration is on its way; this device goes on at its interval."""
    world = World()
    world.collect()
    world.sealed += "A" * (MAX_BYTES + over - len(encode(world.sent[0])))
    outcome = world.collect()
    assert (outcome.what, outcome.code) == [("published", ""), ("failed", "output_too_large")][over]
    assert len(world.passed) == 2 - over


def test_behind_the_fence_without_a_lease_nothing_is_published() -> None:
    """What was read is dropped, and the row is not touched again (I4)."""
    world = World()
    world.fenced = False
    assert world.collect() == Outcome("dropped", "lease_lost", "", "core-1", 3)
    assert world.calls[-1] == "fence"


def test_a_lease_that_is_lost_before_the_fence_ends_nothing() -> None:
    """The store finds no such holder any more; the outcome says that it was dropped."""
    world = World(pin=LeaseLost())
    world.holds = False
    outcome = world.collect(replace(WORK, target=replace(WORK.target, pinned=None)))
    assert (outcome.what, outcome.code) == ("dropped", "lease_lost")


def test_what_is_told_of_a_session_is_what_was_written() -> None:
    """A device that is forgiven, since many refuse its login, is not blocked, and no log says that it is."""
    world = World(login=AuthenticationFailed("no"))
    world.written = {"state": State.FAILED, "detail": "forgiven"}
    assert world.collect() == Outcome("failed", "authentication_failed", "forgiven", "core-1", 3)
    assert world.endings[0].state is State.BLOCKED


def test_an_unknown_outcome_leaves_the_row_published() -> None:
    """Only a definite refusal ends it: the message may have arrived (I1)."""
    world = World()
    world.known = False
    assert world.collect().what == "publish_unknown"
    assert world.calls[-1] == "publish"


@pytest.mark.parametrize("where", ["start", "pin", "allowed", "fence", "end"])
def test_while_the_database_is_away_nothing_is_ended(where: str) -> None:
    """A commit of unknown outcome, or no connection: the claim is emitted again, or its lease ends it."""
    fails: dict[str, BackupflowError] = {where: StoreUnavailable("away")}
    if where == "end":
        fails["connect"] = DeviceTimeout()
    world = World(**fails)
    outcome = world.collect(replace(WORK, target=replace(WORK.target, pinned=None)))
    assert (outcome.what, outcome.code) == ("not_started" if where == "start" else "unfinished", "store_unavailable")
    assert world.calls[-1] == where
    assert "publish" not in world.calls


@pytest.mark.parametrize("where", ["pepper", "connect", "long", "read", "seal", "fence"])
def test_a_defect_ends_the_row_and_waits(where: str) -> None:
    """What nobody foresaw is said and ends the row with an alarm: the next run would only meet it again (I9, I10)."""
    defect = KeyError("/ip address")
    world = World(**{where: defect})  # type: ignore[arg-type]
    assert world.collect() == Outcome("failed", "unexpected", "KeyError", "core-1", 3)
    wait, scope = backoff.step(WORK.failures, 0.0), f"device {WORK.device_id}"
    assert world.endings == [Ending(State.FAILED, "unexpected", "KeyError", True, False, wait, alarm=scope)]
    assert world.told == [defect]
    assert "publish" not in world.calls


def test_a_defect_behind_the_fence_leaves_the_row_published() -> None:
    """The message may have arrived: ended as failed it would be a forged one to ingest (I1)."""
    defect = KeyError("defect")
    world = World(publish=defect)  # type: ignore[arg-type]
    assert world.collect() == Outcome("publish_unknown", "unexpected", "", "core-1", 3)
    assert (world.endings, world.told) == ([], [defect])


def test_a_defect_without_a_database_is_left_to_the_lease() -> None:
    """It cannot be written down now; it was said."""
    fails: dict[str, Any] = {"seal": KeyError("defect"), "end": StoreUnavailable("away")}
    world = World(**fails)
    assert world.collect() == Outcome("unfinished", "store_unavailable", "away", "core-1", 3)
    assert len(world.told) == 1


BEFORE = Observed(
    ContentHash(b"h" * 32), 1, b"s", b"m", sections=1, size=35, secret_count=0, secrets=Secrets.NONE,
    facts=Facts("toy", version="7.1"), known_serial="A1",
)  # fmt: skip


def knowing(before: Observed, aside: Observed | None = None) -> Assignment:
    """The work, where this is known of the router."""
    return replace(WORK, known=Known(before, aside))


def test_what_shrank_is_kept_aside_and_collected_again() -> None:
    """Sealed and handed to the ledger with its figures, but it passes no fence and goes onto no bus (I8)."""
    world = World()
    outcome = world.collect(knowing(replace(BEFORE, size=70)))
    assert (outcome.what, outcome.code, outcome.detail) == ("suspect", "export_suspect", "34 bytes, it had 70")
    assert not {"fence", "publish"} & set(world.calls)
    ending = world.endings[0]
    assert (ending.state, ending.counts, ending.blocks, ending.alarm) == (State.SUSPECT, True, False, "")
    assert ending.again_in == backoff.step(WORK.failures, 0.0)
    assert ending.aside is not None
    assert ending.aside.published.digest == ending.aside.sealed.digest
    assert ending.aside.published.observed.size == 34


def test_what_is_still_suspect_raises_an_alarm() -> None:
    """Something else than last time, and small again: nobody can tell which is true."""
    world = World()
    world.collect(knowing(replace(BEFORE, size=70), replace(BEFORE, size=20)))
    assert world.endings[0].alarm == f"device {WORK.device_id}"


def test_what_says_the_same_as_what_was_kept_aside_is_believed() -> None:
    """It is published like any other, in its own bytes: what was kept aside stays there."""
    world = World()
    aside = replace(BEFORE, shape_hash=keyed_hash(PEPPER, b"3"), facts=Facts("toy"))
    assert world.collect(knowing(replace(BEFORE, size=70), aside)).what == "published"


def test_another_serial_number_blocks_and_is_kept_aside() -> None:
    """Behind the accepted key another router answers: an operator must say whether that is meant (I7)."""
    world = World()
    world.answers["long"] = b"serial B2\n" + EXPORT
    outcome = world.collect(knowing(BEFORE))
    assert (outcome.what, outcome.code) == ("blocked", "identity_changed")
    assert (world.endings[0].blocks, world.endings[0].aside is None) == (True, False)
    assert not {"fence", "publish"} & set(world.calls)


def test_what_cannot_be_sealed_is_not_kept_aside_either() -> None:
    """A suspect export is sealed before anything else is done with it (I15)."""
    world = World(seal=VaultUnavailable())
    world.collect(knowing(replace(BEFORE, size=70)))
    assert (world.endings[0].code, world.endings[0].aside) == ("vault_unavailable", None)


def test_secrets_that_vanish_are_told_from_secrets_that_were_deleted() -> None:
    """Where there were some and the rest is the same, the router hides them now."""
    world = World()
    masked = keyed_hash(PEPPER, EXPORT.replace(b"\r", b""))
    world.collect(knowing(replace(BEFORE, secret_count=1, secrets=Secrets.SHOWN, masked_hash=masked)))
    assert world.passed[0].observed.secrets is Secrets.HIDDEN
