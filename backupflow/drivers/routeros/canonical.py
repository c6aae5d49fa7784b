r"""What items look like that need no look at single tokens, as patterns for joined lines.

In a joined line `PAIR` stands for two backslashes, so that every backslash begins an escape. Such items are canonical
but for what a pass over many lines mends: a blank written `\_`, bytes that are no ASCII, needless quotes, a prefix left
out (`.mode=`).
"""

from __future__ import annotations

from typing import Final

from backupflow.drivers.routeros.lexer import PLAIN

PAIR: Final = b"\x01"
# A string with no escape that `encode` would write otherwise, but `\_`.
_STRING: Final = (
    rb'"(?:[ !#%->@-\[\]^-~\x01\x80-\xff]++'
    rb'|(?=\\(?:["?$nrt_]|0[0-8BCEF]|1[0-9A-F]|7F|[89A-F][0-9A-F]))\\["?$nrt_0-9A-F])*+"'
)
VALUE: Final = rb"(?:" + PLAIN + rb"++|" + _STRING + rb")"
_TOKEN: Final = rb"(?:" + PLAIN + rb"++(?:=" + VALUE + rb")?|" + _STRING + rb")"
ITEM_REST: Final = rb"(?: (?:" + _TOKEN + rb"|\[(?: " + _TOKEN + rb"){0,20} \])(?=[ \n])){0,500}\n"
"""What follows the verb of such an item, to the end of its line; real ones have up to some fifty tokens."""
STEADY: Final = (
    rb"(?: (?:"
    + PLAIN.replace(b".", b"")
    + rb"++="
    + VALUE
    + rb"|"
    + PLAIN
    + rb"++|"
    + _STRING
    + rb"|[\[\]])(?=[ \n]))"
)
"""A token of such an item that neither takes nor gives a prefix."""
