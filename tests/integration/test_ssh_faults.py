"""What a simulated router can do wrong, and what that is called."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from backupflow.adapters.ssh import SshCollector
from backupflow.core.model import HostKey, Login, Target, Timeouts
from backupflow.errors import (
    AlgorithmsIncompatible,
    AuthenticationFailed,
    ConnectionRefused,
    DeviceTimeout,
    DeviceUnreachable,
    HostKeyMismatch,
    LeaseLost,
    LoginSuspended,
    NameUnresolved,
    OutputTooLarge,
    OutputTruncated,
)
from backupflow.simulator import Behaviour, Event, Fleet, RouterSpec, SimulatedRouter
from backupflow.simulator import Login as SimulatedLogin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.driver import Reply
    from backupflow.core.ports import Collector

EXPORT = "/export show-sensitive"
LOGIN = Login("backup", "backup")
SHORT = timedelta(seconds=0.4)


@contextmanager
def a_router(spec: RouterSpec | None = None, **behaviour: object) -> Iterator[SimulatedRouter]:
    """One running router; `behaviour` are fields of Behaviour."""
    with Fleet([spec or RouterSpec("r1", behaviour=Behaviour().changed(behaviour))]) as fleet:
        yield fleet["r1"]


def target(router: SimulatedRouter, **timeouts: timedelta) -> Target:
    """The router with its present key pinned."""
    pinned = HostKey(router.host_key_type, router.host_key_blob)
    return Target(router.host, router.port, pinned, legacy_ssh=False, timeouts=Timeouts(**timeouts))


def trust(_: HostKey) -> None:
    """Whatever key it is."""


def collect(wanted: Target, login: Login = LOGIN) -> Reply:
    """Open a session and export."""
    collector: Collector = SshCollector()
    with collector.session(wanted, trust, lambda: login) as session:
        return session.run(EXPORT)


def offered(router: SimulatedRouter) -> list[Event]:
    """The logins that the router was offered."""
    assert router.wait_idle()
    return [event for event in router.history if event.kind == "login_offered"]


def test_the_export_is_what_the_router_sent() -> None:
    """The plain case: every byte, no error output, status 0, one connection that is closed afterwards."""
    with a_router(raw_export=bytes(range(256)) * 64) as router:
        reply = collect(target(router))
        assert reply.stdout == bytes(range(256)) * 64
        assert (reply.stderr, reply.exit_status, reply.command) == (b"", 0, EXPORT)
        assert router.wait_idle()
        assert router.stats.sessions == 1


@pytest.mark.parametrize(
    ("mute", "step"), [("banner", "banner"), ("handshake", "login"), ("command", "command")], ids=str
)
def test_a_router_that_falls_silent_is_timed_out_at_that_step(mute: str, step: str) -> None:
    """Each step has its own time-out, and the failure says which one it was."""
    with a_router(mute=mute) as router:
        with pytest.raises(DeviceTimeout, match=f"{step}: more than 0.4 s"):
            collect(target(router, **{step: SHORT}))
        assert router.wait_idle()


def test_a_drip_is_timed_out_though_something_always_comes() -> None:
    """A byte now and then trips no read time-out; the command's own does."""
    with a_router(bytes_per_second=20) as router, pytest.raises(DeviceTimeout, match="command"):
        collect(target(router, command=SHORT))


def test_a_stall_in_mid_export_is_a_time_out() -> None:
    """The connection stays, nothing more comes."""
    with a_router(stall_after=1000) as router, pytest.raises(DeviceTimeout, match="command"):
        collect(target(router, command=SHORT))


@pytest.mark.parametrize("bytes_before", [0, 1, 1000, 50_000])
def test_a_connection_that_breaks_in_mid_export_is_no_answer(bytes_before: int) -> None:
    """What came before is not given out: it could pass for an export."""
    with a_router(cut_after=bytes_before, export_size=100_000) as router, pytest.raises(OutputTruncated):
        collect(target(router))


