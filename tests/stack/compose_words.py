"""What podman-compose 1.0.3 is told for `docker compose …`, and what of what it prints is the command's own."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_DOCKER = ("docker", "compose")
_ALL_IN_ONE = re.compile(rb"(?:^|\n)podman run [^\n]*\n")
_ENDED = re.compile(rb"exit code: (\d+)\n\Z")  # in the line of what it said last, if that has no end


def told(words: Sequence[str]) -> tuple[str, ...]:
    """The same words without `docker compose`, and without what podman-compose does not know.

    The number of workers is in the override. `run` starts nothing beside: it would await no condition.
    """
    if tuple(words[:2]) != _DOCKER:
        raise ValueError(f"no docker compose: {' '.join(words)}")
    verb, rest = words[2], list(words[3:])
    if verb == "run":
        return ("run", "--no-deps", *rest)
    if verb == "up":
        while "--scale" in rest:
            at = rest.index("--scale")
            del rest[at : at + 2]
        return ("up", "--no-build", *rest)
    return (verb, *rest)


def heard(stdout: bytes) -> tuple[int, bytes]:
    """Exit status and output of the command in what `podman-compose run` printed: its own status is always 0.

    It tells what it does, runs it, and tells the status, all on one wire; ValueError if it ran nothing.
    """
    began, ended = _ALL_IN_ONE.search(stdout), _ENDED.search(stdout)
    if not began or not ended:
        raise ValueError(f"podman-compose ran nothing: {stdout[-2000:].decode('utf-8', 'replace')}")
    return int(ended[1]), stdout[began.end() : ended.start()]


def refused(stdout: str) -> list[int]:
    """The statuses of containers that `up` could not start; one that was there already is started in a second call."""
    statuses = [int(found) for found in re.findall(r"^exit code: (\d+)", stdout, flags=re.MULTILINE)]
    return [status for status, then in pairwise([*statuses, 0]) if status and then]
