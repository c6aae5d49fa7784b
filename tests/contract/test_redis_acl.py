"""The rights of every role on the broker, with Celery's own worker, beat and remote control on the real server."""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import Celery
from kombu import pools
from kombu.exceptions import OperationalError

from backupflow.adapters.broker import FLOWER, FLOWER_TRANSPORT, POLLER, QUEUES, ROLES, acl_text, ask
from backupflow.embedded import Server, ServerOptions, open_folder, start_servers
from backupflow.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 60.0  # seconds for a process to start; nothing is asserted about time
# So often that the tests see it: everybody who waits restores what dead workers had taken.
RESTORING = {"unacked_restore_interval": 0.5, "unacked_restore_throttle": 1}
# The application of the worker and of beat: the shipped configuration, a task that leaves a trace, the role's login.
APP = """
import importlib.util, json, pathlib, time
from celery import Celery

here = pathlib.Path(__file__).parent
place = json.loads((here / "place.json").read_text())
spec = importlib.util.spec_from_file_location("shipped", place["config"])
shipped = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shipped)
app = Celery("test")
app.config_from_object(shipped)
app.conf.update(place["conf"])

@app.task(name="leave.trace")
def leave_trace(name, seconds=0.0):
    (here / name).touch()
    time.sleep(seconds)
"""


@dataclass
class Place:
    """A broker with these users, and the admin's view of it."""

    address: str
    passwords: dict[str, str]
    admin: redis.Redis
    config: Path

    def url(self, role: str) -> str:
        """The address with a role's login."""
        return f"redis://{role}:{self.passwords[role]}@{self.address}/0"

    def client(self, role: str) -> redis.Redis:
        """A plain client under a role's login."""
        return redis.Redis.from_url(self.url(role))

    def app(self, role: str) -> Celery:
        """A Celery application of this process under a role's login."""
        app = Celery("test", set_as_current=False)
        own = FLOWER_TRANSPORT if role == FLOWER else {}
        app.conf.update(broker_url=self.url(role), broker_transport_options={**RESTORING, **own})
        return app

    @contextmanager
    def process(self, folder: Path, role: str, *words: str, **conf: object) -> Iterator[subprocess.Popen[bytes]]:
        """Celery as a process under a role's login, from a folder of its own."""
        folder.mkdir(exist_ok=True)
        (folder / "traceapp.py").write_text(APP)
        ours = {"imports": [], "beat_scheduler": "celery.beat:Scheduler", "broker_transport_options": RESTORING}
        settings = {**ours, "broker_url": self.url(role), **conf}
        (folder / "place.json").write_text(json.dumps({"config": str(self.config), "conf": settings}))
        command = [sys.executable, "-m", "celery", "-A", "traceapp", *words, "--loglevel=INFO"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def ask(self, *command: str) -> Any:  # noqa: ANN401 -- the server decides
        """The server's answer to a command of the admin."""
        return self.admin.execute_command(*command)  # type: ignore[no-untyped-call]

    def refusals(self) -> list[tuple[str, str]]:
        """What the server refused since the last look: user and what he wanted."""
        entries = self.ask("ACL", "LOG")
        self.ask("ACL", "LOG", "RESET")
        return [(entry["username"], entry["object"]) for entry in entries]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Place]:
    """Run a broker whose users are the text under test."""
    passwords = {role: secrets.token_urlsafe(24) for role in (*ROLES, POLLER)}
    users = acl_text(passwords) + "user admin on >admin ~* &* +@all\n"
    options = ServerOptions(leave_out=frozenset(Server) - {Server.REDIS}, redis_users=users, fsync=False)
    with open_folder(tmp_path_factory.mktemp("broker") / "data") as folder, start_servers(folder, options) as servers:
        address = str(servers.addresses.redis)
        admin = redis.Redis.from_url(f"redis://admin:admin@{address}/0", decode_responses=True)
        yield Place(address, passwords, admin, pytestconfig.rootpath / "celeryconfig.py")
        admin.close()


