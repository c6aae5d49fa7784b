"""A configuration as a tree: components (menus), each with its items, which are texts until somebody reads one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Tree: TypeAlias = Mapping[str, Sequence[str]]
"""Component → the texts of its items in the order of the export; never a component without items.

A component is a menu's path (`ip/firewall/filter`); the lines of the header are the items of `HEADER`.
"""

HEADER: Final = "header"

FLAG: Final = ""
"""The value of a property that is only named (`blackhole`); an empty value is spelled `""`, so this is no value."""
EMPTY: Final = '""'
"""How an empty value is spelled."""
UNSET: Final = "(unset)"
"""The value of a property that is said to have none (`!src-address`); no value is spelled so."""


class Item(NamedTuple):
    """One configured thing: the component, and its text in the normal form."""

    component: str
    text: str


class Parsed(NamedTuple):
    """An item that was read.

    Values are spelled as in the normal form (`"a b"`, `ether1`), or `FLAG`, or `UNSET`. A name that comes again in one
    item has a number behind it (`address (2)`).
    """

    verb: str
    """`add`, `set` …; empty for header lines and for what is not made of tokens."""
    selector: str | None
    """Which item a `set` is for, as it is spelled (`[ find default-name=ether1 ]`, `telnet`); None: the menu itself."""
    words: tuple[str, ...]
    """What stands there without a value, as it is spelled (`blackhole`, `!src-address`); in `properties` too."""
    properties: dict[str, str]


def equal(old: Tree, new: Tree, is_ordered: Callable[[str], bool]) -> bool:
    """Tell whether two trees say the same: order counts only in components in which it has a meaning."""
    return old.keys() == new.keys() and all(
        list(items) == list(new[component]) or (not is_ordered(component) and Counter(items) == Counter(new[component]))
        for component, items in old.items()
    )
