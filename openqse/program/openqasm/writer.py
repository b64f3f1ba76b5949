"""Circuits written as OpenQASM 3."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from openqse.errors import UnsupportedInput
from openqse.program.circuit import FLOAT, FORMAT, Circuit, Operation
from openqse.program.gates import CLASSICAL, GATES, OPERANDS, Op
from openqse.program.openqasm.computing import Jumps, statement
from openqse.program.openqasm.dialects import FAILURE
from openqse.program.openqasm.library import STDGATES
from openqse.program.openqasm.tools import NEWER

#: Words that name something else in OpenQASM 3.
RESERVED = frozenset(
    word
    for line in (
        "OPENQASM include defcalgrammar def cal defcal gate extern box let break continue if else",
        "end return for while in switch case default nop pragma input output const readonly",
        "mutable qreg qubit creg bool bit int uint float angle complex array void duration",
        "stretch gphase inv pow ctrl negctrl durationof delay reset measure barrier true false im",
        "U CX pi tau euler π τ ℇ arccos arcsin arctan ceiling cos exp floor log mod popcount real",
        "imag rotl rotr sin sizeof sqrt tan ln dt ns us µs μs ms s opaque",
    )
    for word in line.split()
)

_NAMES = {op: op.name.lower() for op in GATES}
_CONTROLLED: dict[tuple[Op, int], str] = {
    **{(op, 1): f"c{op.name.lower()}" for op in (Op.X, Op.Y, Op.Z, Op.H, Op.P)},
    **{(op, 1): f"c{op.name.lower()}" for op in (Op.RX, Op.RY, Op.RZ, Op.SWAP)},
    (Op.X, 2): "ccx",
}
#: Definitions of gates that ``stdgates.inc`` lacks.
_DEFINITIONS: dict[Op, str] = {
    # In alphabetical order, in which qiskit-qasm3-import 0.6 takes a gate's parameters.
    Op.U: "gate u(alpha, beta, gamma) a { U(alpha, beta, gamma) a; gphase(-alpha / 2); }",
    Op.SXDG: "gate sxdg a { inv @ sx a; }",
    Op.RXX: "gate rxx(t) a, b { h a; h b; cx a, b; rz(t) b; cx a, b; h a; h b; }",
    Op.RYY: (
        "gate ryy(t) a, b { rx(pi / 2) a; rx(pi / 2) b; cx a, b; rz(t) b; cx a, b; "
        "rx(-pi / 2) a; rx(-pi / 2) b; }"
    ),
    Op.RZZ: "gate rzz(t) a, b { cx a, b; rz(t) b; cx a, b; }",
}


def dumps(circuit: Circuit, *, portable: bool = False) -> str:
    """The circuit as OpenQASM 3, which ``loads`` reads back.

    What is read back is *equal* (has the same ``id``) where the circuit has no operations on cells
    and is such as the reader makes it: its global phases summed into one, the last operation; no
    controlled global phase; no box, no free parameter with the coefficient 0, no barrier on no
    qubits; registers and parameters whose names are free names in OpenQASM 3. Otherwise it *does
    the same*: the same distribution of results for all parameters, up to names, which are changed
    where OpenQASM 3 has no such name. Cells become variables, which the reader may keep in other
    cells, or compute itself where their values are known; where these have no finite result, as in
    a division by zero, it refuses the text. ``FAIL`` becomes a pragma that ``loads`` knows and an
    ``end``.

    Args:
        portable: define the gates that ``stdgates.inc`` lacks, so that every reader of OpenQASM 3
            knows them; what is read back then does the same.

    Raises:
        UnsupportedInput: arrays that overlap, for which OpenQASM 3 has no words.
    """
    return _Writer(circuit, portable).text()


class _Writer:
    def __init__(self, circuit: Circuit, portable: bool) -> None:
        self._circuit = circuit
        self._portable = portable
        self._taken = {*RESERVED, *STDGATES, *NEWER}
        self._lines: list[str] = []
        self._depth = 0
        self._operations = list(circuit.operations())
        self._head: list[str] = []
        self._parameters = self._input_names()
        self._bits = self._bit_names()
        self._cells = self._cell_names()
        self._qubit = self._free("q")
        self._terms: dict[int, list[tuple[int, float]]] = {}
        columns = circuit.term_angles, circuit.term_parameters, circuit.term_coefficients
        for angle, source, factor in zip(*(c.tolist() for c in columns), strict=True):
            self._terms.setdefault(angle, []).append((source, factor))
        self._constants: list[float] = circuit.angle_constants.tolist()
        #: For each block around: its operation, and of a box which qubits it still has to name.
        self._blocks: list[tuple[Op, set[int]]] = []
        self._jumps = Jumps(self._operations, self._free)

    def text(self) -> str:
        body = self._body()
        head = ["OPENQASM 3.1;", 'include "stdgates.inc";', *self._definitions(), *self._head]
        head.append(f"qubit[{self._circuit.num_qubits}] {self._qubit};")
        head += self._jumps.declarations
        return "\n".join([*head, *body, ""])

    # --- names and declarations ------------------------------------------------------------------

    def _free(self, wanted: str) -> str:
        """A name like ``wanted`` that is not taken yet."""
        name = re.sub(r"\W", "_", wanted) or "_"
        if name[0].isdigit() or not name.isidentifier():
            name = "_" + name.encode("ascii", "replace").decode().replace("?", "_")
        candidate, count = name, 0
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate

    def _input_names(self) -> list[str]:
        """What each parameter is called in an expression; the elements of an array in a row are
        declared together."""
        names = self._circuit.parameters
        written: list[str] = []
        while len(written) < len(names):
            at = len(written)
            base = names[at].removesuffix("[0]")
            count = 0
            while at + count < len(names) and names[at + count] == f"{base}[{count}]":
                count += 1
            if count:
                name = self._free(base)
                self._head.append(f"input array[float[64], {count}] {name};")
                written += [f"{name}[{i}]" for i in range(count)]
            else:
                name = self._free(names[at])
                self._head.append(f"input float[64] {name};")
                written.append(name)
        return written

    def _bit_names(self) -> list[tuple[str, int]]:
        """Register and position of each classical bit."""
        circuit = self._circuit
        scratch = circuit.num_clbits - circuit.num_outputs
        prefix = "output " if scratch else ""
        bits: list[tuple[str, int]] = []
        for wanted, width in circuit.outputs:
            name = self._free(wanted)
            self._head.append(f"{prefix}bit[{width}] {name};")
            bits += [(name, i) for i in range(width)]
        if scratch:
            name = self._free("scratch")
            bits += [(name, i) for i in range(scratch)]
            declared = f"bit[{scratch}] {name};"
            # Without any output all global bits are results; those of a block never are.
            (self._head if circuit.outputs else self._lines).append(declared)
        return bits

    def _cell_names(self) -> list[str]:
        """What each cell is called; those that are read by index are elements of an array."""
        circuit = self._circuit
        floats = circuit.cells.view(np.float64).tolist()
        values = [
            repr(real) if kind == FLOAT else str(whole)
            for whole, real, kind in zip(
                circuit.cells.tolist(), floats, circuit.cell_types.tolist(), strict=True
            )
        ]
        kinds = [
            "float[64]" if kind == FLOAT else "int[64]" for kind in circuit.cell_types.tolist()
        ]
        used = _used(circuit, self._operations)
        for i in used:
            if circuit.cell_types[i] == FLOAT and not np.isfinite(floats[i]):
                raise _unsupported(f"a cell that is {floats[i]} at the start")
        self._tables: dict[tuple[int, int], str] = {}
        names = [""] * len(values)
        for base, length in _tables(self._operations):
            name = self._free(f"table{base}")
            self._tables[base, length] = name
            listed = ", ".join(values[base : base + length])
            self._head.append(f"array[{kinds[base]}, {length}] {name} = {{{listed}}};")
            names[base : base + length] = [f"{name}[{i}]" for i in range(length)]
        for i in sorted(used):
            if not names[i]:
                names[i] = self._free(f"v{i}")
                self._head.append(f"{kinds[i]} {names[i]} = {values[i]};")
        return names

    def _definitions(self) -> list[str]:
        if not self._portable:
            return []
        used = set(self._circuit.opcodes.tolist())
        return [text for op, text in _DEFINITIONS.items() if op in used]

    # --- operations ------------------------------------------------------------------------------

    def _body(self) -> list[str]:
        in_block = bool(self._lines)  # scratch bits of a program without results
        declared, self._lines = self._lines, []
        for at, operation in enumerate(self._operations):
            if operation.op in CLASSICAL:
                self._classical(at, operation)
            else:
                self._quantum(operation)
        if in_block:
            return ["{", *(f"  {line}" for line in [*declared, *self._lines]), "}"]
        return self._lines

    def _write(self, line: str) -> None:
        self._lines.append("  " * self._depth + line)

    def _quantum(self, operation: Operation) -> None:
        op, controls, qubits, angles, clbit = operation
        for _, missing in self._blocks[:-1] if op is Op.END_BOX else self._blocks:
            missing.difference_update(qubits)
        operands = ", ".join(f"{self._qubit}[{q}]" for q in qubits)
        if op is Op.MEASURE:
            to = "" if clbit < 0 else f"{self._bits[clbit][0]}[{self._bits[clbit][1]}] = "
            self._write(f"{to}measure {operands};")
        elif op is Op.RESET:
            self._write(f"reset {operands};")
        elif op in (Op.BARRIER, Op.DELAY):
            if qubits:  # none would mean all
                word = "barrier" if op is Op.BARRIER else f"delay[{self._duration(angles[0])}]"
                self._write(f"{word} {operands};")
        elif op is Op.BOX:
            self._write(f"box[{self._duration(angles[0])}] {{")
            self._depth += 1
            self._blocks.append((op, set(qubits)))
        elif op is Op.END_BOX:
            _, missing = self._blocks.pop()
            if missing:  # a box is one of the qubits that it names
                named = ", ".join(f"{self._qubit}[{q}]" for q in sorted(missing))
                self._write(f"delay[0ns] {named};")
            self._depth -= 1
            self._write("}")
        else:
            self._gate(op, controls, operands, angles)

    def _gate(self, op: Op, controls: int, operands: str, angles: range) -> None:
        name = _CONTROLLED.get((op, controls))
        if name is None:
            modifier = ("", "ctrl @ ")[controls] if controls < 2 else f"ctrl({controls}) @ "
            name = modifier + _NAMES[op]
        given = ", ".join(self._angle(i) for i in angles)
        text = f"{name}({given})" if given else name
        self._write(f"{text} {operands};" if operands else f"{text};")

    def _angle(self, index: int) -> str:
        """An angle as an expression whose value, computed in order, is the same to the last bit."""
        constant = self._constants[index]
        text = "" if constant == 0 and index in self._terms else repr(constant)
        count = len(self._parameters)
        for source, factor in self._terms.get(index, ()):
            name = self._parameters[source] if source < count else self._cells[source - count]
            term = name if abs(factor) == 1 else f"{abs(factor)!r} * {name}"
            minus = "-" if factor < 0 else "+"
            if text:
                text += f" {minus} {term}"
            else:
                text = term if factor >= 0 else f"-{term}"
        return text

    def _duration(self, index: int) -> str:
        text = self._angle(index)
        return f"({text}) * 1ns" if index in self._terms else f"{text}ns"

    def _classical(self, at: int, operation: Operation) -> None:
        op, _, operands, _, clbit = operation
        if op is Op.IF:
            self._open(op, f"if ({self._cells[operands[0]]} != 0) {{")
        elif op is Op.LOOP:
            self._open(op, "while (true) {")
        elif op is Op.ELSE:
            self._depth -= 1
            self._write("} else {")
            self._depth += 1
        elif op is Op.END:
            self._blocks.pop()
            self._depth -= 1
            self._write("}")
            for line in self._jumps.after(at):
                self._write(line)
        elif op in (Op.BREAK, Op.CONTINUE):
            for line in self._jumps.lines(op, operands[0]):
                self._write(line)
        elif op is Op.STOP:
            self._write("end;")
        elif op is Op.FAIL:
            self._write(f"pragma {FAILURE} {json.dumps(self._circuit.messages[operands[0]])}")
            self._write("end;")
        else:
            for line in self._computation(op, operands, clbit):
                self._write(line)

    def _open(self, op: Op, line: str) -> None:
        self._write(line)
        self._blocks.append((op, set()))
        self._depth += 1

    def _computation(self, op: Op, operands: tuple[int, ...], clbit: int) -> list[str]:
        if op is Op.PARAMETER:
            return [f"{self._cells[operands[0]]} = {self._parameters[clbit]};"]
        if op is Op.GETBITS:
            return [self._get_bits(self._cells[operands[0]], clbit, operands[1])]
        if op is Op.SETBITS:
            return self._set_bits(self._cells[operands[0]], clbit, operands[1])
        if op in (Op.LOAD, Op.STORE):
            value, base, length, index = operands
            # As an unsigned number, for an index of -1 would be the last element.
            element = f"{self._tables[base, length]}[uint[64]({self._cells[index]})]"
            named = self._cells[value]
            return [f"{named} = {element};" if op is Op.LOAD else f"{element} = {named};"]
        return [statement(op, [self._cells[cell] for cell in operands])]

    def _runs(self, first: int, width: int) -> list[tuple[str, int, int]]:
        """Bits in a row as parts of registers: name, first position and width of each."""
        runs: list[tuple[str, int, int]] = []
        for name, position in self._bits[first : first + width]:
            if runs and runs[-1][0] == name:
                runs[-1] = name, runs[-1][1], runs[-1][2] + 1
            else:
                runs.append((name, position, 1))
        return runs

    def _get_bits(self, cell: str, first: int, width: int) -> str:
        parts = [f"{name}[{at}:{at + size - 1}]" for name, at, size in self._runs(first, width)]
        joined = " ++ ".join(parts)
        return f"{cell} = int[64](uint[{width}]({joined}));"

    def _set_bits(self, cell: str, first: int, width: int) -> list[str]:
        lines, shift = [], 0
        for name, at, size in self._runs(first, width):
            moved = f"uint[64]({cell})" + (f" >> {shift}" if shift else "")
            lines.append(f"{name}[{at}:{at + size - 1}] = bit[{size}](uint[{size}]({moved}));")
            shift += size
        return lines


def _unsupported(what: str) -> UnsupportedInput:
    return UnsupportedInput(
        f"{what} cannot be written as OpenQASM 3",
        remedy=f"Send the circuit as it is, in the format {FORMAT!r}",
        format=FORMAT,
        target="openqasm.3",
        construct=what,
    )


def _tables(operations: Sequence[Operation]) -> list[tuple[int, int]]:
    """The ranges of cells that are read or written by index, base and length of each."""
    found = sorted({o.qubits[1:3] for o in operations if o.op in (Op.LOAD, Op.STORE)})
    for (base, length), (following, _) in pairwise(found):
        if base + length > following:
            raise _unsupported("arrays that overlap")
    return [(base, length) for base, length in found]


def _used(circuit: Circuit, operations: Sequence[Operation]) -> set[int]:
    """The cells that an operation or an angle names."""
    angles = circuit.term_parameters - len(circuit.parameters)
    used = set(angles[angles >= 0].tolist())
    for op, _, operands, _, _ in operations:
        if op in CLASSICAL:
            used.update(o for o, kind in zip(operands, OPERANDS[op], strict=True) if kind != "n")
    return used
