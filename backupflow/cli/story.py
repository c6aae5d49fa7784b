"""The story of the demo: each step waits for what must become true, and tells it from rows just read."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.cli import change_lines, diff_lines
from backupflow.core.diff import CONTEXT
from backupflow.core.model import State
from backupflow.core.timeline import Wanted
from backupflow.flows import history

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backupflow.core.history import Run
    from backupflow.core.model import RawConfig, TenantId
    from backupflow.core.overview import DeviceState
    from backupflow.simulator import Event, Fleet
    from backupflow.wiring import Wiring

SHOWN_LINES = 16


class DoesNotHold(Exception):
    """What the demo promises is not so."""


@dataclass(frozen=True)
class Story:
    """The routers, what backupflow knows of them, and who plays which part."""

    wiring: Wiring
    tenant_id: TenantId
    fleet: Fleet
    good: tuple[str, ...]
    locked_out: str  # its password is wrong
    edited: str
    impostor: str  # it will change its key
    mute: str
    patience: float  # seconds that a step may take to become true

    def devices(self) -> Mapping[str, DeviceState]:
        """Every device as it stands now."""
        return {device.name: device for device in self.wiring.statuses.overview(self.tenant_id).devices}

    def runs(self, name: str) -> list[Run]:
        """The configurations of a device, the newest first."""
        return list(self.wiring.snapshots.runs(self.tenant_id, name, 100))

    def told(self, name: str) -> tuple[str, ...]:
        """What is told of its newest change, a line each; nothing while it is the first, or not interpreted."""
        from backupflow.drivers import driver
        from backupflow.flows import timeline

        ports = self.wiring.timeline_ports("demo")
        newest = timeline.history(ports, self.tenant_id, name, Wanted(1), reveal=False).opened
        grammar = driver("routeros").grammar
        return tuple(line for one in newest for line in change_lines.summaries(one, grammar, reveal=False))

    def export(self, name: str) -> RawConfig:
        """Its current export, as the router gave it."""
        read = history.export(self.wiring.history_ports("demo"), self.tenant_id, name, None)
        if isinstance(read, history.Damaged):
            raise DoesNotHold(f"the export of {name} is damaged: {read.why}")
        if isinstance(read, history.GivenUp):
            raise DoesNotHold(f"the keys of the export of {name} were given up")
        return read.raw

    def offered(self, name: str, after: int = 0) -> list[Event]:
        """The logins that a router was offered after an event of its history."""
        return [event for event in self.fleet[name].history if event.kind == "login_offered" and event.number > after]

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until it is so; DoesNotHold says what did not become true."""
        end = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > end:
                raise DoesNotHold(f"{what}: not within {self.patience:.0f} s")
            time.sleep(0.2)


def first_snapshots(story: Story) -> str:
    """Every router that lets us in has its first snapshot."""
    story.until("a first snapshot of each router", lambda: all(story.devices()[name].snapshots for name in story.good))
    snapshots = [story.devices()[name].snapshots for name in story.good]
    return f"{len(snapshots)} routers collected over SSH and sealed, each with its first snapshot"


def refused_login(story: Story) -> str:
    """A refused login blocks its device after one attempt."""
    name = story.locked_out
    story.until(f"{name} to be blocked", lambda: story.devices()[name].blocked_code == "authentication_failed")
    attempts = [event for event in story.offered(name) if event.facts["method"] != "none"]
    if len(attempts) != 1:
        raise DoesNotHold(f"{name} was offered {len(attempts)} logins, not one")
    return f"{name} refused the login: blocked after {len(attempts)} attempt, until somebody acts"


def unchanged_runs(story: Story) -> str:
    """Further runs of unchanged routers store nothing new."""

    def observed() -> list[int]:
        return [sum(run.observations for run in story.runs(name)) for name in story.good]

    story.until("two more runs of each router", lambda: min(observed()) >= 3)  # noqa: PLR2004 - the first, and two more
    configurations = Counter(len(story.runs(name)) for name in story.good)
    if set(configurations) != {1}:
        raise DoesNotHold(f"unchanged routers have {dict(configurations)} configurations (number: routers)")
    return f"{sum(observed())} collections of unchanged routers: still {configurations[1]} configurations, one each"


