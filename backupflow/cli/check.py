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

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "part": self.name,
            "well": not self.remedy,
            "finding": self.says,
            "remedy": self.remedy or None,
            "each": list(self.each),
        }
