"""Gates that other tools write without a definition, against matrices of other origin."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import qiskit
import qiskit.circuit.library as lib
from numpy.typing import NDArray
from qiskit.quantum_info import Operator

from openqse.errors import NotSupported, ProgramError
from openqse.program.openqasm import braket, loads
from openqse.program.openqasm.braket import pragma
from openqse.program.openqasm.dialects import choose
from openqse.program.openqasm.steps import Gate
from openqse.program.openqasm.synthesis import unitary_of
from openqse.program.openqasm.tools import INCLUDES, NEWER

from . import reference as ref
from .reference import controlled, phase, rotation, same_up_to_phase, unitary

A, B, C = 0.7, -1.9, 2.6
STD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'


def matrix_of(gate: Gate) -> NDArray:
    qubits = tuple(range(gate.qubits))
    return unitary_of(gate.steps((A, B, C)[: gate.angles], qubits), qubits)


def exponential(*terms: tuple[float, NDArray]) -> NDArray:
    """``exp(-i/2 sum(angle * matrix))``."""
    values, vectors = np.linalg.eigh(sum(angle * matrix for angle, matrix in terms))
    return vectors @ np.diag(np.exp(-0.5j * values)) @ vectors.conj().T


XX, YY, ZZ = (np.kron(p, p) for p in (ref.X, ref.Y, ref.Z))

NEWER_MATRICES = {
    "sxdg": lib.SXdgGate(),
    "u": lib.UGate(A, B, C),
    "u0": np.eye(2),
    "r": lib.RGate(A, B),
    "prx": lib.RGate(A, B),
    "rxx": lib.RXXGate(A),
    "ryy": lib.RYYGate(A),
    "rzz": lib.RZZGate(A),
    "rzx": lib.RZXGate(A),
    "ecr": lib.ECRGate(),
    "iswap": lib.iSwapGate(),
    "iswapdg": lib.iSwapGate().inverse(),
    "dcx": lib.DCXGate(),
    "xx_plus_yy": lib.XXPlusYYGate(A, B),
    "xx_minus_yy": lib.XXMinusYYGate(A, B),
    "cs": lib.CSGate(),
    "csdg": lib.CSdgGate(),
    "csx": lib.CSXGate(),
    "cu1": lib.CU1Gate(A),
    "cu3": lib.CU3Gate(A, B, C),
    "ccz": lib.CCZGate(),
    "rccx": lib.RCCXGate(),
    "rcccx": lib.RC3XGate(),
    "rc3x": lib.RC3XGate(),
    "c3x": lib.C3XGate(),
    "c3z": np.diag([1.0] * 15 + [-1]),
    "c3sx": lib.C3SXGate(),
    "c3sqrtx": lib.C3SXGate(),
    "c4x": lib.C4XGate(),
    "phase": lib.PhaseGate(A),
    "cphase": lib.CPhaseGate(A),
}


@pytest.mark.parametrize("name", NEWER)
def test_gates_of_newer_tools_are_those_of_qiskit(name: str) -> None:
    expected = NEWER_MATRICES[name]
    if not isinstance(expected, np.ndarray):
        expected = Operator(expected).data
    np.testing.assert_allclose(matrix_of(NEWER[name]), expected, atol=1e-14)


#: Of the SDK's documentation, the first qubit the higher digit of rows and columns.
c, s = math.cos(A / 2), math.sin(A / 2)
e = lambda x: np.exp(1j * x)  # noqa: E731
BRAKET_MATRICES = {
    "h": ref.H, "x": ref.X, "y": ref.Y, "z": ref.Z, "s": phase(math.pi / 2),
    "t": phase(math.pi / 4), "i": ref.ID, "si": phase(-math.pi / 2), "ti": phase(-math.pi / 4),
    "v": ref.SX, "vi": ref.SX.conj().T,
    "rx": rotation(ref.X, A), "ry": rotation(ref.Y, A), "rz": rotation(ref.Z, A),
    "phaseshift": phase(A),
    "prx": [[c, -1j * e(-B) * s], [-1j * e(B) * s, c]],
    "gpi": [[0, e(-A)], [e(A), 0]],
    "gpi2": np.array([[1, -1j * e(-A)], [-1j * e(A), 1]]) / math.sqrt(2),
    "U": ref.u(A, B, C), "u": ref.u(A, B, C),
    "cnot": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],
    "cy": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, -1j], [0, 0, 1j, 0]],
    "cz": np.diag([1, 1, 1, -1]),
    "cv": np.block([[np.eye(2), np.zeros((2, 2))], [np.zeros((2, 2)), ref.SX]]),
    "cphaseshift": np.diag([1, 1, 1, e(A)]),
    "cphaseshift00": np.diag([e(A), 1, 1, 1]),
    "cphaseshift01": np.diag([1, e(A), 1, 1]),
    "cphaseshift10": np.diag([1, 1, e(A), 1]),
    "swap": ref.SWAP,
    "iswap": [[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]],
    "pswap": [[1, 0, 0, 0], [0, 0, e(A), 0], [0, e(A), 0, 0], [0, 0, 0, 1]],
    "xx": exponential((A, XX)), "yy": exponential((A, YY)), "zz": exponential((A, ZZ)),
    "xy": [[1, 0, 0, 0], [0, c, 1j * s, 0], [0, 1j * s, c, 0], [0, 0, 0, 1]],
    "ms": [
        [math.cos(C / 2), 0, 0, -1j * e(-A - B) * math.sin(C / 2)],
        [0, math.cos(C / 2), -1j * e(-A + B) * math.sin(C / 2), 0],
        [0, -1j * e(A - B) * math.sin(C / 2), math.cos(C / 2), 0],
        [-1j * e(A + B) * math.sin(C / 2), 0, 0, math.cos(C / 2)],
    ],
    "ecr": np.array([[0, 0, 1, 1j], [0, 0, 1j, 1], [1, -1j, 0, 0], [-1j, 1, 0, 0]]) / math.sqrt(2),
    "ccnot": np.eye(8)[[0, 1, 2, 3, 4, 5, 7, 6]],
    "cswap": np.eye(8)[[0, 1, 2, 3, 4, 6, 5, 7]],
}  # fmt: skip


def swapped_digits(matrix: NDArray) -> NDArray:
    """A matrix for the other order of qubits."""
    n = len(matrix).bit_length() - 1
    order = [int(f"{x:0{n}b}"[::-1], 2) for x in range(1 << n)]
    return np.asarray(matrix)[np.ix_(order, order)]


@pytest.mark.parametrize("name", braket.GATES)
def test_gates_of_braket_are_those_of_its_documentation(name: str) -> None:
    expected = swapped_digits(np.asarray(BRAKET_MATRICES[name]))
    np.testing.assert_allclose(matrix_of(braket.GATES[name]), expected, atol=1e-14)


def test_gates_of_hqslib1() -> None:
    gates = INCLUDES[2]["hqslib1.inc"]
    half = exponential((A, math.cos(B) * ref.X + math.sin(B) * ref.Y))
    np.testing.assert_allclose(matrix_of(gates["U1q"]), half, atol=1e-14)
    np.testing.assert_allclose(matrix_of(gates["Rz"]), rotation(ref.Z, A), atol=1e-14)
    root = exponential((math.pi / 2, ZZ))
    np.testing.assert_allclose(matrix_of(gates["ZZ"]), root, atol=1e-14)
    np.testing.assert_allclose(matrix_of(gates["RZZ"]), exponential((A, ZZ)), atol=1e-14)
    all_three = exponential((A, XX), (B, YY), (C, ZZ))
    np.testing.assert_allclose(matrix_of(gates["Rxxyyzz"]), all_three, atol=1e-14)


# --- which gates a program knows -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("OPENQASM 3.0; qubit[2] q; h q[0]; cnot q[0], q[1];", "braket"),
        ("OPENQASM 3.0; h $0;", "braket"),
        ("qubit q; ctrl @ v q;", "braket"),
        ("qubit q;\nrx( 0.1 )q;", "braket"),
        ("qubit q;\n#pragma braket verbatim\nbox { U(1, 2, 3) q; }", "braket"),
        ('include "stdgates.inc"; qubit q; h q;', "openqasm"),
        (
            '/* braket */ include "stdgates.inc";\n#pragma braket verbatim\nqubit q; h q;',
            "openqasm",
        ),
        ("// h q;\nqubit q; U(1, 2, 3) q;", "openqasm"),
        ("gate h a { U(1, 2, 3) a; } qubit q; h q;", "openqasm"),
        ("int i = 3; i = 4; qubit v; U(1, 2, 3) v;", "openqasm"),
    ],
)
def test_who_wrote_a_program_is_seen_by_what_it_applies(source: str, name: str) -> None:
    assert choose(3, source).name == name


@pytest.mark.parametrize("part", ["@a(", "/*", "// ", ";a (", "gate ", "\n#pragma ", "a\t"])
def test_who_wrote_a_program_is_seen_in_time_in_proportion_to_its_text(part: str) -> None:
    began = time.process_time()
    choose(3, part * 200_000)
    assert time.process_time() - began < 5


def test_braket_reads_u_without_a_phase() -> None:
    text = f"qubit[2] q; h q[0]; ctrl @ U({A}, {B}, {C}) q[0], q[1];"
    expected = controlled(ref.u(A, B, C)) @ np.kron(np.eye(2), ref.H)
    np.testing.assert_allclose(unitary(loads(text)), expected, atol=1e-14)
    specified = controlled(np.exp(0.5j * A) * ref.u(A, B, C)) @ np.kron(np.eye(2), ref.H)
    found = unitary(loads(STD + text))
    np.testing.assert_allclose(found, specified, atol=1e-14)


def test_a_program_of_braket_reads_without_an_include() -> None:
    circuit = loads("OPENQASM 3.0;\nqubit[2] q;\nh q[0];\ncnot q[0], q[1];\n")
    assert [(o.op.name, o.qubits) for o in circuit.operations()] == [("H", (0,)), ("X", (0, 1))]


def test_what_the_program_defines_comes_before_what_tools_know() -> None:
    mine = "gate rzz(a) x, y { U(a, 0, 0) x; }\nqubit[2] q; rzz(1) q[0], q[1];"
    assert [o.op.name for o in loads(STD + mine).operations()] == ["U", "GPHASE"]
    assert [o.op.name for o in loads(STD + mine.split("\n")[1]).operations()] == ["RZZ"]
    with pytest.raises(ProgramError, match="already declared"):
        loads(STD + "qubit[2] q; rzz(1) q[0], q[1]; " + mine.split("\n")[0])


def test_newer_gates_in_openqasm_2() -> None:
    text = (
        'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; ryy(0.7) q[0],q[1]; ecr q[1],q[0]; '
        "gphase(0.3); gphase(-0.785) q[0]; gphase(1) q[0],q[1];"
    )
    circuit = qiskit_circuit()
    assert same_up_to_phase(unitary(loads(text)), Operator(circuit).data)


def qiskit_circuit() -> qiskit.QuantumCircuit:
    circuit = qiskit.QuantumCircuit(2)
    circuit.ryy(0.7, 0, 1)
    circuit.ecr(1, 0)
    return circuit


def test_a_program_that_includes_hqslib1() -> None:
    text = (
        'OPENQASM 2.0; include "hqslib1.inc"; qreg w[2]; '
        "U1q(1.0*pi,0.0*pi) w[0]; ZZ w[0],w[1]; RZZ(0.5*pi) w[0],w[1];"
    )
    state = unitary(loads(text))[:, 0]
    np.testing.assert_allclose(np.abs(state) ** 2, [0, 1, 0, 0], atol=1e-15)


# --- pragmas -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "matrix", "operands"),
    [
        ("braket unitary([[0, 1.0], [1.0, 0]]) q[0]", ref.X, "q[0]"),
        ("braket unitary([[0, -1im], [1im, 0]]) $3", ref.Y, "$3"),
        (
            "braket unitary([[0.70710678im, 0.70710678im], [0 - -0.70710678im, "
            "-0.0 - 0.70710678im]]) q[1]",
            1j * ref.H,
            "q[1]",
        ),
        (
            "braket unitary([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1e0], [0, 0, 1.0, 0]]) "
            "q[{1, 0}]",
            np.eye(4)[[0, 1, 3, 2]],
            "q[{1, 0}]",
        ),
    ],
)
def test_pragmas_of_braket_give_unitaries(text: str, matrix: NDArray, operands: str) -> None:
    found = pragma(text)
    assert found is not None
    assert found.operands == operands
    expected = swapped_digits(matrix)
    np.testing.assert_allclose(matrix_of(found.gate), expected, atol=1e-8)
    placed = found.gate.steps((), (7, 5)[: found.gate.qubits])
    assert {q for step in placed for q in step.qubits} <= {7, 5}


def test_a_unitary_of_three_qubits_is_exact() -> None:
    rng = np.random.default_rng(3)
    matrix, _ = np.linalg.qr(rng.normal(size=(8, 8)) + 1j * rng.normal(size=(8, 8)))
    rows = ", ".join(
        "[" + ", ".join(f"{v.real!r} + {v.imag!r}im".replace("+ -", "- ") for v in row) + "]"
        for row in matrix.tolist()
    )
    found = pragma(f"braket unitary([{rows}]) q[0], q[1], q[2]")
    assert found is not None
    np.testing.assert_allclose(matrix_of(found.gate), swapped_digits(matrix), atol=1e-12)


@pytest.mark.parametrize("text", ["braket verbatim", "vendor.user someone", "braketing unitary"])
def test_pragmas_that_change_nothing_are_ignored(text: str) -> None:
    assert pragma(text) is None


@pytest.mark.parametrize("kind", ["result expectation z(q[0])", "noise bit_flip(0.1) q[0]", "new"])
def test_pragmas_that_ask_for_what_is_not_done_are_refused_by_name(kind: str) -> None:
    with pytest.raises(NotSupported) as caught:
        loads(f"{STD}qubit q;\n#pragma braket {kind}\n")
    assert caught.value.details["line"] == 4
    assert caught.value.details["construct"] == f"pragma braket {kind.split()[0]}"


@pytest.mark.parametrize(
    "matrix",
    [
        "[[1, 0], [0, 2]]",
        "[[1, 0]]",
        "[[1, a], [0, 1]]",
        "1, 0",
        "[[1, 0], [0 1, 1]]",
        *("[[1,], [0,1]]", "[[1e999, 0], [0, 1]]", "[[1e200, 0], [0, 1]]"),
    ],
)
def test_matrices_that_are_wrong_are_refused(matrix: str) -> None:
    with pytest.raises(ValueError, match=r"matrix|number"):
        pragma(f"braket unitary({matrix}) q[0]")
