"""Sessions through jump hosts: what arrives, what they share, and how many there are at a time."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import paramiko
import pytest
from paramiko.common import cMSG_IGNORE

from backupflow.adapters.ssh import SshCollector, forwarding, hop, pulse
from backupflow.adapters.ssh import transport as our_transport
from backupflow.adapters.ssh.forwarding import ForwardingTransport
from backupflow.adapters.ssh.jump import ways_of_process
from backupflow.core.jump import CHANNELS
from backupflow.core.model import HostKey, Login
from backupflow.errors import (
    BackupflowError,
    CollectorBusy,
    HostKeyMismatch,
    HostKeyUnapproved,
    JumpHostBlocked,
    LeaseLost,
)
from backupflow.simulator import Behaviour, Fleet, JumpSpec, RouterSpec
from backupflow.simulator import Login as SimulatedLogin
from tests.integration.jumping import EXPORT, Way, collect, pinned, session, way_through

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


EVERY_BYTE = bytes(range(256)) * 400


@contextmanager
def fleet_behind(*specs: JumpSpec, routers: Iterable[RouterSpec] = (RouterSpec("r1"),)) -> Iterator[Fleet]:
    """Routers and jump hosts; at the end this process has no connection to them."""
    with Fleet(routers, jump_hosts=specs or [JumpSpec("j1")]) as fleet:
        try:
            yield fleet
        finally:
            ways_of_process().close()


def test_an_export_arrives_byte_for_byte_and_only_the_router_sees_its_login() -> None:
    """The jump host gets its own login and nothing else; it passes on what it cannot read."""
    spec = RouterSpec(
        "r1", logins=(SimulatedLogin("admin", "the router's own"),), behaviour=Behaviour(raw_export=EVERY_BYTE)
    )
    with fleet_behind(routers=[spec]) as fleet:
        jump_host, way = fleet.jump_hosts["j1"], way_through(fleet.jump_hosts["j1"])
        reply = collect(pinned(fleet["r1"]), way, Login("admin", "the router's own"))
        assert (reply.stdout, reply.stderr, reply.exit_status) == (EVERY_BYTE, b"", 0)
        assert (way.reached, way.asked) == (1, 1)
        assert jump_host.wait_idle()
        offered = [event.facts["offered"] for event in jump_host.history if event.kind == "login_offered"]
        assert offered == ["jump"]
        assert "the router's own" not in "".join(event.as_json() for event in jump_host.history)


def test_equal_addresses_behind_two_jump_hosts_are_two_routers() -> None:
    """10.0.0.1 is another router behind each; each is met with its own key, and answers with its own text."""
    routers = [RouterSpec(name, seed=1) for name in ("east", "west")]
    hops = [JumpSpec(f"to-{name}", behind={("10.0.0.1", 22): name}) for name in ("east", "west")]
    with fleet_behind(*hops, routers=routers) as fleet:
        for name in ("east", "west", "east"):
            at = replace(pinned(fleet[name]), host="10.0.0.1", port=22)
            collect(at, way_through(fleet.jump_hosts[f"to-{name}"]))
            assert fleet[name].wait_idle()
        assert [fleet[name].stats.exports for name in ("east", "west")] == [2, 1]
        wrong = replace(pinned(fleet["east"]), host="10.0.0.1", port=22)
        with pytest.raises(HostKeyMismatch):
            collect(wrong, way_through(fleet.jump_hosts["to-west"]))
        assert fleet["west"].stats.logins == 1


def test_a_changed_router_behind_a_jump_host_is_sent_no_login() -> None:
    """Its key is compared at this end, whatever stands between (I6)."""
    with fleet_behind() as fleet:
        target, way = pinned(fleet["r1"]), way_through(fleet.jump_hosts["j1"])
        fleet["r1"].change_key()

        def refuse(key: HostKey) -> None:
            assert key.blob == fleet["r1"].host_key_blob
            raise HostKeyMismatch("as admit says it")

        with (
            pytest.raises(HostKeyMismatch, match="as admit says it"),
            SshCollector().session(target, refuse, lambda: pytest.fail("the login was asked for"), way.via),
        ):
            pass
        assert way.reached == 1
        assert fleet["r1"].wait_idle()
        assert not [event for event in fleet["r1"].history if event.kind == "login_offered"]


def test_a_scan_goes_through_a_jump_host_too() -> None:
    """The key that a session would be shown; no login is begun at the device."""
    with fleet_behind() as fleet:
        target, way = replace(pinned(fleet["r1"]), pinned=None), way_through(fleet.jump_hosts["j1"])
        assert SshCollector().handshake(target, way.via).blob == fleet["r1"].host_key_blob
        assert fleet["r1"].wait_idle()
        assert not [event for event in fleet["r1"].history if event.kind in {"client_seen", "login_offered"}]


def test_many_sessions_share_one_connection_and_one_login() -> None:
    """Twenty sessions that begin at once: one connection, one attempt to log in, at most eight channels at a time."""
    routers = [RouterSpec(f"r{number}") for number in range(20)]
    with fleet_behind(routers=routers) as fleet:
        way = way_through(fleet.jump_hosts["j1"])
        with ThreadPoolExecutor(20) as pool:
            replies = list(pool.map(lambda name: collect(pinned(fleet[name]), way).stdout, fleet))
        assert len(set(replies)) == 20
        counts = fleet.jump_hosts["j1"].stats
        assert (counts.connections, counts.logins, counts.channels, way.asked) == (1, 1, 20, 1)
        assert counts.most_channels <= CHANNELS
        assert way.reached == 20


def test_the_ninth_session_waits_until_one_of_eight_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is seen at the jump host before; if no place comes free in time, nobody is to blame."""
    with fleet_behind(routers=[RouterSpec(f"r{number}") for number in range(CHANNELS + 1)]) as fleet:
        jump_host, way = fleet.jump_hosts["j1"], way_through(fleet.jump_hosts["j1"])
        *eight, ninth = fleet.values()
        with ExitStack() as open_sessions:
            first, *_ = [open_sessions.enter_context(session(pinned(router), way)) for router in eight]
            with monkeypatch.context() as impatient:
                impatient.setattr(hop, "PLACE_SECONDS", 0.2)
                with pytest.raises(CollectorBusy, match="8 channels"):
                    collect(pinned(ninth), way)
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(collect, pinned(ninth), way)
                first.run(EXPORT)
                assert not waiting.done()
                assert jump_host.stats.channels == CHANNELS
                open_sessions.close()
                assert waiting.result().exit_status == 0
        assert jump_host.stats.most_channels == CHANNELS


