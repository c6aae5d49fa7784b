"""A comparison as lines for a person: unified, in two columns, or counted by menu; and as JSON."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from backupflow.cli import output
from backupflow.cli.paging import Line, Piece, line
from backupflow.core import diff_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.flows.showing import Compared, Side

_STYLES = {"+": "green", "-": "red", "@": "cyan", "\\": "yellow"}
_WIDEST_BAR = 40


def unified(found: Compared, *, reveal: bool) -> Iterator[Line]:
    """As diff(1) writes it, each difference with its menu."""
    yield from _ends(found)
    for text in diff_view.unified(found.diff, _mask(found, reveal=reveal)):
        yield line(text, _STYLES.get(text[:1], ""))


def side_by_side(found: Compared, width: int, *, reveal: bool) -> Iterator[Line]:
    """The older one on the left."""
    yield from _ends(found)
    old = new = ""
    for row in diff_view.side_by_side(found.diff, width, _mask(found, reveal=reveal)):
        if row.heading:
            yield line(row.heading, _STYLES.get(row.heading[:1], ""))
            continue
        old = _STYLES.get(row.old_mark, "") if row.old_mark else old  # without a mark it goes on with its last line
        new = _STYLES.get(row.new_mark, "") if row.new_mark else new
        left = Piece(f"{row.old_mark or ' '}{output.visible(row.old)}", old)
        yield (left, Piece(" │ "), Piece(f"{row.new_mark or ' '}{output.visible(row.new)}".rstrip(), new))


def stat(found: Compared, *, reveal: bool) -> Iterator[Line]:
    """A line a menu, with how many of its lines are new and gone."""
    mask = _mask(found, reveal=reveal)

    @cache
    def named(component: str) -> str:
        return diff_view.menu(component, mask)

    added, removed = (
        Counter(named(one.component) for hunk in found.diff.hunks for one in hunk.lines if one.mark == mark)
        for mark in "+-"
    )
    menus = sorted(added | removed)
    room = max(map(len, menus), default=0)
    most = max((added[menu] + removed[menu] for menu in menus), default=0)
    for menu in menus:
        bars = [round(count[menu] * min(1, _WIDEST_BAR / most) + 0.49) for count in (added, removed)]
        counts = f" {menu:{room}} | {added[menu] + removed[menu]:>6,} "
        yield (Piece(counts), Piece("+" * bars[0], "green"), Piece("-" * bars[1], "red"))
    yield line(f" +{found.diff.added:,} −{found.diff.removed:,} in {output.counted(len(menus), 'menu')}")


def document(found: Compared, *, reveal: bool) -> dict[str, Any]:
    """As JSON; each line with its mark."""
    mask = _mask(found, reveal=reveal)
    lines = diff_view.unified(found.diff, mask)
    if found.diff.coarse:
        next(lines)
    hunks = []
    for hunk in found.diff.hunks:
        next(lines)  # its heading
        hunks.append(
            {
                "component": diff_view.menu(hunk.component, mask),
                "old_start": hunk.old_start,
                "new_start": hunk.new_start,
                "lines": [next(lines) for _ in hunk.lines],
            }
        )
    return {
        "old": _side(found.old),
        "new": _side(found.new),
        "lines_added": found.diff.added,
        "lines_removed": found.diff.removed,
        "coarse": found.diff.coarse or None,
        "hunks": hunks,
    }


def _ends(found: Compared) -> Iterator[Line]:
    yield line(f"--- {_end(found.old)}", "bold")
    yield line(f"+++ {_end(found.new)}", "bold")
    if not found.diff.hunks:
        yield line("they are equal", "dim")


def _end(side: Side) -> str:
    when = f"collected {output.in_words(side.at)}" if side.at else "which is not kept any more"
    return f"{side.owner.name}, snapshot {side.seq}, {when}"


def _side(side: Side) -> dict[str, Any]:
    return {"device": side.owner.name, "snapshot": side.seq, "collected_at": side.at}


def _mask(found: Compared, *, reveal: bool) -> Callable[[str, str], str]:
    from backupflow.drivers import driver

    return diff_view.unmasked if reveal else driver(found.new.owner.driver).grammar.masked_line
