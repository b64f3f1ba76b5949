"""Powers of gates that are lists of steps."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from openqse.program.angle import Angle
from openqse.program.gates import SIGNATURES, Op, matrix
from openqse.program.openqasm.steps import ONE_PARAMETER, Step, Value, controlled, inverse, u_steps


class Unpowered(Exception):
    """A power that cannot be written as steps: ``what`` (plural) is not supported, ``remedy``."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def powered(
    steps: list[Step], exponent: Value, spend: Callable[[int], None] = lambda count: None
) -> list[Step]:
    """The steps of a gate's power.

    Args:
        steps: the gate.
        exponent: any real number; a fraction gives the principal power. NaN, which stands for an
            unknown number while a definition is checked, gives the steps themselves.
        spend: told the number of steps of a repetition before it is made; may raise.

    Raises:
        Unpowered: it is not known how.
    """
    if isinstance(exponent, Angle):
        raise Unpowered("powers with a free exponent", "Give 'pow' a constant exponent")
    if math.isnan(exponent):
        return steps
    if exponent == int(exponent):
        count = abs(int(exponent))
        if exponent < 0:
            steps = inverse(steps)
        if count and len(steps) == 1 and steps[0].op in ONE_PARAMETER:
            return [steps[0]._replace(angles=(steps[0].angles[0] * count,))]
        spend(len(steps) * count)
        return steps * count
    if any(isinstance(angle, Angle) for step in steps for angle in step.angles):
        raise Unpowered(
            "fractional powers of a gate with a free parameter",
            "Write the power into the gate's angle",
        )
    power = _fractional_power(steps, exponent)
    if power is None:
        raise Unpowered(
            "fractional powers of a gate of several operations", "Write out the gate's power"
        )
    return power


def _fractional_power(steps: list[Step], exponent: float) -> list[Step] | None:
    """The principal power (eigenphases taken in (-pi, pi]); None if it is not known how.

    All angles are numbers.
    """
    if not steps:
        return []
    first = steps[0]
    controls, targets = first.qubits[: first.controls], first.qubits[first.controls :]
    if len(steps) == 1 and first.op in ONE_PARAMETER:
        (angle,) = _numbers(first)
        if first.op in (Op.GPHASE, Op.P):
            return [first._replace(angles=(exponent * _principal(angle),))]
        angle = math.remainder(angle, 4 * math.pi)
        if abs(angle) < 2 * math.pi - _TOLERANCE:
            return [first._replace(angles=(exponent * angle,))]
        return controlled([Step(Op.GPHASE, (), (exponent * math.pi,))], controls)  # (-1)^k
    if len(steps) == 1 and first.op is Op.SWAP:
        a, b = targets
        outer = Step(Op.X, (a, b), (), 1)
        middle = _fractional_power([Step(Op.X, (a,))], exponent)
        assert middle is not None
        return [outer, *controlled(middle, (*controls, b)), outer]
    for step in steps:
        same = set(step.qubits[: step.controls]) == set(controls)
        if not same or SIGNATURES[step.op].targets not in (0, 1) or step.op is Op.BARRIER:
            return None
    qubits = {step.qubits[-1] for step in steps if len(step.qubits) > step.controls}
    if len(qubits) > 1:
        return None
    product = np.eye(2, dtype=np.complex128)
    for step in steps:
        unitary = matrix(step.op, _numbers(step))
        product = (unitary if len(unitary) == 2 else unitary[0, 0] * np.eye(2)) @ product
    powered = _principal_power(product, exponent)
    if not qubits:
        phase = [Step(Op.GPHASE, (), (cmath.phase(powered[0, 0]),))]
        return controlled(phase, controls)
    return controlled(_synthesised(powered, qubits.pop()), controls)


#: How near -1 an eigenvalue counts as -1, whose principal phase is +pi. Rounding is far below it.
_TOLERANCE = 1e-9


def _numbers(step: Step) -> tuple[float, ...]:
    return tuple(float(angle) for angle in step.angles if not isinstance(angle, Angle))


def _principal(phase: float) -> float:
    phase = math.remainder(phase, 2 * math.pi)
    return phase + 2 * math.pi if phase <= -math.pi + _TOLERANCE else phase


def _principal_power(unitary: NDArray[np.complex128], exponent: float) -> NDArray[np.complex128]:
    """Principal power of a 2 × 2 unitary, from its eigenphases and their projectors."""
    half = cmath.phase(complex(unitary[0, 0] * unitary[1, 1] - unitary[0, 1] * unitary[1, 0])) / 2
    special = unitary * cmath.exp(-1j * half)
    # special = cos(b) I + i sin(b) n·sigma with n a unit vector, so its eigenphases are b and -b.
    hermitian = (special - special.conj().T) / 2j
    sine = math.sqrt(max(0.0, float(np.real(np.trace(hermitian @ hermitian))) / 2))
    b = math.atan2(sine, float(np.real(np.trace(special))) / 2)
    high, low = (exponent * _principal(half + sign * b) for sign in (1, -1))
    if sine < 1e-14:
        power = cmath.exp(1j * high) * np.eye(2)
    else:
        axis = hermitian / sine
        power = (
            cmath.exp(1j * high) * (np.eye(2) + axis) + cmath.exp(1j * low) * (np.eye(2) - axis)
        ) / 2
    return np.asarray(power, dtype=np.complex128)


def _synthesised(unitary: NDArray[np.complex128], qubit: int) -> list[Step]:
    """A 2 × 2 unitary as a global phase and a ``U`` (or ``P``)."""
    (m00, m01), (m10, m11) = ((complex(x) for x in row) for row in unitary)
    theta = 2 * math.atan2(abs(m10), abs(m00))
    if abs(m10) < 1e-14:
        phase = cmath.phase(m00)
        return u_steps((0.0, 0.0, cmath.phase(m11) - phase), qubit, phase)
    if abs(m00) < 1e-14:
        phase = cmath.phase(m10)
        return u_steps((math.pi, 0.0, cmath.phase(-m01) - phase), qubit, phase)
    phase = cmath.phase(m00)
    return u_steps((theta, cmath.phase(m10) - phase, cmath.phase(-m01) - phase), qubit, phase)
