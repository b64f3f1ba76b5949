"""Declarations of classical values, and what writes to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from openqse.program.angle import Angle
from openqse.program.gates import Op
from openqse.program.openqasm import limits
from openqse.program.openqasm.expressions import Expressions
from openqse.program.openqasm.nodes import (
    Alias,
    Assignment,
    Call,
    Concatenation,
    Declaration,
    Expression,
    Index,
    Items,
    Measure,
    Name,
    Physical,
    Range,
    TypeNode,
)
from openqse.program.openqasm.source import Sources, counted
from openqse.program.openqasm.values import (
    Bits,
    Constant,
    Data,
    Qubits,
    Run,
    Scope,
    Stretch,
    Table,
    Type,
    Value,
    Variable,
    View,
    bits_of,
    is_whole,
)


class Assignments(Expressions):
    """Variables, arrays and registers of bits."""

    def __init__(self, sources: Sources) -> None:
        super().__init__(sources)
        self.global_scope = Scope(None)
        #: Registers of bits at global scope: name, first bit, width.
        self.registers: list[tuple[str, int, int]] = []
        #: Names that ``output`` declares, and what they are; None without such declarations.
        self.outputs: dict[str, object] | None = None

    def declare(self, name: str, value: object, at: int) -> None:
        raise NotImplementedError

    def call_into(self, node: Call, target: Bits) -> Value | bool:
        """Calls a subroutine for bits: what it returns, or whether the bits have that already.

        It returns False where there is no such subroutine.
        """
        raise NotImplementedError

    def measure(self, node: Measure, target: Bits) -> None:
        raise NotImplementedError

    # Declarations.

    def declaration(self, node: Declaration) -> None:
        if node.constant:
            self._constant_declaration(node)
        elif node.type.dimensions is not None:
            self._array(node)
        elif node.type.kind == "bit":
            self._bits(node)
        elif node.type.kind == "stretch":
            if node.value is not None:
                raise self.invalid(node.at, "a stretch has no value of its own", node.name)
            self.declare(node.name, Stretch(node.name), node.at)
        else:
            kind = self.scalar(node.type)
            variable = Variable(kind, self.depth, _zero(kind))
            if node.value is not None:
                value = self.evaluate(node.value)
                self.assign(variable, value, node.value.at)
            self.declare(node.name, variable, node.at)
            self.scope.owned.append(variable)

    def _constant_declaration(self, node: Declaration) -> None:
        assert node.value is not None
        if isinstance(node.value, Measure):
            raise self.invalid(node.at, "a constant cannot be measured", "const")
        kind = self.scalar(node.type)
        value = self.converted(self.evaluate(node.value), kind, node.at, strict=True)
        if not value.known:
            raise self.invalid(
                node.at,
                f"constant {node.name!r} depends on an input or an outcome",
                "const",
                "Write the expression where it is used",
            )
        self.declare(node.name, Constant(value), node.at)

    def _bits(self, node: Declaration) -> None:
        kind = self.scalar(node.type)
        at_global = self.scope is self.global_scope
        numbers = self.take_bits(bits_of(kind), node.at, scratch=not at_global)
        bits = Bits(numbers, kind.width == 0)
        if node.value is not None:
            self.assign_bits(bits, node.value, node.at)
        elif not at_global:
            self.write(bits, 0)
        self.declare(node.name, bits, node.at)
        if at_global:
            self.registers.append((node.name, numbers.start, len(numbers)))
        else:
            self.scope.owned.append(bits)

    def _shape(self, node: TypeNode) -> tuple[int, ...]:
        assert node.dimensions is not None
        shape = tuple(self.integer(size) for size in node.dimensions)
        for size in shape:
            if size < 1:
                raise self.invalid(node.at, f"an array of {counted(size, 'element')}", "array")
        if math.prod(shape) > limits.MAX_ARRAY:
            raise self.exceeded(
                node.at, "MAX_ARRAY", f"an array of more than {limits.MAX_ARRAY} elements"
            )
        return shape

    def _array(self, node: Declaration) -> None:
        kind, shape = self.scalar(node.type), self._shape(node.type)
        if kind.kind == "stretch":
            raise self.invalid(node.at, "an array of stretches", "stretch")
        count = math.prod(shape)
        self.spend(count, node.at)
        table = Table(kind, shape, self.depth, [_zero(kind)] * count)
        if node.value is not None:
            self.assign_view(View(table, range(count), shape), node.value, node.at)
        self.declare(node.name, table, node.at)
        self.scope.owned.append(table)

    def alias(self, node: Alias) -> None:
        if isinstance(node.value, Physical):
            raise self.invalid(node.at, "a physical qubit cannot have an alias", "let")
        view = None if isinstance(node.value, Concatenation) else self.view(node.value)
        if view is not None:
            if not view.shape:
                raise self.invalid(node.at, "an element of an array has no alias", "let")
            self.declare(node.name, view, node.at)
            return
        self.declare(node.name, self.register(node.value), node.at)

    # Inputs and outputs.

    # Assignments.

    def assignment(self, node: Assignment) -> None:
        target = node.target
        if isinstance(target, Index):
            self._assign_indexed(node, target)
            return
        assert isinstance(target, Name)
        found = self.declared(target.name, target.at)
        if isinstance(found, Bits):
            self._assign_register(found, node)
        elif isinstance(found, Variable):
            self.assign(found, self._new_value(node, lambda: self.evaluate(target)), node.value.at)
        elif isinstance(found, Table | View):
            if node.op:
                raise self.invalid(node.at, f"'{node.op}=' on an array", node.op)
            view = self.view(target)
            assert view is not None
            self.assign_view(view, node.value, node.at)
        elif isinstance(found, Qubits):
            raise self.invalid(target.at, "a bit is needed here, not a qubit", target.name)
        else:
            what = "a constant" if isinstance(found, Constant) else "not a variable"
            raise self.invalid(target.at, f"{target.name!r} is {what}", target.name)

    def _new_value(self, node: Assignment, current: Callable[[], Value]) -> Value:
        """What is assigned; a compound assignment begins with the value that there is."""
        if not node.op:
            return self.evaluate(node.value)
        if node.op == "~":
            return self.unary("~", self.evaluate(node.value), node.at)
        value = self.evaluate(node.value)
        return self.binary(node.op, current(), value, node.at)

    def assign(self, variable: Variable, value: Value, at: int) -> None:
        """Gives a variable a value."""
        kind = variable.type
        if self.checking:
            return
        data = self.converted(value, kind, at).data
        fixed = not isinstance(data, Run | Angle) or (
            isinstance(data, Angle) and all(isinstance(source, str) for source in data.terms)
        )
        if fixed and variable.depth == self.depth:
            variable.value = data
            return
        if variable.cell < 0:
            assert variable.depth == self.depth, "a variable was not moved to a cell before a block"
            variable.cell = self.take_cells(self.cell_type(kind, at))
        self.stored(data, kind, variable.cell)
        variable.value = None

    def to_cell(self, variable: Variable, at: int) -> None:
        """Moves a variable to its cell, before a block that assigns it and may not run."""
        if variable.value is None:
            return
        if variable.cell < 0:
            variable.cell = self.take_cells(self.cell_type(variable.type, at))
        self.stored(variable.value, variable.type, variable.cell)
        variable.value = None

    def to_cells(self, table: Table, at: int) -> None:
        """The same for an array."""
        if table.items is None:
            return
        if table.base < 0:
            table.base = self.take_cells(self.cell_type(table.type, at), len(table.items))
        self.spend(len(table.items), at)
        for i, item in enumerate(table.items):
            self.stored(item, table.type, table.base + i)
        table.items = None

    def _assign_register(self, bits: Bits, node: Assignment) -> None:
        if not node.op:
            self.assign_bits(bits, node.value, node.at)
            return
        value = self._new_value(node, lambda: self.read(bits, node.at))
        kind = self.bit_type(bits)
        if value.type.kind in ("int", "uint") and not value.known:
            value = Value(Type("uint", 64), value.data)
        self.write(bits, self.converted(value, kind, node.at).data)

    def assign_bits(self, bits: Bits, value: Expression, at: int) -> None:
        """Gives classical bits the value of an expression, or the outcomes of a measurement."""
        if isinstance(value, Measure):
            self.measure(value, bits)
            return
        result = self.call_into(value, bits) if isinstance(value, Call) else False
        if result is True:
            return
        kind = self.bit_type(bits)
        source = self._same_register(value, len(bits.numbers)) if len(bits.numbers) > 64 else None
        if source is not None:
            for i in range(0, len(bits.numbers), 64):
                part = Bits(source.numbers[i : i + 64], False)
                data = self.read(part, at).data
                self.write(Bits(bits.numbers[i : i + 64], False), data)
            return
        given = result if isinstance(result, Value) else self.evaluate(value)
        if given.type.kind == "bit" and bits_of(given.type) != bits_of(kind):
            raise self.invalid(
                at,
                f"{counted(bits_of(given.type), 'bit')} cannot be assigned to "
                f"{counted(bits_of(kind), 'bit')}",
                "bit",
            )
        if kind.width == 0 and given.type.kind in ("int", "uint", "bool") and not given.known:
            given = Value(Type("bit", 0), self.truth(given, at))
        self.write(bits, self.converted(given, kind, at, strict=given.known).data)

    def _same_register(self, value: Expression, size: int) -> Bits | None:
        if not isinstance(value, Name | Index | Concatenation):
            return None
        base: Expression = value
        while isinstance(base, Index):
            base = base.base
        if isinstance(base, Name) and not isinstance(self.find(base.name, base.at), Bits):
            return None
        found = self.register(value)
        return found if isinstance(found, Bits) and len(found.numbers) == size else None

    def _assign_indexed(self, node: Assignment, target: Index) -> None:
        base: Expression = target
        while isinstance(base, Index):
            base = base.base
        if not isinstance(base, Name):
            raise self.invalid(target.at, "only a variable can be assigned", "assignment")
        found = self.declared(base.name, base.at)
        if isinstance(found, Bits):
            self._assign_bit(node, target)
        elif isinstance(found, Table | View):
            self._assign_element(node, target)
        elif isinstance(found, Variable) and isinstance(target.base, Name):
            self._assign_field(found, node, target)
        elif isinstance(found, Qubits):
            raise self.invalid(target.at, "a bit is needed here, not a qubit", base.name)
        else:
            raise self.invalid(target.at, f"{base.name!r} is not a variable", base.name)

    def _assign_bit(self, node: Assignment, target: Index) -> None:
        register = self.register(target.base)
        assert isinstance(register, Bits)
        index = target.indices[0]
        if (
            len(target.indices) == 1
            and not isinstance(index, Items | Range)
            and not register.scalar
        ):
            position = self.evaluate(index)
            if isinstance(position.data, Run):
                self._assign_computed_bit(register, position.data, node, target)
                return
        bits = self.selected(register, target)
        assert isinstance(bits, Bits)
        self._assign_register(bits, node)

    def _assign_computed_bit(
        self, register: Bits, position: Run, node: Assignment, target: Index
    ) -> None:
        size = len(register.numbers)
        self.require_below(position.cell, size, "the index of a bit", target.at)
        value = self._new_value(node, lambda: self.evaluate(target))
        bit = self.converted(value, Type("bit", 0), node.at).data
        word = self.read(register, node.at).data
        self.write(register, self._with_bit(word, position, bit))

    def _with_bit(self, word: Data, position: Run, bit: Data) -> Data:
        mask = self.computed(Op.SHL, self.constant(1), position.cell)
        kept = self.computed(Op.NOT, mask.cell)
        kept = self.computed(Op.AND, self.whole_cell(word), kept.cell)
        placed = self.computed(Op.SHL, self.whole_cell(bit), position.cell)
        return self.computed(Op.OR, kept.cell, placed.cell)

    def _assign_field(self, variable: Variable, node: Assignment, target: Index) -> None:
        """Assigns one or several bits of a whole number or an angle."""
        kind = variable.type
        width = bits_of(kind)
        if not is_whole(kind) or kind.kind == "bool" or len(target.indices) != 1:
            raise self.invalid(target.at, f"a {kind} has no index", "index")
        index = target.indices[0]
        value = self._new_value(node, lambda: self.evaluate(target))
        word = self.evaluate(target.base)
        plain = Type("uint", width)
        data = self._resized(word.data, kind, plain, node.at, False)
        position = None if isinstance(index, Items | Range) else self.evaluate(index).data
        if isinstance(position, Run):
            self.require_below(position.cell, width, "the index of a bit", index.at)
            bit = self.converted(value, Type("bit", 0), node.at).data
            data = self._with_bit(data, position, bit)
        else:
            chosen = self.positions(index, width, "the value")
            numbers: Sequence[int] = [chosen] if isinstance(chosen, int) else chosen
            field = Type("bit", 0 if isinstance(chosen, int) else len(numbers))
            bits = self.converted(value, field, node.at).data
            for i, number in enumerate(numbers):
                bit = self.whole("&", plain, self.whole(">>", plain, bits, i, node.at), 1, node.at)
                clear = self.whole("&", plain, data, ((1 << width) - 1) ^ (1 << number), node.at)
                data = self.whole(
                    "|", plain, clear, self.whole("<<", plain, bit, number, node.at), node.at
                )
        self.assign(
            variable, Value(kind, self._resized(data, plain, kind, node.at, False)), node.at
        )

    def _assign_element(self, node: Assignment, target: Index) -> None:
        view = self.view(target)
        if view is not None and view.shape:
            if node.op:
                raise self.invalid(node.at, f"'{node.op}=' on an array", node.op)
            self.assign_view(view, node.value, node.at)
            return
        value = self._new_value(node, lambda: self.evaluate(target))
        if view is not None:
            self._writable(view, target)
            self._store(view, 0, value, node.at)
            return
        array, cell = self.runtime_index(target)
        self._writable(array, target)
        table = array.table
        data = self.converted(value, table.type, node.at).data
        if table.items is not None:
            assert table.depth == self.depth, "an array was not moved to cells before a block"
            self.to_cells(table, node.at)
        base, length = self.base_cells(array, node.at)
        source = self.whole_cell(data) if is_whole(table.type) else self.float_cell(data)
        self.compute(Op.STORE, source, base, length, cell)

    def _writable(self, view: View, target: Expression) -> None:
        if not view.mutable:
            raise self.invalid(target.at, "a readonly array cannot be assigned", "readonly")

    def _store(self, view: View, number: int, value: Value, at: int) -> None:
        table = view.table
        data = self.converted(value, table.type, at).data
        fixed = not isinstance(data, Run) and not (
            isinstance(data, Angle) and any(isinstance(source, int) for source in data.terms)
        )
        if table.items is not None and fixed:
            table.items[view.positions[number]] = data
            return
        self.to_cells(table, at)
        self.stored(data, table.type, table.base + view.positions[number])

    def assign_view(self, view: View, value: Expression, at: int) -> None:
        """Gives the elements of an array, or of a part of it, new values."""
        self._writable(view, value)
        self.spend(len(view.positions), at)
        if isinstance(value, Items):
            size = view.shape[0] if view.shape else 0
            if len(value.items) != size:
                raise self.invalid(
                    value.at,
                    f"{counted(len(value.items), 'element')} for an array of {size}",
                    "array",
                )
            width = len(view.positions) // size
            for i, item in enumerate(value.items):
                part = View(view.table, view.positions[i * width : (i + 1) * width], view.shape[1:])
                if part.shape:
                    self.assign_view(part, item, item.at)
                else:
                    self._store(part, 0, self.evaluate(item), item.at)
            return
        source = self.view(value)
        if source is None or source.shape != view.shape:
            raise self.invalid(value.at, "an array of the same shape is needed here", "array")
        count = len(view.positions)
        values = [Value(source.table.type, self.element(source, i)) for i in range(count)]
        if source.table is view.table and not all(v.known for v in values):
            values = [self.kept(v) for v in values]  # the parts may overlap
        for i, element in enumerate(values):
            self._store(view, i, element, at)


def _zero(kind: Type) -> Data:
    """What a variable is before it is assigned."""
    if is_whole(kind):
        return 0
    return 0j if kind.kind == "complex" else 0.0
