"""`python -m tests.stack`: the composed stack under podman, from nothing, with routers, deaths and restarts.

With `--backup` it is copied in place of that, restored into a folder of this machine, and from there into new volumes.
Exits with 0 if everything held, 1 if something did not, 77 (in one line) if this machine cannot run it.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.stack import engine, images, sources
from tests.stack.composed import Composed
from tests.stack.engine import Engine
from tests.stack.move import Move
from tests.stack.routers import Routers
from tests.stack.story import Story

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANNOT = 77


def main(argv: list[str]) -> int:
    """Do it all, and take everything away again."""
    parser = argparse.ArgumentParser(prog="python -m tests.stack", description=__doc__)
    parser.add_argument("--backup", action="store_true", help="copy it, and restore it twice")
    given = parser.parse_args(argv)
    if reason := engine.why_not():
        return _cannot(reason)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # everything is taken away then too
    podman = Engine(Path(tempfile.mkdtemp(prefix="backupflow-stack-")))
    status = 1
    try:
        with _step("try the smallest container"):
            reason = engine.try_one(podman)
        status = _cannot(reason) if reason else _tell(podman, backup=given.backup)
    except sources.SourceError as exc:
        status = _cannot(str(exc))
    finally:
        with _step("take everything away"):
            left = podman.close()
        _say("".join(f"left behind: {one}\n" for one in left) + f"{time.monotonic() - began:.0f} s in all")
    return status or bool(left)


def _tell(podman: Engine, *, backup: bool) -> int:
    with _step("base image and wheels, side by side"), ThreadPoolExecutor(1) as pool:
        wheels = pool.submit(sources.wheels)
        images.import_base(podman, sources.base())
        wheelhouse = wheels.result()
    with _step("images: ours, four servers'"):
        images.build(podman, wheelhouse)
    routers = Routers(podman)

    def make_routers() -> None:
        images.build_routers(podman, wheelhouse)
        routers.start()

    with ThreadPoolExecutor(1) as pool:
        return _played(Story(Composed(podman, "backupflow-stack"), routers, pool.submit(make_routers)), backup=backup)


def _played(story: Story, *, backup: bool) -> int:
    move = Move(story, story.facts)
    try:
        for name, step in (_first(story) | (_moved(move) if backup else _disturbed(story))).items():
            with _step(name):
                step()
            _say(*(f"    {fact}" for fact in story.facts))
            story.facts.clear()
    except Exception as exc:  # noqa: BLE001 - whatever it was, what the containers said last belongs to it
        _say(f"failed: {type(exc).__name__}: {exc}", *_last_words(story.stack.engine))
        return 1
    finally:
        move.close()
        story.stack.close()
    _say("everything holds")
    return 0


def _first(story: Story) -> dict[str, Callable[[], None]]:
    return {
        "secrets, servers, provision, processes": story.start,
        "credential add, device import": story.enrol,
        "collect all": story.collect,
    }


def _disturbed(story: Story) -> dict[str, Callable[[], None]]:
    return {
        "kill -9 a worker, restart redis and nats": story.disturb,
        "collect all once more": story.settle,
        "the checker": story.check,
        "health checks": story.examine,
        "scrape every process": story.scrape,
    }


def _moved(move: Move) -> dict[str, Callable[[], None]]:
    return {
        "rotate keys, block one, pause one, edit half": move.live,
        "backup while it collects, down": move.copy,
        "restore into a folder, up, collect, the checker": move.into_a_folder,
        "backup of the folder, stop": move.copy_of_the_folder,
        "restore into new volumes, up, collect, the checker": move.into_new_volumes,
    }


def _last_words(podman: Engine) -> Iterator[str]:
    for name in podman.podman("ps", "--all", "--format", "{{.Names}}", check=False).split():
        yield f"== {name}\n{podman.logs(name)}"


@contextmanager
def _step(name: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        _say(f"{time.monotonic() - began:6.1f} s  {name}")


def _cannot(reason: str) -> int:
    _say(f"the composed stack cannot be tried here: {reason}")
    return CANNOT


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)  # noqa: T201 - a script prints


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
