"""The compiled register machine against the plain one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.errors import LimitExceeded, OpenQSEError, ProgramError
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import OPERANDS, Op
from openqse.program.machine import MAX_STEPS, Machine
from openqse_emulator import profile
from openqse_emulator.dynamic import paths
from openqse_emulator.dynamic.codes import FINE
from openqse_emulator.dynamic.compile import compiled
from openqse_emulator.dynamic.failures import failure
from openqse_emulator.dynamic.machine import advance
from openqse_emulator.noise import NoiseModel

from ..circuits import never

QUIET = NoiseModel.of(profile.load("superconducting"))
INTEGERS = st.sampled_from([0, 1, -1, 2, 7, 63, 64, 65, -64, 2**63 - 1, -(2**63)]) | st.integers(
    -(2**63), 2**63 - 1
)
REALS = st.sampled_from(
    [0.0, -0.0, 1.0, -2.5, 1e300, -1e-300, math.inf, -math.inf, math.nan, 2.0**63]
) | st.floats(-10, 10)
#: Their results may differ in the last digit, which nothing may be built upon.
_LAST_DIGIT = (
    Op.FPOW, Op.FSIN, Op.FCOS, Op.FTAN, Op.FASIN, Op.FACOS, Op.FATAN, Op.FEXP, Op.FLN,
)  # fmt: skip
_PLAIN = [op for op in OPERANDS if op < Op.GETBITS and op is not Op.PARAMETER]


def outcome(circuit: Circuit, parameters: tuple[float, ...] = ()) -> tuple[Any, ...]:
    """Cells, bits and number of operations of the plain machine, or its error."""
    machine = Machine(circuit, np.array(parameters))
    try:
        machine.advance()
    except OpenQSEError as error:
        return type(error), error.message
    return machine.cells, machine.bits, machine.steps


def computed(circuit: Circuit, parameters: tuple[float, ...] = ()) -> tuple[Any, ...]:
    """The same of the compiled one."""
    program = compiled(circuit, QUIET)
    stack = paths._stack(program, 1, 1)
    pc, steps, wrong, _ = advance(
        program.code, np.array(parameters), stack.ints[0], stack.floats[0], stack.bits[0], 0, 0,
        MAX_STEPS,
    )  # fmt: skip
    if wrong != FINE:
        error = failure(circuit, wrong, pc, stack, 0)
        return type(error), error.message
    cells = [
        float(f) if kind else int(i)
        for i, f, kind in zip(stack.ints[0], stack.floats[0], circuit.cell_types, strict=True)
    ]
    return cells, stack.bits[0].tolist(), steps


def same(found: tuple[Any, ...], expected: tuple[Any, ...]) -> bool:
    if len(found) == 2 or len(expected) == 2:
        return found == expected
    cells = all(
        a == b
        or (a != a and b != b)
        or (isinstance(b, float) and math.isclose(a, b, rel_tol=1e-13))
        for a, b in zip(found[0], expected[0], strict=True)
    )
    return cells and found[1:] == expected[1:]


@pytest.mark.parametrize("op", _PLAIN)
@settings(deadline=None)
@given(data=st.data())
def test_every_operation_gives_the_same(op: Op, data: st.DataObject) -> None:
    b = CircuitBuilder(1)
    to, *sources = (
        b.real(data.draw(REALS)) if kind == "f" else b.integer(data.draw(INTEGERS))
        for kind in OPERANDS[op]
    )
    circuit = b.compute(op, to, *sources).build()
    assert same(computed(circuit), outcome(circuit))


@st.composite
def classical(draw: st.DrawFn) -> Circuit:
    """Programs of classical operations in branches and loops, tables and bits among them."""
    b = CircuitBuilder(1, 8)
    integers = [b.integer(draw(INTEGERS)) for _ in range(4)]
    reals = [b.real(draw(REALS)) for _ in range(3)]
    given_value = b.given("p")
    exact = [op for op in _PLAIN if op not in _LAST_DIGIT]
    for _ in range(draw(st.integers(1, 25))):
        kind = draw(st.integers(0, 9))
        cell = draw(st.sampled_from(integers))
        if kind < 5:
            op = draw(st.sampled_from(exact))
            pick = {"i": st.sampled_from(integers), "f": st.sampled_from([*reals, given_value])}
            b.compute(op, *(draw(pick[k]) for k in OPERANDS[op]))
        elif kind == 5:
            first = draw(st.integers(0, 7))
            width = draw(st.integers(1, 8 - first))
            b.compute(draw(st.sampled_from([Op.GETBITS, Op.SETBITS])), cell, width, clbit=first)
        elif kind == 6:
            op = draw(st.sampled_from([Op.LOAD, Op.STORE]))
            index = b.integer()
            b.compute(Op.ZEXT, index, draw(st.sampled_from(integers)), b.constant(2))
            b.compute(op, cell, integers[0].number, draw(st.sampled_from([3, 4])), index)
        elif kind == 7:
            with b.if_(cell):
                b.compute(Op.ADD, cell, cell, b.constant(1))
            if draw(st.booleans()):
                with b.else_():
                    b.compute(Op.FNEG, reals[0], reals[0])
        elif kind == 8:
            rounds, more = b.integer(draw(st.integers(0, 5))), b.integer()
            with b.loop():
                b.compute(Op.SUB, rounds, rounds, b.constant(1))
                b.compute(Op.LT, more, b.constant(0), rounds)
                with b.if_(more):
                    b.compute(Op.XOR, cell, cell, rounds).continue_loop()
                b.break_loop()
        elif draw(st.integers(0, 5)) == 0:
            with b.if_(cell):
                draw(st.sampled_from([b.stop, lambda: b.fail("it says so")]))()
    return b.build()


@settings(max_examples=150, deadline=None)
@given(circuit=classical(), value=st.floats(-5, 5))
def test_programs_give_the_same(circuit: Circuit, value: float) -> None:
    assert same(computed(circuit, (value,)), outcome(circuit, (value,)))


def run(builder: CircuitBuilder) -> None:
    program = compiled(builder.build(), QUIET)
    found = paths.Sampled.none(program, 10)
    paths.sample(program, np.zeros(0), (1, 0), 0, found, 2**30, never)


def test_a_loop_without_end_is_a_typed_error() -> None:
    b = CircuitBuilder(1)
    with b.loop():
        b.h(0).measure(0, 0)
    with pytest.raises(LimitExceeded) as raised:
        run(b)
    assert raised.value.details["limit"] == "MAX_STEPS"


def test_a_program_may_end_itself_with_what_it_says() -> None:
    b = CircuitBuilder(1).h(0).measure(0, 0)
    with b.if_(b.bits(0)):
        b.fail("the qubit is lost")
    with pytest.raises(ProgramError, match="the qubit is lost"):
        run(b)


@pytest.mark.parametrize(
    ("value", "reason"), [(math.nan, "not finite"), (math.inf, "not finite"), (-1.0, "no time")]
)
def test_a_delay_needs_a_duration(value: float, reason: str) -> None:
    b = CircuitBuilder(1)
    with pytest.raises(ProgramError, match=reason):
        run(b.delay(b.value(b.real(value)), 0))


def test_an_angle_must_be_finite() -> None:
    b = CircuitBuilder(1)
    with pytest.raises(ProgramError, match="not finite"):
        run(b.rx(b.value(b.real(math.inf)), 0))


def test_a_box_must_hold_what_is_in_it() -> None:
    b = CircuitBuilder(1)
    with b.box(100.0):
        b.measure(0, 0)
    with pytest.raises(ProgramError, match="takes longer than the box"):
        run(b)
