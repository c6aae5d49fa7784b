"""An install is copied while it collects, restored into a folder of this machine, and from there into new volumes."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from backupflow.wiring import system_backup
from tests.checker.reading import read_events
from tests.stack.compose_file import SETTINGS
from tests.stack.composed import Composed
from tests.stack.folder import Folder
from tests.stack.health import Health
from tests.stack.judging import StoryError, judged, without
from tests.stack.kept import different, kept
from tests.stack.page import blocks
from tests.stack.routers import HOST
from tests.stack.sources import TREE
from tests.stack.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack.judging import Place
    from tests.stack.page import Line
    from tests.stack.routers import Routers
    from tests.stack.story import Story

PAGE, HEADING = "docs/compose.md", "Backup of all of it, and back"
KEY, FILE, RECIPIENT = "key.txt", "monday.age", "age1…"  # as the page says it
_STORED = """
    SELECT d.name FROM device d WHERE EXISTS (
        SELECT 1 FROM collection c WHERE c.device_id = d.id AND c.state = 'stored' AND c.started_at > :since)"""
_BLOCKED = "SELECT 1 FROM device WHERE name = :name AND blocked_code IS NOT NULL"
_NOW = "SELECT clock_timestamp()"


@dataclass
class Move:
    """What follows on a composed install that has collected every router."""

    story: Story
    facts: list[str] = field(default_factory=list)
    spans: list[tuple[datetime, datetime]] = field(default_factory=list)  # from a copy to the end of what was copied

    @cached_property
    def folder(self) -> Folder:
        """The folder of this machine."""
        names = {HOST: self.routers.address}
        return Folder(self.story.stack.engine.room / "folder", names, SETTINGS)

    @cached_property
    def there(self) -> Composed:
        """The new composed install."""
        return Composed(self.story.stack.engine, "backupflow-there")

    def live(self) -> None:
        """Several versions of keys and of configurations, a router that is blocked, and one that is paused."""
        stack = self.story.stack
        self.routers.behave(answer_delay=0)
        stack.command("keys", "rotate")
        stack.command("device", "pause", self.paused)
        self.routers.exchange_key(self.blocked)
        self._edit(stack)
        wait_for(lambda: bool(stack.rows(_BLOCKED, name=self.blocked)), f"{self.blocked} to be blocked", 300)
        self.kept = kept(stack)

    def copy(self) -> None:
        """By the commands of the page, while routers are collected; then that install is stopped."""
        self.routers.behave(answer_delay=1)
        here = self._here("first")
        said = subprocess.run(["age-keygen", "-o", here / KEY], check=True, capture_output=True, text=True).stderr
        self.recipient = said.rpartition(" ")[2].strip()
        for line in self._page[0]:
            self.story.stack.type(self._filled(line), here)
        self.story.stack.down()
        self._copied(here)
        self.routers.behave(answer_delay=0)

    def into_a_folder(self) -> None:
        """Everything is there, in an install of one machine, and it goes on."""
        here = self._here("first")
        self.folder.restore(here / FILE, here / KEY)
        began = datetime.now(UTC)
        self.folder.start()
        self._all_is_there(self.folder, began)
        self.folder.command("verify")

    def copy_of_the_folder(self) -> None:
        """While it runs; then it is stopped."""
        here = self._here("second")
        shutil.copy(self._here("first") / KEY, here / KEY)
        self.folder.command("backup-system", "create", str(here / FILE), "--recipient", self.recipient)
        self.folder.stop()
        self._copied(here)

    def into_new_volumes(self) -> None:
        """By the commands of the page, with volumes that are new; everything is there, and it goes on."""
        began = datetime.now(UTC)
        for line in self._page[1]:
            self.there.type(self._filled(line), self._here("second"))
        Health(self.there).await_ready(360)
        self._all_is_there(self.there, began)
        self.there.command("verify")

    def close(self) -> None:
        """End what this began outside of containers, however it stands."""
        if "folder" in self.__dict__:
            self.folder.close()
        if "there" in self.__dict__:
            self.there.close()

    @property
    def routers(self) -> Routers:
        """Those of the story."""
        return self.story.routers

    @property
    def active(self) -> tuple[str, ...]:
        """Those that are collected."""
        return self.routers.names[:-2]

    @property
    def paused(self) -> str:
        """One that nobody is to ask."""
        return self.routers.names[-2]

    @property
    def blocked(self) -> str:
        """One that has another host key than it had."""
        return self.routers.names[-1]

    @cached_property
    def _page(self) -> list[list[Line]]:
        return blocks((TREE / PAGE).read_text(), HEADING)

    def _filled(self, line: Line) -> Line:
        return replace(line, words=tuple(self.recipient if word == RECIPIENT else word for word in line.words))

    def _here(self, name: str) -> Path:
        """A folder that somebody types commands in."""
        here = self.story.stack.engine.room / name
        here.mkdir(exist_ok=True)
        return here

    def _copied(self, here: Path) -> None:
        """What was collected from the copy's moment until now is in no copy."""
        stopped = datetime.now(UTC)
        key = system_backup.by_identities((here / KEY).read_text())
        checked = system_backup.check(here / FILE, key, lambda _: None)
        self.spans.append((checked.begun.made_at, stopped))
        late = (stopped - checked.begun.made_at).total_seconds()
        self.facts.append(f"{checked.size} bytes, as of {late:.0f} s before the end of what was copied")

    def _all_is_there(self, place: Place, began: datetime) -> None:
        """Unchanged routers are no change, nobody is asked for a host key, who was blocked or paused is left alone.

        Then half of them are edited, and every promise holds over all that ever was.
        """
        self._await_stored(place, place.rows(_NOW)[0][0])
        if broken := different(self.kept, kept(place)):
            raise StoryError("not as it was: " + "; ".join(broken))
        events = read_events(self.routers.history)
        met = {e.router for e in events if e.kind == "session_opened" and e.at > began} & {self.paused, self.blocked}
        if met:
            raise StoryError(f"asked though blocked or paused: {', '.join(sorted(met))}")
        self._edit(place)
        self.facts += judged(place, lambda: without(read_events(self.routers.history), self.spans), self.active)
        before, self.kept = self.kept, kept(place)
        self.facts.append(f"{len(before['changes'])} changes were there, {len(self.kept['changes'])} are now")

    def _edit(self, place: Place) -> None:
        """Somebody changes half of the routers, and all of that is collected."""
        edited = self.active[::2]
        changes = len(kept(place)["changes"])
        self.routers.edit(*edited)
        self._await_stored(place, place.rows(_NOW)[0][0])
        made = len(kept(place)["changes"]) - changes
        if made != len(edited):
            raise StoryError(f"{len(edited)} routers were edited, and {made} changed")

    def _await_stored(self, place: Place, since: datetime) -> None:
        def all_are() -> bool:
            return {row.name for row in place.rows(_STORED, since=since)} >= set(self.active)

        wait_for(all_are, f"{len(self.active)} devices to be stored", 300)
