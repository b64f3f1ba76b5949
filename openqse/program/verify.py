"""Whether the arrays of a circuit are consistent; programs come from strangers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from openqse.errors import ProgramError
from openqse.program.gates import NON_UNITARY, OPERANDS, SIGNATURES, Op
from openqse.program.program import check_outputs

if TYPE_CHECKING:
    from openqse.program.circuit import Circuit

#: Bounds of the form: qubits and classical bits, cells, and blocks within each other.
MAX_REGISTER = 2**24
MAX_CELLS = 2**20
MAX_NESTING = 1000
#: Most bits that one operation reads or writes.
MAX_FIELD = 64

_KNOWN_CODES = np.zeros(256, dtype=bool)
_TARGETS = np.full(256, -2, dtype=np.int64)
_ANGLES = np.zeros(256, dtype=np.int64)
_NON_UNITARY = np.zeros(256, dtype=bool)
for _op in Op:
    _KNOWN_CODES[_op] = True
    _NON_UNITARY[_op] = _op in NON_UNITARY
for _op, _signature in SIGNATURES.items():
    _TARGETS[_op] = -1 if _signature.targets is None else _signature.targets
    _ANGLES[_op] = _signature.angles
for _op, _kinds in OPERANDS.items():
    _TARGETS[_op] = len(_kinds)

_BITS = (Op.GETBITS, Op.SETBITS)


def _refuse(reason: str) -> NoReturn:
    raise ProgramError(f"inconsistent circuit: {reason}")


def verify(circuit: Circuit) -> None:
    """Raises ProgramError unless a circuit's arrays are consistent."""
    _verify_sizes(circuit)
    _verify_shapes(circuit)
    quantum = circuit.opcodes < Op.MOVE
    _verify_qubits(circuit, quantum)
    _verify_bits(circuit)
    _verify_angles(circuit)
    if not quantum.all():
        _verify_cells(circuit)
    _verify_blocks(circuit)


def _verify_sizes(circuit: Circuit) -> None:
    if circuit.num_qubits < 1 or circuit.num_clbits < 0:
        _refuse("it needs at least one qubit and no negative number of bits")
    if max(circuit.num_qubits, circuit.num_clbits) > MAX_REGISTER:
        _refuse("more than 2^24 qubits or bits")
    if len(set(circuit.parameters)) != len(circuit.parameters):
        _refuse("two free parameters share a name")
    check_outputs(circuit.outputs)
    if circuit.num_outputs > circuit.num_clbits:
        _refuse("its registers have more bits than there are")
    if len(circuit.cells) != len(circuit.cell_types) or len(circuit.cells) > MAX_CELLS:
        _refuse("every cell needs one value and one type, and there are at most 2^20")
    if (circuit.cell_types > 1).any():
        _refuse("a cell is neither integer nor float")


def _verify_shapes(circuit: Circuit) -> None:
    n = len(circuit.opcodes)
    for name in ("controls", "clbits"):
        if len(getattr(circuit, name)) != n:
            _refuse(f"{name} does not have one entry for each operation")
    sizes = {
        "operand_offsets": len(circuit.operands),
        "angle_offsets": len(circuit.angle_constants),
    }
    for name, size in sizes.items():
        offsets = getattr(circuit, name)
        if len(offsets) != n + 1 or offsets[0] != 0 or offsets[-1] != size:
            _refuse(f"{name} does not span its array")
        if (np.diff(offsets) < 0).any():
            _refuse(f"{name} decreases")
    if not _KNOWN_CODES[circuit.opcodes].all():
        _refuse("unknown operation code")
    targets = np.diff(circuit.operand_offsets) - circuit.controls
    expected = _TARGETS[circuit.opcodes]
    if ((expected >= 0) & (targets != expected)).any() or (targets < 0).any():
        _refuse("an operation has the wrong number of operands")
    if (np.diff(circuit.angle_offsets) != _ANGLES[circuit.opcodes]).any():
        _refuse("an operation has the wrong number of angles")
    if (circuit.controls[_NON_UNITARY[circuit.opcodes]] != 0).any():
        _refuse("something other than a gate has controls")


def _verify_qubits(circuit: Circuit, quantum: np.ndarray) -> None:
    counts = np.diff(circuit.operand_offsets)
    of_qubits = np.repeat(quantum, counts)
    qubits = circuit.operands[of_qubits]
    if len(qubits) == 0:
        return
    if qubits.min() < 0 or qubits.max() >= circuit.num_qubits:
        _refuse("an operand is not a qubit of the circuit")
    owners = np.repeat(np.arange(len(counts), dtype=np.int64), counts)[of_qubits]
    keys = np.sort(owners * circuit.num_qubits + qubits)
    if (keys[1:] == keys[:-1]).any():
        _refuse("an operation names a qubit twice")


