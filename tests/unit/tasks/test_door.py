"""Flower behind its door, in this process: what answers, what its answers hold, and what it keeps."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from flower.options import default_options
from tornado.ioloop import IOLoop

from backupflow.core.front_door import USER, WrongLogins
from backupflow.settings import Settings
from backupflow.tasks import flower
from backupflow.tasks.door import POLICY, Door, script

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PASSWORD = "a password of a page"
HOSTILE = "<img src=x onerror=alert(1)>\"'--><script>alert(2)</script>"
TASKS = 50
OPTIONS = ("basic_auth", "read_only", "tasks_columns", "inspect_timeout")  # Flower's own, of a whole process
INLINE = re.compile(r"<script\b(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)


@dataclass
class Page:
    """A door that listens, and who asks it."""

    door: Door
    port: int
    loop: IOLoop

    def ask(
        self,
        path: str,
        method: str = "GET",
        more: Mapping[str, str] | None = None,
        *,
        login: bool = True,
        size: int = 0,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by their names in small letters, and body; with a body of so many bytes."""
        headers, body = dict(more or {}), b"x" * size if size else None
        if login:
            headers["Authorization"] = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def hear(self, *events: dict[str, Any]) -> None:
        """Events as workers send them, in the loop's own thread."""
        done = threading.Event()

        def keep() -> None:
            for event in events:
                self.door.events.keep(event)
            done.set()

        self.loop.add_callback(keep)
        assert done.wait(60)


@contextmanager
def opened(*, write: bool) -> Iterator[Page]:
    """A door in a thread of its own."""
    app = Celery("test", broker="memory://", set_as_current=False)
    settings = Settings({"FLOWER_MAX_TASKS": str(TASKS), "FLOWER_WRITE": "1" if write else ""})
    made: list[Page] = []
    ready = threading.Event()

    def run() -> None:
        loop = IOLoop(make_current=True)
        door = flower.door(settings.watching, PASSWORD, loop)
        made.append(Page(door, door.listen_on("127.0.0.1", 0), loop))
        loop.add_callback(ready.set)
        loop.start()
        loop.close(all_fds=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flower, "app", app)
        kept = {name: getattr(default_options, name) for name in OPTIONS}
        default_options.inspect_timeout = 50.0  # milliseconds: there is no worker to wait for
        thread = threading.Thread(target=run)
        thread.start()
        assert ready.wait(60)
        yield made[0]
        made[0].loop.add_callback(made[0].loop.stop)
        thread.join()
        made[0].door.executor.shutdown()
        for name, value in kept.items():
            setattr(default_options, name, value)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """One that lets nobody command; what its tests tell it, the others of them may see."""
    with opened(write=False) as made:
        yield made


def told(number: int, **event: object) -> dict[str, Any]:
    """An event of a task; later ones of a later time."""
    about = {"uuid": f"task-{number}", "name": "collect.device", "hostname": "collect@one", "clock": number}
    about |= {"pid": 1, "utcoffset": 0}
    return {**about, "timestamp": 1e9 + number, "local_received": 1e9 + number, "type": "task-received", **event}


PATHS = ["/", "/tasks", "/static/js/flower.js", "/static/favicon.ico", "/metrics", "/api/workers", "/nothing", "/login"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "BREW"])
def test_nothing_answers_without_the_login(page: Page, path: str, method: str) -> None:
    """Not even whether there is such a page; no header of the client opens anything."""
    status, headers, body = page.ask(path, method, {"X-Forwarded-For": "127.0.0.1"}, login=False)
    assert status == 401
    assert headers["www-authenticate"].startswith("Basic")
    assert b"Log in" in body or method == "HEAD"
    wrong = base64.b64encode(f"{USER}:wrong".encode()).decode()
    assert page.ask(path, method, {"Authorization": f"Basic {wrong}"}, login=False)[0] == 401


