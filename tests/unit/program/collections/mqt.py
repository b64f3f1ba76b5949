"""The circuits of MQT Bench."""

from __future__ import annotations

from collections.abc import Iterator

from mqt.bench import get_benchmark_alg, get_benchmark_indep, get_benchmark_native_gates
from mqt.bench.benchmarks import get_available_benchmark_names
from mqt.bench.targets import get_available_gateset_names, get_target_for_gateset
from qiskit.circuit import QuantumCircuit
from qiskit.transpiler.exceptions import TranspilerError

#: Families that exist at sizes of their own alone.
_SIZES = {"seven_qubit_steane_code": 13, "shors_nine_qubit_code": 17}
#: Its smallest circuit has 18 qubits and takes minutes to be made.
_TOO_LARGE = "shor"


def circuits(sizes: range) -> Iterator[tuple[str, QuantumCircuit]]:
    """Every family at every size: as an algorithm, as plain gates and as targets' native ones."""
    for name in get_available_benchmark_names():
        if name == _TOO_LARGE:
            continue
        for n in (_SIZES[name],) if name in _SIZES else sizes:
            try:
                yield f"{name} {n} alg", get_benchmark_alg(name, n)
                yield f"{name} {n} indep", get_benchmark_indep(name, n)
            except ValueError as error:
                if "num_qubits" not in str(error) and "Number of qubits" not in str(error):
                    raise
    for gateset in get_available_gateset_names():
        target = get_target_for_gateset(gateset, 6)
        for name in ("qft", "ghz", "qaoa", "vqe_su2", "wstate"):
            try:
                yield f"{name} 5 {gateset}", get_benchmark_native_gates(name, 5, target)
            except TranspilerError:  # Qiskit has no way to these gates
                continue
