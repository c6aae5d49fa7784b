"""`python -m backupflow`."""

from __future__ import annotations

from backupflow.cli import main

main()
