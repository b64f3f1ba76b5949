"""Random circuits, and what tests read off samples."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from openqse.program.angle import Angle
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import NON_UNITARY, SIGNATURES, Op
from openqse.program.observable import PauliSum
from openqse_emulator.statevector import program

UNITARY = [op for op in Op if op not in NON_UNITARY]
PAULIS = (Op.X, Op.Y, Op.Z)


def never() -> bool:
    """``stopped`` of a run that nobody stops."""
    return False


#: How far the overlap with the true state may be from 1, by the precision of the amplitudes.
TOLERANCE: dict[type, float] = {np.float64: 1e-12, np.float32: 1e-5}
#: Names of the free parameters of random circuits.
FREE = ("a", "b", "c")


def add_gate(
    builder: CircuitBuilder,
    op: Op,
    controls: int,
    rng: np.random.Generator,
    free: float = 0.0,
    among: Sequence[int] = (),
) -> None:
    """A gate with random angles on random qubits (of all, or among some), under as many controls
    as there is room for.

    Every fourth angle is a multiple of an eighth turn; of all, the share ``free`` has a parameter.
    """
    signature = SIGNATURES[op]
    assert signature.targets is not None
    among = among or range(builder.num_qubits)
    controls = min(controls, len(among) - signature.targets)
    if controls < 0:
        return
    qubits = rng.permutation(among)[: controls + signature.targets].tolist()
    drawn = rng.uniform(-7, 7, signature.angles)
    even = np.round(drawn * 4 / np.pi) * np.pi / 4
    angles: list[Angle | float] = np.where(rng.random(len(drawn)) < 0.25, even, drawn).tolist()
    if free:
        angles = [
            builder.parameter(rng.choice(FREE)) * rng.choice([1.0, -0.5]) + angle
            if rng.random() < free
            else angle
            for angle in angles
        ]
    builder.append(op, qubits, angles, controls=controls)


def random_circuit(
    num_qubits: int, gates: int, rng: np.random.Generator, *, controls: int = 3, free: float = 0.0
) -> CircuitBuilder:
    """Gates of all kinds with up to ``controls`` controls, some of them in runs on two qubits, and
    ladders of CX; with ``free``, all of ``FREE`` are parameters."""
    builder = CircuitBuilder(num_qubits)
    for name in FREE if free else ():
        builder.parameter(name)
    pair: Sequence[int] = ()
    for _ in range(gates):
        if rng.random() < 0.2:
            pair = () if pair else rng.permutation(num_qubits)[:2].tolist()
        elif rng.random() < 0.1:
            for control, target in itertools.pairwise(rng.permutation(num_qubits).tolist()):
                builder.cx(control, target)
        op = UNITARY[rng.integers(len(UNITARY))]
        add_gate(builder, op, int(rng.integers(controls + 1)), rng, free, pair)
    return builder


def parameter_values(count: int) -> st.SearchStrategy[list[float]]:
    """Values of parameters, at which gates often are something simpler than elsewhere."""
    special = st.sampled_from([0.0, np.pi / 2, np.pi, -np.pi, 2 * np.pi])
    return st.lists(special | st.floats(-7, 7), min_size=count, max_size=count)


def random_paulis(
    operations: int, num_qubits: int, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Pauli operators as noise inserts them: ``(count, 3)``, in order of their positions."""
    positions = np.sort(rng.integers(0, operations + 1, count))
    drawn = [positions, rng.integers(0, num_qubits, count), rng.integers(1, 4, count)]
    return np.stack(drawn, axis=1).astype(np.int64)


def with_paulis(circuit: Circuit, angles: NDArray[np.float64], noise: NDArray[np.int64]) -> Circuit:
    """A circuit with its angles bound and with these Pauli operators as gates: each stands before
    the operation that has its position among those the engine keeps."""
    builder = CircuitBuilder(circuit.num_qubits, circuit.num_clbits)
    positions = program.read(circuit).positions.tolist()
    waiting = noise.tolist()
    for i, operation in enumerate(circuit.operations()):
        while waiting and waiting[0][0] < len(positions) and positions[waiting[0][0]] <= i:
            _, qubit, pauli = waiting.pop(0)
            builder.append(PAULIS[pauli - 1], (qubit,))
        op, controls, qubits, at, clbit = operation
        bound = angles[at.start : at.stop].tolist()
        builder.append(op, qubits, bound, controls=controls, clbit=clbit)
    for _, qubit, pauli in waiting:
        builder.append(PAULIS[pauli - 1], (qubit,))
    return builder.build()


def assert_same_state(
    found: NDArray[np.complex128], expected: NDArray[np.complex128], dtype: type = np.float64
) -> None:
    """Fails unless two states are the same but for a global phase."""
    assert abs(np.linalg.norm(found) - 1) < TOLERANCE[dtype]
    assert abs(np.vdot(found, expected)) ** 2 == pytest.approx(1, abs=TOLERANCE[dtype])


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
