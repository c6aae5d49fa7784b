"""What simulated routers do wrong, as a plain SSH client (asyncssh) or a bare socket meets it, fault by fault."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh
import pytest

from backupflow.errors import InputInvalid
from backupflow.simulator import Behaviour, Event, Fleet, RouterSpec, SimulatedRouter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

Result = TypeVar("Result")
STEPS = ("banner", "kex", "newkeys", "login", "proof", "channel", "command")
NAG = b"Do you want to see the software license? [Y/n]: \r\n# a note: 100%\r\n"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Routers of both versions; each test takes one that no other has touched."""
    sixes = [RouterSpec(f"six{number}", version="6.49.7") for number in range(5)]
    sevens = [RouterSpec(f"seven{number}", version="7.14", behaviour=Behaviour(flapping=0)) for number in range(40)]
    many = RouterSpec("many", more_host_keys=("rsa", "ecdsa"))
    with Fleet([*sixes, *sevens, many, RouterSpec("rsa", host_key_type="rsa")]) as fleet:
        yield fleet


@pytest.fixture
def seven(fleet: Fleet) -> SimulatedRouter:
    """RouterOS 7."""
    return next(router for router in fleet.values() if router.name.startswith("seven") and not router.history)


@pytest.fixture
def six(fleet: Fleet) -> SimulatedRouter:
    """RouterOS 6."""
    return next(router for router in fleet.values() if router.name.startswith("six") and not router.history)


@dataclass(frozen=True)
class Said:
    """What a command answered; `status` is None if the channel closed without one."""

    out: bytes
    status: int | None


