"""From a circuit and a noise model to the flat arrays that the kernels read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import GATES, OPERANDS, Op
from openqse.program.machine import targets
from openqse_emulator import timing
from openqse_emulator.dynamic.codes import HALT, JUMP
from openqse_emulator.dynamic.records import Code, Floats, Ints
from openqse_emulator.noise import Channel, Kind, NoiseModel, figure
from openqse_emulator.profile import Profile

#: Gates that bring a basis state into superposition.
_SUPERPOSE = (Op.H, Op.SX, Op.SXDG, Op.RX, Op.RY, Op.U, Op.RXX, Op.RYY)
_JUMPS = (Op.ELSE, Op.END, Op.LOOP, Op.BREAK, Op.CONTINUE)
_TIMED = (Op.DELAY, Op.BOX, Op.END_BOX)
#: What only lets qubits wait.
_IDLE = (Op.ID, Op.BARRIER, *_TIMED)


@dataclass(frozen=True, eq=False)
class Compiled:
    """A program as the kernels take it.

    Attributes:
        circuit: what it was made from.
        code: its flat arrays.
        depth: boxes that may be open at once.
        pauli: whether the only errors beside those of readout are Pauli errors.
        quiet: whether nothing goes wrong but in reading out.
    """

    circuit: Circuit
    code: Code
    depth: int
    pauli: bool
    quiet: bool

    @cached_property
    def stabilizer(self) -> Compiled:
        """The same on tableaux in place of amplitudes."""
        one, never = np.ones(1, dtype=np.int64), np.zeros_like(self.code.classical)
        return replace(self, code=self.code._replace(tableau=one, classical=never))

    @cached_property
    def observed(self) -> Code:
        """The code for an expectation: an observable stands in place of the measurements after
        which nothing touches their qubit, if what they find decides nothing but results."""
        circuit, code = self.circuit, self.code
        operations = list(circuit.operations())
        leads = _leads_to(code.op, code.target)
        final = np.zeros(len(code.op), dtype=np.uint8)
        read = {bit for each in operations if each.op >= Op.MOVE for bit in _flow(each)[0]}
        measures = [i for i, each in enumerate(operations) if each.op is Op.MEASURE]
        for qubit in sorted({operations[i].qubits[0] for i in measures}):
            touches = np.array(
                [
                    each.op < Op.MOVE and qubit in each.qubits and each.op not in _IDLE
                    for each in operations
                ]
                + [False]
            )
            touched = leads(touches)
            for i in measures:
                if operations[i].qubits[0] == qubit and not touched[i + 1]:
                    bit = operations[i].clbit
                    final[i] = bit not in read or not _waits(circuit, operations, {bit}).any()
        return code._replace(final=final)

    def angles(self, sets: Floats) -> Floats:
        """What is known of all angles beforehand, float64 ``(k, angles)``."""
        circuit = self.circuit
        known = np.repeat(circuit.angle_constants[np.newaxis], len(sets), axis=0)
        free = circuit.term_parameters < len(circuit.parameters)
        if free.any():
            terms = sets[:, circuit.term_parameters[free]] * circuit.term_coefficients[free]
            np.add.at(known.T, circuit.term_angles[free], terms.T)
        return known


def compiled(circuit: Circuit, model: NoiseModel) -> Compiled:
    """A circuit for the kernels."""
    operations = list(circuit.operations())
    size, n = len(operations), circuit.num_qubits
    opcodes = np.append(circuit.opcodes.astype(np.int64), HALT)
    opcodes[np.isin(opcodes, _JUMPS)] = JUMP
    target = np.append(targets(circuit).astype(np.int64), size)
    onward = np.arange(1, size + 2)
    target = np.where(target < 0, onward, target)
    begin, qubits = _qubits(circuit)
    errors = _errors(operations, model)
    superposes = np.append(np.isin(circuit.opcodes, _SUPERPOSE), False)
    superposes |= errors.kraus_at
    leads = _leads_to(opcodes, target)
    classical = ~leads(superposes)
    slot, depth = _slots(operations)
    term_begin, term_cell, term_factor = _terms(circuit)
    rates = _rates(n, model.profile)
    code = Code(
        op=opcodes,
        arguments=_arguments(operations),
        clbit=np.append(circuit.clbits.astype(np.int64), -1),
        controls=np.append(circuit.controls.astype(np.int64), 0),
        target=target,
        waits=_waits(circuit, operations),
        begin=begin,
        qubits=qubits,
        angle=np.append(circuit.angle_offsets.astype(np.int64), 0)[: size + 1],
        term_begin=term_begin,
        term_cell=term_cell,
        term_factor=term_factor,
        duration=_durations(operations, model.profile),
        slot=slot,
        classical=classical.astype(np.uint8),
        final=np.zeros(size + 1, dtype=np.uint8),
        seen=_seen(operations, classical, n),
        misread=_misread(operations, model.profile),
        error_begin=errors.begin,
        error=errors.rows,
        error_total=errors.totals,
        figures=errors.figures,
        kraus=errors.kraus,
        rates=rates,
        noisy=np.array([rates.any()], dtype=np.int64),
        tableau=np.zeros(1, dtype=np.int64),
    )
    quiet = not (rates.any() or len(errors.rows))
    pauli = not (rates[:, [0, 2]].any() or errors.kraus_at.any())
    return Compiled(circuit, code, depth, pauli, quiet)


def _arguments(operations: list[Operation]) -> Ints:
    found = np.zeros((len(operations) + 1, 4), dtype=np.int64)
    for i, operation in enumerate(operations):
        if operation.op >= Op.MOVE:
            found[i, : len(operation.qubits)] = operation.qubits
    return found


def _qubits(circuit: Circuit) -> tuple[Ints, Ints]:
    """The qubits of quantum operations; none of others; all at the end."""
    counts = np.diff(circuit.operand_offsets).astype(np.int64)
    quantum = circuit.opcodes < Op.MOVE
    kept = circuit.operands[np.repeat(quantum, counts)].astype(np.int64)
    begin = np.concatenate([[0], np.cumsum(np.where(quantum, counts, 0))])
    begin = np.append(begin, begin[-1] + circuit.num_qubits).astype(np.int64)
    return begin, np.concatenate([kept, np.arange(circuit.num_qubits, dtype=np.int64)])


def _leads_to(opcodes: Ints, target: Ints) -> Callable[[NDArray[np.bool_]], NDArray[np.bool_]]:
    """A function that says from where on one of some operations can be reached."""
    codes, jumps = opcodes.tolist(), target.tolist()

    def leads(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        found = marked.tolist()
        changed = True
        while changed:  # once more for each depth of loops
            changed = False
            for i in range(len(codes) - 2, -1, -1):
                if found[i] or codes[i] in (Op.STOP, Op.FAIL):
                    continue
                goes = found[jumps[i]] if codes[i] in (JUMP, Op.IF) else False
                if goes or (codes[i] != JUMP and found[i + 1]):
                    found[i] = changed = True
        return np.array(found, dtype=np.bool_)

    return leads


def _waits(
    circuit: Circuit, operations: list[Operation], bits: set[int] | None = None
) -> NDArray[np.uint8]:
    """Which branches and angles depend on outcomes, so that they are known only after these.

    Args:
        bits: those whose outcomes count; None means all.
    """
    if bits is None:
        bits = {operation.clbit for operation in operations if operation.op is Op.MEASURE}
    bits = bits - {-1}
    cells: set[int] = set()
    flows = [_flow(operation) for operation in operations if operation.op >= Op.MOVE]
    sizes = (-1, -1)
    while sizes != (len(bits), len(cells)):
        sizes = len(bits), len(cells)
        for from_bits, from_cells, to_bits, to_cells in flows:
            if not (bits.isdisjoint(from_bits) and cells.isdisjoint(from_cells)):
                bits.update(to_bits)
                cells.update(to_cells)
    count = len(circuit.parameters)
    open_angles = {
        angle
        for angle, source in zip(
            circuit.term_angles.tolist(), circuit.term_parameters.tolist(), strict=True
        )
        if source >= count and source - count in cells
    }
    found = np.zeros(len(operations) + 1, dtype=np.uint8)
    for i, (op, _, operands, angles, _) in enumerate(operations):
        if op is Op.IF:
            found[i] = operands[0] in cells
        elif op < Op.MOVE:
            found[i] = not open_angles.isdisjoint(angles)
    return found


_Flow = tuple[Iterable[int], Iterable[int], Iterable[int], Iterable[int]]


def _flow(operation: Operation) -> _Flow:
    """From which bits and cells a classical operation takes values to which."""
    op, _, operands, _, clbit = operation
    if op is Op.GETBITS:
        return range(clbit, clbit + operands[1]), (), (), operands[:1]
    if op is Op.SETBITS:
        return (), operands[:1], range(clbit, clbit + operands[1]), ()
    if op in (Op.LOAD, Op.STORE):
        value, base, length, index = operands
        table = range(base, base + length)
        if op is Op.LOAD:
            return (), (index, *table), (), (value,)
        return (), (index, value), (), table
    if op >= Op.IF:
        return (), (), (), ()
    cells = [cell for cell, kind in zip(operands, OPERANDS[op], strict=True) if kind != "n"]
    return (), cells[1:], (), cells[:1]


def _terms(circuit: Circuit) -> tuple[Ints, Ints, Floats]:
    """The terms of angles that are read from cells while the program runs."""
    count = len(circuit.parameters)
    of_cells = circuit.term_parameters >= count
    angles = circuit.term_angles[of_cells]
    order = np.argsort(angles, kind="stable")
    begins = np.searchsorted(angles[order], np.arange(len(circuit.angle_constants) + 1))
    return (
        begins.astype(np.int64),
        (circuit.term_parameters[of_cells][order] - count).astype(np.int64),
        circuit.term_coefficients[of_cells][order].astype(np.float64),
    )


def _durations(operations: list[Operation], profile: Profile) -> Ints:
    known: dict[tuple[Op, int], int] = {}
    found = np.zeros(len(operations) + 1, dtype=np.int64)
    for i, operation in enumerate(operations):
        if operation.op < Op.MOVE and operation.op not in _TIMED and operation.qubits:
            key = operation.op, operation.controls
            if key not in known:
                known[key] = timing.operation_ns(operation, profile)
            found[i] = known[key]
    return found


def _slots(operations: list[Operation]) -> tuple[Ints, int]:
    """For each box its depth among boxes, and how deep they go."""
    found = np.zeros(len(operations) + 1, dtype=np.int64)
    depth = most = 0
    for i, operation in enumerate(operations):
        if operation.op is Op.BOX:
            found[i] = depth
            depth += 1
            most = max(most, depth)
        elif operation.op is Op.END_BOX:
            depth -= 1
            found[i] = depth
    return found, most


def _seen(operations: list[Operation], classical: NDArray[np.bool_], n: int) -> NDArray[np.uint8]:
    found = np.zeros(n, dtype=np.uint8)
    for operation, after in zip(operations, classical.tolist(), strict=False):
        if after and operation.op < Op.MOVE and operation.op not in _IDLE:
            found[list(operation.qubits)] = 1
    return found


def _misread(operations: list[Operation], profile: Profile) -> Floats:
    found = np.zeros((len(operations) + 1, 2))
    noise = profile.noise
    for i, operation in enumerate(operations):
        if operation.op is Op.MEASURE:
            (qubit,) = operation.qubits
            zero = figure(noise.zero_as_one, qubit, 0.0)
            found[i] = zero, figure(noise.one_as_zero, qubit, 0.0)
    return found


def _rates(n: int, profile: Profile) -> Floats:
    """Decay, dephasing and leakage of each qubit per nanosecond (see ``noise.relaxation``)."""
    noise = profile.noise
    found = np.zeros((n, 3))
    for q in range(n):
        t1, t2 = (figure(times, q, np.inf) for times in (noise.t1_ns, noise.t2_ns))
        found[q] = 1 / t1, max(0.0, 1 / t2 - 1 / (2 * t1)), noise.leakage_per_ns
    return found


@dataclass(frozen=True, eq=False)
class _Errors:
    """The errors of gates, as ``records.Code`` has them; and which operations have Kraus errors."""

    begin: Ints
    rows: Ints
    totals: Floats
    figures: Floats
    kraus: NDArray[np.complex128]
    kraus_at: NDArray[np.bool_]


def _errors(operations: list[Operation], model: NoiseModel) -> _Errors:
    rows: list[tuple[int, int, int, int]] = []
    totals: list[float] = []
    figures: list[float] = []
    kraus: list[complex] = []
    places: dict[int, int] = {}  # of a channel's figures, by its identity
    begins = [0]
    kraus_at = np.zeros(len(operations) + 1, dtype=np.bool_)
    known: dict[tuple[Op, int], list[Channel]] = {}
    for i, operation in enumerate(operations):
        if operation.op in GATES and operation.qubits:
            key = operation.op, operation.controls
            if key not in known:
                inner = operation._replace(qubits=tuple(range(len(operation.qubits))))
                known[key] = list(model.of_gate(inner))
            for channel in known[key]:
                if id(channel) not in places:
                    places[id(channel)] = _figures(channel, figures, kraus)
                one, other = (*(operation.qubits[q] for q in channel.qubits), 0)[:2]
                rows.append((len(channel.qubits), one, other, places[id(channel)]))
                is_kraus = channel.kind is Kind.KRAUS
                kraus_at[i] |= is_kraus
                totals.append(-1.0 if is_kraus else min(1.0, sum(channel.probabilities)))
        begins.append(len(rows))
    begins.append(len(rows))
    return _Errors(
        np.array(begins, dtype=np.int64),
        np.array(rows, dtype=np.int64).reshape(-1, 4),
        np.array(totals, dtype=np.float64),
        np.array(figures, dtype=np.float64),
        np.array(kraus, dtype=np.complex128),
        kraus_at,
    )


def _figures(channel: Channel, figures: list[float], kraus: list[complex]) -> int:
    """Notes a channel's figures; returns where they begin."""
    if channel.kind is Kind.KRAUS:
        at = len(kraus)
        kraus.append(len(channel.operators))
        kraus.extend(channel.operators.ravel().tolist())
        return at
    at = len(figures)
    sums = np.cumsum(channel.probabilities)
    figures.extend((sums / sums[-1] if sums[-1] else sums).tolist())
    return at
