"""Simulated routers as a real SSH client (paramiko) meets them, behaviour by behaviour."""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import paramiko
import pytest

from backupflow.core.driver import Complete
from backupflow.core.model import RawConfig
from backupflow.drivers.routeros.driver import RouterOS
from backupflow.errors import InputInvalid, NotFound
from backupflow.simulator import Behaviour, Fleet, HostKeyType, Login, RouterSpec, SimulatedRouter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USER, PASSWORD = "backup", "correct horse"
CLIENT_KEY = paramiko.RSAKey.generate(2048)
LOGINS = (Login(USER, PASSWORD, (f"ssh-rsa {CLIENT_KEY.get_base64()}",)),)
SHORT = 0.3  # seconds that a client waits for what never comes
WINDOW = 1 << 22


@pytest.fixture(autouse=True)
def quiet_client() -> None:
    """Paramiko logs the failures that these tests cause."""
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """One fleet for all tests of this module; each test takes routers of its own."""
    specs = [RouterSpec(f"r{number:03}", seed=5, logins=LOGINS) for number in range(1, 61)]
    six = [RouterSpec(f"six{number}", seed=5, version="6.49.7", logins=LOGINS) for number in (1, 2)]
    old = RouterSpec("old", version="6.45.1", legacy=True, logins=LOGINS)
    kinds = [
        RouterSpec("plain", logins=LOGINS),
        RouterSpec("rsa", host_key_type="rsa", logins=LOGINS),
        RouterSpec("ecdsa", host_key_type="ecdsa", logins=LOGINS),
    ]
    with Fleet([*specs, *six, old, *kinds]) as fleet:
        yield fleet


@pytest.fixture
def router(fleet: Fleet) -> SimulatedRouter:
    """Give a router that no other test has touched."""
    return next(router for router in fleet.values() if router.name.startswith("r0") and not router.history)


@dataclass
class Said:
    """What a command answered."""

    out: bytes
    err: bytes
    status: int


def connected(router: SimulatedRouter, disabled: dict[str, list[str]] | None = None) -> paramiko.Transport:
    """Open a transport after the key exchange, with the host key of this router."""
    transport = paramiko.Transport((router.host, router.port), disabled_algorithms=disabled)
    try:
        transport.start_client(timeout=10)
    except BaseException:
        transport.close()
        raise
    return transport


def ask(router: SimulatedRouter, command: str = "/export show-sensitive", timeout: float = 10) -> Said:
    """Log in by password and run one command to its end."""
    with closing(connected(router)) as transport:
        transport.auth_password(USER, PASSWORD)
        said = told(transport, command, timeout)
    assert router.wait_idle()
    return said


def told(transport: paramiko.Transport, command: str, timeout: float = 10) -> Said:
    """Run one command and read both streams."""
    channel = transport.open_session(window_size=WINDOW)
    channel.settimeout(timeout)
    channel.exec_command(command)
    out = b"".join(iter(lambda: channel.recv(65_536), b""))
    err = b"".join(iter(lambda: channel.recv_stderr(65_536), b""))
    return Said(out, err, channel.recv_exit_status())


def facts(router: SimulatedRouter, kind: str) -> list[dict[str, Any]]:
    """The facts of the events of one kind."""
    return [dict(event.facts) for event in router.history if event.kind == kind]


def canonical(export: bytes) -> bytes:
    """An export without the header's date and the device comments: our own reading, not the simulator's."""
    rows = export.split(b"\r\n")
    first = next(number for number, row in enumerate(rows) if row.startswith(b"/"))
    kept = [*rows[:first], *(row for row in rows[first:] if not row.startswith(b"#"))]
    kept[0] = re.sub(rb"^# .* by ", b"# by ", kept[0])
    return b"\r\n".join(kept)


