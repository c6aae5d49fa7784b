"""Flower of an install at work: nobody sees a page without the login, and no page holds anything but ids and counts."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from celery import Celery
from flower.urls import handlers
from tornado.routing import URLSpec

from backupflow.core.front_door import PASS, USER, decide
from backupflow.simulator import Fleet
from tests.acceptance.install import PATIENT, Install, wait_for
from tests.acceptance.marked_install import worker
from tests.acceptance.marked_routers import specs
from tests.acceptance.search import Finder, Hit, Markers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = PATIENT
SECONDS = 60.0
WANTED = ("plain", "commented", "refused", "cut", "rejected")
TABLE = "?draw=1&start=0&length=100&order[0][column]=0&columns[0][data]=name"
QUERIES = {"/tasks/datatable": TABLE, "/workers": "?json=1", "/api/workers": "?refresh=1", "/api/tasks": "?limit=1000"}


@dataclass
class Page:
    """The page of an install."""

    port: int
    password: str

    def ask(
        self, path: str, method: str = "GET", more: Mapping[str, str] | None = None, *, login: bool = True
    ) -> tuple[int, bytes]:
        """Status, and all that came: headers and body."""
        headers = dict(more or {})
        if login:
            headers["Authorization"] = f"Basic {base64.b64encode(f'{USER}:{self.password}'.encode()).decode()}"
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, str(answer.headers).encode() + answer.read()

    def tasks(self) -> dict[str, dict[str, str]]:
        """The tasks that it knows."""
        found: dict[str, dict[str, str]] = json.loads(self.ask("/api/tasks")[1].partition(b"\n\n")[2])
        return found


@dataclass
class Scene:
    """An install whose routers gave marked configurations, and the page that watches it."""

    install: Install
    page: Page
    markers: Markers
    workers: list[str]
    task: str  # the id of one that collected

    def paths(self) -> Iterator[str]:
        """Each route that Flower has, for a worker and a task that there are, with what makes it tell most."""
        for handler in handlers:
            pattern = handler.regex.pattern if isinstance(handler, URLSpec) else handler[0]
            path = str(pattern).removesuffix("$").removesuffix("/?")
            path = path.replace("/static/(.*)", "/static/js/flower.js")
            if path == ".*":
                path = "/nothing"
            named = "task" if path.startswith(("/task", "/api/task/")) else "worker"
            for name in [self.task] if named == "task" else self.workers:
                yield path.replace("(.+)", quote(name)).replace("(.*)", name)
                if "(" not in path:
                    break

    def answers(self) -> Iterator[tuple[str, bytes]]:
        """What each route answers to somebody with the login."""
        for path in self.paths():
            for query in {"", QUERIES.get(path, "")}:
                yield f"{path}{query}", self.page.ask(f"{path}{query}")[1]

    def search(self, finder: Finder) -> set[Hit]:
        """Look in all that it answers."""
        return {hit for path, answer in self.answers() for hit in finder.in_bytes(path, answer)}


@pytest.fixture(scope="module")
def scene(collecting: Install) -> Scene:
    """Collections that end well and badly, all of them seen by Flower."""
    markers, install = Markers(), collecting
    chosen = [one for one in specs(markers) if one[0].name in WANTED]
    secrets = install.data / "secrets"
    port = json.loads((install.data / "ports.json").read_text("utf-8"))["flower"]
    page = Page(port, (secrets / "flower.web").read_text("utf-8"))
    wait_for(lambda: is_open(port), "Flower to listen", SECONDS)
    wait_for(lambda: len(workers_of(page)) >= 5, "all workers to be seen", SECONDS)
    with Fleet([spec for spec, _ in chosen]) as fleet:
        before = len(collected(page))
        for spec, login in chosen:
            install.add(f"watched-{spec.name}", fleet[spec.name].port, login)
        wait_for(lambda: len(collected(page)) >= before + len(WANTED), "the collections to be seen", SECONDS)
    for file in sorted(secrets.iterdir()):
        if len(text := file.read_bytes().strip()) >= 12:
            markers.add(f"secret {file.name}", text)
    return Scene(install, page, markers, workers_of(page), collected(page)[-1])


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def workers_of(page: Page) -> list[str]:
    """The workers that have told it how they are."""
    return list(json.loads(page.ask("/api/workers?refresh=1")[1].partition(b"\n\n")[2]))


def collected(page: Page) -> list[str]:
    """The ids of tasks that collected a device, and have ended."""
    return [one for one, task in page.tasks().items() if (task["name"], task["state"]) == ("collect.device", "SUCCESS")]


def test_each_stage_is_seen_by_its_name_and_by_ids_only(scene: Scene) -> None:
    """What a task was given is the number of a row or the name of a job; what it gave back is nothing."""
    tasks = scene.page.tasks().values()
    assert {"collect.device", "ingest.drain", "maintain.run"} <= {str(task["name"]) for task in tasks}
    known = {name for (name,) in scene.install.rows("SELECT name FROM job")} | {"ingest", "interpret", "maintain"}
    known |= {"collect", "collect.now", "collect.slow", "status"}
    for task in tasks:
        words = str(task["args"]).strip("[](),").replace("'", "").replace('"', "")
        assert words == "" or words.isdigit() or words in known, task
        assert task["kwargs"] in ("{}", None), task
        assert task["result"] in ("None", None), task
        assert task["exception"] is None, task


def test_no_page_holds_a_marker_or_a_password(scene: Scene) -> None:
    """Of all routes, with and without what makes them tell more; and the same search finds what is on a page (I5)."""
    assert len(list(scene.paths())) > len(handlers)
    assert scene.search(scene.markers.finder()) == set()
    known = Markers()
    known.add("a task", scene.task.encode())
    assert {hit.where for hit in scene.search(known.finder())} >= {f"/task/{scene.task}", f"/tasks/datatable{TABLE}"}


def test_every_page_is_there_and_shows_what_it_is_for(scene: Scene) -> None:
    """The routes that show something answer with it; /metrics, /healthcheck and what sends tasks are not there."""
    for path in scene.paths():
        wanted = 200 if decide("GET", path, write=False) is PASS else (404, 405)
        status = scene.page.ask(path + (TABLE if path == "/tasks/datatable" else ""))[0]
        assert status == wanted or status in (wanted if isinstance(wanted, tuple) else ()), path
    assert [scene.page.ask(path)[0] for path in ("/metrics", "/healthcheck")] == [404, 404]
    assert b"redis://flower:**@" in scene.page.ask("/broker")[1]


def test_nothing_answers_without_the_login(scene: Scene) -> None:
    """401 and the same words for all of them, whatever the method."""
    for path in scene.paths():
        for method in ("GET", "POST"):
            status, answer = scene.page.ask(path, method, login=False)
            assert (status, b"Log in with" in answer) == (401, True), path


def test_none_but_get_passes(scene: Scene) -> None:
    """With the login too; no worker is any the worse for it."""
    before = {process.pid for process in scene.install.processes()}
    for path in scene.paths():
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            assert scene.page.ask(path, method)[0] in {403, 404, 405}, (method, path)
    assert {process.pid for process in scene.install.processes()} >= before


def test_no_frame_of_a_websocket_comes(scene: Scene) -> None:
    """This Flower's pages ask again and again instead: no route answers to who wants to switch protocols."""
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    for path in scene.paths():
        status, answer = scene.page.ask(path, "GET", upgrade)
        assert status != 101
        assert b"sec-websocket" not in answer.lower()


