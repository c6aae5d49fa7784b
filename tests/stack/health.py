"""Asks the containers how they are: by their endpoints, and by the health checks of the compose file."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from tests.stack.engine import EngineError
from tests.stack.waiting import NotInTimeError, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.stack.composed import Composed

METRICS_PORT = 9108
UNREACHABLE, OK = 0, 200  # HTTP, but for the first


class Health:
    """Of one stack."""

    def __init__(self, stack: Composed) -> None:
        self._stack = stack

    def ask(self, container: str, path: str) -> tuple[int, str]:
        """The status and text of its endpoint of health and metrics."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            address = self._stack.address(container)
            with direct.open(f"http://{address}:{METRICS_PORT}{path}", timeout=5) as answer:
                return int(answer.status), answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read().decode("utf-8", "replace").strip()
        except (OSError, StopIteration) as exc:
            return UNREACHABLE, str(exc)

    def await_healthy(self, seconds: float) -> list[str]:
        """Wait until each health check has passed: podman runs none by itself. Gives the names of the containers."""
        running = set(self._stack.engine.podman("ps", "--format", "{{.Names}}").split())
        own = [name for name in self._stack.containers() if name in running]
        known = self._stack.services
        checked = [name for name in own if known.get(name.split("_")[1], {}).get("healthcheck", {}).get("test")]
        waiting = dict.fromkeys(checked, "")

        def all_healthy() -> bool:
            for name in tuple(waiting):
                done = self._stack.engine.run("podman", "healthcheck", "run", name, check=False)
                waiting[name] = (done.stdout + done.stderr).decode("utf-8", "replace").strip()[-200:]
                if done.returncode == 0:
                    del waiting[name]
            return not waiting

        _wait_for_all(all_healthy, waiting, "every health check to pass", seconds)
        return checked

    def await_ready(self, seconds: float) -> list[str]:
        """Wait until every process says that it is ready; gives their names."""
        names = self._stack.containers(hearts=True)
        waiting: dict[str, str] = dict.fromkeys(names, "")

        def all_ready() -> bool:
            for name in tuple(waiting):
                status, waiting[name] = self.ask(name, "/ready")
                if status == OK:
                    del waiting[name]
            return not waiting

        _wait_for_all(all_ready, waiting, "every process to be ready", seconds)
        return names


def _wait_for_all(condition: Callable[[], bool], waiting: Mapping[str, str], what: str, seconds: float) -> None:
    """A failure tells what each of those said that are still waited for."""
    try:
        wait_for(condition, what, seconds)
    except NotInTimeError as exc:
        raise EngineError(f"{exc}: {waiting}") from exc
