"""Angles that are affine in free parameters and in cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Angle:
    """A value affine in free parameters: ``constant + sum(coefficient * parameter)``.

    Made by ``CircuitBuilder.parameter`` and ``CircuitBuilder.value``, and by ``+``, ``-``, ``*``
    and ``/`` with numbers.

    Attributes:
        constant: radians (of a delay: nanoseconds).
        terms: coefficients by the parameter's name or, where it is a cell, by the cell's number.
    """

    constant: float = 0.0
    terms: Mapping[str | int, float] = field(default_factory=dict)

    def __add__(self, other: Angle | float) -> Angle:
        other = other if isinstance(other, Angle) else Angle(float(other))
        names = dict.fromkeys([*self.terms, *other.terms])
        terms = {name: self.terms.get(name, 0.0) + other.terms.get(name, 0.0) for name in names}
        return Angle(self.constant + other.constant, terms)

    def __mul__(self, factor: float) -> Angle:
        factor = float(factor)
        return Angle(self.constant * factor, {k: v * factor for k, v in self.terms.items()})

    def __truediv__(self, divisor: float) -> Angle:
        return self * (1.0 / float(divisor))

    def __neg__(self) -> Angle:
        return self * -1.0

    def __sub__(self, other: Angle | float) -> Angle:
        return self + (-other)

    def __rsub__(self, other: float) -> Angle:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__
