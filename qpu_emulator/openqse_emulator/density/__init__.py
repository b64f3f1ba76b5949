"""Density matrices by their Pauli strings: what a noisy program does, exactly."""

from openqse_emulator.density.evolution import (
    MOST_QUBITS,
    Distribution,
    branchings,
    distribution,
    evolve,
    expectation,
    matrix_bytes,
    products,
    program_bytes,
    sample,
)

__all__ = [
    "MOST_QUBITS",
    "Distribution",
    "branchings",
    "distribution",
    "evolve",
    "expectation",
    "matrix_bytes",
    "products",
    "program_bytes",
    "sample",
]
