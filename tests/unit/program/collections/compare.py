"""One program: read, simulated, and held against Qiskit Aer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import qiskit
import qiskit.qasm2
import qiskit.qasm3
from qiskit.circuit import ControlFlowOp, QuantumCircuit
from qiskit.transpiler.exceptions import TranspilerError
from qiskit_aer import AerSimulator

from openqse.errors import OpenQSEError
from openqse.program.openqasm import loads

from .simulate import distribution, marginal

#: How far two exact probabilities may be apart.
TOLERANCE = 1e-9
#: Shots of Aer where it has no exact distribution.
SHOTS = 50_000
#: Above this many qubits, or changes of amplitudes, a program is read and not simulated.
MAX_QUBITS = 18
MAX_WORK = 2**30


@dataclass(frozen=True)
class Verdict:
    """What came of a program: ``right``, ``read`` (not compared), ``refused``, ``wrong`` or
    ``unwritten`` (by its exporter), and why."""

    name: str
    what: str
    why: str = ""
    text: str = ""


EXPORTERS: dict[str, Callable[[QuantumCircuit], str]] = {
    "qasm2": qiskit.qasm2.dumps,
    "qasm3": qiskit.qasm3.dumps,
}


def judged(name: str, circuit: QuantumCircuit, exporter: str) -> Verdict:
    """A circuit written by one of Qiskit's exporters, read and compared with Aer."""
    if circuit.num_clbits == 0:
        circuit = circuit.copy()
        circuit.measure_all()
    try:
        text = EXPORTERS[exporter](circuit)
    except Exception as error:
        return Verdict(name, "unwritten", f"{type(error).__name__}: {error}"[:120])
    values = [0.3 + 0.37 * i for i in range(len(circuit.parameters))]
    return judged_text(name, text, circuit, values)


def judged_text(
    name: str, text: str, circuit: QuantumCircuit, values: list[float] | None = None
) -> Verdict:
    """A text, held against the circuit that it stands for.

    Args:
        values: of the circuit's parameters, in their order.
    """
    try:
        ours = loads(text, name)
    except OpenQSEError as error:
        construct = error.details.get("construct", error.details.get("limit", ""))
        return Verdict(name, "refused", f"{construct}: {error.message}", text)
    except Exception as error:
        return Verdict(name, "wrong", f"crash: {type(error).__name__}: {error}", text)
    size = max(ours.num_qubits, circuit.num_qubits)
    if size > MAX_QUBITS or len(ours) << size > MAX_WORK:
        return Verdict(name, "read")
    try:
        found = distribution(ours, values or ())
    except OverflowError as error:
        return Verdict(name, "read", str(error))
    bound = circuit.assign_parameters(values) if values else circuit
    try:
        reference, shots = _references(bound)
    except TranspilerError as error:  # gates that Aer does not know
        return Verdict(name, "read", f"not compared: {error.message}"[:160])
    gap = furthest(found, reference, shots)
    return Verdict(name, "right" if gap <= 1 else "wrong", f"{gap:.3g} of what is allowed", text)


#: The circuit that was compared last, and what Aer has for it: two exporters write each.
_last: list[tuple[QuantumCircuit, tuple[dict[int, float], int]]] = []


def _references(circuit: QuantumCircuit) -> tuple[dict[int, float], int]:
    """Aer's distribution of the classical bits, and of how many shots, 0 for an exact one."""
    if not _last or _last[0][0] != circuit:
        exact = expected(circuit)
        _last[:] = [(circuit, (sampled(circuit), SHOTS) if exact is None else (exact, 0))]
    return _last[0][1]


def furthest(found: dict[int, float], reference: dict[int, float], shots: int) -> float:
    """The largest difference in units of what is allowed."""
    worst = 0.0
    for key in found.keys() | reference.keys():
        p, q = found.get(key, 0.0), reference.get(key, 0.0)
        allowed = TOLERANCE
        if shots:
            allowed = 6 * math.sqrt(max(p * (1 - p), 1 / shots) / shots)
        worst = max(worst, abs(p - q) / allowed)
    return worst


def expected(circuit: QuantumCircuit) -> dict[int, float] | None:
    """Aer's exact distribution of the classical bits; None where something follows what is
    measured."""
    measured: dict[Any, Any] = {}
    bare = circuit.copy_empty_like()
    for instruction in circuit.data:
        operation, qubits, clbits = instruction.operation, instruction.qubits, instruction.clbits
        if operation.name == "barrier":
            continue
        late = any(q in measured for q in qubits)
        if operation.name == "measure":
            if late or clbits[0] in measured.values():
                return None
            measured[qubits[0]] = clbits[0]
        elif late or clbits or operation.name == "reset" or isinstance(operation, ControlFlowOp):
            return None
        else:
            bare.append(operation, qubits)
    bare.save_statevector()
    simulator = AerSimulator(method="statevector")
    run = simulator.run(qiskit.transpile(bare, simulator, optimization_level=0)).result()
    if not run.success:
        raise RuntimeError(run.status)
    weights = np.abs(np.asarray(run.get_statevector())) ** 2
    pairs = [(circuit.find_bit(q).index, circuit.find_bit(c).index) for q, c in measured.items()]
    return marginal(weights, pairs)


def sampled(circuit: QuantumCircuit) -> dict[int, float]:
    """Aer's frequencies of the classical bits."""
    simulator = AerSimulator(seed_simulator=7)
    ready = qiskit.transpile(circuit, simulator, optimization_level=0)
    counts = simulator.run(ready, shots=SHOTS).result().get_counts()
    return {int(key.replace(" ", ""), 2): count / SHOTS for key, count in counts.items()}
