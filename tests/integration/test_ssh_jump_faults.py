"""What can go wrong at a jump host, what it is called, and that no device behind it is blamed."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import paramiko
import psutil
import pytest

from backupflow.adapters.ssh import SshCollector, hop, jump, pulse
from backupflow.adapters.ssh.forwarding import WINDOW, Forwarded
from backupflow.adapters.ssh.jump import ways_of_process
from backupflow.core.model import HostKey, Login, Target
from backupflow.errors import (
    AuthenticationFailed,
    BackupflowError,
    CollectorBusy,
    CommandRejected,
    ConnectionRefused,
    DeviceTimeout,
    DeviceUnreachable,
    HostKeyMismatch,
    HostKeyUnapproved,
    JumpHostBlocked,
    JumpHostUnreachable,
    LeaseLost,
    LoginSuspended,
    NameUnresolved,
    OutputTruncated,
    VaultUnavailable,
)
from backupflow.simulator import Behaviour, Fleet, JumpSpec, RouterSpec
from tests.integration.jumping import Way, collect, pinned, session, way_through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.simulator import SimulatedJumpHost, SimulatedRouter

SHORT = timedelta(seconds=0.4)
STALLING = Behaviour(export_size=100_000, stall_after=50_000)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A jump host that does not answer is given up sooner than in life."""
    monkeypatch.setattr(pulse, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(pulse, "ANSWER_SECONDS", 1.0)


@contextmanager
def scene(
    behaviour: Behaviour | None = None, spec: JumpSpec | None = None
) -> Iterator[tuple[SimulatedRouter, SimulatedJumpHost]]:
    """A router behind a jump host."""
    with Fleet([RouterSpec("r1", behaviour=behaviour or Behaviour())], jump_hosts=[spec or JumpSpec("j1")]) as fleet:
        try:
            yield fleet["r1"], fleet.jump_hosts["j1"]
        finally:
            ways_of_process().close()


def never() -> Login:
    """The login of a device that must not be asked for."""
    pytest.fail("the login of the device was asked for")


def attempt(router: SimulatedRouter, way: Way) -> BackupflowError:
    """How a session ends that does not get as far as the device."""
    with (
        pytest.raises(BackupflowError) as failure,
        SshCollector().session(pinned(router), lambda _: None, never, way.via),
    ):
        pass
    return failure.value


# --- it is down -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "cause"), [({"listening": False}, ConnectionRefused), ({"mute": True}, DeviceTimeout)], ids=str
)
def test_a_jump_host_that_is_down_is_tried_once_for_all_who_come(
    behaviour: dict[str, object], cause: type[BackupflowError]
) -> None:
    """Six at once and one a moment later: one attempt, and each is told the same, in words of its own."""
    with scene() as (router, jump_host):
        jump_host.behave(**behaviour)
        way = Way(pinned(jump_host, banner=SHORT))
        with ThreadPoolExecutor(6) as pool:
            failures = list(pool.map(lambda _: attempt(router, way), range(6)))
        failures.append(attempt(router, way))
        for failure in failures:
            assert isinstance(failure, JumpHostUnreachable)
            assert failure.detail.startswith("bastion: ")
            assert type(failure.__cause__) is cause
        assert len({id(failure) for failure in failures}) == 7
        assert jump_host.stats.connections == (1 if jump_host.behaviour.mute else 0)
        assert (way.asked, way.reached, router.stats.sessions) == (0, 0, 0)


