"""Names, registers, arrays and what indices select of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

from openqse.program.circuit import INTEGER
from openqse.program.gates import Op
from openqse.program.openqasm import limits
from openqse.program.openqasm.arithmetic import Arithmetic
from openqse.program.openqasm.nodes import (
    Concatenation,
    Expression,
    Index,
    Items,
    Name,
    Physical,
    Range,
    TypeNode,
)
from openqse.program.openqasm.source import Sources, counted
from openqse.program.openqasm.steps import Gate
from openqse.program.openqasm.values import (
    INT,
    Bits,
    Constant,
    Data,
    Qubits,
    Run,
    Scope,
    Table,
    Type,
    Value,
    Variable,
    View,
    bits_of,
    is_whole,
)

_DEFAULT_WIDTHS = {
    "int": 64,
    "uint": 64,
    "float": 64,
    "complex": 64,
    "bool": 1,
    "angle": 0,
    "bit": 0,
    "duration": 0,
    "stretch": 0,
}
_WIDTHS = {"int": range(1, 65), "uint": range(1, 65), "float": (16, 32, 64), "angle": range(1, 65)}


class Undecided(Exception):
    """The index of a qubit is known only at run time: integer cell ``cell``, below ``size``."""

    def __init__(self, index: Expression, cell: int, size: int, name: str) -> None:
        super().__init__(name)
        self.index = index
        self.cell = cell
        self.size = size
        self.name = name


class References(Arithmetic):
    """What a name, with its indices, stands for."""

    def __init__(self, sources: Sources) -> None:
        super().__init__(sources)
        self.scope = Scope(None)
        self.chosen: dict[int, int] = {}  # by the node of a qubit's index: the one that is tried

    def evaluate(self, node: Expression) -> Value:
        raise NotImplementedError

    def physical(self, node: Physical) -> Qubits:
        raise NotImplementedError

    # Names.

    def find(self, name: str, at: int) -> object:
        """What a name stands for here; None if it is not declared."""
        scope: Scope | None = self.scope
        border = ""
        while scope is not None:
            found = scope.names.get(name)
            if found is not None:
                if border and isinstance(found, Qubits | Bits | Variable | Table | View):
                    self._hidden(name, border, at)
                return found
            if scope.kind != "block":
                border = scope.kind
            scope = scope.parent
        return None

    def _hidden(self, name: str, border: str, at: int) -> NoReturn:
        where, what = ("gate", "gate") if border == "gate" else ("subroutine", "subroutine")
        raise self.invalid(
            at,
            f"{name!r} is not known inside a {where}",
            name,
            f"Give the {what} a parameter{' or qubit' if border == 'gate' else ''} for it",
        )

    def declared(self, name: str, at: int) -> object:
        found = self.find(name, at)
        if found is None:
            raise self.invalid(at, f"{name!r} is not declared", name, "Declare it before its use")
        return found

    # Types.

    def scalar(self, node: TypeNode) -> Type:
        """The scalar type that a program writes (of an array: that of its elements)."""
        kind = node.kind
        if node.size is None:
            return Type(kind, _DEFAULT_WIDTHS[kind])
        if kind in ("bool", "duration", "stretch"):
            raise self.invalid(node.at, f"{kind!r} has no width", kind)
        width = self.integer(node.size)
        if kind == "bit":
            return Type(kind, self.size(width, node.at))
        if width < 1:
            raise self.invalid(node.at, f"{kind!r} cannot have {counted(width, 'bit')}", kind)
        if width not in _WIDTHS.get(kind, (16, 32, 64)):
            allowed = "16, 32 or 64 bits" if kind in ("float", "complex") else "1 to 64 bits"
            raise self.unsupported(
                node.at, f"values of type {kind}[{width}]", kind, f"Use {allowed}"
            )
        return Type(kind, width)

    def size(self, count: int, at: int) -> int:
        """How many qubits or bits a register has."""
        if count < 1:
            raise self.invalid(at, f"a register cannot have {counted(count, 'element')}", "size")
        if count > limits.MAX_REGISTER:
            raise self.exceeded(
                at, "MAX_REGISTER", f"more than {limits.MAX_REGISTER} qubits or bits"
            )
        return count

    def integer(self, node: Expression) -> int:
        """A whole number that is known now."""
        value = self.evaluate(node)
        if not is_whole(value.type) or value.type.kind == "angle":
            raise self.invalid(node.at, "a constant whole number is needed here", "expression")
        if isinstance(value.data, Run):
            raise self.unsupported(
                node.at,
                "numbers that depend on outcomes or inputs in this place",
                "expression",
                "Write a constant, or choose with 'if' or 'switch'",
            )
        assert isinstance(value.data, int)
        return value.data

    # Registers of qubits and bits.

    def qubits(self, node: Expression) -> Qubits:
        found = self.register(node)
        if not isinstance(found, Qubits):
            raise self.invalid(node.at, "a qubit is needed here, not a bit", "qubit")
        return found

    def register(self, node: Expression) -> Qubits | Bits:
        """The qubits or bits that an operand or an alias names."""
        if isinstance(node, Name):
            found = self.declared(node.name, node.at)
            if not isinstance(found, Qubits | Bits):
                raise self.invalid(node.at, f"{node.name!r} is neither qubits nor bits", node.name)
            return found
        if isinstance(node, Physical):
            return self.physical(node)
        if isinstance(node, Index):
            return self.selected(self.register(node.base), node)
        if isinstance(node, Concatenation):
            return self._joined(node)
        raise self.invalid(node.at, "a register is needed here", "register")

    def _joined(self, node: Concatenation) -> Qubits | Bits:
        parts = [self.register(part) for part in node.parts]
        numbers = [number for part in parts for number in part.numbers]
        self.spend(len(numbers), node.at)
        if len({type(part) for part in parts}) > 1 or len(set(numbers)) != len(numbers):
            raise self.invalid(node.at, "only different registers of one kind can be joined", "++")
        return Qubits(numbers, False) if isinstance(parts[0], Qubits) else Bits(numbers, False)

    def selected(self, register: Qubits | Bits, node: Index) -> Qubits | Bits:
        """What indices select of a register."""
        name = node.base.name if isinstance(node.base, Name) else "the register"
        if register.scalar:
            what = "qubit" if isinstance(register, Qubits) else "bit"
            raise self.invalid(node.at, f"{name!r} is a single {what} and has no index", name)
        if len(node.indices) != 1:
            raise self.invalid(
                node.at, f"{name!r} has one dimension, not {len(node.indices)}", name
            )
        index = node.indices[0]
        if isinstance(register, Qubits) and not isinstance(index, Items | Range):
            positions: int | Sequence[int] = self._qubit_index(index, len(register.numbers), name)
        else:
            positions = self.positions(index, len(register.numbers), name)
        if isinstance(positions, int):
            chosen: Sequence[int] = (register.numbers[positions],)
        elif isinstance(positions, range) and isinstance(register.numbers, range):
            step = positions.step
            chosen = register.numbers[
                positions.start : None if positions.stop < 0 else positions.stop : step
            ]
        else:
            self.spend(len(positions), node.at)
            chosen = [register.numbers[i] for i in positions]
        return type(register)(chosen, isinstance(positions, int))

    def _qubit_index(self, index: Expression, size: int, name: str) -> int:
        if id(index) in self.chosen:
            return self.chosen[id(index)]
        value = self.evaluate(index)
        if isinstance(value.data, Run) and value.type.kind != "angle":
            cell = self.converted(value, INT, index.at).data
            assert isinstance(cell, Run)
            raise Undecided(index, cell.cell, size, name)
        return self.position(self.integer(index), size, name, index.at)

    def positions(self, index: Expression, size: int, name: str) -> int | Sequence[int]:
        """The positions that an index, a range or an index set selects of so many elements."""
        if isinstance(index, Items):
            chosen = [
                self.position(self.integer(item), size, name, item.at) for item in index.items
            ]
            if len(set(chosen)) != len(chosen):
                raise self.invalid(
                    index.at, f"an index set of {name!r} names an element twice", name
                )
            return chosen
        if not isinstance(index, Range):
            return self.position(self.integer(index), size, name, index.at)
        step = 1 if index.step is None else self.integer(index.step)
        if step == 0:
            raise self.invalid(index.at, "the step of a range cannot be 0", "range")
        first, last = (0, size - 1) if step > 0 else (size - 1, 0)
        start = first if index.start is None else self.integer(index.start)
        end = last if index.stop is None else self.integer(index.stop)
        start, end = (i + size if i < 0 else i for i in (start, end))
        positions = range(start, end + (1 if step > 0 else -1), step)
        if not positions:
            raise self.invalid(index.at, f"the range selects nothing of {name!r}", name)
        if min(positions[0], positions[-1]) < 0 or max(positions[0], positions[-1]) >= size:
            raise self.invalid(index.at, f"the range leaves {name!r} of size {size}", name)
        self.spend(len(positions), index.at)
        return positions

    def position(self, index: int, size: int, name: str, at: int) -> int:
        if not -size <= index < size:
            raise self.invalid(
                at, f"index {index} is out of range for {name!r} of size {size}", name
            )
        return index % size

    # Bits as values.

    def bit_type(self, bits: Bits) -> Type:
        return Type("bit", 0 if bits.scalar else len(bits.numbers))

    def read(self, bits: Bits, at: int) -> Value:
        """The value of classical bits."""
        numbers, states = bits.numbers, self.bit_states
        kind = self.bit_type(bits)
        known = [states[number] for number in numbers] if len(numbers) <= 4096 else None
        if known is not None and 2 not in known:
            return Value(kind, sum(state << i for i, state in enumerate(known)))
        if len(numbers) > 64:
            raise self._too_wide(kind, at)
        total = -1
        for first, offset, count in runs(numbers):
            cell = self.temporary(INTEGER)
            self.compute(Op.GETBITS, cell, count, clbit=first)
            if offset:
                cell = self.computed(Op.SHL, cell, self.constant(offset)).cell
            total = cell if total < 0 else self.computed(Op.OR, total, cell).cell
        return Value(kind, Run(total))

    def write(self, bits: Bits, data: Data) -> None:
        """Gives classical bits a value of as many bits."""
        numbers, states = bits.numbers, self.bit_states
        if isinstance(data, Run):
            for first, offset, count in runs(numbers):
                cell = data.cell
                if offset:
                    cell = self.computed(Op.SHR, cell, self.constant(offset)).cell
                self.compute(Op.SETBITS, cell, count, clbit=first)
            self.forget_bits(numbers)
            return
        assert isinstance(data, int)
        for first, offset, count in runs(numbers):
            field = data >> offset & ((1 << count) - 1)
            wanted = bytes(field >> i & 1 for i in range(count))
            if states[first : first + count] != wanted:
                self.compute(Op.SETBITS, self.constant(field), count, clbit=first)
                states[first : first + count] = wanted

    # Arrays.

    def view(self, node: Expression) -> View | None:
        """The array, or the part of one, that an expression names; None if it is no array."""
        if isinstance(node, Name):
            found = self.find(node.name, node.at)
            if isinstance(found, Table):
                return View(found, range(math.prod(found.shape)), found.shape)
            return found if isinstance(found, View) else None
        if isinstance(node, Index) and isinstance(node.base, Name | Index):
            base = self.view(node.base)
            if base is not None and len(node.indices) <= len(base.shape):
                return self._subview(base, node)
        return None

    def _subview(self, view: View, node: Index) -> View | None:
        """None where an index is known only at run time."""
        name = node.base.name if isinstance(node.base, Name) else "the array"
        chosen: Sequence[int] = range(len(view.positions))
        shape: list[int] = []
        stride = len(view.positions)
        offsets = [0]
        for size, index in zip(view.shape, node.indices, strict=False):
            stride //= size
            if not isinstance(index, Items | Range):
                value = self.evaluate(index)
                if isinstance(value.data, Run):
                    return None
            positions = self.positions(index, size, name)
            if isinstance(positions, int):
                positions = (positions,)
            else:
                shape.append(len(positions))
            self.spend(len(offsets) * len(positions), node.at)
            offsets = [o + p * stride for o in offsets for p in positions]
        rest = view.shape[len(node.indices) :]
        chosen = [view.positions[o + i] for o in offsets for i in range(stride)]
        return View(view.table, chosen, (*shape, *rest), view.mutable)

    def element(self, view: View, number: int) -> Data:
        """The value of one element of a view."""
        table, position = view.table, view.positions[number]
        if table.items is not None:
            return table.items[position]
        return self.loaded(table.type, table.base + position)

    def runtime_index(self, node: Index) -> tuple[View, int]:
        """An element that is known only at run time: its array, and the cell of its position.

        The index of each dimension is held against its size.
        """
        base = self.view(node.base)
        name = node.base.name if isinstance(node.base, Name) else "the array"
        if base is None or len(node.indices) != len(base.shape):
            raise self.unsupported(
                node.at,
                "parts of arrays chosen at run time",
                name,
                "Give an index for each dimension",
            )
        total = -1
        for size, index in zip(base.shape, node.indices, strict=True):
            if isinstance(index, Items | Range):
                raise self.unsupported(
                    node.at, "parts of arrays chosen at run time", name, "Give single indices"
                )
            value = self.evaluate(index)
            cell = self.whole_cell(self.converted(value, INT, index.at).data)
            if not value.known:
                self.require_below(cell, size, f"an index of {name!r} of size {size}", index.at)
            if total >= 0:
                scaled = self.computed(Op.MUL, total, self.constant(size)).cell
                cell = self.computed(Op.ADD, scaled, cell).cell
            total = cell
        return base, total

    def require_below(self, cell: int, size: int, what: str, at: int) -> None:
        """The program fails at run time unless ``0 <= cell < size``."""
        file, line, _ = self.sources.where(at)
        outside = self.computed(Op.ULE, self.constant(size), cell)
        self.compute(Op.IF, outside.cell)
        self.compute(Op.FAIL, self.stream.message(f"{file}:{line}: {what} is out of range"))
        self.compute(Op.END)

    def base_cells(self, view: View, at: int) -> tuple[int, int]:
        """The first cell of a view's elements at run time, and their number, to read from."""
        table, positions = view.table, view.positions
        first = positions[0]
        if list(positions) != list(range(first, first + len(positions))):
            raise self.unsupported(
                at, "run-time indices of strided parts of arrays", "index", "Index the whole array"
            )
        if table.items is None:
            return table.base + first, len(positions)
        kind = self.cell_type(table.type, at)
        values = table.items[first : first + len(positions)]
        if all(isinstance(item, int | float) for item in values):
            whole = kind == INTEGER
            return self.table_of([int(v) if whole else float(v) for v in values]), len(values)  # type: ignore[arg-type]
        base = self.take_cells(kind, len(values))  # inputs among them
        for i, item in enumerate(values):
            self.stored(item, table.type, base + i)
        self._temporaries.append((base, len(values)))
        return base, len(values)

    def bit_of(self, value: Value, node: Index) -> Value:
        """A bit, or several, of a whole number or an angle."""
        width = bits_of(value.type)
        if not is_whole(value.type) or value.type.kind == "bool" or len(node.indices) != 1:
            raise self.invalid(node.at, f"a {value.type} has no index", "index")
        index = node.indices[0]
        if not isinstance(index, Items | Range):
            chosen = self.evaluate(index)
            if isinstance(chosen.data, Run):
                self.require_below(chosen.data.cell, width, "the index of a bit", index.at)
                shifted = self.computed(Op.SHR, self.whole_cell(value.data), chosen.data.cell)
                return Value(Type("bit", 0), self.computed(Op.AND, shifted.cell, self.constant(1)))
        positions = self.positions(index, width, "the value")
        single = isinstance(positions, int)
        numbers = [positions] if isinstance(positions, int) else positions
        kind = Type("bit", 0 if single else len(numbers))
        if not isinstance(value.data, Run):
            assert isinstance(value.data, int)
            return Value(kind, sum((value.data >> n & 1) << i for i, n in enumerate(numbers)))
        total = -1
        for first, offset, count in runs(numbers):
            cell = self.computed(Op.SHR, value.data.cell, self.constant(first)).cell
            cell = self.computed(Op.ZEXT, cell, self.constant(count)).cell
            if offset:
                cell = self.computed(Op.SHL, cell, self.constant(offset)).cell
            total = cell if total < 0 else self.computed(Op.OR, total, cell).cell
        return Value(kind, Run(total))


def runs(numbers: Sequence[int]) -> list[tuple[int, int, int]]:
    """Numbers as stretches of at most 64 neighbours: first number, position of it, length."""
    found: list[tuple[int, int, int]] = []
    start = 0
    for i in range(1, len(numbers) + 1):
        ends = i == len(numbers) or numbers[i] != numbers[i - 1] + 1 or i - start == 64
        if ends:
            found.append((numbers[start], start, i - start))
            start = i
    return found


__all__ = ["Constant", "Gate", "References", "runs"]
