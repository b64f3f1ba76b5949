"""Powers of gates that are lists of steps, and matrices as steps, against eigenvalues by Schur."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from openqse.program.angle import Angle
from openqse.program.gates import SIGNATURES, Op
from openqse.program.machine import FLOAT_OPERATIONS, INTEGER_OPERATIONS
from openqse.program.openqasm import loads
from openqse.program.openqasm.powers import Unpowered, powered
from openqse.program.openqasm.steps import Step, Value, inverse
from openqse.program.openqasm.synthesis import diagonal, synthesised, unitary_of

from . import reference as ref
from .reference import controlled, distribution, on

STD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'


def matrix_of(steps: list[Step], size: int, values: dict[str | int, float] = {}) -> NDArray:  # noqa: B006
    """Slow and plain: the product of the steps' matrices, free parameters at ``values``."""
    product = np.eye(1 << size, dtype=complex)
    for step in steps:
        if step.op is not Op.BARRIER:
            small = ref.gate(step.op, tuple(evaluated(a, values) for a in step.angles))
            product = on(step.qubits, controlled(small, step.controls), size) @ product
    return product


def evaluated(angle: Value, values: dict[str | int, float]) -> float:
    if not isinstance(angle, Angle):
        return float(angle)
    return angle.constant + sum(values[name] * factor for name, factor in angle.terms.items())


def principal(unitary: NDArray, exponent: float) -> NDArray:
    triangle, vectors = scipy.linalg.schur(unitary, output="complex")
    phases = np.angle(np.diag(triangle))
    phases = np.where(phases < -math.pi + 1e-9, math.pi, phases)
    return vectors @ np.diag(np.exp(1j * exponent * phases)) @ vectors.conj().T


