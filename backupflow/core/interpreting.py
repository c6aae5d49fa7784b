"""What changed between two exports of one router: values in, a value out, and nothing of the world.

It runs where a driver reads: whatever a text does to the one who looks at it, it does not to the worker.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backupflow.core import change_codec, diff
from backupflow.core.changes import changes
from backupflow.core.ignoring import touched, with_ignored
from backupflow.core.interpretation import Answer, Interpretation, Kind
from backupflow.core.model import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backupflow.core.changes import Change
    from backupflow.core.driver import Driver
    from backupflow.core.interpretation import Question
    from backupflow.core.model import NormalConfig

MOST_COMPONENTS: Final = 200  # that are named in clear
OTHER: Final = "other"
# A menu, and nothing that somebody typed: what a router sends may look like the path of one.
_MENU: Final = re.compile(r"[a-z0-9][a-z0-9-]*(?:/[a-z0-9][a-z0-9-]*)*")
_LONGEST_MENU: Final = 100


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
    grammar = driver.grammar
    lines = diff.diff(before, after)
    found = with_ignored(changes(grammar.tree(before), grammar.tree(after), grammar), question.rules, grammar)
    told = [change for change in found if not change.ignored]
    encoded, unlisted = _encoded(found)
    return Interpretation(
        _kind(question, found),
        detail="; ".join(says for says in (lines.coarse, unlisted) if says),
        lines_added=lines.added,
        lines_removed=lines.removed,
        count=len(told),
        ignored=len(found) - len(told),
        components=named(change.component for change in found),
        touched=tuple(touched(found, grammar, question.pepper)),
        changes=encoded,
        diff=diff.encode(lines),
    )


def named(components: Iterable[str]) -> tuple[str, ...]:
    """The names of menus, sorted, as they may stand in clear; what is none, and those beyond a number, are `other`."""
    found = sorted({one if len(one) <= _LONGEST_MENU and _MENU.fullmatch(one) else OTHER for one in components})
    return tuple(found) if len(found) <= MOST_COMPONENTS else (*found[:MOST_COMPONENTS], OTHER)


def _encoded(found: Sequence[Change]) -> tuple[bytes | None, str]:
    """The changes as they are kept; or why they are not: the lines that differ are there all the same."""
    try:
        return change_codec.encode(found), ""
    except change_codec.TooManyChanges:
        return None, f"{len(found):,} changes are too many to be kept one by one"


def _kind(question: Question, found: Sequence[Change]) -> Kind:
    if question.only_secrets:
        return Kind.SECRETS
    if not found:
        return Kind.ORDER
    return Kind.CHANGE if question.versions[0] == question.versions[1] else Kind.UPGRADE
