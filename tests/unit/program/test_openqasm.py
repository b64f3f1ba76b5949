"""OpenQASM 3 and 2 read into the circuit form."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import qiskit
import qiskit.qasm2
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from qiskit.quantum_info import Operator

from openqse.errors import LimitExceeded, NotSupported, OpenQSEError, ProgramError
from openqse.program.circuit import Circuit
from openqse.program.openqasm import limits, loads
from openqse.program.openqasm.library import QELIB1, STDGATES

from . import reference as ref
from .reference import controlled, on, phase, rotation, same_up_to_phase, unitaries, unitary

STD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
QELIB = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
from_qasm2 = partial(
    qiskit.qasm2.loads, custom_instructions=qiskit.qasm2.LEGACY_CUSTOM_INSTRUCTIONS
)
LIBRARY = Path(qiskit.__file__).parent / "qasm" / "libs"


def steps(circuit: Circuit) -> list[str]:
    """Operations as short text: ``x 0>1`` is controlled by 0, ``measure 0:2`` writes bit 2."""
    (angles,) = circuit.bind(np.zeros(len(circuit.parameters)))
    written = []
    for o in circuit.operations():
        text = o.op.name.lower()
        if o.angles:
            text += "(" + ",".join(f"{angles[i]:.4g}" for i in o.angles) + ")"
        controls = "".join(f"{q}>" for q in o.qubits[: o.controls])
        text += f" {controls}{','.join(map(str, o.qubits[o.controls :]))}"
        written.append(text.strip() + (f":{o.clbit}" if o.clbit >= 0 else ""))
    return written


def std(body: str, qubits: int = 3) -> Circuit:
    return loads(f"{STD}qubit[{qubits}] q;\n{body}")


# --- programs and their operations ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # Broadcasting.
        ("h q;", ["h 0", "h 1", "h 2"]),
        ("qubit[3] r; cx q, r;", ["x 0>3", "x 1>4", "x 2>5"]),
        ("qubit a; cx a, q;", ["x 3>0", "x 3>1", "x 3>2"]),
        ("cx q[0:1], q[2];", ["x 0>2", "x 1>2"]),
        ("bit[3] c; c = measure q;", ["measure 0:0", "measure 1:1", "measure 2:2"]),
        ("bit[3] c; measure q -> c;", ["measure 0:0", "measure 1:1", "measure 2:2"]),
        ("bit[3] c = measure q;", ["measure 0:0", "measure 1:1", "measure 2:2"]),
        ("bit b; bit[2] c; c[1] = measure q[0];", ["measure 0:2"]),
        ("bit b = measure q[2];", ["measure 2:0"]),
        ("creg c[2]; measure q[0:1] -> c;", ["measure 0:0", "measure 1:1"]),
        ("bit[2] c; c[{1, 0}] = measure q[0:1];", ["measure 0:1", "measure 1:0"]),
        ("reset q[0:1];", ["reset 0", "reset 1"]),
        ("barrier;", ["barrier 0,1,2"]),
        ("qubit a; barrier a, q[1], q;", ["barrier 3,1,0,2"]),
        # Indices.
        ("x q[-1];", ["x 2"]),
        ("x q[0:2:2];", ["x 0", "x 2"]),
        ("x q[2:-1:0];", ["x 2", "x 1", "x 0"]),
        ("x q[:-1:0];", ["x 2", "x 1", "x 0"]),
        ("x q[-2:];", ["x 1", "x 2"]),
        ("x q[:1];", ["x 0", "x 1"]),
        ("x q[{2, 0}];", ["x 2", "x 0"]),
        ("x q[1:2][0];", ["x 1"]),
        ("const int n = 4; x q[n / 3];", ["x 1"]),
        # Aliases.
        ("let a = q[1:2]; x a[0]; x a;", ["x 1", "x 1", "x 2"]),
        ("qubit[2] r; let a = r ++ q[{2}] ++ q[0]; x a;", ["x 3", "x 4", "x 2", "x 0"]),
        ("let a = q; let b = a[1]; x b;", ["x 1"]),
        ("bit[2] c; let d = c[1]; d = measure q[0];", ["measure 0:1"]),
        # Gates of the user.
        ("gate g a, b { h b; cx a, b; } g q[2], q[0];", ["h 0", "x 2>0"]),
        ("gate g(t, s) a { rx(t / 2 - s) a; } g(1, 0.25) q[0];", ["rx(0.25) 0"]),
        ("gate g(t) a { rx(t) a; } gate f(t) a { g(2 * t) a; g(-t) a; } f(1) q[1];",
         ["rx(2) 1", "rx(-1) 1"]),
        ("gate g a { } g q;", []),
        ("gate g a, b { barrier a; barrier; } g q[0], q[1];", ["barrier 0", "barrier 0,1"]),
        ("const float k = 3; gate g a { rx(k) a; } g q[0];", ["rx(3) 0"]),
        ("gate g a { for int i in [1:2] { rx(i) a; } } g q[0];", ["rx(1) 0", "rx(2) 0"]),
        ("gate g(pi) a { rx(pi) a; } g(1) q[0];", ["rx(1) 0"]),
        ("gate g(k) a { pow(k) @ x a; } g(2) q[0];", ["x 0", "x 0"]),
        ("gate g a, b { for int i in [0:0] { barrier; } } g q[2], q[0];", ["barrier 2,0"]),
        # Loops and blocks.
        ("for int i in [0:2] x q[i];", ["x 0", "x 1", "x 2"]),
        ("for uint[8] i in [2:-1:1] { x q[i]; z q[i]; }", ["x 2", "z 2", "x 1", "z 1"]),
        ("for int i in {2, 0} { x q[i]; }", ["x 2", "x 0"]),
        ("for int i in [2:1] { x q[i]; }", []),
        ("for float a in {0.5, 1} { rx(a) q[0]; }", ["rx(0.5) 0", "rx(1) 0"]),
        ("for int i in [0:1] { for int j in [i+1:2] { cx q[i], q[j]; } }",
         ["x 0>1", "x 0>2", "x 1>2"]),
        ("for int i in [0:1] { const int k = 2 - i; x q[k]; }", ["x 2", "x 1"]),
        ("{ let a = q[1]; x a; } let a = q[0]; x a;", ["x 1", "x 0"]),
        ("for int i in [0:0] { bit b; }", []),
        # Phases.
        ("gphase(1); x q[0]; gphase(0.5);", ["x 0", "gphase(1.5)"]),
        ("gphase(1); gphase(-1);", []),
        ("ctrl @ gphase(1) q[2];", ["p(1) 2"]),
        ("ctrl(2) @ gphase(1) q[2], q[0];", ["p(1) 2>0"]),
        # Modifiers.
        ("ctrl @ x q[0], q[1];", ["x 0>1"]),
        ("ctrl(2) @ x q[0], q[1], q[2];", ["x 0>1>2"]),
        ("ctrl @ cx q[2], q[1], q[0];", ["x 2>1>0"]),
        ("negctrl @ ctrl @ x q[0], q[1], q[2];", ["x 0", "x 0>1>2", "x 0"]),
        ("ctrl @ h q[0], q[1:2];", ["h 0>1", "h 0>2"]),
        ("inv @ s q[0]; inv @ tdg q[0]; inv @ sx q[0];", ["sdg 0", "t 0", "sxdg 0"]),
        ("inv @ rx(1) q[0]; inv @ cp(2) q[0], q[1];", ["rx(-1) 0", "p(-2) 0>1"]),
        ("inv @ inv @ t q[0];", ["t 0"]),
        ("pow(3) @ x q[0];", ["x 0", "x 0", "x 0"]),
        ("pow(-2) @ s q[0];", ["sdg 0", "sdg 0"]),
        ("pow(0) @ h q[0]; pow(0) @ rx(1) q[0];", []),
        ("pow(3) @ rx(1) q[0];", ["rx(3) 0"]),
        ("pow(2.0) @ s q[0];", ["s 0", "s 0"]),
        ("pow(0.5) @ rx(1) q[0];", ["rx(0.5) 0"]),
        ("pow(0.5) @ z q[0];", ["p(1.571) 0"]),
        ("pow(0.5) @ ctrl @ z q[0], q[1];", ["p(1.571) 0>1"]),
        ("gate g a { s a; t a; } inv @ g q[0];", ["tdg 0", "sdg 0"]),
    ],
)  # fmt: skip
def test_program_gives_operations(body: str, expected: list[str]) -> None:
    assert steps(std(body)) == expected


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("pi", math.pi), ("π/2", math.pi / 2), ("tau", math.tau), ("τ", math.tau),
        ("euler", math.e), ("ℇ", math.e), ("2*pi-1", math.tau - 1), ("-(1+2)", -3),
        ("2**3**2", 512),
        ("-2**2", -4), ("7/2", 3), ("-7/2", -3), ("7/2.0", 3.5), ("7%4", 3), ("-7%4", -3),
        ("5.5%2", 1.5), ("1<<3", 8), ("9>>1", 4), ("6&3", 2), ("6|3", 7), ("6^3", 5),
        ("0x1F", 31), ("0b101", 5), ("0o17", 15), ("1_000", 1000), ("1e-3", 1e-3), (".5", 0.5),
        ("sin(1)", math.sin(1)), ("cos(1)", math.cos(1)), ("tan(1)", math.tan(1)),
        ("arcsin(0.5)", math.asin(0.5)), ("arccos(0.5)", math.acos(0.5)),
        ("arctan(2)", math.atan(2)), ("sqrt(2)", math.sqrt(2)), ("exp(2)", math.exp(2)),
        ("log(2)", math.log(2)), ("ln(2)", math.log(2)), ("floor(-1.5)", -2), ("ceiling(1.2)", 2),
        ("mod(7, 4)", 3), ("mod(-7, 4)", -3), ("mod(5.5, 2)", 1.5), ("float(7)/2", 3.5),
        ("int(3.9)", 3), ("int(-3.9)", -3), ("2**-1", 0.5), ("2.0**0.5", math.sqrt(2)),
        ("n*a", 1.5), ("sqrt(cos(0)+3)", 2),
    ],
)  # fmt: skip
def test_constant_expressions(expression: str, value: float) -> None:
    source = f"qubit q; const int n = 3; const float a = 0.5; U({expression}, 0, 1) q;"
    (angles,) = loads(source).bind()
    assert angles[0] == pytest.approx(value, abs=1e-15)


def test_constants_have_their_types() -> None:
    body = (
        "const uint[3] n = 7; const int[4] m = -8; const angle[16] a = pi; const float[32] f = 1;"
    )
    circuit = std(f"{body} rx(n + m) q[0]; rx(a * f) q[0]; rx(f / 2) q[0];")
    assert circuit.bind()[0].tolist() == [-1, math.pi, 0.5]


# --- free parameters -----------------------------------------------------------------------------


def test_inputs_are_the_parameters_in_order_of_declaration() -> None:
    circuit = std(
        "input float[64] theta; input array[angle[32], 2] w; input angle unused;\n"
        "rx(theta / 2 + pi) q[0]; ry(w[1] - 3 * w[-2]) q[0]; rz(-(theta - theta) + 1) q[0];"
    )
    assert circuit.parameters == ("theta", "w[0]", "w[1]", "unused")
    (angles,) = circuit.bind([1.0, 2.0, 3.0, 9.0])
    np.testing.assert_allclose(angles, [0.5 + math.pi, -3.0, 1.0])
    assert len(circuit.term_angles) == 3  # nothing is left of theta - theta


def test_inputs_pass_through_gates_and_modifiers() -> None:
    circuit = std(
        "input float v; gate g(a) x, y { rz(2 * a) x; ctrl @ U(a, 0, 1) x, y; }\n"
        "inv @ g(v + 1) q[0], q[1]; pow(3) @ p(v) q[2]; gphase(v / 2);"
    )
    t = 0.3
    spec_u = np.exp(0.5j * (t + 1)) * ref.u(t + 1, 0, 1)
    g = on((0, 1), controlled(spec_u), 3) @ on((0,), rotation(ref.Z, 2 * (t + 1)), 3)
    expected = np.exp(0.5j * t) * on((2,), phase(3 * t), 3) @ g.conj().T
    np.testing.assert_allclose(unitary(circuit, [t]), expected, atol=1e-14)


# --- gates against their definitions -------------------------------------------------------------

A, B, C, D = 0.7, -1.1, 2.3, 0.4
STANDARD: dict[str, tuple[tuple[float, ...], NDArray]] = {
    "p": ((A,), phase(A)),
    "x": ((), ref.X),
    "y": ((), ref.Y),
    "z": ((), ref.Z),
    "h": ((), ref.H),
    "s": ((), phase(math.pi / 2)),
    "sdg": ((), phase(-math.pi / 2)),
    "t": ((), phase(math.pi / 4)),
    "tdg": ((), phase(-math.pi / 4)),
    "sx": ((), ref.SX),
    "rx": ((A,), rotation(ref.X, A)),
    "ry": ((A,), rotation(ref.Y, A)),
    "rz": ((A,), rotation(ref.Z, A)),
    "cx": ((), controlled(ref.X)),
    "cy": ((), controlled(ref.Y)),
    "cz": ((), controlled(ref.Z)),
    "cp": ((A,), controlled(phase(A))),
    "crx": ((A,), controlled(rotation(ref.X, A))),
    "cry": ((A,), controlled(rotation(ref.Y, A))),
    "crz": ((A,), controlled(rotation(ref.Z, A))),
    "ch": ((), controlled(ref.H)),
    "swap": ((), ref.SWAP),
    "ccx": ((), controlled(ref.X, 2)),
    "cswap": ((), controlled(ref.SWAP)),
    "cu": ((A, B, C, D), controlled(np.exp(1j * D) * ref.u(A, B, C))),
    "CX": ((), controlled(ref.X)),
    "phase": ((A,), phase(A)),
    "cphase": ((A,), controlled(phase(A))),
    "id": ((), ref.ID),
    "u1": ((A,), phase(A)),
    # Products of rotations, so without a phase of their own.
    "u2": ((A, B), rotation(ref.Z, A) @ rotation(ref.Y, math.pi / 2) @ rotation(ref.Z, B)),
    "u3": ((A, B, C), rotation(ref.Z, B) @ rotation(ref.Y, A) @ rotation(ref.Z, C)),
}


def call(name: str, angles: tuple[float, ...], qubits: int, prefix: str = "") -> str:
    given = f"({', '.join(map(repr, angles))})" if angles else ""
    return f"{prefix}{name}{given} {', '.join(f'q[{i}]' for i in range(qubits))};"


def test_every_gate_of_stdgates_is_in_the_table() -> None:
    assert set(STANDARD) == set(STDGATES)


@pytest.mark.parametrize("name", STANDARD)
def test_standard_gates_are_exact_with_and_without_modifiers(name: str) -> None:
    angles, expected = STANDARD[name]
    n = len(expected).bit_length() - 1
    find = lambda text, size: unitary(std(text, size))  # noqa: E731
    np.testing.assert_allclose(find(call(name, angles, n), n), expected, atol=1e-14)
    inverse = find(call(name, angles, n, "inv @ "), n)
    np.testing.assert_allclose(inverse, expected.conj().T, atol=1e-14)
    under = find(call(name, angles, n + 1, "ctrl @ "), n + 1)
    np.testing.assert_allclose(under, controlled(expected), atol=1e-14)
    power = find(call(name, angles, n, "pow(-3) @ "), n)
    np.testing.assert_allclose(power, np.linalg.matrix_power(expected.conj().T, 3), atol=1e-13)


def without(text: str, *names: str) -> str:
    """The definitions of a library without its comments and without those of ``names``."""
    lines = (line.split("//")[0] for line in text.splitlines())
    gates = " ".join(lines).split("gate ")
    return "".join(f"gate {g}\n" for g in gates[1:] if g.split("(")[0].split()[0] not in names)


def test_standard_gates_are_what_the_text_of_the_library_says() -> None:
    # CX stands out: the text controls a U that has a phase, but the specification calls it cx.
    names = [name for name in STANDARD if name != "CX"]
    text = without((LIBRARY / "stdgates.inc").read_text(), "CX")
    calls = "\n".join(call(name, STANDARD[name][0], 1 + size(name), "ctrl @ ") for name in names)
    program = f"OPENQASM 3.0;\n{text}qubit[4] q;\n{calls}".replace("\nctrl", "\nbarrier; ctrl")
    found = unitaries(loads(program))[1:]
    for name, unitary_of_text in zip(names, found, strict=True):
        expected = on(tuple(range(1 + size(name))), controlled(STANDARD[name][1]), 4)
        np.testing.assert_allclose(unitary_of_text, expected, atol=1e-13, err_msg=name)


def size(name: str) -> int:
    return STDGATES[name].qubits


QELIB_TEXT = without((LIBRARY / "qelib1.inc").read_text())


def test_qelib1_gates_are_what_the_text_of_the_library_says() -> None:
    body = "qreg q[5];\n"
    for name, gate in QELIB1.items():
        angles = (1,) if name == "u0" else (A, B, C, D)[: gate.angles]  # whole times in u0 alone
        body += f"{call(name, angles, gate.qubits)}\nbarrier q;\n"
    ours = unitaries(loads(QELIB + body))
    defined = unitaries(loads(f"OPENQASM 2.0;\n{QELIB_TEXT}{body}"))
    for name, a, b in zip([*QELIB1, "nothing"], ours, defined, strict=True):
        assert same_up_to_phase(a, b), name
    # Qiskit's own gates once more, each apart for its phase.
    for name, a, line in zip(QELIB1, ours, body.split("\n")[1::2], strict=False):
        theirs = Operator(from_qasm2(f"{QELIB}qreg q[5];\n{line}")).data
        assert same_up_to_phase(a, theirs), name


def test_every_gate_of_qelib1_is_known() -> None:
    names = {line.split()[0].split("(")[0] for line in QELIB_TEXT.replace("gate ", "").splitlines()}
    assert names == set(QELIB1)


def test_u_has_the_phase_of_each_version() -> None:
    body = f"qubit[2] q; ctrl @ U({A}, {B}, {C}) q[0], q[1];"
    e = lambda x: np.exp(1j * x)  # noqa: E731
    specified = 0.5 * np.array(
        [
            [1 + e(A), -1j * e(C) * (1 - e(A))],
            [1j * e(B) * (1 - e(A)), e(B + C) * (1 + e(A))],
        ]
    )
    np.testing.assert_allclose(unitary(loads(body)), controlled(specified), atol=1e-14)
    second = loads(f"OPENQASM 2;\nqreg q[1]; U({A}, {B}, {C}) q[0];")
    np.testing.assert_allclose(unitary(second), ref.u(A, B, C), atol=1e-14)


# --- modifiers against matrices ------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    ["ctrl @ ", "inv @ ", "pow(2) @ ", "pow(-1) @ ", "negctrl @ ", "inv @ ctrl @ pow(3) @ "],
)
def test_modifiers_of_defined_gates_with_phases(prefix: str) -> None:
    definition = "gate g(a) x, y { U(a, 1, 2) x; gphase(a); negctrl @ rz(a) y, x; h y; sx x; }\n"
    g = unitary(std(definition + f"g({A}) q[0], q[1];", 2))
    controls = prefix.count("ctrl")
    expected = {
        "ctrl @ ": lambda: controlled(g),
        "inv @ ": lambda: g.conj().T,
        "pow(2) @ ": lambda: g @ g,
        "pow(-1) @ ": lambda: g.conj().T,
        "negctrl @ ": lambda: on((0,), ref.X, 3) @ controlled(g) @ on((0,), ref.X, 3),
        "inv @ ctrl @ pow(3) @ ": lambda: controlled(np.linalg.matrix_power(g.conj().T, 3)),
    }[prefix]()
    found = unitary(std(definition + call("g", (A,), 2 + controls, prefix), 2 + controls))
    np.testing.assert_allclose(found, expected, atol=1e-13)


def principal_power(gate: NDArray, exponent: float) -> NDArray:
    """By eigenvectors of a Hermitian matrix with the gate's projectors: slow and another way."""
    mixture = (gate + gate.conj().T) + 0.7531j * (gate - gate.conj().T)
    _, vectors = np.linalg.eigh(mixture)
    phases = np.angle(np.diag(vectors.conj().T @ gate @ vectors))
    phases = np.where(phases < -math.pi + 1e-9, math.pi, phases)
    return vectors @ np.diag(np.exp(1j * exponent * phases)) @ vectors.conj().T


