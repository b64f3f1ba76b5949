"""What the operations of a circuit on cells and bits do: a slow, plain register machine.

Engines have machines of their own, which are held against this one. It runs one shot: ``advance``
goes on to the next operation on qubits and says which that is; whoever has the qubits carries it
out, and gives the outcome of a measurement back with ``write``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from openqse.errors import LimitExceeded, ProgramError
from openqse.program.circuit import FLOAT, Circuit
from openqse.program.gates import OPERANDS, Op

#: Operations of a shot, those on qubits included.
MAX_STEPS = 1_000_000

_MASK = 2**64 - 1
_SIGN = 2**63


def signed(value: int) -> int:
    """The integer that the lowest 64 bits of a number are, in two's complement."""
    return ((value + _SIGN) & _MASK) - _SIGN


def unsigned(value: int) -> int:
    """The integer from 0 that 64 bits are."""
    return value & _MASK


def _quotient(a: int, b: int) -> int:
    """Towards zero, as in C."""
    if b == 0:
        raise ProgramError("a whole number is divided by zero", layer="device")
    magnitude = abs(a) // abs(b)
    return magnitude if (a < 0) == (b < 0) else -magnitude


def _shifted(a: int, b: int) -> int:
    return a << b if 0 <= b < 64 else 0


def _extended(a: int, bits: int) -> int:
    if not 0 < bits < 64:
        return a
    half = 1 << (bits - 1)
    return ((a + half) & ((1 << bits) - 1)) - half


def _whole(value: float) -> int:
    if not -(2.0**63) <= value < 2.0**63:
        raise ProgramError(f"the float {value!r} fits no whole number of 64 bits", layer="device")
    return math.trunc(value)


def _ieee(function: Callable[..., Any]) -> Callable[..., float]:
    """A function as IEEE 754 has it: infinities and NaN in place of exceptions."""

    def computed(*values: float) -> float:
        with np.errstate(all="ignore"):
            return float(function(*(np.float64(value) for value in values)))

    return computed


INTEGER_OPERATIONS: dict[Op, Callable[..., int]] = {
    Op.MOVE: lambda a: a,
    Op.ADD: lambda a, b: a + b,
    Op.SUB: lambda a, b: a - b,
    Op.MUL: lambda a, b: a * b,
    Op.DIV: _quotient,
    Op.UDIV: lambda a, b: _quotient(unsigned(a), unsigned(b)),
    Op.REM: lambda a, b: a - b * _quotient(a, b),
    Op.UREM: lambda a, b: unsigned(a) - unsigned(b) * _quotient(unsigned(a), unsigned(b)),
    Op.POW: lambda a, b: pow(a, unsigned(b), 2**64),
    Op.AND: lambda a, b: a & b,
    Op.OR: lambda a, b: a | b,
    Op.XOR: lambda a, b: a ^ b,
    Op.NOT: lambda a: ~a,
    Op.SHL: _shifted,
    Op.SHR: lambda a, b: unsigned(a) >> b if 0 <= b < 64 else 0,
    Op.SAR: lambda a, b: a >> (b if 0 <= b < 64 else 63),
    Op.EQ: lambda a, b: int(a == b),
    Op.LT: lambda a, b: int(a < b),
    Op.LE: lambda a, b: int(a <= b),
    Op.ULT: lambda a, b: int(unsigned(a) < unsigned(b)),
    Op.ULE: lambda a, b: int(unsigned(a) <= unsigned(b)),
    Op.POPCOUNT: lambda a: unsigned(a).bit_count(),
    Op.SEXT: _extended,
    Op.ZEXT: lambda a, bits: a & ((1 << bits) - 1) if 0 < bits < 64 else a,
    Op.FEQ: lambda a, b: int(a == b),
    Op.FLT: lambda a, b: int(a < b),
    Op.FLE: lambda a, b: int(a <= b),
    Op.FTOI: _whole,
}
FLOAT_OPERATIONS: dict[Op, Callable[..., float]] = {
    Op.FMOVE: lambda a: a,
    Op.FADD: _ieee(np.add),
    Op.FSUB: _ieee(np.subtract),
    Op.FMUL: _ieee(np.multiply),
    Op.FDIV: _ieee(np.divide),
    Op.FPOW: _ieee(np.power),
    Op.FMOD: _ieee(np.fmod),
    Op.FNEG: lambda a: -a,
    Op.FSIN: _ieee(np.sin),
    Op.FCOS: _ieee(np.cos),
    Op.FTAN: _ieee(np.tan),
    Op.FASIN: _ieee(np.arcsin),
    Op.FACOS: _ieee(np.arccos),
    Op.FATAN: _ieee(np.arctan),
    Op.FEXP: _ieee(np.exp),
    Op.FLN: _ieee(np.log),
    Op.FSQRT: _ieee(np.sqrt),
    Op.FFLOOR: _ieee(np.floor),
    Op.FCEIL: _ieee(np.ceil),
    Op.ITOF: float,
    Op.UTOF: lambda a: float(unsigned(a)),
}


