"""What `backupflow doctor` finds, one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `remedy` is empty if it is well."""

    name: str
    says: str
    remedy: str = ""
    each: tuple[str, ...] = ()  # what was found, one by one
    skipped: bool = False  # not looked at, because something else is wrong: neither well nor a finding of its own

    @property
    def well(self) -> bool:
        """Whether it was looked at and nothing was found."""
        return not (self.remedy or self.skipped)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "part": self.name,
            "well": self.well,
            "finding": self.says,
            "remedy": self.remedy or None,
            "each": list(self.each),
        }