@pytest.mark.parametrize("exponent", ["0.5", "-0.5", "1.5", "1/3.0", "-2.25", "0.001"])
@pytest.mark.parametrize(
    ("name", "angles"),
    [
        *((name, STANDARD[name][0]) for name in STANDARD),
        ("rx", (2 * math.pi,)), ("rz", (-2 * math.pi,)), ("rx", (7.0,)), ("ry", (-20.0,)),
        ("p", (math.pi,)), ("p", (-math.pi,)), ("p", (5.0,)), ("cp", (9.0,)),
        ("U", (A, B, C)), ("U", (math.pi, 0.0, math.pi)), ("U", (0.0, 0.0, 0.0)),
        ("merged", ()), ("phases", ()),
    ],
)  # fmt: skip
def test_fractional_powers_are_principal(
    exponent: str, name: str, angles: tuple[float, ...]
) -> None:
    definitions = (
        "gate merged a, b { ctrl @ h a, b; ctrl @ U(1, 2, 3) a, b; ctrl @ gphase(0.5) a; }\n"
        "gate phases a { gphase(3); gphase(2); }\n"
    )
    n = {"merged": 2, "phases": 1, "U": 1}.get(name) or STDGATES[name].qubits
    plain = unitary(std(definitions + call(name, angles, n), n))
    value = 1 / 3 if "/" in exponent else float(exponent)
    found = unitary(std(definitions + call(name, angles, n, f"pow({exponent}) @ "), n))
    np.testing.assert_allclose(found, principal_power(plain, value), atol=1e-7)


