"""No password reaches whoever stands in for a router, by whichever way a session comes to be.

Each impostor takes any password and writes it down. With all that compares host keys removed it does get it.
"""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import paramiko
import pytest

from backupflow.adapters.db.collections import Collections
from backupflow.adapters.knocker import TcpKnocker
from backupflow.adapters.ssh.jump import ways_of_process
from backupflow.core.inventory import Placement
from backupflow.core.knocking import Knock
from backupflow.core.ledger import Assignment
from backupflow.core.model import HostKey, Login, Trigger
from backupflow.core.scopes import ScopeKind
from backupflow.errors import LeaseLost
from backupflow.flows import interview
from backupflow.flows.admitting import login_secret
from backupflow.simulator import Fleet, JumpSpec, RouterSpec
from tests.conftest import copied_database, install_on
from tests.integration.ssh_strangers import ECDSA, RSA, Server, new_ed25519, pin, say
from tests.integration.test_ssh_trust import WHOLE
from tests.integration.worker_path import LIMITS, WorkerPath, own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from backupflow.core.model import DeviceId
    from backupflow.embedded import Servers
    from tests.integration.ssh_strangers import Answer

PASSWORD = "the password that nobody may have"
NEXT = "the one that is to take its place"
TRUE = new_ed25519()  # the router's own key
FALSE = new_ed25519()
JOIN_SECONDS = 60


