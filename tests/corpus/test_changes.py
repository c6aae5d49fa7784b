"""Real exports: what changed between them is told as it should be. Run by `make corpus`; prints counts, no values."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from backupflow.core import change_codec
from backupflow.core.applying import applied
from backupflow.core.changes import Action, Property, changes
from backupflow.core.model import RawConfig
from backupflow.core.tree import HEADER, equal
from tests.corpus.test_corpus import ROOT, ROS, count, files, name
from tests.unit.core.item_diff import at_most

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.core.tree import Tree

GRAMMAR = ROS.grammar
FEW = 200  # the edits of a file; of a longer one so many items, spread over it


def tree(path: Path) -> Tree:
    """A file as a tree."""
    return GRAMMAR.tree(ROS.normalize(RawConfig(path.read_bytes())))


def neighbours() -> Iterator[tuple[str, Tree, Tree]]:
    """Each export of a sequence with the next one."""
    for folder in sorted((ROOT / "seq").iterdir()):
        trees = map(tree, sorted(folder.glob("*.rsc"), key=lambda path: int(path.stem)))
        yield from ((folder.name, old, new) for old, new in pairwise(trees))


def test_changes_turn_each_export_into_the_next_one(capsys: pytest.CaptureFixture[str]) -> None:
    """There and back, also through the bytes that are sealed, and never more of them than items that differ."""
    found: Counter[str] = Counter()
    for sequence, old, new in neighbours():
        there, back = changes(old, new, GRAMMAR), changes(new, old, GRAMMAR)
        assert equal(applied(old, there, GRAMMAR), new, GRAMMAR.is_ordered), sequence
        assert equal(applied(new, back, GRAMMAR), old, GRAMMAR.is_ordered), sequence
        assert change_codec.decode(change_codec.encode(there)) == there, sequence
        assert len(there) == len(back), sequence
        most = at_most(old, new, GRAMMAR.is_ordered)
        assert len(there) <= most, sequence
        edits = [len(change.properties) for change in there if change.action is Action.MODIFIED]
        found.update(
            pairs=1, equal=not there, changes=len(there), items_that_differ=most, of_one_property=edits.count(1)
        )
        found.update(change.action.value for change in there)
    count(capsys, f"neighbours: {dict(found)}")
    assert found["pairs"] > found["equal"] > 0
    assert found[Action.MODIFIED] > 0
    assert found["changes"] < found["items_that_differ"]


def test_pairs_that_differ_by_noise_alone_have_no_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever differs between two exports of one normal form."""
    noise = 0
    for folder in sorted((ROOT / "seq").iterdir()):
        raws = [path.read_bytes() for path in sorted(folder.glob("*.rsc"), key=lambda path: int(path.stem))]
        for old, new in pairwise(map(RawConfig, raws)):
            if old != new and ROS.normalize(old) == ROS.normalize(new):
                noise += 1
                before, after = (GRAMMAR.tree(ROS.normalize(each)) for each in (old, new))
                assert changes(before, after, GRAMMAR) == (), folder.name
    for path in files("export"):
        raw = path.read_bytes()
        later = raw.replace(b"\r\n", b"\n").replace(b" by RouterOS ", b" later by RouterOS ", 1) + b"\n# x not ready\n"
        assert later != raw
        before, after = (GRAMMAR.tree(ROS.normalize(RawConfig(each))) for each in (raw, later))
        assert changes(before, after, GRAMMAR) == (), name(path)
    count(capsys, f"noise: {noise} pairs and {len(files('export'))} rewritten exports without a change")
    assert noise > 0


def edits(component: str, text: str) -> Iterator[tuple[str, Property]]:
    """Each of an item's properties altered, one at a time; the text and what is to be told.

    The texts are put together of the item's own, so that nothing rests on how it is written again.
    """
    properties = GRAMMAR.parsed(component, text).properties
    if "" in properties:  # not made of tokens: in a file that is refused
        return
    for key, value in properties.items():
        written = f" {key}={value}"
        if component != HEADER and text.count(written) == 1 and (text + " ").count(written + " ") == 1:
            yield text.replace(written, f" {key}=edited"), Property(key, value, "edited")
            if f"{key} (2)" not in properties:  # of two of one name the second would become the first
                yield text.replace(written, ""), Property(key, value, None)
    if text.startswith("add ") and " zz-edited=" not in text:
        yield f"{text} zz-edited=1", Property("zz-edited", None, "1")


@pytest.mark.timeout(600)
def test_an_edit_of_one_property_is_one_change_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Of every export, of every component, of its items one after the other."""
    total: Counter[str] = Counter()
    for path in [*files("export"), *files("seq"), *files("broken")]:
        whole, made = tree(path), 0
        places = [(component, at) for component, items in whole.items() for at in range(len(items))]
        for component, at in places[:: 1 + len(places) // FEW]:
            before = list(whole[component])
            for text, expected in edits(component, before[at]):
                after = {**whole, component: [*before[:at], text, *before[at + 1 :]]}
                [change] = changes(whole, after, GRAMMAR)
                assert (change.component, change.action, change.moved) == (component, Action.MODIFIED, False), name(
                    path
                )
                assert change.properties == (expected,), name(path)
                made += 1
        assert made or len(places) < 2, name(path)
        total.update({name(path): made})
    for of, made in sorted(total.items()):
        count(capsys, f"{of}: {made} edits, {made} changes")
    count(capsys, f"edits of one property: {total.total()} in {len(total)} files")
