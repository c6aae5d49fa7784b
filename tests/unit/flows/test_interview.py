"""One session with a router: what is asked in it, in which order, and what is remembered of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backupflow.core.driver import Facts
from backupflow.core.model import ContentHash, Login, Secrets, State
from backupflow.core.suspicion import Observed
from backupflow.errors import DeviceTimeout, InputInvalid
from backupflow.flows.interview import PROBE_WITHIN, login_of, login_secret
from tests.unit.flows.world import EXPORT, NONCE, WORK, World

UNTRIED = replace(WORK, end_mark=None)
MARKED = replace(WORK, end_mark=True)


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


def test_a_router_is_asked_for_an_end_mark_once_it_has_given_its_export() -> None:
    """After the export and in little time, so that a router that stumbles over the question costs nothing."""
    world = World()
    world.answers[f"probe {NONCE}"] = NONCE.encode()
    assert world.collect(UNTRIED).what == "published"
    assert world.calls[6:9] == ["long", f"probe {NONCE}", "close"]
    assert world.within == [None, PROBE_WITHIN]
    assert world.passed[0].end_mark is True


@pytest.mark.parametrize("fails", [{}, {f"probe {NONCE}": DeviceTimeout()}])
def test_a_router_that_does_not_repeat_the_mark_keeps_its_export(fails: dict[str, DeviceTimeout]) -> None:
    """It says something else, or hangs: what it had given before is published, and the question not asked again."""
    world = World(**fails)
    assert world.collect(UNTRIED).what == "published"
    assert world.passed[0].end_mark is False
    world = World()
    world.collect(WORK)
    assert not [call for call in world.calls if call.startswith("probe")]


def test_a_router_that_repeats_the_mark_is_asked_for_it_with_the_export() -> None:
    """The driver requires it then."""
    world = World()
    world.answers[f"long+{NONCE}"] = EXPORT
    assert world.collect(MARKED).what == "published"
    assert "long" not in world.calls
    assert world.passed[0].end_mark is True


def test_a_router_that_knows_the_mark_no_longer_is_asked_anew() -> None:
    """It fell back within the session: its next session asks the question again."""
    world = World()
    world.answers = {"short": EXPORT}
    assert world.collect(MARKED).what == "published"
    assert world.passed[0].end_mark is None


@pytest.mark.parametrize(("version", "known"), [("7.1", False), ("7.0", None)])
def test_another_version_may_know_the_mark(version: str, known: bool | None) -> None:
    """A router that was upgraded is asked again, at its next turn."""
    facts = Facts("toy", version=version)
    before = Observed(ContentHash(b"h"), 1, b"s", b"m", 1, 35, 0, Secrets.NONE, facts)
    world = World()
    world.collect(replace(WORK, before=before))
    assert world.passed[0].end_mark is known


@pytest.mark.parametrize("known", [None, True, False])
def test_who_wants_no_end_mark_is_asked_for_none(known: bool | None) -> None:
    """The setting of the device decides."""
    world = World()
    assert world.collect(replace(WORK, asks_end_mark=False, end_mark=known)).what == "published"
    assert [call for call in world.calls if NONCE in call] == []


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