def test_a_fractional_power_may_have_a_zero_diagonal() -> None:
    body = "gate g a { rx(1.5 * pi) a; gphase(0); } pow(2 / 3.0) @ g q[0];"
    np.testing.assert_allclose(unitary(std(body, 1)), rotation(ref.X, math.pi), atol=1e-15)


def test_inverse_and_fraction_do_not_commute_where_a_phase_is_pi() -> None:
    s = phase(math.pi / 2)
    outer, inner = std("inv @ pow(0.5) @ z q[0];", 1), std("pow(0.5) @ inv @ z q[0];", 1)
    np.testing.assert_allclose(unitary(outer), s.conj().T, atol=1e-15)
    np.testing.assert_allclose(unitary(inner), s, atol=1e-15)


# --- OpenQASM 2 and other forms of a program -----------------------------------------------------


def test_openqasm_2_program() -> None:
    circuit = loads(
        QELIB + "qreg q[2]; creg c[2]; creg d[1];\n"
        "gate g(a,b) x,y { U(a^2, 0, b/2) x; CX x,y; barrier x,y; }\n"
        "h q; g(3, 1) q[0],q[1]; u2(0,pi) q[0]; barrier q; measure q -> c; measure q[0] -> d[0];"
        "rx(1/2) q[0]; rx(2*3^2) q[0]; rx(-2^2) q[1]; reset q[0];"
    )
    assert steps(circuit) == [
        "h 0", "h 1", "u(9,0,0.5) 0", "x 0>1", "barrier 0,1", "u(1.571,0,3.142) 0", "barrier 0,1",
        "measure 0:0", "measure 1:1", "measure 0:2", "rx(0.5) 0", "rx(18) 0", "rx(-4) 1", "reset 0",
    ]  # fmt: skip


