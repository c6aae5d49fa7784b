"""What passes the front door of Flower."""

from __future__ import annotations

import base64

import pytest
from flower.urls import handlers
from hypothesis import given
from hypothesis import strategies as st
from tornado.routing import URLSpec

from backupflow.core.front_door import (
    NOT_HERE,
    NOT_LET,
    OTHERS,
    PASS,
    PEERS,
    READ_ONLY,
    TOLD_EVERY,
    USER,
    WrongLogins,
    decide,
    is_login,
)

# Of each route that Flower has: whether it shows something, commands a worker, or is not there.
SHOWS, COMMANDS, NOTHING = "shows", "commands", "nothing"
ROUTES = {
    r"/": SHOWS,
    r"/workers": SHOWS,
    r"/worker/(.+)": SHOWS,
    r"/task/(.+)": SHOWS,
    r"/tasks": SHOWS,
    r"/tasks/datatable": SHOWS,
    r"/broker": SHOWS,
    r"/api/workers": SHOWS,
    r"/api/worker/shutdown/(.+)": COMMANDS,
    r"/api/worker/pool/restart/(.+)": COMMANDS,
    r"/api/worker/pool/grow/(.+)": COMMANDS,
    r"/api/worker/pool/shrink/(.+)": COMMANDS,
    r"/api/worker/pool/autoscale/(.+)": COMMANDS,
    r"/api/worker/queue/add-consumer/(.+)": COMMANDS,
    r"/api/worker/queue/cancel-consumer/(.+)": COMMANDS,
    r"/api/tasks": SHOWS,
    r"/api/task/types": SHOWS,
    r"/api/queues/length": SHOWS,
    r"/api/task/info/(.*)": SHOWS,
    r"/api/task/apply/(.+)": NOTHING,
    r"/api/task/async-apply/(.+)": NOTHING,
    r"/api/task/send-task/(.+)": NOTHING,
    r"/api/task/result/(.+)": NOTHING,
    r"/api/task/abort/(.+)": NOTHING,
    r"/api/task/timeout/(.+)": COMMANDS,
    r"/api/task/rate-limit/(.+)": COMMANDS,
    r"/api/task/revoke/(.+)": COMMANDS,
    r"/metrics": NOTHING,
    r"/healthcheck": NOTHING,
    r"/static/(.*)": SHOWS,
    r"/login/?": NOTHING,
    r"/logout": NOTHING,
    r".*": NOTHING,
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", ""]


def patterns() -> list[str]:
    """The routes of the installed Flower."""
    table = [one.regex.pattern if isinstance(one, URLSpec) else one[0] for one in handlers]
    return [pattern.removesuffix("$") for pattern in table]


def test_every_route_of_flower_has_been_looked_at() -> None:
    """A version that brings a new one, or none of an old one, has to be looked at: this table is told of it."""
    assert sorted(patterns()) == sorted(ROUTES)


@pytest.mark.parametrize("pattern", ROUTES)
@pytest.mark.parametrize("method", METHODS)
def test_only_get_passes_to_what_shows_something(pattern: str, method: str) -> None:
    """Commands pass by POST where they are let, and nowhere else; the rest is not there for anybody."""
    path = pattern.replace("/static/(.*)", "/static/js/flower.js").replace("(.+)", "one@host").replace("(.*)", "one")
    path = path.replace("/login/?", "/login").replace(".*", "/anything")
    kind = ROUTES[pattern]
    looking = {SHOWS: PASS if method in {"GET", "HEAD"} else NOT_LET, NOTHING: NOT_HERE}
    commanding = PASS if method == "POST" else NOT_LET
    assert decide(method, path, write=True) == looking.get(kind, commanding)
    assert decide(method, path, write=False) == looking.get(kind, READ_ONLY if method == "POST" else NOT_LET)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "//",
        "/metrics/",
        "//metrics",
        "/static/",
        "/static//",
        "/static/../options.py",
        "/static/js/../../urls.py",
        "/static/%2e%2e/options.py",
        "/static/js/.hidden/x",
        "/workers/",
        "/tasks\n",
        "/broker\n",
        "http://elsewhere/workers",
        "//elsewhere/workers",
        "/api",
    ],
)
def test_what_is_not_listed_is_not_there(path: str) -> None:
    """Neither another spelling of a route nor a way out of the folder of static files."""
    assert decide("GET", path, write=True) == NOT_HERE


@given(st.text())
def test_any_path_gets_a_decision_and_a_command_never_passes_unasked(path: str) -> None:
    """Whatever is asked for: nothing but GET and HEAD passes where commands are not let."""
    assert decide("POST", path, write=False) != PASS
    decide("GET", path, write=False)


def header(user: str, password: str, kind: str = "Basic") -> str:
    """An Authorization header."""
    return f"{kind} {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def test_the_login_is_the_user_and_the_password() -> None:
    """RFC 7617; the name of the scheme in any case."""
    assert is_login(header(USER, "päss:word"), "päss:word")
    assert is_login(header(USER, "word", "basic"), "word")


@pytest.mark.parametrize(
    "given_header",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !",
        "Basic ZmxvdzX",
        "Basic \N{SNOWMAN}",
        header(USER, "wor"),
        header(USER, "words"),
        header(USER, ""),
        header("admin", "word"),
        header("", "word"),
        header(USER, "word", "Bearer"),
        header(USER, "word") + " x",
    ],
)
def test_nothing_else_is(given_header: str | None) -> None:
    """Nor does any header raise: an error would be an answer."""
    assert not is_login(given_header, "word")


def test_an_empty_password_lets_nobody_in() -> None:
    """A password file that is empty is no password."""
    assert not is_login(header(USER, ""), "")


def test_wrong_logins_are_a_line_a_minute_of_each_peer() -> None:
    """The first at once; what came since is counted in the next line."""
    wrong = WrongLogins()
    assert wrong.came("a", 0.0) == ("a", 1)
    assert [wrong.came("a", second / 10) for second in range(1, 500)] == [None] * 499
    assert wrong.came("b", 50.0) == ("b", 1)
    assert wrong.came("a", TOLD_EVERY) == ("a", 500)
    assert wrong.came("a", TOLD_EVERY + 1) is None


def test_wrong_logins_of_many_peers_fill_neither_log_nor_memory() -> None:
    """Whoever has many addresses is one of the others; a minute later there is room again."""
    wrong = WrongLogins()
    told = [wrong.came(str(number), 0.0) for number in range(10_000)]
    assert [one for one in told if one] == [*((str(number), 1) for number in range(PEERS)), (OTHERS, 1)]
    assert len(wrong._of) == PEERS + 1
    assert wrong.came("another", TOLD_EVERY) == ("another", 1)
