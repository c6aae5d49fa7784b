"""Through Debian's real sshd as a jump host, run as root or as an ordinary user."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.ssh import SshCollector, pulse
from backupflow.adapters.ssh.jump import ways_of_process
from backupflow.core.model import HostKey, Login, Target, Timeouts
from backupflow.errors import (
    AuthenticationFailed,
    BackupflowError,
    CommandRejected,
    ConnectionRefused,
    DeviceTimeout,
    DeviceUnreachable,
    JumpHostBlocked,
    JumpHostUnreachable,
    NameUnresolved,
)
from backupflow.simulator import Behaviour, Fleet, RouterSpec
from tests.acceptance.openssh import OpenSshServer, program, serving
from tests.acceptance.pages import sshd_block
from tests.integration.jumping import TO_ROUTER, Way, collect, pinned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BY_KEY = ("publickey",)
STALLING = Behaviour(export_size=100_000, stall_after=50_000)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "jump-hosts.md"
EVERY_BYTE = bytes(range(256)) * 10_000


@pytest.fixture(scope="module")
def running() -> Iterator[OpenSshServer]:
    """A server that lets in whoever runs the tests, by key; sessions are answered by a script, forwarding is free."""
    with serving(pwd.getpwuid(os.geteuid()).pw_name, "", methods=BY_KEY) as server:
        yield server


@pytest.fixture
def sshd(running: OpenSshServer) -> Iterator[OpenSshServer]:
    """The same, started anew, and without connections of this process's afterwards."""
    running.start(methods=BY_KEY)
    try:
        yield running
    finally:
        ways_of_process().close()


def way_through(server: OpenSshServer) -> Way:
    """A way through it, by its key."""
    login = Login(server.user, private_key=server.key_path.read_text("ascii"), passphrase=server.passphrase)
    target = Target("127.0.0.1", server.port, HostKey(*server.host_key), legacy_ssh=False, timeouts=Timeouts())
    return Way(target, login)


def test_exports_arrive_byte_for_byte_over_one_connection(sshd: OpenSshServer) -> None:
    """Eight at a time, 2.5 MB each, while sshd asks for new keys; it sees one login."""
    sshd.start(methods=BY_KEY, more="RekeyLimit 1M\n")
    routers = [RouterSpec(f"r{number}", behaviour=Behaviour(raw_export=EVERY_BYTE)) for number in range(8)]
    with Fleet(routers) as fleet, ThreadPoolExecutor(8) as pool:
        way = way_through(sshd)
        for reply in pool.map(lambda router: collect(pinned(router), way), fleet.values()):
            assert reply.stdout == EVERY_BYTE
        assert sshd.log.count("Connection from") == sshd.log.count("Accepted publickey") == 1
        assert (way.asked, way.reached) == (1, 8)
        ways_of_process().close()
        assert fleet.wait_idle()


@pytest.mark.parametrize(
    ("more", "cause"),
    [("AllowTcpForwarding no\n", CommandRejected), ("PermitOpen 192.0.2.1:22\n", CommandRejected)],
    ids=["AllowTcpForwarding", "PermitOpen"],
)
def test_a_server_that_does_not_forward_must_be_told_to(
    sshd: OpenSshServer, more: str, cause: type[BackupflowError]
) -> None:
    """Its words are `administratively prohibited`."""
    sshd.start(methods=BY_KEY, more=more)
    with Fleet([RouterSpec("r1")]) as fleet:
        way = way_through(sshd)
        with pytest.raises(JumpHostBlocked, match="forwards no connections") as failure:
            collect(pinned(fleet["r1"]), way)
        assert isinstance(failure.value.__cause__, cause)
        assert (way.reached, fleet["r1"].stats.sessions) == (0, 0)


def test_a_server_that_forwards_to_one_device_alone_is_the_others_failure(sshd: OpenSshServer) -> None:
    """`PermitOpen` names the first; that one is collected before and after."""
    with Fleet([RouterSpec("r1"), RouterSpec("r2")]) as fleet:
        sshd.start(methods=BY_KEY, more=f"PermitOpen 127.0.0.1:{fleet['r1'].port}\n")
        way = way_through(sshd)
        assert collect(pinned(fleet["r1"]), way).exit_status == 0
        with pytest.raises(DeviceUnreachable, match=r"does not forward to it \(administratively prohibited\)"):
            collect(pinned(fleet["r2"]), way)
        assert collect(pinned(fleet["r1"]), way).exit_status == 0
        assert (way.reached, fleet["r2"].stats.sessions) == (3, 0)