def test_an_export_is_the_routers_text_and_the_history_tells_it(router: SimulatedRouter) -> None:
    """What the client read, the text that the router has, and the logged digests agree."""
    said = ask(router)
    (served,) = facts(router, "export_served")
    assert canonical(said.out) == router.text()
    assert (said.status, said.err) == (0, b"")
    assert served["digest"] == hashlib.sha256(router.text()).hexdigest()
    assert served["sent_digest"] == hashlib.sha256(said.out).hexdigest()
    assert (served["complete"], served["bytes_sent"], served["revision"]) == (True, len(said.out), 0)
    kinds = [event.kind for event in router.history]
    before = ["session_opened", "client_seen", "login_offered", "logged_in", "command", "export_served"]
    assert kinds == [*before, "channel_closed", "session_closed"]
    assert facts(router, "client_seen") == [{"version": f"SSH-2.0-paramiko_{paramiko.__version__}"}]


def test_the_banner_is_that_of_routeros(router: SimulatedRouter) -> None:
    """The version string comes first, before the client said anything."""
    with socket.create_connection((router.host, router.port), timeout=10) as connection:
        assert connection.recv(64).startswith(b"SSH-2.0-ROSSSH\r\n")


@pytest.mark.parametrize(
    ("name", "key_type"), [("plain", "ssh-ed25519"), ("rsa", "ssh-rsa"), ("ecdsa", "ecdsa-sha2-nistp256")]
)
def test_host_keys_are_what_the_router_says_they_are(fleet: Fleet, name: str, key_type: str) -> None:
    """Blob, type and fingerprint equal what a client is shown."""
    with closing(connected(fleet[name])) as transport:
        key = transport.get_remote_server_key()
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    assert key.asbytes() == fleet[name].host_key_blob
    assert key.get_name() == key_type == fleet[name].host_key_type
    assert fleet[name].fingerprint == f"SHA256:{digest}"


def test_a_login_by_keyboard_interactive(router: SimulatedRouter) -> None:
    """The one question is answered with the password."""
    router.behave(login_methods=["keyboard-interactive"])
    with closing(connected(router)) as transport:
        transport.auth_interactive(USER, lambda _title, _text, asked: [PASSWORD for _ in asked])
        assert told(transport, ":put in").out == b"in\r\n"
    offered = {"method": "keyboard-interactive", "username": USER, "offered": PASSWORD, "accepted": True}
    assert facts(router, "login_offered") == [offered]


def test_a_login_by_public_key(router: SimulatedRouter) -> None:
    """The known key gets in, another does not; both are logged by fingerprint."""
    with closing(connected(router)) as transport:
        with pytest.raises(paramiko.AuthenticationException):
            transport.auth_publickey(USER, paramiko.RSAKey.generate(2048))
        transport.auth_publickey(USER, CLIENT_KEY)
        assert told(transport, ":put in").out == b"in\r\n"
    assert [offer["accepted"] for offer in facts(router, "login_offered")] == [False, True]
    assert facts(router, "login_offered")[1]["offered"] == CLIENT_KEY.fingerprint


def test_a_client_may_ask_first_which_methods_there_are(router: SimulatedRouter) -> None:
    """The query `none` and a login on one connection, each with its own service request: OpenSSH admits that too."""
    router.behave(login_methods=["password"])
    with closing(connected(router)) as transport:
        with pytest.raises(paramiko.BadAuthenticationType) as refused:
            transport.auth_none(USER)
        assert refused.value.allowed_types == ["password"]
        transport.auth_password(USER, PASSWORD)
        assert told(transport, ":put in").out == b"in\r\n"
    assert len(facts(router, "login_offered")) == 1


def test_a_refused_login_is_logged_with_what_was_offered(router: SimulatedRouter) -> None:
    """A wrong password, and the right one while the router refuses all, get nobody in."""
    for password, refusing in (("wrong", False), (PASSWORD, True)):
        router.behave(refuse_login=refusing)
        with closing(connected(router)) as transport, pytest.raises(paramiko.AuthenticationException):
            transport.auth_password(USER, password, fallback=False)
    offers = facts(router, "login_offered")
    assert [(offer["offered"], offer["accepted"]) for offer in offers] == [("wrong", False), (PASSWORD, False)]
    assert (router.stats.sessions, router.stats.logins) == (2, 0)


def test_a_client_that_leaves_after_the_key_exchange_has_offered_nothing(router: SimulatedRouter) -> None:
    """So a test of the pin check can trust an empty list."""
    connected(router).close()
    assert router.wait_idle()
    assert [event.kind for event in router.history] == ["session_opened", "session_closed"]


