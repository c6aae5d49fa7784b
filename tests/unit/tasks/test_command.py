"""What the processes of an install run: two commands of Celery, and nothing of its others."""

from __future__ import annotations

import subprocess
import sys

import pytest

_OF_OTHERS = {"celery.bin.celery", "celery.bin.shell", "click_repl", "flower", "prompt_toolkit", "tornado"}
_ASKS = """
import sys
from backupflow.tasks import command
try:
    command.main([sys.argv[1], "--help"])
except SystemExit:
    print(*sys.modules)
"""


@pytest.mark.parametrize("name", ["worker", "beat"])
def test_a_process_is_celerys_own_and_imports_nothing_of_its_other_commands(name: str) -> None:
    """Each would keep it in memory for as long as it lives."""
    asked = subprocess.run([sys.executable, "-c", _ASKS, name], capture_output=True, text=True, check=True)
    told, _, there = asked.stdout.strip().rpartition("\n")
    assert f"Usage: backupflow {name} " in told
    assert not _OF_OTHERS & set(there.split())