def test_the_next_moment_is_another_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is shared, and not kept."""
    monkeypatch.setattr(jump, "SAME_MOMENT_SECONDS", 0.0)
    with scene() as (router, jump_host):
        way = way_through(jump_host)
        jump_host.stop()
        assert isinstance(attempt(router, way), JumpHostUnreachable)
        jump_host.resume()
        assert collect(pinned(router), way).exit_status == 0


def test_who_knows_of_a_failure_tries_anew() -> None:
    """A jump host is tried again at its time, or when a person says so; whoever had begun before is told the same."""
    with scene() as (router, jump_host):
        way = way_through(jump_host)
        jump_host.stop()
        assert isinstance(attempt(router, way), JumpHostUnreachable)
        jump_host.resume()
        assert isinstance(attempt(router, way), JumpHostUnreachable)
        assert jump_host.stats.connections == 0
        assert collect(pinned(router), way.changed(failures=1)).exit_status == 0


def test_a_name_that_nobody_knows_is_the_jump_hosts_trouble() -> None:
    """Its own name is looked up here."""
    with scene() as (router, jump_host):
        failure = attempt(router, Way(replace(pinned(jump_host), host="x" * 64 + ".invalid")))
        assert isinstance(failure, JumpHostUnreachable)
        assert isinstance(failure.__cause__, NameUnresolved)


# --- a person must act ------------------------------------------------------------------------------------------------


def test_a_refused_login_is_offered_once_for_all_who_come() -> None:
    """Each repetition could be the one that locks the account (I7)."""
    with scene() as (router, jump_host):
        way = way_through(jump_host, login=Login("jump", "wrong"))
        with ThreadPoolExecutor(6) as pool:
            failures = list(pool.map(lambda _: attempt(router, way), range(6)))
        failures.append(attempt(router, way))
        for failure in failures:
            assert isinstance(failure, JumpHostBlocked)
            assert failure.detail == "bastion: it refused the login (password)"
            assert isinstance(failure.__cause__, AuthenticationFailed)
        assert len([event for event in jump_host.history if event.kind == "login_offered"]) == 1
        assert router.stats.sessions == 0


def test_a_jump_host_with_another_key_is_sent_no_login() -> None:
    """Its key is as good as a device's (I6), whatever admits it."""
    with scene() as (router, jump_host):
        way = way_through(jump_host)
        jump_host.change_key()
        failure = attempt(router, way)
        assert isinstance(failure, JumpHostBlocked)
        assert isinstance(failure.__cause__, HostKeyMismatch)
        assert way.admitted == [HostKey(jump_host.host_key_type, jump_host.host_key_blob)]
        assert way.asked == 0
        assert not [event for event in jump_host.history if event.kind == "login_offered"]
        assert (
            collect(pinned(router), way.changed(target=pinned(jump_host))).exit_status == 0
        )  # a person has accepted it


@pytest.mark.parametrize("refusal", [HostKeyMismatch("pinned A, offered B"), HostKeyUnapproved("offered B")], ids=repr)
@pytest.mark.parametrize("said", [True, False], ids=["as a jump host's", "as it is"])
def test_a_refused_key_of_a_jump_host_blocks_it(refusal: BackupflowError, said: bool) -> None:
    """What was met is its cause, whoever says that it is the jump host's."""

    def refuse(_: HostKey) -> None:
        if said:
            raise JumpHostBlocked(refusal.detail) from refusal
        raise refusal

    with scene() as (router, jump_host):
        way = way_through(jump_host, refuses=refuse)
        failure = attempt(router, way)
        assert isinstance(failure, JumpHostBlocked)
        assert failure.detail == f"bastion: {refusal.detail}"
        assert type(failure.__cause__) is type(refusal)
        assert way.asked == 0


@pytest.mark.parametrize("failure", [LoginSuspended("not now"), VaultUnavailable("sealed")], ids=repr)
def test_what_has_nothing_to_do_with_the_jump_host_passes_unchanged(failure: BackupflowError) -> None:
    """Our own servers are no jump host's fault."""

    def refuse(_: HostKey) -> None:
        raise failure

    with scene() as (router, jump_host):
        assert attempt(router, way_through(jump_host, refuses=refuse)) == failure


def test_what_one_session_lost_is_no_reason_for_the_next() -> None:
    """Its row may be gone: whoever waited for the same connection makes its own attempt."""
    begun, go_on = threading.Event(), threading.Event()

    def lose(_: HostKey) -> None:
        if not begun.is_set():
            begun.set()
            go_on.wait(20)
            raise LeaseLost

    with scene() as (router, jump_host), ThreadPoolExecutor(2) as pool:
        way = way_through(jump_host, refuses=lose)
        first = pool.submit(attempt, router, way)
        assert begun.wait(20)
        second = pool.submit(collect, pinned(router), way)
        go_on.set()
        assert isinstance(first.result(), LeaseLost)
        assert second.result().exit_status == 0


# --- it opens no channel ----------------------------------------------------------------------------------------------

REFUSALS: dict[str, tuple[type[BackupflowError], type[BackupflowError] | None, bool]] = {
    "prohibited": (JumpHostBlocked, CommandRejected, False),
    "shortage": (CollectorBusy, None, False),
    "nonsense": (JumpHostUnreachable, DeviceUnreachable, False),
    "silence": (DeviceUnreachable, None, True),
}


