"""The circuit families of Qiskit's library."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import qiskit.circuit.library as lib
from qiskit.circuit import Gate, Parameter, QuantumCircuit
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import SparsePauliOp, random_clifford, random_unitary

Family = Callable[[int], QuantumCircuit]


def _gate(make: Callable[[int], Gate], spread: float = 1) -> Family:
    """A gate for so many qubits, on a state with all amplitudes of the first of them; ``spread`` is
    which part."""

    def family(n: int) -> QuantumCircuit:
        gate = make(n)
        circuit = QuantumCircuit(gate.num_qubits)
        for q in range(int(spread * gate.num_qubits)):
            circuit.ry(0.3 + 0.4 * q, q)
        circuit.append(gate, range(gate.num_qubits))
        for q in range(gate.num_qubits):
            circuit.rx(0.2 + 0.1 * q, q)
        return circuit

    return family


def _chain(n: int) -> SparsePauliOp:
    terms = [("ZZ", [i, i + 1], 0.5 + 0.1 * i) for i in range(n - 1)]
    return SparsePauliOp.from_sparse_list([*terms, *(("X", [i], 0.3) for i in range(n))], n)


def _oracle(n: int) -> QuantumCircuit:
    oracle = QuantumCircuit(n)
    oracle.append(lib.ZGate().control(n - 1, annotated=False), range(n))
    return oracle


def _symmetric(n: int) -> list[list[int]]:
    rng = np.random.default_rng(n)
    upper = np.triu(rng.integers(0, 2, (n, n)), 1)
    return (upper + upper.T).tolist()


def _amplitudes(n: int) -> list[complex]:
    rng = np.random.default_rng(n)
    draw = rng.normal(size=1 << n) + 1j * rng.normal(size=1 << n)
    return (draw / np.linalg.norm(draw)).tolist()


def _phases(n: int) -> list[complex]:
    return np.exp(1j * np.random.default_rng(n).uniform(0, 6, 1 << n)).tolist()


def _lowered(make: Callable[[int], QuantumCircuit]) -> Family:
    return lambda n: make(n).decompose()


def _exponent(n: int) -> QuantumCircuit:
    unitary = QuantumCircuit(1)
    unitary.p(0.9, 0)
    return lib.phase_estimation(max(1, n - 1), unitary)


FAMILIES: dict[str, Family] = {
    "qft": _gate(lib.QFTGate),
    "qft inverse": _gate(lambda n: lib.QFTGate(n).inverse()),
    "efficient_su2": lambda n: lib.efficient_su2(n, reps=1),
    "real_amplitudes": lambda n: lib.real_amplitudes(n, reps=2),
    "pauli_two_design": lambda n: lib.pauli_two_design(n, reps=2, seed=1),
    "n_local": lambda n: lib.n_local(n, ["rx", "rz"], "crz", "circular", reps=1),
    "excitation_preserving": lambda n: lib.excitation_preserving(n, reps=1),
    "qaoa_ansatz": lambda n: lib.qaoa_ansatz(_chain(n), reps=1),
    "evolved_operator": lambda n: lib.evolved_operator_ansatz([_chain(n)]),
    "hamiltonian_variational": lambda n: lib.hamiltonian_variational_ansatz([_chain(n)]),
    "z_feature_map": lambda n: lib.z_feature_map(n, reps=1),
    "zz_feature_map": lambda n: lib.zz_feature_map(n, reps=1),
    "pauli_feature_map": lambda n: lib.pauli_feature_map(n, reps=1, paulis=["Z", "XY"]),
    "iqp": lambda n: lib.iqp(_symmetric(n)),
    "random_iqp": lambda n: lib.random_iqp(n, seed=2),
    "quantum_volume": lambda n: lib.quantum_volume(n, depth=min(n, 4), seed=3),
    "fourier_checking": lambda n: lib.fourier_checking(
        [1 if i % 3 else -1 for i in range(1 << n)], [1 if i % 2 else -1 for i in range(1 << n)]
    ),
    "hidden_linear_function": lambda n: lib.hidden_linear_function(_symmetric(n)),
    "phase_estimation": _exponent,
    "grover_operator": lambda n: lib.grover_operator(_oracle(n)),
    "graph_state": _gate(lambda n: lib.GraphStateGate(_symmetric(n))),
    "unitary_overlap": lambda n: lib.unitary_overlap(
        lib.real_amplitudes(n, reps=1).assign_parameters([0.3] * (2 * n)),
        lib.real_amplitudes(n, reps=1).assign_parameters([0.4] * (2 * n)),
    ),
    "random_bitwise_xor": lambda n: _gate(lambda k: lib.BitwiseXorGate(k, 5))(n),
    "evolution": lambda n: _gate(lambda k: lib.PauliEvolutionGate(_chain(k), 0.4))(n).decompose(),
    "pauli": _gate(lambda n: lib.PauliGate(("XYZI" * n)[:n])),
    "diagonal": _gate(lambda n: lib.DiagonalGate(_phases(n))),
    "permutation": _gate(lambda n: lib.PermutationGate(np.random.default_rng(n).permutation(n))),
    "state_preparation": _gate(lambda n: lib.StatePreparation(_amplitudes(n)), spread=0),
    "uniform_superposition": _gate(
        lambda n: lib.UniformSuperpositionGate((1 << n) - 1, n), spread=0
    ),
    "mcx": _gate(lambda n: lib.MCXGate(n - 1)),
    "mcp": _gate(lambda n: lib.MCPhaseGate(0.7, n - 1)),
    "mcmt": _gate(lambda n: lib.MCMTGate(lib.HGate(), n - 2, 2)),
    "ms": _gate(lambda n: lib.MSGate(n, 0.4)),
    "gr": lambda n: lib.GR(n, 0.4, 0.7).decompose(),
    "clifford": lambda n: random_clifford(n, seed=4).to_circuit(),
    "random": lambda n: random_circuit(n, 6, max_operands=3, seed=n),
    "random with measurements": lambda n: random_circuit(n, 5, measure=True, seed=n + 100),
    "linear_pauli_rotations": _gate(lambda n: lib.LinearPauliRotationsGate(n - 1, 0.2, 0.3)),
    "polynomial_pauli_rotations": _gate(
        lambda n: lib.PolynomialPauliRotationsGate(n - 1, [0.1, 0.2, 0.3])
    ),
    "piecewise_linear": _gate(
        lambda n: lib.PiecewiseLinearPauliRotationsGate(n // 2, [0, 1], [0.3, 0.2], [0.1, 0.4])
    ),
    "integer_comparator": _gate(lambda n: lib.IntegerComparatorGate(n - 1, 2)),
    "weighted_sum": _gate(lambda n: lib.WeightedSumGate(n // 2, [1] * (n // 2))),
    "quadratic_form": _gate(
        lambda n: (
            lib.QuadraticFormGate(2, [[1, 0.5], [0.5, 1]], [1, 2], 1)
            if n < 4
            else lib.QuadraticFormGate(n - 2, [[1] * 2, [1] * 2], [1, 2], 1)
        )
    ),
    "exact_reciprocal": _gate(lambda n: lib.ExactReciprocalGate(n - 1, 0.5)),
    "linear_amplitude": _gate(
        lambda n: lib.LinearAmplitudeFunctionGate(n // 2, 0.5, 0.1, (0, 1), (0, 1))
    ),
    "and": _gate(lambda n: lib.AndGate(n - 1)),
    "or": _gate(lambda n: lib.OrGate(n - 1)),
    "inner_product": _gate(lambda n: lib.InnerProductGate(n // 2)),
    "half_adder": _gate(lambda n: lib.HalfAdderGate(n // 2)),
    "full_adder": _gate(lambda n: lib.FullAdderGate(n // 2)),
    "modular_adder": _gate(lambda n: lib.ModularAdderGate(n // 2)),
    # Qiskit's ways to multiply differ where the product's qubits, the second half, are not 0.
    "multiplier": _gate(lambda n: lib.MultiplierGate(max(1, n // 4)), spread=0.5),
    "cdkm_adder": lambda n: lib.CDKMRippleCarryAdder(n // 2).decompose(),
    "draper_adder": lambda n: lib.DraperQFTAdder(n // 2).decompose(),
    "vbe_adder": lambda n: lib.VBERippleCarryAdder(max(1, n // 3)).decompose(),
    "linear_function": _gate(lambda n: lib.LinearFunction(np.triu(np.ones((n, n), dtype=int)))),
    "ucry": _gate(lambda n: lib.UCRYGate([0.1 * i for i in range(1 << (n - 1))])),
    "ucrz": _gate(lambda n: lib.UCRZGate([0.1 * i for i in range(1 << (n - 1))])),
    "isometry": _gate(lambda n: lib.Isometry(random_unitary(1 << min(n, 4), seed=n).data, 0, 0)),
    "unitary": _gate(lambda n: lib.UnitaryGate(random_unitary(1 << min(n, 4), seed=n))),
    "two unitaries": lambda n: _pairs(n),
}


def _pairs(n: int) -> QuantumCircuit:
    circuit = QuantumCircuit(n)
    for q in range(n - 1):
        circuit.append(lib.UnitaryGate(random_unitary(4, seed=q)), (q, q + 1))
    return circuit


def standard_gates(n: int) -> Iterator[tuple[str, QuantumCircuit]]:
    """Each gate of the library on the last of ``n`` qubits, in a state with all amplitudes."""
    for name, gate in sorted(lib.get_standard_gate_name_mapping().items()):
        if not isinstance(gate, Gate) or gate.num_qubits > n:
            continue
        values = [0.4 + 0.3 * i for i in range(len(gate.params))]
        circuit = QuantumCircuit(n)
        for q in range(n):
            circuit.ry(0.5 + 0.2 * q, q)
            circuit.p(0.4 * q, q)
        made = gate.to_mutable()
        if values:
            made.params = values
        circuit.append(made, range(n)[::-1][: gate.num_qubits])
        for q in range(n):
            circuit.rx(0.3 - 0.1 * q, q)
        yield f"gate {name}", circuit


def circuits(sizes: range) -> Iterator[tuple[str, QuantumCircuit]]:
    """Every family at every size; with parameters both bound and free."""
    yield from standard_gates(5)
    for name, family in FAMILIES.items():
        for n in sizes:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    circuit = family(n)
                except Exception as error:  # a family that has no such size
                    if n == sizes[-1]:
                        raise RuntimeError(f"{name} at {n}") from error
                    continue
            yield f"{name} {n}", circuit
            if circuit.parameters:
                values = [0.3 + 0.37 * i for i in range(len(circuit.parameters))]
                yield f"{name} {n} bound", circuit.assign_parameters(values)


def free_parameter() -> QuantumCircuit:
    """A program with an angle that stays free."""
    circuit = QuantumCircuit(1)
    circuit.rx(2 * Parameter("a") - 0.3, 0)
    return circuit
