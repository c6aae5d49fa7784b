"""Follow pages in a network where the documentation's addresses are this machine: `unshare --net` first.

    python -m tests.acceptance.following FOLDER PAGE …

One install for all of them, with simulated routers at the addresses that the pages name.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.simulator import Fleet, JumpSpec, Login, RouterSpec
from tests.acceptance.install import Install
from tests.acceptance.pages import READ, Jump, Router, Step, jumps, missing, routers, steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "PASSWORD"
NETWORKS = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.0.0.0/8")  # RFC 5737, and a private one
QUIET_SECONDS = 0.7  # a program that says nothing more on a line that it did not end, asks
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BLOCK_SECONDS = 180.0


def main(folder: Path, pages: Sequence[Path]) -> int:
    """Follow the pages; the number of those that led astray."""
    for network in NETWORKS:
        subprocess.run(["ip", "route", "add", "local", network, "dev", "lo"], check=True)
    known = {router.name: router for page in pages for router in routers(page.read_text("utf-8"))}
    hops = [_hop(jump, known) for page in pages for jump in jumps(page.read_text("utf-8"))]
    install = Install(folder, CONFIG_BACKUP_SPREAD_FROM=3600, CONFIG_BACKUP_SPREAD_TO=3600)
    with Fleet([_spec(router) for router in known.values()], jump_hosts=hops) as fleet:
        install.start()
        try:
            astray = [page.name for page in pages if not _follow(page, install, fleet)]
        finally:
            install.stop()
    return len(astray)


def _spec(router: Router) -> RouterSpec:
    return RouterSpec(
        router.name, version=router.version, host=router.host, port=22, logins=(Login("backup", PASSWORD),)
    )


def _hop(jump: Jump, known: Mapping[str, Router]) -> JumpSpec:
    behind = {(known[name].host, 22): name for name in jump.behind}
    return JumpSpec(jump.name, host=jump.host, port=22, logins=(), behind=behind)


def _follow(page: Path, install: Install, fleet: Fleet) -> bool:
    desk = install.root / page.stem
    desk.mkdir()
    (desk / ".venv").symlink_to(Path(sys.executable).parents[1])
    text = page.read_text("utf-8")
    for jump in jumps(text):
        text = text.replace(READ, fleet.jump_hosts[jump.name].fingerprint)
    for step in steps(text):
        wrong = _type(step, install, desk) if step.text else _act(step, fleet, desk)
        if wrong:
            sys.stdout.write(f"{page.name}, line {step.line}: {wrong}\n\n{step.text}\n")
            return False
    return True


def _act(step: Step, fleet: Fleet, desk: Path) -> str:
    match step.does:
        case ("edits", router, *kind):
            fleet[router].edit(kind[0] if kind else None)
        case ("gives", file, name):
            key = (desk / file).read_text("utf-8")
            if name in fleet.jump_hosts:
                fleet.jump_hosts[name].take_logins(Login("hop", None, (key,)))
            else:
                fleet[name].take_logins(Login("backup", PASSWORD, (key,)))
        case ("key", router):
            fleet[router].change_key()
        case ("password", password, *names):
            for name in names:
                fleet[name].take_logins(Login("backup", password))
        case _:
            return f"nobody knows how to play {step.does}"
    return ""


def _type(step: Step, install: Install, desk: Path) -> str:
    """Run a block in a terminal; what went wrong, in words."""
    answers = list(step.does[1:]) if step.does[:1] == ("types",) else []
    expected = int(step.does[1]) if step.does[:1] == ("fails",) else 0
    status, said = _in_terminal(step.text, answers, install, desk)
    sys.stdout.write(f"--- line {step.line}\n{step.text}{said}")
    if status != expected:
        return f"it ended with {status}, not {expected}, and said:\n{said}"
    lacking = missing(step.answer, said)
    return f"it did not say {lacking!r}, but:\n{said}" if lacking else ""


def _in_terminal(text: str, answers: list[str], install: Install, desk: Path) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    told = {
        **install.environment,
        "PATH": path,
        "BACKUPFLOW_DATA_DIR": str(install.data),
        "COLUMNS": "160",
        "PAGER": "cat",
    }
    argv = ["setsid", "--ctty", "--wait", "bash", "-euo", "pipefail", "-c", text]
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, cwd=desk, env=told)
    os.close(theirs)
    said, until = b"", time.monotonic() + BLOCK_SECONDS
    try:
        while time.monotonic() < until:
            if select.select([ours], [], [], QUIET_SECONDS)[0]:
                try:
                    said += os.read(ours, 65536)
                except OSError:  # nobody holds the other end any more
                    break
            elif answers and said and not said.endswith(b"\n"):
                os.write(ours, answers.pop(0).encode() + b"\n")
        if time.monotonic() >= until:
            process.kill()
        status = process.wait(BLOCK_SECONDS)  # before the terminal goes: that would hang it up
    finally:
        os.close(ours)
    return status, _COLOUR.sub("", said.decode("utf-8", "replace")).replace("\r", "")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]))