# --- the life of a connection ----------------------------------------------------------------------------------------


def test_a_connection_is_used_again_and_a_dead_one_replaced() -> None:
    """One that died while nobody used it says nothing of the jump host as it is now."""
    with fleet_behind() as fleet:
        jump_host, target = fleet.jump_hosts["j1"], pinned(fleet["r1"])
        way = way_through(jump_host)
        for _ in range(3):
            collect(target, way)
        assert jump_host.stats.connections == 1
        jump_host.kill()
        collect(target, way)
        assert jump_host.stats.connections == 2
        assert jump_host.wait_until(lambda counts: counts.open == 1)


def test_the_first_use_pins_the_key_and_the_next_uses_the_same_connection() -> None:
    """A jump host that had no pin has one now: that alone makes it no other."""
    with fleet_behind() as fleet:
        jump_host = fleet.jump_hosts["j1"]
        first = way_through(jump_host)
        first.target = replace(first.target, pinned=None)
        collect(pinned(fleet["r1"]), first)
        assert first.admitted == [HostKey(jump_host.host_key_type, jump_host.host_key_blob)]
        second = first.changed(target=pinned(jump_host))
        collect(pinned(fleet["r1"]), second)
        assert (jump_host.stats.connections, second.asked) == (1, 0)


@pytest.mark.parametrize(
    "refusal",
    [JumpHostBlocked("offered A"), HostKeyUnapproved("offered A"), HostKeyMismatch("expected B"), LeaseLost("gone")],
    ids=lambda refusal: type(refusal).__name__,
)
def test_a_key_without_a_pin_is_admitted_anew_on_a_connection_that_stands(refusal: BackupflowError) -> None:
    """Its pin may have been taken away since, and its trust made manual: then it is no way to anything (I6)."""

    def refuse(_: HostKey) -> None:
        raise refusal

    with fleet_behind() as fleet:
        jump_host, target = fleet.jump_hosts["j1"], pinned(fleet["r1"])
        first = way_through(jump_host)
        first.target = replace(first.target, pinned=None)
        collect(target, first)
        after = first.changed(refuses=refuse)
        expected = LeaseLost if isinstance(refusal, LeaseLost) else JumpHostBlocked
        with pytest.raises(expected, match=refusal.detail):
            collect(target, after)
        assert fleet["r1"].wait_idle()
        assert (len(after.admitted), after.asked, after.reached, fleet["r1"].stats.sessions) == (1, 0, 0, 1)
        admitted = first.changed()
        collect(target, admitted)
        assert admitted.admitted == first.admitted
        assert jump_host.stats.connections == 1
        collect(target, Way(pinned(jump_host), jump_host_id=first.jump_host_id))
        assert jump_host.wait_until(lambda counts: counts.open == 1)  # nobody is left on the old one


