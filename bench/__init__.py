"""Benchmarks: figures from runs, never assertions. `make bench` runs them all."""
