"""A history is opened as it is looked at: page by page, and of a large change no more than is shown is held."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest

from backupflow.core import change_codec
from backupflow.core.changes import Action, Change
from backupflow.core.enclosure import Label, What, enclose
from backupflow.core.ignoring import Rule
from backupflow.core.model import DeviceId, SealedConfig, Seq, TenantId
from backupflow.core.timeline import Entry, History, Owner, Told, Wanted
from backupflow.drivers import driver
from backupflow.errors import BackupflowError, TransitKeyMissing, VaultUnavailable
from backupflow.flows.history import HistoryPorts
from backupflow.flows.timeline import PAGE, PAGE_BYTES, Opened, TimelinePorts, history

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupflow.core.ports import TimelineStore

OWNER = Owner(TenantId(UUID(int=1)), DeviceId(UUID(int=2)), "core-1", "routeros")
AT = datetime(2026, 11, 22, tzinfo=UTC)


def added(component: str, number: int) -> Change:
    """An item that came."""
    return Change(component, Action.ADDED, (), None, f"add name=n{number}", None, None)


def entry(seq: int, version: int = 1, size: int = 20) -> Entry:
    """A change, whose sealed text has so many characters."""
    sealed = f"vault:v{version}:" + f"{seq:x}".rjust(size, "A")
    return Entry(OWNER, Seq(seq), AT, Seq(seq - 1), AT, {}, Told("change", Seq(0), "", 1, 0, 1, 0, (), sealed, None))


class World:
    """Plays the store and the vault: what is sealed opens to these changes; notes how many were asked for at once."""

    def __init__(self, entries: Sequence[Entry], changes: Sequence[Change] = ()) -> None:
        self.entries = tuple(entries)
        self.changes = changes
        self.asked: list[int] = []
        self.reads = 0
        self.version = 1
        self.away = False

    def history(self, *_: object) -> History:
        """core.ports.TimelineStore: sealed under the newest version of the key from the second time on."""
        self.reads += 1
        if self.reads > 1:
            self.entries = tuple(entry(one.seq, self.version) for one in self.entries)
        return History(OWNER, self.entries, None, ())

    def open_configs(
        self, _tenant_id: TenantId, configs: Sequence[tuple[DeviceId, SealedConfig]]
    ) -> list[bytes | BackupflowError]:
        """core.ports.ConfigOpener."""
        if self.away:
            raise VaultUnavailable
        self.asked.append(len(configs))
        return [self._opened(sealed.text) for _, sealed in configs]

    def _opened(self, sealed: str) -> bytes | BackupflowError:
        _, version, number = sealed.split(":")
        if version != f"v{self.version}":
            return TransitKeyMissing()
        seq = Seq(int(number.lstrip("A"), 16))
        label = Label(OWNER.tenant_id, OWNER.device_id, seq, Seq(0), What.CHANGES)
        return enclose(label, change_codec.encode(self.changes))

    def look(self, most: int | None = None, component: str | None = None) -> Iterator[Opened]:
        """What is opened, one after the other."""
        ports = TimelinePorts(cast("TimelineStore", self), reading_of(self))
        return history(ports, OWNER.tenant_id, "core-1", Wanted(1000, None, component), reveal=False, most=most).opened


def reading_of(world: World) -> HistoryPorts:
    """Ports of which only the vault and the drivers are needed."""
    none = cast("Any", None)
    return HistoryPorts(none, cast("Any", world), none, driver, none, "test", 0)


def test_what_is_not_looked_at_is_not_opened() -> None:
    """A page at a time, and one before anything is shown."""
    world = World([entry(seq) for seq in range(250, 0, -1)])
    opened = world.look()
    assert world.asked == [PAGE]
    assert [one.entry.seq for one in islice(opened, PAGE)] == list(range(250, 150, -1))
    assert world.asked == [PAGE]
    assert len(list(opened)) == 150
    assert world.asked == [PAGE, PAGE, 50]


def test_what_is_large_is_opened_alone() -> None:
    """Fifty of it at once would be more than a machine has."""
    world = World([entry(seq, size=PAGE_BYTES) for seq in (9, 8)] + [entry(7), entry(6)])
    assert [one.entry.seq for one in world.look()] == [9, 8, 7, 6]
    assert world.asked == [1, 1, 2]


def test_of_a_large_change_only_what_is_asked_for_is_held() -> None:
    """What is beyond it is counted, as is what is ignored; of another menu nothing is."""
    changes = [added(component, number) for number in range(3000) for component in ("ip/address", "ppp/secret", "user")]
    seen = replace(entry(5), rules=(Rule("ppp/secret", "*"),))
    [opened] = World([seen], changes).look(most=1200)
    assert opened.changes is not None
    assert (len(opened.changes), opened.more, opened.ignored) == (1200, 4800, 3000)
    assert opened.changes == tuple(one for one in changes if one.component != "ppp/secret")[:1200]
    [opened] = World([seen], changes).look(component="user")
    assert opened.changes is not None
    assert (len(opened.changes), opened.more, opened.ignored) == (3000, 0, 0)


def test_a_large_change_is_told_in_a_few_lines_to_its_end() -> None:
    """However few of it are held: what comes last is told among the first."""
    rule = Change("ip/firewall/filter", Action.ADDED, (), None, "add action=drop chain=input", None, 0)
    [opened] = World([entry(5)], [*(added("user", number) for number in range(3000)), rule]).look(most=0)
    assert opened.changes == ()
    assert opened.few is not None
    assert [line.partition("(")[0] for line in opened.few.lines] == [
        "user: 3,000 items added ",
        "ip/firewall/filter: drop rule in input added at the end",
    ]
    assert next(World([entry(5)], [rule]).look()).few is None


def test_what_was_sealed_anew_meanwhile_is_read_again_once() -> None:
    """However many pages there are of it."""
    world = World([entry(seq) for seq in range(250, 0, -1)], [added("user", 1)])
    world.version = 2
    found: list[Opened] = list(world.look())
    assert [(one.closed, len(one.changes or ())) for one in found] == [("", 1)] * 250
    assert (world.reads, world.asked) == (2, [PAGE, PAGE, PAGE, 50])


def test_a_vault_that_is_away_says_so_before_anything_is_shown() -> None:
    """Not in the middle of a list."""
    world = World([entry(1)])
    world.away = True
    with pytest.raises(VaultUnavailable):
        world.look()