@pytest.mark.parametrize("key_type", [None, "ecdsa", "rsa"])
def test_a_changed_key_is_offered_on_the_same_port(router: SimulatedRouter, key_type: HostKeyType | None) -> None:
    """Of the same or of another type; the change is in the history."""
    before, port = router.host_key_blob, router.port
    told_fingerprint = router.change_key(key_type)
    with closing(connected(router)) as transport:
        shown = transport.get_remote_server_key().asbytes()
    assert shown == router.host_key_blob != before
    assert router.port == port
    assert facts(router, "key_changed")[0]["fingerprint"] == told_fingerprint == router.fingerprint


def test_version_6_refuses_show_sensitive_on_stdout(fleet: Fleet) -> None:
    """With status 0; in the same session the plain export shows the secrets."""
    with closing(connected(fleet["six1"])) as transport:
        transport.auth_password(USER, PASSWORD)
        refused = told(transport, "/export show-sensitive")
        assert refused == Said(b"expected end of command (line 1 column 9)\r\n", b"", 0)
        assert b"wpa2-pre-shared-key=" in told(transport, "/export").out
        assert b"wpa2-pre-shared-key=" not in told(transport, "/export hide-sensitive").out


def test_version_7_hides_secrets_unless_asked(router: SimulatedRouter) -> None:
    """And `:put` may follow as a sign that the export is whole."""
    assert b"security.passphrase=" not in ask(router, "/export").out
    assert b"security.passphrase=" in ask(router).out
    assert ask(router, '/export; :put "all of it"').out.endswith(b"\r\nall of it\r\n")
    assert [served["sensitive"] for served in facts(router, "export_served")] == [False, True, False]


def test_a_legacy_router_speaks_sha1_only(fleet: Fleet) -> None:
    """Paramiko 4 reaches it, and does not once SHA-1 is off."""
    assert canonical(ask(fleet["old"], "/export").out) == fleet["old"].text()
    with closing(connected(fleet["old"])) as transport:
        assert transport.host_key_type == "ssh-rsa"
        assert getattr(transport, "remote_mac") == "hmac-sha1"  # noqa: B009 - the stubs lack it
    for kind, name in (("keys", "ssh-rsa"), ("kex", "diffie-hellman-group14-sha1"), ("macs", "hmac-sha1")):
        with pytest.raises(paramiko.SSHException):
            connected(fleet["old"], disabled={kind: [name]})


def test_a_modern_router_offers_no_sha1(router: SimulatedRouter, fleet: Fleet) -> None:
    """Not even for its RSA key."""
    sha1 = {"keys": ["ssh-rsa"], "kex": ["diffie-hellman-group14-sha1"], "macs": ["hmac-sha1"]}
    for one in (router, fleet["rsa"]):
        connected(one, disabled=sha1).close()
    with closing(paramiko.Transport((fleet["rsa"].host, fleet["rsa"].port))) as transport:
        transport.get_security_options().key_types = ("ssh-rsa",)
        with pytest.raises(paramiko.SSHException):
            transport.start_client(timeout=10)


def test_a_router_that_is_mute_before_the_banner(router: SimulatedRouter) -> None:
    """The connection opens and nothing comes; it is counted as long as the client holds it."""
    router.behave(mute="banner")
    with socket.create_connection((router.host, router.port), timeout=SHORT) as connection:
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert router.stats.open == 1
    assert router.wait_idle()


def test_a_router_that_is_mute_after_the_handshake(router: SimulatedRouter) -> None:
    """The key is shown, the login never answered, no password logged; nothing is left when the client goes."""
    router.behave(mute="handshake")
    with closing(connected(router)) as transport:
        transport.auth_timeout = SHORT
        with pytest.raises(paramiko.AuthenticationException):
            transport.auth_password(USER, PASSWORD)
    assert router.wait_idle()
    assert facts(router, "login_offered") == []


def test_a_router_that_is_mute_after_the_command(router: SimulatedRouter) -> None:
    """The channel opens, the command is taken, and nothing comes."""
    router.behave(mute="command")
    with pytest.raises(TimeoutError):
        ask(router, timeout=SHORT)
    assert facts(router, "command") == [{"text": "/export show-sensitive"}]
    assert router.wait_idle()