def edit_seen(story: Story) -> str:
    """An edit on a router is a new configuration, and the one before is kept."""
    name = story.edited
    before = story.export(name)
    edit = story.fleet[name].edit("address")
    story.until(f"the edit on {name}", lambda: len(story.runs(name)) == 2)  # noqa: PLR2004 - the old and the new
    after = story.export(name)
    added = set(after.splitlines()) - set(before.splitlines())
    if not any(edit.after.encode() in line for line in added):
        raise DoesNotHold(f"the new configuration of {name} does not show the edit in {edit.section}")
    newest = story.runs(name)[0]
    return f"{name} was edited in {edit.section}: a second configuration, first seen in its run {newest.seq}"


def edit_told(story: Story) -> str:
    """What the edit changed is told in a line, with the old value and the new one."""
    name = story.edited
    story.until(f"the edit on {name} to be told", lambda: bool(story.told(name)))
    edit = next(event.facts for event in reversed(story.fleet[name].history) if event.kind == "edited")
    old, new = (_address(edit[side]) for side in ("before", "after"))
    line = story.told(name)[0]
    if f"address {old} → {new}" not in line:
        raise DoesNotHold(f"{name} was edited from {old} to {new}, and what is told is {line!r}")
    return f"history {name}: {line}"


def changed_key(story: Story) -> str:
    """A router with another key is blocked, and no password goes to it."""
    name = story.impostor
    story.fleet[name].change_key()
    changed = next(event.number for event in reversed(story.fleet[name].history) if event.kind == "key_changed")
    story.until(f"{name} to be blocked", lambda: story.devices()[name].blocked_code == "host_key_mismatch")
    leaked = story.offered(name, after=changed)
    if leaked:
        raise DoesNotHold(f"{name} was offered {len(leaked)} logins after its key had changed")
    return f"{name} showed another host key: blocked, and {len(leaked)} passwords left"


def mute_router(story: Story) -> str:
    """A router that says nothing times out, and the others go on meanwhile."""
    others = [name for name in story.good if name not in {story.mute, story.impostor}]

    def observed() -> int:
        return sum(run.observations for name in others for run in story.runs(name))

    def timed_out() -> bool:
        last = story.devices()[story.mute].last
        return last is not None and last.state is State.FAILED and last.code == "device_timeout"

    before = observed()
    story.fleet[story.mute].behave(mute="handshake")
    story.until(f"{story.mute} to time out", timed_out)
    story.until("the others to go on", lambda: observed() >= before + len(others))
    return f"{story.mute} went mute: timed out, while the others were collected {observed() - before} times"


STEPS = (first_snapshots, refused_login, unchanged_runs, edit_seen, edit_told, changed_key, mute_router)


def _address(line: str) -> str:
    """The address in a line of an export."""
    found = re.search(r"\baddress=(\S+)", line)
    return found[1] if found else ""


def shown_diff(story: Story) -> list[str]:
    """The edit, line by line, as `diff` shows it."""
    from backupflow.flows import showing

    found = showing.change(
        story.wiring.timeline_ports("demo"), story.tenant_id, story.edited, None, context=CONTEXT, reveal=False
    )
    if not isinstance(found, showing.Compared):
        raise DoesNotHold(f"there is no diff of {story.edited}")
    return ["".join(piece.text for piece in line) for line in diff_lines.unified(found, reveal=False)]


def shown_export(story: Story) -> list[str]:
    """The first lines of a real export, opened from its sealed snapshot."""
    lines = story.export(story.edited).decode("latin-1").splitlines()
    return [*lines[:SHOWN_LINES], f"… {len(lines) - SHOWN_LINES} more lines"]
