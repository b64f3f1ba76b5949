"""Circuits written as OpenQASM 3 and read back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import qiskit.qasm3
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.program.angle import Angle
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import GATES, SIGNATURES, Op
from openqse.program.openqasm import dumps, loads

from .reference import distribution, same_up_to_phase, unitary

NAMES = ("a", "x", "h", "input", "θ", "w[0]", "w[1]", "my name", "2nd", "pi", "q", "u", "v[3]")
NUMBERS = st.one_of(
    st.floats(-20, 20, allow_nan=False), st.sampled_from([0.0, math.pi, 1e-9, -1e-30])
)


@st.composite
def angles(draw: st.DrawFn, names: list[str]) -> Angle | float:
    constant = draw(NUMBERS)
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
    factors = st.floats(-4, 4).filter(bool)
    return Angle(constant, {name: draw(factors) for name in chosen}) if chosen else constant


@st.composite
def straight(draw: st.DrawFn, most: int = 12) -> Circuit:
    """Gates with any number of controls, on three qubits; measurements into registers last."""
    size = 3
    builder = CircuitBuilder(size)
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    for name in names:
        builder.parameter(name)
    for _ in range(draw(st.integers(0, most))):
        op = draw(st.sampled_from(sorted({*GATES, Op.BARRIER})))
        signature = SIGNATURES[op]
        targets = signature.targets if signature.targets is not None else draw(st.integers(1, size))
        controls = 0 if op is Op.BARRIER else draw(st.integers(0, size - targets))
        order = draw(st.permutations(range(size)))[: targets + controls]
        given = [draw(angles(names)) for _ in range(signature.angles)]
        builder.append(op, order, given, controls=controls)
    return builder.build()


@settings(max_examples=40, deadline=None)
@given(straight())
def test_what_is_read_back_does_the_same(circuit: Circuit) -> None:
    again = loads(dumps(circuit))
    assert len(again.parameters) == len(circuit.parameters)
    values = np.linspace(-2, 2, len(circuit.parameters))
    np.testing.assert_allclose(unitary(again, values), unitary(circuit, values), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(straight())
def test_a_circuit_that_was_read_is_read_back_equal(circuit: Circuit) -> None:
    once = loads(dumps(circuit))
    assert loads(dumps(once)).id == once.id


@settings(max_examples=25, deadline=None)
@given(straight(6))
def test_a_portable_text_does_the_same(circuit: Circuit) -> None:
    again = loads(dumps(circuit, portable=True))
    values = np.linspace(-2, 2, len(circuit.parameters))
    np.testing.assert_allclose(unitary(again, values), unitary(circuit, values), atol=1e-12)


def test_circuits_as_the_builder_makes_them_are_equal() -> None:
    builder = CircuitBuilder(3)
    theta = builder.parameter("theta")
    circuit = (
        builder.h(0).cx(0, 1).u(1.0, 2.0, theta, 2).rzz(2 * theta - 0.1, 0, 2).sxdg(1)
        .append(Op.RYY, (2, 0, 1), (0.3,), controls=1).barrier().reset(1)
        .measure(0, 1).measure(2, 0).build()
    )  # fmt: skip
    assert loads(dumps(circuit)).id == circuit.id


def test_a_text_says_what_a_circuit_does() -> None:
    builder = CircuitBuilder(2)
    a = builder.parameter("a")
    circuit = builder.h(0).append(Op.X, (0, 1), controls=1).rz(0.5 - 2 * a, 1).measure_all().build()
    assert dumps(circuit).splitlines() == [
        "OPENQASM 3.1;", 'include "stdgates.inc";', "input float[64] a;", "bit[2] c;",
        "qubit[2] q;", "h q[0];", "cx q[0], q[1];", "rz(0.5 - 2.0 * a) q[1];",
        "c[0] = measure q[0];", "c[1] = measure q[1];",
    ]  # fmt: skip


def test_qiskit_reads_a_portable_text() -> None:
    pytest.importorskip("qiskit_qasm3_import")
    circuit = CircuitBuilder(2).u(1.0, 2.0, 3.0, 0).sxdg(1).rzz(0.7, 0, 1).rxx(0.2, 1, 0)
    circuit.ryy(-0.4, 0, 1)
    built = circuit.build()
    theirs = qiskit.qasm3.loads(dumps(built, portable=True).replace("3.1", "3.0"))
    assert same_up_to_phase(qiskit.quantum_info.Operator(theirs).data, unitary(built))


def test_registers_keep_their_names_where_they_can() -> None:
    builder = CircuitBuilder(2)
    m, x = builder.register("m", 2), builder.register("x", 1)
    circuit = builder.x(0).measure(0, x[0]).measure(1, m[1]).build()
    again = loads(dumps(circuit))
    assert [width for _, width in again.outputs] == [2, 1]
    assert again.outputs[0].name == "m"
    assert again.outputs[1].name != "x"  # a gate of stdgates.inc
    assert distribution(again) == {"100": pytest.approx(1.0)}
