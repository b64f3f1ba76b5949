"""Random circuits, and what tests read off samples."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from openqse.program.circuit import Circuit, CircuitBuilder
from openqse.program.gates import NON_UNITARY, SIGNATURES, Op
from openqse.program.observable import PauliSum

UNITARY = [op for op in Op if op not in NON_UNITARY]


def never() -> bool:
    """``stopped`` of a run that nobody stops."""
    return False


def add_gate(builder: CircuitBuilder, op: Op, controls: int, rng: np.random.Generator) -> None:
    """A gate with random angles on random qubits, under as many controls as there is room for."""
    signature = SIGNATURES[op]
    assert signature.targets is not None
    controls = min(controls, builder.num_qubits - signature.targets)
    if controls < 0:
        return
    qubits = rng.permutation(builder.num_qubits)[: controls + signature.targets].tolist()
    angles = rng.uniform(-7, 7, signature.angles).tolist()
    builder.append(op, qubits, angles, controls=controls)


def random_circuit(
    num_qubits: int, gates: int, rng: np.random.Generator, *, controls: int = 3
) -> CircuitBuilder:
    """Gates of all kinds with up to ``controls`` controls."""
    builder = CircuitBuilder(num_qubits)
    for _ in range(gates):
        op = UNITARY[rng.integers(len(UNITARY))]
        add_gate(builder, op, int(rng.integers(controls + 1)), rng)
    return builder


@st.composite
def dynamic_circuits(draw: st.DrawFn) -> Circuit:
    """Small circuits with measurements and resets anywhere, bits written twice, barriers."""
    num_qubits = draw(st.integers(1, 4))
    builder = CircuitBuilder(num_qubits, num_clbits=3)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds = st.sampled_from([*UNITARY, Op.MEASURE, Op.MEASURE, Op.RESET, Op.BARRIER])
    for op in draw(st.lists(kinds, min_size=1, max_size=14)):
        qubit = int(rng.integers(num_qubits))
        if op is Op.MEASURE:
            builder.measure(qubit, int(rng.integers(3)))
        elif op is Op.RESET:
            builder.reset(qubit)
        elif op is Op.BARRIER:
            builder.barrier()
        else:
            add_gate(builder, op, int(rng.integers(3)), rng)
    return builder.build()


def random_observable(num_qubits: int, terms: int, rng: np.random.Generator) -> PauliSum:
    codes = rng.integers(0, 4, (terms, num_qubits)).astype(np.uint8)
    return PauliSum(rng.normal(size=terms), codes)


def registers(memory: NDArray[np.uint8]) -> list[int]:
    """The classical register of each shot of ``(shots, bytes)`` as a number."""
    return [int.from_bytes(row.tobytes(), "little") for row in memory]


def assert_drawn_from(memory: NDArray[np.uint8], probabilities: dict[int, float]) -> None:
    """Fails where shots contain what cannot be, or would be drawn less than once in 10^9 times."""
    values, counts = np.unique(registers(memory), return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    possible = {value: p for value, p in probabilities.items() if p > 1e-12}
    assert found.keys() <= possible.keys()
    observed = np.array([found.get(value, 0) for value in possible])
    expected = np.array(list(possible.values())) * len(memory)
    rare = expected < 5  # chi-square needs a handful of each: the rare ones are counted together
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    observed, expected = observed[expected > 0], expected[expected > 0]
    if len(expected) > 1:
        assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-9
