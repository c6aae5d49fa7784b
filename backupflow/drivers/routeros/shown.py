"""Values as a person reads them: letters instead of the escapes that the normal form writes them with."""

from __future__ import annotations

import re
from typing import Final

# Of the code pages that Winbox writes: a run of letters beyond ASCII is Cyrillic, a lone one is Western.
_LETTERS: Final = re.compile(r"(?:\\[89A-F][0-9A-F])+")
_ESCAPES: Final = re.compile(r"((?:\\[89A-F][0-9A-F])+)|\\([$?])|\\.", re.DOTALL)


def shown(value: str) -> str:
    """Write a value for a screen; it stays printable, and what no code page has a letter for stays an escape."""
    if not value.startswith('"') or "\\" not in value:
        return value
    page = _page([bytes.fromhex(run.replace("\\", "")) for run in _LETTERS.findall(value)])

    def letters(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[2] or found[0]
        text = bytes.fromhex(found[1].replace("\\", "")).decode(page, "replace")
        return text if text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text else found[0]

    return _ESCAPES.sub(letters, value)


def _page(runs: list[bytes]) -> str:
    try:
        for run in runs:
            run.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1251" if any(len(run) > 1 for run in runs) else "cp1252"
    return "utf-8"