def targets(circuit: Circuit) -> NDArray[np.int32]:
    """Where control goes, int32 ``(n,)``: -1 where it goes on to the next operation.

    Of ``IF``: the operation after its ``ELSE`` or ``END``, where the cell is 0. Of ``ELSE``: the
    operation after ``END``. Of a loop's ``END`` and of ``CONTINUE``: its ``LOOP``. Of ``BREAK``:
    the operation after the loop.
    """
    found = np.full(len(circuit), -1, dtype=np.int32)
    codes = circuit.opcodes
    operands, offsets = circuit.operands, circuit.operand_offsets
    blocks: list[tuple[int, list[int]]] = []  # where it begins, and which BREAKs leave it
    for i in np.flatnonzero((codes >= Op.IF) & (codes <= Op.CONTINUE)).tolist():
        op = Op(codes[i])
        if op in (Op.IF, Op.LOOP):
            blocks.append((i, []))
        elif op is Op.ELSE:
            begin, _ = blocks[-1]
            found[begin] = i + 1
            blocks[-1] = (i, [])
        elif op is Op.END:
            begin, leaving = blocks.pop()
            found[begin if codes[begin] != Op.LOOP else i] = (
                begin if codes[begin] == Op.LOOP else i + 1
            )
            found[leaving] = i + 1
        else:
            loops = [block for block in blocks if codes[block[0]] == Op.LOOP]
            begin, leaving = loops[-1 - int(operands[offsets[i]])]
            if op is Op.CONTINUE:
                found[i] = begin
            else:
                leaving.append(i)
    return found


class Step(NamedTuple):
    """An operation on qubits that is to take place.

    Attributes:
        position: which operation of the circuit.
        op, controls, qubits, clbit: as in ``Operation``.
        angles: their values now, radians (of ``DELAY`` and ``BOX`` nanoseconds).
    """

    position: int
    op: Op
    controls: int
    qubits: tuple[int, ...]
    clbit: int
    angles: tuple[float, ...]


