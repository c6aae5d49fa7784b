r"""What an item looks like that is written in the one canonical way already, as patterns for joined lines.

In a joined line `PAIR` stands for two backslashes, so that every backslash begins an escape. `\_` counts as canonical:
it becomes a blank in one pass over all of a run.
"""

from __future__ import annotations

from typing import Final

from backupflow.drivers.routeros.lexer import PLAIN

PAIR: Final = b"\x01"
# A string that `encode` would write just so: it needs its quotes, and no escape would be written otherwise.
# A string that `encode` would write just so: it needs its quotes, and no escape would be written otherwise.
_STRING: Final = (
    rb'"(?!' + PLAIN + rb'++")(?:[ !#%->@-\[\]^-~\x01]++'
    rb'|(?=\\(?:["\\?$nrt_]|0[0-8BCEF]|1[0-9A-F]|7F|[89A-F][0-9A-F]))\\["\\?$nrt_0-9A-F])*+"'
)
VALUE: Final = rb"(?:" + PLAIN + rb"++|" + _STRING + rb")"
_TOKEN: Final = rb"(?:(?!\.)" + PLAIN + rb"++(?:=" + VALUE + rb")?+|" + _STRING + rb")"
ITEM_LINE: Final = rb"(?: (?:" + _TOKEN + rb"|\[(?: " + _TOKEN + rb")* \])(?=[ \n]))*\n"
"""What follows the verb of a canonical item, to the end of its line."""
STEADY_TOKENS: Final = (
    rb"(?: (?:"
    + PLAIN.replace(b".", b"")
    + rb"++="
    + VALUE
    + rb"|(?!\.)"
    + PLAIN
    + rb"++|"
    + _STRING
    + rb"|[\[\]])(?=[ \]]|\Z)){0,1000}"
)
"""Tokens that are canonical and neither take nor give a prefix; this and `VALUE` also match text that is not joined."""
