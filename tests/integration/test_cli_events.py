"""Events from an alarm to a receiver, by the commands and by the task, which is killed where it hurts most."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from standardwebhooks import Webhook

from backupflow.adapters.db.engine import transaction
from backupflow.adapters.hook import read_secrets
from backupflow.flows.telling import Told, tell
from backupflow.settings import Settings
from backupflow.wiring import Wiring, kill_points
from tests.integration.receiver import Web, receiver, status

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.scene import Scene

# What the task does, without the broker that only a worker needs.
SEND = "from backupflow.wiring import wiring; from backupflow.flows.telling import tell; "
SEND += "tell(wiring().tell_ports, lambda: False)"


@pytest.fixture
def web() -> Iterator[Web]:
    """A receiver that takes everything."""
    with receiver() as running:
        yield running


@pytest.fixture
def place(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of logins of the test's own: the secret of the hook is written there."""
    folder = tmp_path / "secrets"
    shutil.copytree(scene.install.environment["CONFIG_SECRETS_DIR"], folder)
    monkeypatch.setenv("CONFIG_SECRETS_DIR", str(folder))
    return folder


def run(scene: Scene, *words: str) -> tuple[int, Any]:
    """A command with --json; how it ended, and its document."""
    ran = scene.run("event", *words, "--json")
    return ran.code, json.loads(ran.out) if ran.out else ran.err


def raise_alarm(scene: Scene, code: str, detail: str = "") -> None:
    """As a collector does, a while ago."""
    with transaction(scene.install.wiring.engine("scheduler")) as tx:
        tx.execute(text("INSERT INTO alarm (code, scope, detail) VALUES (:c, :c, :d)"), {"c": code, "d": detail})
    age(scene)


def age(scene: Scene) -> None:
    """What waits has waited for long enough."""
    with transaction(scene.install.wiring.engine("migrator")) as tx:
        tx.execute(text("UPDATE outbox SET created_at = now() - interval '1 minute', due_at = NULL"))
        tx.execute(text("UPDATE event SET due_at = now()"))


def send() -> Told:
    """One round, as the task does it."""
    sender = Wiring(Settings())
    try:
        return tell(sender.tell_ports, lambda: False)
    finally:
        sender.close()


def die(kill_point: str) -> None:
    """The same in a process that dies on its way."""
    environment = dict(os.environ) | {kill_points.VARIABLE: kill_point}
    died = subprocess.run([sys.executable, "-c", SEND], capture_output=True, timeout=100, check=False, env=environment)
    assert died.returncode == kill_points.STATUS, died.stderr
    assert b"whsec_" not in died.stdout + died.stderr


