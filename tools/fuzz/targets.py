"""Where each target is: a module is imported only when it is fuzzed, so that it can be traced from its first line."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tools.fuzz.harness import Target

MODULES: Final = {
    "lexer": "tools.fuzz.routeros",
    "normalizer": "tools.fuzz.routeros",
    "file": "tools.fuzz.routeros",
    "read": "tools.fuzz.routeros",
    "pump": "tools.fuzz.routeros",
    "message": "tools.fuzz.sealed",
    "envelope": "tools.fuzz.sealed",
    "reader": "tools.fuzz.stored",
    "observed": "tools.fuzz.stored",
    "ssh": "tools.fuzz.ssh",
}


def load(name: str) -> Target:
    """Import a target by its name."""
    found: Target = {target.name: target for target in import_module(MODULES[name]).TARGETS}[name]
    return found
