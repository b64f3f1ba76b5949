"""Operations on cells and classical bits, control flow, and circuits that need neither."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqse.errors import LimitExceeded, ProgramError
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse.program.machine import MAX_STEPS, Machine, signed
from openqse.program.straight import straightened

from . import reference

INTEGERS = st.integers(-(2**63), 2**63 - 1)
EDGES = st.sampled_from([0, 1, -1, 2, 63, 64, -64, 2**63 - 1, -(2**63)])


def run(builder: CircuitBuilder, parameters: tuple[float, ...] = ()) -> Machine:
    """The machine after a circuit whose measurements all find 0."""
    machine = Machine(builder.build(), np.array(parameters))
    while (step := machine.advance()) is not None:
        machine.write(step.clbit, 0)
    return machine


def computed(op: Op, *values: int | float, real: bool = False) -> int | float:
    b = CircuitBuilder(1)
    to = b.real() if real else b.integer()
    sources = [b.real(v) if isinstance(v, float) else b.integer(v) for v in values]
    value: int | float = run(b.compute(op, to, *sources)).cells[to.number]
    return value


@pytest.mark.parametrize(
    ("op", "values", "expected"),
    [
        (Op.ADD, (2**63 - 1, 1), -(2**63)),
        (Op.SUB, (-(2**63), 1), 2**63 - 1),
        (Op.MUL, (2**62, 4), 0),
        (Op.DIV, (-7, 2), -3),
        (Op.DIV, (-(2**63), -1), -(2**63)),
        (Op.UDIV, (-1, 2), 2**63 - 1),
        (Op.REM, (-7, 2), -1),
        (Op.UREM, (-1, 10), (2**64 - 1) % 10),
        (Op.POW, (3, 4), 81),
        (Op.NOT, (0,), -1),
        (Op.SHL, (1, 63), -(2**63)),
        (Op.SHL, (1, 64), 0),
        (Op.SHR, (-1, 1), 2**63 - 1),
        (Op.SHR, (5, -1), 0),
        (Op.SAR, (-8, 1), -4),
        (Op.SAR, (-8, 100), -1),
        (Op.LT, (-1, 0), 1),
        (Op.ULT, (-1, 0), 0),
        (Op.ULE, (3, 3), 1),
        (Op.POPCOUNT, (-1,), 64),
        (Op.SEXT, (0b110, 3), -2),
        (Op.ZEXT, (-1, 3), 7),
        (Op.FLT, (1.0, 2.0), 1),
        (Op.FEQ, (math.nan, math.nan), 0),
        (Op.FTOI, (-2.9,), -2),
    ],
)
def test_integers_are_64_bits(op: Op, values: tuple[int | float, ...], expected: int) -> None:
    assert computed(op, *values) == expected


@pytest.mark.parametrize(
    ("op", "values", "expected"),
    [
        (Op.FDIV, (1.0, 0.0), math.inf),
        (Op.FPOW, (2.0, 0.5), math.sqrt(2)),
        (Op.FMOD, (-7.5, 2.0), -1.5),
        (Op.FFLOOR, (-1.5,), -2.0),
        (Op.FCEIL, (-1.5,), -1.0),
        (Op.ITOF, (-1,), -1.0),
        (Op.UTOF, (-1,), 2.0**64),
    ],
)
def test_floats_are_those_of_ieee_754(
    op: Op, values: tuple[int | float, ...], expected: float
) -> None:
    assert computed(op, *values, real=True) == expected
    assert math.isnan(computed(Op.FSQRT, -1.0, real=True))


@given(INTEGERS | EDGES, INTEGERS | EDGES)
def test_every_integer_operation_stays_in_64_bits(a: int, b: int) -> None:
    for op in (Op.ADD, Op.SUB, Op.MUL, Op.POW, Op.SHL, Op.SHR, Op.SAR, Op.SEXT, Op.ZEXT):
        value = computed(op, a, b)
        assert isinstance(value, int)
        assert value == signed(value)


@pytest.mark.parametrize(
    ("op", "values", "reason"),
    [
        (Op.DIV, (1, 0), "divided by zero"),
        (Op.UREM, (1, 0), "divided by zero"),
        (Op.FTOI, (math.nan,), "no whole number"),
        (Op.FTOI, (2.0**63,), "no whole number"),
    ],
)
def test_what_has_no_value_ends_the_task(
    op: Op, values: tuple[int | float, ...], reason: str
) -> None:
    with pytest.raises(ProgramError, match=reason):
        computed(op, *values)


def test_bits_are_read_and_written_as_numbers() -> None:
    b = CircuitBuilder(1, 6)
    b.compute(Op.SETBITS, b.constant(0b1011), 4, clbit=1)
    cell = b.bits(0, 6)
    machine = run(b)
    assert machine.bits == [0, 1, 1, 0, 1, 0]
    assert machine.cells[cell.number] == 0b010110


def test_tables_are_read_and_written_by_index() -> None:
    b = CircuitBuilder(1)
    table = [b.integer(10 * i) for i in range(3)]
    value, index = b.integer(), b.integer(2)
    b.compute(Op.LOAD, value, table[0].number, 3, index)
    b.compute(Op.MOVE, index, b.constant(0)).compute(Op.STORE, value, table[0].number, 3, index)
    assert run(b).cells[:4] == [20, 10, 20, 20]
    b.compute(Op.MOVE, index, b.constant(3)).compute(Op.LOAD, value, table[0].number, 3, index)
    with pytest.raises(ProgramError, match="index 3 of an array of 3"):
        run(b)


def test_a_loop_runs_until_it_is_left() -> None:
    b = CircuitBuilder(1)
    counter, reached = b.integer(), b.integer()
    with b.loop():
        b.compute(Op.EQ, reached, counter, b.constant(5))
        with b.if_(reached):
            b.break_loop()
        with b.else_():
            b.compute(Op.ADD, counter, counter, b.constant(1)).continue_loop()
        b.fail("never here")
    assert run(b).cells[counter.number] == 5


def test_break_and_continue_reach_outer_loops() -> None:
    b = CircuitBuilder(1)
    outer, inner, reached = b.integer(), b.integer(), b.integer()
    with b.loop():
        b.compute(Op.ADD, outer, outer, b.constant(1))
        b.compute(Op.LE, reached, b.constant(3), outer)
        with b.if_(reached):
            b.break_loop()
        with b.loop():
            b.compute(Op.ADD, inner, inner, b.constant(1))
            b.continue_loop(1)
    machine = run(b)
    assert (machine.cells[outer.number], machine.cells[inner.number]) == (3, 2)


def test_a_loop_without_end_is_a_limit() -> None:
    b = CircuitBuilder(1)
    with b.loop():
        pass
    with pytest.raises(LimitExceeded, match=str(MAX_STEPS)) as raised:
        run(b)
    assert raised.value.details["limit"] == "MAX_STEPS"


def test_a_shot_can_stop_or_fail() -> None:
    b = CircuitBuilder(1).stop().fail("not reached")
    run(b)
    with pytest.raises(ProgramError, match="the ancilla was lost"):
        run(CircuitBuilder(1).fail("the ancilla was lost"))


def test_teleportation_brings_a_state_across() -> None:
    b = CircuitBuilder(3)
    syndrome, out = b.register("syndrome", 2), b.register("out", 1)
    b.ry(0.8, 0).h(1).cx(1, 2).cx(0, 1).h(0)
    b.measure(0, syndrome[0]).measure(1, syndrome[1])
    with b.if_(b.bits(syndrome[1])):
        b.x(2)
    with b.if_(b.bits(syndrome[0])):
        b.z(2)
    b.ry(-0.8, 2).measure(2, out[0])
    found = reference.distribution(b.build())
    assert found == pytest.approx(dict.fromkeys(("000", "001", "010", "011"), 0.25))


def test_an_angle_is_read_when_its_gate_takes_place() -> None:
    b = CircuitBuilder(1)
    cell = b.real(math.pi)
    b.rx(b.value(cell), 0)
    b.compute(Op.FMOVE, cell, b.constant(0.0)).rx(b.value(cell), 0).measure(0, 0)
    assert reference.distribution(b.build()) == pytest.approx({"1": 1.0})


def test_scratch_bits_are_not_in_the_results() -> None:
    b = CircuitBuilder(2)
    hidden = b.scratch(1)
    shown = b.register("shown", 1)
    b.x(0).measure(0, hidden[0])
    with b.if_(b.bits(hidden[0])):
        b.x(1)
    circuit = b.measure(1, shown[0]).build()
    assert (circuit.outputs, circuit.num_clbits) == ((("shown", 1),), 2)
    assert reference.distribution(circuit) == pytest.approx({"1": 1.0})


# --- circuits whose classical part is known beforehand -------------------------------------------


def feature_map() -> Circuit:
    """An angle that is a product of parameters."""
    b = CircuitBuilder(1)
    u, v = b.given("u"), b.given("v")
    product = b.real()
    b.compute(Op.FMUL, product, u, v)
    b.rz(b.parameter("u") * 2, 0).rx(b.value(product) * 2 + 0.25, 0).measure(0, 0)
    return b.build()


def test_computed_angles_are_parameters_of_a_straight_circuit() -> None:
    circuit = feature_map()
    straight = straightened(circuit)
    assert straight is not None
    assert not straight.circuit.classical
    sets = np.array([[0.5, 0.75], [3.0, -2.0]])
    angles = straight.circuit.bind(straight.parameters(sets))
    assert angles.tolist() == [[1.0, 1.0], [6.0, -11.75]]


def test_bits_that_the_program_writes_are_put_into_the_samples() -> None:
    b = CircuitBuilder(1, 4)
    b.compute(Op.SETBITS, b.constant(0b0110), 4, clbit=0).x(0).measure(0, 0)
    straight = straightened(b.build())
    assert straight is not None
    memory = np.array([[[0b0001]], [[0b0000]]], dtype=np.uint8)
    finished = straight.finish(memory, np.empty((2, 0)))
    assert finished.tolist() == [[[0b0111]], [[0b0110]]]


def _conditional(b: CircuitBuilder) -> None:
    with b.if_(b.bits(0)):
        b.x(0)


def _angle(b: CircuitBuilder) -> None:
    angle = b.real()
    b.compute(Op.ITOF, angle, b.bits(0)).rx(b.value(angle), 0)


def _written(b: CircuitBuilder) -> None:
    b.compute(Op.SETBITS, b.bits(0), 1, clbit=1)


def _divided(b: CircuitBuilder) -> None:
    b.compute(Op.DIV, b.integer(), b.constant(1), b.bits(0))


@pytest.mark.parametrize("added", [_conditional, _angle, _written, _divided])
def test_what_depends_on_outcomes_is_not_straight(
    added: Callable[[CircuitBuilder], None],
) -> None:
    b = CircuitBuilder(1, 2).h(0).measure(0, 0)
    added(b)
    assert straightened(b.build()) is None


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda b: b.compute(Op.END), "END without"),
        (lambda b: b.compute(Op.LOOP), "LOOP without END"),
        (lambda b: b.compute(Op.ELSE), "ELSE without IF"),
        (lambda b: b.break_loop(), "leaves a loop"),
        (lambda b: b.compute(Op.ADD, b.real(), b.integer(), b.integer()), "another type"),
        (lambda b: b.compute(Op.MOVE, 7, b.integer()), "not a cell"),
        (lambda b: b.compute(Op.GETBITS, b.integer(), 65, clbit=0), "bits that do not exist"),
        (lambda b: b.compute(Op.PARAMETER, b.real(), clbit=0), "parameter that does not exist"),
        (lambda b: b.compute(Op.FAIL, 0), "message that does not exist"),
        (lambda b: b.compute(Op.LOAD, b.integer(), 0, 5, b.integer()), "range of cells"),
    ],
)
def test_what_cannot_run_is_refused(write: Callable[[CircuitBuilder], object], reason: str) -> None:
    b = CircuitBuilder(1, 1)
    write(b)
    with pytest.raises(ProgramError, match=reason):
        b.build()


def test_no_loop_is_left_through_a_box() -> None:
    b = CircuitBuilder(1)
    with b.loop(), b.box(100.0, 0):
        b.break_loop()
    with pytest.raises(ProgramError, match="leaves a loop or box"):
        b.build()
