"""Classical values: their types, and what is known of them while a program is read."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from openqse.program.angle import Angle


class Type(NamedTuple):
    """A scalar type.

    Attributes:
        kind: the word of the language.
        width: bits; 0 for a single ``bit`` and for an ``angle`` of no stated width, which is a
            float of 64 bits.
    """

    kind: str
    width: int

    def __str__(self) -> str:
        sized = self.width and self.kind in ("int", "uint", "float", "angle", "bit")
        return f"{self.kind}[{self.width}]" if sized else self.kind


INT = Type("int", 64)
UINT = Type("uint", 64)
BOOL = Type("bool", 1)
BIT = Type("bit", 0)
REAL = Type("float", 64)
TURN = Type("angle", 0)
COMPLEX = Type("complex", 64)
DURATION = Type("duration", 0)


@dataclass(frozen=True, slots=True)
class Run:
    """A value that is known only while the program runs: integer cell ``cell``."""

    cell: int


#: What a value is: a number that is known; an affine form of parameters and float cells; a cell.
Data: TypeAlias = int | float | complex | Angle | Run


@dataclass(frozen=True, slots=True)
class Value:
    """A typed value.

    Data of ``int``, ``uint``, ``bool``, ``bit`` and sized ``angle`` (in units of ``2 pi / 2**n``)
    are ints or ``Run``; of ``float`` and ``angle`` floats or ``Angle``; of ``duration`` floats or
    ``Angle``, nanoseconds.
    """

    type: Type
    data: Data

    @property
    def known(self) -> bool:
        """Whether it is a number now."""
        return not isinstance(self.data, Run | Angle)


def is_whole(kind: Type) -> bool:
    """Whether values of a type are integers in cells."""
    return kind.kind in ("int", "uint", "bool", "bit") or (kind.kind == "angle" and kind.width > 0)


def bits_of(kind: Type) -> int:
    """Bits of a type of whole values."""
    return kind.width or 1


def wrapped(number: int, kind: Type) -> int:
    """The value of the lowest bits of ``number``, as the type has it."""
    width = bits_of(kind)
    number &= (1 << width) - 1
    if kind.kind == "int" and number >> (width - 1):
        number -= 1 << width
    return number


def rounded(number: float, kind: Type) -> float:
    """A float of the type's width."""
    if kind.kind != "float" or kind.width == 64 or not math.isfinite(number):
        return number
    code = {32: "<f", 16: "<e"}[kind.width]
    try:
        return float(struct.unpack(code, struct.pack(code, number))[0])
    except OverflowError:
        return math.copysign(math.inf, number)


def turns(number: float, width: int) -> int:
    """Radians in units of ``2 pi / 2**width``, the nearest, modulo a turn."""
    return int(round(math.remainder(number, math.tau) / math.tau * 2**width) % 2**width)


def radians(units: int, width: int) -> float:
    return math.tau * units / float(2**width)


# --- what a name stands for ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Qubits:
    """Qubits by number; ``scalar`` for a single one that is no register."""

    numbers: Sequence[int]
    scalar: bool


@dataclass(frozen=True, slots=True)
class Bits:
    """Classical bits by number, the least significant first."""

    numbers: Sequence[int]
    scalar: bool


@dataclass(slots=True)
class Variable:
    """A classical variable.

    Attributes:
        value: what it is, as far as that is known while the program is read; None where it is in
            its cell.
        depth: how many blocks that may or may not run are around its declaration.
        cell: where it is at run time.
    """

    type: Type
    depth: int
    value: Data | None
    cell: int = -1


@dataclass(slots=True)
class Table:
    """An array of classical values, row by row; in cells ``base`` … where ``items`` is None."""

    type: Type
    shape: tuple[int, ...]
    depth: int
    items: list[Data] | None
    base: int = -1


@dataclass(frozen=True, slots=True)
class View:
    """Elements of an array: what an index, a slice or a subroutine's parameter is."""

    table: Table
    positions: Sequence[int]
    shape: tuple[int, ...]
    mutable: bool = True


@dataclass(frozen=True, slots=True)
class Constant:
    """A value with a name; ``depends`` where inputs are in it."""

    value: Value


@dataclass(slots=True)
class Stretch:
    """A duration that the compiler chooses: 0, where nothing that is modelled fixes it."""

    name: str


@dataclass(slots=True)
class Scope:
    """Names of a block.

    Attributes:
        kind: ``block``, or ``gate`` or ``def`` for a body that sees constants alone of what is
            around it.
        owned: cells and bits to be given back where the block ends.
    """

    parent: Scope | None
    kind: str = "block"
    names: dict[str, object] = field(default_factory=dict)
    owned: list[Variable | Table | Bits] = field(default_factory=list)