def test_sshd_understands_what_the_page_has_put_into_its_configuration(sshd: OpenSshServer) -> None:
    """Word for word, with the other way to say which routers, too: else it would not start again."""
    page = PAGE.read_text("utf-8")
    block, other = sshd_block(page), re.findall(r"`(PermitOpen [^`]*:22)`", page)
    assert len(other) == 1
    for text in (block, re.sub("PermitOpen .*", other[0], block)):
        config = sshd.folder / "page_config"
        config.write_text((sshd.folder / "config").read_text() + text)
        said = subprocess.run(
            [program("sshd"), "-t", "-f", str(config)], capture_output=True, text=True, check=False, timeout=20
        )
        assert (said.returncode, said.stdout, said.stderr) == (0, "", ""), text


def test_the_user_of_the_page_reaches_routers_and_nothing_else(sshd: OpenSshServer) -> None:
    """By what the page says, of this user and of a router's port: another port is not forwarded to, no command runs."""
    with Fleet([RouterSpec("r1"), RouterSpec("r2")]) as fleet:
        block = sshd_block(PAGE.read_text("utf-8")).replace("hop", sshd.user).replace(":22", f":{fleet['r1'].port}")
        sshd.start(methods=BY_KEY, more=block)
        way = way_through(sshd)
        assert collect(pinned(fleet["r1"]), way).exit_status == 0
        with pytest.raises(DeviceUnreachable, match="does not forward to it"):
            collect(pinned(fleet["r2"]), way)
        with SshCollector().session(way.target, lambda _: None, lambda: way.login) as session:
            reply = session.run("/export")
        assert (reply.stdout, reply.exit_status) == (b"", 1)


def test_what_it_says_of_devices_that_it_does_not_reach_is_understood(sshd: OpenSshServer) -> None:
    """A port that is closed, and a name that nobody knows; the server itself was passed each time."""
    with Fleet([RouterSpec("r1", behaviour=Behaviour(listening=False))]) as fleet:
        way, target = way_through(sshd), pinned(fleet["r1"])
        with pytest.raises(ConnectionRefused, match="bastion"):
            collect(target, way)
        with pytest.raises(NameUnresolved, match="bastion"):
            collect(replace(target, host="no-such-router.invalid"), way)
        assert way.reached == 2
        assert sshd.log.count("Connection from") == 1


def test_a_login_that_it_refuses_blocks_it(sshd: OpenSshServer) -> None:
    """One attempt, as at a device."""
    with Fleet([RouterSpec("r1")]) as fleet:
        way = way_through(sshd)
        wrong = way.changed(login=Login(sshd.user, private_key=(sshd.folder / "host_key").read_text("ascii")))
        for _ in range(2):
            with pytest.raises(JumpHostBlocked, match="refused the login") as failure:
                collect(pinned(fleet["r1"]), wrong)
            assert isinstance(failure.value.__cause__, AuthenticationFailed)
        assert sshd.logs("Too many authentication failures")
        assert sshd.log.count("Failed publickey") == 1


def killed(server: OpenSshServer) -> None:
    """Its process is gone, as by `kill -9`."""
    for process in server.sessions():
        process.kill()


def stopped(server: OpenSshServer) -> None:
    """Its process stands still, and the connection with it."""
    for process in server.sessions():
        process.suspend()


@pytest.mark.parametrize(
    ("act", "cause"), [(killed, DeviceUnreachable), (stopped, DeviceTimeout)], ids=["killed", "half-open"]
)
def test_one_that_goes_in_mid_export_is_to_blame_itself(
    sshd: OpenSshServer,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[OpenSshServer], None],
    cause: type[BackupflowError],
) -> None:
    """And not the device, whose export was cut."""
    monkeypatch.setattr(pulse, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(pulse, "ANSWER_SECONDS", 1.0)
    with Fleet([RouterSpec("r1", behaviour=STALLING)]) as fleet, ThreadPoolExecutor(1) as pool:
        running = pool.submit(collect, pinned(fleet["r1"], command=timedelta(seconds=60)), way_through(sshd), TO_ROUTER)
        until = time.monotonic() + 20
        while not any(event.kind == "command" for event in fleet.history) and time.monotonic() < until:
            time.sleep(0.01)
        act(sshd)
        try:
            failure = running.exception(40)
        finally:
            for process in sshd.sessions():
                process.resume()
        assert isinstance(failure, JumpHostUnreachable)
        assert isinstance(failure.__cause__, cause)