class Machine:
    """The classical side of one shot of a circuit.

    Args:
        parameters: float64 ``(n_parameters,)``.

    Attributes:
        pc: the operation that comes next. steps: how many there were.
        cells: values of the cells, ints and floats. bits: those of the classical bits.
    """

    def __init__(self, circuit: Circuit, parameters: NDArray[np.float64]) -> None:
        self._circuit = circuit
        self._operations = list(circuit.operations())
        self._targets = targets(circuit).tolist()
        self._parameters = [float(value) for value in parameters]
        self._terms: dict[int, list[tuple[int, float]]] = {}
        columns = circuit.term_angles, circuit.term_parameters, circuit.term_coefficients
        for angle, source, factor in zip(*(c.tolist() for c in columns), strict=True):
            self._terms.setdefault(angle, []).append((source, factor))
        floats = circuit.cells.view(np.float64).tolist()
        values = zip(circuit.cells.tolist(), floats, circuit.cell_types.tolist(), strict=True)
        self.cells: list[Any] = [f if kind == FLOAT else i for i, f, kind in values]
        self.bits: list[int] = [0] * circuit.num_clbits
        self.pc = 0
        self.steps = 0

    def copy(self) -> Self:
        """A machine in the same state, to go on by itself."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.cells, other.bits = self.cells.copy(), self.bits.copy()
        return other

    def advance(self) -> Step | None:
        """Goes on to the next operation on qubits; None at the end of the shot.

        Raises:
            ProgramError: the program fails: it divides by zero, or says ``FAIL``.
            LimitExceeded: more than ``MAX_STEPS`` operations.
        """
        while self.pc < len(self._operations):
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise too_many_steps()
            at = self.pc
            operation = self._operations[at]
            self.pc += 1
            if operation.op < Op.MOVE:
                angles = tuple(self._angle(i) for i in operation.angles)
                op, controls, qubits, _, clbit = operation
                if op in (Op.DELAY, Op.BOX) and angles[0] < 0:
                    raise ProgramError(f"a {op.name.lower()} of {angles[0]} ns", layer="device")
                return Step(at, op, controls, qubits, clbit, angles)
            if operation.op >= Op.IF:
                self._control(at, operation.op, operation.qubits)
            else:
                self._compute(operation.op, operation.qubits, operation.clbit)
        return None

    def write(self, clbit: int, outcome: int) -> None:
        """Writes the outcome of a measurement; nowhere for bit -1."""
        if clbit >= 0:
            self.bits[clbit] = outcome

    def outputs(self) -> list[int]:
        """The bits of the registers, bit 0 first."""
        return self.bits[: self._circuit.num_outputs]

    def _angle(self, index: int) -> float:
        value = float(self._circuit.angle_constants[index])
        count = len(self._parameters)
        for source, factor in self._terms.get(index, ()):
            given = self._parameters[source] if source < count else self.cells[source - count]
            value += factor * given
        if not math.isfinite(value):
            raise ProgramError("an angle that the program computes is not finite", layer="device")
        return value

    def _control(self, at: int, op: Op, operands: tuple[int, ...]) -> None:
        if op is Op.STOP:
            self.pc = len(self._operations)
        elif op is Op.FAIL:
            raise ProgramError(self._circuit.messages[operands[0]], layer="device")
        elif self._targets[at] >= 0 and (op is not Op.IF or self.cells[operands[0]] == 0):
            self.pc = self._targets[at]

    def _compute(self, op: Op, operands: tuple[int, ...], clbit: int) -> None:
        cells, bits = self.cells, self.bits
        if op is Op.PARAMETER:
            cells[operands[0]] = self._parameters[clbit]
        elif op is Op.GETBITS:
            field = bits[clbit : clbit + operands[1]]
            cells[operands[0]] = signed(sum(bit << i for i, bit in enumerate(field)))
        elif op is Op.SETBITS:
            value, width = cells[operands[0]], operands[1]
            bits[clbit : clbit + width] = [value >> i & 1 for i in range(width)]
        elif op in (Op.LOAD, Op.STORE):
            value, base, length, index = operands
            place = cells[index]
            if not 0 <= place < length:
                raise ProgramError(f"index {place} of an array of {length}", layer="device")
            source, to = (base + place, value) if op is Op.LOAD else (value, base + place)
            cells[to] = cells[source]
        else:
            sources = [cells[cell] for cell in operands[1:]]
            if OPERANDS[op][0] == "i":
                cells[operands[0]] = signed(INTEGER_OPERATIONS[op](*sources))
            else:
                cells[operands[0]] = FLOAT_OPERATIONS[op](*sources)


def too_many_steps() -> LimitExceeded:
    """What a shot of more than ``MAX_STEPS`` operations ends with."""
    return LimitExceeded(
        f"a shot takes more than {MAX_STEPS} operations",
        layer="device",
        remedy="See to it that every loop of the program ends",
        limit="MAX_STEPS",
    )