class Recorder:
    """Run-time values as parameters of their own, computed when the others are known."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Op, tuple[Value, ...]]] = []

    def calculated(self, op: Op, *values: Value) -> Angle:
        self.made.append((f"computed {len(self.made)}", op, values))
        return Angle(0.0, {self.made[-1][0]: 1.0})

    def values(self, given: dict[str | int, float]) -> dict[str | int, float]:
        values = dict(given)
        for name, op, sources in self.made:
            operation = FLOAT_OPERATIONS.get(op) or INTEGER_OPERATIONS[op]
            values[name] = float(operation(*(evaluated(source, values) for source in sources)))
        return values


# --- matrices as steps ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(6))
def test_random_unitaries_are_written_exactly(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(8 if size < 5 else 2):
        draw = rng.normal(size=(1 << size, 1 << size)) + 1j * rng.normal(
            size=(1 << size, 1 << size)
        )
        unitary, _ = np.linalg.qr(draw)
        qubits = tuple(int(q) for q in rng.permutation(size))
        steps = synthesised(unitary, qubits)
        found = matrix_of(steps, size)
        np.testing.assert_allclose(found, on(qubits, unitary, size), atol=1e-12)


@st.composite
def clifford_t(draw: st.DrawFn, size: int, most: int = 14) -> list[Step]:
    """Steps whose matrices have all sorts of structure: blocks, zeros, equal eigenvalues."""
    steps = []
    for _ in range(draw(st.integers(1, most))):
        op = draw(st.sampled_from([Op.H, Op.S, Op.T, Op.X, Op.SX, Op.Z, Op.SWAP, Op.RZZ, Op.U]))
        targets = SIGNATURES[op].targets or 0
        controls = draw(st.integers(0, size - targets))
        order = draw(st.permutations(range(size)))
        angle = st.sampled_from([0.0, math.pi / 2, -math.pi / 4, 0.3, math.pi])
        angles = tuple(draw(angle) for _ in range(SIGNATURES[op].angles))
        steps.append(Step(op, tuple(order[: targets + controls]), angles, controls))
    return steps


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 4).flatmap(lambda n: st.tuples(st.just(n), clifford_t(n))))
def test_unitaries_of_circuits_are_written_exactly(drawn: tuple[int, list[Step]]) -> None:
    size, steps = drawn
    unitary = unitary_of(steps, range(size))
    np.testing.assert_allclose(unitary, matrix_of(steps, size), atol=1e-13)
    found = matrix_of(synthesised(unitary, range(size)), size)
    np.testing.assert_allclose(found, unitary, atol=1e-12)


def test_the_fourier_transform_on_five_qubits_is_written_exactly() -> None:
    # Its blocks have cosines down to 1e-7, where a careless decomposition loses half its digits.
    k = np.arange(32)
    fourier = np.exp(2j * np.pi * np.outer(k, k) / 32) / math.sqrt(32)
    steps = synthesised(fourier, range(5))
    np.testing.assert_allclose(matrix_of(steps, 5), fourier, atol=1e-13)


def test_known_structure_gives_few_steps() -> None:
    toffoli = unitary_of([Step(Op.X, (0, 1, 2), (), 2)], range(3))
    assert synthesised(toffoli, range(3)) == [Step(Op.X, (0, 1, 2), (), 2)]
    fredkin = unitary_of([Step(Op.SWAP, (0, 1, 2), (), 1)], range(3))
    assert synthesised(fredkin, range(3)) == [Step(Op.SWAP, (0, 1, 2), (), 1)]
    apart = unitary_of([Step(Op.H, (q,)) for q in range(5)], range(5))
    assert len(synthesised(apart, range(5))) <= 6


def test_diagonals_may_have_free_phases() -> None:
    a = Angle(0.1, {"a": 2.0})
    steps = diagonal([0.0, a, a * 0.5, 1.0], (1, 0))
    phases = [0.0, evaluated(a, {"a": 0.4}) / 2, evaluated(a, {"a": 0.4}), 1.0]
    np.testing.assert_allclose(
        matrix_of(steps, 2, {"a": 0.4}), np.diag(np.exp(1j * np.array(phases))), atol=1e-15
    )


# --- powers --------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda n: st.tuples(st.just(n), clifford_t(2, 6) if n == 1 else clifford_t(n))
    ),
    st.sampled_from([0.5, -0.5, 1 / 3, 1.5, -2.25, 0.001, 17.75]),
)
def test_fractional_powers_of_any_gate_are_principal(
    drawn: tuple[int, list[Step]], exponent: float
) -> None:
    size, steps = max(2, drawn[0]), drawn[1]
    expected = principal(matrix_of(steps, size), exponent)
    found = matrix_of(powered(steps, exponent), size)
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("size", [4, 5])
def test_fractional_powers_on_more_qubits(size: int) -> None:
    rng = np.random.default_rng(size)
    steps = [Step(Op.U, (q,), tuple(rng.uniform(-3, 3, 3))) for q in range(size)]
    for q in range(size - 1):
        steps += [Step(Op.X, (q, q + 1), (), 1), Step(Op.RY, (q,), (0.3 * q + 0.2,))]
    found = matrix_of(powered(steps, 0.5), size)
    np.testing.assert_allclose(found @ found, matrix_of(steps, size), atol=1e-11)
    np.testing.assert_allclose(found, principal(matrix_of(steps, size), 0.5), atol=1e-9)


def test_a_gate_that_repeats_a_root_is_the_gate() -> None:
    text = (
        "gate two a, b { rx(0.6) a; cx a, b; } qubit[2] w; bit[2] m; "
        "pow(0.5) @ two w[0], w[1]; pow(0.5) @ two w[0], w[1]; m = measure w;"
    )
    found = distribution(loads(STD + text))
    assert found == pytest.approx({"00": math.cos(0.3) ** 2, "11": math.sin(0.3) ** 2}, abs=1e-12)


def test_what_stands_around_a_gate_may_touch_more_qubits_than_a_matrix_has() -> None:
    around = [Step(Op.H, (q,)) for q in range(9)] + [
        Step(Op.X, (q, q + 1), (), 1) for q in range(8)
    ]
    steps = [*around, Step(Op.RZ, (8,), (7.0,)), *inverse(around)]
    power = powered(steps, 0.5)
    assert len(power) == len(steps)
    assert power[len(around)] == Step(Op.RZ, (8,), (pytest.approx(3.5 - 2 * math.pi),))
    with pytest.raises(Unpowered, match="6 qubits"):
        powered([Step(Op.X, (q, q + 1), (), 1) for q in range(5)], 0.5)


def test_controls_of_all_steps_cost_no_qubits_of_the_matrix() -> None:
    many = tuple(range(10, 20))
    steps = [Step(Op.H, (*many, 0), (), 10), Step(Op.T, (0, *many), (), 10)]
    for step in powered(steps, 0.5):
        assert set(many) <= set(step.qubits[: step.controls])


#: Gates with free parameters a and b, whose steps a reader would give.
A, B = Angle(0.0, {"a": 1.0}), Angle(0.2, {"a": -0.5, "b": 2.0})
FREE = {
    "p": [Step(Op.P, (0,), (A,))],
    "crz": [Step(Op.RZ, (1, 0), (B,), 1)],
    "rx": [Step(Op.RX, (0,), (A,))],
    "phase": [Step(Op.GPHASE, (), (B,))],
    "rzx": [Step(Op.H, (1,)), Step(Op.RZZ, (0, 1), (A,)), Step(Op.H, (1,))],
    "xx and yy": [
        Step(Op.P, (0,), (B,)), Step(Op.RXX, (0, 1), (A,)), Step(Op.RYY, (1, 0), (A * -1,)),
        Step(Op.P, (0,), (-B,)),
    ],
    "diagonal": [Step(Op.RZ, (0,), (A,)), Step(Op.P, (0, 2), (B,), 1), Step(Op.T, (1,))],
    "phase polynomial": [
        Step(Op.RZ, (0,), (A,)), Step(Op.X, (0, 1), (), 1), Step(Op.RZ, (1,), (B,)),
        Step(Op.X, (0, 1), (), 1),
    ],
    "commuting about x": [
        Step(Op.RX, (0,), (A,)), Step(Op.RX, (1,), (B,)), Step(Op.RXX, (0, 1), (A,)),
        Step(Op.SX, (0,)),
    ],
    "about y": [Step(Op.RY, (0,), (A,)), Step(Op.Y, (1,)), Step(Op.RYY, (0, 1), (B,))],
    "nothing": [],
    "one qubit": [Step(Op.RX, (0,), (A,)), Step(Op.RZ, (0,), (B,)), Step(Op.T, (0,))],
    "one qubit and phases": [
        Step(Op.U, (0,), (A, B, -A)), Step(Op.GPHASE, (), (A,)), Step(Op.H, (0,)),
    ],
    "one qubit under controls": [
        Step(Op.RY, (1, 0), (A,), 1), Step(Op.H, (1, 0), (), 1), Step(Op.SX, (2, 1, 0), (), 2),
    ],
    "selected by others": [
        Step(Op.RX, (0,), (A,)), Step(Op.RZZ, (0, 2), (B,)), Step(Op.RZ, (0, 1), (A,), 1),
        Step(Op.P, (2,), (B,)), Step(Op.Y, (1, 0), (), 1),
    ],
    "a rotation and cx": [Step(Op.RX, (0,), (A,)), Step(Op.X, (0, 1), (), 1)],
}  # fmt: skip


@pytest.mark.parametrize("exponent", [0.5, -0.5, 2.75, "k"])
@pytest.mark.parametrize("name", FREE)
def test_powers_with_free_parameters_are_principal_for_all_values(
    name: str, exponent: float | str
) -> None:
    run_time = Recorder()
    chosen = Angle(0.0, {"k": 1.0}) if isinstance(exponent, str) else exponent
    power = powered(FREE[name], chosen, run_time=run_time)
    for a in (0.0, 0.3, -1.0, math.pi, -math.pi, 2 * math.pi, 3.5, 7.0, -20.0, 100.0):
        values: dict[str | int, float] = {"a": a, "b": 0.7 - a, "k": -0.75}
        k = -0.75 if isinstance(exponent, str) else exponent
        expected = principal(matrix_of(FREE[name], 3, values), k)
        found = matrix_of(power, 3, run_time.values(values))
        np.testing.assert_allclose(found, expected, atol=1e-8, err_msg=f"{name} {a}")


def test_a_free_exponent_of_a_known_gate_needs_no_run_time() -> None:
    k = Angle(0.0, {"k": 1.0})
    for steps in (
        [Step(Op.X, (0,))],
        [Step(Op.RX, (0,), (7.0,))],
        [Step(Op.RX, (0,), (0.6,)), Step(Op.X, (0, 1), (), 1)],
    ):
        power = powered(steps, k)
        for value in (0.5, 2.0, -1.0, 3.3):
            expected = principal(matrix_of(steps, 2), value)
            np.testing.assert_allclose(matrix_of(power, 2, {"k": value}), expected, atol=1e-12)


def test_what_is_not_exact_for_all_values_is_refused_without_a_run_time() -> None:
    with pytest.raises(Unpowered, match="free parameter"):
        powered([Step(Op.RX, (0,), (A,))], 0.5)
    mixed = [Step(Op.RX, (0,), (A,)), Step(Op.SWAP, (0, 1)), Step(Op.RZ, (0,), (B,))]
    with pytest.raises(Unpowered, match="do not commute"):
        powered(mixed, 0.5, run_time=Recorder())
    with pytest.raises(Unpowered, match="above"):
        powered([Step(Op.X, (0,))], 1e9 + 0.5)


def test_gates_of_very_many_operations_are_refused_at_once() -> None:
    with pytest.raises(Unpowered, match="more than 10000 operations"):
        powered([Step(Op.H, (0,)), Step(Op.T, (0,))] * 10_000, 0.5)


def test_whole_powers_repeat_the_gate_or_shorten_it() -> None:
    gate = [Step(Op.H, (0,)), Step(Op.T, (0,)), Step(Op.X, (0, 1), (), 1)]
    assert powered(gate, 3) == gate * 3
    assert powered(gate, -2) == inverse(gate) * 2
    assert powered(gate, 0) == []
    many = powered(gate, 100_001)
    assert len(many) < 40
    expected = np.linalg.matrix_power(matrix_of(gate, 2), 100_001)
    np.testing.assert_allclose(matrix_of(many, 2), expected, atol=1e-10)
    assert powered([Step(Op.H, (0,))], 2**60) == []
    rotated = [Step(Op.H, (0,)), Step(Op.RZ, (0,), (A,)), Step(Op.H, (0,))]
    assert powered(rotated, 2**20)[1] == Step(Op.RZ, (0,), (A * 2**20,))


def test_a_repetition_is_counted_before_it_is_made() -> None:
    counted: list[int] = []

    def spend(count: int) -> None:
        counted.append(count)
        raise OverflowError

    gate = [Step(Op.RX, (0,), (A,)), Step(Op.H, (0,))]
    with pytest.raises(OverflowError):
        powered(gate, 10**15, spend)
    assert counted == [2 * 10**15]


@pytest.mark.parametrize("value", [0.6, 5.0, -9.0, 2 * math.pi, 0.0])
def test_the_root_of_a_gate_with_an_input_is_computed_while_the_program_runs(value: float) -> None:
    text = (
        "input float v; gate two(t) a, b { rx(t) a; cx a, b; } qubit[2] w; bit[2] m; "
        "pow(0.5) @ two(v) w[0], w[1]; pow(0.5) @ two(v) w[0], w[1]; m = measure w;"
    )
    found = distribution(loads(STD + text), [value])
    for key, expected in (("00", math.cos(value / 2) ** 2), ("11", math.sin(value / 2) ** 2)):
        assert found.get(key, 0.0) == pytest.approx(expected, abs=1e-9)
