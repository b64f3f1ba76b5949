"""One-qubit gates with free parameters, and their powers, computed while the program runs.

A gate is ``exp(i phase) (w - i (x X + y Y + z Z))`` with a unit quaternion. Its eigenphases are the
phase and, about it, the angle of the quaternion; what has no finite value at one point is kept from
it by a summand far below rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from openqse.program.angle import Angle
from openqse.program.gates import Op
from openqse.program.machine import FLOAT_OPERATIONS
from openqse.program.openqasm.steps import Step, Value

#: Keeps a quotient from 0/0, and changes no other.
_NOTHING = 1e-300


class RunTime(Protocol):
    """What a reader computes while the program runs, of values with free parameters."""

    def calculated(self, op: Op, *values: Value) -> Value:
        """What a float operation of the circuit form gives; of a comparison 0.0 or 1.0."""


@dataclass(frozen=True)
class Calculator:
    """Arithmetic on values, at run time only where it is not affine in free parameters."""

    run_time: RunTime

    def __call__(self, op: Op, *values: Value) -> Value:
        numbers = [float(value) for value in values if not isinstance(value, Angle)]
        if len(numbers) < len(values):
            return self.run_time.calculated(op, *values)
        if op is Op.FLT:
            return float(numbers[0] < numbers[1])
        return FLOAT_OPERATIONS[op](*numbers)

    def product(self, a: Value, b: Value) -> Value:
        if isinstance(a, Angle):
            return self.run_time.calculated(Op.FMUL, a, b) if isinstance(b, Angle) else a * b
        return a * b

    def squares(self, *values: Value) -> Value:
        """The sum of the squares."""
        total: Value = 0.0
        for value in values:
            total = total + self.product(value, value)
        return total

    def turn(self, y: Value, x: Value) -> Value:
        """The angle of the point ``(x, y)`` in (-pi, pi]; 0 of the origin."""
        left = self(Op.FLT, x, 0.0)
        below = self(Op.FLT, y, 0.0)
        away = x + (1.0 - 2.0 * left) * _NOTHING
        half = self.product(left, 1.0 - 2.0 * below)
        return self(Op.FATAN, self(Op.FDIV, y, away)) + half * math.pi


@dataclass(frozen=True)
class Turn:
    """A one-qubit gate: a phase, and a unit quaternion ``w, x, y, z``."""

    phase: Value
    quaternion: tuple[Value, Value, Value, Value]


IDENTITY = Turn(0.0, (1.0, 0.0, 0.0, 0.0))
_ROOT = math.sqrt(0.5)
_FIXED = {
    Op.X: Turn(math.pi / 2, (0.0, 1.0, 0.0, 0.0)),
    Op.Y: Turn(math.pi / 2, (0.0, 0.0, 1.0, 0.0)),
    Op.H: Turn(math.pi / 2, (0.0, _ROOT, 0.0, _ROOT)),
    Op.SX: Turn(math.pi / 4, (_ROOT, _ROOT, 0.0, 0.0)),
    Op.SXDG: Turn(-math.pi / 4, (_ROOT, -_ROOT, 0.0, 0.0)),
}
_AXES = {Op.RX: 1, Op.RY: 2, Op.RZ: 3}


def phase_turn(angle: Value, calculator: Calculator) -> Turn:
    """A phase ``angle`` of 1."""
    return Turn(angle * 0.5, _about(3, angle, calculator))


def turn_of(step: Step, calculator: Calculator) -> Turn | None:
    """A step's gate on its target, of those that are not phases; None if there is no such."""
    if step.op in _FIXED:
        return _FIXED[step.op]
    if step.op in _AXES:
        return Turn(0.0, _about(_AXES[step.op], step.angles[0], calculator))
    if step.op is not Op.U:
        return None
    theta, phi, lam = step.angles
    first, second, last = (
        Turn(0.0, _about(axis, angle, calculator))
        for axis, angle in ((3, lam), (2, theta), (3, phi))
    )
    turned = after(after(first, second, calculator), last, calculator)
    return Turn((phi + lam) * 0.5, turned.quaternion)


def _about(axis: int, angle: Value, calculator: Calculator) -> tuple[Value, Value, Value, Value]:
    half = angle * 0.5
    cosine, sine = calculator(Op.FCOS, half), calculator(Op.FSIN, half)
    x, y, z = (sine if axis == i else 0.0 for i in (1, 2, 3))
    return cosine, x, y, z


def after(first: Turn, second: Turn, calculator: Calculator) -> Turn:
    """Both gates, ``first`` first."""
    (a, b, c, d), (e, f, g, h) = second.quaternion, first.quaternion
    product = calculator.product
    return Turn(
        first.phase + second.phase,
        (
            product(a, e) - product(b, f) - product(c, g) - product(d, h),
            product(a, f) + product(b, e) + product(c, h) - product(d, g),
            product(a, g) - product(b, h) + product(c, e) + product(d, f),
            product(a, h) + product(b, g) - product(c, f) + product(d, e),
        ),
    )


def eigenphases(turn: Turn, calculator: Calculator) -> tuple[Value, Value]:
    """The eigenphases of the states along the axis and against it."""
    w, x, y, z = turn.quaternion
    sine = calculator(Op.FSQRT, calculator.squares(x, y, z))
    angle = math.pi / 2 - calculator(Op.FATAN, calculator(Op.FDIV, w, sine + _NOTHING))
    return turn.phase - angle, turn.phase + angle


def with_eigenphases(
    turn: Turn, along: Value, against: Value, qubit: int, calculator: Calculator
) -> list[Step]:
    """The gate with the axis of ``turn`` and other eigenphases, as a phase and a ``U``."""
    _, *axis = turn.quaternion
    length = calculator(Op.FSQRT, calculator.squares(*axis)) + _NOTHING
    half = (against - along) * 0.5
    cosine, sine = calculator(Op.FCOS, half), calculator(Op.FSIN, half)
    x, y, z = (calculator.product(sine, calculator(Op.FDIV, n, length)) for n in axis)
    high = calculator(Op.FSQRT, calculator.squares(x, y))
    low = calculator(Op.FSQRT, calculator.squares(cosine, z))
    theta = 2 * calculator(Op.FATAN, calculator(Op.FDIV, high, low + _NOTHING))
    total, difference = calculator.turn(z, cosine), calculator.turn(-1 * x, y)
    return [
        Step(Op.GPHASE, (), ((along + against) * 0.5 - total,)),
        Step(Op.U, (qubit,), (theta, total + difference, total - difference)),
    ]
