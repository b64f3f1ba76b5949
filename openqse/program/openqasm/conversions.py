"""Values to cells, and from one type to another."""

from __future__ import annotations

import cmath
import math

from openqse.errors import ProgramError
from openqse.program.angle import Angle
from openqse.program.circuit import FLOAT, INTEGER
from openqse.program.gates import Op
from openqse.program.machine import INTEGER_OPERATIONS, signed
from openqse.program.openqasm.state import State
from openqse.program.openqasm.values import (
    BOOL,
    COMPLEX,
    INT,
    REAL,
    UINT,
    Data,
    Run,
    Type,
    Value,
    bits_of,
    is_whole,
    radians,
    rounded,
    turns,
    wrapped,
)

_WHOLE = {
    "+": Op.ADD, "-": Op.SUB, "*": Op.MUL, "/": Op.DIV, "%": Op.REM, "**": Op.POW,
    "&": Op.AND, "|": Op.OR, "^": Op.XOR, "<<": Op.SHL, ">>": Op.SHR,
}  # fmt: skip
_UNSIGNED = {Op.DIV: Op.UDIV, Op.REM: Op.UREM}


class Conversions(State):
    """Conversions, and the arithmetic of whole numbers that they need."""

    def whole_cell(self, data: Data) -> int:
        """An integer cell with a value."""
        if isinstance(data, Run):
            return data.cell
        assert isinstance(data, int)
        return self.constant(data)

    def float_cell(self, data: Data) -> int:
        """A float cell with a value."""
        if not isinstance(data, Angle):
            assert isinstance(data, int | float)
            return self.constant(float(data))
        terms = list(data.terms.items())
        total = -1
        for source, factor in terms:
            cell = self.given(source) if isinstance(source, str) else source
            if factor != 1:
                product = self.temporary(FLOAT)
                self.compute(Op.FMUL, product, cell, self.constant(float(factor)))
                cell = product
            if total >= 0:
                added = self.temporary(FLOAT)
                self.compute(Op.FADD, added, total, cell)
                cell = added
            total = cell
        if total < 0:
            return self.constant(float(data.constant))
        if data.constant == 0:
            return total
        added = self.temporary(FLOAT)
        self.compute(Op.FADD, added, total, self.constant(float(data.constant)))
        return added

    def checked(self, data: Data, at: int) -> Data:
        """A float or affine value, without terms that cancelled, if it is finite."""
        if isinstance(data, Angle):
            terms = {name: factor for name, factor in data.terms.items() if factor != 0}
            if not all(math.isfinite(x) for x in (data.constant, *terms.values())):
                raise self.invalid(at, "the value is not a finite number", "expression")
            return Angle(data.constant, terms) if terms else data.constant
        if isinstance(data, complex):
            if not cmath.isfinite(data):
                raise self.invalid(at, "the value is not a finite number", "expression")
        elif isinstance(data, float) and not math.isfinite(data) and not self.checking:
            raise self.invalid(at, "the value is not a finite real number", "expression")
        return data

    def converted(self, value: Value, kind: Type, at: int, strict: bool = False) -> Value:
        """``value`` as another type.

        Args:
            strict: refuse a known number that the type does not have, instead of wrapping it.
        """
        if value.type == kind:
            return value
        if kind.kind == "bool":
            return Value(BOOL, self.truth(value, at))
        if kind.kind in ("int", "uint", "bit"):
            return self._to_whole(value, kind, at, strict)
        if kind.kind in ("float", "angle"):
            return self._to_real(value, kind, at)
        if kind.kind == "complex" and value.known and value.type.kind != "duration":
            data = self.real(value, at) if value.type != COMPLEX else value.data
            assert isinstance(data, int | float | complex)
            return Value(kind, complex(data))
        raise self._inconvertible(value, kind, at)

    def _inconvertible(self, value: Value, kind: Type, at: int) -> ProgramError:
        return self.invalid(
            at, f"a value of type {value.type} is not converted to {kind}", kind.kind
        )

    def _to_whole(self, value: Value, kind: Type, at: int, strict: bool) -> Value:
        data = value.data
        if value.type.kind == "angle" and (kind.kind != "bit" or not is_whole(value.type)):
            raise self._inconvertible(value, kind, at)
        if is_whole(value.type):
            return Value(kind, self._resized(data, value.type, kind, at, strict))
        if value.type.kind != "float":
            raise self._inconvertible(value, kind, at)
        if isinstance(data, Angle):
            if kind.kind == "bit":
                raise self._inconvertible(value, kind, at)
            whole = self.computed(Op.FTOI, self.float_cell(data))
            return Value(kind, self.canonical(whole, kind))
        assert isinstance(data, float)
        if strict and data != data // 1:
            raise self.invalid(at, "the value is not a constant whole number", kind.kind)
        number = math.trunc(data) if math.isfinite(data) else 0
        return Value(kind, self._resized(number, INT, kind, at, strict))

    def _resized(self, data: Data, source: Type, kind: Type, at: int, strict: bool) -> Data:
        if isinstance(data, Run):
            if bits_of(kind) > 64:
                raise self._too_wide(kind, at)
            narrower = bits_of(kind) < bits_of(source)
            changes = (
                kind.kind == "int" and source.kind != "int" and bits_of(kind) <= bits_of(source)
            )
            negative = source.kind == "int" and kind.kind != "int"
            return self.canonical(data, kind) if narrower or changes or negative else data
        assert isinstance(data, int)
        fits = wrapped(data, kind) == data
        if kind.kind == "bit" and kind.width == 0 and data not in (0, 1):
            raise self.invalid(at, f"{data} is no bit", "bit")
        if strict and not fits:
            raise self.invalid(at, f"{data} does not fit in {kind}", kind.kind)
        return wrapped(data, kind)

    def _too_wide(self, kind: Type, at: int) -> Exception:
        return self.unsupported(
            at, f"run-time values of type {kind}", kind.kind, "Use up to 64 bits at a time"
        )

    def _to_real(self, value: Value, kind: Type, at: int) -> Value:
        if kind.kind == "angle" and kind.width:
            return Value(kind, self._to_turns(value, kind, at))
        data = self.real(value, at)
        if isinstance(data, Angle) or kind.kind == "angle":
            return Value(kind, data)
        return Value(kind, self.checked(rounded(float(data), kind), at))

    def _to_turns(self, value: Value, kind: Type, at: int) -> Data:
        source, data = value.type, value.data
        if source.kind in ("angle", "bit") and is_whole(source):
            if source.kind == "bit" and bits_of(source) != kind.width:
                raise self._inconvertible(value, kind, at)
            shift = kind.width - bits_of(source)
            op = ">>" if shift < 0 else "<<"
            return self.whole(op, kind, data, abs(shift), at) if shift else data
        number = self.real(value, at)
        if not isinstance(number, Angle):
            return 0 if self.checking else turns(float(number), kind.width)
        if kind.width > 52:
            raise self._too_wide(kind, at)
        scaled = self.checked(number * (2**kind.width / math.tau) + 0.5, at)
        floor = self.computed_float(Op.FFLOOR, self.float_cell(scaled))
        return self.canonical(self.computed(Op.FTOI, self.float_cell(floor)), kind)

    def real(self, value: Value, at: int) -> float | Angle:
        """A number as a float; of an angle its radians."""
        kind, data = value.type, value.data
        if kind.kind in ("complex", "duration"):
            if isinstance(data, complex) and data.imag == 0:
                return data.real
            raise self._inconvertible(value, REAL, at)
        if not is_whole(kind):
            assert isinstance(data, int | float | Angle)
            return data
        if kind.kind == "bit" and kind.width > 64:
            raise self._inconvertible(value, REAL, at)
        if isinstance(data, Run):
            unsigned = kind.kind != "int" and kind.width == 64
            number = self.computed_float(Op.UTOF if unsigned else Op.ITOF, data.cell)
            return number * (math.tau / 2**kind.width) if kind.kind == "angle" else number
        assert isinstance(data, int)
        return radians(data, kind.width) if kind.kind == "angle" else float(data)

    def truth(self, value: Value, at: int) -> Data:
        """1 or 0, for whether a value is not zero."""
        kind, data = value.type, value.data
        if kind.kind == "duration" or kind.kind == "complex":
            raise self._inconvertible(value, BOOL, at)
        if isinstance(data, Run):
            if bits_of(kind) == 1 and kind.kind != "int":
                return data
            return self._inverted(self.computed(Op.EQ, data.cell, self.constant(0)))
        if isinstance(data, Angle):
            return self._inverted(self.computed(Op.FEQ, self.float_cell(data), self.constant(0.0)))
        return int(data != 0)

    def _inverted(self, data: Data) -> Data:
        """The other truth value."""
        if isinstance(data, Run):
            return self.computed(Op.XOR, data.cell, self.constant(1))
        return 1 - int(data)  # type: ignore[arg-type]

    def canonical(self, data: Run, kind: Type) -> Run:
        """An integer cell, wrapped to the type's width."""
        width = bits_of(kind)
        if width >= 64:
            return data
        op = Op.SEXT if kind.kind == "int" else Op.ZEXT
        return self.computed(op, data.cell, self.constant(width))

    def whole(self, op: str, kind: Type, a: Data, b: Data, at: int) -> Data:
        """An operator on two whole values of a type."""
        code = _WHOLE[op]
        if kind.kind != "int":
            code = _UNSIGNED.get(code, code)
        elif op == ">>":
            code = Op.SAR
        if isinstance(a, Run) or isinstance(b, Run):
            if bits_of(kind) > 64:
                raise self._too_wide(kind, at)
            return self.canonical(self.computed(code, self.whole_cell(a), self.whole_cell(b)), kind)
        assert isinstance(a, int)
        assert isinstance(b, int)
        if op in ("<<", ">>"):
            return self._shifted(op, kind, a, b, at)
        if bits_of(kind) > 64:  # bits, known ones
            return {"&": a & b, "|": a | b, "^": a ^ b}[op]
        if op == "**" and kind == INT and abs(a) > 1 and (b > 64 or abs(a**b) >= 2**64):
            raise self.invalid(at, "'**' fails: the power does not fit in 64 bits", op)
        if b == 0 and op in "/%":
            if self.checking:
                return 0
            raise self.invalid(at, f"{op!r} fails: division by zero", op)
        return wrapped(INTEGER_OPERATIONS[code](signed(a), signed(b)), kind)

    def _shifted(self, op: str, kind: Type, a: int, b: int, at: int) -> int:
        if b < 0 or (kind in (INT, UINT) and b > 64):
            raise self.invalid(at, f"{op!r} fails: a shift by {b} bits", op)
        if b >= bits_of(kind):
            return -1 if op == ">>" and a < 0 else 0
        return wrapped(a << b if op == "<<" else a >> b, kind)

    def stored(self, data: Data, kind: Type, cell: int) -> None:
        """Writes a value to a cell of its type."""
        if is_whole(kind):
            self.compute(Op.MOVE, cell, self.whole_cell(data))
        else:
            self.compute(Op.FMOVE, cell, self.float_cell(data))

    def cell_type(self, kind: Type, at: int) -> int:
        """Which cells hold values of a type."""
        if is_whole(kind) and bits_of(kind) <= 64:
            return INTEGER
        if kind.kind in ("float", "angle", "duration"):
            return FLOAT
        raise self.unsupported(
            at,
            f"{kind} variables that are assigned where it depends on outcomes",
            kind.kind,
            "Use int, uint, float, angle, bool or bits, up to 64 bits",
        )

    def loaded(self, kind: Type, cell: int) -> Data:
        """The value that a cell has at run time."""
        return Run(cell) if is_whole(kind) else Angle(0.0, {cell: 1.0})