@pytest.mark.parametrize("refusing", REFUSALS)
def test_each_way_to_open_no_channel_has_its_name(refusing: str) -> None:
    """Who does not forward must be told to; who is silent about a device, and answers else, has not reached it."""
    expected, cause, reached = REFUSALS[refusing]
    with scene() as (router, jump_host):
        jump_host.behave(refusing=refusing)
        way = way_through(jump_host)
        with pytest.raises(expected) as failure:
            collect(pinned(router, connect=SHORT), way)
        assert "bastion" in failure.value.detail
        assert cause is None or isinstance(failure.value.__cause__, cause)
        assert way.reached == int(reached)
        assert "\x1b" not in str(failure.value)


@pytest.mark.parametrize(
    "before", ["through this connection", "refused through this connection", "at another time", "elsewhere meanwhile"]
)
def test_one_device_that_it_does_not_forward_to_is_no_reason_to_block_the_way_to_all(before: str) -> None:
    """Whoever has forwarded for anybody forwards: what it does not open is that device's failure, and it was passed."""
    with scene() as (router, jump_host):
        way = way_through(jump_host, passed=before == "at another time")
        if before == "through this connection":
            collect(pinned(router), way)
        elif before == "refused through this connection":
            router.behave(listening=False)
            assert isinstance(attempt(router, way), ConnectionRefused)
            router.behave(listening=True)
        elif before == "elsewhere meanwhile":
            jump_host.behave(refusing="shortage")
            assert isinstance(attempt(router, way), CollectorBusy)
            way = way.changed(passed=True)
        told = way.reached
        jump_host.behave(refusing="prohibited")
        failure = attempt(router, way)
        assert type(failure) is DeviceUnreachable
        assert failure.detail == "the jump host bastion does not forward to it (administratively prohibited)"
        assert way.reached == told + 1
        jump_host.behave(refusing="")
        assert collect(pinned(router), way).exit_status == 0
        assert jump_host.stats.connections == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Connection refused", ConnectionRefused),
        ("Name or service not known", NameUnresolved),
        ("No route to host", DeviceUnreachable),
        ("\x1b[2J<script> unknown\r\nhost", DeviceUnreachable),
        ("x" * 500 + "Connection refused", DeviceUnreachable),
    ],
    ids=["refused", "no name", "no route", "hostile", "too long"],
)
def test_a_device_that_a_jump_host_does_not_reach_is_the_devices_failure(
    words: str, expected: type[BackupflowError]
) -> None:
    """Of the jump host's words only known ones are read, and none is repeated; the jump host itself was passed."""
    with scene() as (router, jump_host):
        target, way = replace(pinned(router), host="127.0.0.1"), way_through(jump_host)
        router.behave(listening=False)
        jump_host.behave(words=words)
        with pytest.raises(expected) as failure:
            collect(target, way)
        assert way.reached == 1
        assert not set("\x1b<\r") & set(str(failure.value))


def test_a_name_of_a_device_is_looked_up_by_the_jump_host() -> None:
    """It may know what nobody knows here."""
    with Fleet([RouterSpec("r1")], jump_hosts=[JumpSpec("j1", behind={("r1.internal", 22): "r1"})]) as fleet:
        try:
            way = way_through(fleet.jump_hosts["j1"])
            known = replace(pinned(fleet["r1"]), host="r1.internal", port=22)
            assert collect(known, way).exit_status == 0
            with pytest.raises(NameUnresolved, match="bastion"):
                collect(replace(known, host="r2.internal"), way)
        finally:
            ways_of_process().close()


def test_a_channel_that_comes_too_late_is_closed() -> None:
    """Nobody waits for it any more, and at the jump host it would stay open."""
    with scene() as (router, jump_host):
        jump_host.behave(refusing="silence")
        way = way_through(jump_host)
        with pytest.raises(DeviceUnreachable, match="no answer within"):
            collect(pinned(router, connect=SHORT), way)
        jump_host.behave(refusing="")
        assert jump_host.wait_until(lambda counts: counts.channels == 1 and counts.channels_open == 0)
        assert collect(pinned(router), way).exit_status == 0
        assert jump_host.stats.connections == 1


def test_a_jump_host_that_sends_more_than_there_is_room_for_is_cut_off() -> None:
    """It would fill this process's memory."""
    channel, message = Forwarded(1), paramiko.Message()
    message.add_string(b"x" * (WINDOW + 1))
    message.rewind()
    with pytest.raises(paramiko.SSHException, match="room"):
        channel._feed(message)


