"""Who made a change, as the router's own log of edits tells it: plausible, never proof.

A log is read in the session that read the export, and kept apart from it. It is the word of a router: a user who may
write can empty it, the clock behind its times may be wrong, and of an edit it tells little. So an edit is put on a
change only if it is of the same menu, lies between the two exports, and nobody else fits as well.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from backupflow.core.changes import Action
from backupflow.core.edits import MOST_EDITS, bare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from backupflow.core.changes import Change
    from backupflow.core.edits import Edit, Witness

MOST_CHANGES: Final = 2000  # for which somebody is looked for: nobody reads more
# The header of an export is older than its text, and the log is asked for after it.
_BEFORE: Final = timedelta(minutes=5)
_AFTER: Final = timedelta(minutes=2)
_LONGEST_SPAN: Final = timedelta(days=366)


def attributed(changes: Sequence[Change], edits: Iterable[Edit], witness: Witness) -> tuple[Change, ...]:
    """The changes, each with who made it and when in UTC, as far as that is plausible. Bounded work, whatever was said.

    The router's clock may be wrong, but it runs: its times count from the one that it had when it gave the export.
    """
    clock = witness.log.clock
    span = witness.read_at - witness.since
    if clock is None or not timedelta(0) <= span <= _LONGEST_SPAN:
        return tuple(changes)
    begin, end = _shifted(clock, -span - _BEFORE), _shifted(clock, _AFTER)
    within = [edit for edit in edits if edit.by and begin <= edit.at <= end][:MOST_EDITS]
    by_menu = _by_menu(within)
    loose = [edit for edit in within if not edit.component]
    found: list[Change] = []
    for number, change in enumerate(changes):
        edit = _best(change, by_menu, loose) if number < MOST_CHANGES else None
        if edit is None:
            found.append(change)
        else:
            at = min(_shifted(witness.read_at, edit.at - clock), witness.read_at)
            found.append(replace(change, by=edit.by, made_at=at.replace(microsecond=0)))
    return tuple(found)


def _by_menu(edits: Iterable[Edit]) -> Mapping[str, Sequence[Edit]]:
    found: defaultdict[str, list[Edit]] = defaultdict(list)
    for edit in edits:
        found[edit.component].append(edit)
    return found


def _best(change: Change, by_menu: Mapping[str, Sequence[Edit]], loose: Sequence[Edit]) -> Edit | None:
    """The newest of those that fit best; None if they are of several users, for then it is a guess."""
    candidates = [*by_menu.get(change.component, ())]
    if change.was_in is not None:
        candidates += by_menu.get(change.was_in, ())
    if not candidates:
        last = change.component.rpartition("/")[2]
        candidates = [edit for edit in loose if last and last in edit.words and _may_be(change, edit)]
    values = _values(change)
    fits = [(_fit(change, edit, values), edit) for edit in candidates]
    best = max((fit for fit, _ in fits), default=None)
    finest = [edit for fit, edit in fits if fit == best]
    return max(finest, key=lambda edit: edit.at) if len({edit.by for edit in finest}) == 1 else None


def _fit(change: Change, edit: Edit, values: frozenset[tuple[str, str]]) -> tuple[int, int]:
    """How many of its values the edit names, and whether it is of the same kind."""
    return len(values & edit.values), int(_may_be(change, edit))


def _may_be(change: Change, edit: Edit) -> bool:
    """Whether an edit of that kind may have made it: what was removed and added anew looks modified."""
    return not edit.action or edit.action == change.action or change.action is Action.MODIFIED


def _values(change: Change) -> frozenset[tuple[str, str]]:
    """What somebody must have typed: the new values, or of what is gone the old ones."""
    gone = change.action is Action.REMOVED
    pairs = ((one.name, one.old if gone else one.new) for one in change.properties)
    return frozenset((name, bare(value)) for name, value in pairs if value is not None)


def _shifted(at: datetime, by: timedelta) -> datetime:
    """As far as the calendar goes: a router may say any year."""
    try:
        return at + by
    except OverflowError:
        year = 9999 if by > timedelta(0) else 1
        return at.replace(year=year, month=1, day=1)
