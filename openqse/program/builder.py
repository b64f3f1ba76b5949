"""Writing circuits operation by operation."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np

from openqse.errors import ArgumentError, ProgramError
from openqse.program.angle import Angle
from openqse.program.circuit import ARRAYS, FLOAT, INTEGER, Circuit
from openqse.program.gates import OPERANDS, Op
from openqse.program.machine import signed
from openqse.program.program import Output


class Cell(NamedTuple):
    """A 64-bit value of a circuit: its number, and whether it is a float."""

    number: int
    real: bool


class CircuitBuilder:
    """Writes a circuit operation by operation; every gate method returns the builder.

    >>> bell = CircuitBuilder(2).h(0).cx(0, 1).measure_all().build()

    Control flow depends on cells, which are filled from measured bits:

    >>> b = CircuitBuilder(2).h(0).measure(0, 0)
    >>> with b.if_(b.bits(0)):
    ...     _ = b.x(1)
    >>> circuit = b.measure(1, 1).build()

    Args:
        num_qubits: qubits of the circuit.
        num_clbits: classical bits of the register ``c``; it grows as bits are written.
    """

    def __init__(self, num_qubits: int, num_clbits: int = 0) -> None:
        self.num_qubits: int = operator.index(num_qubits)
        self.num_clbits: int = operator.index(num_clbits)
        self._parameters: dict[str, int] = {}
        self._registers: list[tuple[str | None, range]] = []  # None: bits of the program's own
        self._messages: dict[str, int] = {}
        self._constants: dict[tuple[bool, bytes], Cell] = {}
        self._columns: dict[str, list[Any]] = {name: [] for name in ARRAYS}
        self._cell_terms: list[int] = []  # terms whose source is a cell
        self._columns["operand_offsets"].append(0)
        self._columns["angle_offsets"].append(0)

    # --- parameters, registers and cells ---------------------------------------------------------

    def parameter(self, name: str) -> Angle:
        """A free parameter; its position among the values is the order of first mention."""
        self._parameters.setdefault(name, len(self._parameters))
        return Angle(0.0, {name: 1.0})

    def register(self, name: str, width: int) -> range:
        """Adds a register of the results, of ``width`` bits: the numbers of its bits.

        Bits that exist already and belong to no register are then register ``c``. In the results
        registers follow each other in the order in which they were added.
        """
        return self._more_bits(name, width)

    def scratch(self, width: int) -> range:
        """Adds classical bits that the results do not show: their numbers."""
        return self._more_bits(None, width)

    def _more_bits(self, name: str | None, width: int) -> range:
        known = self._registers[-1][1].stop if self._registers else 0
        if known < self.num_clbits:
            self._registers.append(("c", range(known, self.num_clbits)))
        bits = range(self.num_clbits, self.num_clbits + operator.index(width))
        self.num_clbits = bits.stop
        if bits:
            self._registers.append((name, bits))
        return bits

    def integer(self, value: int = 0) -> Cell:
        """A cell for a 64-bit integer, which has a value at the start."""
        return self._cell(INTEGER, signed(operator.index(value)))

    def real(self, value: float = 0.0) -> Cell:
        """A cell for a 64-bit float, which has a value at the start."""
        return self._cell(FLOAT, int(np.float64(value).view(np.int64)))

    def constant(self, value: int | float) -> Cell:
        """A cell that nothing may write; one for all constants of this type and value."""
        real = isinstance(value, float)
        key = real, np.float64(value).tobytes() if real else str(int(value)).encode()
        if key not in self._constants:
            self._constants[key] = self.real(value) if real else self.integer(int(value))
        return self._constants[key]

    def _cell(self, kind: int, raw: int) -> Cell:
        cells = self._columns["cells"]
        cells.append(raw)
        self._columns["cell_types"].append(kind)
        return Cell(len(cells) - 1, kind == FLOAT)

    def value(self, cell: Cell) -> Angle:
        """The value that a float cell has when the operation takes place, as an angle."""
        if not cell.real:
            raise ArgumentError("an angle needs a float cell; convert it with ITOF")
        return Angle(0.0, {cell.number: 1.0})

    # --- operations ------------------------------------------------------------------------------

    def append(
        self,
        op: Op,
        qubits: Sequence[int],
        angles: Sequence[Angle | float] = (),
        *,
        controls: int = 0,
        clbit: int = -1,
    ) -> Self:
        """Adds one operation on qubits; the first ``controls`` of ``qubits`` are controls.

        Args:
            angles: radians; of ``DELAY`` and ``BOX`` nanoseconds.

        Raises:
            ProgramError: a qubit does not exist or is named twice.
            ArgumentError: an angle's parameter or cell belongs to another circuit.
        """
        for q in qubits:
            if not 0 <= operator.index(q) < self.num_qubits:
                raise ProgramError(
                    f"{op.name.lower()} on {q}, which is not a qubit of the circuit (it has "
                    f"{self.num_qubits}, from 0)"
                )
        if len(set(qubits)) < len(qubits):
            raise ProgramError(f"{op.name.lower()} names a qubit twice: {tuple(qubits)}")
        for angle in angles:
            self._append_angle(angle if isinstance(angle, Angle) else Angle(float(angle)))
        return self._append(op, [int(q) for q in qubits], controls, clbit)

    def _append_angle(self, angle: Angle) -> None:
        columns = self._columns
        index = len(columns["angle_constants"])
        columns["angle_constants"].append(angle.constant)
        for name, coefficient in angle.terms.items():
            if isinstance(name, int):
                if not 0 <= name < len(columns["cells"]):
                    raise ArgumentError(f"cell {name} belongs to another circuit")
                self._cell_terms.append(len(columns["term_angles"]))
                columns["term_parameters"].append(name)
            elif name in self._parameters:
                columns["term_parameters"].append(self._parameters[name])
            else:
                raise ArgumentError(f"parameter {name!r} belongs to another circuit")
            columns["term_angles"].append(index)
            columns["term_coefficients"].append(coefficient)

    def _append(self, op: Op, operands: Sequence[int], controls: int, clbit: int) -> Self:
        columns = self._columns
        columns["opcodes"].append(int(op))
        columns["controls"].append(controls)
        columns["clbits"].append(clbit)
        columns["operands"].extend(operands)
        columns["operand_offsets"].append(len(columns["operands"]))
        columns["angle_offsets"].append(len(columns["angle_constants"]))
        return self

    def compute(self, op: Op, *operands: Cell | int, clbit: int = -1) -> Self:
        """Adds an operation on cells and classical bits; ``gates.OPERANDS`` has what each takes.

        Args:
            operands: cells (the destination first) and plain numbers.
            clbit: the first bit of ``GETBITS`` and ``SETBITS``, the parameter of ``PARAMETER``.
        """
        if len(operands) != len(OPERANDS[op]):
            raise ArgumentError(f"{op.name} takes {len(OPERANDS[op])} operands")
        numbers = [cell.number if isinstance(cell, Cell) else int(cell) for cell in operands]
        return self._append(op, numbers, 0, clbit)

    def bits(self, first: int, width: int = 1) -> Cell:
        """A cell with the value of classical bits, ``first`` the least significant, read here."""
        cell = self.integer()
        self.compute(Op.GETBITS, cell, width, clbit=first)
        return cell

    def given(self, name: str) -> Cell:
        """A float cell with the value of a free parameter, read here."""
        self.parameter(name)
        cell = self.real()
        self.compute(Op.PARAMETER, cell, clbit=self._parameters[name])
        return cell

    # --- control ---------------------------------------------------------------------------------

    @contextmanager
    def if_(self, cell: Cell) -> Iterator[None]:
        """A block that runs where an integer cell is not 0."""
        self.compute(Op.IF, cell)
        yield
        self.compute(Op.END)

    @contextmanager
    def else_(self) -> Iterator[None]:
        """A block that runs where that of the ``if_`` just before it does not."""
        if not self._columns["opcodes"] or self._columns["opcodes"][-1] != Op.END:
            raise ProgramError("else_ follows no if_")
        for name in ("opcodes", "controls", "clbits", "operand_offsets", "angle_offsets"):
            self._columns[name].pop()
        self.compute(Op.ELSE)
        yield
        self.compute(Op.END)

    @contextmanager
    def loop(self) -> Iterator[None]:
        """A block that runs again and again, until ``break_loop``."""
        self.compute(Op.LOOP)
        yield
        self.compute(Op.END)

    def break_loop(self, levels: int = 0) -> Self:
        """Leaves the loop around; with ``levels``, that many loops further out."""
        return self.compute(Op.BREAK, levels)

    def continue_loop(self, levels: int = 0) -> Self:
        """Begins the loop around anew; with ``levels``, one that many loops further out."""
        return self.compute(Op.CONTINUE, levels)

    def stop(self) -> Self:
        """Ends the shot here."""
        return self.compute(Op.STOP)

    def fail(self, message: str) -> Self:
        """Ends the task with an error that says ``message``."""
        return self.compute(Op.FAIL, self._messages.setdefault(message, len(self._messages)))

    # --- gates -----------------------------------------------------------------------------------

    def gphase(self, angle: Angle | float) -> Self:
        """Multiplies the state by a global phase ``angle``, radians."""
        return self.append(Op.GPHASE, (), (angle,))

    def id(self, q: int) -> Self:
        """Does nothing, for as long as a gate takes."""
        return self.append(Op.ID, (q,))

    def x(self, q: int) -> Self:
        """Pauli X."""
        return self.append(Op.X, (q,))

    def y(self, q: int) -> Self:
        """Pauli Y."""
        return self.append(Op.Y, (q,))

    def z(self, q: int) -> Self:
        """Pauli Z."""
        return self.append(Op.Z, (q,))

    def h(self, q: int) -> Self:
        """Hadamard gate."""
        return self.append(Op.H, (q,))

    def s(self, q: int) -> Self:
        """A quarter turn about Z: 1 gets the phase i."""
        return self.append(Op.S, (q,))

    def sdg(self, q: int) -> Self:
        """The inverse of ``s``."""
        return self.append(Op.SDG, (q,))

    def t(self, q: int) -> Self:
        """An eighth of a turn about Z."""
        return self.append(Op.T, (q,))

    def tdg(self, q: int) -> Self:
        """The inverse of ``t``."""
        return self.append(Op.TDG, (q,))

    def sx(self, q: int) -> Self:
        """The root of X."""
        return self.append(Op.SX, (q,))

    def sxdg(self, q: int) -> Self:
        """The inverse of ``sx``."""
        return self.append(Op.SXDG, (q,))

    def p(self, angle: Angle | float, q: int) -> Self:
        """Gives 1 the phase ``angle``, radians."""
        return self.append(Op.P, (q,), (angle,))

    def rx(self, angle: Angle | float, q: int) -> Self:
        """Rotates about X by ``angle``, radians."""
        return self.append(Op.RX, (q,), (angle,))

    def ry(self, angle: Angle | float, q: int) -> Self:
        """Rotates about Y by ``angle``, radians."""
        return self.append(Op.RY, (q,), (angle,))

    def rz(self, angle: Angle | float, q: int) -> Self:
        """Rotates about Z by ``angle``, radians."""
        return self.append(Op.RZ, (q,), (angle,))

    def u(self, theta: Angle | float, phi: Angle | float, lam: Angle | float, q: int) -> Self:
        """The general gate on one qubit, angles in radians, with a real upper left entry."""
        return self.append(Op.U, (q,), (theta, phi, lam))

    def cx(self, control: int, target: int) -> Self:
        """X on ``target`` where ``control`` is 1."""
        return self.append(Op.X, (control, target), controls=1)

    def cy(self, control: int, target: int) -> Self:
        """Y on ``target`` where ``control`` is 1."""
        return self.append(Op.Y, (control, target), controls=1)

    def cz(self, control: int, target: int) -> Self:
        """Z on ``target`` where ``control`` is 1."""
        return self.append(Op.Z, (control, target), controls=1)

    def ch(self, control: int, target: int) -> Self:
        """Hadamard gate on ``target`` where ``control`` is 1."""
        return self.append(Op.H, (control, target), controls=1)

    def cp(self, angle: Angle | float, control: int, target: int) -> Self:
        """Gives the phase ``angle``, radians, where both qubits are 1."""
        return self.append(Op.P, (control, target), (angle,), controls=1)

    def crx(self, angle: Angle | float, control: int, target: int) -> Self:
        """``rx`` on ``target`` where ``control`` is 1."""
        return self.append(Op.RX, (control, target), (angle,), controls=1)

    def cry(self, angle: Angle | float, control: int, target: int) -> Self:
        """``ry`` on ``target`` where ``control`` is 1."""
        return self.append(Op.RY, (control, target), (angle,), controls=1)

    def crz(self, angle: Angle | float, control: int, target: int) -> Self:
        """``rz`` on ``target`` where ``control`` is 1."""
        return self.append(Op.RZ, (control, target), (angle,), controls=1)

    def ccx(self, a: int, b: int, target: int) -> Self:
        """X on ``target`` where ``a`` and ``b`` are 1 (Toffoli)."""
        return self.append(Op.X, (a, b, target), controls=2)

    def ccz(self, a: int, b: int, c: int) -> Self:
        """Z on three qubits: the sign changes where all are 1."""
        return self.append(Op.Z, (a, b, c), controls=2)

    def swap(self, a: int, b: int) -> Self:
        """Exchanges two qubits."""
        return self.append(Op.SWAP, (a, b))

    def cswap(self, control: int, a: int, b: int) -> Self:
        """Exchanges two qubits where ``control`` is 1 (Fredkin)."""
        return self.append(Op.SWAP, (control, a, b), controls=1)

    def rxx(self, angle: Angle | float, a: int, b: int) -> Self:
        """``exp(-i angle/2 XX)``, radians."""
        return self.append(Op.RXX, (a, b), (angle,))

    def ryy(self, angle: Angle | float, a: int, b: int) -> Self:
        """``exp(-i angle/2 YY)``, radians."""
        return self.append(Op.RYY, (a, b), (angle,))

    def rzz(self, angle: Angle | float, a: int, b: int) -> Self:
        """``exp(-i angle/2 ZZ)``, radians."""
        return self.append(Op.RZZ, (a, b), (angle,))

    # --- measurements and time -------------------------------------------------------------------

    def measure(self, q: int, clbit: int | None) -> Self:
        """Measures a qubit into a classical bit; None drops the outcome."""
        if clbit is None:
            return self.append(Op.MEASURE, (q,))
        if operator.index(clbit) < 0:
            raise ProgramError(f"classical bit {clbit} does not exist")
        self.num_clbits = max(self.num_clbits, operator.index(clbit) + 1)
        return self.append(Op.MEASURE, (q,), clbit=clbit)

    def measure_all(self) -> Self:
        """Measures every qubit into a new bit, qubit 0 first."""
        first = self.num_clbits
        for q in range(self.num_qubits):
            self.measure(q, first + q)
        return self

    def reset(self, q: int) -> Self:
        """Sets a qubit to 0."""
        return self.append(Op.RESET, (q,))

    def barrier(self, *qubits: int) -> Self:
        """Keeps what comes before apart from what comes after, on these qubits or on all."""
        return self.append(Op.BARRIER, qubits or range(self.num_qubits))

    def delay(self, nanoseconds: Angle | float, *qubits: int) -> Self:
        """Has qubits, or all, wait for so many nanoseconds."""
        return self.append(Op.DELAY, qubits or range(self.num_qubits), (nanoseconds,))

    @contextmanager
    def box(self, nanoseconds: Angle | float, *qubits: int) -> Iterator[None]:
        """A block that its qubits, or all, leave so many nanoseconds after it begins."""
        chosen = qubits or tuple(range(self.num_qubits))
        self.append(Op.BOX, chosen, (nanoseconds,))
        yield
        self.append(Op.END_BOX, chosen)

    def build(self) -> Circuit:
        """The circuit.

        Raises:
            ProgramError: blocks that do not end, or operands that do not fit.
        """
        arrays = {name: np.array(values, ARRAYS[name]) for name, values in self._columns.items()}
        arrays["term_parameters"][self._cell_terms] += len(self._parameters)
        known = self._registers[-1][1].stop if self._registers else 0
        fields = [*self._registers]
        if known < self.num_clbits:
            fields.append(("c", range(known, self.num_clbits)))
        shown = [(name, bits) for name, bits in fields if name is not None]
        hidden = [bits for name, bits in fields if name is None]
        if hidden:
            order = [bit for bits in [*(bits for _, bits in shown), *hidden] for bit in bits]
            moved = np.empty(self.num_clbits, dtype=np.int32)
            moved[order] = np.arange(self.num_clbits)
            self._move_bits(arrays, moved)
        return Circuit(
            self.num_qubits, self.num_clbits, tuple(self._parameters), **arrays,
            registers=tuple(Output(name, len(bits)) for name, bits in shown),
            messages=tuple(self._messages),
        )  # fmt: skip

    def _move_bits(self, arrays: dict[str, Any], moved: np.ndarray) -> None:
        """Gives classical bits other numbers.

        Raises:
            ProgramError: bits that an operation takes together would no longer be neighbours.
        """
        clbits = arrays["clbits"]
        named = (clbits >= 0) & (arrays["opcodes"] != Op.PARAMETER)
        ranges = np.isin(arrays["opcodes"], (Op.GETBITS, Op.SETBITS))
        widths = arrays["operands"][arrays["operand_offsets"][:-1][ranges] + 1]
        first, last = clbits[ranges], clbits[ranges] + widths - 1
        if (moved[last] - moved[first] != last - first).any():
            raise ProgramError("an operation takes bits of a register together with others")
        clbits[named] = moved[clbits[named]]
