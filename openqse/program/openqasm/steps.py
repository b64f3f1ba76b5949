"""Gates as lists of steps: what they are made of, their inverses and their controlled forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from openqse.program.angle import Angle
from openqse.program.gates import SIGNATURES, Op

#: What an expression yields; an ``Angle`` only where a free parameter remains in it.
Value: TypeAlias = int | float | Angle


class Step(NamedTuple):
    """An operation on numbered qubits, controls first; those of ``GPHASE`` are all controls."""

    op: Op
    qubits: tuple[int, ...]
    angles: tuple[Value, ...] = ()
    controls: int = 0
    clbit: int = -1


@dataclass(frozen=True)
class Gate:
    """A gate: how many angles and qubits it takes, and its steps for given ones."""

    angles: int
    qubits: int
    steps: Callable[[Sequence[Value], tuple[int, ...]], list[Step]]


def plain(op: Op, controls: int = 0) -> Gate:
    signature = SIGNATURES[op]
    assert signature.targets is not None
    return Gate(
        signature.angles,
        signature.targets + controls,
        lambda angles, qubits: [Step(op, qubits, tuple(angles), controls)],
    )


def u_steps(angles: Sequence[Value], qubit: int, phase: Value) -> list[Step]:
    """``exp(i phase)`` times the ``U`` of the circuit form, as the plainest steps."""
    theta, phi, lam = angles
    steps = [] if is_number(phase, 0) else [Step(Op.GPHASE, (), (phase,))]
    if is_number(theta, 0):
        return [*steps, Step(Op.P, (qubit,), (phi + lam,))]
    return [*steps, Step(Op.U, (qubit,), (theta, phi, lam))]


def is_number(value: Value, number: float) -> bool:
    return not isinstance(value, Angle) and value == number


_INVERSES = {
    **{op: op for op in (Op.ID, Op.X, Op.Y, Op.Z, Op.H, Op.SWAP, Op.BARRIER)},
    Op.S: Op.SDG,
    Op.SDG: Op.S,
    Op.T: Op.TDG,
    Op.TDG: Op.T,
    Op.SX: Op.SXDG,
    Op.SXDG: Op.SX,
}

#: Operations whose k-th power is the same operation with k times the angle.
ONE_PARAMETER = frozenset({Op.GPHASE, Op.P, Op.RX, Op.RY, Op.RZ, Op.RXX, Op.RYY, Op.RZZ})


def inverse(steps: list[Step]) -> list[Step]:
    def inverted(step: Step) -> Step:
        if step.op in _INVERSES:
            return step._replace(op=_INVERSES[step.op])
        if step.op is Op.U:
            theta, phi, lam = step.angles
            return step._replace(angles=(-theta, -lam, -phi))
        return step._replace(angles=(-step.angles[0],))

    return [inverted(step) for step in reversed(steps)]


def controlled(steps: list[Step], controls: tuple[int, ...]) -> list[Step]:
    return [
        step
        if step.op is Op.BARRIER
        else step._replace(qubits=controls + step.qubits, controls=len(controls) + step.controls)
        for step in steps
    ]