@asynccontextmanager
async def connected(router: SimulatedRouter, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:  # noqa: ANN401
    """Log in by password, with nothing of this machine's own."""
    plain: dict[str, Any] = {"known_hosts": None, "config": None, "agent_path": None, "client_keys": None}
    where = {"host": router.host, "port": router.port, "username": "backup", "password": "backup"}
    async with asyncssh.connect(**{**where, **plain, **options}) as connection:
        yield connection


async def told(connection: asyncssh.SSHClientConnection, command: str, **options: Any) -> Said:  # noqa: ANN401
    """Run one command and read all of its answer."""
    process = await connection.create_process(command, encoding=None, **options)
    out = await process.stdout.read()
    await process.wait_closed()
    return Said(out, process.exit_status)


def ask(router: SimulatedRouter, command: str = "/export show-sensitive", **options: Any) -> Said:  # noqa: ANN401
    """One session with one command."""

    async def one() -> Said:
        async with connected(router) as connection:
            return await told(connection, command, **options)

    return run(one)


def run(what: Callable[[], Awaitable[Result]]) -> Result:
    """In an event loop of its own."""

    async def all_of_it() -> Result:
        return await what()

    return asyncio.run(all_of_it())


def kinds(router: SimulatedRouter) -> list[str]:
    """What happened to it."""
    assert router.wait_idle()
    return [event.kind for event in router.history]


def served_by(router: SimulatedRouter) -> list[Event]:
    """The exports that it gave."""
    return [event for event in router.history if event.kind == "export_served"]


def sections(export: bytes) -> list[bytes]:
    """The section lines."""
    return [row for row in export.split(b"\r\n") if row.startswith(b"/")]


def test_a_user_without_the_policy_is_refused_by_seven_and_told_nothing_by_six(
    six: SimulatedRouter, seven: SimulatedRouter
) -> None:
    """Status 0 in each case; the plain export of the same session hides what is secret."""
    for router in (six, seven):
        assert b"password=" in ask(router, "/export" if router is six else "/export show-sensitive").out
        router.behave(sensitive=False)
        plain = ask(router, "/export")
        assert (plain.status, b"password=" in plain.out) == (0, False)
        assert sections(plain.out) == sections(router.text(sensitive=False))
    assert ask(seven) == Said(b"not enough permissions (9)\r\n", 0)
    served = [(event.facts["sensitive"], event.facts["secrets"] > 0) for event in served_by(seven)]
    assert served == [(True, True), (False, False)]


def test_secrets_stay_on_the_router_that_is_asked_to_hide_them(six: SimulatedRouter, seven: SimulatedRouter) -> None:
    """`hide-sensitive` is taken by both."""
    for router in (six, seven):
        said = ask(router, "/export hide-sensitive")
        assert b"password=" not in said.out
        assert sections(said.out) == sections(router.text(sensitive=False))


def test_the_export_of_one_menu_has_the_header_of_all(seven: SimulatedRouter) -> None:
    """And nothing but this menu."""
    said = ask(seven, "/system identity export")
    assert said.out.endswith(b"\r\n/system identity\r\nset name=" + seven.name.encode() + b"\r\n")
    assert said.out.startswith(b"# ")
    assert b" by RouterOS 7.14\r\n" in said.out
    assert [(event.facts["menu"], event.facts["secrets"]) for event in served_by(seven)] == [("/system identity", 0)]


def test_a_second_statement_may_be_refused(seven: SimulatedRouter) -> None:
    """With it the export; alone both are answered."""
    assert ask(seven, '/export; :put "end"').out.endswith(b"\r\nend\r\n")
    seven.behave(end_mark=False)
    assert ask(seven, '/export; :put "end"').out == b"syntax error (line 1 column 8)\r\n"
    assert ask(seven, ':put "end"').out == b"end\r\n"


def test_another_router_may_answer_behind_the_same_key(seven: SimulatedRouter) -> None:
    """Its serial number is another one, and comes back."""
    key, first = seven.fingerprint, ask(seven).out
    seven.behave(serial="HZZ0SOMEONE")
    other = ask(seven).out
    assert b"# serial number = HZZ0SOMEONE\r\n" in other
    assert b"HZZ0SOMEONE" in ask(seven, "/system routerboard print").out
    assert b"HZZ0SOMEONE" in seven.text()
    seven.behave(serial=None)
    assert ask(seven).out.split(b"\r\n")[1:] == first.split(b"\r\n")[1:] != other.split(b"\r\n")[1:]
    assert seven.fingerprint == key


def test_a_menu_that_cannot_be_exported_is_missing_with_a_marker(seven: SimulatedRouter) -> None:
    """Only that menu; the history's digest is that of what was sent."""
    seven.behave(unexportable=["/ip dns", "/ip ssh"])
    said = ask(seven)
    assert (said.status, b"/ip dns\r\n" in said.out, b"/ip dns static\r\n" in said.out) == (0, False, True)
    assert b'\r\n#error exporting "/ip/dns" (timeout)\r\n' in said.out
    assert said.out.endswith(b'\r\n#error exporting "/ip/ssh" (timeout)\r\n')
    digest = hashlib.sha256(seven.text()).hexdigest()
    assert [event.facts["digest"] for event in served_by(seven)] == [digest]


def test_half_of_the_sections_may_be_gone(seven: SimulatedRouter) -> None:
    """As whole as any export by its text."""
    whole = ask(seven).out
    seven.behave(shrunk=True)
    half = ask(seven)
    assert half.status == 0
    assert 0 < 2 * len(sections(half.out)) <= len(sections(whole))
    assert sections(half.out) == sections(seven.text())


def test_words_may_stand_before_each_answer(seven: SimulatedRouter) -> None:
    """A banner, a note, a question about the licence."""
    seven.behave(preface=NAG)
    assert ask(seven).out.startswith(NAG + b"# ")
    assert ask(seven, ":put x").out == NAG + b"x\r\n"


def test_lines_without_end_come_before_the_ssh_banner(seven: SimulatedRouter) -> None:
    """As many as the client will read, none of them the banner; nothing goes on when it leaves."""
    seven.behave(babble="banner")
    with socket.create_connection((seven.host, seven.port), timeout=10) as connection:
        read = b""
        while len(read) < 300_000:
            read += connection.recv(65_536)
        assert seven.stats.open == 1
    assert not [line for line in read.split(b"\r\n") if line.startswith(b"SSH-")]
    assert kinds(seven) == ["behaviour_changed", "session_opened", "session_closed"]


def test_messages_without_end_come_before_the_verdict_on_a_login(seven: SimulatedRouter) -> None:
    """The client hears them and no verdict."""
    seven.behave(babble="login")
    heard: list[str] = []

    class Patient(asyncssh.SSHClient):
        def auth_banner_received(self, msg: str, lang: str) -> None:
            heard.append(msg)
            if len(heard) == 200:
                self.connection.abort()

        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            self.connection = conn

    async def login() -> None:
        async with connected(seven, client_factory=Patient):
            pass

    with contextlib.suppress(asyncssh.ConnectionLost):  # asyncssh takes its own hanging up for either end
        run(login)
    assert len(heard) >= 200
    assert "login_offered" not in kinds(seven)


@pytest.mark.parametrize("step", STEPS)
def test_a_connection_is_reset_after_each_step(seven: SimulatedRouter, step: str) -> None:
    """The client is never answered; what it had done before the reset is in the history."""
    seven.behave(reset_at=step)
    with pytest.raises((ConnectionResetError, BrokenPipeError, asyncssh.ConnectionLost, asyncssh.ChannelOpenError)):
        ask(seven)
    done = {"banner": 2, "kex": 2, "newkeys": 2, "login": 3, "proof": 4, "channel": 5, "command": 6}[step]
    steps = ["behaviour_changed", "session_opened", "client_seen", "login_offered", "logged_in", "command"]
    told_before = [kind for kind in kinds(seven) if kind in steps]
    assert told_before == steps[:done]


@pytest.mark.parametrize("step", ["banner", "kex"])
def test_a_reset_is_one_on_the_wire(seven: SimulatedRouter, step: str) -> None:
    """Not the polite end of a connection."""
    seven.behave(reset_at=step)

    def read_to_the_end() -> None:
        with socket.create_connection((seven.host, seven.port), timeout=10) as connection:
            connection.sendall(b"SSH-2.0-plain\r\n")
            while connection.recv(65_536):
                pass

    with pytest.raises(ConnectionResetError):
        read_to_the_end()


def test_an_export_is_reset_in_its_midst(seven: SimulatedRouter) -> None:
    """So many bytes went, and the channel has no end."""
    seven.behave(cut_after=2000, cut_manner="reset")
    said = ask(seven)
    assert said.status is None
    assert len(said.out) <= 2000
    served = [event.facts for event in served_by(seven)]
    assert [(one["complete"], one["bytes_sent"]) for one in served] == [(False, 2000)]


@pytest.mark.parametrize(("window", "all_of_it"), [(4096, False), (1 << 20, True)])
def test_what_a_window_has_no_room_for_may_be_lost(seven: SimulatedRouter, window: int, all_of_it: bool) -> None:
    """With status 0, as if all had been sent; a great window gets it whole."""
    seven.behave(loses_beyond_window=True, export_size=200_000)
    said = ask(seven, window=window)
    assert said == Said(said.out, 0)
    assert len(said.out) == (200_000 if all_of_it else window)
    (served,) = (event.facts for event in served_by(seven))
    assert (served["complete"], served["bytes_sent"]) == (all_of_it, len(said.out))
    assert served["sent_digest"] == hashlib.sha256(said.out).hexdigest()


async def shown(router: SimulatedRouter, algorithm: str) -> bytes:
    """The key that a client is shown that takes only this algorithm."""
    async with connected(router, server_host_key_algs=[algorithm]) as connection:
        key = connection.get_server_host_key()
        assert key is not None
        return bytes(key.public_data)


def offered(router: SimulatedRouter) -> dict[str, bytes]:
    """Which of the usual algorithms a router has a key for, and that key."""
    found = {}
    for algorithm in ("ssh-ed25519", "rsa-sha2-256", "ecdsa-sha2-nistp256", "ssh-rsa"):
        try:
            found[algorithm] = run(lambda algorithm=algorithm: shown(router, algorithm))  # type: ignore[misc]
        except asyncssh.DisconnectError:  # told why, or only hung up on
            continue
    return found


def test_a_router_may_have_several_host_keys(fleet: Fleet) -> None:
    """One for each type that the client may want, all told by the handle."""
    keys = fleet["many"].host_keys
    ed25519, rsa, ecdsa = (keys[name] for name in ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"))
    assert offered(fleet["many"]) == {"ssh-ed25519": ed25519, "rsa-sha2-256": rsa, "ecdsa-sha2-nistp256": ecdsa}
    assert fleet["many"].host_key_blob == ed25519


def test_a_router_may_add_and_lose_a_key(seven: SimulatedRouter) -> None:
    """The others stay; the last one cannot go; each is in the history."""
    first = seven.host_key_blob
    told_fingerprint = seven.add_key("rsa")
    assert set(offered(seven)) == {"ssh-ed25519", "rsa-sha2-256"}
    assert offered(seven)["ssh-ed25519"] == first
    seven.drop_key("ed25519")
    assert set(offered(seven)) == {"rsa-sha2-256"}
    assert seven.fingerprint == told_fingerprint
    with pytest.raises(InputInvalid):
        seven.drop_key("rsa")
    with pytest.raises(InputInvalid):
        seven.add_key("rsa")
    changes = [(event.kind, event.facts["key_type"]) for event in seven.history if event.kind.startswith("key_")]
    assert changes == [("key_added", "rsa"), ("key_dropped", "ed25519")]


def test_a_modern_router_may_fall_back_to_sha1_with_the_same_key(fleet: Fleet) -> None:
    """As a downgrade, or somebody between, would have it; and back."""
    router = fleet["rsa"]
    key = router.host_key_blob
    assert offered(router) == {"rsa-sha2-256": key}
    router.behave(legacy=True)
    old: dict[str, Any] = {
        "kex_algs": ["diffie-hellman-group14-sha1"], "mac_algs": ["hmac-sha1"], "server_host_key_algs": ["ssh-rsa"],
    }  # fmt: skip

    async def spoken() -> bytes:
        async with connected(router, **old) as connection:
            found = connection.get_server_host_key()
            assert found is not None
            return bytes(found.public_data)

    assert run(spoken) == key
    router.behave(legacy=None)
    assert offered(router) == {"rsa-sha2-256": key}


@pytest.mark.parametrize("raw", [b"\x00\x01\xfe\xff" * 2000, b"\x1b]0;owned\x07<script>\r\n" * 100])
def test_anything_may_be_sent_in_place_of_an_export(seven: SimulatedRouter, raw: bytes) -> None:
    """Byte for byte."""
    seven.behave(raw_export=raw)
    assert ask(seven).out == raw
