"""Powers of gates that are lists of steps.

A whole power is a repetition. Any other is the principal power: the eigenphases of the gate, taken
in (-pi, pi], times the exponent. A gate is first taken apart as ``A · core · A⁻¹``, whose power is
``A · core**k · A⁻¹``. A core without free parameters is a matrix. One with free parameters is known
where it is diagonal, or made so by a change of basis: its eigenphases are then affine in the
parameters, and what takes them into (-pi, pi] is computed at run time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from openqse.program.angle import Angle
from openqse.program.gates import Op
from openqse.program.openqasm.rotations import (
    IDENTITY,
    Calculator,
    RunTime,
    Turn,
    after,
    eigenphases,
    phase_turn,
    turn_of,
    with_eigenphases,
)
from openqse.program.openqasm.steps import ONE_PARAMETER, Step, Value, controlled, inverse
from openqse.program.openqasm.structure import (
    cancelled,
    changed,
    common_controls,
    conjugated,
    free,
    in_bell_basis,
    in_z_basis,
    key,
    phases_of,
    selected,
    without_controls,
)
from openqse.program.openqasm.synthesis import (
    MAX_QUBITS,
    TOLERANCE,
    Inexact,
    Matrix,
    diagonal,
    negligible,
    synthesised,
    unitary_of,
)

#: Steps of a whole power that is written as a plain repetition, however it might be shortened.
REPEATED = 1024
#: Steps of a gate whose structure is looked into.
MAX_STEPS = 10_000
#: An exponent beyond which rounding of the eigenphases shows in the result.
MAX_EXPONENT = 2**20
#: How near -pi an eigenphase counts as +pi. Rounding is far below it.
_NEAR = 1e-9


class Unpowered(Exception):
    """A power that cannot be written as steps: ``what`` (plural) is not supported, ``remedy``."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def powered(
    steps: list[Step],
    exponent: Value,
    spend: Callable[[int], None] = lambda count: None,
    run_time: RunTime | None = None,
) -> list[Step]:
    """The steps of a gate's power.

    Args:
        steps: the gate.
        exponent: any real number, or an affine form of free parameters. NaN, which stands for an
            unknown number while a definition is checked, gives the steps themselves.
        spend: told the number of steps of a repetition before it is made; may raise.
        run_time: computes what is not affine in free parameters.

    Raises:
        Unpowered: it is not known how.
    """
    angles = [angle for step in steps for angle in step.angles]
    if any(not isinstance(value, Angle) and math.isnan(value) for value in (exponent, *angles)):
        return steps
    if not isinstance(exponent, Angle):
        if exponent == int(exponent):
            return _whole(steps, int(exponent), spend)
        if abs(exponent) > MAX_EXPONENT:
            raise Unpowered(f"fractional powers above {MAX_EXPONENT}", "Give a smaller exponent")
    if len(steps) > MAX_STEPS:
        raise Unpowered(
            f"fractional powers of gates of more than {MAX_STEPS} operations",
            "Write out the gate's power",
        )
    unitary = [step for step in steps if step.op is not Op.BARRIER]
    return _principal_power(unitary, exponent, run_time)


# --- whole powers --------------------------------------------------------------------------------


def _whole(steps: list[Step], exponent: int, spend: Callable[[int], None]) -> list[Step]:
    count = abs(exponent)
    if exponent < 0:
        steps = inverse(steps)
    if count <= 1:
        return steps * count
    if len(steps) == 1 and steps[0].op in ONE_PARAMETER:
        return [_scaled(steps[0], count)]
    if len(steps) * count > REPEATED:
        shorter = _shortened(steps, count)
        if shorter is not None:
            return shorter
    spend(len(steps) * count)
    return steps * count


def _scaled(step: Step, factor: float) -> Step:
    return step._replace(angles=(step.angles[0] * factor,))


