"""Looking for a pattern in many configurations: opened batch by batch, each checked as an export is, none kept.

The audit has who searched where before anything is opened, and at the end how much was found; never what for. What is
damaged or was given up with its keys is named and left out: the others are searched all the same.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from backupflow.core.model import SealedConfig
from backupflow.errors import BackupflowError, MessageMalformed, StoreUnavailable, TransitKeyMissing
from backupflow.flows import history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from backupflow.core.history import SealedSnapshot
    from backupflow.core.model import DeviceId
    from backupflow.core.ports import SearchStore
    from backupflow.core.searching import Candidate, Extent, Line, Pattern, Search
    from backupflow.flows.history import Damaged, Exported, GivenUp, HistoryPorts

TOGETHER = 100  # devices whose configurations are asked for at a time


@dataclass(frozen=True, slots=True)
class SearchPorts:
    """What searching needs of the world; `reading` opens and checks, and says who searches."""

    store: SearchStore
    reading: HistoryPorts
    new_id: Callable[[], UUID]


@dataclass(frozen=True, slots=True)
class Hit:
    """A line that has it, and in which configuration."""

    candidate: Candidate
    line: Line


def _silent(_: object) -> None:
    return


@dataclass(frozen=True, slots=True)
class Watching:
    """Who watches: `began` hears how much there is, `moved` of so many that were looked at, `found` of each hit."""

    began: Callable[[Extent], None] = _silent
    moved: Callable[[int], None] = _silent
    found: Callable[[Hit], None] = _silent


@dataclass(slots=True)
class Searched:
    """What came of it. `limited`: there were as many hits as were asked for, and what was left was not looked at."""

    searched: int = 0
    hits: int = 0
    devices: set[DeviceId] = field(default_factory=set)
    damaged: list[Damaged] = field(default_factory=list)
    given_up: list[SealedSnapshot] = field(default_factory=list)
    limited: bool = False


@dataclass(frozen=True, slots=True)
class LookedFor:
    """What is looked for, where in a configuration, and how many hits are enough; None: all of them."""

    pattern: Pattern
    component: str | None = None
    limit: int | None = None


def search(ports: SearchPorts, wanted: Search, looked_for: LookedFor, watching: Watching | None = None) -> Searched:
    """Search all that is wanted; however it ends, the audit has what had been found by then.

    TransitKeyMissing if the tenant has not its keys: then nothing can be opened.
    """
    remembered = replace(ports.reading, secrets=history.OnePepper(ports.reading.secrets))
    run = _Run(replace(ports, reading=remembered), wanted, looked_for, watching or Watching())
    search_id, actor = ports.new_id(), ports.reading.actor
    extent = ports.store.begin(search_id, wanted, actor)
    try:
        run.watching.began(extent)
        run.all(extent)
    except BaseException:  # interrupted, too: what was shown was shown
        with suppress(StoreUnavailable):
            ports.store.ended(search_id, wanted, actor, _said(run.done, complete=False))
        raise
    ports.store.ended(search_id, wanted, actor, _said(run.done, complete=not run.done.limited))
    return run.done


class _Run:
    def __init__(self, ports: SearchPorts, wanted: Search, looked_for: LookedFor, watching: Watching) -> None:
        self.watching = watching
        self.done = Searched()
        self._ports = ports
        self._wanted = wanted
        self._looked_for = looked_for

    def all(self, extent: Extent) -> None:
        """Every configuration, until there are as many hits as were asked for."""
        for first in range(0, len(extent.devices), TOGETHER):
            for candidate, outcome in self._of(extent.devices[first : first + TOGETHER]):
                self._look(candidate, outcome)
                self.watching.moved(1)
                if self.done.limited:
                    return

    def _of(self, devices: Sequence[DeviceId]) -> Iterator[tuple[Candidate, Exported | Damaged | GivenUp]]:
        after = None
        while page := self._ports.store.page(self._wanted, devices, after):
            after = page[-1].at
            yield from self._opened(page)

    def _opened(self, page: Sequence[Candidate]) -> Iterator[tuple[Candidate, Exported | Damaged | GivenUp]]:
        sealed: list[tuple[Candidate, SealedConfig]] = []
        for candidate in page:
            try:
                sealed.append((candidate, SealedConfig(candidate.snapshot.sealed)))
            except MessageMalformed as exc:
                yield candidate, self._unopened(candidate.snapshot, exc)
        given = [(candidate.snapshot.device_id, text) for candidate, text in sealed]
        envelopes = self._ports.reading.configs.open_configs(self._wanted.tenant_id, given)
        for (candidate, _), envelope in zip(sealed, envelopes, strict=True):
            yield candidate, self._unpacked(candidate.snapshot, envelope)

    def _unpacked(self, snapshot: SealedSnapshot, envelope: bytes | BackupflowError) -> Exported | Damaged | GivenUp:
        if isinstance(envelope, BackupflowError):
            return self._unopened(snapshot, envelope)
        try:
            return history.unpacked(snapshot, envelope, self._ports.reading)
        except MessageMalformed as exc:
            return self._unopened(snapshot, exc)

    def _unopened(self, snapshot: SealedSnapshot, exc: BackupflowError) -> Exported | Damaged | GivenUp:
        if snapshot.given_up_at is not None:
            return history.GivenUp(snapshot)
        if isinstance(exc, MessageMalformed):
            return history.damaged(self._ports.reading, snapshot, exc.detail or "it cannot be opened")
        if isinstance(exc, TransitKeyMissing):  # moved to a newer version of its key since it was read, or lost
            return history.opened(self._ports.reading, snapshot)
        raise exc

    def _look(self, candidate: Candidate, outcome: Exported | Damaged | GivenUp) -> None:
        match outcome:
            case history.Damaged():
                self.done.damaged.append(outcome)
            case history.GivenUp():
                self.done.given_up.append(outcome.snapshot)
            case history.Exported():
                self._search(candidate, outcome)

    def _search(self, candidate: Candidate, exported: Exported) -> None:
        driver = self._ports.reading.driver(exported.snapshot.driver)
        normal = driver.normalize(exported.raw)
        try:
            if history.is_hashed(exported):
                history.check_hash(self._ports.reading, exported.snapshot, normal)
        except MessageMalformed as exc:
            self._look(candidate, self._unopened(exported.snapshot, exc))
            return
        text = normal.decode("ascii") if self._wanted.reveal else driver.grammar.masked(normal)
        self.done.searched += 1
        for line in self._looked_for.pattern.lines(text, self._looked_for.component):
            self.done.hits += 1
            self.done.devices.add(exported.snapshot.device_id)
            self.watching.found(Hit(candidate, line))
            if self.done.hits == self._looked_for.limit:
                self.done.limited = True
                return


def _said(done: Searched, *, complete: bool) -> dict[str, Any]:
    """What the audit says of it: how much, never what."""
    return {
        "complete": complete,
        "searched": done.searched,
        "hits": done.hits,
        "devices_with_hits": len(done.devices),
        "damaged": len(done.damaged),
        "given_up": len(done.given_up),
    }
