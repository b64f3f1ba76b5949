"""What a reader keeps: the circuit so far, cells and bits in use, blocks that are open."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from openqse.errors import LimitExceeded, NotSupported, ProgramError
from openqse.program.angle import Angle
from openqse.program.circuit import FLOAT, INTEGER
from openqse.program.gates import Op
from openqse.program.machine import signed
from openqse.program.openqasm import limits
from openqse.program.openqasm.source import Sources
from openqse.program.openqasm.stream import Stream
from openqse.program.openqasm.values import Bits, Run, Scope, Table, Variable
from openqse.program.verify import MAX_CELLS, MAX_NESTING

#: Blocks of a circuit within each other; boxes count besides.
MAX_BLOCKS = MAX_NESTING - limits.MAX_NESTING
#: What is known of a classical bit: its value, or nothing.
UNKNOWN = 2


class State:
    """The lowest layer of the reader: others build on it, each what it is named for."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.stream = Stream()
        self.num_qubits = 0
        self.bit_states = bytearray()  # what is known of every classical bit
        self.cells: list[int] = []
        self.cell_types: list[int] = []
        self.depth = 0  # blocks around that may or may not run
        self.loops = 0  # loops of the circuit around
        self.at = 0  # the statement that is being executed
        self.checking = False  # a definition is looked through; angles are NaN
        self._constants: dict[tuple[int, int], int] = {}
        self._tables: dict[tuple[int | float, ...], int] = {}
        self._given: dict[str, int] = {}  # cells of free parameters
        self.prologue = Stream()  # what runs first: parameters into cells
        self.prologue.parameters = self.stream.parameters
        self.prologue.messages = self.stream.messages
        self._free_cells: dict[tuple[int, int], list[int]] = {}  # by type and length
        self._free_bits: dict[int, list[int]] = {}
        self._temporaries: list[tuple[int, int]] = []
        self._temporary_bits: list[tuple[int, int]] = []
        self._nesting = 0
        self._blocks = 0  # of the circuit, that are open
        self._expansion = 0

    # Errors and limits.

    def invalid(self, at: int, message: str, construct: str, remedy: str = "") -> ProgramError:
        return self.sources.invalid(at, message, construct, remedy)

    def unsupported(self, at: int, what: str, construct: str, remedy: str) -> NotSupported:
        return self.sources.unsupported(at, what, construct, remedy)

    def exceeded(self, at: int, limit: str, message: str) -> LimitExceeded:
        return self.sources.exceeded(at, limit, message)

    def spend(self, amount: int, at: int) -> None:
        """Counts steps of the expansion."""
        self._expansion += amount
        if self._expansion > limits.MAX_EXPANSION:
            raise self.exceeded(
                at,
                "MAX_EXPANSION",
                f"gates and loops expand to more than {limits.MAX_EXPANSION} steps",
            )

    def room_for(self, operations: int, at: int) -> None:
        """Refuses what would make the circuit too long, before it is made."""
        if len(self.stream) + operations > limits.MAX_OPERATIONS:
            raise self.exceeded(
                at, "MAX_OPERATIONS", f"more than {limits.MAX_OPERATIONS} operations"
            )

    @contextmanager
    def nested(self, at: int) -> Iterator[None]:
        """Counts blocks and calls within each other."""
        self._nesting += 1
        if self._nesting > limits.MAX_NESTING:
            raise self.exceeded(
                at, "nesting", f"more than {limits.MAX_NESTING} blocks and calls within each other"
            )
        yield
        self._nesting -= 1

    # Cells.

    def constant(self, value: int | float) -> int:
        """A cell that always has this value: an integer's for an int, a float's for a float."""
        kind, raw = INTEGER, value
        if isinstance(value, float):
            kind, raw = FLOAT, struct.unpack("<q", struct.pack("<d", value))[0]
        key = (kind, signed(int(raw)))
        if key not in self._constants:
            self._constants[key] = self._new_cells(kind, 1)
            self.cells[self._constants[key]] = key[1]
        return self._constants[key]

    def table_of(self, values: Sequence[int | float]) -> int:
        """The first of cells that always have these values, all of one type."""
        key = tuple(values)
        if key in self._tables:
            return self._tables[key]
        kind = FLOAT if isinstance(values[0], float) else INTEGER
        first = self._tables[key] = self._new_cells(kind, len(values))
        for i, value in enumerate(values):
            form = "<d" if kind == FLOAT else "<q"
            number = value if kind == FLOAT else signed(int(value))
            self.cells[first + i] = struct.unpack("<q", struct.pack(form, number))[0]
        return first

    def _new_cells(self, kind: int, length: int) -> int:
        first = len(self.cells)
        if first + length > MAX_CELLS:
            raise self.exceeded(
                self.at, "MAX_CELLS", f"more than {MAX_CELLS} classical values at run time"
            )
        self.cells += [0] * length
        self.cell_types += [kind] * length
        return first

    def take_cells(self, kind: int, length: int = 1) -> int:
        """Cells of a type, next to each other; the first of them."""
        free = self._free_cells.get((kind, length))
        return free.pop() if free else self._new_cells(kind, length)

    def give_cells(self, first: int, length: int = 1) -> None:
        self._free_cells.setdefault((self.cell_types[first], length), []).append(first)

    def temporary(self, kind: int) -> int:
        """A cell until the end of the statement."""
        cell = self.take_cells(kind)
        self._temporaries.append((cell, 1))
        return cell

    def given(self, name: str) -> int:
        """The cell of a free parameter; the prologue fills it."""
        if name not in self._given:
            cell = self._given[name] = self._new_cells(FLOAT, 1)
            number = self.stream.parameters[name]
            self.prologue.append(Op.PARAMETER, (cell,), clbit=number)
        return self._given[name]

    def compute(self, op: Op, *operands: int, clbit: int = -1) -> None:
        """Adds an operation on cells or of control."""
        self.stream.append(op, operands, clbit=clbit)
        self.room_for(0, self.at)
        if op in (Op.IF, Op.LOOP):
            self._blocks += 1
            if self._blocks > MAX_BLOCKS:
                raise self.exceeded(
                    self.at, "nesting", f"more than {MAX_BLOCKS} blocks within each other"
                )
        elif op is Op.END:
            self._blocks -= 1

    def computed(self, op: Op, *operands: int) -> Run:
        """The integer that an operation gives, in a temporary cell."""
        cell = self.temporary(INTEGER)
        self.compute(op, cell, *operands)
        return Run(cell)

    def computed_float(self, op: Op, *operands: int) -> Angle:
        """The float that an operation gives, in a temporary cell."""
        cell = self.temporary(FLOAT)
        self.compute(op, cell, *operands)
        return Angle(0.0, {cell: 1.0})

    # Bits.

    def take_bits(self, count: int, at: int, scratch: bool) -> range:
        """Bits next to each other; ``scratch`` ones may have been used, and are given back."""
        free = self._free_bits.get(count) if scratch else None
        if free:
            first = free.pop()
            self.forget_bits(range(first, first + count))
        else:
            first = len(self.bit_states)
            if first + count > limits.MAX_REGISTER:
                raise self.exceeded(
                    at, "MAX_REGISTER", f"more than {limits.MAX_REGISTER} classical bits"
                )
            # A loop that comes here again finds them as it left them.
            self.bit_states.extend(bytes([UNKNOWN if self.loops else 0]) * count)
        return range(first, first + count)

    def give_bits(self, numbers: Sequence[int]) -> None:
        self._free_bits.setdefault(len(numbers), []).append(numbers[0])

    def temporary_bits(self, count: int, at: int) -> range:
        """Bits until the end of the statement."""
        numbers = self.take_bits(count, at, scratch=True)
        self._temporary_bits.append((numbers.start, count))
        return numbers

    def forget_bits(self, numbers: Sequence[int]) -> None:
        """Nothing is known of these bits any more."""
        if isinstance(numbers, range) and numbers.step == 1:
            self.bit_states[numbers.start : numbers.stop] = bytes([UNKNOWN]) * len(numbers)
        else:
            for number in numbers:
                self.bit_states[number] = UNKNOWN

    # Statements and blocks.

    @contextmanager
    def statement_ends(self) -> Iterator[None]:
        """Takes temporary cells and bits back at the end."""
        cells, bits = len(self._temporaries), len(self._temporary_bits)
        yield
        while len(self._temporaries) > cells:
            self.give_cells(*self._temporaries.pop())
        while len(self._temporary_bits) > bits:
            first, count = self._temporary_bits.pop()
            self.give_bits(range(first, first + count))

    def leave(self, scope: Scope) -> None:
        """Takes back what a block had."""
        for owned in reversed(scope.owned):
            if isinstance(owned, Bits):
                self.give_bits(owned.numbers)
            elif isinstance(owned, Variable):
                if owned.cell >= 0:
                    self.give_cells(owned.cell)
            elif isinstance(owned, Table) and owned.base >= 0:
                length = 1
                for size in owned.shape:
                    length *= size
                self.give_cells(owned.base, length)
        scope.owned.clear()
