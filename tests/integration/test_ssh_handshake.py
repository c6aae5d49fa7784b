"""A handshake alone: the key that a session would be shown, and nothing about a login."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.ssh import SshCollector
from backupflow.core.model import HostKey, Target, Timeouts
from backupflow.errors import AlgorithmsIncompatible, ConnectionRefused
from backupflow.simulator import Fleet, RouterSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.simulator import SimulatedRouter

OTHER = HostKey("ssh-ed25519", b"another")


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """One of today, and one that knows SHA-1 only."""
    with Fleet([RouterSpec("r1", more_host_keys=("rsa",)), RouterSpec("old", legacy=True)]) as routers:
        yield routers


def target(router: SimulatedRouter) -> Target:
    """Nothing is known of it."""
    return Target(router.host, router.port, None, legacy_ssh=False, timeouts=Timeouts())


def test_a_handshake_shows_the_key_and_offers_no_login(fleet: Fleet) -> None:
    """The router's own log has no authentication, not even one that asks which there are; nothing stays open."""
    router = fleet["r1"]
    assert SshCollector().handshake(target(router)).fingerprint == router.fingerprint
    assert router.wait_idle()
    assert {event.kind for event in router.history} & {"login_offered", "logged_in"} == set()
    assert next(event.kind for event in router.history) == "session_opened"


def test_a_key_that_is_not_the_pinned_one_is_shown_and_a_second_one_is_preferred_if_it_is(fleet: Fleet) -> None:
    """A look is for comparing: it fails over no key; of several the pinned one is asked for first."""
    router = fleet["r1"]
    shown = SshCollector().handshake(replace(target(router), pinned=OTHER))
    assert shown.fingerprint == router.fingerprint
    rsa = HostKey("ssh-rsa", router.host_keys["ssh-rsa"])
    assert SshCollector().handshake(replace(target(router), pinned=rsa)) == rsa


def test_a_handshake_fails_as_a_session_would(fleet: Fleet) -> None:
    """Nobody there, or nothing in common."""
    fleet["r1"].behave(listening=False)
    with pytest.raises(ConnectionRefused):
        SshCollector().handshake(target(fleet["r1"]))
    with pytest.raises(AlgorithmsIncompatible):
        SshCollector().handshake(target(fleet["old"]))
    legacy = replace(target(fleet["old"]), legacy_ssh=True)
    assert SshCollector().handshake(legacy).fingerprint == fleet["old"].fingerprint
