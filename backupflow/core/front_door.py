"""What passes the front door of Flower, the web page on which people watch Celery: pure decisions.

Flower has one login and no rights: who may look may also stop workers, and some of its routes ask nobody who he is. So
the door knows its routes by a list of its own, and what is not listed is not there: a route that a later version adds
is closed until somebody has looked at it.

1. Nothing answers without the login, not even with "not found".
2. GET and HEAD pass, to what shows something.
3. Commands to workers are POSTs; they pass only where FLOWER_WRITE says so.
4. Nobody sends a task: beat alone does, from rows; a request for a collection is a row as well (`backupflow backup`).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from dataclasses import dataclass
from typing import Final

USER: Final = "flower"

_READS: Final = tuple(
    re.compile(path)
    for path in (
        r"/",
        r"/workers",
        r"/worker/.+",
        r"/tasks",
        r"/tasks/datatable",
        r"/task/.+",
        r"/broker",
        r"/api/workers",
        r"/api/tasks",
        r"/api/task/types",
        r"/api/task/info/.+",
        r"/api/queues/length",
        r"/static/(?:css|js)/[\w.-]+",
        r"/static/favicon\.ico",
    )
)
_COMMANDS: Final = tuple(
    re.compile(path)
    for path in (
        r"/api/worker/shutdown/.+",
        r"/api/worker/pool/(?:restart|grow|shrink|autoscale)/.+",
        r"/api/worker/queue/(?:add-consumer|cancel-consumer)/.+",
        r"/api/task/(?:timeout|rate-limit|revoke)/.+",
    )
)


TOLD_EVERY: Final = 60.0  # seconds
PEERS: Final = 100  # that are told apart
OTHERS: Final = "others"


class WrongLogins:
    """Which wrong logins are told: of each peer one a minute, with how many there were since the last that was told.

    Whoever guesses, or a browser with an old password, may not turn the log over: at most 100 peers are told apart
    in a minute, all others are one.
    """

    def __init__(self) -> None:
        self._of: dict[str, tuple[float, int]] = {}  # when one was told, and how many came since

    def came(self, peer: str, now: float) -> tuple[str, int] | None:
        """One came (`now`: monotonic seconds): whose line it is and how many it stands for; None: no line yet."""
        if peer not in self._of and len(self._of) >= PEERS:
            self._of = {one: (at, more) for one, (at, more) in self._of.items() if now - at < TOLD_EVERY}
            if len(self._of) >= PEERS:
                peer = OTHERS
        told_at, since = self._of.get(peer, (now - TOLD_EVERY, 0))
        if now - told_at < TOLD_EVERY:
            self._of[peer] = told_at, since + 1
            return None
        self._of[peer] = now, 0
        return peer, since + 1


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with a request: the HTTP status of the answer, 200 where Flower itself answers, and why."""

    status: int
    why: str = ""

    @property
    def passes(self) -> bool:
        """Whether Flower gets to see it."""
        return self is PASS


PASS: Final = Decision(200)
NO_LOGIN: Final = Decision(401, "Log in with the user and the password of this page.")
NOT_HERE: Final = Decision(404, "There is no such page.")
NOT_LET: Final = Decision(405, "This page is for looking: only GET passes.")
READ_ONLY: Final = Decision(403, "This page is for looking. FLOWER_WRITE=1 lets it command workers.")


def decide(method: str, path: str, *, write: bool) -> Decision:
    """Whether somebody who has logged in may do this; `path` as it came, without the query."""
    if any(one.fullmatch(path) for one in _COMMANDS):
        if method != "POST":
            return NOT_LET
        return PASS if write else READ_ONLY
    if any(one.fullmatch(path) for one in _READS):
        return PASS if method in {"GET", "HEAD"} else NOT_LET
    return NOT_HERE


def is_login(header: str | None, password: str) -> bool:
    """Whether an Authorization header carries the login (RFC 7617); takes the same time for every wrong password."""
    kind, _, coded = (header or "").partition(" ")
    try:
        given = base64.b64decode(coded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, f"{USER}:{password}".encode()) and kind.lower() == "basic" and bool(password)