def test_a_gate_of_later_versions_of_qelib1_may_be_defined_before_it_is_used() -> None:
    mine = "gate swap a,b { x a; } qreg q[2]; swap q[0],q[1];"
    assert steps(loads(QELIB + mine)) == ["x 0"]
    for refused in (
        "gate f a,b { swap a,b; } " + mine,
        "gate swap a,b { } " + mine,
        "gate h a { }",
    ):
        with pytest.raises(ProgramError, match="already declared"):
            loads(QELIB + refused)


def test_without_a_version_line_it_is_openqasm_3() -> None:
    assert steps(loads('include "stdgates.inc"; qubit q; h q;')) == ["h 0"]


@pytest.mark.parametrize("version", ["3", "3.0", "3.1"])
def test_versions_of_openqasm_3(version: str) -> None:
    assert loads(f"OPENQASM {version}; qubit q;").num_qubits == 1


def test_physical_qubits() -> None:
    circuit = loads(STD + "bit c; cx $0, $3; barrier; c = measure $3;")
    assert steps(circuit) == ["x 0>3", "barrier 0,1,2,3", "measure 3:0"]
    assert circuit.num_qubits == 4


def test_comments_are_not_statements() -> None:
    assert steps(std("// x q[0];\n/* x\n q; */ z q[1]; // y")) == ["z 1"]


