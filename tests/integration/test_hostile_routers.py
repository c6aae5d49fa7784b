"""Each row of docs/hostile.md, run for real: SSH, driver and flow are ours, only what lies behind them is in memory."""

from __future__ import annotations

import gc
import re
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupflow.core import backoff
from backupflow.core.envelope import unpack
from backupflow.core.model import Secrets, State
from backupflow.core.suspicion import Known
from backupflow.simulator import Fleet
from tests.integration.misbehaviour import MISBEHAVIOURS, Misbehaviour
from tests.integration.surroundings import Surroundings, work

if TYPE_CHECKING:
    from backupflow.core.ledger import Ending, Published
    from backupflow.simulator import SimulatedRouter

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
KEPT_ASIDE = {"suspect", "identity_changed"}
BEFORE_THE_LOGIN = {"host_key_mismatch", "algorithms_incompatible", "ssh_downgraded"}
MOST_READ = 64 * 1024 * 1024


@dataclass(frozen=True)
class Row:
    """One row of the page."""

    name: str
    state: str
    code: str
    again: str


def rows() -> list[Row]:
    """All rows of all tables whose first heading is `behaviour`."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        words = re.findall(r"`([a-z_]+)`", cells[2]) if len(cells) == 5 else []
        if words:
            found.append(Row(cells[0], words[0], (*words, "")[1], cells[3]))
    return found


def test_every_row_has_a_router_and_every_router_a_row() -> None:
    """Nothing is only said, and nothing only done."""
    names = [row.name for row in rows()]
    assert sorted(names) == sorted(MISBEHAVIOURS)
    assert all("|" not in name and name == name.lower() for name in names)


def left() -> tuple[list[str], int]:
    """Threads and descriptors of this process, without the simulator's, once what ends by itself has ended."""
    for thread in threading.enumerate():
        if thread.name == "ssh-watchdog":
            thread.join(10)
    gc.collect()
    names = [thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    return sorted(names), len(list(Path("/proc/self/fd").iterdir()))


def accepted(router: SimulatedRouter) -> Published:
    """What is known of a router that has been collected."""
    around = Surroundings(work(router))
    assert around.collect().what == "published"
    return around.passed[0]


def kept_aside(router: SimulatedRouter, before: Published) -> Published:
    """What it said once, and was not believed."""
    around = Surroundings(replace(work(router), known=Known(before.observed)))
    assert around.collect().what == State.SUSPECT
    (ending,) = around.endings
    assert ending.aside is not None
    return ending.aside.published


def again(ending: Ending | None) -> str:
    """When it is due again, in the words of the page."""
    if ending is None:
        return "interval"
    if ending.blocks:
        return "person"
    return "interval" if ending.again_in is None else {backoff.step(0, 0.0): "growing"}[ending.again_in]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_it_ends_as_the_page_says(row: Row) -> None:
    """State, code and what follows; nothing is published that is not whole, and nothing stays behind (I8, I10, I14)."""
    does = MISBEHAVIOURS[row.name]
    with Fleet([does.spec]) as fleet:
        router = fleet["r1"]
        before = accepted(router) if does.known else None
        plain = work(router)
        if does.turns is not None:
            does.turns(router)
        router.behave(**does.does)
        aside = kept_aside(router, before) if before and does.said_it_before else None
        assert router.wait_idle()
        fleet.stats()  # a turn of the simulator's loop: what was closed in it is closed
        was, offered = left(), len(logins(router))
        around = Surroundings(does.assignment(plain, before, aside))
        outcome = around.collect()
        assert router.wait_idle()
        fleet.stats()
        assert left() == was
        ending = around.endings[0] if around.endings else None
        assert (outcome.what, outcome.code, again(ending)) == (row.state, row.code, row.again)
        assert around.unexpected == []
        assert not (row.code in BEFORE_THE_LOGIN and len(logins(router)) > offered)
        assert len(logins(router)) <= offered + 1
        assert_published_or_not(around, does, row)


def logins(router: SimulatedRouter) -> list[str]:
    """The passwords that it was offered."""
    return [str(event.facts["offered"]) for event in router.history if event.kind == "login_offered"]


def assert_published_or_not(around: Surroundings, does: Misbehaviour, row: Row) -> None:
    """Published once, whole, as it shows its secrets; or not, and sealed only where it is to be kept aside."""
    if row.state == "published":
        assert (len(around.passed), len(around.sent), around.endings) == (1, 1, [])
        observed = around.passed[0].observed
        assert observed.secrets is does.secrets
        _, raw = unpack(around.envelopes[0], MOST_READ)
        assert (raw.count(b"password=") > 0) is (does.secrets is Secrets.SHOWN)
        facts = observed.facts
        assert all(
            text.isprintable() and len(text) <= 200 for text in (facts.model, facts.serial, facts.identity) if text
        )
        return
    assert (around.passed, around.sent, len(around.endings)) == ([], [], 1)
    aside = around.endings[0].aside
    assert (aside is not None) is bool(KEPT_ASIDE & {row.state, row.code})
    assert len(around.envelopes) == (0 if aside is None else 1)