def answered(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
    """A line that is no configuration, to a client that may have left."""
    with suppress(OSError, EOFError, paramiko.SSHException):
        say(*WHOLE)(transport, channel)


class Impostor:
    """Serves whoever connects, each time with the next keys, and then the last ones again; takes any password."""

    def __init__(self, *keys: Sequence[paramiko.PKey], answer: Answer | None = None) -> None:
        self.heard: list[str] = []
        self.heard_under: list[str] = []  # the type of the host key that a password came under
        self.connections = 0
        self.port = 0
        self._keys = list(keys)
        self._answer = answer
        self._threads: list[threading.Thread] = []

    @contextmanager
    def serving(self) -> Iterator[Impostor]:
        """Until the end of the block."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            thread = threading.Thread(target=self._accept, args=(listener,))
            thread.start()
            try:
                yield self
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                for one in (thread, *self._threads):
                    one.join(JOIN_SECONDS)
                    assert not one.is_alive()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                keys = self._keys[min(self.connections, len(self._keys) - 1)]
                self.connections += 1
                self._threads.append(threading.Thread(target=self._serve, args=(connection, keys)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket, keys: Sequence[paramiko.PKey]) -> None:
        server = _Listener(self, keys, self._answer or answered)
        with connection, suppress(OSError, EOFError, paramiko.SSHException):
            server.serve(connection)


class _Listener(Server):
    """One connection to it."""

    def __init__(self, impostor: Impostor, keys: Sequence[paramiko.PKey], answer: Answer) -> None:
        super().__init__(answer)
        self.keys = tuple(keys)
        self.heard = impostor.heard
        self._impostor = impostor

    def check_auth_password(self, username: str, password: str) -> int:
        """Write it down, with the key that it came under."""
        assert self.transport is not None
        self._impostor.heard_under.append(str(self.transport.host_key_type))
        return super().check_auth_password(username, password)


@pytest.fixture(scope="module")
def installed(servers: Servers, postgres_roles: Path, vault_roles: Path) -> Iterator[WorkerPath]:
    """Set one install up for all of these."""
    with copied_database(servers, postgres_roles) as database:
        install = install_on(servers, database, vault_roles)
        install.wiring.make_tenant()
        path = WorkerPath(install)
        yield path
        install.wiring.close()


@pytest.fixture
def path(installed: WorkerPath) -> Iterator[WorkerPath]:
    """Leave nothing due, and no way open."""
    yield installed
    installed.end_all()
    ways_of_process().close()


def known_as(path: WorkerPath, impostor: Impostor, key: paramiko.PKey = TRUE) -> DeviceId:
    """A device at the impostor's address, known by the key of the router that it was; its login is shared."""
    profile = path.scope(ScopeKind.PROFILE, login=own(PASSWORD))
    site = path.scope(ScopeKind.SITE, profile=profile.name)
    device = path.add(impostor.port, None, placement=Placement(site=site.name))
    path.pin(pin(key), device=device)
    path.write("UPDATE device SET next_due_at = now() + interval '1 minute' WHERE id = :d", d=device)
    return device


def by_turn(path: WorkerPath, device: DeviceId) -> None:
    """It is due."""
    path.due(device)


def by_request(trigger: Trigger) -> Callable[[WorkerPath, DeviceId], None]:
    """Somebody asks for it; by force, since a refused login blocks it."""

    def ask(path: WorkerPath, device: DeviceId) -> None:
        if trigger is Trigger.FORCED:
            blocked = "UPDATE device SET blocked_code = 'authentication_failed', blocked_at = now() WHERE id = :d"
            path.write(blocked, d=device)
        path.ask(device, trigger)

    return ask


def by_probe(path: WorkerPath, device: DeviceId) -> None:
    """Its site is down, and it is its turn to be tried."""
    path.write(
        "UPDATE device SET unreachable_since = now(), answered_at = now() - interval '1 h' WHERE id = :d", d=device
    )
    path.write("UPDATE site SET down_since = now(), probe_at = now() WHERE id = (SELECT site_id FROM device "
               "WHERE id = :d)", d=device)  # fmt: skip


def by_trial(path: WorkerPath, device: DeviceId) -> None:
    """Its login was refused by many, and it is the one that tries it again."""
    path.write(
        "UPDATE credential_profile SET suspended_at = now() - interval '15 min', trial_at = now(), "
        "suspended_reason = '9 of 9 devices refused it' WHERE id = (SELECT s.credential_profile_id FROM site s "
        "JOIN device d ON d.site_id = s.id WHERE d.id = :d)",
        "migrator",
        d=device,
    )


WAYS: dict[Trigger, Callable[[WorkerPath, DeviceId], None]] = {
    Trigger.SCHEDULE: by_turn,
    Trigger.PROBE: by_probe,
    Trigger.TRIAL: by_trial,
    **{t: by_request(t) for t in (Trigger.MANUAL, Trigger.FORCED, Trigger.TEST, Trigger.SCAN)},
}


def test_every_way_to_a_session_is_tried_here() -> None:
    """Whoever adds one adds it to these tests."""
    assert set(WAYS) == set(Trigger)


@pytest.mark.parametrize("trigger", WAYS)
def test_an_impostor_hears_no_password(path: WorkerPath, trigger: Trigger) -> None:
    """Whatever made the session: it ends before the login, and the device is blocked; a scan only looks."""
    with Impostor([FALSE]).serving() as impostor:
        device = known_as(path, impostor)
        WAYS[trigger](path, device)
        outcome = path.run(device)
        row = path.last(device)
        assert (row.trigger, impostor.connections, impostor.heard) == (trigger, 1, [])
        blocked = path.device(device).blocked_code
        assert blocked == (None if trigger is Trigger.SCAN else "host_key_mismatch")
        assert outcome.code == "host_key_mismatch"
        assert path.pinned(device) == [TRUE.asbytes()]


def test_a_forced_backup_does_not_pass_a_changed_key(path: WorkerPath) -> None:
    """Nor is there a connection: it is refused with what to do."""
    with Impostor([FALSE]).serving() as impostor:
        device = known_as(path, impostor)
        path.write("UPDATE device SET blocked_code = 'host_key_mismatch' WHERE id = :d", d=device)
        number = path.ask(device, Trigger.FORCED)
        path.alive()
        claimed = path.install.wiring.claims.claim(LIMITS)
        assert claimed is not None
        assert path.install.wiring.requests.asked([number])[0].answer == "refused: blocked: host_key_mismatch"
        assert (impostor.connections, impostor.heard) == (0, [])


def test_a_look_whether_it_answers_says_nothing(path: WorkerPath) -> None:
    """A connection, and not one word: there is no login in it at all."""
    with Impostor([FALSE]).serving() as impostor:
        device = known_as(path, impostor)
        knock = Knock(device, "127.0.0.1", impostor.port, timedelta(seconds=20))
        assert list(TcpKnocker().answering([knock])) == [device]
        assert impostor.heard == []


# --- what else may have another key ----------------------------------------------------------------------------------


def test_of_two_routers_at_first_contact_one_is_pinned_and_the_other_hears_nothing(path: WorkerPath) -> None:
    """A worker stands still with one router's key in its hand, another is there first with another's."""
    with Impostor([FALSE], [TRUE]).serving() as impostor:
        device = path.add(impostor.port, own(PASSWORD))
        late = _Late(path)
        first = path.claim(device)
        slow = threading.Thread(target=lambda: late.outcomes.append(path.collect(first, late)))
        slow.start()
        assert late.arrived.wait(JOIN_SECONDS)
        try:
            path.write("UPDATE collection SET lease_until = now() - interval '1 s' WHERE id = :c", c=first)
            path.due(device)
            path.run(device)
        finally:
            late.go.set()
            slow.join(JOIN_SECONDS)
        assert impostor.connections == 2
        assert path.pinned(device) == [TRUE.asbytes()]
        assert impostor.heard == [PASSWORD]
        assert isinstance(late.refused, LeaseLost)


class _Late(Collections):
    """A worker that is stopped before it pins what it has seen."""

    def __init__(self, path: WorkerPath) -> None:
        super().__init__(path.install.wiring.engine("collector"), path.install.wiring.policy)
        self.arrived, self.go = threading.Event(), threading.Event()
        self.outcomes: list[object] = []
        self.refused: Exception | None = None

    def pin(self, assignment: Assignment, key: HostKey, how: Any = None) -> None:  # noqa: ANN401 - as it is given
        """Wait, then try."""
        self.arrived.set()
        assert self.go.wait(JOIN_SECONDS)
        try:
            super().pin(assignment, key, how)
        except LeaseLost as exc:
            self.refused = exc
            raise


def test_a_router_that_adds_a_key_type_hears_its_password_under_the_pinned_key_only(path: WorkerPath) -> None:
    """Whatever it would rather show; and who has only the new one hears nothing."""
    with Impostor([FALSE, RSA, ECDSA], [FALSE, RSA]).serving() as router:
        device = known_as(path, router, ECDSA)
        path.due(device)
        path.run(device)
        assert (router.heard, router.heard_under) == ([PASSWORD], [ECDSA.get_name()])
        path.due(device)
        assert path.run(device).code == "host_key_mismatch"
        assert (router.connections, router.heard) == (2, [PASSWORD])


def test_a_router_that_is_swapped_between_two_connections_hears_nothing(path: WorkerPath) -> None:
    """The first of them showed the key that is pinned since."""
    with Impostor([TRUE], [FALSE]).serving() as router:
        device = path.add(router.port, own(PASSWORD))
        path.run(device)
        assert (router.heard, path.pinned(device)) == ([PASSWORD], [TRUE.asbytes()])
        path.due(device)
        assert path.run(device).code == "host_key_mismatch"
        assert (router.connections, router.heard) == (2, [PASSWORD])


def test_another_key_in_a_second_key_exchange_ends_the_session(path: WorkerPath) -> None:
    """The login went out under the pinned key; what comes after the other one is no export of this router."""

    def exchange_again(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        transport.get_security_options().key_types = ("rsa-sha2-512",)
        with suppress(paramiko.SSHException, OSError, EOFError):  # the client leaves
            transport.renegotiate_keys()
            answered(transport, channel)

    with Impostor([TRUE, RSA], answer=exchange_again).serving() as router:
        device = known_as(path, router)
        path.due(device)
        assert path.run(device).code == "host_key_mismatch"
        assert router.heard_under == [TRUE.get_name()]
        assert path.device(device).blocked_code == "host_key_mismatch"


@pytest.mark.parametrize("swapped", ["jump host", "router behind it"])
def test_whoever_is_swapped_on_the_way_hears_nothing(path: WorkerPath, swapped: str) -> None:
    """A jump host with another key is sent no login, nor is a router behind a true one, nor the jump host's own."""
    with Fleet([RouterSpec("r1")], jump_hosts=[JumpSpec("j1")]) as fleet:
        router, hop = fleet["r1"], fleet.jump_hosts["j1"]
        profile = path.scope(ScopeKind.PROFILE, login=Login("jump", "jump"))
        way = path.scope(ScopeKind.JUMP_HOST, profile=profile.name, host=hop.host, port=hop.port)
        device = path.add(router.port, own("backup"), placement=Placement(jump=way.name))
        assert path.run(device).what == "published"
        (hop if swapped == "jump host" else router).change_key()
        ways_of_process().close()
        offered = [len(_offers(one)) for one in (hop, router)]
        path.due(device)
        outcome = path.run(device)
        now = [len(_offers(one)) for one in (hop, router)]
        assert outcome.code == ("jump_host_blocked" if swapped == "jump host" else "host_key_mismatch")
        assert now[1] == offered[1]
        assert now[0] == offered[0] + (0 if swapped == "jump host" else 1)


def _offers(host: Any) -> list[Any]:  # noqa: ANN401 - a router or a jump host
    return [event for event in host.history if event.kind == "login_offered"]


@pytest.mark.parametrize("login_on", ["current", "next"])
def test_while_a_login_is_rotated_neither_of_the_two_is_heard(path: WorkerPath, login_on: str) -> None:
    """Whichever is the turn of this device."""
    with Impostor([FALSE]).serving() as impostor:
        device = known_as(path, impostor)
        (profile,) = path.rows(
            "SELECT s.credential_profile_id AS id FROM site s JOIN device d ON d.site_id = s.id WHERE d.id = :d",
            d=device,
        )
        sealed = path.install.wiring.vault("enroller").seal_login(path.tenant_id, profile.id, login_secret(own(NEXT)))
        path.write(
            "UPDATE credential_profile SET next_username = 'backup', next_method = 'password', next_sealed = :s, "
            "next_changed_at = now() WHERE id = :p",
            "migrator",
            s=sealed.text,
            p=profile.id,
        )
        path.write("UPDATE device SET login_on = :on WHERE id = :d", on=login_on, d=device)
        path.due(device)
        assert path.run(device).code == "host_key_mismatch"
        assert (impostor.connections, impostor.heard) == (1, [])


# --- the control -----------------------------------------------------------------------------------------------------

LAYERS = ("the flow", "the session", "the ledger")


@pytest.mark.parametrize("stays", [*LAYERS, None])
def test_each_of_three_compares_keeps_the_password_and_without_them_it_is_heard(
    path: WorkerPath, monkeypatch: pytest.MonkeyPatch, stays: str | None
) -> None:
    """The flow admits the key, the session compares it itself, the ledger looks once more right before the login."""
    if stays != "the flow":
        monkeypatch.setattr(interview, "admitted", lambda *_: None)
    start = Collections.start
    if stays != "the session":

        def unpinned(self: Collections, *claim: Any) -> Any:  # noqa: ANN401 - whatever it gives
            started = start(self, *claim)
            assert isinstance(started, Assignment)
            return replace(started, target=replace(started.target, pinned=None))

        monkeypatch.setattr(Collections, "start", unpinned)
    if stays != "the ledger":
        monkeypatch.setattr(Collections, "login_allowed", lambda *_: True)
    with Impostor([FALSE]).serving() as impostor:
        device = known_as(path, impostor)
        path.due(device)
        path.run(device)
        assert impostor.connections == 1
        assert impostor.heard == ([] if stays else [PASSWORD])
