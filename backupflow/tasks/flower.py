"""Flower, the web page on which Celery is watched, behind a door of our own: `python -m backupflow.tasks.flower`.

Its own command would read options, and the password, from argv or the environment. What it remembers is bounded: tasks
and workers by number, and it counts no metrics (they would have a label for every worker there ever was).
"""

from __future__ import annotations

import logging
import os
import signal
import ssl
import time
from typing import TYPE_CHECKING, Any, Final

from celery.events import EventReceiver
from flower.events import Events
from flower.options import default_options
from flower.utils import broker
from redis.asyncio.connection import SSLConnection
from tornado.ioloop import IOLoop

from backupflow import telemetry
from backupflow.core.front_door import USER
from backupflow.core.listen import listen_address
from backupflow.errors import BackupflowError
from backupflow.tasks.app import app
from backupflow.tasks.door import Door
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from backupflow.settings import Watching

_WORKERS: Final = 1_000  # that are remembered, the dead with the living
_COUNTS: Final = ("active", "processed")
_AGAIN_SECONDS: Final = 2.0


class Heard(Events):
    """What workers tell of their tasks: as Flower keeps it, but for what would grow without end."""

    def __init__(self, **about: Any) -> None:
        super().__init__(max_workers_in_memory=_WORKERS, enable_events=False, **about)
        self.state.metrics = _Uncounted()

    def run(self) -> None:
        """Listen for good. Flower itself waits twice as long after each failure, be it days."""
        while True:
            try:
                with self.capp.connection() as connection:
                    receiver = EventReceiver(connection, handlers={"*": self.on_event}, app=self.capp)
                    receiver.capture(limit=None, timeout=None, wakeup=True)
            except Exception as exc:  # the loop of this thread: whatever it was, it listens again
                telemetry.logger().warning(telemetry.BACKEND_AWAITED, server="redis", error=type(exc).__name__)
            time.sleep(_AGAIN_SECONDS)

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Keep it, in the one thread that may."""
        self.io_loop.add_callback(self.keep, event)

    def keep(self, event: Mapping[str, Any]) -> None:
        """Keep it, and forget the counts of workers that are forgotten. A count that is none would break every page."""
        if not all(isinstance(event.get(count) or 0, int) for count in _COUNTS):
            return
        self.state.event(event)
        if len(self.state.counter) > 2 * _WORKERS:  # seldom: each time it looks at all of them
            for name in self.state.counter.keys() - self.state.workers.keys():
                del self.state.counter[name]


class _Uncounted:
    """Takes the place of Flower's metrics: ours come from the processes themselves."""

    def observe_task(self, *_: object) -> None:
        """Nothing."""

    def observe_worker(self, *_: object) -> None:
        """Nothing."""


class TrustedConnection(SSLConnection):
    """By TLS, on the word of the given authorities alone: redis-py adds them to the machine's."""

    def __init__(self, **about: Any) -> None:
        super().__init__(**about)
        self.ssl_context.context = ssl.create_default_context(cafile=about.get("ssl_ca_certs"))


class TrustedBroker(broker.RedisSsl):
    """Flower's own client of the broker, which counts what waits; Celery's is told in tasks.app whom to trust."""

    def _get_redis_client(self) -> Redis:
        client: Redis = super()._get_redis_client()
        client.connection_pool.connection_class = TrustedConnection
        return client


broker.RedisSsl = TrustedBroker


def door(watching: Watching, password: str, loop: IOLoop) -> Door:
    """Flower with these settings, listening to nobody yet."""
    default_options.basic_auth = [f"{USER}:{password}"]  # it asks for the login once more by itself
    default_options.read_only = not watching.write
    default_options.tasks_columns = "name,uuid,args,state,received,runtime,worker"  # its argument: the collection's id
    heard = Heard(capp=app, io_loop=loop, max_tasks_in_memory=watching.max_tasks)
    return Door(password, write=watching.write, capp=app, io_loop=loop, options=default_options, events=heard)


def main() -> None:
    """Run until SIGTERM. Raises SystemExit with one line where a setting or a login is missing."""
    try:
        found = wiring()
        process, watching = found.settings.process, found.settings.watching
        telemetry.set_up_logs(process.log_format, process.log_level)
        for loud in ("flower.inspector", "tornado.general"):  # a line for each question and worker without an answer
            logging.getLogger(loud).setLevel(logging.ERROR)
        app.conf.broker_transport_options |= found.flower_transport
        loop = IOLoop.current()
        page = door(watching, found.secret(USER, "web"), loop)
        port = page.listen_on(*listen_address(watching.listen))
    except (BackupflowError, OSError) as exc:
        raise SystemExit(str(exc)) from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.add_callback_from_signal(page.stop))
    telemetry.logger().info(telemetry.FLOWER_LISTENS, port=port, write=watching.write)
    page.start()
    # It keeps nothing, and threads that ask a broker which is away would keep it for minutes.
    os._exit(0)


if __name__ == "__main__":
    main()
