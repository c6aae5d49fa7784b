"""The jobs that keep the house in order; each is a row in `job`, claimed by beat's tick."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.core.verification import Wanted
from backupflow.errors import BackupflowError
from backupflow.flows.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backupflow.core.model import DeviceId
    from backupflow.core.ports import CompactingStore, HouseStore
    from backupflow.core.verification import Rest
    from backupflow.flows.verify import VerifyPorts, Watching

# What was verified so long before a run counts as done: less than a day, so that each daily run is one of its own, and
# more than all parts of a run take together.
VERIFY_WINDOW = timedelta(hours=20)
NEXT_PART = timedelta(minutes=1)  # leaves the queue, and half of a core, to the other jobs
AFTER_TROUBLE = timedelta(minutes=10)
DEVICES = 100  # that are asked for at once
AT_ONCE = 2000  # attempts that are taken away in one transaction: nobody waits for a device's lock for long


@dataclass(frozen=True, slots=True)
class Ran:
    """What a job did: how many of each kind, what else is to be said, and when it goes on; None: at its next turn."""

    counts: Mapping[str, int]
    note: str = ""
    again_in: timedelta | None = None
    rest: Rest | None = None  # what its next part may go on with

    @property
    def outcome(self) -> str:
        """In words, for its row."""
        words = [f"{kind} {count}" for kind, count in self.counts.items() if count]
        return ", ".join([*words, *filter(None, [self.note])]) or "nothing to do"


ELSEWHERE = Ran({}, "it is done, or under way elsewhere")
# Of a newer version, whose worker does it: its row says nothing of this one, and hands it out again.
UNKNOWN = Ran({}, "not known to this version: a worker of a newer one does it")


def reconcile(store: HouseStore) -> Ran:
    """Mend what disagrees."""
    return Ran(store.mend())


def verify_part(ports: VerifyPorts, share: float, watching: Watching, rest: Rest | None = None) -> Ran:
    """Verify until there was enough; what is left of the day's share comes in parts, so that no job waits for long.

    A part that is given what the one before it left does not count all that is kept once more.
    """
    done = verify(ports, Wanted(share, window=VERIFY_WINDOW), watching, rest)
    counts = {
        "histories": done.devices, "opened": done.opened, "damaged": done.damaged, "unreadable": done.unreadable,
        "without_keys": done.without_keys,
    }  # fmt: skip
    if done.rest is not None:
        return Ran(counts, "to be continued", NEXT_PART, done.rest)
    return Ran(counts, f"ended by {done.trouble.code}", AFTER_TROUBLE) if done.trouble is not None else Ran(counts)


def compact_part(store: CompactingStore, keep: timedelta, enough: Callable[[], bool]) -> Ran:
    """Take away what is older than `keep` and says nothing more, a device at a time, until there was enough."""
    devices = attempts = 0
    last: DeviceId | None = None
    while page := store.waiting(VERIFY_WINDOW, last, DEVICES):
        for last in page:
            gone = AT_ONCE
            while gone == AT_ONCE:
                if enough():
                    return Ran({"devices": devices, "taken_away": attempts}, "to be continued", NEXT_PART)
                gone = store.compact(last, keep, AT_ONCE)
                attempts += gone
            devices += 1
    return Ran({"devices": devices, "taken_away": attempts})


def run(name: str, store: HouseStore, others: Mapping[str, Callable[[], Ran]] | None = None) -> Ran:
    """Run a job by its name and record how it went; UNKNOWN, without a record, for a name that there is not.

    `others` are those that need more of the world than the house does.
    """
    jobs: dict[str, Callable[[], Ran]] = {"reconcile": lambda: reconcile(store), **(others or {})}
    if name not in jobs:
        return UNKNOWN
    with store.turn(name) as mine:
        if not mine:
            return ELSEWHERE
        try:
            ran = jobs[name]()
        except Exception as exc:
            code = exc.code if isinstance(exc, BackupflowError) else type(exc).__name__
            with suppress(BackupflowError):  # then its row hands it out again, as if nobody had taken it
                store.finished(name, f"ended by {code}", AFTER_TROUBLE)
            raise
        store.finished(name, ran.outcome, ran.again_in)
        return ran
