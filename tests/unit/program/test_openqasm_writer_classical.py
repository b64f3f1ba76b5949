"""Circuits with classical operations and control flow, written as OpenQASM 3 and read back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.errors import ProgramError, UnsupportedInput
from openqse.program.builder import Cell, CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import OPERANDS, Op
from openqse.program.openqasm import dumps, loads

from .collections.simulate import distribution
from .openqasm.constructs import CONSTRUCTS, Construct


def same(circuit: Circuit, parameters: tuple[float, ...] = ()) -> Circuit:
    """What is read back, which has the same outputs with the same probabilities."""
    again = loads(dumps(circuit))
    assert again.outputs == circuit.outputs
    assert again.parameters == circuit.parameters
    expected, found = distribution(circuit, parameters), distribution(again, parameters)
    for key in expected.keys() | found.keys():
        assert found.get(key, 0.0) == pytest.approx(expected.get(key, 0.0), abs=1e-12)
    return again


def test_branches() -> None:
    b = CircuitBuilder(2).h(0).measure(0, 0)
    with b.if_(b.bits(0)):
        b.x(1)
    with b.else_():
        b.ry(0.3, 1)
    same(b.measure(1, 1).build())


def test_jumps_out_of_several_loops() -> None:
    b = CircuitBuilder(1)
    m, scratch = b.register("m", 2), b.scratch(1)
    count, late, kept = b.integer(), b.integer(), b.integer()
    with b.loop():
        with b.loop():
            b.compute(Op.ADD, count, count, b.constant(1))
            b.h(0).measure(0, scratch[0])
            with b.if_(b.bits(scratch[0])):
                b.continue_loop(1)
            b.compute(Op.LT, late, b.constant(4), count)
            with b.if_(late):
                b.break_loop(1)
        b.x(0)
    b.compute(Op.AND, kept, count, b.constant(3))
    b.compute(Op.SETBITS, kept, 2, clbit=m[0])
    same(b.build())


def test_floats_times_and_angles_that_the_program_computes() -> None:
    b = CircuitBuilder(2)
    b.register("c", 3)
    b.parameter("a")
    given_a, square, outcome = b.given("a"), b.real(), b.real()
    b.compute(Op.FMUL, square, given_a, given_a)
    b.rx(b.value(square) + 0.1, 0).measure(0, 0)
    b.compute(Op.ITOF, outcome, b.bits(0))
    b.u(b.value(outcome) * 2.0, 0.3, b.value(square), 1)
    b.delay(100.0, 0).delay(b.value(square) * 10.0, 1)
    with b.box(500.0, 0, 1):
        b.x(0)
    circuit = b.measure(1, 1).measure(0, 2).build()
    again = same(circuit, (0.7,))
    for op in (Op.DELAY, Op.BOX, Op.END_BOX):
        assert (again.opcodes == op).sum() >= (circuit.opcodes == op).sum()
    boxes = [set(o.qubits) for o in again.operations() if o.op is Op.BOX]
    assert boxes == [{0, 1}]


def test_tables() -> None:
    b = CircuitBuilder(1)
    b.register("c", 4)
    table = [b.integer(v) for v in (5, -3, 7, 9)]
    index, value = b.integer(), b.integer()
    b.h(0).measure(0, 0)
    bit = b.bits(0)
    b.compute(Op.ADD, index, bit, b.constant(1))
    b.compute(Op.LOAD, value, table[0].number, 4, index)
    b.compute(Op.STORE, value, table[0].number, 4, bit)
    b.compute(Op.LOAD, value, table[0].number, 4, bit)
    same(b.compute(Op.SETBITS, value, 4, clbit=0).build())


@pytest.mark.parametrize("index", [-1, 4, 2**40])
def test_an_index_outside_of_a_table_is_an_error_still(index: int) -> None:
    b = CircuitBuilder(1)
    table = [b.integer(v) for v in (5, -3, 7, 9)]
    where, value = b.integer(), b.integer()
    b.x(0).measure(0, 0)
    b.compute(Op.MUL, where, b.bits(0), b.constant(index))
    b.compute(Op.LOAD, value, table[0].number, 4, where)
    b.compute(Op.SETBITS, value, 1, clbit=0)
    for circuit in (b.build(), loads(dumps(b.build()))):
        with pytest.raises(ProgramError):
            distribution(circuit)


def test_tables_that_overlap_are_refused_by_name() -> None:
    b = CircuitBuilder(1)
    cells = [b.integer(v) for v in (1, 2, 3)]
    at = b.integer()
    b.compute(Op.LOAD, at, cells[0].number, 2, at).compute(Op.LOAD, at, cells[1].number, 2, at)
    with pytest.raises(UnsupportedInput, match="overlap"):
        dumps(b.build())


def test_the_end_of_a_shot_and_of_a_task() -> None:
    b = CircuitBuilder(1).h(0).measure(0, 0)
    with b.if_(b.bits(0)):
        b.stop()
    same(b.x(0).measure(0, 0).build())
    b = CircuitBuilder(1).x(0).measure(0, 0)
    with b.if_(b.bits(0)):
        b.fail('never "this"\n')
    again = loads(dumps(b.build()))
    with pytest.raises(ProgramError, match='never "this"\n'):
        distribution(again)


def test_scratch_bits_are_no_results() -> None:
    b = CircuitBuilder(2)
    m = b.register("m", 1)
    scratch = b.scratch(2)
    b.h(0).measure(0, scratch[1])
    with b.if_(b.bits(scratch[1])):
        b.x(1)
    same(b.measure(1, m[0]).build())
    b = CircuitBuilder(1)
    scratch = b.scratch(1)
    b.h(0).measure(0, scratch[0])
    with b.if_(b.bits(scratch[0])):
        b.x(0)
    assert same(b.build()).outputs == ()


# --- every operation -----------------------------------------------------------------------------

WHOLE = (0, 1, -1, 2, 3, 7, -8, 63, 64, 65, 2**31, 2**62, -(2**63), 2**63 - 1)
REAL = (1.0, -1.0, 0.5, -2.75, 3.0, 1e-3, 100.25)
SIMPLE = [
    op for op, kinds in OPERANDS.items() if kinds[:1] in ("i", "f") and "n" not in kinds
    and op not in (Op.IF, Op.PARAMETER)
]  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.data())
@pytest.mark.parametrize("op", SIMPLE)
def test_each_operation_computes_the_same(op: Op, data: st.DataObject) -> None:
    """Sources depend on a measured bit, so that nothing is computed while the text is read."""
    b = CircuitBuilder(1)
    b.register("c", 64)
    b.x(0).measure(0, 0)
    one = b.bits(0)
    kinds = OPERANDS[op]
    sources = [_drawn(b, one, kind, data) for kind in kinds[1:]]
    to = b.integer() if kinds[0] == "i" else b.real()
    b.compute(op, to, *sources)
    if kinds[0] == "f":
        same_bits = b.integer()
        b.compute(Op.FEQ, same_bits, to, b.real(_result(b, to)))
        to = same_bits
    b.compute(Op.SETBITS, to, 64, clbit=0)
    circuit = b.build()
    try:
        expected = distribution(circuit)
    except ProgramError:
        with pytest.raises(ProgramError):
            distribution(loads(dumps(circuit)))
        return
    assert distribution(loads(dumps(circuit))) == expected


def _drawn(b: CircuitBuilder, one: Cell, kind: str, data: st.DataObject) -> Cell:
    if kind == "i":
        cell = b.integer()
        value = data.draw(st.one_of(st.sampled_from(WHOLE), st.integers(-(2**63), 2**63 - 1)))
        b.compute(Op.MUL, cell, one, b.constant(value))
        return cell
    cell, real = b.real(), b.real()
    b.compute(Op.ITOF, real, one)
    b.compute(Op.FMUL, cell, real, b.constant(data.draw(st.sampled_from(REAL))))
    return cell


def _result(b: CircuitBuilder, cell: Cell) -> float:
    """The value that a float cell has at the end of what was built so far."""
    from openqse.program.machine import Machine

    machine = Machine(b.build(), np.empty(0))
    while (step := machine.advance()) is not None:
        if step.op is Op.MEASURE:
            machine.write(step.clbit, 1)
    value = float(machine.cells[cell.number])
    return value if np.isfinite(value) else 0.0


# --- random programs -----------------------------------------------------------------------------


class _Program:
    """A random program of bounded loops: what it does is drawn, how often it runs is counted."""

    def __init__(self, draw: Callable[[st.SearchStrategy], object]) -> None:
        self.draw = draw
        self.b = CircuitBuilder(2)
        self.bits = [*self.b.register("m", 2), *self.b.scratch(2)]
        self.cells = [self.b.integer(v) for v in (0, 3, -2)]
        self.real = self.b.real(0.25)
        self.loops: list[Cell] = []

    def pick(self, *options: object) -> object:
        return self.draw(st.sampled_from(options))

    def block(self, depth: int) -> None:
        for _ in range(int(str(self.draw(st.integers(1, 3))))):
            kinds = ["gate", "measure", "compute", "field", "angle"]
            if depth:
                kinds += ["branch", "loop"]
            if self.loops:
                kinds += ["jump"]
            getattr(self, str(self.pick(*kinds)))(depth)

    def gate(self, depth: int) -> None:
        q = int(str(self.pick(0, 1)))
        self.pick(self.b.h, self.b.x, self.b.sx)(q)  # type: ignore[operator]

    def measure(self, depth: int) -> None:
        self.b.measure(int(str(self.pick(0, 1))), int(str(self.pick(*self.bits))))

    def compute(self, depth: int) -> None:
        op = self.pick(Op.ADD, Op.SUB, Op.XOR, Op.LT, Op.SHL, Op.MOVE, Op.SAR)
        assert isinstance(op, Op)
        cells = [self.pick(*self.cells) for _ in OPERANDS[op]]
        self.b.compute(op, *cells)  # type: ignore[arg-type]

    def field(self, depth: int) -> None:
        op, cell = self.pick(Op.GETBITS, Op.SETBITS), self.pick(*self.cells)
        first = int(str(self.pick(0, 2)))
        self.b.compute(op, cell, int(str(self.pick(1, 2))), clbit=first)  # type: ignore[arg-type]

    def angle(self, depth: int) -> None:
        self.b.compute(Op.ITOF, self.real, self.pick(*self.cells))  # type: ignore[arg-type]
        self.b.ry(self.b.value(self.real) * 0.3 + 0.1, 0)

    def jump(self, depth: int) -> None:
        level = int(str(self.draw(st.integers(0, len(self.loops) - 1))))
        with self.b.if_(self.pick(*self.cells)):  # type: ignore[arg-type]
            (self.b.break_loop if self.pick(True, False) else self.b.continue_loop)(level)

    def loop(self, depth: int) -> None:
        count, more = self.b.integer(), self.b.integer()
        self.b.compute(Op.MOVE, count, self.b.constant(0))
        with self.b.loop():
            self.b.compute(Op.ADD, count, count, self.b.constant(1))
            self.b.compute(Op.LT, more, self.b.constant(2), count)
            with self.b.if_(more):
                self.b.break_loop()
            self.loops.append(count)
            self.block(depth - 1)
            self.loops.pop()

    def branch(self, depth: int) -> None:
        with self.b.if_(self.pick(*self.cells)):  # type: ignore[arg-type]
            self.block(depth - 1)
        if self.pick(True, False):
            with self.b.else_():
                self.block(depth - 1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_programs_do_the_same(data: st.DataObject) -> None:
    program = _Program(data.draw)
    program.block(2)
    program.measure(0)
    same(program.b.build())


# --- every construct -----------------------------------------------------------------------------

READ = [construct for construct in CONSTRUCTS if construct.result is not None]


@pytest.mark.parametrize("construct", READ, ids=lambda c: f"{c.group}: {c.name}")
@pytest.mark.parametrize("portable", [False, True])
def test_each_construct_of_openqasm_does_the_same(construct: Construct, portable: bool) -> None:
    circuit = loads(construct.source)
    again = loads(dumps(circuit, portable=portable))
    assert [width for _, width in again.outputs] == [width for _, width in circuit.outputs]
    assert construct.result is not None
    certain = int(construct.result, 2)
    assert distribution(again, construct.parameters)[certain] == pytest.approx(1.0)
    if not circuit.classical and not portable and again.outputs == circuit.outputs:
        assert again.id == circuit.id