def test_a_bomb_is_refused_at_the_cap() -> None:
    """64 MiB where 16 are allowed; one byte more than allowed is too much, and just as many are not."""
    with a_router(export_size=64 * 1024 * 1024) as router:
        with pytest.raises(OutputTooLarge, match="16777216"):
            collect(target(router))
        router.behave(export_size=100_000)
        assert len(collect(replace(target(router), max_bytes=100_000)).stdout) == 100_000
        with pytest.raises(OutputTooLarge):
            collect(replace(target(router), max_bytes=99_999))


def test_both_streams_count_against_the_cap_and_neither_blocks_the_other() -> None:
    """Unread error output cannot hold the export up, nor fill the memory."""
    flood = b"e" * 4_000_000
    with a_router(stderr=flood, export_size=2_400_000) as router:
        reply = collect(target(router))
        assert (len(reply.stdout), reply.stderr) == (2_400_000, flood)
        with pytest.raises(OutputTooLarge):
            collect(replace(target(router), max_bytes=5_000_000))


@pytest.mark.parametrize("status", [0, 1, 255, None])
def test_the_exit_status_is_told_as_it_was_sent(status: int | None) -> None:
    """None is "the server sent none", which is not success and not failure."""
    with a_router(exit_status=status) as router:
        assert collect(target(router)).exit_status == status


def test_a_first_key_is_shown_before_the_login_is_asked_for() -> None:
    """Without a pin `admit` sees the whole key, then the login is asked for, and only then is it sent."""
    calls: list[object] = []
    with a_router() as router:

        def login() -> Login:
            calls.extend(event.kind for event in router.history if event.kind == "login_offered")
            calls.append("login")
            return LOGIN

        first = replace(target(router), pinned=None)
        with SshCollector().session(first, calls.append, login):
            assert calls == [HostKey(router.host_key_type, router.host_key_blob), "login"]


def test_a_changed_key_ends_before_the_login() -> None:
    """What `admit` raises passes unchanged; the login is not even opened, and nothing of it was sent."""
    with a_router() as router:
        wanted = target(router)
        router.change_key()

        def refuse(key: HostKey) -> None:
            assert key.blob == router.host_key_blob != (wanted.pinned or key).blob
            raise HostKeyMismatch("as admit says it")

        with (
            pytest.raises(HostKeyMismatch, match="as admit says it"),
            SshCollector().session(wanted, refuse, lambda: pytest.fail("the login was asked for")),
        ):
            pass
        assert offered(router) == []


def test_a_key_of_another_type_is_shown_and_never_logged_in_to() -> None:
    """A router that lost the pinned type shows what it has now, to be recorded; whatever `admit` says of it."""
    with a_router() as router:
        wanted, seen = target(router), list[HostKey]()
        router.change_key("rsa")
        with (
            pytest.raises(HostKeyMismatch, match="another key than the pinned one"),
            SshCollector().session(wanted, seen.append, lambda: pytest.fail("the login was asked for")),
        ):
            pass
        assert seen == [HostKey("ssh-rsa", router.host_key_blob)]
        assert offered(router) == []


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_each_type_of_host_key_is_pinned_by_type_and_bytes(kind: str) -> None:
    """An RSA key is one key, whatever it signs with."""
    with a_router() as router:
        router.change_key(kind)  # type: ignore[arg-type]
        seen: list[HostKey] = []
        with SshCollector().session(target(router), seen.append, lambda: LOGIN):
            pass
        assert seen == [HostKey(router.host_key_type, router.host_key_blob)]


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_refused_password_was_offered_once(method: str) -> None:
    """One attempt that counts, by the one method that fits: routers and their firewalls lock out who tries again."""
    with a_router(login_methods=[method]) as router:
        with pytest.raises(AuthenticationFailed):
            collect(target(router), Login("backup", "wrong"))
        assert [(event.facts["method"], event.facts["offered"]) for event in offered(router)] == [(method, "wrong")]
        collect(target(router))
        assert [event.facts["offered"] for event in offered(router)] == ["wrong", "backup"]


def test_a_password_goes_before_keyboard_interactive() -> None:
    """A router that takes both is sent the password once, as a password."""
    with a_router() as router:
        collect(target(router))
        assert [event.facts["method"] for event in offered(router)] == ["password"]