def test_a_connection_older_than_a_moment_is_none_for_a_jump_host_without_a_pin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who took the pin away wants the key that the jump host has now, and not the one that it had."""
    monkeypatch.setattr(hop, "FIRST_MOMENT_SECONDS", 0.0)
    with fleet_behind() as fleet:
        jump_host, target = fleet.jump_hosts["j1"], pinned(fleet["r1"])
        first = way_through(jump_host)
        first.target = replace(first.target, pinned=None)
        collect(target, first)
        jump_host.change_key()
        again = first.changed()
        collect(target, again)
        assert again.admitted == [HostKey(jump_host.host_key_type, jump_host.host_key_blob)] != first.admitted
        collect(target, again.changed(target=pinned(jump_host)))
        assert jump_host.stats.connections == 2


def test_many_first_sessions_share_one_connection_and_each_has_its_key_admitted() -> None:
    """Eight begin without a pin at once: one attempt to log in, and the key is let pass for each."""
    with fleet_behind(routers=[RouterSpec(f"r{number}") for number in range(8)]) as fleet:
        jump_host = fleet.jump_hosts["j1"]
        way = way_through(jump_host)
        way.target = replace(way.target, pinned=None)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda router: collect(pinned(router), way), fleet.values()))
        assert (jump_host.stats.connections, way.asked) == (1, 1)
        assert way.admitted == [HostKey(jump_host.host_key_type, jump_host.host_key_blob)] * 8


def test_another_accepted_key_is_another_connection() -> None:
    """One to a jump host with the key that was pinned before takes no new session, however well it works."""
    with fleet_behind() as fleet:
        jump_host, target = fleet.jump_hosts["j1"], pinned(fleet["r1"])
        way = way_through(jump_host)
        with session(target, way) as standing:
            jump_host.change_key()
            accepted = way.changed(target=pinned(jump_host))
            collect(target, accepted)
            assert (jump_host.stats.connections, accepted.asked) == (2, 1)
            assert accepted.admitted == [HostKey(jump_host.host_key_type, jump_host.host_key_blob)]
            assert standing.run(EXPORT).exit_status == 0
        assert jump_host.wait_until(lambda counts: counts.open == 1)
        unlike = way.changed(target=replace(way.target, pinned=HostKey("ssh-ed25519", b"another")))
        with pytest.raises(JumpHostBlocked):
            collect(target, unlike)
        assert (unlike.asked, unlike.reached) == (0, 0)


def test_another_login_is_another_connection_and_the_old_one_ends_with_its_last_session() -> None:
    """Who was let in with a login that is not its login any more finishes what is under way, and nothing else."""
    with fleet_behind() as fleet:
        jump_host, target = fleet.jump_hosts["j1"], pinned(fleet["r1"])
        way = way_through(jump_host)
        with session(target, way) as standing:
            other = Way(way.target, jump_host_id=way.jump_host_id)
            collect(target, other)
            assert jump_host.stats.open == 2
            assert standing.run(EXPORT).exit_status == 0
        assert jump_host.wait_until(lambda counts: counts.open == 1)
        collect(target, other)
        assert jump_host.stats.connections == 2


def test_a_connection_that_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some minutes, with its thread; the next session makes another."""
    monkeypatch.setattr(pulse, "IDLE_SECONDS", 0.3)
    with fleet_behind() as fleet:
        jump_host, way = fleet.jump_hosts["j1"], way_through(fleet.jump_hosts["j1"])
        collect(pinned(fleet["r1"]), way)
        assert jump_host.wait_until(lambda counts: counts.open == 0)
        for thread in threading.enumerate():
            if isinstance(thread, paramiko.Transport):
                thread.join(10)
        assert not [thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport)]
        collect(pinned(fleet["r1"]), way)
        assert jump_host.stats.connections == 2


