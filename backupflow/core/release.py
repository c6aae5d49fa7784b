"""Versions of a router's software, in the order in which they came out."""

from __future__ import annotations

import re
from typing import Final

_NUMBERS: Final = re.compile(r"[0-9]{1,9}")
_BEFORE_RELEASE: Final = re.compile(r"[0-9](alpha|beta|rc)[0-9]")


def rank(version: str) -> tuple[list[int], str]:
    """Order versions: 7.9 before 7.10, 7.14beta2 before 7.14rc1 before 7.14."""
    release = version.partition(" ")[0]
    early = _BEFORE_RELEASE.search(release)
    numbers = [int(one) for one in _NUMBERS.findall(release[: early.start() + 1] if early else release)]
    return numbers, release[early.start() + 1 :] if early else "~"
