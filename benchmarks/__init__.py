"""Benchmarks. `ci/bench list` says what there is."""
