"""What is believed of routers, through the whole install: shrunk, replaced, silent about secrets, hostile in words."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupflow.core.model import Login
from backupflow.flows import history
from backupflow.simulator import Behaviour, Fleet, RouterSpec
from tests.acceptance.install import PATIENT, Install, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupflow.core.history import Aside, Run
    from backupflow.simulator import SimulatedRouter

pytestmark = PATIENT

SECONDS = 60
STYLE = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")  # what our own commands write
STILL = Behaviour(flapping=0)
SEVEN = RouterSpec("", version="7.14", behaviour=STILL)
SIX = RouterSpec("", version="6.49.7", behaviour=STILL)
OWNED = "\x1b]0;owned\x07[bold]<b>x</b>"
ROUTERS = {
    "shrinks": SEVEN,
    "heals": SEVEN,
    "marks": SEVEN,
    "swapped": SEVEN,
    "denies": SEVEN,
    "silent": SIX,
    "omits7": SEVEN,
    "omits6": SIX,
    "cut": SEVEN,
    "hostile": replace(SEVEN, identity=OWNED, remark=OWNED, model="[red]<img src=x>", serial="[link=file:x]S[/link]"),
}
SETTINGS = {"omits7": {"secrets": "omit"}, "omits6": {"secrets": "omit"}}


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A router for each story."""
    with Fleet([replace(spec, name=name) for name, spec in ROUTERS.items()]) as routers:
        yield routers


@pytest.fixture(scope="module")
def install(collecting: Install, fleet: Fleet) -> Install:
    """An install that has collected each of them once."""
    for name, router in fleet.items():
        collecting.add(name, router.port, Login("backup", "backup"), SETTINGS.get(name))
    wait_for(lambda: len(rows(collecting, "stored")) == len(ROUTERS), "the first round", SECONDS)
    return collecting


def rows(install: Install, state: str) -> list[str]:
    """Those of the routers with a collection in this state, as often as they have one."""
    found = install.rows(
        "SELECT d.name FROM collection c JOIN device d ON d.id = c.device_id WHERE state = :s", s=state
    )
    return [row.name for row in found if row.name in ROUTERS]


def backup(install: Install, *names: str) -> dict[str, tuple[str | None, str | None]]:
    """Collect now, by the code of `backup --wait`, which costs a process less: state and code of each."""
    requests = install.wiring.requests
    install.forget_meetings()
    numbers = requests.ask(install.tenant_id, names, "test")
    wait_for(lambda: all(one.ended for one in requests.asked(numbers)), f"backup of {names}", SECONDS)
    return {one.device: (one.state, one.code) for one in requests.asked(numbers)}


def runs(install: Install, name: str) -> Sequence[Run]:
    """Its history, the newest first, as `snapshots` lists it."""
    return history.snapshots(install.wiring.snapshots, install.tenant_id, name, 100)


def asides(install: Install, name: str) -> Sequence[Aside]:
    """What was not believed of it, as `snapshots --aside` lists it."""
    return history.asides(install.wiring.snapshots, install.tenant_id, name)


def current(install: Install, name: str) -> bytes:
    """Its export, by the code of `export`."""
    read = history.export(install.wiring.history_ports("test"), install.tenant_id, name, None)
    assert isinstance(read, history.Exported)
    return canonical(read.raw)


def canonical(raw: bytes) -> bytes:
    """Without its date and markers: what is left moves only with the configuration."""
    first, *rest = raw.split(b"\r\n")
    return b"\r\n".join([b"# by " + first.split(b" by ", 1)[1], *(row for row in rest if row[:6] != b"#error")])


def alarms(install: Install) -> set[tuple[str, str]]:
    """What is raised now: code and device, where it is one of a device."""
    found = install.rows(
        "SELECT a.code, d.name FROM alarm a JOIN device d ON a.scope = 'device ' || d.id WHERE a.cleared_at IS NULL"
    )
    return {(row.code, row.name) for row in found}


def test_an_export_that_is_doubted_is_kept_aside_until_the_next_one_says_the_same(
    install: Install, fleet: Fleet
) -> None:
    """Half of the sections, or a menu that is suddenly not exported: never current at once, and no deletion (I8)."""
    names = ("shrinks", "heals", "marks")
    whole = {name: fleet[name].text() for name in names}
    for name in ("shrinks", "heals"):
        fleet[name].behave(shrunk=True)
    fleet["marks"].behave(unexportable=["/ip dns"])
    assert backup(install, *names) == dict.fromkeys(names, ("suspect", "export_suspect"))
    assert {name: current(install, name) for name in names} == whole
    assert {name: (len(runs(install, name)), len(asides(install, name))) for name in names} == dict.fromkeys(
        names, (1, 1)
    )
    assert "ip/dns" in asides(install, "marks")[0].detail
    assert canonical(install.command("export", "shrinks", "--aside", "-o", "-").stdout) == fleet["shrinks"].text()

    fleet["heals"].behave(shrunk=False)
    assert backup(install, *names) == dict.fromkeys(names, ("stored", None))
    assert {name: current(install, name) for name in names} == {name: fleet[name].text() for name in names}
    assert current(install, "heals") == whole["heals"]
    assert [(run.is_current, run.observations) for run in runs(install, "heals")] == [(True, 2)]
    for name in ("shrinks", "marks"):
        assert current(install, name) != whole[name]
        assert [run.is_current for run in runs(install, name)] == [True, False]

    fleet["heals"].behave(shrunk=True)
    fleet["marks"].behave(unexportable=[])
    assert backup(install, "heals", "marks") == {"heals": ("suspect", "export_suspect"), "marks": ("stored", None)}
    assert current(install, "marks") == whole["marks"]