def _shortened(steps: list[Step], count: int) -> list[Step] | None:
    """``count`` repetitions written in fewer steps, from the matrix; None if there is no way."""
    if len(steps) > MAX_STEPS or any(step.op is Op.BARRIER for step in steps):
        return None
    outer, core = conjugated(steps)
    if len(core) == 1 and core[0].op in ONE_PARAMETER:
        return [*outer, _scaled(core[0], count), *inverse(outer)]
    qubits = sorted({q for step in core for q in step.qubits})
    if free(core) or len(qubits) > MAX_QUBITS:
        return None
    unitary = unitary_of(core, qubits)
    period = _period(unitary)
    if period is None and count > MAX_EXPONENT:
        return None
    power = np.linalg.matrix_power(unitary, count if period is None else count % period)
    try:
        return [*outer, *synthesised(_nearest(power), qubits), *inverse(outer)]
    except Inexact:
        return None


def _period(unitary: Matrix) -> int | None:
    """The power that is the identity, if a small one is."""
    power = unitary
    for count in range(1, 25):
        if np.abs(power - np.eye(len(unitary))).max() < 1e-13:
            return count
        power = power @ unitary
    return None


def _nearest(matrix: Matrix) -> Matrix:
    """The nearest unitary: rounding of many products taken away."""
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right, dtype=np.complex128)


# --- principal powers ----------------------------------------------------------------------------


def _principal_power(steps: list[Step], exponent: Value, run_time: RunTime | None) -> list[Step]:
    common = common_controls(steps)
    if common:
        bare = [without_controls(step, common) for step in steps]
        return controlled(_principal_power(bare, exponent, run_time), common)
    outer, core = conjugated(steps)
    power = _core_power(core, exponent, run_time)
    return [*outer, *power, *inverse(outer)]


def _core_power(core: list[Step], exponent: Value, run_time: RunTime | None) -> list[Step]:
    if not core:
        return []
    if len(core) == 1 and core[0].op in ONE_PARAMETER and not core[0].controls:
        return _one_parameter_power(core[0], exponent, run_time)
    qubits = sorted({q for step in core for q in step.qubits})
    if len(qubits) > MAX_QUBITS:
        raise Unpowered(
            f"fractional powers of gates on {len(qubits)} qubits (at most {MAX_QUBITS})",
            "Write out the gate's power",
        )
    if not free(core):
        return _matrix_power(core, exponent, qubits)
    phases = phases_of(core, qubits)
    if phases is not None:
        times = _Times(exponent, run_time)
        return diagonal([times(phase) for phase in phases], qubits)
    target = changed(core, qubits)
    if target is not None:
        return _selected_power(core, target, exponent, qubits, run_time)
    for basis in (in_z_basis, in_bell_basis):
        turned = cancelled([plain for step in core for plain in basis(step)])
        outer, inner = conjugated(turned)
        known = phases_of(inner, qubits) is not None or changed(inner, qubits) is not None
        if known or len(inner) < len(core):
            return [*outer, *_principal_power(inner, exponent, run_time), *inverse(outer)]
    raise Unpowered(
        "fractional powers of a gate whose free parameters are in operations that do not commute",
        "Write out the gate's power, or bind the parameter",
    )


class _Times:
    """Principal value of a phase, times the exponent."""

    def __init__(self, exponent: Value, run_time: RunTime | None) -> None:
        self._exponent = exponent
        self._run_time = run_time
        self._known: dict[tuple[object, ...], Value] = {}

    def __call__(self, phase: Value) -> Value:
        if negligible(phase):
            return 0.0
        principal = self._principal(phase)
        if isinstance(principal, Angle):
            if isinstance(self._exponent, Angle):
                return self.calculator().product(self._exponent, principal)
            return principal * self._exponent
        return self._exponent * principal

    def _principal(self, phase: Value) -> Value:
        if not isinstance(phase, Angle):
            return principal_phase(phase)
        known = key(phase)
        if known not in self._known:
            turns = self.calculator()(Op.FCEIL, (phase - (math.pi + _NEAR)) / (2 * math.pi))
            self._known[known] = phase - 2 * math.pi * turns
        return self._known[known]

    def calculator(self) -> Calculator:
        if self._run_time is None:
            raise Unpowered(
                "fractional powers of a gate with a free parameter",
                "Write the power into the gate's angle",
            )
        return Calculator(self._run_time)


