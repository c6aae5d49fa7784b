"""What a person or a program is shown.

Names and texts of routers and inventories are hostile: no control character and no markup of theirs reaches a terminal.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


def visible(text: str) -> str:
    """The text with control, bidirectional and other unprintable characters as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def say(text: str) -> None:
    """A line for a person, on stdout."""
    _write(sys.stdout, visible(text))


def note(text: str) -> None:
    """A line beside the result, on stderr."""
    _write(sys.stderr, visible(text))


def as_document(value: object) -> None:
    """The result as one JSON document on stdout, in ASCII: whatever a terminal does with it is harmless."""
    _write(sys.stdout, json.dumps(value, indent=2, default=_plain))


def _write(stream: TextIO, line: str) -> None:
    encoding = stream.encoding or "ascii"
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def _plain(value: object) -> str | float:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)
