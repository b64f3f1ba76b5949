"""Every gate and whole circuits against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.program.builder import CircuitBuilder
from openqse.program.gates import SIGNATURES, Op
from openqse_emulator.statevector import execute

from . import reference
from .circuits import UNITARY, never, random_circuit


def evolved(builder: CircuitBuilder) -> np.ndarray:
    circuit = builder.build()
    engine = execute.Engine(np.float64, 1)
    return engine.evolve(engine.prepare(circuit), circuit.bind()[0], never).amplitudes()


@pytest.mark.parametrize("controls", [0, 1, 2, 3])
@pytest.mark.parametrize("op", UNITARY)
def test_gate_is_its_matrix_on_any_qubits(op: Op, controls: int) -> None:
    rng = np.random.default_rng(17 * op + controls)
    signature = SIGNATURES[op]
    for _ in range(12):
        builder = CircuitBuilder(6)
        for q in range(6):
            builder.u(*rng.uniform(-4, 4, 3), q)
        for q in range(5):
            builder.cx(q, q + 1)
        qubits = rng.permutation(6)[: controls + (signature.targets or 0)].tolist()
        builder.append(op, qubits, rng.uniform(-7, 7, signature.angles), controls=controls)
        found, expected = evolved(builder), reference.state(builder.build())
        phase = np.vdot(found, expected)  # no outcome depends on it
        assert abs(phase) == pytest.approx(1, abs=1e-12)
        found = found * phase
        np.testing.assert_allclose(found, expected, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(0, 40), st.integers(0, 2**32))
def test_random_circuit_prepares_the_reference_state(n: int, gates: int, seed: int) -> None:
    builder = random_circuit(n, gates, np.random.default_rng(seed))
    overlap = np.vdot(evolved(builder), reference.state(builder.build()))
    assert abs(overlap) == pytest.approx(1, abs=1e-11)