# --- it goes while sessions are under way -----------------------------------------------------------------------------


def in_mid_export(
    router: SimulatedRouter, way: Way, then: Callable[[], None], target: Target | None = None
) -> BackupflowError:
    """What ends a session whose export stands still while something is done."""

    def served() -> bool:
        return any(event.kind == "command" for event in router.history)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(collect, target or pinned(router), way)
        until = time.monotonic() + 20
        while not served() and time.monotonic() < until:
            time.sleep(0.01)
        then()
        failure = running.exception(30)
    assert isinstance(failure, BackupflowError)
    return failure


def test_a_jump_host_that_is_killed_in_mid_export_is_the_jump_hosts_failure() -> None:
    """The device may be as well as ever: its export was not truncated by itself."""
    with scene(STALLING) as (router, jump_host):
        failure = in_mid_export(router, way_through(jump_host), jump_host.kill)
        assert isinstance(failure, JumpHostUnreachable)
        assert failure.detail.startswith("bastion: ")
        assert isinstance(failure.__cause__, DeviceUnreachable)


def test_a_half_open_jump_host_is_found_out_long_before_the_deadline() -> None:
    """It says nothing any more, and nothing ends: it is asked, and all sessions through it end."""
    with scene(STALLING) as (router, jump_host):
        failure = in_mid_export(router, way_through(jump_host), lambda: jump_host.behave(frozen=True))
        assert isinstance(failure, JumpHostUnreachable)
        assert isinstance(failure.__cause__, DeviceTimeout)
        assert "no answer within 1 s" in failure.detail


def test_a_connection_whose_own_thread_is_stuck_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that thread which would notice that nothing comes: nobody waits for it longer than for the jump host."""
    monkeypatch.setattr(hop, "JOIN_SECONDS", 0.2)
    release = threading.Event()

    def wait(_: pulse.Pulse) -> bool:
        release.wait(30)
        return True

    with scene(STALLING) as (router, jump_host):
        quick = pinned(router, command=timedelta(seconds=0.7))
        try:
            way = way_through(jump_host)
            failure = in_mid_export(router, way, lambda: monkeypatch.setattr(pulse.Pulse, "quiet", wait), quick)
        finally:
            release.set()
        assert isinstance(failure, JumpHostUnreachable)
        assert "no answer within 2 s" in failure.detail


def test_a_device_that_stalls_behind_a_good_jump_host_is_to_blame_itself() -> None:
    """The jump host is asked, and answers."""
    with scene(STALLING) as (router, jump_host):
        way = way_through(jump_host)
        with pytest.raises(DeviceTimeout, match="command"):
            collect(pinned(router, command=SHORT), way)
        assert jump_host.wait_idle()
        router.behave(stall_after=None, cut_after=50_000)
        with pytest.raises(OutputTruncated):
            collect(pinned(router), way)
        assert jump_host.stats.connections == 1


def test_a_device_whose_time_is_over_is_not_blamed_for_a_half_open_jump_host() -> None:
    """Its own time-out may come before it is noticed that the jump host is silent."""
    with scene(STALLING) as (router, jump_host):
        quick = pinned(router, command=timedelta(seconds=0.7))
        failure = in_mid_export(router, way_through(jump_host), lambda: jump_host.behave(frozen=True), quick)
        assert isinstance(failure, JumpHostUnreachable)


def test_a_login_during_which_the_jump_host_goes_was_not_refused() -> None:
    """A device that hangs up on a password is blocked; this one did not hang up."""
    with scene(Behaviour(login_delay=timedelta(seconds=20))) as (router, jump_host):
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(collect, pinned(router), way_through(jump_host))
            until = time.monotonic() + 20
            while not any(event.kind == "client_seen" for event in router.history) and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.2)  # so that the password has been sent
            jump_host.kill()
            failure = running.exception(30)
        assert isinstance(failure, JumpHostUnreachable)


def test_eight_sessions_over_a_half_open_jump_host_all_end() -> None:
    """None waits for its own deadline, two minutes away."""
    routers = [RouterSpec(f"r{number}", behaviour=STALLING) for number in range(8)]
    with Fleet(routers, jump_hosts=[JumpSpec("j1")]) as fleet:
        try:
            jump_host, way = fleet.jump_hosts["j1"], way_through(fleet.jump_hosts["j1"])
            with ThreadPoolExecutor(8) as pool:
                running = [pool.submit(collect, pinned(router), way) for router in fleet.values()]
                until = time.monotonic() + 20
                while sum(event.kind == "command" for event in fleet.history) < 8 and time.monotonic() < until:
                    time.sleep(0.01)
                jump_host.behave(frozen=True)
                failures = [future.exception(60) for future in running]
            assert {type(failure) for failure in failures} == {JumpHostUnreachable}
        finally:
            ways_of_process().close()


# --- the lease --------------------------------------------------------------------------------------------------------


def test_nobody_waits_for_a_jump_host_beyond_its_lease() -> None:
    """Neither who connects nor who waits for that; and it is nobody's fault but that of the time."""
    with scene() as (router, jump_host), ThreadPoolExecutor(2) as pool:
        jump_host.behave(mute=True)
        way = way_through(jump_host)
        soon = replace(pinned(router), not_after=time.monotonic() + 0.6)
        waiting = [pool.submit(collect, soon, way) for _ in range(2)]
        assert all(isinstance(future.exception(20), CollectorBusy | LeaseLost) for future in waiting)
        assert isinstance(waiting[0].exception(), CollectorBusy)
        assert jump_host.stats.connections == 1