@pytest.fixture(autouse=True)
def _clean(place: Place) -> None:
    place.admin.flushall()
    place.refusals()


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.05)


def worker(queues: str) -> list[str]:
    """The words that start a worker, as `up` does."""
    return ["worker", "-Q", queues, "-P", "threads", "-c", "1", "--without-gossip", "--without-mingle"]


CONSUMERS = {
    "collector": "collect.now,collect,collect.slow,status",
    "ingester": "ingest",
    "interpreter": "interpret",
    "operator": "maintain",
}


@pytest.mark.parametrize("role", CONSUMERS)
def test_a_worker_gets_what_beat_sends_and_nothing_is_refused(place: Place, tmp_path: Path, role: str) -> None:
    """Beat sends, the role's worker consumes, answers a ping, sends events and ends; the server refused none of it."""
    queues = CONSUMERS[role].split(",")
    with place.process(tmp_path / "worker", role, *worker(CONSUMERS[role]), "-E") as process:
        with place.app("scheduler") as beat:
            for queue in queues:
                beat.send_task("leave.trace", [queue], queue=queue, expires=60)
            for queue in queues:
                wait_for((tmp_path / "worker" / queue).exists)
        with place.app("flower") as flower:
            wait_for(lambda: flower.control.ping(timeout=1.0))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert place.refusals() == []


def test_beat_itself_answers_a_ping(place: Place, tmp_path: Path) -> None:
    """Beat with remote control sends on schedule and answers the operator; the server refused none of it."""
    entry = {"task": "leave.trace", "schedule": 0.2, "args": ["beat"], "options": {"queue": "ingest"}}
    words = ["beat", "--enable-remote-control"]
    with (
        place.process(tmp_path / "worker", "ingester", *worker("ingest")),
        place.process(tmp_path / "beat", "scheduler", *words, beat_schedule={"often": entry}) as beat,
        place.app("operator") as operator,
    ):
        wait_for((tmp_path / "worker" / "beat").exists)
        wait_for(lambda: len(operator.control.ping(timeout=1.0)) == 2)
        beat.send_signal(signal.SIGTERM)
        assert beat.wait(PATIENCE) == 0
    assert place.refusals() == []


def test_flower_hears_the_events_and_sees_the_lengths(place: Place, tmp_path: Path) -> None:
    """Flower's role receives events of workers and asks how long the queues are; the server refused none of it."""
    heard: list[str] = []
    with (
        place.process(tmp_path / "worker", "ingester", *worker("ingest"), "-E"),
        place.app("flower") as flower,
        flower.connection_for_read() as connection,
    ):
        receiver = flower.events.Receiver(connection, handlers={"*": lambda event: heard.append(event["type"])})
        for _ in receiver.consume(limit=None, timeout=PATIENCE):
            if heard:
                break
    assert heard
    with place.client("flower") as client:
        assert [client.llen(queue) for queue in QUEUES] == [0] * len(QUEUES)
    assert place.refusals() == []


