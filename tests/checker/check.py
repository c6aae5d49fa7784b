"""Asserts the promises I1 to I16 after any run, from the routers' own story, the database and the vault.

Each check is a pure function over loaded values; a finding is one sentence that names what and when. Not of it: I5,
which takes markers that were planted (tests/acceptance/test_no_plaintext.py), and I14, which takes figures from before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.checker import contacts, histories, interpretations, records, seals, states
from tests.checker.case import Evidence, Terms
from tests.checker.reading import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from backupflow.simulator.history import Event
    from tests.checker.reading import Opener

CHECKS: tuple[Callable[[Evidence, Terms], Iterator[str]], ...] = (
    histories.run_lengths,
    histories.contents_once,
    histories.nothing_missing,
    histories.as_observed,
    histories.newest_is_current,
    interpretations.against_its_predecessor,
    interpretations.all_interpreted,
    interpretations.they_open,
    seals.contents_open,
    seals.asides_open,
    contacts.one_at_a_time,
    contacts.one_row_after_another,
    contacts.pinned_first,
    contacts.blocked_until_an_act,
    states.ends_once,
    states.nothing_lies_about,
    states.attempted_or_due,
    states.alarms_are_over,
    records.one_tenant,
    records.one_device,
    records.unbroken_chain,
    records.one_row_an_act,
)


@dataclass(frozen=True)
class Subject:
    """What is checked: a database that may be read as a whole, a vault that opens, and the simulator's events."""

    engine: Engine
    vault: Opener
    events: Path | Sequence[Event]
    terms: Terms = field(default_factory=Terms)


def check(subject: Subject) -> list[str]:
    """Every broken promise, one a string; empty: all hold."""
    return judge(gather(subject.engine, subject.vault, subject.events), subject.terms)


def judge(evidence: Evidence, terms: Terms) -> list[str]:
    """The same, of what was loaded before."""
    return [finding for one in CHECKS for finding in one(evidence, terms)]


def verdict(evidence: Evidence, findings: Sequence[str]) -> str:
    """The last line of a report."""
    if findings:
        return f"{len(findings)} promises are broken"
    counted = (len(evidence.devices), len(evidence.rows), len(evidence.contents))
    return "every promise holds: {} devices, {} observations, {} contents".format(*counted)
