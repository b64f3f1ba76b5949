"""Expressions to values."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable

from openqse.program.angle import Angle
from openqse.program.circuit import FLOAT, INTEGER
from openqse.program.gates import Op
from openqse.program.openqasm.nodes import (
    BitString,
    Call,
    Cast,
    Chain,
    Concatenation,
    DurationOf,
    Expression,
    Index,
    Measure,
    Name,
    Number,
    Physical,
    Power,
    Time,
    Truth,
    Unary,
)
from openqse.program.openqasm.references import References
from openqse.program.openqasm.source import counted
from openqse.program.openqasm.state import UNKNOWN
from openqse.program.openqasm.values import (
    BOOL,
    COMPLEX,
    DURATION,
    INT,
    REAL,
    UINT,
    Bits,
    Constant,
    Qubits,
    Run,
    Stretch,
    Type,
    Value,
    Variable,
    bits_of,
    is_whole,
)

_NANOSECONDS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


def _floor(x: float) -> float:
    return float(math.floor(x)) if math.isfinite(x) else x


def _ceiling(x: float) -> float:
    return float(math.ceil(x)) if math.isfinite(x) else x


#: Functions of one real number: now, and at run time.
_FUNCTIONS: dict[str, tuple[Callable[[float], float], Op]] = {
    **dict.fromkeys(("arccos", "acos"), (math.acos, Op.FACOS)),
    **dict.fromkeys(("arcsin", "asin"), (math.asin, Op.FASIN)),
    **dict.fromkeys(("arctan", "atan"), (math.atan, Op.FATAN)),
    "ceiling": (_ceiling, Op.FCEIL),
    "cos": (math.cos, Op.FCOS),
    "exp": (math.exp, Op.FEXP),
    "floor": (_floor, Op.FFLOOR),
    **dict.fromkeys(("ln", "log"), (math.log, Op.FLN)),
    "sin": (math.sin, Op.FSIN),
    "sqrt": (math.sqrt, Op.FSQRT),
    "tan": (math.tan, Op.FTAN),
}


class Expressions(References):
    """Evaluates expressions, as far as possible now."""

    def measured(self, node: Measure) -> Bits:
        raise NotImplementedError

    def duration_of(self, node: DurationOf) -> Value:
        raise NotImplementedError

    def call(self, node: Call) -> Value | None:
        """What a subroutine returns; None if there is none of that name."""
        raise NotImplementedError

    def maybe(self, cell: int, nodes: list[Expression], run: Callable[[], None]) -> None:
        """Runs something where an integer cell is not 0."""
        raise NotImplementedError

    def evaluate(self, node: Expression) -> Value:
        return _RULES.get(type(node), Expressions._refuse)(self, node)

    def _refuse(self, node: Expression) -> Value:
        raise self.invalid(node.at, "a value is needed here", type(node).__name__.lower())

    def _number(self, node: Number) -> Value:
        value = node.value
        if isinstance(value, int):
            if value >= 2**64:
                raise self.invalid(
                    node.at, "the whole number does not fit in 64 bits", "expression"
                )
            return Value(INT if value < 2**63 else UINT, value)
        kind = COMPLEX if isinstance(value, complex) else REAL
        return Value(kind, self.checked(value, node.at))

    def _truth(self, node: Truth) -> Value:
        return Value(BOOL, int(node.value))

    def _bit_string(self, node: BitString) -> Value:
        return Value(Type("bit", len(node.digits)), int(node.digits, 2))

    def _time(self, node: Time) -> Value:
        if node.unit == "dt":
            raise self.unsupported(
                node.at,
                "times in 'dt', which is a device's own unit,",
                "dt",
                "Give the time in ns, us, ms or s",
            )
        return Value(DURATION, self.checked(node.value * _NANOSECONDS[node.unit], node.at))

    def _name(self, node: Name) -> Value:
        found = self.declared(node.name, node.at)
        if isinstance(found, Constant):
            return found.value
        if isinstance(found, Variable):
            if found.value is not None:
                return Value(found.type, found.value)
            return Value(found.type, self.loaded(found.type, found.cell))
        if isinstance(found, Bits):
            return self.read(found, node.at)
        if isinstance(found, Stretch):
            return self.stretched(found, node.at)
        raise self.invalid(node.at, f"{node.name!r} is not a number", node.name)

    def stretched(self, stretch: Stretch, at: int) -> Value:
        raise NotImplementedError

    def _physical(self, node: Physical) -> Value:
        raise self.invalid(node.at, "a qubit is not a number", f"${node.number}")

    def _unary(self, node: Unary) -> Value:
        return self.unary(node.op, self.evaluate(node.operand), node.at)

    def _chain(self, node: Chain) -> Value:
        if node.rest[0][0] in ("==", "!=") and len(node.rest) == 1:
            wide = self._wide(node.first)
            if wide is not None:
                return self._compared_wide(wide, node)
        value = self.evaluate(node.first)
        for op, at, operand in node.rest:
            if op in ("&&", "||"):
                value = self._logical(op, value, operand, at)
                continue
            if not value.known and _has_call(operand):
                value = self.kept(value)
            value = self.binary(op, value, self.evaluate(operand), at)
        return value

    def _wide(self, node: Expression) -> Bits | None:
        """A register of more bits than a cell has, whose value is not known."""
        found: object = None
        if isinstance(node, Name):
            found = self.find(node.name, node.at)
        elif isinstance(node, Index):
            base = node
            while isinstance(base.base, Index):
                base = base.base
            name = base.base
            if isinstance(name, Name) and isinstance(self.find(name.name, name.at), Bits):
                found = self._bits_of(node)
        if not isinstance(found, Bits) or len(found.numbers) <= 64:
            return None
        return found if any(self.bit_states[n] == UNKNOWN for n in found.numbers) else None

    def _compared_wide(self, bits: Bits, node: Chain) -> Value:
        """Whether a wide register has a known value, or not."""
        op, at, operand = node.rest[0]
        if isinstance(operand, Number) and isinstance(operand.value, int):
            value = Value(INT, operand.value)  # however large
        else:
            value = self.evaluate(operand)
        kind = self.bit_type(bits)
        if not isinstance(value.data, int):
            raise self._too_wide(kind, at)
        if value.type.kind == "bit" and value.type != kind:
            raise self.invalid(at, f"{op!r} between {kind} and {value.type}", op)
        if not 0 <= value.data < 2**kind.width:
            return Value(BOOL, int(op == "!="))
        equal = Value(BOOL, 1)
        for i in range(0, kind.width, 64):
            part = self.read(Bits(bits.numbers[i : i + 64], False), at)
            wanted = Value(part.type, value.data >> i & ((1 << part.type.width) - 1))
            equal = self.binary("&", equal, self.binary("==", part, wanted, at), at)
        return equal if op == "==" else self.unary("!", equal, at)

    def kept(self, value: Value) -> Value:
        """A copy that stays what it is when a variable changes."""
        kind = value.type
        cell = self.temporary(INTEGER if is_whole(kind) else FLOAT)
        self.stored(value.data, kind, cell)
        return Value(kind, self.loaded(kind, cell))

    def _logical(self, op: str, left: Value, operand: Expression, at: int) -> Value:
        """``&&`` and ``||``, which look at their right side only where the left leaves it open."""
        a = self.truth(left, at)
        if not isinstance(a, Run):
            if bool(a) == (op == "||"):
                return Value(BOOL, a)
            return Value(BOOL, self.truth(self.evaluate(operand), at))
        if not _may_fail(operand):
            return self.binary(op, Value(BOOL, a), self.evaluate(operand), at)
        result = self.temporary(INTEGER)
        self.compute(Op.MOVE, result, a.cell)

        def right() -> None:
            value = self.truth(self.evaluate(operand), at)
            self.compute(Op.MOVE, result, self.whole_cell(value))

        wanted = a.cell
        if op == "||":
            wanted = self.computed(Op.XOR, a.cell, self.constant(1)).cell
        self.maybe(wanted, [operand], right)
        return Value(BOOL, Run(result))

    def _power(self, node: Power) -> Value:
        base = self.evaluate(node.base)
        return self.binary("**", base, self.evaluate(node.exponent), node.at)

    def _cast(self, node: Cast) -> Value:
        if node.type.dimensions is not None:
            raise self.unsupported(
                node.at, "casts to arrays", "array", "Assign the elements one by one"
            )
        kind = self.scalar(node.type)
        if kind.kind == "stretch":
            raise self.invalid(node.at, "nothing is converted to a stretch", "stretch")
        return self.converted(self.evaluate(node.argument), kind, node.at)

    def _index(self, node: Index) -> Value:
        base = node.base
        if isinstance(base, Name):
            found = self.declared(base.name, base.at)
            if isinstance(found, Bits):
                return self._bit(found, node)
            if isinstance(found, Qubits):
                raise self.invalid(node.at, f"{base.name!r} is not a number", base.name)
        view = self.view(node)
        if view is not None:
            if view.shape:
                raise self.invalid(node.at, "an array is not a number", "array")
            return Value(view.table.type, self.element(view, 0))
        if isinstance(base, Name | Index) and self.view(base) is not None:
            array = self.view(base)
            assert array is not None
            if len(node.indices) > len(array.shape):
                raise self.invalid(
                    node.at,
                    f"the array has {counted(len(array.shape), 'dimension')}, "
                    f"not {len(node.indices)}",
                    "index",
                )
            return self._loaded_element(node)
        if isinstance(base, Index):
            register = self._bits_of(base)
            if register is not None:
                return self._bit(register, node)
        return self.bit_of(self.evaluate(base), node)

    def _bits_of(self, node: Index) -> Bits | None:
        base = node.base
        if isinstance(base, Name):
            found = self.declared(base.name, base.at)
        else:
            found = self._bits_of(base) if isinstance(base, Index) else None
        if not isinstance(found, Bits):
            return None
        chosen = self.selected(found, node)
        return chosen if isinstance(chosen, Bits) else None

    def _bit(self, bits: Bits, node: Index) -> Value:
        index = node.indices[0]
        if len(node.indices) == 1 and not bits.scalar and isinstance(index, _SINGLE):
            chosen = self.evaluate(index)
            if isinstance(chosen.data, Run) and is_whole(chosen.type):
                return self.bit_of(self.read(bits, node.at), node)
        selected = self.selected(bits, node)
        assert isinstance(selected, Bits)
        return self.read(selected, node.at)

    def _loaded_element(self, node: Index) -> Value:
        view, cell = self.runtime_index(node)
        kind = view.table.type
        base, length = self.base_cells(view, node.at)
        result = self.temporary(self.cell_type(kind, node.at))
        self.compute(Op.LOAD, result, base, length, cell)
        return Value(kind, self.loaded(kind, result))

    def _concatenation(self, node: Concatenation) -> Value:
        total: Value | None = None
        for part in node.parts:
            value = self.evaluate(part)
            if value.type.kind != "bit":
                raise self.invalid(part.at, "only bits can be joined here", "++")
            if total is None:
                total = Value(Type("bit", bits_of(value.type)), value.data)
                continue
            width = total.type.width
            kind = Type("bit", width + bits_of(value.type))
            high = self.whole("<<", kind, value.data, width, part.at)
            total = Value(kind, self.whole("|", kind, total.data, high, part.at))
        assert total is not None
        return total

    def _measure(self, node: Measure) -> Value:
        return self.read(self.measured(node), node.at)

    def _duration_of(self, node: DurationOf) -> Value:
        return self.duration_of(node)

    # Functions.

    def _call(self, node: Call) -> Value:
        value = self.call(node)
        if value is not None:
            return value
        name = node.name
        if node.operands:
            raise self.invalid(node.at, f"{name!r} is not a subroutine", name)
        if name == "sizeof":
            return self._sizeof(node)
        if name in _FUNCTIONS:
            (argument,) = self._arguments(node, 1)
            return self._real_function(node, argument)
        if name in ("mod", "pow"):
            left, right = self._arguments(node, 2)
            return self.binary("%" if name == "mod" else "**", left, right, node.at)
        if name == "popcount":
            (argument,) = self._arguments(node, 1)
            return self._popcount(node, argument)
        if name in ("rotl", "rotr"):
            left, right = self._arguments(node, 2)
            return self._rotated(node, left, right)
        if name in ("real", "imag"):
            (argument,) = self._arguments(node, 1)
            number = self.converted(argument, COMPLEX, node.at).data
            assert isinstance(number, complex)
            return Value(REAL, number.real if name == "real" else number.imag)
        raise self.invalid(node.at, f"function {name!r} is not known", name)

    def _arguments(self, node: Call, count: int) -> list[Value]:
        if len(node.arguments) != count:
            given = counted(len(node.arguments), "argument")
            raise self.invalid(node.at, f"{node.name!r} does not take {given}", node.name)
        return [self.evaluate(argument) for argument in node.arguments]

    def _real_function(self, node: Call, argument: Value) -> Value:
        now, later = _FUNCTIONS[node.name]
        if argument.type == COMPLEX and node.name in ("exp", "sqrt"):
            function = cmath.exp if node.name == "exp" else cmath.sqrt
            assert isinstance(argument.data, complex)
            return Value(COMPLEX, self.checked(function(argument.data), node.at))
        number = self.real(argument, node.at)
        if isinstance(number, Angle):
            return Value(REAL, self.computed_float(later, self.float_cell(number)))
        try:
            return Value(REAL, self.checked(now(float(number)), node.at))
        except (ArithmeticError, ValueError) as error:
            if self.checking:
                return Value(REAL, math.nan)
            message = f"{node.name!r} fails: {error}"
            raise self.invalid(node.at, message, node.name) from None

    def _popcount(self, node: Call, value: Value) -> Value:
        if not is_whole(value.type):
            raise self.invalid(node.at, f"'popcount' of a {value.type}", node.name)
        width = bits_of(value.type)
        if isinstance(value.data, Run):
            cell = value.data.cell
            if value.type.kind == "int":
                cell = self.canonical(value.data, Type("uint", width)).cell
            return Value(UINT, self.computed(Op.POPCOUNT, cell))
        assert isinstance(value.data, int)
        return Value(UINT, (value.data & ((1 << width) - 1)).bit_count())

    def _rotated(self, node: Call, value: Value, distance: Value) -> Value:
        """Rotation of the bits of a value, by a distance of any sign."""
        kind, width = value.type, bits_of(value.type)
        if not is_whole(kind) or distance.type.kind not in ("int", "uint"):
            raise self.invalid(node.at, f"{node.name!r} of a {kind}", node.name)
        by = self.converted(distance, INT, node.at)
        turn = Value(INT, width)
        by = self.binary("%", by, turn, node.at)
        if node.name == "rotr":
            by = self.binary("-", turn, by, node.at)
        by = self.binary("%", self.binary("+", by, turn, node.at), turn, node.at)
        plain = Type("uint", width) if width <= 64 else kind
        bits = Value(plain, self._resized(value.data, kind, plain, node.at, False))
        left = self.binary("<<", bits, by, node.at)
        right = self.binary(">>", bits, self.binary("-", turn, by, node.at), node.at)
        both = self.whole("|", plain, left.data, right.data, node.at)
        return Value(kind, self._resized(both, plain, kind, node.at, False))

    def _sizeof(self, node: Call) -> Value:
        if len(node.arguments) not in (1, 2):
            given = counted(len(node.arguments), "argument")
            raise self.invalid(node.at, f"'sizeof' does not take {given}", node.name)
        subject = node.arguments[0]
        view = self.view(subject)
        if view is None:
            found = self.find(subject.name, node.at) if isinstance(subject, Name) else None
            if not isinstance(found, Bits | Qubits) or found.scalar:
                raise self.invalid(node.at, "'sizeof' needs an array", node.name)
            shape: tuple[int, ...] = (len(found.numbers),)
        else:
            shape = view.shape
        dimension = self.integer(node.arguments[1]) if len(node.arguments) == 2 else 0
        if not 0 <= dimension < len(shape):
            raise self.invalid(node.at, f"the array has no dimension {dimension}", node.name)
        return Value(UINT, shape[dimension])


_SINGLE = (Number, Name, Unary, Chain, Power, Call, Cast, Index, Truth)


def _children(node: Expression) -> list[Expression]:
    if isinstance(node, Chain):
        return [node.first, *(operand for _, _, operand in node.rest)]
    if isinstance(node, Unary):
        return [node.operand]
    if isinstance(node, Power):
        return [node.base, node.exponent]
    if isinstance(node, Cast):
        return [node.argument]
    if isinstance(node, Index):
        return [node.base, *node.indices]
    if isinstance(node, Call):
        return node.arguments
    if isinstance(node, Concatenation):
        return node.parts
    return []


def _has_call(node: Expression) -> bool:
    return isinstance(node, Call) or any(map(_has_call, _children(node)))


def _may_fail(node: Expression) -> bool:
    """Whether evaluating it may end the program, or do more than give a value."""
    if isinstance(node, Chain) and any(op in "/%" for op, _, _ in node.rest):
        return True
    if isinstance(node, Index) and any(isinstance(i, Name | Chain | Call) for i in node.indices):
        return True
    return isinstance(node, Call | Measure) or any(map(_may_fail, _children(node)))


_RULES: dict[type[object], Callable[..., Value]] = {
    Number: Expressions._number,
    Truth: Expressions._truth,
    BitString: Expressions._bit_string,
    Time: Expressions._time,
    Name: Expressions._name,
    Physical: Expressions._physical,
    Unary: Expressions._unary,
    Chain: Expressions._chain,
    Power: Expressions._power,
    Cast: Expressions._cast,
    Index: Expressions._index,
    Call: Expressions._call,
    Concatenation: Expressions._concatenation,
    Measure: Expressions._measure,
    DurationOf: Expressions._duration_of,
}
