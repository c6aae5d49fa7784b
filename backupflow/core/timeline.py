"""What became of a device's configuration, change by change, as values to be shown; what was told stays sealed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from backupflow.core.history import Replacement
    from backupflow.core.ignoring import Rule
    from backupflow.core.model import DeviceId, Seq, TenantId

_BLANKS = re.compile(r"[\s/]+")
_ALIKE = 0.75  # of 1: two words that differ by a letter or two


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which changes: the newest `limit` of those since then in one component or below it; None is "any"."""

    limit: int
    since: datetime | None = None
    component: str | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose configuration it is, and who reads its language."""

    tenant_id: TenantId
    device_id: DeviceId
    name: str
    driver: str


@dataclass(frozen=True, slots=True)
class Told:
    """What was made of one change (a row of `interpretation`); `changes` counts those that are not ignored."""

    kind: str  # a word of core.interpreting.Kind
    after_seq: Seq  # 0: nothing was before it
    detail: str  # why it is unread or coarse
    lines_added: int
    lines_removed: int
    changes: int
    ignored: int
    components: tuple[str, ...]
    changes_sealed: str | None = field(repr=False)  # what the row has: whether that is a sealed text is to be checked
    diff_sealed: str | None = field(repr=False)  # in a list none


@dataclass(frozen=True, slots=True)
class Entry:
    """One observation that differs from the one before it, or is a router's first.

    `told` is None while it is not interpreted; `tries` is how often that was begun since.
    """

    owner: Owner
    seq: Seq
    at: datetime  # when it was collected
    previous_seq: Seq  # the observation just before it of the same router; 0: there is none, or it is not kept
    previous_at: datetime | None  # when that was collected
    facts: Mapping[str, Any]
    told: Told | None
    tries: int = 0
    given_up_at: datetime | None = None  # when the keys that it is sealed with were given up
    rules: tuple[Rule, ...] = ()  # of what the owner does not want to be told of, as they are now
    previous_number: Seq | None = None  # the number under which the one just before it is listed

    @property
    def after(self) -> Seq:
        """The number of what it is compared with, as it is listed; its own seq if that is not kept any more."""
        compared = self.told.after_seq if self.told else self.previous_seq
        return self.previous_number if self.previous_number and compared == self.previous_seq else compared


@dataclass(frozen=True, slots=True)
class Standing:
    """How it is with a device's current configuration; `observations` counts those since it came."""

    seq: Seq
    since: datetime
    last_seq: Seq
    last_seen_at: datetime
    observations: int


@dataclass(frozen=True, slots=True)
class History:
    """A device's changes, the newest first; `standing` is None if nothing was ever stored of it."""

    owner: Owner
    entries: tuple[Entry, ...]
    standing: Standing | None
    others: tuple[Replacement, ...]  # when it became another router, the oldest first
    flapping_since: datetime | None = None
    uninterpreted: int = 0  # changes of this device that nothing is told of yet, wherever they are
    late: bool = False  # some of them were stored longer ago than is usual
    removed_at: datetime | None = None  # None: it is collected


@dataclass(frozen=True, slots=True)
class FleetHistory:
    """The changes of all devices of a tenant, the newest first, and how many are not interpreted yet."""

    entries: tuple[Entry, ...]
    uninterpreted: int
    late: bool = False  # some of these were stored longer ago than is usual


def component_of(text: str) -> str:
    """A menu as somebody types it (`/ip firewall`, `ip/firewall/`) as the name of a component: `ip/firewall`."""
    return _BLANKS.sub("/", text.strip()).strip("/")


def likely(wanted: str, known: Collection[str]) -> str | None:
    """The component that somebody may have meant who typed one that is not known; None: it is known, or like none."""
    if any(is_within(one, wanted) for one in known):
        return None
    paths = [one.split("/") for one in known]
    menus = {"/".join(path[:depth]) for path in paths for depth in range(1, len(path) + 1)}
    return next(iter(get_close_matches(wanted, sorted(menus), n=1, cutoff=_ALIKE)), None)


def is_within(component: str, wanted: str) -> bool:
    """Whether a component is the wanted one or stands below it."""
    return component == wanted or component.startswith(f"{wanted}/")