def _verify_bits(circuit: Circuit) -> None:
    codes, clbits = circuit.opcodes, circuit.clbits
    measures = codes == Op.MEASURE
    written = clbits[measures]
    if (written < -1).any() or (written >= circuit.num_clbits).any():
        _refuse("a measurement writes a bit that does not exist")
    ranges = np.isin(codes, _BITS)
    if ranges.any():
        widths = circuit.operands[circuit.operand_offsets[:-1][ranges] + 1].astype(np.int64)
        begins = clbits[ranges]
        if (begins < 0).any() or (begins + widths > circuit.num_clbits).any():
            _refuse("an operation names bits that do not exist")
        if (widths < 1).any() or (widths > MAX_FIELD).any():
            _refuse(f"an operation on bits takes 1 to {MAX_FIELD} of them")
    named = codes == Op.PARAMETER
    if (clbits[named] < 0).any() or (clbits[named] >= len(circuit.parameters)).any():
        _refuse("an operation names a parameter that does not exist")
    if (clbits[~(measures | ranges | named)] != -1).any():
        _refuse("an operation names a bit and has none")


def _verify_angles(circuit: Circuit) -> None:
    terms = len(circuit.term_angles)
    if len(circuit.term_parameters) != terms or len(circuit.term_coefficients) != terms:
        _refuse("the terms of the angles have different lengths")
    count = len(circuit.parameters)
    bounds = (
        (circuit.term_angles, len(circuit.angle_constants)),
        (circuit.term_parameters, count + len(circuit.cells)),
    )
    for indices, bound in bounds:
        if terms and (indices.min() < 0 or indices.max() >= bound):
            _refuse("a term names an angle, a parameter or a cell that does not exist")
    in_cells = circuit.term_parameters[circuit.term_parameters >= count] - count
    if len(in_cells) and (circuit.cell_types[in_cells] != 1).any():
        _refuse("an angle names a cell that is no float")
    if not (
        np.isfinite(circuit.angle_constants).all() and np.isfinite(circuit.term_coefficients).all()
    ):
        _refuse("an angle is not a finite number")


def _verify_cells(circuit: Circuit) -> None:
    types = circuit.cell_types
    operands, offsets = circuit.operands, circuit.operand_offsets
    for op, kinds in OPERANDS.items():
        begins = offsets[:-1][circuit.opcodes == op]
        if len(begins) == 0:
            continue
        for position, kind in enumerate(kinds):
            values = operands[begins + position]
            if (values < 0).any():
                _refuse("an operand is negative")
            if kind == "n":
                continue
            if (values >= len(types)).any():
                _refuse("an operand is not a cell of the circuit")
            if kind != "*" and (types[values] != (kind == "f")).any():
                _refuse(f"{op.name} takes a cell of another type")
        if op in (Op.LOAD, Op.STORE):
            _verify_tables(circuit, begins)
        if op is Op.FAIL and (operands[begins] >= len(circuit.messages)).any():
            _refuse("FAIL names a message that does not exist")


def _verify_tables(circuit: Circuit, begins: np.ndarray) -> None:
    """Cells that are read or written by index: they exist, and have the type of the value."""
    types = circuit.cell_types.astype(np.int64)
    running = np.concatenate([[0], np.cumsum(types)])
    value, base, length = (circuit.operands[begins + i].astype(np.int64) for i in range(3))
    if (length < 1).any() or (base + length > len(types)).any():
        _refuse("an operation names a range of cells that does not exist")
    floats = running[base + length] - running[base]
    if (floats != np.where(types[value] == 1, length, 0)).any():
        _refuse("a range of cells has not the type of the value")


def _verify_blocks(circuit: Circuit) -> None:
    """Blocks begin and end in order, and nothing leaves a loop that is not in it."""
    codes = circuit.opcodes
    marks = np.flatnonzero((codes >= Op.IF) | (codes == Op.BOX) | (codes == Op.END_BOX))
    operands, offsets = circuit.operands, circuit.operand_offsets
    blocks: list[tuple[Op, int]] = []
    for i in marks.tolist():
        op = Op(codes[i])
        if op in (Op.IF, Op.LOOP, Op.BOX):
            blocks.append((op, i))
            if len(blocks) > MAX_NESTING:
                _refuse(f"more than {MAX_NESTING} blocks within each other")
        elif op is Op.ELSE:
            if not blocks or blocks[-1][0] is not Op.IF:
                _refuse("ELSE without IF")
            blocks[-1] = op, i
        elif op is Op.END:
            if not blocks or blocks.pop()[0] is Op.BOX:
                _refuse("END without a block")
        elif op is Op.END_BOX:
            begun, at = blocks.pop() if blocks else (op, i)
            first, last = (operands[offsets[k] : offsets[k + 1]] for k in (at, i))
            if begun is not Op.BOX or not np.array_equal(first, last):
                _refuse("END_BOX without a BOX of the same qubits")
        elif op in (Op.BREAK, Op.CONTINUE):
            levels = int(operands[offsets[i]])
            inner = [kind for kind, _ in blocks if kind in (Op.LOOP, Op.BOX)]
            around = inner[::-1][: levels + 1]
            if len(around) <= levels or Op.BOX in around:
                _refuse(f"{op.name} leaves a loop or box that it is not in")
    if blocks:
        _refuse(f"{blocks[-1][0].name} without END")