def test_a_library_gate_may_be_defined_where_the_library_is_not_included() -> None:
    assert steps(loads("gate h a { U(1, 2, 3) a; gphase(-0.5); } qubit q; h q;")) == ["u(1,2,3) 0"]


def test_parsing_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProgramError):
        loads("qubit q; h q[;")
    with pytest.raises(ProgramError):
        loads('"')
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(8))
def test_a_random_program_of_qiskit_means_the_same(seed: int) -> None:
    from qiskit import qasm3
    from qiskit.circuit.random import random_circuit

    circuit = random_circuit(4, 6, max_operands=3, seed=seed)
    expected = Operator(circuit).data
    assert same_up_to_phase(unitary(loads(qiskit.qasm2.dumps(circuit))), expected)
    assert same_up_to_phase(unitary(loads(qasm3.dumps(circuit))), expected)


# --- errors --------------------------------------------------------------------------------------

HEAD = STD + "qubit[3] q;\nbit[2] c;\n"  # four lines, so that the program under test begins at 5


@pytest.mark.parametrize(
    ("body", "construct"),
    [
        ("extern f(int) -> int; int n = f(3);", "f"),
        ("defcal g q { }", "defcal"),
        ("cal { anything }", "cal"),
        ("delay[10dt] q[0];", "dt"),
        ("stretch gap; box[1us] { delay[gap] q[0]; }", "gap"),
        ("duration d = durationof({ x q[0]; });", "durationof"),
        ("#pragma braket result state_vector", "pragma braket result"),
        ("output float d;", "output"),
        ("output array[int, 2] d;", "output"),
        ("input complex z;", "input"),
        ("input stretch w;", "input"),
        ('include "other.inc";', "include"),
        ("const int[65] n = 1;", "int"),
        ("float[80] n;", "float"),
        ("x[10ns] q[0];", "x"),
        ("c[0] = measure q[0]; complex w; if (c[0]) { w = 1im; }", "complex"),
        ("bit[70] d; d[0:2] = measure q; if (d < 3) { x q[0]; }", "bit"),
        ("int n; c = measure q[0:1]; if (c[0]) { n = 1; } qubit[n] r;", None),
        ("x $0;", None),
    ],
)
def test_what_is_not_supported_is_refused_by_line(body: str, construct: str | None) -> None:
    with pytest.raises(NotSupported) as caught:
        loads(HEAD + body, "bell.qasm")
    details = caught.value.details
    assert details["file"] == "bell.qasm"
    if body == "x $0;":  # physical qubits beside declared ones: the declaration is named
        assert (details["line"], details["construct"]) == (3, "qubit")
        return
    assert details["line"] == 5
    assert details["construct"] == (construct or "expression")
    assert caught.value.message.startswith(f"bell.qasm:5:{details['column']}: ")
    assert caught.value.message.endswith("are not supported")
    assert caught.value.remedy


