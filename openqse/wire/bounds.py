"""What a field of a message may be: bounds, and the types that occur in several messages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any


class Unexpected(ValueError):
    """A value is not what its field takes.

    Attributes:
        expected: in words. path: where in the field, such as ``[0].slots``.
    """

    def __init__(self, expected: str, value: object, path: str = "") -> None:
        shown = repr(value)
        super().__init__(
            f"{expected} was expected, not {shown if len(shown) <= 80 else shown[:77] + '...'}"
        )
        self.expected = expected
        self.value = value
        self.path = path

    def within(self, place: str) -> Unexpected:
        """The same, seen from one level further out."""
        return Unexpected(self.expected, self.value, place + self.path)


# --- bounds --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """A whole number from ``least`` to ``most``."""

    least: int = 0
    most: int = 2**63 - 1

    def read(self, value: Any) -> int:
        if type(value) is not int or not self.least <= value <= self.most:
            raise Unexpected(f"a whole number from {self.least} to {self.most}", value)
        return value


@dataclass(frozen=True)
class Real:
    """A finite number from ``least`` to ``most``; a whole one is taken too."""

    least: float = 0.0
    most: float = math.inf

    def read(self, value: Any) -> float:
        if (
            type(value) not in (int, float)
            or not self.least <= value <= self.most
            or not math.isfinite(value)
        ):
            raise Unexpected(f"a finite number from {self.least:g} to {self.most:g}", value)
        return float(value)


@dataclass(frozen=True)
class Text:
    """A text of ``least`` to ``most`` characters."""

    most: int = 256
    least: int = 0

    def read(self, value: Any) -> str:
        if type(value) is not str or not self.least <= len(value) <= self.most:
            raise Unexpected(f"a text of {self.least} to {self.most} characters", value)
        return value


@dataclass(frozen=True)
class Raw:
    """``least`` to ``most`` bytes."""

    least: int
    most: int

    def read(self, value: Any) -> bytes:
        if type(value) is not bytes or not self.least <= len(value) <= self.most:
            raise Unexpected(f"{self.least} to {self.most} bytes", value)
        return value


@dataclass(frozen=True)
class Many:
    """Of a list or a map: at most so many entries."""

    most: int


# --- types that occur in several messages --------------------------------------------------------

Name = Annotated[str, Text(256)]
Words = Annotated[str, Text(65536)]
"""A text for people."""
JobId = Annotated[int, Whole(0, 2**32 - 1)]
UserId = Annotated[int, Whole(0, 2**32 - 1)]
ProcessId = Annotated[int, Whole(0, 2**31 - 1)]
Count = Annotated[int, Whole(0, 2**63 - 1)]
TaskNumber = Annotated[int, Whole(0, 2**64 - 1)]
Seconds = Annotated[float, Real(0.0)]
Plain = Mapping[str, Any]
"""Values that are passed on as they are; whoever uses them checks them."""
