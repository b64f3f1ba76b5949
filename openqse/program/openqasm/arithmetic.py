"""Arithmetic with values: carried out now where they are known, else at run time."""

from __future__ import annotations

import math
from collections.abc import Callable

from openqse.program.angle import Angle
from openqse.program.gates import Op
from openqse.program.openqasm.conversions import Conversions
from openqse.program.openqasm.values import (
    BOOL,
    COMPLEX,
    INT,
    REAL,
    Data,
    Run,
    Type,
    Value,
    bits_of,
    is_whole,
    wrapped,
)

_FLOAT = {
    "+": Op.FADD, "-": Op.FSUB, "*": Op.FMUL, "/": Op.FDIV, "%": Op.FMOD, "**": Op.FPOW,
}  # fmt: skip
_REAL: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "%": math.fmod,
    "**": lambda a, b: a**b,
}
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


class Arithmetic(Conversions):
    """Operators."""

    # Cells of values.

    # Conversions.

    # Operators.

    def floating(self, op: str, a: float | Angle, b: float | Angle, at: int) -> Data:
        """An operator on two floats: affine as long as it can be."""
        if isinstance(a, Angle) or isinstance(b, Angle):
            result: Data | None = None
            if op == "+":
                result = a + b
            elif op == "-":
                result = a - b
            elif op == "*" and not (isinstance(a, Angle) and isinstance(b, Angle)):
                result = a * b  # type: ignore[operator]
            elif op == "/" and not isinstance(b, Angle):
                if b == 0:
                    raise self.invalid(at, "'/' fails: division by zero", op)
                result = a / b
            if result is None:
                return self.computed_float(_FLOAT[op], self.float_cell(a), self.float_cell(b))
            return self.checked(result, at)
        try:
            number = _REAL[op](float(a), float(b))
        except (ArithmeticError, ValueError) as error:
            if self.checking:
                return math.nan
            raise self.invalid(at, f"{op!r} fails: {error}", op) from None
        if isinstance(number, complex):
            raise self.invalid(at, "the value is not a finite real number", op)
        return self.checked(number, at)

    def binary(self, op: str, left: Value, right: Value, at: int) -> Value:
        """An operator between two values, by the rules of the language for their types."""
        if op in ("&&", "||"):
            a, b = self.truth(left, at), self.truth(right, at)
            return Value(BOOL, self.whole("&" if op == "&&" else "|", BOOL, a, b, at))
        if op in COMPARISONS:
            return Value(BOOL, self._compared(op, left, right, at))
        kinds = {left.type.kind, right.type.kind}
        if "complex" in kinds:
            return self._complex(op, left, right, at)
        if "duration" in kinds:
            return self._timed(op, left, right, at)
        if op in ("<<", ">>"):
            return self._shift(op, left, right, at)
        if op in ("&", "|", "^"):
            return self._bitwise(op, left, right, at)
        if "angle" in kinds:
            return self._turned(op, left, right, at)
        if "float" in kinds:
            return Value(REAL, self.floating(op, self.real(left, at), self.real(right, at), at))
        left, right = self._promoted(left, at), self._promoted(right, at)
        kind = common(left.type, right.type)
        if op == "**" and kind.kind == "int" and self._negative(right):
            return Value(REAL, self.floating(op, self.real(left, at), self.real(right, at), at))
        x, y = self.converted(left, kind, at), self.converted(right, kind, at)
        return Value(kind, self.whole(op, kind, x.data, y.data, at))

    def _negative(self, value: Value) -> bool:
        return isinstance(value.data, int) and value.data < 0

    def _promoted(self, value: Value, at: int) -> Value:
        """Bits and truth values as unsigned numbers."""
        if value.type.kind == "bool" or value.type == Type("bit", 0):
            return Value(INT, value.data)
        if value.type.kind == "bit":
            if value.type.width > 64 and not value.known:
                raise self._too_wide(value.type, at)
            return Value(Type("uint", min(64, value.type.width)), value.data)
        return value

    def _shift(self, op: str, left: Value, right: Value, at: int) -> Value:
        if not is_whole(left.type) or right.type.kind not in ("int", "uint", "bit", "bool"):
            raise self.invalid(at, f"{op!r} between {left.type} and {right.type}", op)
        kind = left.type
        if isinstance(left.data, Run) or isinstance(right.data, Run):
            kept = kind if kind.kind == "int" or bits_of(kind) <= 64 else None
            if kept is None:
                raise self._too_wide(kind, at)
        return Value(kind, self.whole(op, kind, left.data, right.data, at))

    def _bitwise(self, op: str, left: Value, right: Value, at: int) -> Value:
        if not is_whole(left.type) or not is_whole(right.type):
            raise self.invalid(at, f"{op!r} between {left.type} and {right.type}", op)
        kinds = (left.type.kind, right.type.kind)
        if kinds == ("bool", "bool"):
            return Value(BOOL, self.whole(op, BOOL, left.data, right.data, at))
        kind = left.type if bits_of(left.type) >= bits_of(right.type) else right.type
        if "bit" in kinds and kinds[0] != kinds[1]:
            kind = left.type if left.type.kind != "bit" else right.type
            kind = kind._replace(width=max(bits_of(left.type), bits_of(right.type)))
            kind = Type("uint", kind.width) if kind.kind == "bool" else kind
        elif set(kinds) == {"int", "uint"}:
            kind = common(left.type, right.type)
        elif kinds[0] == kinds[1] == "bit" and left.type.width != right.type.width:
            raise self.invalid(at, f"{op!r} between {left.type} and {right.type}", op)
        a, b = left.data, right.data
        if kind.kind in ("int", "uint"):
            a = self._resized(a, left.type, kind, at, False)
            b = self._resized(b, right.type, kind, at, False)
        return Value(kind, self.whole(op, kind, a, b, at))

    def _turned(self, op: str, left: Value, right: Value, at: int) -> Value:
        """Arithmetic with angles: those of a width are unsigned numbers."""
        a, b = left.type, right.type
        if a.kind == b.kind == "angle" and a.width and b.width:
            width = max(a.width, b.width)
            kind = Type("angle", width)
            x, y = self.converted(left, kind, at).data, self.converted(right, kind, at).data
            if op in ("+", "-"):
                return Value(kind, self.whole(op, kind, x, y, at))
            if op == "/":
                return Value(Type("uint", width), self.whole(op, Type("uint", width), x, y, at))
            raise self.invalid(at, f"{op!r} between {a} and {b}", op)
        sized, other = (left, right) if is_whole(a) and a.kind == "angle" else (right, left)
        whole = other.type.kind in ("int", "uint", "bit", "bool")
        if sized.type.width and sized.type.kind == "angle" and whole and op in ("*", "/"):
            if op == "/" and sized is right:
                raise self.invalid(at, f"{op!r} between {a} and {b}", op)
            kind = sized.type
            return Value(kind, self.whole(op, kind, sized.data, other.data, at))
        number = self.floating(op, self.real(left, at), self.real(right, at), at)
        unsized = "angle" in (a.kind, b.kind) and not (
            sized.type.width and sized.type.kind == "angle"
        )
        return Value(Type("angle", 0) if unsized and op != "%" else REAL, number)

    def _timed(self, op: str, left: Value, right: Value, at: int) -> Value:
        a, b = left.type.kind == "duration", right.type.kind == "duration"
        x: Data = left.data if a else self.real(left, at)
        y: Data = right.data if b else self.real(right, at)
        allowed = {(True, True): "+-/", (True, False): "*/", (False, True): "*"}[a, b]
        if op not in allowed:
            raise self.invalid(at, f"{op!r} between {left.type} and {right.type}", op)
        assert isinstance(x, float | Angle)
        assert isinstance(y, float | Angle)
        kind = REAL if a and b and op == "/" else left.type if a else right.type
        return Value(kind, self.floating(op, x, y, at))

    def _complex(self, op: str, left: Value, right: Value, at: int) -> Value:
        x, y = self.converted(left, COMPLEX, at).data, self.converted(right, COMPLEX, at).data
        assert isinstance(x, complex)
        assert isinstance(y, complex)
        try:
            operations: dict[str, Callable[[], complex]] = {
                "+": lambda: x + y, "-": lambda: x - y, "*": lambda: x * y, "/": lambda: x / y,
                "**": lambda: x**y,
            }  # fmt: skip
            return Value(COMPLEX, self.checked(complex(operations[op]()), at))
        except (KeyError, ArithmeticError):
            raise self.invalid(at, f"{op!r} fails between complex numbers", op) from None

    def _compared(self, op: str, left: Value, right: Value, at: int) -> Data:
        kinds = {left.type.kind, right.type.kind}
        if "complex" in kinds:
            x, y = self.converted(left, COMPLEX, at).data, self.converted(right, COMPLEX, at).data
            if op not in ("==", "!="):
                raise self.invalid(at, f"{op!r} between complex numbers", op)
            return int((x == y) == (op == "=="))
        if (
            "duration" in kinds
            or "float" in kinds
            or ("angle" in kinds and not self._sized(left, right))
        ):
            return self._compared_floats(op, left, right, at)
        if "angle" in kinds:
            kind = Type("angle", max(left.type.width, right.type.width))
        elif kinds == {"bit"} and bits_of(left.type) != bits_of(right.type):
            raise self.invalid(at, f"{op!r} between {left.type} and {right.type}", op)
        elif kinds == {"bit"}:
            kind = left.type
        else:
            left, right = self._promoted(left, at), self._promoted(right, at)
            kind = common(left.type, right.type)
        a, b = self.converted(left, kind, at).data, self.converted(right, kind, at).data
        if not isinstance(a, Run) and not isinstance(b, Run):
            return int(_HOLDS[op](a, b))
        if bits_of(kind) > 64:
            raise self._too_wide(kind, at)
        unsigned = kind.kind != "int" and bits_of(kind) == 64
        return self._ordered(
            op, self.whole_cell(a), self.whole_cell(b), Op.EQ, Op.ULT if unsigned else Op.LT,
            Op.ULE if unsigned else Op.LE,
        )  # fmt: skip

    def _sized(self, left: Value, right: Value) -> bool:
        both = left.type.kind == right.type.kind == "angle"
        return both and left.type.width > 0 and right.type.width > 0

    def _compared_floats(self, op: str, left: Value, right: Value, at: int) -> Data:
        timed = (left.type.kind == "duration") + (right.type.kind == "duration")
        if timed == 1:
            raise self.invalid(at, f"{op!r} between {left.type} and {right.type}", op)
        a, b = (v.data if timed else self.real(v, at) for v in (left, right))
        if not isinstance(a, Angle) and not isinstance(b, Angle):
            return int(_HOLDS[op](a, b))
        return self._ordered(
            op, self.float_cell(a), self.float_cell(b), Op.FEQ, Op.FLT, Op.FLE
        )  # fmt: skip

    def _ordered(self, op: str, a: int, b: int, eq: Op, lt: Op, le: Op) -> Data:
        if op in ("==", "!="):
            equal = self.computed(eq, a, b)
            return equal if op == "==" else self._inverted(equal)
        if op in (">", ">="):
            a, b = b, a
        return self.computed(lt if op in ("<", ">") else le, a, b)

    def unary(self, op: str, value: Value, at: int) -> Value:
        kind, data = value.type, value.data
        if op == "!" or (op == "~" and kind.kind == "bool"):
            return Value(BOOL, self._inverted(self.truth(value, at)))
        if op == "~":
            if not is_whole(kind):
                raise self.invalid(at, f"'~' of a {kind}", op)
            if isinstance(data, Run):
                return Value(kind, self.canonical(self.computed(Op.NOT, data.cell), kind))
            assert isinstance(data, int)
            return Value(kind, wrapped(~data, kind))
        if not is_whole(kind):
            return Value(kind, self.checked(-data, at))  # type: ignore[operator]
        if kind.kind in ("bool", "bit"):
            value = self._promoted(value, at)
            kind = value.type
        return Value(kind, self.whole("-", kind, 0, value.data, at))


def common(a: Type, b: Type) -> Type:
    """The type in which whole numbers of two types meet."""
    width = max(a.width, b.width)
    if a.kind == b.kind:
        return Type(a.kind, width)
    unsigned = a if a.kind == "uint" else b
    return Type("uint" if unsigned.width >= width else "int", width)


_HOLDS: dict[str, Callable[[object, object], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,  # type: ignore[operator]
    "<=": lambda a, b: a <= b,  # type: ignore[operator]
    ">": lambda a, b: a > b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
}