def test_the_message_names_the_place() -> None:
    with pytest.raises(NotSupported) as caught:
        loads(STD + "qubit q;\nbit c;\n\n\n  x[3ns] q;", "bell.qasm")
    assert str(caught.value) == (
        "client: bell.qasm:7:3: durations of gates are not supported. "
        "Leave the gate's time to the device"
    )
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # Names.
        ("foo q[0];", "gate 'foo' is not defined"),
        ("x r[0];", "'r' is not declared"),
        ("rx(a) q[0];", "'a' is not declared"),
        ("rx(q) q[0];", "'q' is not a number"),
        ("rx(q[0]) q[0];", "'q' is not a number"),
        ("rx(f(1)) q[0];", "function 'f' is not known"),
        ("q q[0];", "'q' is not a gate"),
        ("x h;", "'h' is neither qubits nor bits"),
        ("x c[0];", "a qubit is needed here, not a bit"),
        ("q[0] = measure q[1];", "a bit is needed here, not a qubit"),
        ("qubit q;", "'q' is already declared"),
        ("bit c;", "'c' is already declared"),
        ("gate h a { }", "'h' is already declared"),
        ("gate U(a, b, d) q { }", "'U' is already declared: U is a gate of the language"),
        ("let q = q;", "'q' is already declared"),
        ("const int x = 1;", "'x' is already declared: x is a gate of stdgates.inc"),
        ("input float p;", "'p' is already declared"),
        ('include "stdgates.inc";', "already included"),
        ("{ const int n = 1; } rx(n) q[0];", "'n' is not declared"),
        ("for int i in [0:1] { } x q[i];", "'i' is not declared"),
        # Numbers of things.
        ("rx q[0];", "takes 1 angle, not 0"),
        ("x(1) q[0];", "takes 0 angles, not 1"),
        ("cx q[0];", "takes 2 qubits here, not 1"),
        ("ctrl @ x q[0];", "takes 2 qubits here, not 1"),
        ("gphase(1) q[0];", "takes 0 qubits here, not 1"),
        ("rx(sin(1, 2)) q[0];", "does not take 2 arguments"),
        ("cx q, q[0:1];", "registers of sizes 2 and 3"),
        ("c = measure q;", "3 qubits cannot be measured into 2 bits"),
        ("bit d = measure q;", "3 qubits cannot be measured into 1 bit"),
        ("ctrl(0) @ x q[0];", "give a positive number"),
        ("ctrl(0.5) @ x q[0], q[1];", "constant whole number"),
        ("qubit[0] r;", "cannot have 0 elements"),
        ("qubit[1 - 2] r;", "cannot have -1 elements"),
        ("bit[1.5] r;", "constant whole number"),
        # Indices.
        ("x q[3];", "index 3 is out of range"),
        ("x q[-4];", "index -4 is out of range"),
        ("x q[1:3];", "the range leaves 'q'"),
        ("x q[-4:1];", "the range leaves 'q'"),
        ("x q[2:1];", "selects nothing"),
        ("x q[0:0:2];", "cannot be 0"),
        ("x q[0, 1];", "has one dimension"),
        ("x q[{0, 0}];", "an element twice"),
        ("x q[0.5];", "constant whole number"),
        ("x q[0][0];", "is a single qubit"),
        ("input array[float, 2] w; rx(w[2]) q[0];", "index 2 is out of range"),
        # A qubit twice.
        ("cx q[0], q[0];", "to the same qubit twice"),
        ("cx q, q;", "to the same qubit twice"),
        ("ctrl @ x q[1], q;", "to the same qubit twice"),
        ("gate g a, b { cx a, a; }", "to the same qubit twice"),
        ("let a = q ++ q[0];", "only different registers"),
        ("let a = q ++ c;", "only different registers"),
        ("let a = 1;", "a register is needed here"),
        ("const bit d = measure q[0];", "a constant cannot be measured"),
        # Bodies of gates, applied or not.
        ("gate g a { foo a; }", "gate 'foo' is not defined"),
        ("gate g a { g a; }", "gate 'g' is not defined"),
        ("gate g a { x b; }", "'b' is not declared"),
        ("gate g a { rx(v) a; }", "'v' is not declared"),
        ("gate g a { x q[0]; }", "'q' is not known inside a gate"),
        ("input float v; gate g a { rx(v) a; }", "'v' is not known inside a gate"),
        ("gate g a { x a[0]; }", "is a single qubit"),
        ("gate g a, a { }", "uses a name twice"),
        ("gate g(a) a { }", "uses a name twice"),
        ("gate g a { reset a; }", "can only apply gates"),
        ("gate g a { int b; }", "can only apply gates"),
        # Values.
        ("rx(1 / 0) q[0];", "'/' fails"),
        ("rx(1.0 / 0) q[0];", "'/' fails"),
        ("rx(1 % 0) q[0];", "'%' fails"),
        ("rx(sqrt(-1)) q[0];", "'sqrt' fails"),
        ("rx((-8.0) ** 0.5) q[0];", "not a finite real number"),
        ("rx(exp(1000)) q[0];", "'exp' fails"),
        ("rx(1e999) q[0];", "not a finite real number"),
        ("rx(1e308 * 10) q[0];", "not a finite real number"),
        ("rx(9 ** 99) q[0];", "fails: the power"),
        ("rx(1 << 99) q[0];", "'<<' fails"),
        ("rx(99999999999999999999) q[0];", "does not fit in 64 bits"),
        (f"rx({'9' * 5000}) q[0];", "does not fit in 64 bits"),
        ("const int n = 1.5;", "not a constant whole number"),
        ("const uint n = -1;", "does not fit in uint[64]"),
        ("const int[3] n = 4;", "does not fit in int[3]"),
        ("input float w; const float n = w;", "depends on an input"),
        ("input float w; x q[w];", "constant whole number"),
        ("input float w; rx(w * 1e308 * 10) q[0];", "not a finite number"),
        ("for int i in [0:0:3] { }", "cannot be 0"),
        ("for int i in [0:] { }", "both ends"),
        ("for uint i in {-1} { }", "does not fit"),
        ("pow(1/2) @ x q[0];", "1/2 is 0, as whole numbers are divided without a remainder"),
        # Syntax.
        ("x q[0]", "syntax error at the end of the program"),
        ("x q[;", "syntax error at ';'"),
        ("x q[0] }", "syntax error at '}'"),
        ('x "q;', "syntax error at"),
        ("OPENQASM 3.0;", "syntax error at 'OPENQASM'"),
        ("const array[int, 2] a = {1, 2};", "syntax error at 'array'"),
        ("/* never closed", "syntax error"),
        ("break;", "'break' stands outside of a loop"),
        ("return;", "'return' stands outside of a subroutine"),
    ],
)
def test_what_is_wrong_is_refused_by_line(body: str, message: str) -> None:
    with pytest.raises(ProgramError) as caught:
        loads(HEAD + body, "bell.qasm")
    assert message in caught.value.message
    assert caught.value.message.startswith("bell.qasm:5:")
    assert caught.value.details["line"] == 5
    assert caught.value.details["column"] >= 1
    assert caught.value.details["construct"]
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("", 1, "declares no qubits"),
        ("// nothing", 1, "declares no qubits"),
        ("OPENQASM 3;\nqubit q;\nsx q;", 3, "gate 'sx' is not defined"),
        ("OPENQASM 2;\nqreg q[1];\nctrl @ U(0,0,0) q[0];", 3, "not part of OpenQASM 2"),
        ("qubit q;\nU(1,\n2,\nfoo) q;", 4, "'foo' is not declared"),
        ("gate g a {\n\n  U(1,2,3) b;\n}", 3, "'b' is not declared"),
        ("gate g $0 { }", 1, "syntax error"),
        ("gate g a { U(0,0,0) $0; }", 1, "cannot name a physical qubit"),
        ("U(0,0,0) $0;\nlet a = $0;", 2, "cannot have an alias"),
    ],
)
def test_errors_of_whole_programs(source: str, line: int, message: str) -> None:
    with pytest.raises(ProgramError) as caught:
        loads(source)
    assert message in caught.value.message
    assert caught.value.details["line"] == line


