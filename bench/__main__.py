"""Run the benchmarks; each prints its figures."""

from __future__ import annotations

from bench import first_round

first_round.main()
