"""The structure of a list of steps: what is around a core, and which qubits it changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from openqse.program.angle import Angle
from openqse.program.gates import Op
from openqse.program.openqasm.steps import Step, Value, inverse


def free(steps: Sequence[Step]) -> bool:
    return any(isinstance(angle, Angle) for step in steps for angle in step.angles)


def common_controls(steps: Sequence[Step]) -> tuple[int, ...]:
    """Qubits that are a control of each step."""
    if not steps:
        return ()
    common = set.intersection(*(set(step.qubits[: step.controls]) for step in steps))
    return tuple(q for q in steps[0].qubits if q in common)


def without_controls(step: Step, controls: tuple[int, ...]) -> Step:
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
    return step.op, step.controls, (*sorted(controls), *targets), *map(key, step.angles)


def key(angle: Value) -> tuple[object, ...]:
    if not isinstance(angle, Angle):
        return (angle + 0.0,)
    return (angle.constant + 0.0, *sorted(angle.terms.items(), key=str))


def _opposite(step: Step) -> tuple[object, ...]:
    return _form(inverse([step])[0])


def conjugated(steps: list[Step]) -> tuple[list[Step], list[Step]]:
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


def cancelled(steps: list[Step]) -> list[Step]:
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


def phases_of(steps: list[Step], qubits: list[int]) -> list[Value] | None:
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


def in_z_basis(step: Step) -> list[Step]:
    """The step as a diagonal one between changes of basis of its targets, where it has one."""
    if step.op not in _TO_Z:
        return [step]
    change = [Step(op, (q,)) for q in step.qubits[step.controls :] for op in _TO_Z[step.op]]
    return [*change, step._replace(op=_Z_FORM[step.op]), *inverse(change)]


def in_bell_basis(step: Step) -> list[Step]:
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


def changed(steps: Sequence[Step], qubits: Sequence[int]) -> int | None:
    """The one qubit that the steps change, while the others only select how; None if more are."""
    for target in qubits:
        others = dict.fromkeys((q for q in qubits if q != target), 0)
        if all(selected(step, target, others) is not None for step in steps):
            return target
    return None


def selected(step: Step, target: int, values: dict[int, int]) -> Step | None:
    """A step as one on ``target``, where the other qubits have these values: a ``GPHASE``, a ``P``
    or another gate; None if it changes another qubit."""
    controls, targets = step.qubits[: step.controls], step.qubits[step.controls :]
    if target in targets and len(targets) == 1 and step.op not in _DIAGONAL:
        blocked = not all(values[q] for q in controls)
        return Step(Op.ID, (target,)) if blocked else Step(step.op, targets, step.angles)
    if step.op not in _DIAGONAL:
        return None
    bits = {q: 1 << i for i, q in enumerate(step.qubits)}
    phases: list[Value] = []
    for value in (0, 1):
        state = sum(bits[q] for q in step.qubits if (value if q == target else values[q]))
        satisfied = all(state & bits[q] for q in controls)
        moved = _moved(step, state, [bits[q] for q in targets]) if satisfied else (0, 0.0)
        assert moved is not None
        phases.append(moved[1])
    if target not in step.qubits:
        return Step(Op.GPHASE, (), (phases[0],))
    # The phase of 0 taken out of both, as one angle more.
    return Step(Op.P, (target,), (phases[1] - phases[0], phases[0]))


_DIAGONAL = frozenset({*_FIXED_PHASES, Op.P, Op.GPHASE, Op.RZ, Op.RZZ})