def test_a_login_that_is_not_allowed_any_more_is_not_sent() -> None:
    """What `login` raises passes unchanged, and the router sees a connection that ends."""

    def suspended() -> Login:
        raise LoginSuspended

    with a_router() as router:
        with pytest.raises(LoginSuspended), SshCollector().session(target(router), trust, suspended):
            pass
        assert offered(router) == []


def test_an_old_router_is_named_with_what_it_speaks_unless_sha1_is_allowed() -> None:
    """The detail tells what the router offers; with `legacy_ssh` the same router is collected."""
    with a_router(RouterSpec("r1", version="6.49.10", legacy=True, host_key_type="rsa")) as router:
        for wanted in (target(router), replace(target(router), pinned=None)):
            with pytest.raises(AlgorithmsIncompatible, match="group14-sha1") as failure:
                collect(wanted)
            assert "host key: the device offers ssh-rsa" in failure.value.detail
            assert collect(replace(wanted, legacy_ssh=True)).exit_status == 0


@pytest.mark.parametrize("legacy", [False, True], ids=["today", "SHA-1 only"])
def test_a_key_logs_in_with_a_signature_that_the_router_knows(legacy: bool) -> None:
    """An RSA key signs with SHA-2, or as the router signs itself where that knows nothing newer."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    spec = RouterSpec(
        "r1", legacy=legacy, host_key_type="rsa", logins=(SimulatedLogin("backup", public_keys=(public,)),)
    )
    with a_router(spec) as router:
        wanted = replace(target(router), legacy_ssh=legacy)
        assert collect(wanted, Login("backup", private_key=private)).exit_status == 0
        assert [event.facts["accepted"] for event in offered(router)] == [True]


def test_a_closed_port_is_a_refused_connection() -> None:
    """Other than an address that does not answer: the device is there."""
    with a_router(listening=False) as router, pytest.raises(ConnectionRefused):
        collect(target(router))


def test_an_address_that_does_not_answer_is_unreachable() -> None:
    """A listener whose queue is full drops the attempt, as a router does that is switched off."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        wanted = Target("127.0.0.1", full.getsockname()[1], None, legacy_ssh=False, timeouts=Timeouts(connect=SHORT))
        with pytest.raises(DeviceUnreachable, match=r"connect: no answer within 0\.4 s"):
            collect(wanted)


def test_a_name_that_is_none_is_told_from_an_address_that_does_not_answer() -> None:
    """A label of more than 63 characters cannot be looked up (RFC 1035)."""
    with pytest.raises(NameUnresolved):
        collect(Target("x" * 64 + ".invalid", 22, None, legacy_ssh=False, timeouts=Timeouts()))


def test_a_session_ends_with_its_lease() -> None:
    """Whatever was waited for before it began, a session does not outlive its lease: the next may begin then (I4)."""
    with a_router(mute="command") as router:
        began = time.monotonic()
        with pytest.raises(DeviceTimeout, match="the whole session"):
            collect(replace(target(router), not_after=began + 0.6))
        assert router.wait_idle()
        with pytest.raises(LeaseLost):
            collect(replace(target(router), not_after=began + 0.6))
        assert router.stats.sessions == 1


def test_a_command_may_have_a_time_of_its_own() -> None:
    """Shorter or longer than the target's, for this command alone, and never longer than the whole session may be."""
    with a_router(answer_delay=0.6) as router:
        with SshCollector().session(target(router, command=SHORT), trust, lambda: LOGIN) as session:
            assert session.run(EXPORT, timedelta(minutes=1)).exit_status == 0
            with pytest.raises(DeviceTimeout, match=r"command: more than 0\.4 s"):
                session.run(EXPORT)
        with (
            SshCollector().session(target(router), trust, lambda: LOGIN) as session,
            pytest.raises(DeviceTimeout, match=r"command: more than 0\.2 s"),
        ):
            session.run(EXPORT, timedelta(seconds=0.2))
        router.behave(mute="command")
        with pytest.raises(DeviceTimeout, match="the whole session"):
            run_within(replace(target(router), not_after=time.monotonic() + 0.6), timedelta(hours=1))


def run_within(wanted: Target, within: timedelta) -> Reply:
    """Open a session and export within a time."""
    with SshCollector().session(wanted, trust, lambda: LOGIN) as session:
        return session.run(EXPORT, within)