@dataclass
class Flower:
    """The page as a process, under the login of its role."""

    process: subprocess.Popen[bytes]
    log: Path
    password: str

    @property
    def port(self) -> int:
        """Where it listens."""
        told = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return next((int(one["port"]) for one in told if one["event"] == "flower_listens"), 0)

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Status and body."""
        login = base64.b64encode(f"flower:{self.password}".encode()).decode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, headers={"Authorization": f"Basic {login}"})
            answer = connection.getresponse()
            return answer.status, answer.read()


@contextmanager
def flower_process(place: Place, folder: Path, **environment: str) -> Iterator[Flower]:
    """As `up` starts it."""
    secret = secrets.token_urlsafe(24)
    (folder / "flower.redis").write_text(place.passwords[FLOWER])
    (folder / "flower.web").write_text(secret)
    ours = {"CONFIG_ROLE": FLOWER, "CONFIG_SECRETS_DIR": str(folder), "REDIS_URL": f"redis://{place.address}/0"}
    with (folder / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "backupflow.tasks.flower"],
            env={**os.environ, **ours, "FLOWER_LISTEN": "127.0.0.1:0", **environment},
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            flower = Flower(process, folder / "flower.log", secret)
            wait_for(lambda: flower.port or process.poll() is not None)
            yield flower
        finally:
            process.kill()
            process.wait()


def test_every_page_of_flower_works_with_its_rights(place: Place, tmp_path: Path) -> None:
    """Flower itself, beside a worker that runs a task: it shows both, and the server refused it nothing."""
    with (
        place.process(tmp_path / "worker", "ingester", *worker("ingest"), "-n", "ingest@here", "-E"),
        flower_process(place, tmp_path) as flower,
        place.app("scheduler") as beat,
    ):
        wait_for(lambda: b"ingest@here" in flower.ask("/workers?json=1")[1])
        task = str(beat.send_task("leave.trace", ["running"], queue="ingest"))
        wait_for(lambda: flower.ask(f"/api/task/info/{task}")[0] == 200)
        wait_for(lambda: b'"SUCCESS"' in flower.ask(f"/api/task/info/{task}")[1])
        wait_for(lambda: flower.ask("/worker/ingest@here")[0] == 200)
        assert b"leave.trace" in flower.ask(f"/task/{task}")[1]
        wait_for(lambda: b"max-concurrency" in flower.ask("/api/workers?refresh=1")[1])
        assert json.loads(flower.ask("/api/queues/length")[1]) == {"active_queues": [{"name": "ingest", "messages": 0}]}
        assert b"redis://flower:**@" in flower.ask("/broker")[1]
        assert place.refusals() == []
        hears_again(place, flower, beat)
        flower.process.send_signal(signal.SIGTERM)
        assert flower.process.wait(PATIENCE) == 0
    assert place.refusals() == []


def hears_again(place: Place, flower: Flower, beat: Celery) -> None:
    """All its connections are cut: it connects again by itself, soon, and shows what comes then."""
    assert place.ask("CLIENT", "KILL", "USER", FLOWER)
    sent: list[str] = []  # what is told while nobody listens is told to nobody: so it is more than one

    def is_shown() -> bool:
        sent.append(str(beat.send_task("leave.trace", ["running"], queue="ingest")))
        time.sleep(0.5)
        return any(task.encode() in flower.ask("/api/tasks")[1] for task in sent)

    wait_for(is_shown)
    pools.reset()  # type: ignore[no-untyped-call]  # of this process: what other tests left open is cut with the rest


@pytest.mark.parametrize("obeys", [False, True])
def test_a_worker_obeys_remote_control_only_where_it_is_told_to(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, obeys: bool
) -> None:
    """The broker cannot tell Flower's questions from commands; a worker answers the ones and refuses the others."""
    monkeypatch.setenv("FLOWER_WRITE", "1" if obeys else "0")
    words = worker("ingest")
    with (
        place.process(tmp_path / "worker", "ingester", *words, imports=["backupflow.tasks.remote"]) as process,
        place.app("flower") as flower,
    ):
        wait_for(lambda: flower.control.ping(timeout=1.0))
        (name,) = flower.control.inspect(timeout=PATIENCE, limit=1).stats()
        limit = {"task_name": "leave.trace", "rate_limit": "9/s"}
        answers = flower.control.broadcast("rate_limit", limit, reply=True, timeout=PATIENCE, limit=1)
        assert list(answers[0][name]) == ["ok" if obeys else "error"]
        flower.control.revoke("a task")
        flower.control.shutdown()
        if obeys:
            assert process.wait(PATIENCE) == 0
        else:
            assert flower.control.inspect(timeout=PATIENCE, limit=1).revoked() == {name: []}
            assert process.poll() is None
    assert place.refusals() == []