def test_another_router_behind_the_same_key_is_taken_only_when_a_person_says_so(install: Install, fleet: Fleet) -> None:
    """Blocked, and again after `unblock`; `replaced` collects it anew, and what was kept aside stays aside."""
    router = fleet["swapped"]
    before = router.text()
    router.behave(serial="HZZ0SOMEONE")
    assert backup(install, "swapped") == {"swapped": ("blocked", "identity_changed")}
    assert (len(asides(install, "swapped")), current(install, "swapped")) == (1, before)
    install.forget_meetings()
    install.command("device", "unblock", "swapped")
    wait_for(lambda: rows(install, "blocked").count("swapped") == 2, "the second block", SECONDS)
    assert (len(asides(install, "swapped")), current(install, "swapped")) == (2, before)
    install.forget_meetings()
    install.command("device", "replaced", "swapped", "--yes")
    wait_for(lambda: rows(install, "stored").count("swapped") == 2, "the other router", SECONDS)
    assert current(install, "swapped") == router.text() != before
    assert {aside.code for aside in asides(install, "swapped")} == {"identity_changed"}
    assert backup(install, "swapped") == {"swapped": ("stored", None)}
    assert [(run.is_current, run.observations) for run in runs(install, "swapped")] == [(True, 2), (False, 1)]


def test_secrets_that_are_not_shown_any_more_are_said_to_be_hidden(install: Install, fleet: Fleet) -> None:
    """Stored without them, with an alarm, and the history tells visibility from change; the alarm ends with it."""
    names = ("denies", "silent")
    assert [runs(install, name)[0].secrets for name in names] == ["shown", "shown"]
    for shown, says in ((False, "hidden"), (True, "shown")):
        for name in names:
            fleet[name].behave(sensitive=shown)
        assert backup(install, *names) == dict.fromkeys(names, ("stored", None))
        for name in names:
            newest = runs(install, name)[0]
            assert (newest.secrets, newest.only_secrets) == (says, True)
            assert current(install, name) == fleet[name].text(sensitive=shown)
            assert (("secrets_hidden", name) in alarms(install)) is not shown
    assert b"only the visibility of its secrets changed" in install.command("snapshots", "silent").stdout


def test_a_policy_keeps_secrets_on_the_router(install: Install, fleet: Fleet) -> None:
    """None ever leaves it: it is what the router sent that is looked at. And that is no reason for an alarm."""
    names = ("omits7", "omits6")
    assert backup(install, *names) == dict.fromkeys(names, ("stored", None))
    for name in names:
        served = [event.facts for event in fleet[name].history if event.kind == "export_served"]
        assert sum(one["menu"] == "" for one in served) == 2
        assert {one["secrets"] for one in served} == {0}
        assert current(install, name) == fleet[name].text(sensitive=False) != fleet[name].text()
        assert runs(install, name)[0].secrets == "omitted"
        assert ("secrets_hidden", name) not in alarms(install)


def test_an_export_that_ends_between_two_items_lacks_its_end_mark(install: Install, fleet: Fleet) -> None:
    """An export of this router had one, so the next without it is broken off, however whole it looks (I8)."""
    router = fleet["cut"]
    assert backup(install, "cut") == {"cut": ("stored", None)}
    router.behave(cut_after=between_items(router), cut_manner="channel")
    assert backup(install, "cut") == {"cut": ("failed", "output_truncated")}
    assert current(install, "cut") == router.text()
    assert not asides(install, "cut")
    commands = [event.facts["text"] for event in router.history if event.kind == "command"]
    assert "; :put " in commands[-1]
    assert ";" not in commands[0]
    router.behave(cut_after=None)
    assert backup(install, "cut") == {"cut": ("stored", None)}


def between_items(router: SimulatedRouter) -> int:
    """After nine tenths of an export, where one item ends and another begins."""
    text = router.text()
    at = text.index(b"\r\nadd ", len(text) * 9 // 10) + 2
    return at + len("2024-01-02 10:30:00 ")  # the date, which the canonical text has not


def test_what_a_router_calls_itself_is_shown_and_does_nothing(install: Install) -> None:
    """On a terminal and through a pipe: no control sequence of a router's comes through, no markup is obeyed."""
    asked = (("status",), ("device", "list"), ("device", "show", "hostile"), ("snapshots", "hostile"))
    with ThreadPoolExecutor(2) as pool:
        shown = list(pool.map(lambda argv: on_a_terminal(install, *argv), asked))
    for argv, read in zip(asked, shown, strict=True):
        assert STYLE.search(read), argv  # so it did take it for a terminal
        left = STYLE.sub(b"", read)
        assert b"\x1b" not in left, argv
        assert b"\x07" not in left, argv
    told = install.command("device", "show", "hostile").stdout
    assert b"\x1b" not in told
    for said in (b"[bold]<b>x</b>", b"[red]<img src=x>", b"[link=file:x]S[/link]"):
        assert said in told
        assert said in STYLE.sub(b"", shown[2])


def on_a_terminal(install: Install, *argv: str) -> bytes:
    """All that a command writes to the terminal that it runs on."""
    master, slave = pty.openpty()
    environment = {**install.environment, "TERM": "xterm-256color", "COLUMNS": "200"}
    process = subprocess.Popen(
        [sys.executable, "-m", "backupflow", "--data-dir", str(install.data), *argv],
        env=environment, stdin=slave, stdout=slave, stderr=slave, cwd=install.root,
    )  # fmt: skip
    os.close(slave)
    read = b""
    try:
        while chunk := os.read(master, 65_536):
            read += chunk
    except OSError:  # how Linux says that nobody has the other end any more
        process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return read
