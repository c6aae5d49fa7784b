"""Where answers are read: small ones in the calling thread, large ones in a process of their own."""

from __future__ import annotations

from backupflow.adapters.reader.process import Bounds, ProcessReader

__all__ = ["Bounds", "ProcessReader"]
