"""Run the benchmarks; each prints its figures, and has options if it is run by itself (`python -m bench.bad_input`)."""

from __future__ import annotations

import sys

from bench import (
    bad_among_good,
    bad_input,
    changes,
    diff,
    escrow,
    first_round,
    fleet_in,
    from_nothing,
    gauges,
    healthy_beside_bad,
    history,
    search,
)

for benchmark in (
    from_nothing,
    first_round,
    fleet_in,
    bad_input,
    diff,
    changes,
    history,
    search,
    gauges,
    escrow,
    healthy_beside_bad,
    bad_among_good,
):
    sys.argv[1:] = []
    benchmark.main()
