"""The processes of an install: plain Celery ones and the page that watches them, each with a role and its logins."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import ceil

_CELERY = (sys.executable, "-m", "backupflow.tasks.command")
_FLOWER = (sys.executable, "-m", "backupflow.tasks.flower")
_QUIET = ("--without-gossip", "--without-mingle")
DRAINS = 2  # one more than works at a time, so that a slow one does not delay the look at the stream
INTERPRETS = 2  # one large change does not keep the others waiting
JOBS = 2
LOOKS = 1  # it knocks at many at a time by itself


@dataclass(frozen=True, slots=True)
class Process:
    """One process of an install."""

    name: str
    role: str
    argv: tuple[str, ...]
    heart: bool = True  # it says in the database that it lives; Flower has no login there


def processes(max_concurrent: int, *, status: bool, flower: bool = False) -> tuple[Process, ...]:
    """All of them, in the order of starting; beat is the last.

    `max_concurrent` is the pool size of the collect worker, the slow lane has a quarter more. `status`: with the one
    that looks whether devices answer again. `flower`: with the page on which people watch.
    """
    return (
        *((Process("flower", "flower", _FLOWER, heart=False),) if flower else ()),
        *((_worker("status", "collector", "status", LOOKS),) if status else ()),
        _worker("maintain", "operator", "maintain", JOBS),
        _worker("ingest", "ingester", "ingest", DRAINS),
        _worker("interpret", "interpreter", "interpret", INTERPRETS),
        _worker("collect-slow", "collector", "collect.slow", ceil(max_concurrent / 4)),
        _worker("collect", "collector", "collect.now,collect", max_concurrent),
        Process("beat", "scheduler", (*_CELERY, "beat")),
    )


def _worker(name: str, role: str, queues: str, concurrency: int) -> Process:
    pool = ("-P", "threads", "-c", str(concurrency))
    return Process(name, role, (*_CELERY, "worker", "-n", f"{name}@%h", "-Q", queues, *pool, *_QUIET))