def principal_phase(phase: float) -> float:
    """``phase`` in (-pi, pi], where what is -pi but for rounding counts as pi."""
    phase = math.remainder(phase, 2 * math.pi)
    return phase + 2 * math.pi if phase <= -math.pi + _NEAR else phase


def _one_parameter_power(step: Step, exponent: Value, run_time: RunTime | None) -> list[Step]:
    times = _Times(exponent, run_time)
    (angle,) = step.angles
    if step.op in (Op.GPHASE, Op.P):
        return [step._replace(angles=(times(angle),))]
    # Eigenphases half the angle and its opposite, which at 2 pi are the same.
    up, down = times(angle * 0.5), times(angle * -0.5)
    power = [step._replace(angles=(up - down,))]
    phase = (up + down) * 0.5
    if not isinstance(phase, Angle) and abs(phase) < TOLERANCE:
        return power
    return [Step(Op.GPHASE, (), (phase,)), *power]


def _selected_power(
    core: list[Step], target: int, exponent: Value, qubits: list[int], run_time: RunTime | None
) -> list[Step]:
    """The power of a gate that changes one qubit alone, as the others, which it leaves, select:
    for each of their states a one-qubit gate, whose eigenphases are computed at run time."""
    times = _Times(exponent, run_time)
    calculator = times.calculator()
    rest = [q for q in qubits if q != target]
    power: list[Step] = []
    for state in range(2 ** len(rest)):
        values = {q: state >> i & 1 for i, q in enumerate(rest)}
        turn = IDENTITY
        for step in core:
            turn = after(turn, _turn(step, target, values, calculator), calculator)
        along, against = map(times, eigenphases(turn, calculator))
        flips = [Step(Op.X, (q,)) for q, value in values.items() if not value]
        gate = with_eigenphases(turn, along, against, target, calculator)
        power += [*flips, *controlled(gate, tuple(rest)), *flips]
    return power


def _turn(step: Step, target: int, values: dict[int, int], calculator: Calculator) -> Turn:
    reduced = selected(step, target, values)
    assert reduced is not None
    if reduced.op is Op.ID:
        return IDENTITY
    if reduced.op is Op.GPHASE:
        return Turn(reduced.angles[0], IDENTITY.quaternion)
    if reduced.op is Op.P:
        difference, first = reduced.angles
        turn = phase_turn(difference, calculator)
        return Turn(turn.phase + first, turn.quaternion)
    turned = turn_of(reduced, calculator)
    assert turned is not None
    return turned


def _matrix_power(core: list[Step], exponent: Value, qubits: list[int]) -> list[Step]:
    vectors, phases = _eigenphases(unitary_of(core, qubits))
    try:
        if not isinstance(exponent, Angle):
            values = np.exp(1j * exponent * np.array(phases))
            return synthesised(_nearest((vectors * values) @ vectors.conj().T), qubits)
        basis = synthesised(vectors, qubits)
    except Inexact:
        raise _inexact() from None
    return [*inverse(basis), *diagonal([exponent * phase for phase in phases], qubits), *basis]


def _inexact() -> Unpowered:
    return Unpowered("powers of a gate so near a degenerate one", "Write out the gate's power")


def _eigenphases(unitary: Matrix) -> tuple[Matrix, list[float]]:
    """Eigenvectors (columns, orthonormal) and eigenphases in (-pi, pi].

    Those of the Hermitian parts of ``exp(i turn) unitary`` are those of ``unitary``, if no two
    eigenvalues lie opposite each other about the real axis: the best of several turns is taken.
    """
    best: Matrix = np.eye(len(unitary), dtype=np.complex128)
    error = math.inf
    for turn in np.linspace(0.1, 3.2, 16):
        rotated = np.exp(1j * turn) * unitary
        _, vectors = np.linalg.eigh(rotated + rotated.conj().T)
        found = vectors.conj().T @ unitary @ vectors
        off = float(np.abs(found - np.diag(np.diag(found))).max())
        if off < error:
            best, error = vectors, off
    if error > TOLERANCE:
        raise _inexact()
    values: NDArray[np.complex128] = np.diag(best.conj().T @ unitary @ best)
    return best, [principal_phase(float(phase)) for phase in np.angle(values)]
