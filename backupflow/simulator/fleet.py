"""Many simulated routers in one background thread with its own event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import resource
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from backupflow.errors import NotFound
from backupflow.simulator import finite_field
from backupflow.simulator.connection import Waiting
from backupflow.simulator.handle import SimulatedRouter
from backupflow.simulator.history import Event, History
from backupflow.simulator.jump import JumpHost
from backupflow.simulator.jump_connection import JumpServer, Mute
from backupflow.simulator.jump_handle import SimulatedJumpHost
from backupflow.simulator.router import Counts, Router

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from backupflow.simulator.jump_spec import JumpSpec
    from backupflow.simulator.spec import RouterSpec

Result = TypeVar("Result")
_DESCRIPTORS_PER_ROUTER = 3  # its port, one session, and one of a jump host on the way to it
_UNASKED = 200  # descriptors that any system has room for
_PATIENCE = 60.0  # seconds that a call into the loop may take


class Fleet(Mapping[str, SimulatedRouter]):
    """Starts the routers on entering and stops them on leaving; `fleet["r001"]` is one of them."""

    def __init__(
        self, routers: Iterable[RouterSpec], log_path: Path | None = None, jump_hosts: Iterable[JumpSpec] = ()
    ) -> None:
        finite_field.install()
        self.log = History(log_path)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self._routers = {spec.name: Router(spec, self.log, Waiting) for spec in routers}
        self._handles = {name: SimulatedRouter(router, self._call, self.log) for name, router in self._routers.items()}
        self._passed = History()  # what happened to jump hosts: no part of the routers' truth
        self._hops = {spec.name: JumpHost(spec, self._passed, self._where, JumpServer, Mute) for spec in jump_hosts}
        self.jump_hosts: Mapping[str, SimulatedJumpHost] = {
            name: SimulatedJumpHost(hop, self._call, self._passed) for name, hop in self._hops.items()
        }

    def __enter__(self) -> Self:
        """Open all ports; raises OSError if a given port is taken."""
        logging.getLogger("asyncssh").setLevel(logging.CRITICAL + 1)
        self._thread.start()
        try:
            self._call(self._open)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop all connections and end the thread."""
        self.stop()

    def __getitem__(self, name: str) -> SimulatedRouter:
        """One router by its name; raises NotFound."""
        try:
            return self._handles[name]
        except KeyError:
            raise NotFound(name) from None

    def __contains__(self, name: object) -> bool:
        """Whether there is a router of that name."""
        return name in self._handles

    def __iter__(self) -> Iterator[str]:
        """The names in their order."""
        return iter(self._handles)

    def __len__(self) -> int:
        """The number of routers."""
        return len(self._handles)

    @property
    def history(self) -> tuple[Event, ...]:
        """What happened to all of them, in order."""
        return self.log.events()

    def stats(self) -> dict[str, Any]:
        """The counts of the whole fleet and of each router."""
        counts: dict[str, Counts] = self._call(lambda: {name: router.stats() for name, router in self._routers.items()})
        return {
            "open": sum(count.open for count in counts.values()),
            "most_at_once_per_router": max((count.most_at_once for count in counts.values()), default=0),
            "sessions": sum(count.sessions for count in counts.values()),
            "logins": sum(count.logins for count in counts.values()),
            "exports": sum(count.exports for count in counts.values()),
            "routers": {name: dataclasses.asdict(count) for name, count in counts.items()},
        }

    def wait_idle(self, timeout: float = 10.0) -> bool:
        """Wait until no router has a session open."""
        return self.log.wait_until(lambda: not any(r.counts.open for r in self._routers.values()), timeout)

    def stop(self) -> None:
        """End everything; may be called twice."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_PATIENCE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_PATIENCE)
        self.log.close()

    def _call(self, what: Callable[[], Result]) -> Result:
        """Run something in the loop's thread and wait for its result."""

        async def run() -> Result:
            return what()

        if not self._thread.is_alive() or threading.current_thread() is self._thread:
            return what()
        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_PATIENCE)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())  # close() does not wait for its threads
        self._loop.close()

    def _open(self) -> None:
        _allow_descriptors(_DESCRIPTORS_PER_ROUTER * len(self._routers))
        for host in self._hosts():
            host.open()

    def _hosts(self) -> list[Router | JumpHost]:
        return [*self._hops.values(), *self._routers.values()]

    def _where(self, name: str) -> tuple[str, int]:
        return self[name].host, self[name].port

    async def _close(self) -> None:
        for host in self._hosts():
            host.close()
        await asyncio.sleep(0)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


def _allow_descriptors(wanted: int) -> None:
    """Raise the soft limit of open files as far as needed and allowed: many systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = soft + wanted if hard == resource.RLIM_INFINITY else min(hard, soft + wanted)
    if wanted > _UNASKED and enough > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
