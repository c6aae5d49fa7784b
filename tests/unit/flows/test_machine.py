"""The pipeline as a state machine over the ledger in memory: whatever happens, in whatever order."""

from __future__ import annotations

from hypothesis import settings

from tests.conftest import SIZE
from tests.unit.flows.machine import Machine

TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60 if SIZE == "small" else 2000, stateful_step_count=50)
