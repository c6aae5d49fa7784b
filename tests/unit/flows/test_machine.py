"""The pipeline as a state machine over the ledger in memory: whatever happens, in whatever order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.flows.machine import Machine

if TYPE_CHECKING:
    from tests.conftest import Size


@pytest.mark.timeout(1800)
def test_whatever_happens_every_promise_is_kept(size: Size) -> None:
    """Real flows, any fault at any call, every promise after every step (I1-I4, I7-I10), and at last all arrives.

    To shorten a failing run takes minutes: only the large size does.
    """
    many = settings(max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    if size == "soak":
        many = settings(max_examples=2000)
    run_state_machine_as_test(Machine, settings=settings(many, stateful_step_count=50))
