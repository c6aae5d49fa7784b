"""One session with a router: what is asked in it, in which order, and what is remembered of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupflow.core.driver import Facts
from backupflow.core.edits import LONGEST_LOG, Log, unpack
from backupflow.core.enclosure import Label, What, enclosed
from backupflow.core.ledger import LOG_KEPT
from backupflow.core.model import (
    ContentHash,
    DeviceId,
    EndMark,
    Login,
    SealedConfig,
    Secrets,
    Seq,
    State,
    TenantId,
    Trigger,
)
from backupflow.core.suspicion import Known, Observed
from backupflow.errors import BackupflowError, DeviceTimeout, InputInvalid, OutputTruncated, VaultUnavailable
from backupflow.flows.admitting import login_of, login_secret
from backupflow.flows.interview import LOG_WITHIN, NO_LOG, PROBE_WITHIN
from tests.unit.flows.world import CLOCK, EXPORT, NONCE, UNKNOWN, WORK, World

if TYPE_CHECKING:
    from backupflow.core.ledger import Assignment

UNTRIED = replace(WORK, end_mark=EndMark.UNTRIED)
REPEATED = replace(WORK, end_mark=EndMark.REPEATED)
REQUIRED = replace(WORK, end_mark=EndMark.REQUIRED)
BEFORE = Observed(ContentHash(b"h"), 1, b"s", b"m", 1, 35, 0, Secrets.NONE, Facts("toy", version="7.1"))
UPGRADED = Known(replace(BEFORE, facts=Facts("toy", version="7.0")))
ENDED = EXPORT + b"end\n"


def test_the_next_command_is_tried_in_the_same_session() -> None:
    """A router that does not know the first; the remembered one comes first; none known is a failure."""
    world = World()
    world.answers = {"short": EXPORT}
    assert world.collect().what == "published"
    assert world.calls[6:9] == ["long", "short", "close"]
    assert world.passed[0].command == "short"
    world = World()
    world.answers["mine"] = EXPORT
    world.collect(replace(WORK, remembered_command="mine"))
    assert "long" not in world.calls
    world = World()
    world.answers = {}
    assert world.collect().code == "command_rejected"


def test_a_router_is_asked_for_an_end_mark_after_it_has_given_its_export() -> None:
    """Of a small menu and in little time, so that a router that stumbles over the question costs nothing."""
    world = World()
    world.answers[f"probe {NONCE}"] = NONCE.encode()
    assert world.collect(UNTRIED).what == "published"
    assert world.calls[6:9] == ["long", f"probe {NONCE}", "close"]
    assert world.within == [None, PROBE_WITHIN]
    assert world.passed[0].end_mark is EndMark.REPEATED


@pytest.mark.parametrize(
    ("fails", "known"), [({}, EndMark.ABSENT), ({f"probe {NONCE}": DeviceTimeout()}, EndMark.UNTRIED)]
)
def test_a_router_that_does_not_repeat_the_mark_keeps_its_export(
    fails: dict[str, DeviceTimeout], known: EndMark
) -> None:
    """What it had given before is published; where no answer came, the question is asked again next time."""
    world = World(**fails)
    assert world.collect(UNTRIED).what == "published"
    assert world.passed[0].end_mark is known
    world = World()
    world.collect(WORK)
    assert not [call for call in world.calls if call.startswith("probe")]


@pytest.mark.parametrize("work", [REPEATED, REQUIRED])
def test_an_export_that_shows_the_mark_makes_it_required(work: Assignment) -> None:
    """It is asked for it together with the export, and for nothing else."""
    world = World()
    world.answers[f"long+{NONCE}"] = ENDED
    assert world.collect(work).what == "published"
    assert not [call for call in world.calls if call in {"long", f"probe {NONCE}"}]
    assert world.passed[0].end_mark is EndMark.REQUIRED


def test_a_small_menu_promises_nothing_for_an_export() -> None:
    """The router repeated the mark there and does not here: the text decides, and it is asked for it no more."""
    world = World()
    world.answers[f"long+{NONCE}"] = EXPORT
    assert world.collect(REPEATED).what == "published"
    assert world.passed[0].end_mark is EndMark.ABSENT


def test_an_export_without_the_required_mark_is_cut() -> None:
    """However whole it looks: the loss of the last items can be seen by nothing else (I8)."""
    world = World()
    world.answers[f"long+{NONCE}"] = EXPORT
    outcome = world.collect(replace(REQUIRED, known=Known(BEFORE)))
    assert (outcome.code, outcome.detail) == ("output_truncated", "the end mark did not come")
    assert not {"seal", "fence", "publish"} & set(world.calls)


def test_another_version_may_have_lost_the_habit() -> None:
    """It is kept aside, and believed when it says the same once more; then it is asked for the mark no more."""
    world = World()
    world.answers[f"long+{NONCE}"] = EXPORT
    outcome = world.collect(replace(REQUIRED, known=UPGRADED))
    assert (outcome.what, outcome.code) == ("suspect", "export_suspect")
    aside = world.endings[0].aside
    assert aside is not None
    again = replace(REQUIRED, known=replace(UPGRADED, aside=aside.published.observed))
    assert world.collect(again).what == "published"
    assert world.passed[0].end_mark is EndMark.ABSENT


@pytest.mark.parametrize("work", [REPEATED, REQUIRED])
def test_a_router_that_refuses_the_form_falls_back_in_the_session(work: Assignment) -> None:
    """Its export is taken without, and it is asked for none until it has another version."""
    world = World()
    world.answers = {"short": EXPORT}
    assert world.collect(work).what == "published"
    assert world.passed[0].end_mark is EndMark.ABSENT


@pytest.mark.parametrize(("known", "mark"), [(Known(BEFORE), EndMark.ABSENT), (UPGRADED, EndMark.UNTRIED)])
def test_another_version_may_know_the_mark(known: Known, mark: EndMark) -> None:
    """A router that was upgraded is asked again, at its next turn."""
    world = World()
    world.collect(replace(WORK, known=known))
    assert world.passed[0].end_mark is mark


@pytest.mark.parametrize("known", list(EndMark))
def test_who_wants_no_end_mark_is_asked_for_none(known: EndMark) -> None:
    """The setting of the device decides; what is known stays known."""
    world = World()
    assert world.collect(replace(WORK, asks_end_mark=False, end_mark=known)).what == "published"
    assert [call for call in world.calls if NONCE in call] == []
    assert world.passed[0].end_mark is known


@pytest.mark.parametrize(
    "login",
    [Login("u", password="p \N{LATIN SMALL LETTER E WITH ACUTE}\0"), Login("u", private_key="k", passphrase="x")],
)
def test_a_login_survives_its_sealing(login: Login) -> None:
    """The part that is sealed, and nothing else, gives the login back."""
    assert login_of("u", login_secret(login)) == login


@pytest.mark.parametrize("secret", [b"hunter2", b'{"word": "hunter2"}', b"[]", b"\xff"])
def test_a_login_that_cannot_be_read_says_nothing_of_itself(secret: bytes) -> None:
    """Something else was sealed there: a failure with a reason, in which no secret stands (I5)."""
    with pytest.raises(InputInvalid) as caught:
        login_of("u", secret)
    assert "hunter2" not in repr(caught.value) + str(caught.value)
    assert caught.value.__suppress_context__
    world = World()
    world.secret = secret
    assert world.collect().code == "input_invalid"
    assert world.endings[0].state is State.FAILED


# --- who made a change -----------------------------------------------------------------------------------------------

CHANGED = replace(WORK, known=Known(BEFORE))
ASKS = replace(CHANGED, asks_who=True)


def test_a_router_is_asked_who_edited_it_after_all_else() -> None:
    """In little time; what it says is sealed apart from the export, with the clock that the export shows."""
    world = World()
    world.answers |= {f"probe {NONCE}": NONCE.encode(), "who": b"anna bob"}
    assert world.collect(replace(ASKS, end_mark=EndMark.UNTRIED)).what == "published"
    assert world.calls[6:10] == ["long", f"probe {NONCE}", "who", "close"]
    assert world.within[-1] == LOG_WITHIN
    assert (world.passed[0].who, world.passed[0].log) == (LOG_KEPT, SealedConfig(world.sealed))
    label = Label(WORK.tenant_id, WORK.device_id, WORK.seq, Seq(0), What.LOG)
    assert unpack(enclosed(world.envelope, label, 10_000)) == Log(b"anna bob", CLOCK)
    assert world.calls.count("seal") == 2


@pytest.mark.parametrize(
    ("fails", "says", "why"),
    [
        ({"who": DeviceTimeout()}, b"anna", "device_timeout"),
        ({"who": OutputTruncated()}, b"anna", "output_truncated"),
        ({}, UNKNOWN, NO_LOG),
        ({}, b"", NO_LOG),
        ({}, b"x" * (LONGEST_LOG + 1), "output_too_large"),
    ],
)
def test_whatever_comes_of_asking_who_the_export_is_published(
    fails: dict[str, BackupflowError], says: bytes, why: str
) -> None:
    """As it would be without the question; why nobody is known is noted."""
    world, without = World(**fails), World()
    world.answers["who"] = says
    assert world.collect(ASKS) == without.collect(CHANGED)
    assert (world.passed[0].who, world.passed[0].log) == (why, None)
    assert replace(world.passed[0], who="") == without.passed[0]
    assert world.envelope == without.envelope


def test_a_log_that_cannot_be_sealed_costs_no_export() -> None:
    """The vault may be gone right after it has sealed the export."""

    class Once(World):
        def seal_config(self, tenant_id: TenantId, device_id: DeviceId, envelope: bytes) -> SealedConfig:
            if "seal" in self.calls:
                raise VaultUnavailable
            return super().seal_config(tenant_id, device_id, envelope)

    world = Once()
    world.answers["who"] = b"anna"
    assert world.collect(ASKS).what == "published"
    assert (world.passed[0].who, world.passed[0].log) == ("vault_unavailable", None)


def test_of_what_did_not_change_no_log_is_kept() -> None:
    """Nobody will look for who made a change: not of the first configuration, nor of one that is as it was."""
    first = World()
    first.answers["who"] = b"anna"
    assert first.collect(replace(WORK, asks_who=True)).what == "published"
    again = World()
    again.answers["who"] = b"anna"
    assert again.collect(replace(WORK, asks_who=True, known=Known(first.passed[0].observed))).what == "published"
    for world in (first, again):
        assert (world.passed[0].who, world.passed[0].log, world.calls.count("seal")) == ("unchanged", None, 1)
    newer = World()
    newer.answers["who"] = b"anna"
    newer.collect(replace(WORK, asks_who=True, known=Known(replace(first.passed[0].observed, normalization_version=0))))
    assert newer.passed[0].log is not None


def test_nobody_is_asked_who_unless_somebody_wants_to_know() -> None:
    """Off by default, and no part of a test of the connection."""
    for work in (WORK, replace(ASKS, trigger=Trigger.TEST)):
        world = World()
        world.answers["who"] = b"anna"
        world.collect(work)
        assert "who" not in world.calls
        assert not world.passed or (world.passed[0].who, world.passed[0].log) == ("", None)