def test_an_export_that_stalls(router: SimulatedRouter) -> None:
    """So many bytes come, then none, while the connection stays."""
    router.behave(stall_after=1000)
    with closing(connected(router)) as transport:
        transport.auth_password(USER, PASSWORD)
        channel = transport.open_session()
        channel.settimeout(SHORT)
        channel.exec_command("/export")
        read = b""
        while len(read) < 1000:
            read += channel.recv(65_536)
        with pytest.raises(TimeoutError):
            channel.recv(1)
        assert len(read) == 1000
        assert not channel.closed
    assert facts(router, "export_served")[0]["complete"] is False


@pytest.mark.parametrize(("manner", "status"), [("tcp", -1), ("channel", 0)])
def test_an_export_that_is_cut(router: SimulatedRouter, manner: str, status: int) -> None:
    """Exactly so many bytes arrive, in mid-line; the connection drops, or all looks as if it were whole."""
    router.behave(flapping=0)
    end = ask(router).out.index(b"chain=forward") + 3
    router.behave(cut_after=end, cut_manner=manner)
    said = ask(router)
    assert len(said.out) == end
    assert said.out.endswith(b"cha")
    assert said.status == status
    served = facts(router, "export_served")[-1]
    assert (served["complete"], served["bytes_sent"]) == (False, end)


def test_a_slow_answer_is_whole_and_comes_in_drips(router: SimulatedRouter) -> None:
    """No drip is greater than a tenth of the bytes per second."""
    router.behave(raw_export=b"x" * 400, bytes_per_second=1000, answer_delay=0.01, banner_delay=0.01, login_delay=0.01)
    with closing(connected(router)) as transport:
        transport.auth_password(USER, PASSWORD)
        channel = transport.open_session()
        channel.exec_command("/export")
        drips = list(iter(lambda: channel.recv(100), b""))
    assert b"".join(drips) == b"x" * 400
    assert len(drips) >= 4


def test_a_client_that_gives_up_before_a_late_banner_is_no_session_any_more(
    fleet: Fleet, router: SimulatedRouter
) -> None:
    """Else the most sessions at once would be counted wrongly."""
    router.behave(banner_delay=30)
    with socket.create_connection((router.host, router.port)):
        assert fleet.log.wait_until(lambda: bool(facts(router, "session_opened")), 10)
    assert router.wait_idle()
    assert (router.stats.sessions, router.stats.open) == (1, 0)


@pytest.mark.parametrize(("given", "seen"), [(0, 0), (7, 7), (None, -1)])
def test_the_exit_status_is_the_wanted_one(router: SimulatedRouter, given: int | None, seen: int) -> None:
    """Or none at all, and something on stderr."""
    router.behave(exit_status=given, stderr="warned\r\n")
    said = ask(router)
    assert (said.status, said.err) == (seen, b"warned\r\n")
    assert canonical(said.out) == router.text()


def test_an_export_may_be_any_bytes(router: SimulatedRouter) -> None:
    """Escapes, eight-bit and zero bytes arrive as they are, and the history says that it was not the router's text."""
    raw = bytes(range(256)) * 40
    router.behave(raw_export=raw)
    assert ask(router).out == raw
    assert facts(router, "export_served")[0]["exact"] is False


@pytest.mark.parametrize("size", [0, 100, 3_000_000])
def test_an_export_may_have_any_size(router: SimulatedRouter, size: int) -> None:
    """Cut off or filled up to the byte."""
    router.behave(export_size=size)
    assert len(ask(router).out) == size


def test_a_small_window_gets_all_of_a_great_export(router: SimulatedRouter) -> None:
    """The simulator waits for the client's window and loses nothing at the end."""
    router.behave(export_size=500_000)
    with closing(connected(router)) as transport:
        transport.auth_password(USER, PASSWORD)
        channel = transport.open_session(window_size=4096, max_packet_size=4096)
        channel.exec_command("/export")
        assert sum(map(len, iter(lambda: channel.recv(1000), b""))) == 500_000