def test_an_old_connection_is_replaced_though_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a key that changed, or a login that is not taken any more, is noticed."""
    monkeypatch.setattr(hop, "LONGEST_LIFE_SECONDS", 0.0)
    with fleet_behind() as fleet:
        for _ in range(2):
            collect(pinned(fleet["r1"]), way_through(fleet.jump_hosts["j1"]))
        assert fleet.jump_hosts["j1"].stats.connections == 2
        assert fleet.jump_hosts["j1"].wait_until(lambda counts: counts.open == 0)


def test_an_idle_connection_is_asked_whether_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall does not forget it, and a half-open one is ended without any session that would meet it."""
    monkeypatch.setattr(pulse, "ASK_IDLE_SECONDS", 0.1)
    monkeypatch.setattr(pulse, "ANSWER_SECONDS", 0.5)
    with fleet_behind() as fleet:
        jump_host, way = fleet.jump_hosts["j1"], way_through(fleet.jump_hosts["j1"])
        collect(pinned(fleet["r1"]), way)
        (standing,) = (thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport))
        standing.join(1.5)
        assert standing.is_alive()  # it was asked some ten times, and answered
        jump_host.behave(frozen=True)
        standing.join(10)
        assert not standing.is_alive()
        jump_host.behave(frozen=False)
        collect(pinned(fleet["r1"]), way)


@pytest.mark.parametrize("who", ["jump host", "we"])
def test_new_keys_in_the_middle_of_sessions_break_nothing(monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    """A connection that lives long exchanges keys now and then, while channels open, send and close."""
    spec = JumpSpec("j1", rekey_bytes=200_000 if who == "jump host" else None)
    if who == "we":
        monkeypatch.setattr(our_transport._Packets, "REKEY_BYTES", 200_000)
    routers = [RouterSpec(f"r{number}", behaviour=Behaviour(export_size=300_000)) for number in range(8)]
    with fleet_behind(spec, routers=routers) as fleet:
        way = way_through(fleet.jump_hosts["j1"])
        with ThreadPoolExecutor(8) as pool:
            for _ in range(2):
                found = list(pool.map(lambda name: len(collect(pinned(fleet[name]), way).stdout), fleet))
                assert found == [300_000] * 8
        assert fleet.jump_hosts["j1"].stats.connections == 1


def test_a_connections_own_thread_does_not_wait_for_its_own_key_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has to answer when a channel is closed, also when it has just asked for new keys: both ends would wait."""
    monkeypatch.setattr(our_transport._Packets, "REKEY_BYTES", 200_000)
    monkeypatch.setattr(pulse, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(forwarding, "EXCHANGE_SECONDS", 3.0)
    monkeypatch.setattr(hop, "JOIN_SECONDS", 0.2)
    began, told = ForwardingTransport._send_kex_init, list[int]()

    def begin(connection: ForwardingTransport) -> None:
        began(connection)
        if connection.initial_kex_done:
            message = paramiko.Message()
            message.add_byte(cMSG_IGNORE)
            message.add_string("as the answer to a channel that is closed")
            connection._send_user_message(message)
            told.append(1)

    monkeypatch.setattr(ForwardingTransport, "_send_kex_init", begin)
    with fleet_behind(routers=[RouterSpec("r1", behaviour=Behaviour(export_size=900_000))]) as fleet:
        target = pinned(fleet["r1"], command=timedelta(seconds=5))
        assert len(collect(target, way_through(fleet.jump_hosts["j1"])).stdout) == 900_000
        assert told


def test_another_process_makes_a_connection_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number: two processes on one connection would garble it, and a forked child has none of its threads."""
    with fleet_behind() as fleet:
        target, way = pinned(fleet["r1"]), way_through(fleet.jump_hosts["j1"])
        collect(target, way)
        number = os.getpid() + 1
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: number)
            collect(target, way)
            assert fleet.jump_hosts["j1"].stats.connections == 2
            ways_of_process().close()
        collect(target, way)
        assert fleet.jump_hosts["j1"].stats.connections == 2
