"""Measurements: `make bench` runs them all; docs/benchmarks.md holds method and results."""