def test_what_a_client_did_not_read_is_not_told_as_sent(fleet: Fleet, router: SimulatedRouter) -> None:
    """Nothing goes beyond the client's window, and the history says how far the export came."""
    router.behave(export_size=5_000_000)
    with closing(connected(router)) as transport:
        transport.auth_password(USER, PASSWORD)
        channel = transport.open_session(window_size=65_536)
        channel.exec_command("/export")
        assert channel.recv(10)
    assert fleet.log.wait_until(lambda: bool(facts(router, "export_served")), 10)
    (served,) = facts(router, "export_served")
    assert served["complete"] is False
    assert served["bytes_sent"] <= 65_536


def test_refused_connections_and_back(router: SimulatedRouter) -> None:
    """On the same port."""
    port = router.port
    router.behave(listening=False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((router.host, port))
    router.behave(listening=True)
    assert router.port == port
    assert ask(router, ":put back").out == b"back\r\n"


def test_an_edit_is_in_the_next_export_and_an_earlier_text_can_be_had_again(router: SimulatedRouter) -> None:
    """One item differs; the revision in the history is that of the edit."""
    first = canonical(ask(router).out)
    edit = router.edit("address")
    second = canonical(ask(router).out)
    assert first == router.text(0)
    assert second == router.text(1) == router.text()
    assert first != second
    assert [served["revision"] for served in facts(router, "export_served")] == [0, edit.revision] == [0, 1]
    router.edit("revert")
    assert canonical(ask(router).out) == first


def test_two_exports_differ_by_noise_only(router: SimulatedRouter) -> None:
    """Device comments come and go while the digest stays."""
    router.behave(flapping=0.5)
    exports = [ask(router).out for _ in range(4)]
    assert len({export.split(b"\r\n", 1)[1] for export in exports}) > 1
    assert {canonical(export) for export in exports} == {router.text()}
    assert len({served["digest"] for served in facts(router, "export_served")}) == 1


@pytest.mark.parametrize("version", ["6.49.7", "7.9.2", "7.19.4"])
def test_the_driver_reads_a_simulated_export_as_it_reads_a_real_one(version: str) -> None:
    """Complete, the same for all noise, another after each edit: else the simulator would test nothing."""
    driver = RouterOS()
    with Fleet([RouterSpec("r", version=version, logins=LOGINS, behaviour=Behaviour(flapping=0.5))]) as fleet:
        seen: list[bytes] = []
        for _ in range(4):
            exports = {ask(fleet["r"], "/export").out for _ in range(3)}
            assert all(isinstance(driver.judge_file(RawConfig(export)), Complete) for export in exports)
            seen += {driver.normalize(RawConfig(export)) for export in exports}
            fleet["r"].edit()
    assert len(seen) == len(set(seen)) == 4


def test_a_second_session_to_one_router_is_counted(router: SimulatedRouter) -> None:
    """Two at once are seen, three in a row are not three at once."""
    with closing(connected(router)), closing(connected(router)):
        assert router.stats.open == 2
    assert router.wait_idle()
    ask(router, ":put x")
    counts = router.stats
    assert (counts.sessions, counts.most_at_once, counts.open, counts.logins) == (3, 2, 0, 1)


def test_many_sessions_at_once(fleet: Fleet) -> None:
    """Each client gets the text of its own router."""
    routers = [RouterSpec(f"m{number}", logins=LOGINS) for number in range(40)]
    with Fleet(routers) as many, ThreadPoolExecutor(20) as pool:
        texts = list(pool.map(lambda name: canonical(ask(many[name]).out), many))
        assert texts == [router.text() for router in many.values()]
        assert len(set(texts)) == 40
        stats = many.stats()
    assert (stats["sessions"], stats["logins"], stats["most_at_once_per_router"], stats["open"]) == (40, 40, 1, 0)


def test_unknown_routers_and_behaviours_are_refused(fleet: Fleet) -> None:
    """With our own errors, in the thread that asked."""
    with pytest.raises(NotFound):
        fleet["nobody"]
    with pytest.raises(InputInvalid):
        fleet["plain"].behave(speed=1)


def clients_gone() -> None:
    """Wait for the threads of closed clients, of earlier tests too: their sockets are counted with ours."""
    for thread in threading.enumerate():
        if isinstance(thread, paramiko.Transport):
            thread.join(10)
    gc.collect()


def descriptors() -> set[str]:
    """What the open files of this process are: each socket and pipe has a number of its own."""
    found = set()
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found.add(str(one.readlink()))
    return found


def test_a_fleet_leaves_nothing_behind(tmp_path: Path) -> None:
    """No thread, descriptor or port stays, also with sessions that hang in each kind of silence.

    What was there before may go meanwhile: a server's side of what an earlier test closed, for one.
    """
    clients_gone()
    threads, files = set(threading.enumerate()), descriptors()
    hung: list[paramiko.Transport] = []
    with Fleet([RouterSpec(f"h{n}", logins=LOGINS) for n in range(3)], log_path=tmp_path / "log") as fleet:
        fleet["h0"].behave(mute="banner")
        held = socket.create_connection((fleet["h0"].host, fleet["h0"].port))
        for name, mute in (("h1", "handshake"), ("h2", "command")):
            fleet[name].behave(mute=mute)
            hung.append(connected(fleet[name]))
        hung[0].auth_password(USER, PASSWORD, event=threading.Event())
        hung[1].auth_password(USER, PASSWORD)
        hung[1].open_session().exec_command("/export")
    assert held.recv(1) == b""
    held.close()
    for transport in hung:
        transport.close()
    clients_gone()
    assert set(threading.enumerate()) <= threads
    assert descriptors() <= files
    rows = [json.loads(row) for row in (tmp_path / "log").read_text().splitlines()]
    assert [row["number"] for row in rows] == list(range(1, len(rows) + 1))
    assert sum(row["event"] == "session_closed" for row in rows) == 3
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start simulators as processes of their own and end them."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-m", "backupflow.simulator", *arguments]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def command(process: subprocess.Popen[str], **wanted: object) -> dict[str, Any]:
    """Send one control command over the standard input; the answer comes when the process is ready."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(wanted) + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def test_the_process_announces_obeys_and_ends(started: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """Announced routers answer with the announced login and key; stdin and socket steer; SIGTERM ends it with 0."""
    files = {name: tmp_path / name for name in ("announce", "log", "control")}
    process = started("--count", "3", "--markers", *(f"--{name}={path}" for name, path in files.items()))
    assert command(process, do="stats")["sessions"] == 0
    first, second, _ = [json.loads(row) for row in files["announce"].read_text().splitlines()]
    with closing(paramiko.Transport((first["host"], first["port"]))) as transport:
        transport.start_client(timeout=10)
        key = asyncssh.import_public_key(f"{first['host_key_type']} {transport.get_remote_server_key().get_base64()}")
        assert key.get_fingerprint() == first["fingerprint"]
        transport.auth_password(first["username"], first["password"])
        assert first["marker"].encode() in told(transport, "/export show-sensitive").out
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(files["control"]))
        control.sendall(json.dumps({"router": second["name"], "do": "edit", "kind": "comment"}).encode() + b"\n")
        assert json.loads(control.makefile().readline())["revision"] == 1
    assert command(process, router=second["name"], behave={"mute": "loud"})["ok"] is False
    assert command(process, router=second["name"], do="change_key")["fingerprint"] != second["fingerprint"]
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not files["control"].exists()
    kinds = [json.loads(row)["event"] for row in files["log"].read_text().splitlines()]
    assert {"export_served", "edited", "key_changed", "session_closed"} <= set(kinds)


def test_an_announced_fleet_can_be_started_again(started: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """Same ports, keys and logins; the first ends when its standard input does."""
    process = started("--count", "2", "--announce", "one")
    command(process, do="stats")
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) == 0
    again = started("--routers", "one", "--announce", "two")
    command(again, do="stats")
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()


def test_default_behaviour_is_that_of_a_healthy_router() -> None:
    """Nothing of it delays, refuses or breaks off."""
    plain = Behaviour()
    assert (plain.mute, plain.refuse_login, plain.cut_after, plain.stall_after, plain.exit_status) == (
        "",
        False,
        None,
        None,
        0,
    )