def test_who_comes_without_time_does_not_knock() -> None:
    """Who waited for another's attempt until both were out of time: it was a second connection for nothing."""
    with scene() as (_, jump_host):
        with pytest.raises(CollectorBusy, match="no time was left"):
            hop.enter(way_through(jump_host).via, time.monotonic(), lambda _: False)
        assert jump_host.stats.connections == 0


def test_time_that_went_to_the_way_is_not_the_devices() -> None:
    """A session that its lease cuts short, since it came late to the device, counts for nobody."""
    with scene(STALLING) as (router, jump_host):
        way = way_through(jump_host)
        with session(pinned(router), way):
            pass
        with pytest.raises(CollectorBusy, match="took the time"):
            collect(replace(pinned(router), not_after=time.monotonic() + 0.8), way)


# --- nothing stays ----------------------------------------------------------------------------------------------------


def kept() -> tuple[int, list[str]]:
    """Descriptors and threads of this process, without those that the simulator's loop makes for itself."""
    for thread in threading.enumerate():
        if thread.name == "ssh-watchdog":
            thread.join(10)
    gc.collect()
    names = sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))
    return psutil.Process().num_fds(), names


def test_nothing_stays_open_whatever_happened(monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    """Good sessions and bad, eight at a time, a jump host that refuses and is killed: all is as it was before (I14)."""
    monkeypatch.setattr(jump, "SAME_MOMENT_SECONDS", 0.0)
    behaviours = [Behaviour(), Behaviour(refuse_login=True), Behaviour(cut_after=3000), Behaviour(listening=False)]
    routers = [RouterSpec(f"r{number}", behaviour=behaviour) for number, behaviour in enumerate(behaviours * 2)]
    spec = JumpSpec("j1")

    def ended(router: SimulatedRouter, way: Way) -> str:
        try:
            collect(pinned(router, connect=timedelta(seconds=1), banner=timedelta(seconds=1)), way)
        except BackupflowError as failure:
            return failure.code
        return "collected"

    def a_round(fleet: Fleet) -> None:
        jump_host, way = fleet.jump_hosts["j1"], way_through(fleet.jump_hosts["j1"])
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda router: ended(router, way), fleet.values())) == EXPECTED * 2
            jump_host.behave(refusing="prohibited")
            assert set(pool.map(lambda router: ended(router, way), fleet.values())) == {"device_unreachable"}
            jump_host.behave(refusing="")
            dying = [pool.submit(ended, router, way) for router in fleet.values()]
            jump_host.stop()
            assert all(future.result() in {*EXPECTED, "jump_host_unreachable"} for future in dying)
            assert ended(fleet["r0"], way) == "jump_host_unreachable"
            jump_host.resume()
            assert ended(fleet["r0"], way) == "collected"
        ways_of_process().close()
        assert fleet.wait_idle()
        assert jump_host.wait_until(lambda counts: counts.open == 0)

    with Fleet(routers, jump_hosts=[spec]) as fleet:
        a_round(fleet)
        before, memory = kept(), psutil.Process().memory_info().rss
        for _ in range(100 if size == "soak" else 4):
            a_round(fleet)
        assert kept() == before
        assert psutil.Process().memory_info().rss - memory < 32 * 1024 * 1024


EXPECTED = ["collected", "authentication_failed", "output_truncated", "connection_refused"]
