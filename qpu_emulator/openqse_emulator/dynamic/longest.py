"""How long a shot of a program with classical control takes at most, loops taken once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import Op
from openqse_emulator.dynamic.records import Code


@dataclass(slots=True)
class _Times:
    """When qubits are free, when the last outcome is known, and what waits for outcomes begins."""

    free: list[float]
    known: float = 0.0
    clock: float = 0.0

    def copy(self) -> _Times:
        return _Times(self.free.copy(), self.known, self.clock)

    def latest(self, other: _Times) -> _Times:
        """Each time the later one of both."""
        free = [max(pair) for pair in zip(self.free, other.free, strict=True)]
        return _Times(free, max(self.known, other.known), max(self.clock, other.clock))


def longest_ns(circuit: Circuit, code: Code) -> int:
    """Nanoseconds from the first operation to the end of the last, on the longest way through the
    branches. Every loop is taken once; of a duration that is computed at run time what is constant
    counts.

    Args:
        code: of a run, or of an expectation, which leaves its final measurements out.
    """
    times = _Times([0.0] * circuit.num_qubits)
    blocks: list[_Times | None] = []  # of a branch the other way; None for a loop
    boxes: list[float] = []
    for i, operation in enumerate(circuit.operations()):
        op = operation.op
        if op is Op.IF:
            if code.waits[i]:
                times.clock = max(times.clock, times.known)
            blocks.append(times.copy())
        elif op is Op.ELSE:
            before = blocks[-1]
            assert before is not None
            blocks[-1], times = times, before.copy()
        elif op is Op.LOOP:
            blocks.append(None)
        elif op is Op.END:
            other = blocks.pop()
            times = times if other is None else times.latest(other)
        elif op < Op.MOVE and operation.qubits and not code.final[i]:
            _pass(circuit, code, i, operation, times, boxes)
    return math.ceil(max(times.free))


def _pass(
    circuit: Circuit, code: Code, i: int, operation: Operation, times: _Times, boxes: list[float]
) -> None:
    """Has an operation on qubits take its time."""
    op, qubits = operation.op, operation.qubits
    start = max([times.clock, *(times.free[q] for q in qubits)])
    if code.waits[i]:
        start = max(start, times.known)
    end = start + int(code.duration[i])
    if op in (Op.DELAY, Op.BOX):
        ns = max(0.0, float(circuit.angle_constants[operation.angles.start]))
        if op is Op.BOX:
            boxes.append(start + ns)
        else:
            end = start + ns
    elif op is Op.END_BOX:
        end = max(start, boxes.pop())
    elif op is Op.MEASURE:
        times.known = max(times.known, end)
    for q in qubits:
        times.free[q] = end
