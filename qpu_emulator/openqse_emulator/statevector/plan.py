"""The plan: a circuit translated once into what the kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import Op


class Collapse(NamedTuple):
    """A measurement or reset in the course of a program.

    Attributes:
        position: how many of the plan's gates come before.
        qubit: mask of its qubit.
        clbit: classical bit that a measurement writes; -1 for a reset.
    """

    position: int
    qubit: int
    clbit: int


@dataclass(frozen=True, eq=False)
class Plan:
    """A circuit as its unitary gates, the collapses between them, and the measurements at the end.

    Attributes:
        num_qubits: of the state.
        opcodes: int64 ``(gates,)``, unitary operations alone.
        controls, firsts, seconds: int64 ``(gates,)``, masks of the controls and of the first and
            second target; 0 where there is none.
        angle_offsets: int64 ``(gates,)``, where a gate's angles begin in ``Circuit.bind``'s rows.
        collapses: in order.
        final_qubits, final_clbits: int64 ``(measurements,)``, which qubit (its number) ends up in
            which classical bit; no later operation touches these qubits or bits.
        pure: the program prepares one state: measurements come last and nothing but fresh qubits
            is reset.
    """

    num_qubits: int
    opcodes: NDArray[np.int64]
    controls: NDArray[np.int64]
    firsts: NDArray[np.int64]
    seconds: NDArray[np.int64]
    angle_offsets: NDArray[np.int64]
    collapses: tuple[Collapse, ...]
    final_qubits: NDArray[np.int64]
    final_clbits: NDArray[np.int64]
    pure: bool


def translate(circuit: Circuit) -> Plan:
    """The plan of a circuit.

    Left out are operations that no outcome depends on: identities, barriers, global phases without
    controls, resets of qubits that nothing has touched, and, on qubits that nothing touches again,
    resets and measurements whose bit is written again.
    """
    operations = list(circuit.operations())
    needless = _needless_resets(operations)
    gates: list[tuple[int, int, int, int, int]] = []
    collapses: list[Collapse] = []
    final: list[tuple[int, int]] = []
    last, pure = _last_collapses(operations, needless)
    for i, (op, controls, qubits, angles, clbit) in enumerate(operations):
        if op in (Op.BARRIER, Op.ID) or (op is Op.GPHASE and not controls) or i in needless:
            continue
        if op not in (Op.MEASURE, Op.RESET):
            first, second, *_ = (*(1 << q for q in qubits[controls:]), 0, 0)
            mask = sum(1 << q for q in qubits[:controls])
            gates.append((int(op), mask, first, second, angles.start))
        elif i not in last:
            collapses.append(Collapse(len(gates), 1 << qubits[0], clbit))
        elif last[i]:
            final.append((qubits[0], clbit))
    opcodes, masks, firsts, seconds, offsets = _columns(gates, 5)
    qubits_last, clbits_last = _columns(final, 2)
    return Plan(
        num_qubits=circuit.num_qubits,
        opcodes=opcodes,
        controls=masks,
        firsts=firsts,
        seconds=seconds,
        angle_offsets=offsets,
        collapses=tuple(collapses),
        final_qubits=qubits_last,
        final_clbits=clbits_last,
        pure=pure,
    )


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> NDArray[np.int64]:
    return np.array(rows, dtype=np.int64).reshape(-1, width).T.copy()


def _needless_resets(operations: list[Operation]) -> set[int]:
    """Positions of resets of qubits that nothing has touched: these are in the zero state."""
    touched: set[int] = set()
    needless: set[int] = set()
    for i, operation in enumerate(operations):
        if operation.op is Op.RESET and operation.qubits[0] not in touched:
            needless.add(i)
        elif operation.op is not Op.BARRIER:
            touched.update(operation.qubits)
    return needless


def _last_collapses(
    operations: list[Operation], needless: set[int]
) -> tuple[dict[int, bool], bool]:
    """The measurements and resets after which nothing touches the qubit, by position, each with
    whether its outcome is seen at the end; and whether these are all (and all measurements)."""
    touched: set[int] = set()
    written: set[int] = set()
    last: dict[int, bool] = {}
    pure = True
    for i, (op, _, qubits, _, clbit) in reversed(list(enumerate(operations))):
        if op is Op.BARRIER or i in needless:
            continue
        if op not in (Op.MEASURE, Op.RESET):
            touched.update(qubits)
            continue
        if qubits[0] in touched or op is Op.RESET:
            pure = False
        if qubits[0] not in touched:
            last[i] = op is Op.MEASURE and clbit not in written
        if last.get(i, True):
            touched.add(qubits[0])
        written.add(clbit)
    return last, pure