def test_a_missing_include_is_what_the_remedy_says() -> None:
    with pytest.raises(ProgramError) as caught:
        loads("qubit q; sx q;")
    assert caught.value.remedy == 'Add the line: include "stdgates.inc";'
    with pytest.raises(ProgramError) as caught:
        loads("OPENQASM 2.0; qreg q[2]; cu3(1,2,3) q[0],q[1];")
    assert caught.value.remedy == 'Add the line: include "qelib1.inc";'


@pytest.mark.parametrize(
    ("source", "line", "construct"),
    [
        (QELIB + "qreg q[1];\nopaque g(a) x;\ng(1) q[0];", 5, "g"),
        ('OPENQASM 2.0;\ninclude "stdgates.inc";', 2, "include"),
        ("OPENQASM 4.0;\nqubit q;", 1, "OPENQASM"),
        ("\n\nOPENQASM 2.1;", 3, "OPENQASM"),
    ],
)
def test_unread_parts_of_other_versions(source: str, line: int, construct: str) -> None:
    with pytest.raises(NotSupported) as caught:
        loads(source)
    assert caught.value.details["line"] == line
    assert caught.value.details["construct"] == construct
    assert f":{line}:" in caught.value.message


# --- limits --------------------------------------------------------------------------------------

DOUBLING = "gate g0 a { %s }\n" + "".join(
    f"gate g{i} a {{ g{i - 1} a; g{i - 1} a; }}\n" for i in range(1, 60)
)


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        ("for int i in [0:1000000000000] { }", "MAX_EXPANSION"),
        ("for int i in [0:18446744073709551615] { x q[0]; }", "MAX_EXPANSION"),
        ("for int i in [0:9999] { for int j in [0:9999] { } }", "MAX_EXPANSION"),
        ("for int i in [0:9999] { for int j in [0:9999] { x q[0]; } }", "MAX_OPERATIONS"),
        ("gate g a { h a; t a; } pow(2 ** 60) @ g q[0];", "MAX_EXPANSION"),
        (DOUBLING % "h a;" + "g59 q[0];", "MAX_OPERATIONS"),
        ("gate g a { for int i in [0:30000] { gphase(1); } } g q[0];", "MAX_OPERATIONS"),
        ("qubit[100000000] r;", "MAX_REGISTER"),
        ("bit[2 ** 40] r;", "MAX_REGISTER"),
        ("input array[float, 2 ** 40] w;", "MAX_ARRAY"),
        ("qubit[10000000] r; h r;", "MAX_OPERATIONS"),
        ("qubit[10000000] r; for int i in [0:9] { barrier r; }", "MAX_EXPANSION"),
        ("qubit[10000000] r; let s = r[0:9999998]; let t = s[1:9999998];", "MAX_EXPANSION"),
        ("ctrl(1000000000) @ x q[0];", "controls"),
        ("rx(" + "(" * 3000 + "1" + ")" * 3000 + ") q[0];", "nesting"),
        ("{" * 3000 + "}" * 3000, "nesting"),
        ("rx(" + "-" * 3000 + "1) q[0];", "nesting"),
        ("rx(1" + "**1" * 3000 + ") q[0];", "nesting"),
        ("def f(int n) -> int { return f(n + 1); } int m = f(0);", "nesting"),
    ],
)
def test_limits(source: str, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_OPERATIONS", 20_000)
    if limit == "MAX_EXPANSION":
        monkeypatch.setattr(limits, "MAX_EXPANSION", 200_000)
    with pytest.raises(LimitExceeded) as caught:
        loads(HEAD + source)
    assert caught.value.details["limit"] == limit
    assert caught.value.details["line"] >= 5


def test_physical_qubits_are_limited() -> None:
    for qubit in ("$16777216", "$" + "9" * 6000):
        with pytest.raises(LimitExceeded) as caught:
            loads(f"\nU(0,0,0) {qubit};")
        assert caught.value.details["limit"] == "MAX_REGISTER"
        assert (caught.value.details["line"], caught.value.details["column"]) == (2, 10)


def test_size_of_the_source_is_limited() -> None:
    with pytest.raises(LimitExceeded) as caught:
        loads(" " * (limits.MAX_SOURCE + 1))
    assert caught.value.details["limit"] == "MAX_SOURCE"


DOUBLING_ROUTINES = "def f0(qubit a) { x a; }\n" + "".join(
    f"def f{i}(qubit a) {{ f{i - 1}(a); f{i - 1}(a); }}\n" for i in range(1, 41)
)


@pytest.mark.parametrize(
    "source",
    [
        "for int i in [1:3000000] { x q[0]; }",
        DOUBLING % "x a;" + "g40 q[0];",
        DOUBLING_ROUTINES + "f40(q[0]);",
        DOUBLING_ROUTINES + "for int i in [1:4] { f19(q[0]); }",
    ],
)
def test_what_is_sure_to_be_too_long_is_refused_at_once(source: str) -> None:
    started = time.process_time()
    with pytest.raises(LimitExceeded, match="more than 2000000 operations"):
        loads(HEAD + source)
    assert time.process_time() - started < 0.5


def test_a_million_equal_passes_are_quick() -> None:
    started = time.process_time()
    assert len(std("for int i in [1:1000000] { x q[0]; }")) == 1_000_000
    assert time.process_time() - started < 5


def test_a_definition_that_would_explode_costs_nothing_until_it_is_applied() -> None:
    started = time.process_time()
    std("gate g a { for int i in [0:2000000] { h a; } }")
    assert time.process_time() - started < 1
    assert len(std(DOUBLING % "h a;" + "g3 q[0];")) == 8


# --- arbitrary text ------------------------------------------------------------------------------

WORDS = [
    *("OPENQASM 3;", "OPENQASM 2.0;", 'include "stdgates.inc";', "qubit[2] q;", "bit[2] c;"),
    *("qreg r[3];", "input float v;", "input array[float, 2] w;", "const int n = 2;"),
    *("let a = q[0:1];", "gate g(x) y, z { rx(x) y; cx y, z; }", "for int i in [0:n] {", "}", "{"),
    *("h", "x", "rx(v/2)", "U(1,2,3)", "g(pi)", "q", "q[0]", "q[n]", "c", "r[-1]", "$1", ",", ";"),
    *("ctrl @", "negctrl(2) @", "inv @", "pow(0.5) @", "pow(n) @", "measure", "->", "=", "reset"),
    *("barrier", "gphase(v);", "++", "[", "]", "(", ")", "if (c[0])", "pragma z", "@note", "end;"),
    *("def", "0.5", "3", "delay[1ns]", '"', "/*", "ℇ", "\n"),
]


def check_any(source: str) -> None:
    """Whatever the text, it is read or refused with a typed error that says where."""
    refusal, circuit = None, None
    try:
        circuit = loads(source)
    except OpenQSEError as error:
        refusal = error
    if circuit is not None:
        assert Circuit.decode(circuit.encoded) == circuit
    else:
        assert refusal is not None
        assert refusal.details["line"] >= 1


@settings(max_examples=150, deadline=None)
@example("\x00")
@example("OPENQASM 3\n;")
@example("qubit[int] q;")
@example("measure;")
@example("for in in in")
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)))
def test_arbitrary_text_is_a_circuit_or_an_error_of_this_project(source: str) -> None:
    check_any(source)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_program_is_a_circuit_or_an_error_of_this_project(data: st.DataObject) -> None:
    source = (
        STD + "input float w; qubit[3] q; bit[3] c; const int n = 2;\n"
        "gate g(a) x, y { ctrl @ rz(a/2) x, y; inv @ s x; }\nlet b = q[1:n];\n"
        "for uint i in [0:n] { pow(n) @ rx(t*n + pi) q[i]; }\nnegctrl @ g(t) q[0], b[0], b[-1];\n"
        "barrier q; c = measure q; reset b;\n"
    )
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(source)))
        end = data.draw(st.integers(start, min(len(source), start + 6)))
        source = source[:start] + data.draw(st.text(max_size=3)) + source[end:]
    check_any(source)
