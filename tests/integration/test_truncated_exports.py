"""Exports that break off and look as if they were whole: which sign tells, and how often none does."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupflow.core.driver import Reply
from backupflow.core.model import EndMark, HostKey
from backupflow.core.suspicion import Known
from backupflow.simulator import Fleet, RouterSpec
from backupflow.simulator.configuration import export, rendered
from backupflow.simulator.extent import Extent
from tests.integration.surroundings import Surroundings, work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

    from backupflow.core.jump import Via
    from backupflow.core.ledger import Assignment
    from backupflow.core.model import Login, Target
    from backupflow.core.ports import Session

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
AT = datetime(2024, 1, 2, 10, 30, tzinfo=UTC)
VERSIONS = {"7": "7.14", "6": "6.49.7"}


@pytest.mark.parametrize("status", [0, None])
@pytest.mark.parametrize("version", VERSIONS.values())
def test_no_cut_inside_a_line_is_believed(version: str, status: int | None) -> None:
    """At each hundredth of an export, over real SSH, the channel closed as if all had been sent (I8)."""
    with Fleet([RouterSpec("r1", version=version)]) as fleet:
        router = fleet["r1"]
        router.behave(flapping=0)
        first = Surroundings(work(router))
        assert first.collect().what == "published"
        total = first.passed[0].raw_bytes
        router.behave(cut_manner="channel", exit_status=status)
        inside = 0
        for percent in range(1, 100):
            router.behave(cut_after=total * percent // 100)
            around = Surroundings(replace(first.assignment, known=Known(first.passed[0].observed)))
            outcome = around.collect()
            if sent_whole_lines(total * percent // 100, version):
                continue
            inside += 1
            assert (percent, outcome.what, around.passed, around.sent) == (percent, "failed", [], [])
        assert inside > 90


def sent_whole_lines(size: int, version: str) -> bool:
    """Whether this many bytes of the export end with a line."""
    return whole(RouterSpec("r1", version=version))[:size].endswith(b"\n")


def whole(spec: RouterSpec) -> bytes:
    """The export that such a router gives; its date has the same length at all times."""
    return export(spec, rendered(spec, (), Extent()), AT, 1, 0.0)


@dataclass(frozen=True)
class Canned:
    """A collector whose router answers each export with the same bytes: here nothing depends on SSH."""

    stdout: bytes

    modern = True

    @contextmanager
    def session(
        self, target: Target, admit: Callable[[HostKey], None], login: Callable[[], Login], via: Via | None = None
    ) -> Iterator[Session]:
        """Collector."""
        admit(HostKey("ssh-ed25519", b"key"))
        yield self

    def handshake(self, target: Target, via: Via | None = None) -> HostKey:
        """Collector: nobody scans here."""
        raise NotImplementedError

    def run(self, command: str, within: timedelta | None = None) -> Reply:
        """Session."""
        return Reply(command, self.stdout, b"", 0)


@dataclass
class Counts:
    """How many line ends at which an export can break off, and what tells it."""

    cuts: int = 0
    text: int = 0
    size: int = 0
    mark: int = 0


def counted(spec: RouterSpec) -> Counts:
    """Cut at the end of each line but the last."""
    raw = whole(spec)
    plain = assignment(spec)
    first = Surroundings(plain, Canned(raw))
    assert first.collect().what == "published"
    known = replace(plain, known=Known(first.passed[0].observed))
    found = Counts()
    for cut in [place.end() for place in re.finditer(b"\n", raw)][:-1]:
        what = Surroundings(known, Canned(raw[:cut])).collect().what
        found.cuts += 1
        found.text += what == "failed"
        found.size += what == "suspect"
        found.mark += what == "published"
        required = Surroundings(replace(known, end_mark=EndMark.REQUIRED), Canned(raw[:cut])).collect()
        assert required.code == "output_truncated"
    return found


def assignment(spec: RouterSpec) -> Assignment:
    """Work that needs no router."""
    with Fleet([RouterSpec("r1")]) as fleet:
        plain = work(fleet["r1"])
    key = HostKey("ssh-ed25519", b"key")
    remembered = "/export" if spec.old else "/export show-sensitive"
    return replace(
        plain, remembered_command=remembered, end_mark=EndMark.ABSENT, target=replace(plain.target, pinned=key)
    )


def figures() -> list[tuple[str, ...]]:
    """The rows of the page's table of figures."""
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in PAGE.read_text("utf-8").splitlines()]
    return [row for row in rows if len(row) == 6 and row[0] in VERSIONS]


@pytest.mark.parametrize("row", figures(), ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_page_says_what_tells_a_cut_at_the_end_of_a_line(row: tuple[str, ...]) -> None:
    """The text, the size against the last one, or nothing but the end mark: with one no cut at all is believed (I8)."""
    version, size, *numbers = row
    found = counted(RouterSpec("r1", version=VERSIONS[version], size=int(size)))
    assert (found.cuts, found.text, found.size, found.mark) == tuple(map(int, numbers))
    assert found.cuts == found.text + found.size + found.mark


def test_the_page_has_figures_for_both_versions() -> None:
    """Two sizes each."""
    assert sorted(row[0] for row in figures()) == ["6", "6", "7", "7"]
