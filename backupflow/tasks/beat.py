"""FleetScheduler: Celery beat's scheduler, which claims due devices in PostgreSQL and emits a task per claim.

It keeps no list and no file: any number may run, one claims at a time. A second thread looks at the vault and the bus,
so that a slow answer never delays a tick.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celery.beat import Scheduler
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from backupflow import telemetry
from backupflow.core.ports import Broker
from backupflow.errors import BackupflowError, StoreUnavailable
from backupflow.flows import schedule
from backupflow.tasks import life
from backupflow.tasks.gauges import FleetGauges
from backupflow.tasks.health import TICK, Health
from backupflow.tasks.liveness import Watch
from backupflow.tasks.presence import PresenceWatch
from backupflow.tasks.work import Work
from backupflow.telemetry import metrics
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backupflow.core.ledger import Claimed
    from backupflow.core.model import Claim

TICK_SECONDS = 1.0
BROKER_SECONDS = 0.5  # a tick must not wait for a broker that does not answer
# So many messages may wait in a queue: where nobody takes them they must not fill the broker, nor need they, since a
# row that was not sent is sent again, and a drain is asked for every second. None of them expires: Celery compares that
# with the clock of the worker's host, and one that goes wrong would discard all of them without a word. What comes late
# finds its row taken, or little to do.
LONGEST = {"ingest": 10, "interpret": 10, "maintain": 100, "status": 2}
LONGEST_LANE = 10_000
TELL_SECONDS = 5.0  # between two rounds of telling
INTERPRET_SECONDS = 5.0  # between two hints that something may be to interpret
LOOK_SECONDS = 2.0
LOOK_STALE_SECONDS = 30.0  # a look that takes longer hangs: what it last saw counts no more
ROOM_PER_SLOT = 8 * 1024 * 1024  # the largest message
ROOM_FOR = 4  # so many of the largest at least, before more is collected
BROKER_SOUND_SECONDS = 10.0  # one that comes and goes is away: one alarm, not one a flap
BROKER_AWAY = "broker_unavailable"  # code of an alarm
BROKER_SAYS = "the broker takes no tasks: it is away, full, or refuses the login"
HANGS = schedule.Readiness("look_hangs", "the look at the vault and the bus does not end")
UNFORESEEN = schedule.Readiness("unexpected", "the look at the vault and the bus met a defect: the log has the place")


class FleetScheduler(Scheduler):
    """core.ports.Broker, and the loop around flows.schedule."""

    def setup_schedule(self) -> None:
        """No entries: periodic work is rows."""
        options = self.app.conf.broker_transport_options
        timeouts = {"socket_connect_timeout": BROKER_SECONDS, "socket_timeout": BROKER_SECONDS}
        # Without these two kombu tries to connect for some seconds at each send, whatever `retry` says.
        tries = {"max_retries": 0, "connect_retries_timeout": BROKER_SECONDS}
        self.app.conf.broker_transport_options = {**options, **timeouts, **tries}
        self._readiness = schedule.NOT_LOOKED
        self._seen = schedule.Seen()
        self._looked_at = 0.0
        self._said: str | None = None  # by the log
        self._standing: str | None = None  # as an alarm
        self._failing = ""
        self._broker_failed = False
        self._broker_failed_at = 0.0  # monotonic seconds
        self._broker_told: bool | None = None  # as an alarm; None: not known, an earlier beat may have left one
        self._told_at = 0.0  # monotonic seconds
        self._interpreted_at: float | None = None  # monotonic seconds
        self._ended = threading.Event()
        self._looking: threading.Thread | None = None
        self._work = Work()
        self._watch = Watch()
        self._presence = PresenceWatch()
        self._asked_status: float | None = None  # monotonic seconds
        self._health = Health(self._work)
        self._health.waits_for("its database")
        self._health.ticks = True
        self._health.has_broker = lambda: not self._broker_told
        self._health.note = lambda: f"claiming paused: {self._said}" if self._said else ""
        # It sees a tick that hangs, too.
        self._heart = life.Heart("scheduler", self._work, then=self._watch.judge, health=self._health)
        self._endpoint = life.begin(self._health)
        self._gauges = FleetGauges()

    def tick(self, *_: Any, **__: Any) -> float:
        """Claim and emit; gives the seconds until the next tick, and never raises: that would end beat."""
        started = time.monotonic()
        try:
            self._begin()
            result = self._tick()
            self._work.ticked()
            self._health.ticked()
            self._failing = ""
        except Exception as exc:
            result = "failed"
            if type(exc).__name__ != self._failing:
                telemetry.logger().exception(telemetry.TICK_FAILED)
            self._failing = type(exc).__name__
        self._health.went_round(TICK)
        metrics.TICKS.labels(result).inc()
        metrics.TICK_SECONDS.observe(time.monotonic() - started)
        return max(TICK_SECONDS - (time.monotonic() - started), 0.05)

    def emit(self, claims: Sequence[Claim]) -> int:
        """Send what was claimed; what does not go out now is emitted again from its row."""
        return self._send([("collect.device", [claim.collection_id], claim.lane) for claim in claims])

    def close(self) -> None:
        """End of beat."""
        self._ended.set()
        self._health.ends()
        if self._endpoint is not None:
            self._endpoint.stop()
        self._heart.stop()
        self._gauges.stop()
        if self._looking is not None:
            self._looking.join(life.END_SECONDS)
        wiring().close()

    def _begin(self) -> None:
        if self._looking is None:
            wiring().require_schema("scheduler")  # until it is there, each tick fails, and says so once
            self._health.waits_for("")
            self._heart.start()
            self._gauges.start()
            self._looked_at = time.monotonic()
            self._looking = threading.Thread(target=self._look, name="readiness", daemon=True)
            self._looking.start()

    def _tick(self) -> str:
        """What it was: claimed, or standby."""
        self._broker_failed = False
        broker = wiring().port(self, Broker)
        ticked = schedule.tick(wiring().claims, broker, self._fresh(), wiring().limits)
        done = ticked.claimed
        if done is None:
            return "standby"
        if done.new:
            self._seen.claimed = True
        self._send([("ingest.drain", [], "ingest")])
        self._ask_interpreters()
        self._send([("maintain.run", [job], "maintain") for job in done.jobs])
        if done.tells and time.monotonic() - self._told_at >= TELL_SECONDS:
            self._told_at = time.monotonic()
            self._send([("events.send", [], "maintain")])
        if self._broker_failed:
            self._watch.broker_is_away()
        else:
            self._watch.ask(self._send)
        self._tell_broker()
        self._ask_status()
        self._presence.look()
        _tell_claims(done, ticked.emitted)
        return "claimed"

    def _ask_interpreters(self) -> None:
        """What they have to do is a query: a hint that is lost is followed by another one."""
        now = time.monotonic()
        if self._interpreted_at is None or now - self._interpreted_at >= INTERPRET_SECONDS:
            self._interpreted_at = now
            self._send([("interpret.run", [], "interpret")])

    def _ask_status(self) -> None:
        """Last of all that is sent: a broker whose users were made before this queue refuses it, and nothing else."""
        every, now = wiring().settings.collecting.status_interval.total_seconds(), time.monotonic()
        if every and self._readiness.may_claim and (self._asked_status is None or now - self._asked_status >= every):
            self._asked_status = now
            self._send([("status.look", [], "status")])

    def _send(self, tasks: Sequence[tuple[str, list[Any], str]]) -> int:
        sent = 0
        if not tasks or self._broker_failed:  # once a tick is enough to see that it is away
            return sent
        try:
            with self.app.producer_pool.acquire(block=True, timeout=BROKER_SECONDS) as producer:
                room = _room(producer, {queue for _, _, queue in tasks})
                for name, args, queue in tasks:
                    if room[queue] <= 0:
                        continue
                    room[queue] -= 1
                    options = {"queue": queue, "producer": producer, "retry": False}
                    self.app.send_task(name, args, ignore_result=True, **options)
                    metrics.EMITTED.labels(queue).inc()
                    sent += 1
        except (OperationalError, OSError, RedisError) as exc:
            self._broker_failed = True
            metrics.EMIT_FAILURES.inc()
            if not self._broker_told:  # once: it is tried again every second
                telemetry.logger().error(telemetry.EMIT_FAILED, sent=sent, of=len(tasks), error=type(exc).__name__)
        return sent

    def _tell_broker(self) -> None:
        """As an alarm, while nothing can be handed out: what was claimed waits for it, and is sent then."""
        now = time.monotonic()
        if self._broker_failed:
            self._broker_failed_at = now
        elif self._broker_told and now - self._broker_failed_at < BROKER_SOUND_SECONDS:
            return
        if self._broker_failed == self._broker_told:
            return
        code, detail = (BROKER_AWAY, BROKER_SAYS) if self._broker_failed else ("", "")
        wiring().alarms("scheduler").settle("emitting", code, detail)
        if self._broker_told and not self._broker_failed:
            telemetry.logger().info(telemetry.EMITTING_RESUMED)
        self._broker_told = self._broker_failed

    def _fresh(self) -> schedule.Readiness:
        """What was last seen, unless the look since then hangs."""
        seen = self._readiness
        if time.monotonic() - self._looked_at > LOOK_STALE_SECONDS:
            seen = HANGS
        if seen in {HANGS, UNFORESEEN}:  # the thread that looks did not come to say it
            self._say(seen)
        return seen

    def _look(self) -> None:
        """Look at what claiming depends on, again and again, apart from the tick."""
        failing = ""
        while not self._ended.is_set():
            seen = UNFORESEEN
            try:
                seen = self._see()
                self._readiness, self._looked_at = seen, time.monotonic()
                self._say(seen)
                failing = ""
            except Exception as exc:  # the loop of this thread: if it ended, claiming would stop for good
                if type(exc).__name__ != failing:
                    telemetry.logger().exception(telemetry.TICK_FAILED)
                failing = type(exc).__name__
                self._readiness, self._looked_at = seen, time.monotonic()
            self._ended.wait(LOOK_SECONDS)

    def _see(self) -> schedule.Readiness:
        house = wiring()
        try:
            parts = house.keys("scheduler"), house.vault("scheduler"), house.bus("scheduler")
            return schedule.look(schedule.Watched(*parts, ROOM_FOR * ROOM_PER_SLOT), self._seen, time.monotonic())
        except BackupflowError as exc:
            return schedule.Readiness(exc.code, exc.detail)

    def _say(self, seen: schedule.Readiness) -> None:
        """In the log and as an alarm, once; one that an earlier beat left is cleared by the first look of this one."""
        if seen.code != self._said:
            log = telemetry.logger()
            if seen.code:
                log.error(telemetry.CLAIMING_PAUSED, code=seen.code, detail=seen.detail)
            elif self._said:
                log.info(telemetry.CLAIMING_RESUMED, after=self._said)
            self._said = seen.code
            metrics.CLAIMING_PAUSED.clear()
            if seen.code:
                metrics.CLAIMING_PAUSED.labels(seen.code).set(1)
        if seen.code != self._standing:
            with suppress(StoreUnavailable):  # then at the next look
                wiring().alarms("scheduler").settle("claiming", seen.code, seen.detail)
                self._standing = seen.code


def _tell_claims(done: Claimed, emitted: int) -> None:
    """One line a collection, by which it is followed from here, and one for all."""
    log = telemetry.logger()
    for says, claims in ((telemetry.COLLECTION_CLAIMED, done.new), (telemetry.COLLECTION_EMITTED_AGAIN, done.again)):
        for claim in claims:
            log.info(says, collection_id=claim.collection_id, lane=claim.lane.value)
    counts = {
        "claimed": len(done.new),
        "again": len(done.again),
        "lost": done.lost,
        "withdrawn": done.withdrawn,
        "skipped_offline": done.skipped_offline,
    }
    for kind, count in counts.items():
        metrics.CLAIMS.labels(kind).inc(count)
    if any(counts.values()):
        log.info(telemetry.CLAIMS_EMITTED, emitted=emitted, **counts)


def _room(producer: Any, queues: Iterable[str]) -> dict[str, int]:
    """How many more messages each queue may take."""
    with producer.channel.conn_or_acquire() as broker:  # the connection that sends
        return {queue: LONGEST.get(queue, LONGEST_LANE) - int(broker.llen(queue)) for queue in queues}