def test_who_dies_after_it_was_sent_sends_it_again(
    scene: Scene, place: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the answer and its mark: the receiver is told twice, of one id and the same bytes; never not."""
    monkeypatch.setenv("CONFIG_ON_EVENT", web.url)
    assert run(scene, "secret")[0] == 0
    raise_alarm(scene, "vault_unavailable", "it is sealed")
    for point in ("EventStore.gather:after:1", "Hook.deliver:after:1"):
        die(point)
        assert run(scene, "list")[1]["events"][0]["sent_at"] is None
        age(scene)
    assert len(web.posted) == 1
    assert send() == Told(delivered=1)
    assert len(web.posted) == 2
    first, second = web.posted
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    for posted in web.posted:
        assert Webhook(read_secrets(place)[0]).verify(posted.body, posted.headers)["code"] == "vault_unavailable"
    [event] = run(scene, "list")[1]["events"]
    assert (event["sent_at"] is not None, event["attempts"]) == (True, 1)
    age(scene)
    assert send() == Told()


def test_a_receiver_that_failed_is_told_when_it_is_back(
    scene: Scene, place: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500, then 200: the failure is listed and said by doctor, then it was taken after two attempts."""
    monkeypatch.setenv("CONFIG_ON_EVENT", web.url)
    scene.run("event", "secret")
    web.answers = [status(500, text="no room"), status(200)]
    raise_alarm(scene, "bus_unavailable", "no answer")
    assert send() == Told(made=1, failed="HTTP 500: no room")
    [event] = run(scene, "list", "--failed")[1]["events"]
    assert (event["answer"], event["event"]["text"]) == ("HTTP 500: no room", "no answer")
    doctor = json.loads(scene.run("doctor", "--json").out)
    [found] = [check for check in doctor["checks"] if check["part"] == "events"]
    assert "1 failing" in found["finding"]
    assert web.url.split("/")[3] not in found["finding"]  # of the address only who it is
    assert run(scene, "retry") == (0, {"events": [event["number"]]})
    assert send() == Told(delivered=1)
    assert run(scene, "list", "--failed") == (0, {"events": []})
    said = scene.run("event", "list").out.decode()
    assert "dependency  bus_unavailable" in said
    assert "after 2 attempts" in said
    assert run(scene, "retry", str(event["number"]))[0] == 66


def test_a_hook_that_hangs_holds_nobody_up(
    scene: Scene, place: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one sends, another round ends at once, and alarms are raised and cleared as ever."""
    reached, over = threading.Event(), threading.Event()

    def hang(connection: socket.socket) -> None:
        reached.set()
        assert over.wait(60)
        connection.sendall(status(200))

    web.answers = [hang]
    monkeypatch.setenv("CONFIG_ON_EVENT", web.url)
    scene.run("event", "secret")
    raise_alarm(scene, "vault_unavailable")
    with ThreadPoolExecutor(1) as other:
        sending = other.submit(send)
        try:
            assert reached.wait(60)
            assert send() == Told()
            assert scene.install.wiring.alarms("scheduler").alarm("bus_unavailable", "claiming", "")
            scene.install.wiring.alarms("scheduler").settle("claiming")
        finally:
            over.set()
        assert sending.result(60) == Told(made=1, delivered=1)


def test_the_hook_is_tried_at_once(scene: Scene, place: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """`event test` says what came back, of an address and of a command; without a hook what to set."""
    code, said = run(scene, "test")
    assert (code, "CONFIG_ON_EVENT" in said) == (78, True)
    monkeypatch.setenv("CONFIG_ON_EVENT", web.url)
    code, said = run(scene, "test")
    assert (code, said["delivered"], "`backupflow event secret`" in said["answer"]) == (1, False, True)
    scene.run("event", "secret")
    assert run(scene, "test") == (0, {"hook": f"http://127.0.0.1:{web.port}", "delivered": True, "answer": "HTTP 200"})
    assert json.loads(web.posted[0].body)["kind"] == "test"
    monkeypatch.setenv("CONFIG_ON_EVENT", "false --password=hunter2")
    ran = scene.run("event", "test")
    assert (ran.code, ran.out.decode()) == (1, "command false: not taken – it ended with 1\n")


def test_the_secret_is_shown_once(scene: Scene, place: Path) -> None:
    """Made, not shown again, exchanged in two steps; each is written down, and none of them says the secret."""
    code, first = run(scene, "secret")
    assert code == 0
    assert read_secrets(place) == [first["secret"]]
    again = scene.run("event", "secret")
    assert (again.code, first["secret"] in again.err) == (73, False)
    code, second = run(scene, "secret", "--rotate")
    assert read_secrets(place) == [second["secret"], first["secret"]]
    assert scene.run("event", "secret", "--rotate").code == 77
    assert run(scene, "secret", "--finish") == (0, {"retired": 1})
    assert read_secrets(place) == [second["secret"]]
    with transaction(scene.install.wiring.engine("reader")) as tx:
        audited = tx.execute(
            text("SELECT action, detail::text FROM audit WHERE action LIKE 'event%' ORDER BY id")
        ).all()
    assert [row.action for row in audited] == ["event_secret_made", "event_secret_made", "event_secrets_retired"]
    assert "whsec_" not in str(audited)


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("", ("nobody is told of alarms", None)),
        ("/no/such/program", ("command /no/such/program, nothing told yet, 0 waiting", "its command is not found")),
        ("true", ("command true, nothing told yet, 0 waiting", None)),
        ("https://example.invalid/a/secret", ("events.webhook is missing", "A setting is missing")),
    ],
)
def test_doctor_has_a_line_on_the_hook(
    scene: Scene, place: Path, monkeypatch: pytest.MonkeyPatch, hook: str, said: tuple[str, str | None]
) -> None:
    """Whether anybody is told at all, and what is missing for it."""
    monkeypatch.setenv("CONFIG_ON_EVENT", hook)
    doctor = json.loads(scene.run("doctor", "--json").out)
    [found] = [check for check in doctor["checks"] if check["part"] == "events"]
    finding, remedy = said
    assert found["finding"].startswith(finding)
    assert (found["remedy"] is None) if remedy is None else found["remedy"].startswith(remedy)
    assert "a/secret" not in json.dumps(found)


def test_a_setting_that_is_no_hook_stops_the_process(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its start, with the name of the setting, and without its text."""
    monkeypatch.setenv("CONFIG_ON_EVENT", "https://me:hunter2@example.net/")
    ran = scene.run("event", "list")
    assert ran.code == 78
    assert "CONFIG_ON_EVENT" in ran.err
    assert "hunter2" not in ran.err
