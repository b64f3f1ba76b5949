"""The circuits, each a function of the number of qubits with its random choices fixed by a seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.emulator.engine import Kind, Noise, Task
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse.program.observable import PauliSum

#: Amplitudes that a probe compares.
_PROBED = 256


@dataclass(frozen=True)
class Workload:
    """What to measure at which sizes.

    Attributes:
        make: the task for a number of qubits.
        full, quick: numbers of qubits in a full and in a quick run.
        weight: the time it deserves beside a circuit for the state.
        exact: it has no floating point to speak of, or is to be exact, so that double precision
            says all.
    """

    make: Callable[[int], Task]
    full: tuple[int, ...]
    quick: tuple[int, ...] = (16, 20)
    weight: float = 1.0
    exact: bool = False


def brickwall(n: int) -> Circuit:
    """Ten layers of a random gate on each qubit and CX on alternating neighbours."""
    rng = _random("brickwall", n)
    circuit = CircuitBuilder(n)
    for layer in range(10):
        _bricks(circuit, rng, layer)
    return circuit.build()


def qft(n: int) -> Circuit:
    """The quantum Fourier transform, with the swaps that restore the order, of a basis state."""
    rng = _random("qft", n)
    circuit = CircuitBuilder(n)
    for q in np.flatnonzero(rng.integers(0, 2, n)).tolist():
        circuit.x(q)
    for q in reversed(range(n)):
        circuit.h(q)
        for k in reversed(range(q)):
            circuit.cp(np.pi / 2 ** (q - k), k, q)
    for q in range(n // 2):
        circuit.swap(q, n - 1 - q)
    return circuit.build()


def qaoa(n: int) -> Circuit:
    """Five rounds for the maximum cut of a random graph of degree three."""
    rng = _random("qaoa", n)
    edges = _cubic_graph(n, rng)
    circuit = CircuitBuilder(n)
    for q in range(n):
        circuit.h(q)
    for gamma, beta in rng.uniform(0, np.pi, (5, 2)):
        for a, b in edges:
            circuit.rzz(gamma, a, b)
        for q in range(n):
            circuit.rx(2 * beta, q)
    return circuit.build()


def trotter(n: int) -> Circuit:
    """Twenty steps in time of the Ising chain in a transverse field."""
    circuit = CircuitBuilder(n)
    for _ in range(20):
        for q in range(n - 1):
            circuit.rzz(0.11, q, q + 1)
        for q in range(n):
            circuit.rx(0.17, q)
    return circuit.build()


def ansatz(n: int) -> Circuit:
    """Four layers of RY, RZ and a ring of CX; each of the ``8 n`` angles is a free parameter."""
    circuit = CircuitBuilder(n)
    for layer in range(4):
        for q in range(n):
            circuit.ry(circuit.parameter(f"y{layer}_{q}"), q)
            circuit.rz(circuit.parameter(f"z{layer}_{q}"), q)
        for q in range(n):
            circuit.cx(q, (q + 1) % n)
    return circuit.build()


def quantum_volume(n: int) -> Circuit:
    """``n`` layers of random two-qubit gates, each of three CX, on random pairs."""
    rng = _random("quantum_volume", n)
    circuit = CircuitBuilder(n)
    for _ in range(n):
        for a, b in rng.permutation(n)[: n // 2 * 2].reshape(-1, 2).tolist():
            angles = rng.uniform(-np.pi, np.pi, 3)
            _turn(circuit, rng, a, b)
            circuit.cx(b, a).rz(angles[0], a).ry(angles[1], b)
            circuit.cx(a, b).ry(angles[2], b).cx(b, a)
            _turn(circuit, rng, a, b)
    return circuit.build()


def grover(n: int) -> Circuit:
    """Three rounds of the search for one basis state, by Z gates under ``n - 1`` controls."""
    zeros = [q for q in range(n) if not _marked(n) >> q & 1]
    circuit = CircuitBuilder(n)

    def everywhere(gate: Callable[[int], object]) -> None:
        for q in range(n):
            gate(q)

    def flip_all_ones() -> None:
        circuit.append(Op.Z, range(n), controls=n - 1)

    everywhere(circuit.h)
    for _ in range(3):
        for q in zeros:
            circuit.x(q)
        flip_all_ones()
        for q in zeros:
            circuit.x(q)
        everywhere(circuit.h)
        everywhere(circuit.x)
        flip_all_ones()
        everywhere(circuit.x)
        everywhere(circuit.h)
    return circuit.build()


def clifford_t(n: int) -> Circuit:
    """``20 n`` random gates out of H, S, CX and, three times in ten, T."""
    rng = _random("clifford_t", n)
    circuit = CircuitBuilder(n)
    for q in range(n):
        circuit.h(q)
    for choice in rng.choice(4, size=20 * n, p=(0.25, 0.15, 0.3, 0.3)).tolist():
        a, b = rng.choice(n, size=2, replace=False).tolist()
        if choice == 2:
            circuit.cx(a, b)
        else:
            circuit.append((Op.H, Op.S, Op.X, Op.T)[choice], (a,))
    return circuit.build()


def decay(n: int) -> Task:
    """Ten layers of rotations and of CZ on neighbours, with a free parameter for each qubit.

    Qubit ``q`` is turned by ``100**-q``: amplitudes have all magnitudes down to what a number can
    just hold, for which processors may take a hundred times as long.
    """
    circuit = CircuitBuilder(n)
    for _ in range(10):
        for q in range(n):
            circuit.ry(circuit.parameter(f"y{q}"), q)
        for q in range(n - 1):
            circuit.cz(q, q + 1)
    angles = 100.0 ** -np.arange(n)
    return Task(Kind.STATE, circuit.build(), angles[np.newaxis], tuple(range(min(_PROBED, 2**n))))


def ghz(n: int) -> Circuit:
    """All zeros and all ones in superposition, measured."""
    circuit = CircuitBuilder(n).h(0)
    for q in range(n - 1):
        circuit.cx(q, q + 1)
    return circuit.measure_all().build()


def noisy(n: int) -> Circuit:
    """Four layers as of ``brickwall``, measured."""
    rng = _random("noisy", n)
    circuit = CircuitBuilder(n)
    for layer in range(4):
        _bricks(circuit, rng, layer)
    return circuit.measure_all().build()


def mixed(n: int) -> Circuit:
    """Twenty layers of RX and RZ on each qubit and CX on alternating neighbours, measured."""
    rng = _random("mixed", n)
    circuit = CircuitBuilder(n)
    for layer in range(20):
        for q in range(n):
            x, z = rng.uniform(-np.pi, np.pi, 2).tolist()
            circuit.rx(x, q).rz(z, q)
        for q in range(layer % 2, n - 1, 2):
            circuit.cx(q, q + 1)
    return circuit.measure_all().build()


def clifford(n: int) -> Circuit:
    """A random Clifford program of depth 20, an error, and the way back; measured.

    Every other qubit ends up in a basis state that the error decides; the rest show either outcome.
    """
    rng = _random("clifford", n)
    there: list[tuple[Op, tuple[int, ...]]] = []
    for _ in range(10):
        there += [((Op.H, Op.S)[c], (q,)) for q, c in enumerate(rng.integers(0, 2, n).tolist())]
        pairs = rng.permutation(n)[: n // 2 * 2].reshape(-1, 2).tolist()
        there += [(Op.X, (a, b)) for a, b in pairs]
    error = [((Op.X, Op.Z)[q % 2], (q,)) for q in rng.choice(n, n // 3, replace=False).tolist()]
    back = [(Op.SDG if op is Op.S else op, qubits) for op, qubits in reversed(there)]
    last = [(Op.H, (q,)) for q in range(1, n, 2)]
    circuit = CircuitBuilder(n)
    for op, qubits in (*there, *error, *back, *last):
        circuit.append(op, qubits, controls=len(qubits) - 1)
    return circuit.measure_all().build()


def ising_energy(n: int) -> PauliSum:
    """The Ising chain in a transverse field: ZZ of neighbours and X of each qubit."""
    bonds = [(f"Z{q} Z{q + 1}", -1.0) for q in range(n - 1)]
    return PauliSum.from_terms([*bonds, *((f"X{q}", -0.7) for q in range(n))], n)


def general_observable(n: int) -> PauliSum:
    """Eighty random Pauli products of two to six factors."""
    rng = _random("general_observable", n)
    paulis = np.zeros((80, n), dtype=np.uint8)
    for row in paulis:
        qubits = rng.choice(n, size=rng.integers(2, 7), replace=False)
        row[qubits] = rng.integers(1, 4, len(qubits))
    return PauliSum(rng.normal(size=len(paulis)), paulis)


def sum_z(n: int) -> PauliSum:
    """Z of every qubit."""
    return PauliSum.from_terms([(f"Z{q}", 1.0) for q in range(n)], n)


def rehearsal() -> list[Task]:
    """Small tasks of every kind and with every gate, for an engine to warm up with."""
    small = [replace(workload.make(6), shots=20) for workload in WORKLOADS.values()]
    return [replace(task, parameters=task.parameters[:3]) for task in small]


def _state(make: Callable[[int], Circuit], *special: Callable[[int], int]) -> Callable[[int], Task]:
    """Makes tasks that want the state; among the amplitudes probed are those at ``special``."""

    def task(n: int) -> Task:
        circuit = make(n)
        drawn = _random("probe", n).integers(0, 2**n, _PROBED).tolist()
        indices = sorted({0, 2**n - 1, *(index(n) for index in special), *drawn})
        return Task(Kind.STATE, circuit, _parameters(circuit, 1), tuple(indices))

    return task


def _sample(make: Callable[[int], Circuit], kind: Kind, shots: int) -> Callable[[int], Task]:
    noise = Noise(one=0.001, two=0.01) if kind in (Kind.NOISY, Kind.DENSITY) else None
    return lambda n: Task(kind, make(n), np.empty((1, 0)), shots=shots, noise=noise)


def _expectation(make: Callable[[int], PauliSum], sets: int) -> Callable[[int], Task]:
    def task(n: int) -> Task:
        circuit = ansatz(n)
        parameters = _parameters(circuit, sets)
        return Task(Kind.EXPECTATION, circuit, parameters, observable=make(n))

    return task


def _parameters(circuit: Circuit, sets: int) -> NDArray[np.float64]:
    count = len(circuit.parameters)
    return _random("parameters", count).uniform(-np.pi, np.pi, (sets, count))


def _bricks(circuit: CircuitBuilder, rng: np.random.Generator, layer: int) -> None:
    _turn(circuit, rng, *range(circuit.num_qubits))
    for q in range(layer % 2, circuit.num_qubits - 1, 2):
        circuit.cx(q, q + 1)


def _turn(circuit: CircuitBuilder, rng: np.random.Generator, *qubits: int) -> None:
    """Appends a random gate to each of the qubits."""
    for q in qubits:
        theta, phi, lam = rng.uniform(-np.pi, np.pi, 3).tolist()
        circuit.u(theta, phi, lam, q)


def _cubic_graph(n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """A random graph on ``n`` vertices, an even number, of which each has three edges.

    Joins the ends of half-edges at random until no edge is a loop or there twice: one try in seven.
    """
    ends = np.repeat(np.arange(n), 3)
    while True:
        pairs = np.sort(rng.permutation(ends).reshape(-1, 2), axis=1)
        if (pairs[:, 0] < pairs[:, 1]).all() and len(np.unique(pairs, axis=0)) == len(pairs):
            return [(a, b) for a, b in pairs.tolist()]


def _marked(n: int) -> int:
    """The basis state that ``grover`` looks for: 1 and 0 by turns."""
    return sum(1 << q for q in range(0, n, 2))


def _random(name: str, n: int) -> np.random.Generator:
    return np.random.default_rng(list(itertools.chain(name.encode(), [n])))


#: By the name that a benchmark's lines have. Sizes are even, as cubic graphs need them.
WORKLOADS = {
    "brickwall": Workload(_state(brickwall), (12, 16, 20, 22, 24, 26)),
    "qft": Workload(_state(qft), (12, 16, 20, 22, 24, 26)),
    "qaoa": Workload(_state(qaoa), (12, 16, 20, 22, 24)),
    "trotter": Workload(_state(trotter), (12, 16, 20, 22, 24)),
    "ansatz": Workload(_state(ansatz), (12, 16, 20, 22, 24, 26)),
    "quantum_volume": Workload(_state(quantum_volume), (12, 16, 20, 22)),
    "grover": Workload(_state(grover, _marked), (12, 16, 20, 22, 24)),
    "clifford_t": Workload(_state(clifford_t), (12, 16, 20, 22, 24)),
    "decay": Workload(decay, (20,), (20,)),
    "ghz": Workload(_sample(ghz, Kind.SAMPLE, 100_000), (12, 16, 20, 22, 24)),
    "tfim_expectation": Workload(_expectation(ising_energy, 1), (20,), (20,)),
    "general_expectation": Workload(_expectation(general_observable, 1), (20,), (20,)),
    "batch": Workload(_expectation(sum_z, 1000), (12,), (12,), weight=3),
    # Fewer qubits in a quick run, as its time goes into trajectories.
    "noisy": Workload(_sample(noisy, Kind.NOISY, 10_000), (14,), (10,), weight=6),
    "density": Workload(
        _sample(mixed, Kind.DENSITY, 5000), (8, 10, 12), (8, 10), weight=6, exact=True
    ),
    "clifford": Workload(_sample(clifford, Kind.CLIFFORD, 1000), (150,), (150,), exact=True),
    "clifford_ghz": Workload(_sample(ghz, Kind.CLIFFORD, 1000), (400,), (400,), exact=True),
}
