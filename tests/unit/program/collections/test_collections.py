"""Qiskit's gates and circuit families on three qubits, as its exporters write them.

``ci/collections`` runs them all at 3 to 12 qubits, MQT Bench, QASMBench and the examples of the
specification beside them.
"""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit

from openqse.program.openqasm import dumps, loads

from . import library
from .compare import EXPORTERS, judged
from .simulate import distribution

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

GATES = dict(library.standard_gates(5))
#: Families whose texts Qiskit itself does not read: the exporter writes what is no OpenQASM.
INVALID = {"pauli", "diagonal", "state_preparation", "weighted_sum"}
#: Families whose angles are products of parameters.
NOT_AFFINE = {"zz_feature_map", "pauli_feature_map"}


def _sound(name: str, circuit: QuantumCircuit, exporter: str) -> None:
    verdict = judged(name, circuit, exporter)
    assert verdict.what in ("right", "unwritten"), verdict.why


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", [name for name in GATES if name != "gate global_phase"])
def test_gates_read_as_qiskit_has_them(name: str, exporter: str) -> None:
    _sound(name, GATES[name], exporter)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", sorted(library.FAMILIES.keys() - INVALID))
def test_families_read_as_qiskit_has_them(name: str, exporter: str) -> None:
    circuit = library.FAMILIES[name](3)
    if exporter == "qasm2" and circuit.parameters:
        values = [0.3 + 0.37 * i for i in range(len(circuit.parameters))]
        circuit = circuit.assign_parameters(values)
    _sound(name, circuit, exporter)


def test_the_simulation_of_the_tests_is_right_by_hand() -> None:
    text = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c; ry(0.8) q[2]; cx q[2], q[0]; '
        "c[0] = measure q[0]; c[2] = measure q[2];"
    )
    found = distribution(loads(text))
    assert found == pytest.approx({0: np.cos(0.4) ** 2, 5: np.sin(0.4) ** 2})
    assert distribution(loads(dumps(loads(text)))) == found


def test_free_parameters_keep_their_order() -> None:
    circuit = library.free_parameter()
    circuit.measure_all()
    assert judged("free", circuit, "qasm3").what == "right"
