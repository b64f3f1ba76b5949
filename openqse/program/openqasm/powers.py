"""Powers of gates that are lists of steps.

A whole power is a repetition. Any other is the principal power: the eigenphases of the gate, taken
in (-pi, pi], times the exponent. A gate is first taken apart as ``A · core · A⁻¹``, whose power is
``A · core**k · A⁻¹``. A core without free parameters is a matrix. One with free parameters is known
where it is diagonal, or made so by a change of basis: its eigenphases are then affine in the
parameters, and what takes them into (-pi, pi] is computed at run time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openqse.program.angle import Angle
from openqse.program.gates import Op
from openqse.program.openqasm.steps import ONE_PARAMETER, Step, Value, controlled, inverse
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


class RunTime(Protocol):
    """What a reader computes while the program runs, of values with free parameters."""

    def ceiling(self, value: Angle) -> Value:
        """The smallest whole number that is not below ``value``."""

    def product(self, a: Angle, b: Angle) -> Value:
        """``a * b``."""


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
    if any(step.op is Op.BARRIER for step in steps):
        return None
    outer, core = _conjugated(steps)
    if len(core) == 1 and core[0].op in ONE_PARAMETER:
        return [*outer, _scaled(core[0], count), *inverse(outer)]
    qubits = sorted({q for step in core for q in step.qubits})
    if _free(core) or len(qubits) > MAX_QUBITS:
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
    common = _common_controls(steps)
    if common:
        bare = [_without_controls(step, common) for step in steps]
        return controlled(_principal_power(bare, exponent, run_time), common)
    outer, core = _conjugated(steps)
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
    if not _free(core):
        return _matrix_power(core, exponent, qubits)
    phases = _phases(core, qubits)
    if phases is not None:
        times = _Times(exponent, run_time)
        return diagonal([times(phase) for phase in phases], qubits)
    for basis in (_in_z_basis, _in_bell_basis):
        turned = _cancelled([plain for step in core for plain in basis(step)])
        outer, inner = _conjugated(turned)
        if len(inner) < len(core) or _phases(inner, qubits) is not None:
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
                return self._at_run_time().product(self._exponent, principal)
            return principal * self._exponent
        return self._exponent * principal

    def _principal(self, phase: Value) -> Value:
        if not isinstance(phase, Angle):
            return principal_phase(phase)
        key = _key(phase)
        if key not in self._known:
            turns = self._at_run_time().ceiling((phase - (math.pi + _NEAR)) / (2 * math.pi))
            self._known[key] = phase - 2 * math.pi * turns
        return self._known[key]

    def _at_run_time(self) -> RunTime:
        if self._run_time is None:
            raise Unpowered(
                "fractional powers of a gate with a free parameter",
                "Write the power into the gate's angle",
            )
        return self._run_time


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


# --- the structure of a list of steps ------------------------------------------------------------


def _free(steps: Sequence[Step]) -> bool:
    return any(isinstance(angle, Angle) for step in steps for angle in step.angles)


def _common_controls(steps: Sequence[Step]) -> tuple[int, ...]:
    """Qubits that are a control of each step."""
    if not steps:
        return ()
    common = set.intersection(*(set(step.qubits[: step.controls]) for step in steps))
    return tuple(q for q in steps[0].qubits if q in common)


def _without_controls(step: Step, controls: tuple[int, ...]) -> Step:
    rest = tuple(q for q in step.qubits if q not in controls)
    return step._replace(qubits=rest, controls=step.controls - len(controls))


_SYMMETRIC = frozenset({Op.SWAP, Op.RXX, Op.RYY, Op.RZZ})


def _form(step: Step) -> tuple[object, ...]:
    """The same for steps that differ only in the order of equivalent qubits."""
    controls, targets = step.qubits[: step.controls], step.qubits[step.controls :]
    if step.op in (Op.P, Op.Z, Op.S, Op.SDG, Op.T, Op.TDG, Op.GPHASE):
        controls, targets = (), step.qubits
    if not controls or step.op in _SYMMETRIC:
        targets = tuple(sorted(targets))
    return step.op, step.controls, (*sorted(controls), *targets), *map(_key, step.angles)


def _key(angle: Value) -> tuple[object, ...]:
    if not isinstance(angle, Angle):
        return (angle + 0.0,)
    return (angle.constant + 0.0, *sorted(angle.terms.items(), key=str))


def _opposite(step: Step) -> tuple[object, ...]:
    return _form(inverse([step])[0])


def _conjugated(steps: list[Step]) -> tuple[list[Step], list[Step]]:
    """``outer`` and ``core`` such that the steps are ``outer``, ``core``, inverse of ``outer``."""
    outer: list[Step] = []
    core = list(steps)
    while len(core) >= 2:
        last = {_form(core[i]): i for i in _open(core, range(len(core) - 1, -1, -1))}
        for i in _open(core, range(len(core))):
            j = last.get(_opposite(core[i]))
            if j is not None and j != i:
                outer.append(core[i])
                core = [step for k, step in enumerate(core) if k not in (i, j)]
                break
        else:
            break
    return outer, core


def _open(steps: list[Step], order: range) -> list[int]:
    """Positions of steps that nothing before them, in this order, shares a qubit with."""
    blocked: set[int] = set()
    total = len({q for step in steps for q in step.qubits})
    found = []
    for i in order:
        if len(blocked) == total:
            break
        if blocked.isdisjoint(steps[i].qubits):
            found.append(i)
        blocked.update(steps[i].qubits)
    return found


def _cancelled(steps: list[Step]) -> list[Step]:
    """The steps without pairs that undo each other."""
    kept: list[Step] = []
    for step in steps:
        for i in range(len(kept) - 1, -1, -1):
            if _form(kept[i]) == _opposite(step):
                del kept[i]
                break
            if not set(kept[i].qubits).isdisjoint(step.qubits):
                kept.append(step)
                break
        else:
            kept.append(step)
    return kept


#: Phase on 1 of the operations that are diagonal.
_FIXED_PHASES = {
    Op.ID: 0.0,
    Op.Z: math.pi,
    Op.S: math.pi / 2,
    Op.SDG: -math.pi / 2,
    Op.T: math.pi / 4,
    Op.TDG: -math.pi / 4,
}


def _phases(steps: list[Step], qubits: list[int]) -> list[Value] | None:
    """The phase that each basis state gets, if each becomes itself; None otherwise."""
    bits = {q: 1 << i for i, q in enumerate(qubits)}
    phases: list[Value] = []
    for start in range(2 ** len(qubits)):
        state = start
        phase: Value = 0.0
        for step in steps:
            numbers = [bits[q] for q in step.qubits]
            if not all(state & bit for bit in numbers[: step.controls]):
                continue
            moved = _moved(step, state, numbers[step.controls :])
            if moved is None:
                return None
            state, phase = moved[0], phase + moved[1]
        if state != start:
            return None
        phases.append(phase)
    return phases


def _moved(step: Step, state: int, targets: list[int]) -> tuple[int, Value] | None:
    """The basis state and phase that a step makes of a basis state; None if not one."""
    if step.op is Op.X:
        return state ^ targets[0], 0.0
    ones = sum(1 for bit in targets if state & bit)
    if step.op is Op.SWAP:
        return state ^ (targets[0] | targets[1]) if ones == 1 else state, 0.0
    if step.op in _FIXED_PHASES:
        return state, _FIXED_PHASES[step.op] * ones
    if step.op in (Op.P, Op.GPHASE):
        return state, step.angles[0] if ones == len(targets) else 0.0
    if step.op in (Op.RZ, Op.RZZ):
        return state, step.angles[0] * (0.5 if ones == 1 else -0.5)
    return None


_TO_Z = {
    **dict.fromkeys((Op.X, Op.SX, Op.SXDG, Op.RX, Op.RXX), (Op.H,)),
    **dict.fromkeys((Op.Y, Op.RY, Op.RYY), (Op.SDG, Op.H)),
}
_Z_FORM = {
    **dict.fromkeys((Op.X, Op.Y), Op.Z),
    Op.SX: Op.S,
    Op.SXDG: Op.SDG,
    **dict.fromkeys((Op.RX, Op.RY), Op.RZ),
    **dict.fromkeys((Op.RXX, Op.RYY), Op.RZZ),
}


def _in_z_basis(step: Step) -> list[Step]:
    """The step as a diagonal one between changes of basis of its targets, where it has one."""
    if step.op not in _TO_Z:
        return [step]
    change = [Step(op, (q,)) for q in step.qubits[step.controls :] for op in _TO_Z[step.op]]
    return [*change, step._replace(op=_Z_FORM[step.op]), *inverse(change)]


def _in_bell_basis(step: Step) -> list[Step]:
    """A rotation of two qubits about XX, YY or ZZ as a diagonal one in the basis of Bell states,
    which serves all three."""
    if step.op not in (Op.RXX, Op.RYY, Op.RZZ):
        return [step]
    controls = step.qubits[: step.controls]
    a, b = sorted(step.qubits[step.controls :])
    change = [Step(Op.X, (a, b), (), 1), Step(Op.H, (a,))]
    if step.op is Op.RYY:  # YY is -XX ZZ
        turned = Step(Op.RZZ, (*controls, a, b), (-step.angles[0],), step.controls)
    else:
        about = a if step.op is Op.RXX else b
        turned = Step(Op.RZ, (*controls, about), step.angles, step.controls)
    return [*change, turned, *inverse(change)]