def test_who_has_its_login_to_the_broker_stops_no_worker(scene: Scene) -> None:
    """The broker lets Flower ask; a command that comes the same way is refused by the worker, which says so."""
    before = worker(scene.install, "collect").pid
    name = next(one for one in scene.workers if one.startswith("collect@"))
    with Celery("thief", broker=scene.install.wiring.broker_url("flower"), set_as_current=False) as thief:
        thief.conf.broker_transport_options = scene.install.wiring.flower_transport
        answers = thief.control.broadcast("shutdown", reply=True, timeout=10.0, limit=1, destination=[name])
    assert "refused" in answers[0][name]["error"]
    assert worker(scene.install, "collect").pid == before
    assert "remote_control_refused" in logged(scene.install.data / "logs")


def logged(folder: Path) -> str:
    """All logs."""
    return "\n".join(file.read_text("utf-8", "replace") for file in folder.glob("collect*"))


def test_its_password_is_said_nowhere_but_in_its_file(scene: Scene) -> None:
    """`up` names the file; no argument, environment or log holds what is in it."""
    assert str(scene.install.data / "secrets" / "flower.web") in scene.install.output()
    secret = Markers()
    secret.add("flower.web", scene.page.password.encode())
    finder = secret.finder()
    servers = {scene.install.data / name for name in ("postgres", "openbao", "nats")}
    assert {hit.where for hit in finder.in_tree(scene.install.root, skip=servers)} == {"data/secrets/flower.web"}
    for process in scene.install.processes():
        shown = json.dumps([process.cmdline(), process.environ()]).encode()
        assert finder.in_bytes(process.name(), shown) == set()