def test_what_a_killed_worker_held_is_put_back_by_another_role(place: Place, tmp_path: Path) -> None:
    """The messages that a killed worker had taken return to their queue, whoever restores them."""
    with place.process(tmp_path / "dead", "ingester", *worker("ingest")) as process:
        with place.app("scheduler") as beat:
            beat.send_task("leave.trace", ["running", 3600.0], queue="ingest")
            wait_for((tmp_path / "dead" / "running").exists)
            beat.send_task("leave.trace", ["waiting"], queue="ingest")
            wait_for(lambda: place.admin.hlen("unacked") and not place.admin.llen("ingest"))
        process.kill()
        process.wait()
    soon = {"visibility_timeout": 1, **RESTORING}
    with place.process(tmp_path / "other", "operator", *worker("maintain"), broker_transport_options=soon):
        wait_for(lambda: place.admin.llen("ingest"))
    assert place.refusals() == []


def words(line: str) -> list[str]:
    """The words of a command; `PRIO3` stands for kombu's suffix of a priority."""
    return line.replace("PRIO3", "\x06\x163").split(" ")


NOT_FOR_ANYBODY = [
    "FLUSHALL",
    "FLUSHDB",
    "CONFIG GET *",
    "KEYS *",
    "SCAN 0",
    "ACL LIST",
    "ACL SETUSER scheduler nopass",
    "DEBUG SLEEP 0",
    "SHUTDOWN NOSAVE",
    "MONITOR",
    "CLIENT LIST",
    "CLIENT KILL ID 1",
    "SCRIPT FLUSH",
    "EVAL return 0",
    "FUNCTION LIST",
    "MODULE LIST",
    "SAVE",
    "REPLICAOF NO ONE",
    "MIGRATE 127.0.0.1 1 collect 0 1",
    "GET device:1:status",
    "SET device:1:status online",
    "SET anything else",
    "EXPIRE device:1:status 60",
    "GETRANGE device:1:other 0 11",
    "GETRANGE collect 0 11",
    "DEL collect",
    "DEL ingest",
    "DEL unacked",
    "GET collect",
    "SET collect value",
    "RENAME collect other",
    "SADD collect.now member",
    "LRANGE collect 0 -1",
    "LRANGE ingest 0 -1",
    "LPUSH somewhere.else message",
    "PUBLISH anything message",
    "PSUBSCRIBE *",
    "PSUBSCRIBE /0.*",
]
OURS = set(ROLES) - {FLOWER}
ONLY_FOR = {
    **{f"RPOP {queue}": {role for role, mine in CONSUMERS.items() if queue in mine.split(",")} for queue in QUEUES},
    "RPOP collectPRIO3": {"collector"},
    "BRPOP collect 0.01": {"collector"},
    **{f"LPUSH {queue} message": OURS for queue in QUEUES},
    "LPUSH collectPRIO3 message": OURS,
    "RPUSH collect message": OURS,
    "HGET unacked tag": OURS,
    "HSET unacked tag message": set(CONSUMERS),
    "ZREM unacked_index tag": OURS,
    "DEL unacked_mutex": OURS,
    "HGET flower.unacked tag": {FLOWER},
    "SREM _kombu.binding.collect member": OURS,
    "SADD _kombu.binding.collect member": OURS,
    "SADD _kombu.binding_permanent.collect member": OURS,
    "SADD _kombu.binding.reply.celery.pidbox member": set(ROLES),
    "RPOP someone.reply.celery.pidbox": {"operator", FLOWER},
    "LPUSH someone.reply.celery.pidbox answer": OURS,
    "LLEN collect": set(ROLES),
    "GETRANGE device:1:status 0 11": {"scheduler"},
    "PTTL device:1:status": {"scheduler"},
    "PSUBSCRIBE /0.celery.pidbox": OURS,
    "PSUBSCRIBE /0.celeryev/*": set(ROLES),
    "PUBLISH /0.celery.pidbox command": {"operator", FLOWER},
    "PUBLISH /0.celeryev/worker.heartbeat event": OURS,
}


