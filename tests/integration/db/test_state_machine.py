"""The state machine of the flows over a real PostgreSQL: its SQL does what the rules in memory say, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.db.twin import Twin, clocked
from tests.unit.flows.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.embedded import Servers
    from tests.conftest import Size
    from tests.unit.flows.ledger import Clock


@pytest.mark.timeout(3600)
def test_postgres_does_what_the_rules_say(servers: Servers, postgres_roles: Path, size: Size) -> None:
    """The same rules, the same faults: every answer and every row of both ledgers, after every step (I1-I4, I7-I10)."""
    with clocked(servers, postgres_roles) as fleet:

        class Twins(Machine):
            """Both at once."""

            def made(self, clock: Clock) -> Twin:
                """Both."""
                return Twin(fleet, clock)

        phases = [Phase.explicit, Phase.reuse, Phase.generate]  # to shorten a failing run would take very long
        few = settings(max_examples=8 if size == "small" else 300, stateful_step_count=40, phases=phases)
        run_state_machine_as_test(Twins, settings=few)
