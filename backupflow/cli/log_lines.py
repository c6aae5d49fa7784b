"""Which lines of its processes' logs `up` shows to a person: those that call for one. The log files have all."""

from __future__ import annotations

import json
import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_OF_TEXT = re.compile(r"\S+ \[(debug|info)\s*\]")  # time and level, as structlog's console renderer pads them
_QUIET = frozenset({"debug", "info"})


def calls(line: str) -> bool:
    """Whether a log line is a warning or worse; what is no log line, such as a traceback, counts as one."""
    if line.startswith("{"):
        try:
            level = json.loads(line).get("level")
        except ValueError:  # it was cut, as very long ones are
            return True
        return level not in _QUIET
    return bool(line.strip()) and not _OF_TEXT.match(_COLOUR.sub("", line))
