"""Benchmarks that drive the container cluster from outside; `ci/bench` runs them."""