@pytest.mark.parametrize("line", [*NOT_FOR_ANYBODY, *ONLY_FOR])
def test_each_role_may_do_only_what_it_is_for(place: Place, line: str) -> None:
    """Exactly the listed roles are let do a command; the rest is refused before anything happens."""
    who = set()
    for role in ROLES:
        if place.ask("ACL", "DRYRUN", role, *words(line)) == "OK":
            who.add(role)
    assert who == ONLY_FOR.get(line, set())


POLLING = ["SET device:1:status online EX 180", "SETEX device:1:status 180 off", "EXPIRE device:1:status 180"]
POLLING += ["GET device:1:status", "PTTL device:1:status", "DEL device:1:status"]
NOT_FOR_POLLERS = ["SET device:1:other online", "GET collect", "MSET device:1:status a collect b", "KEYS device:*"]
NOT_FOR_POLLERS += ["GETSET device:1:status a", "RENAME device:1:status collect", "COPY device:1:status collect"]
NOT_FOR_POLLERS += ["PUBLISH device:1:status a", "EVAL return 0", "SCAN 0", "DBSIZE", "INFO", "CONFIG GET *"]


@pytest.mark.parametrize("line", POLLING + NOT_FOR_POLLERS + [line for line in ONLY_FOR if "device" not in line])
def test_a_poller_may_say_who_is_online_and_nothing_else(place: Place, line: str) -> None:
    """Somebody's poller has a login of its own, which reaches the keys of devices and nothing of ours."""
    allowed = place.ask("ACL", "DRYRUN", POLLER, *words(line)) == "OK"
    assert allowed == (line in POLLING)


def test_a_poller_logs_in_and_says_it(place: Place) -> None:
    """What redis-cli or a client library does: log in, write with a TTL, read it back; nothing of it is refused."""
    with place.client(POLLER) as poller:
        with poller.pipeline() as both:
            both.set("device:1:status", "online", ex=180).get("device:1:status")
            assert both.execute() == [True, b"online"]
        assert 0 < poller.ttl("device:1:status") <= 180
    assert place.refusals() == []


def test_a_worker_cannot_end_the_others(place: Place, tmp_path: Path) -> None:
    """Remote control is the operator's: a shutdown under a collector's login reaches nobody, his does."""
    with place.process(tmp_path / "worker", "ingester", *worker("ingest")) as process:
        with place.app("operator") as operator:
            wait_for(lambda: operator.control.ping(timeout=1.0))
            with place.app("collector") as collector, pytest.raises(OperationalError, match="permission"):
                collector.control.shutdown()
            assert place.refusals() == [("collector", "/0.celery.pidbox")]
            assert operator.control.ping(timeout=1.0)
            operator.control.shutdown()
        assert process.wait(PATIENCE) == 0


def test_nobody_gets_in_without_a_login(place: Place) -> None:
    """There is no default user, and a wrong password is refused."""
    with redis.Redis.from_url(f"redis://{place.address}/0") as anonymous, pytest.raises(redis.AuthenticationError):
        anonymous.ping()
    assert not ask(f"redis://{place.address}/0", "flower", "wrong").version


def test_doctor_learns_the_version(place: Place) -> None:
    """Every role may ask whether the broker answers and which it is; the text of a failure holds no password."""
    for role in ROLES:
        assert ask(f"redis://{place.address}/0", role, place.passwords[role]).version.split()[0] in {"valkey", "redis"}
    gone = ask("redis://127.0.0.1:1/0", "flower", "secret-password")
    assert not gone.version
    assert "secret-password" not in gone.detail


def test_the_file_holds_no_password(place: Place) -> None:
    """Only hashes of the passwords stand in the text, and an unknown role is an error."""
    text = acl_text(place.passwords)
    assert not [password for password in place.passwords.values() if password in text]
    with pytest.raises(SettingsInvalid):
        acl_text({"stranger": "password"})
