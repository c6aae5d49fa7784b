"""Tests and scans over small fakes: how far each comes, what it says of it, and that it adds nothing to the history."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from backupflow.core.driver import Facts
from backupflow.core.jump import JumpHost
from backupflow.core.ledger import Assignment, Ending, Step
from backupflow.core.model import ContentHash, ExpectedKey, JumpHostId, Secrets, State, Trigger, Trust, TrustedHow
from backupflow.core.report import SCAN, TEST, Stage
from backupflow.core.suspicion import Known, Observed
from backupflow.errors import (
    AlgorithmsIncompatible,
    AuthenticationFailed,
    BackupflowError,
    ConnectionRefused,
    DeviceTimeout,
    DeviceUnreachable,
    JumpHostBlocked,
    JumpHostUnreachable,
    LeaseLost,
    NameUnresolved,
    OutputTruncated,
    StoreUnavailable,
    VaultUnavailable,
)
from backupflow.flows.outcome import Outcome
from tests.unit.flows.world import EXPORT, HOP_KEY, KEY, OTHER, WORK, World

TESTED = replace(WORK, trigger=Trigger.TEST)
SCANNED = replace(WORK, trigger=Trigger.SCAN)
NEW = replace(TESTED, target=replace(WORK.target, pinned=None))
HOP = JumpHost(
    JumpHostId(UUID(int=9)), "north", replace(WORK.target, host="192.0.2.9", pinned=HOP_KEY), Trust.TOFU, "jump",
    UUID(int=8), WORK.sealed_pepper, None, 0,
)  # fmt: skip
BEHIND = replace(TESTED, jump_host=HOP)
BEFORE = Observed(ContentHash(b"h"), 1, b"s", b"m", 1, 35, 2, Secrets.SHOWN, Facts("toy", version="7.1"))


def steps(world: World) -> dict[str, Step]:
    """The report of the one row that was ended."""
    (ending,) = world.endings
    return {step.name: step for step in ending.report}


def wells(world: World) -> dict[str, bool | None]:
    """Of each step whether it is well."""
    return {name: step.well for name, step in steps(world).items()}


def test_a_test_asks_as_a_collection_and_keeps_nothing() -> None:
    """The same session, in the same order; no pepper is opened, nothing sealed, passed or sent."""
    world = World()
    assert world.collect(TESTED) == Outcome("tested", device="core-1", seq=3)
    assert world.calls == ["start", "connect", "allowed", "open", "login", "long", "close", "read", "end"]
    (ending,) = world.endings
    assert ending == Ending(State.TESTED, "", report=ending.report)
    assert wells(world) == {stage.value: True for stage in TEST if stage is not Stage.JUMP}


def test_a_test_tells_what_it_learnt() -> None:
    """In words for a person, and the same for a program."""
    world = World()
    world.answers["long"] = b"/ip address\nserial X1\npsk\n"
    world.collect(TESTED)
    told = steps(world)
    assert told["key"].facts == {"key_type": "ssh-ed25519", "fingerprint": KEY.fingerprint, "standing": "pinned"}
    assert told["login"].facts == {"username": "backup"}
    assert told["version"].facts == {"vendor": "toy", "version": "7.1", "serial": "X1"}
    assert told["version"].says == "toy, 7.1, X1"
    assert told["secrets"].facts == {"secrets": "shown"}
    assert told["size"].facts == {"bytes": 26}
    assert "SHA-1" not in told["key"].says
    world = World()
    world.modern = False
    world.collect(TESTED)
    assert "SHA-1" in steps(world)["key"].says


def passed(upto: Stage, failed: Stage) -> dict[str, bool | None]:
    """Well up to a step, one that failed, and nothing known of the rest."""
    stages = TEST[1:]
    return {
        stage.value: False if stage is failed else (True if stages.index(stage) <= stages.index(upto) else None)
        for stage in stages
    }


@pytest.mark.parametrize(
    ("call", "exc", "upto", "at", "blocks"),
    [
        ("connect", DeviceUnreachable("connect: no answer"), Stage.RESOLVE, Stage.REACH, False),
        ("connect", ConnectionRefused(), Stage.RESOLVE, Stage.REACH, False),
        ("connect", DeviceTimeout("banner"), Stage.RESOLVE, Stage.REACH, False),
        ("login", AuthenticationFailed(), Stage.KEY, Stage.LOGIN, True),
        ("login", DeviceTimeout("login"), Stage.KEY, Stage.LOGIN, False),
        ("open", VaultUnavailable(), Stage.KEY, Stage.LOGIN, False),
        ("long", DeviceTimeout("command"), Stage.LOGIN, Stage.COMPLETENESS, False),
        ("long", OutputTruncated(), Stage.LOGIN, Stage.COMPLETENESS, False),
    ],
)
def test_each_failure_is_said_at_its_step(
    call: str, exc: BackupflowError, upto: Stage, at: Stage, blocks: bool
) -> None:
    """What comes after it was not reached; a refused login blocks as in a collection, and nothing counts or waits."""
    world = World(**{call: exc})
    before = passed(upto, at)
    assert world.collect(TESTED) == Outcome("tested", exc.code, exc.detail, "core-1", 3)
    (ending,) = world.endings
    assert ending == Ending(State.TESTED, exc.code, exc.detail, blocks=blocks, report=ending.report)
    assert wells(world) == before
    assert (steps(world)[at].code, steps(world)[at].says) == (exc.code, exc.detail)


def test_a_name_that_is_none_is_not_resolved() -> None:
    """The first step."""
    world = World(connect=NameUnresolved())
    world.collect(TESTED)
    assert [name for name, well in wells(world).items() if well is not None] == ["resolve"]


def test_without_common_algorithms_it_is_reached_and_its_key_is_not_seen() -> None:
    """It blocks, as in a collection."""
    world = World(connect=AlgorithmsIncompatible("key exchange: the device offers x"))
    world.collect(TESTED)
    assert wells(world)["key"] is False
    assert world.endings[0].blocks


@pytest.mark.parametrize(
    ("answer", "code", "failed"),
    [
        (b"no such command", "command_rejected", "rights"),
        (b"truncated", "output_truncated", "completeness"),
        (b"not_a_configuration", "not_a_configuration", "completeness"),
    ],
)
def test_an_answer_that_is_no_export_fails_for_what_it_is(answer: bytes, code: str, failed: str) -> None:
    """A refused command is a matter of rights; text that breaks off is not."""
    world = World()
    world.answers = {"long": answer}
    world.collect(TESTED)
    (ending,) = world.endings
    assert (ending.code, ending.blocks) == (code, False)
    assert [name for name, well in wells(world).items() if well is False] == [failed]
    assert wells(world)["login"]
    assert wells(world)["version"] is None


def test_another_key_blocks_and_no_login_is_opened() -> None:
    """The key that was offered is kept, to be shown and perhaps accepted."""
    world = World()
    world.offers = OTHER
    world.collect(TESTED)
    assert world.calls == ["start", "connect", "end"]
    (ending,) = world.endings
    assert (ending.code, ending.blocks, ending.offered) == ("host_key_mismatch", True, OTHER)
    assert steps(world)["key"].facts["standing"] == "changed"
    assert wells(world) == passed(Stage.REACH, Stage.KEY)


def test_a_first_key_is_pinned_as_ever_and_under_manual_trust_needs_approval() -> None:
    """A test trusts as much as a collection does, and no more."""
    world = World()
    world.collect(NEW)
    assert world.calls[1:4] == ["connect", "pin", "allowed"]
    assert "pinned now" in steps(world)["key"].says
    world = World()
    world.collect(replace(NEW, trust=Trust.MANUAL))
    assert world.calls == ["start", "connect", "end"]
    (ending,) = world.endings
    assert (ending.code, ending.blocks, ending.offered) == ("host_key_unapproved", True, KEY)


def test_hidden_secrets_and_a_strange_export_are_not_well_and_block_nothing() -> None:
    """A collection would store the first with an alarm, keep the second aside, and block for the third."""
    world = World()
    world.collect(replace(TESTED, known=Known(BEFORE)))
    (ending,) = world.endings
    assert (ending.code, ending.blocks) == ("secrets_hidden", False)
    assert "sensitive" in ending.detail
    assert wells(world)["size"]
    world = World()
    world.collect(replace(TESTED, known=Known(replace(BEFORE, sections=9))))
    assert world.endings[0].code == "export_suspect"
    assert wells(world)["completeness"] is False
    world = World()
    world.answers["long"] = EXPORT + b"serial X2\n"
    world.collect(replace(TESTED, known=Known(replace(BEFORE, secret_count=0, known_serial="X1"))))
    (ending,) = world.endings
    assert (ending.code, ending.blocks) == ("identity_changed", False)
    assert ending.detail == "serial number X2, it was X1"


def test_a_scan_ends_with_the_handshake() -> None:
    """No session, no login; the key is written down; what it is beside the pinned one is said, and blocks nothing."""
    world = World()
    assert world.collect(SCANNED) == Outcome("tested", device="core-1", seq=3)
    assert world.calls == ["start", "handshake", "end"]
    (ending,) = world.endings
    assert ending == Ending(State.TESTED, "", report=ending.report, scanned=KEY)
    assert wells(world) == {stage.value: True for stage in SCAN if stage is not Stage.JUMP}
    world = World()
    world.offers = OTHER
    world.collect(SCANNED)
    (ending,) = world.endings
    assert (ending.code, ending.blocks, ending.scanned) == ("host_key_mismatch", False, OTHER)


@pytest.mark.parametrize(
    ("expected", "standing", "code"),
    [
        ((), "first", ""),
        ((ExpectedKey(KEY.fingerprint, TrustedHow.IMPORT),), "expected", ""),
        ((ExpectedKey(OTHER.fingerprint, TrustedHow.IMPORT),), "changed", "host_key_mismatch"),
    ],
)
def test_a_scan_tells_first_keys_apart_and_pins_none(
    expected: tuple[ExpectedKey, ...], standing: str, code: str
) -> None:
    """A look trusts nobody, whatever the policy."""
    world = World()
    world.collect(replace(SCANNED, target=replace(WORK.target, pinned=None, expected=expected)))
    assert "pin" not in world.calls
    (ending,) = world.endings
    assert (steps(world)["key"].facts["standing"], ending.code, ending.scanned) == (standing, code, KEY)


@pytest.mark.parametrize("exc", [DeviceTimeout("banner"), AlgorithmsIncompatible("x"), LeaseLost()])
def test_a_scan_that_fails_blocks_nothing(exc: BackupflowError) -> None:
    """Nothing was sent that anybody could hold against it."""
    world = World(handshake=exc)
    world.collect(SCANNED)
    (ending,) = world.endings
    assert (ending.state, ending.code, ending.blocks, ending.scanned) == (State.TESTED, exc.code, False, None)


@pytest.mark.parametrize("work", [BEHIND, replace(BEHIND, trigger=Trigger.SCAN)], ids=["test", "scan"])
def test_behind_a_jump_host_it_is_named_and_logged_in_to(work: Assignment) -> None:
    """Its login is the only one that a scan uses."""
    world = World()
    assert world.collect(work).code == ""
    jump = ["start", "jump", "jump allowed", "open", "jump login", "reached"]
    assert world.calls[: len(jump)] == jump
    assert steps(world)["jump"].facts == {"jump_host": "north"}
    assert len(world.logins) == (2 if work.trigger is Trigger.TEST else 1)


@pytest.mark.parametrize("work", [BEHIND, replace(BEHIND, trigger=Trigger.SCAN)], ids=["test", "scan"])
def test_the_trouble_of_a_jump_host_is_told_as_its_own(work: Assignment) -> None:
    """Which one, and what was met there; the device is neither blocked nor said to be reached or not."""
    for cause, blocks in ((AuthenticationFailed("all refused"), True), (DeviceUnreachable("no answer"), False)):
        refused = (JumpHostBlocked if blocks else JumpHostUnreachable)(cause.detail)
        refused.__cause__ = cause
        world = World(jump=refused)
        world.collect(work)
        (ending,) = world.endings
        assert ending.detail == f"north: {cause.code}: {cause.detail}"
        assert (ending.code, ending.blocks) == (refused.code, False)
        assert ending.jump_trouble
        assert ending.jump_trouble.blocks is blocks
        assert [name for name, well in wells(world).items() if well is not None] == ["jump"]


def test_a_device_that_its_jump_host_does_not_reach_is_its_own_trouble() -> None:
    """The jump host is well; whether it could resolve a name is not known."""
    world = World(connect=DeviceUnreachable("connect failed"))
    world.collect(BEHIND)
    assert {name: well for name, well in wells(world).items() if well is not None} == {"jump": True, "reach": False}
    assert world.endings[0].jump_trouble is None


def test_a_defect_ends_the_row_of_a_test_without_counting() -> None:
    """It is told with its name only."""
    world = World()
    world.run = None  # type: ignore[assignment, method-assign]
    world.collect(TESTED)
    assert world.endings == [Ending(State.TESTED, "unexpected", "TypeError")]
    assert len(world.told) == 1


def test_where_the_database_is_away_the_lease_ends_the_row() -> None:
    """Whether it goes before the login or at the end."""
    for call in ("allowed", "end"):
        world = World(**{call: StoreUnavailable()})
        assert world.collect(TESTED).what == "unfinished"
