"""What changed between two exports of one router: values in, a value out, and nothing of the world.

It runs where a driver reads: whatever a text does to the one who looks at it, it does not to the worker.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from backupflow.core import change_codec, diff
from backupflow.core.applying import applied
from backupflow.core.changes import TooManyChanges, changes
from backupflow.core.folding import few
from backupflow.core.ignoring import touched, with_ignored
from backupflow.core.interpretation import Answer, Interpretation, Kind
from backupflow.core.model import content_hash
from backupflow.core.told_change import told_lines
from backupflow.core.tree import equal
from backupflow.core.who import attributed
from backupflow.core.wording import OTHER, called

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backupflow.core.changes import Change
    from backupflow.core.driver import Driver, Grammar
    from backupflow.core.interpretation import Question
    from backupflow.core.model import NormalConfig
    from backupflow.core.tree import Tree

TOO_MANY: Final = "there are more changes than can be told one by one"
UNTRUE: Final = "a defect: its changes lead to another text; the lines of `diff` are right"
MOST_COMPONENTS: Final = 200  # that are named in clear


def answer(question: Question, driver: Driver) -> Answer:
    """Normalize both texts and interpret them."""
    after = driver.normalize(question.after)
    hash_after = content_hash(question.pepper, after)
    if question.before is None:
        return Answer(None, hash_after, is_same=False, interpretation=Interpretation(Kind.FIRST))
    before = driver.normalize(question.before)
    found = interpret(question, before, after, driver)
    return Answer(content_hash(question.pepper, before), hash_after, before == after, found)


def interpret(question: Question, before: NormalConfig, after: NormalConfig, driver: Driver) -> Interpretation:
    """What turns one normal form into the other: line by line, item by item, and in words."""
    grammar, lines = driver.grammar, diff.diff(before, after)
    seen = Interpretation(
        Kind.UNREAD, lines.coarse, lines_added=lines.added, lines_removed=lines.removed, diff=diff.encode(lines)
    )
    old, new = grammar.tree(before), grammar.tree(after)
    try:
        found = with_ignored(changes(old, new, grammar), question.rules, grammar)
        if question.witness is not None:
            found = attributed(found, driver.edits(question.witness.log.text), question.witness)
        encoded = change_codec.encode(found)
    except TooManyChanges:
        return replace(seen, detail=TOO_MANY, components=_differing(lines, grammar))
    if not _leads(old, found, new, grammar):
        return replace(seen, detail=UNTRUE, components=_differing(lines, grammar))
    shown = [change for change in found if not change.ignored]
    return replace(
        seen,
        kind=_kind(question, found),
        count=len(shown),
        ignored=len(found) - len(shown),
        components=named((change.component for change in found), grammar),
        touched=tuple(touched(found, grammar, question.pepper)),
        changes=encoded,
        summaries=_summaries(shown, grammar),
    )


def _leads(old: Tree, found: Sequence[Change], new: Tree, grammar: Grammar) -> bool:
    """Whether these changes are all there are, and true: whoever reads them does not read the texts."""
    try:
        return equal(applied(old, found, grammar), new, grammar.is_ordered)
    except ValueError:
        return False


def _differing(lines: diff.Diff, grammar: Grammar) -> tuple[str, ...]:
    """Where the lines differ, which are there all the same."""
    return named((line.component for hunk in lines.hunks for line in hunk.lines if line.mark != " "), grammar)


def named(components: Iterable[str], grammar: Grammar) -> tuple[str, ...]:
    """The names of menus, sorted, as they may stand in clear; what is none, and those beyond a number, are `other`."""
    found = sorted({called(one, grammar) for one in components})
    return tuple(found) if len(found) <= MOST_COMPONENTS else (*found[:MOST_COMPONENTS], OTHER)


def _summaries(shown: Sequence[Change], grammar: Grammar) -> tuple[str, ...]:
    """As many lines as an event has, and where the rest is; of a large change most lines are never made."""
    found = few(shown, grammar)
    return tuple(told_lines([*found.lines, f"and {found.rest}"] if found.rest else found.lines))


def _kind(question: Question, found: Sequence[Change]) -> Kind:
    if question.only_secrets:
        return Kind.SECRETS
    if not found:
        return Kind.ORDER
    return Kind.CHANGE if question.versions[0] == question.versions[1] else Kind.UPGRADE