def test_wrong_passwords_are_one_line(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever guesses does not turn the log over."""
    monkeypatch.setattr(page.door, "_wrong", WrongLogins())
    wrong = {"Authorization": f"Basic {base64.b64encode(b'flower:wrong').decode()}"}
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "backupflow.tasks.door.telemetry.logger", lambda: SimpleNamespace(warning=lambda _, **more: said.append(more))
    )
    assert {page.ask("/", more=wrong, login=False)[0] for _ in range(5)} == {401}
    assert said == [{"peer": "127.0.0.1", "times": 1}]


def test_the_login_opens_what_shows_something(page: Page) -> None:
    """And nothing else, nor by a method that is not GET."""
    found = {path: page.ask(path)[0] for path in PATHS}
    assert found == {path: 404 if path in {"/metrics", "/nothing", "/login"} else 200 for path in PATHS}
    assert {page.ask(path, "POST")[0] for path in PATHS} == {404, 405}
    assert page.ask("/api/worker/shutdown/collect@one", "POST")[0] == 403


def test_where_commands_are_let_they_reach_flower() -> None:
    """It answers then by itself; sending a task stays impossible, and so does a command from another site's page."""
    with opened(write=True) as page:
        commanding(page)


def commanding(page: Page) -> None:
    """What a page that may command is asked."""
    status, _, body = page.ask("/api/worker/shutdown/nobody@one", "POST")
    assert (status, b"Unknown worker" in body) == (404, True)
    assert page.ask("/api/task/apply/collect.device", "POST")[0] == 404
    crossed = page.ask("/api/worker/shutdown/nobody@one", "POST", {"Sec-Fetch-Site": "cross-site"})
    assert crossed[0] == 403
    assert page.ask("/api/worker/shutdown/nobody@one", "POST", {"Origin": "http://elsewhere.example"})[0] == 403


@pytest.mark.parametrize("path", [*PATHS, "/worker/none", "/task/none", "/api/task/info/none"])
def test_every_answer_carries_the_headers(page: Page, path: str) -> None:
    """Pages, files, errors and refusals alike."""
    for login in (True, False):
        _, headers, _ = page.ask(path, login=login)
        assert headers["content-security-policy"] == POLICY
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store" or path.startswith("/static/")
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers
        assert "location" not in headers


def test_each_script_inside_a_page_is_let_and_no_other(page: Page) -> None:
    """The policy names its hash; without that the page would not refresh itself."""
    inline = [part for path in ("/", "/tasks", "/broker") for part in INLINE.findall(page.ask(path)[2].decode())]
    assert inline
    for part in inline:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" in POLICY
    assert "script-src 'self' 'sha256-" in POLICY
    assert "'unsafe-inline'" not in POLICY.partition("style-src")[0]


def test_its_script_asks_for_tasks_by_get(page: Page) -> None:
    """The one place where Flower's own page would be refused."""
    served = page.ask("/static/js/flower.js?v=1")[2].decode()
    assert served == script()
    assert re.search(r"type: 'GET',\s+url: url_prefix\(\) \+ '/tasks/datatable'", served)
    assert not re.search(r"type: 'POST',\s+url: url_prefix\(\) \+ '/tasks/datatable'", served)


def test_names_of_workers_and_tasks_are_text_wherever_they_are_shown(page: Page) -> None:
    """Redis is written by our roles alone; should one of them be taken, its words still run in no browser."""
    worker = {"type": "worker-online", "hostname": HOSTILE, "timestamp": 2e9, "local_received": 2e9, "clock": 0}
    worker |= {"utcoffset": 0, "pid": 1, "freq": 2.0, "sw_ident": HOSTILE, "sw_ver": HOSTILE, "sw_sys": HOSTILE}
    task = {"name": HOSTILE, "hostname": HOSTILE, "args": HOSTILE, "kwargs": HOSTILE, "root_id": HOSTILE}
    failed = {"type": "task-failed", "exception": HOSTILE, "traceback": HOSTILE, "hostname": HOSTILE, "uuid": HOSTILE}
    page.hear(worker, told(0, **task, uuid=HOSTILE), told(1, **failed))
    table = "/tasks/datatable?draw=1&start=0&length=9&order[0][column]=0&columns[0][data]=name"
    quoted = "".join(f"%{one:02x}" for one in HOSTILE.encode())
    pages = ["/", "/workers", "/tasks", f"/task/{quoted}", f"/worker/{quoted}", f"/tasks?search={quoted}"]
    for path in pages:
        status, headers, body = page.ask(path)
        assert status == 200 or path.startswith("/worker/")
        assert headers["content-type"].startswith("text/html")
        assert b"<img" not in body.replace(b'<img src="/static/favicon.ico', b"")
        assert b"alert(2)</script>" not in body
    for path in (table, "/workers?json=1", "/api/tasks", "/api/workers?status=1"):
        status, headers, body = page.ask(path)
        assert status == 200
        assert HOSTILE in json.dumps(json.loads(body), ensure_ascii=False).replace('\\"', '"')
        assert headers["content-type"].startswith("application/json")


def test_a_worker_that_counts_in_words_breaks_no_page(page: Page) -> None:
    """What it tells is left out: the list of workers would be an error for everybody, until Flower is started again."""
    beat = {"type": "worker-heartbeat", "timestamp": 2e9, "local_received": 2e9, "clock": 0, "utcoffset": 0, "pid": 1}
    page.hear({**beat, "hostname": "w@words", "active": HOSTILE}, {**beat, "hostname": "w@sound", "active": 3})
    status, _, body = page.ask("/workers")
    assert (status, b"w@sound" in body, b"w@words" in body) == (200, True, False)


def test_a_redirect_leads_nowhere(page: Page) -> None:
    """There is none at all: no page sends anybody anywhere."""
    for path in (
        "/login?next=//elsewhere",
        "//elsewhere/%2e%2e",
        "/static//elsewhere",
        "/logout?next=http://elsewhere",
    ):
        status, headers, _ = page.ask(path)
        assert status == 404
        assert "location" not in headers


def test_no_page_opens_a_websocket(page: Page) -> None:
    """This Flower has none: a client that asks for one gets the page, or nothing."""
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"}
    for path in (*PATHS, "/api/task/events/task-received/", "/update-workers"):
        assert page.ask(path, "GET", upgrade)[0] in {200, 404}


def test_a_great_request_is_not_taken(page: Page) -> None:
    """Whoever has no login may not fill the memory either."""
    try:
        status = page.ask("/", "POST", login=False, size=1_000_000)[0]
    except (http.client.HTTPException, OSError):
        status = 400  # it hung up in the midst of it
    assert status == 400
    assert page.ask("/")[0] == 200


def test_it_keeps_the_latest_tasks_and_as_many_workers_and_no_more(page: Page) -> None:
    """Ten thousand tasks of as many workers later it holds what it held before."""
    page.hear(*(told(number, hostname=f"collect@{number}") for number in range(10_000)))
    state = page.door.events.state
    assert len(state.tasks) == TASKS
    assert max(int(name.rpartition("-")[2]) for name in state.tasks) == 9_999
    assert len(state.workers) <= 1_000
    assert len(state.counter) <= 2_000
    assert len(state.search_engine.documents) == TASKS
