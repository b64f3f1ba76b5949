"""Circuits whose classical part is known before they run, as circuits without one.

Where nothing depends on outcomes and control never leaves its way, the operations on cells only
compute angles and bits from free parameters. So the circuit is one of plain quantum operations, of
other parameters; engines that know nothing of cells run it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import ARRAYS_1, Circuit
from openqse.program.gates import OPERANDS, Op
from openqse.program.machine import Machine


@dataclass(frozen=True, eq=False)
class Straight:
    """A circuit without operations on cells, and how it stands for another.

    Attributes:
        source: the circuit that it stands for.
        circuit: of quantum operations alone. Its parameters are those of the source and one for
            each angle that the source computes.
        fixed: the results' bits that the source writes itself, last, whatever is measured.
    """

    source: Circuit
    circuit: Circuit
    fixed: tuple[int, ...]

    def parameters(self, sets: NDArray[np.float64]) -> NDArray[np.float64]:
        """The parameters of ``circuit``, float64 ``(k, m)``, for those of the source, ``(k, n)``.

        Raises:
            ProgramError, LimitExceeded: the source fails for one of the sets.
        """
        if not self.source.reads_cells:
            return sets
        computed = _computed(self.source)
        angles = np.array([_run(self.source, row)[0] for row in sets], dtype=np.float64)
        return np.concatenate([sets, angles[:, computed]], axis=1)

    def finish(self, memory: NDArray[np.uint8], sets: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The samples of the source, from those of ``circuit``.

        Args:
            memory: uint8 ``(k, shots, ceil(num_clbits / 8))``; written to.
            sets: the source's parameters, float64 ``(k, n)``.

        Returns:
            uint8 ``(k, shots, ceil(num_outputs / 8))``.
        """
        count = self.source.num_outputs
        for i, row in enumerate(sets if self.fixed else ()):
            _, bits = _run(self.source, row)
            for bit in self.fixed:
                byte, mask = bit >> 3, np.uint8(1 << (bit & 7))
                memory[i, :, byte] &= ~mask
                if bits[bit]:
                    memory[i, :, byte] |= mask
        return outputs_of(memory, count)


def outputs_of(memory: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The first ``count`` bits of each row of samples; bits beyond are 0 in the last byte."""
    kept = memory[..., : -(-count // 8)]
    if count % 8 and kept.shape[-1]:
        kept[..., -1] &= np.uint8((1 << count % 8) - 1)
    return np.ascontiguousarray(kept)


def straightened(circuit: Circuit) -> Straight | None:
    """The circuit without operations on cells; None if there is none, since outcomes or parameters
    decide which operations take place or what is written.
    """
    if not circuit.classical:
        return Straight(circuit, circuit, ())
    if (circuit.opcodes >= Op.IF).any():
        return None
    fixed = _fixed(circuit)
    if fixed is None:
        return None
    kept = np.flatnonzero(circuit.opcodes < Op.MOVE)
    columns: dict[str, Any] = {name: getattr(circuit, name) for name in ARRAYS_1}
    counts = np.diff(circuit.operand_offsets)
    of_qubits = np.repeat(circuit.opcodes < Op.MOVE, counts)
    columns |= {name: columns[name][kept] for name in ("opcodes", "controls", "clbits")}
    columns["operands"] = circuit.operands[of_qubits]
    columns["operand_offsets"] = np.concatenate([[0], np.cumsum(counts[kept])])
    angles = np.diff(circuit.angle_offsets)[kept]
    columns["angle_offsets"] = np.concatenate([[0], np.cumsum(angles)])
    computed = _computed(circuit)
    plain = ~np.isin(circuit.term_angles, computed)
    count = len(circuit.parameters)
    columns["angle_constants"] = circuit.angle_constants.copy()
    columns["angle_constants"][computed] = 0.0
    columns["term_angles"] = np.concatenate([circuit.term_angles[plain], computed])
    columns["term_parameters"] = np.concatenate(
        [circuit.term_parameters[plain], count + np.arange(len(computed))]
    )
    columns["term_coefficients"] = np.concatenate(
        [circuit.term_coefficients[plain], np.ones(len(computed))]
    )
    names = (*circuit.parameters, *(f"angle {i} of {circuit.id}" for i in computed))
    made = Circuit(circuit.num_qubits, circuit.num_clbits, names, **columns)
    return Straight(circuit, made, fixed)


#: Operations that end some shots with an error.
_MAY_FAIL = frozenset({Op.DIV, Op.UDIV, Op.REM, Op.UREM, Op.FTOI, Op.LOAD, Op.STORE})


def _computed(circuit: Circuit) -> NDArray[np.int32]:
    """The angles that depend on cells, ascending."""
    of_cells = circuit.term_parameters >= len(circuit.parameters)
    return np.unique(circuit.term_angles[of_cells])


def _fixed(circuit: Circuit) -> tuple[int, ...] | None:
    """The results' bits that are written last by what no outcome decides; None if one decides
    an angle or what is written."""
    count = len(circuit.parameters)
    from_cells: dict[int, list[int]] = {}
    for angle, source in zip(
        circuit.term_angles.tolist(), circuit.term_parameters.tolist(), strict=True
    ):
        if source >= count:
            from_cells.setdefault(angle, []).append(source - count)
    measured: set[int] = set()  # bits that hold an outcome
    written: set[int] = set()
    open_cells: set[int] = set()  # whose values depend on outcomes
    for op, _, operands, angles, clbit in circuit.operations():
        if op is Op.MEASURE:
            measured.add(clbit)
            written.discard(clbit)
        elif op < Op.MOVE:
            if any(not open_cells.isdisjoint(from_cells.get(angle, ())) for angle in angles):
                return None
        elif op is Op.SETBITS:
            if operands[0] in open_cells:
                return None
            bits = range(clbit, clbit + operands[1])
            measured.difference_update(bits)
            written.update(bits)
        elif op in _MAY_FAIL and not open_cells.isdisjoint(operands):
            return None
        else:
            _follow(op, operands, clbit, measured, open_cells)
    return tuple(sorted(bit for bit in written if bit < circuit.num_outputs))


def _follow(
    op: Op, operands: tuple[int, ...], clbit: int, measured: set[int], open_cells: set[int]
) -> None:
    """Notes whether an operation makes the value of a cell depend on outcomes."""
    to, *sources = operands
    if op is Op.GETBITS:
        depends = not measured.isdisjoint(range(clbit, clbit + operands[1]))
    elif op is Op.LOAD:
        _, base, length, index = operands
        depends = not open_cells.isdisjoint((index, *range(base, base + length)))
    elif op is Op.STORE:
        value, base, length, index = operands
        if not open_cells.isdisjoint((value, index)):  # else what was there may remain
            open_cells.update(range(base, base + length))
        return
    else:
        cells = [cell for cell, kind in zip(sources, OPERANDS[op][1:], strict=True) if kind != "n"]
        depends = not open_cells.isdisjoint(cells)
    (open_cells.add if depends else open_cells.discard)(to)


def _run(circuit: Circuit, row: NDArray[np.float64]) -> tuple[list[float], list[int]]:
    """Every angle of a circuit without control flow, and its bits at the end, where all outcomes
    are 0."""
    machine = Machine(circuit, row)
    angles = [0.0] * len(circuit.angle_constants)
    begins = circuit.angle_offsets.tolist()
    while (step := machine.advance()) is not None:
        begin = begins[step.position]
        angles[begin : begin + len(step.angles)] = step.angles
        if step.op is Op.MEASURE:
            machine.write(step.clbit, 0)
    return angles, machine.bits
