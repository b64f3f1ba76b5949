"""A circuit as the planner reads it: which measurements collapse a state, and which read it out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse_emulator.statevector.canonical import (
    BRANCH,
    FUSED,
    LAST_FUSED,
    PLAIN,
    SHRINK,
    is_diagonal,
)
from openqse_emulator.statevector.compiled import kernel

_ID, _BARRIER = int(Op.ID), int(Op.BARRIER)
_MEASURE, _RESET = int(Op.MEASURE), int(Op.RESET)
_GPHASE, _X, _Y, _U = int(Op.GPHASE), int(Op.X), int(Op.Y), int(Op.U)
_SWAP, _RZZ = int(Op.SWAP), int(Op.RZZ)
#: Rounds of rotations and phases on two qubits from which on one matrix for them costs less.
_ROUNDS = 3

#: What becomes of an operation.
_LEFT_OUT, _KEPT, _LAST = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Program:
    """A circuit without what no outcome depends on.

    Attributes:
        num_qubits, num_clbits: of the circuit.
        operations: int64 ``(operations, 7)``, as ``canonical.canonical`` reads them: gates, and
            measurements and resets in the course of the program.
        operands: int32, the qubits they act on.
        positions: int64 ``(operations,)``, where each stands in the circuit.
        most_items: bound on the number of items that they become.
        final_qubits, final_clbits: int64 ``(measurements,)``, which qubit ends up in which
            classical bit; no later operation touches these qubits or bits.
        collapses: number of measurements and resets in the course of the program; where there are
            none, it prepares one state.
    """

    num_qubits: int
    num_clbits: int
    operations: NDArray[np.int64]
    operands: NDArray[np.int32]
    positions: NDArray[np.int64]
    most_items: int
    final_qubits: NDArray[np.int64]
    final_clbits: NDArray[np.int64]
    collapses: int

    def with_operations(
        self, operations: NDArray[np.int64], operands: NDArray[np.int32], collapses: int
    ) -> Program:
        """The program with other operations, of which some number are collapses."""
        most_items = _most_items(operations) + 3 * self.num_qubits
        _fuse(operations, operands, self.num_qubits)  # what is between two gates has changed
        return replace(
            self, operations=operations, operands=operands, most_items=most_items,
            collapses=collapses,
        )  # fmt: skip


def read(
    circuit: Circuit,
    *,
    observed: bool = False,
    disturbed: NDArray[np.bool_] | None = None,
    identities: bool = False,
) -> Program:
    """The program of a circuit.

    Left out are identities, barriers, resets of qubits that nothing has touched, and, on qubits
    that nothing touches again, resets and measurements whose bit is written again or is none of the
    results'.

    Args:
        circuit: without control flow and delays, every measurement with a bit.
        observed: whether an observable of all qubits stands at the end. Then what comes last on a
            qubit is left out if it is a measurement (see ``timing.final_measurements``), and
            stays if it is a reset.
        disturbed: bool ``(num_qubits,)``, those that noise touches before any gate does; None
            means none.
        identities: whether identities touch their qubits, since they err.
    """
    if disturbed is None:
        disturbed = np.zeros(circuit.num_qubits, np.bool_)
    operations, operands, positions, last, most_items, collapses = _read(
        circuit.opcodes, circuit.controls, circuit.clbits, circuit.operand_offsets,
        circuit.operands, circuit.angle_offsets, circuit.term_angles, len(circuit.angle_constants),
        circuit.num_qubits, circuit.num_clbits, circuit.num_outputs, observed, disturbed,
        identities,
    )  # fmt: skip
    return Program(
        num_qubits=circuit.num_qubits,
        num_clbits=circuit.num_clbits,
        operations=operations,
        operands=operands,
        positions=positions,
        most_items=most_items,
        final_qubits=last[0],
        final_clbits=last[1],
        collapses=collapses,
    )


#: By opcode, whether it is not unitary, is a gate on one qubit, or is of what noise adds.
_NON_UNITARY, _PLAIN, _ADDED = np.zeros((3, 256), dtype=np.bool_)
_NON_UNITARY[[_MEASURE, _RESET]] = True
_PLAIN[: Op.U + 1] = True
_ADDED[[SHRINK, BRANCH]] = True


@kernel
def _read(
    opcodes: Any, controls: Any, clbits: Any, offsets: Any, operands: Any, angle_offsets: Any,
    term_angles: Any, angles: int, num_qubits: int, num_clbits: int,
    num_outputs: int, observed: bool, disturbed: Any, identities: bool,
) -> Any:  # fmt: skip
    """The operations of a program, their operands and positions, qubits and classical bits of the
    last measurements, the bound on items, and the number of collapses."""
    fates = _fates(
        opcodes, operands, offsets, clbits, num_qubits, num_clbits, num_outputs, observed,
        disturbed, identities,
    )  # fmt: skip
    chained = _chained(opcodes, controls, operands, offsets, num_qubits)
    free = np.zeros(angles, dtype=np.bool_)
    for term in range(len(term_angles)):
        free[term_angles[term]] = True
    positions = np.flatnonzero(fates == _KEPT)
    operations = np.zeros((len(positions), 7), dtype=np.int64)
    collapses = 0
    for i in range(len(positions)):
        at = positions[i]
        op, row = opcodes[at], operations[i]
        row[0], row[1], row[2], row[3] = op, controls[at], offsets[at], offsets[at + 1]
        collapses += _NON_UNITARY[op]
        row[4] = clbits[at] if _NON_UNITARY[op] else angle_offsets[at]
        row[5] = free[angle_offsets[at] : angle_offsets[at + 1]].any()
        row[6] = chained[at]
    measured = np.flatnonzero(fates == _LAST)
    last = np.empty((2, len(measured)), dtype=np.int64)
    for i in range(len(measured)):
        last[0, i] = operands[offsets[measured[i]]]
        last[1, i] = clbits[measured[i]]
    own = operands.copy()  # what a circuit has is read-only: another type
    _fuse(operations, own, num_qubits)
    most_items = _most_items(operations) + 3 * num_qubits
    return operations, own, positions, last, most_items, collapses


@kernel
def _most_items(operations: Any) -> int:
    """A bound: gates on one qubit wait, and become two or three items when they settle; the longest
    rewriting, of a controlled U, has five phases and four such gates."""
    bound = 0
    for i in range(len(operations)):
        op = operations[i, 0]
        few = (_PLAIN[op] and operations[i, 1] == 0) or _ADDED[op]
        bound += 3 if few else 18
    return bound


@kernel
def _fates(
    opcodes: Any, operands: Any, offsets: Any, clbits: Any, num_qubits: int, num_clbits: int,
    num_outputs: int, observed: bool, disturbed: Any, identities: bool,
) -> Any:  # fmt: skip
    """What becomes of each operation."""
    count = len(opcodes)
    fates = np.full(count, _KEPT, dtype=np.int64)
    touched = disturbed.copy()
    for i in range(count):
        op = opcodes[i]
        fresh = op == _RESET and not touched[operands[offsets[i]]]
        if op in (_BARRIER, _ID) or fresh:
            fates[i] = _LEFT_OUT
        else:
            for j in range(offsets[i], offsets[i + 1]):
                touched[operands[j]] = True
    touched[:] = False
    written = np.zeros(num_clbits, dtype=np.bool_)
    written[num_outputs:] = True  # nobody looks at them
    for i in range(count - 1, -1, -1):
        op = opcodes[i]
        if fates[i] == _LEFT_OUT and not (identities and op == _ID):
            continue
        if op != _MEASURE and op != _RESET:
            for j in range(offsets[i], offsets[i + 1]):
                touched[operands[j]] = True
            continue
        q, bit = operands[offsets[i]], clbits[i]
        if observed:
            if op == _MEASURE and not touched[q]:
                fates[i] = _LEFT_OUT
            touched[q] = True
            continue
        seen = op == _MEASURE and not written[bit]
        if not touched[q]:
            fates[i] = _LAST if seen else _LEFT_OUT
        if seen or fates[i] == _KEPT:
            touched[q] = True
        if op == _MEASURE:
            written[bit] = True
    return fates


@kernel
def _chained(opcodes: Any, controls: Any, operands: Any, offsets: Any, num_qubits: int) -> Any:
    """Which CX gates are better left as they are: those that are followed, on their target, by no
    gate on one qubit, which the Hadamard gate of a controlled Z could join; and those that go on
    with a ladder of such."""
    found = np.zeros(len(opcodes), dtype=np.bool_)
    joins = np.zeros(num_qubits, dtype=np.bool_)
    for i in range(len(opcodes) - 1, -1, -1):
        op, begin, end = opcodes[i], offsets[i], offsets[i + 1]
        if op in (_BARRIER, _ID):
            continue
        if controls[i] == 0 and op <= _U:
            if begin < end:
                joins[operands[begin]] = True
            continue
        if op == _X and controls[i] == 1:
            found[i] = not joins[operands[begin + 1]]
        for j in range(begin, end):
            joins[operands[j]] = False
    ladder = np.zeros(num_qubits, dtype=np.bool_)  # whether such a CX was the last on a qubit
    for i in range(len(opcodes)):
        op, begin, end = opcodes[i], offsets[i], offsets[i + 1]
        if op in (_BARRIER, _ID):
            continue
        if op == _X and controls[i] == 1:
            found[i] |= ladder[operands[begin]]
        for j in range(begin, end):
            ladder[operands[j]] = found[i]
    return found


@kernel
def _fuse(operations: Any, operands: Any, num_qubits: int) -> None:
    """Writes which operations make a fusion: all on two qubits, from a gate on both to the last
    before something else touches one of them."""
    count = len(operations)
    run_of = np.full(num_qubits, -1, dtype=np.int64)  # the run that a qubit is in, by its first
    runs = np.full(count, -1, dtype=np.int64)  # that an operation is in
    rounds, ends = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)  # of a run
    before = np.full(count, -1, dtype=np.int64)  # in a run, what gate on both began a round
    for i in range(count):
        op, begin, end = operations[i, 0], operations[i, 2], operations[i, 3]
        if operations[i, 6] >= FUSED:
            operations[i, 6] = PLAIN
        if begin == end:
            continue
        p, q = operands[begin], operands[end - 1]
        unitary = op <= _RZZ
        if end - begin > 2 or not unitary or (p != q and (run_of[p] < 0 or run_of[p] != run_of[q])):
            for j in range(begin, end):
                run = run_of[operands[j]]
                for other in range(num_qubits):
                    if run >= 0 and run_of[other] == run:
                        run_of[other] = -1
            if end - begin == 2 and unitary:
                run_of[p] = run_of[q] = i
        run = run_of[p]
        if run < 0:
            continue
        runs[i], ends[run] = run, i
        kind = _RZZ if op == _GPHASE or is_diagonal(op) else op
        if p == q:
            if kind != _RZZ:
                before[run] = -1
        elif op != _SWAP and kind != before[run]:
            # A controlled rotation is one round more (see ``canonical``).
            rounds[run] += 1 if kind > _SWAP or op in (_X, _Y) else 2
            before[run] = kind
    for i in range(count):
        if runs[i] >= 0 and rounds[runs[i]] >= _ROUNDS:
            operations[i, 6] = LAST_FUSED if ends[runs[i]] == i else FUSED
