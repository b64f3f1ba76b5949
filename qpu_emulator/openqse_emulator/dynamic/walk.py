"""The walk over the tree of what may happen to a program's shots, depth first.

A frame is one path through the program: a quantum state, the classical one, and the times of all
qubits. All shots of a frame share it. Where they come to differ (an outcome, an error, a qubit that
decays) the frame is parted, and the part with fewer shots goes on first: so few frames wait, about
as many as the number of shots has bits. An operation is taken in steps, after each of which the
kernel may return and go on later:

0. classical operations, and when the next quantum one can begin;
1. to ``3 m``: relaxation of its ``m`` qubits since they were touched last: decay, dephasing,
   leakage of each;
``3 m + 1``: the operation;
``3 m + 2`` and so on: the bit that a measurement writes, or a gate's errors.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from openqse_emulator.dynamic import dense, draws, tableau
from openqse_emulator.dynamic.codes import (
    BOX_OVERRUN,
    DONE,
    FAILED,
    FINE,
    HALT,
    MORE_AMPLITUDES,
    MORE_FRAMES,
    NOT_A_DURATION,
    NOT_CLIFFORD,
    NOT_FINITE,
    ONE,
    PAUSED,
    TOO_MANY_STEPS,
    ZERO,
)
from openqse_emulator.dynamic.machine import advance
from openqse_emulator.dynamic.records import EXACT, SAMPLE
from openqse_emulator.statevector.compiled import kernel

_inlined = partial(kernel, inlined=True)

#: Amplitudes that a kernel works on before it returns: some milliseconds.
_BUDGET = 1 << 21
#: What a step costs beside, in amplitudes.
_STEP = 256
#: Paths less probable are not followed.
_IMPOSSIBLE = 1e-14
_MEASURE, _RESET, _BARRIER, _DELAY, _BOX, _END_BOX = 32, 33, 34, 35, 36, 37
#: The step in which shots that share a superposition draw what they find in it.
_TAIL = -1
_LONGEST = 1e18
#: Nanoseconds by which sums of durations may be wrong.
_ROUNDING = 1e-6


@kernel
def walk(
    code: Any, angles: Any, parameters: Any, stack: Any, shots: Any, found: Any, control: Any
) -> Any:
    """Goes on with a walk until it is done, has worked for a while, or needs room.

    Args:
        code, stack, shots, found, control: the records of these names.
        angles: float64, of each angle what is known beforehand.
        parameters: float64, values of the free parameters.

    Returns:
        One of ``DONE``, ``PAUSED``, ``MORE_FRAMES``, ``MORE_AMPLITUDES``, ``FAILED``.
    """
    top = control.state[0]
    work = 0
    while top >= 0:
        frame = stack.frames[top]
        control.state[0] = top
        if work > _BUDGET:
            return PAUSED
        if top + 1 >= len(stack.frames):
            return MORE_FRAMES
        if 4 << frame.active > stack.psi.shape[1]:
            return MORE_AMPLITUDES
        work += _STEP + (1 << frame.active)
        step, pc = frame.step, frame.pc
        if step == 0:
            top = _begin(code, angles, parameters, stack, shots, found, control, top)
            if control.state[1] != FINE:
                return FAILED
            continue
        if step == _TAIL:
            top = _end_superposition(code, stack, shots, top)
            continue
        width = code.begin[pc + 1] - code.begin[pc]
        if step <= 3 * width:
            qubit = code.qubits[code.begin[pc] + (step - 1) // 3]
            top = _relax(code, stack, shots, top, qubit, (step - 1) % 3)
        elif step == 3 * width + 1:
            if code.op[pc] == HALT:
                _read(code, stack, found, control, top)
                top -= 1
                continue
            top = _operate(code, angles, stack, shots, control, top)
            if control.state[1] != FINE:
                return FAILED
        elif code.op[pc] == _MEASURE:
            top = _write(code, stack, shots, control, top)
        else:
            row = code.error_begin[pc] + step - 3 * width - 2
            if row < code.error_begin[pc + 1]:
                top = _err(code, stack, shots, top, row)
            else:
                _next(frame)
    control.state[0] = -1
    return DONE


@_inlined
def copy(stack: Any, top: int) -> None:
    """Puts a copy of the top frame on the stack."""
    to = top + 1
    stack.frames[to] = stack.frames[top]
    size = 1 << stack.frames[top].active
    stack.psi[to, :size] = stack.psi[top, :size]
    stack.ints[to] = stack.ints[top]
    stack.bits[to] = stack.bits[top]
    stack.free[to] = stack.free[top]
    stack.began[to] = stack.began[top]
    stack.ended[to] = stack.ended[top]
    stack.where[to] = stack.where[top]
    stack.leaked[to] = stack.leaked[top]
    stack.boxes[to] = stack.boxes[top]


@_inlined
def _part(stack: Any, shots: Any, top: int, at: int) -> Any:
    """Gives the shots from ``at`` on a frame of their own; the frame itself, if it is all of them.

    Returns:
        The number of the frame that has them, which is the top one then. It goes on with the next
        step.
    """
    frame = stack.frames[top]
    to = top
    if at > frame.lo:
        to = top + 1
        copy(stack, top)
        stack.frames[to].lo = at
        frame.hi = at
    part = stack.frames[to]
    part.hit = part.hi
    part.chosen = 0
    part.step += 1
    draws.lowest(shots, part)
    if to > top:
        frame.hit = min(frame.hit, frame.hi)
    return to


@_inlined
def _fail(control: Any, wrong: int, pc: int) -> None:
    control.state[1] = wrong
    control.state[2] = pc


@_inlined
def value_of(code: Any, angles: Any, floats: Any, i: int) -> Any:
    """The value of an angle on this path."""
    value = angles[i]
    for term in range(code.term_begin[i], code.term_begin[i + 1]):
        value += code.term_factor[term] * floats[code.term_cell[term]]
    return value


@_inlined
def _begin(
    code: Any,
    angles: Any,
    parameters: Any,
    stack: Any,
    shots: Any,
    found: Any,
    control: Any,
    top: int,
) -> Any:
    """Step 0; returns the top frame, which is another one where the path has ended."""
    frame = stack.frames[top]
    floats = stack.floats[top]
    pc, steps, wrong, waits = advance(
        code, parameters, stack.ints[top], floats, stack.bits[top], frame.pc, frame.steps,
        control.most_steps,
    )  # fmt: skip
    frame.pc, frame.steps = pc, steps
    if wrong != FINE:
        _fail(control, wrong, pc)
        return top
    op = code.op[pc]
    if waits:
        frame.clock = max(frame.clock, frame.known)
    free = stack.free[top]
    if code.final[pc]:
        frame.pc += 1
        return top
    if op == HALT:
        if control.mode == SAMPLE:
            _finish(stack, shots, found, control, top)
            return top - 1
        frame.start = free.max()
        frame.step = 1 if code.noisy[0] else 3 * len(free) + 1
        return top
    if control.mode == SAMPLE and code.classical[pc] and frame.active:
        frame.step = _TAIL
        return top
    frame.steps += 1
    if frame.steps > control.most_steps:
        _fail(control, TOO_MANY_STEPS, pc)
        return top
    start = max(frame.clock, frame.known) if code.waits[pc] else frame.clock
    for i in range(code.begin[pc], code.begin[pc + 1]):
        start = max(start, free[code.qubits[i]])
    end, wrong = start + code.duration[pc], FINE
    if op in (_DELAY, _BOX, _END_BOX):
        end, wrong = _times(code, angles, stack, top, start)
    for i in range(code.begin[pc], code.begin[pc + 1]):
        free[code.qubits[i]] = end
    idles = op == 1 and code.error_begin[pc] == code.error_begin[pc + 1]
    if op >= _BARRIER or idles or code.begin[pc] == code.begin[pc + 1]:
        frame.pc += 1
    else:
        frame.start = start
        if op == _MEASURE:
            frame.known = max(frame.known, end)
        waited = op != _RESET and code.noisy[0] != 0
        frame.step = 1 if waited else 3 * (code.begin[pc + 1] - code.begin[pc]) + 1
    if wrong != FINE:
        _fail(control, wrong, pc)
    return top


@kernel
def _times(code: Any, angles: Any, stack: Any, top: int, start: int) -> Any:
    """When a delay, or the beginning or end of a box, sets its qubits free; and what is wrong."""
    pc = stack.frames[top].pc
    boxes = stack.boxes[top]
    if code.op[pc] == _END_BOX:
        end = boxes[code.slot[pc]]
        return end, BOX_OVERRUN if start > end + _ROUNDING else FINE
    value = value_of(code, angles, stack.floats[top], code.angle[pc])
    if not math.isfinite(value):
        return start, NOT_FINITE
    if not 0.0 <= value <= _LONGEST:
        return start, NOT_A_DURATION
    end = start + value
    if code.op[pc] == _BOX:
        boxes[code.slot[pc]] = end
        return start, FINE
    return end, FINE


@kernel
def _finish(stack: Any, shots: Any, found: Any, control: Any, top: int) -> None:
    """Writes what the shots of a path have found."""
    frame, bits = stack.frames[top], stack.bits[top]
    row = np.zeros(found.memory.shape[1], dtype=np.uint8)
    for i in range(control.num_outputs):
        row[i >> 3] |= bits[i] << (i & 7)
    end = np.int64(math.ceil(stack.free[top].max()))
    for i in range(frame.lo, frame.hi):
        s = shots.order[i]
        found.memory[s] = row
        found.ends[s] = end
        found.left[s] = False
    found.paths[0] += 1


@kernel
def _read(code: Any, stack: Any, found: Any, control: Any, top: int) -> None:
    """Adds the expectation at the end of a path."""
    frame, psi, where = stack.frames[top], stack.psi[top], stack.where[top]
    weight = frame.weight if control.mode == EXACT else np.float64(frame.hi - frame.lo)
    norm = 1.0 if code.tableau[0] else dense.norm(psi, frame.active)
    value = 0.0
    for term in range(len(found.coefficients)):
        paulis = found.paulis[term]
        if code.tableau[0]:
            one = tableau.expectation(stack.words[top], len(where), where, paulis)
        else:
            one = dense.expectation(psi, frame.active, where, paulis)
        value += found.coefficients[term] * one
    found.sums[0] += weight
    found.sums[1] += weight * value / norm
    found.sums[2] += weight * stack.free[top].max()
    found.paths[0] += 1


@kernel
def _end_superposition(code: Any, stack: Any, shots: Any, top: int) -> Any:
    """Nothing that comes tells a superposition from a mixture: every shot draws a basis state, and
    those that drew the same go on together."""
    frame, psi, where = stack.frames[top], stack.psi[top], stack.where[top]
    seen = 0
    for q in range(len(where)):
        if where[q] >= 0 and code.seen[q]:
            seen |= 1 << where[q]
    if frame.chosen == 0:
        _draw_basis_states(psi, frame, shots, seen)
    last = shots.choice[shots.order[frame.hi - 1]]
    at = frame.hi - 1
    while at > frame.lo and shots.choice[shots.order[at - 1]] == last:
        at -= 1
    to = top
    if at > frame.lo:
        to = top + 1
        # The state itself is not needed any more.
        active = frame.active
        frame.active = 0
        kept = psi[0]
        copy(stack, top)
        psi[0] = kept
        frame.active = active
        stack.frames[to].lo = at
        frame.hi = at
    part, where = stack.frames[to], stack.where[to]
    for q in range(len(where)):
        if where[q] >= 0:
            where[q] = ONE if last >> where[q] & 1 else ZERO
    part.active = 0
    stack.psi[to, 0] = 1.0
    part.hit, part.chosen, part.step = part.hi, 0, 0
    draws.lowest(shots, part)
    return to


@kernel
def _draw_basis_states(psi: Any, frame: Any, shots: Any, seen: int) -> None:
    """Each shot draws a basis state; shots are sorted by what is seen of it."""
    size, total = 1 << frame.active, 0.0
    for i in range(size):
        total += psi[i].real ** 2 + psi[i].imag ** 2
        shots.sums[i] = total
    order = shots.order
    for i in range(frame.lo, frame.hi):
        s = order[i]
        u = total * draws.uniform(shots.key[0], shots.first[0] + s, shots.drawn[s])
        shots.drawn[s] += 1
        low, high = 0, size - 1
        while low < high:
            middle = (low + high) >> 1
            if shots.sums[middle] > u:
                high = middle
            else:
                low = middle + 1
        shots.choice[s] = low & seen
    keys = np.empty(frame.hi - frame.lo, dtype=np.int64)
    held = order[frame.lo : frame.hi].copy()
    for i in range(len(keys)):
        keys[i] = shots.choice[held[i]]
    sorted_ = np.argsort(keys)
    for i in range(len(keys)):
        order[frame.lo + i] = held[sorted_[i]]
    frame.chosen = 1


@_inlined
def _relax(code: Any, stack: Any, shots: Any, top: int, qubit: int, what: int) -> Any:
    """Decay, dephasing or leakage (0, 1, 2) of a qubit since its last operation."""
    frame, psi, where = stack.frames[top], stack.psi[top], stack.where[top]
    began = stack.began[top, qubit]
    passed = frame.start - (stack.ended[top, qubit] if what == 2 else began)
    rate = code.rates[qubit, what] * passed
    bit = where[qubit]
    if (
        began < 0 or rate == 0.0 or stack.leaked[top, qubit]
        or (what == 0 and bit == ZERO) or (what == 1 and bit < 0)
    ):  # fmt: skip
        frame.step += 1
        return top
    probability = -math.expm1(-rate) / (2.0 if what == 1 else 1.0)
    if frame.chosen == 0:
        draws.threaten(shots, frame, probability)
        frame.chosen = 1
    sums = np.ones(1)
    if what != 1:
        if bit >= 0 and frame.hit < frame.hi:
            zero, one = dense.weigh(psi, frame.active, bit)
            sums[0] = one / (zero + one)
        elif bit == ZERO:
            sums[0] = 0.0
    while frame.hit < frame.hi:
        kind, at = draws.next_struck(shots, frame, sums)
        if what == 0 and kind == 1:
            draws.spare(shots, frame, at)
            continue
        to = _part(stack, shots, top, at)
        if what == 1:
            _strike(code, stack, to, qubit, 3)
        else:
            if bit >= 0:
                _find(code, stack, to, qubit, 1 - kind)
            stack.where[to, qubit] = ZERO if what == 0 else ONE
            stack.leaked[to, qubit] = what == 2
        return to
    if what == 0 and bit >= 0:
        dense.phase(psi, frame.active, 1 << bit, complex(math.exp(-0.5 * rate)))
    frame.chosen = 0
    frame.step += 1
    return top


@_inlined
def _operate(code: Any, angles: Any, stack: Any, shots: Any, control: Any, top: int) -> Any:
    """The operation itself."""
    frame = stack.frames[top]
    pc = frame.pc
    op = code.op[pc]
    qubits = code.qubits[code.begin[pc] : code.begin[pc + 1]]
    if op in (_MEASURE, _RESET):
        if stack.where[top, qubits[0]] >= 0:
            return _collapse(code, stack, shots, control, top, qubits[0])
        _leave(code, stack, top)
        frame.step += 1
        return top
    alive = True
    for q in qubits:
        alive &= stack.leaked[top, q] == 0
    if alive and op != 1:
        x, y, z = 0.0, 0.0, 0.0
        if op == 0 or (op >= 12 and op != 17):
            floats = stack.floats[top]
            x = value_of(code, angles, floats, code.angle[pc])
            if op == 16:
                y = value_of(code, angles, floats, code.angle[pc] + 1)
                z = value_of(code, angles, floats, code.angle[pc] + 2)
            if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
                _fail(control, NOT_FINITE, pc)
                return top
        if not _apply(code, stack, top, qubits, x, y, z):
            _fail(control, NOT_CLIFFORD, pc)
            return top
    _leave(code, stack, top)
    frame.step += 1
    return top


@_inlined
def _apply(code: Any, stack: Any, top: int, qubits: Any, x: float, y: float, z: float) -> Any:
    """Applies the gate that comes next; returns whether that can be."""
    frame, where = stack.frames[top], stack.where[top]
    op, controls = code.op[frame.pc], code.controls[frame.pc]
    if code.tableau[0]:
        n = len(where)
        return tableau.gate(op, controls, qubits, stack.words[top], n, where, x, y, z)
    psi = stack.psi[top]
    frame.active = dense.gate(op, controls, qubits, psi, frame.active, where, x, y, z)
    return True


@_inlined
def _weigh(code: Any, stack: Any, top: int, qubit: int) -> Any:
    """How much of the state has an active qubit at 0, and at 1."""
    where = stack.where[top]
    if code.tableau[0]:
        return tableau.weigh(stack.words[top], len(where), qubit)
    return dense.weigh(stack.psi[top], stack.frames[top].active, where[qubit])


@_inlined
def _find(code: Any, stack: Any, top: int, qubit: int, value: int) -> None:
    """An active qubit is found to have a value."""
    frame, where = stack.frames[top], stack.where[top]
    if code.tableau[0]:
        tableau.collapse(stack.words[top], len(where), where, qubit, value)
    else:
        frame.active = dense.collapse(stack.psi[top], frame.active, where, qubit, value)


@_inlined
def _strike(code: Any, stack: Any, top: int, qubit: int, which: int) -> None:
    """A Pauli error: X, Y or Z (1, 2, 3) on a qubit."""
    where = stack.where[top]
    if code.tableau[0] and where[qubit] >= 0:
        tableau.pauli(stack.words[top], len(where), qubit, which)
    else:
        dense.pauli(stack.psi[top], stack.frames[top].active, where, qubit, which)


@_inlined
def _leave(code: Any, stack: Any, top: int) -> None:
    """Notes when an operation's qubits were touched; one that is reset is 0."""
    frame = stack.frames[top]
    resets = code.op[frame.pc] == _RESET
    for i in range(code.begin[frame.pc], code.begin[frame.pc + 1]):
        q = code.qubits[i]
        end = stack.free[top, q]
        stack.ended[top, q] = end
        stack.began[top, q] = end if resets else frame.start
        if resets:
            stack.where[top, q] = ZERO
            stack.leaked[top, q] = 0


@_inlined
def _collapse(code: Any, stack: Any, shots: Any, control: Any, top: int, qubit: int) -> Any:
    """Parts a frame by what a measurement finds."""
    frame = stack.frames[top]
    zero, one = _weigh(code, stack, top, qubit)
    first = zero / (zero + one)
    to, value = top, -1
    if first < _IMPOSSIBLE:
        value = 1
    elif 1.0 - first < _IMPOSSIBLE:
        value = 0
    elif control.mode == EXACT:
        value = 1
        if frame.weight * first < _IMPOSSIBLE:
            frame.weight *= 1.0 - first
        elif frame.weight * (1.0 - first) < _IMPOSSIBLE:
            value = 0
            frame.weight *= first
        else:
            to = _both(stack, top, first)
            _find(code, stack, top, qubit, 0)
            _leave(code, stack, top)
            frame.step += 1
    elif frame.hi - frame.lo == 1 and frame.chosen == 0:
        value = draws.coin(shots, shots.order[frame.lo], first)
    if value < 0:
        if frame.chosen == 0:
            draws.choose(shots, frame, np.full(1, first))
        value, at = draws.next_chosen(shots, frame, 2)
        to = _part(stack, shots, top, at)
    else:
        stack.frames[to].step += 1
        stack.frames[to].chosen = 0
    _find(code, stack, to, qubit, value)
    _leave(code, stack, to)
    return to


@kernel
def _both(stack: Any, top: int, first: float) -> Any:
    """Follows both of two ways: the frame goes the first, with this probability."""
    copy(stack, top)
    stack.frames[top + 1].weight *= 1.0 - first
    stack.frames[top].weight *= first
    return top + 1


@_inlined
def _write(code: Any, stack: Any, shots: Any, control: Any, top: int) -> Any:
    """Writes the bit of a measurement, for some shots the wrong one."""
    frame = stack.frames[top]
    pc = frame.pc
    bit = code.clbit[pc]
    value = 1 if stack.where[top, code.qubits[code.begin[pc]]] == ONE else 0
    wrong = code.misread[pc, value]
    if bit >= 0 and wrong > 0.0:
        if control.mode == EXACT:
            if wrong >= 1.0:
                value = 1 - value
            elif frame.weight * wrong >= _IMPOSSIBLE:
                to = _both(stack, top, 1.0 - wrong)
                stack.bits[top, bit] = value
                _next(frame)
                _next(stack.frames[to])
                stack.bits[to, bit] = 1 - value
                return to
        else:
            if frame.chosen == 0:
                draws.threaten(shots, frame, wrong)
                frame.chosen = 1
            if frame.hit < frame.hi:
                _, at = draws.next_struck(shots, frame, np.empty(0))
                to = _part(stack, shots, top, at)
                stack.bits[to, bit] = 1 - value
                _next(stack.frames[to])
                return to
    if bit >= 0:
        stack.bits[top, bit] = value
    _next(frame)
    return top


@_inlined
def _next(frame: Any) -> None:
    frame.pc += 1
    frame.step = 0
    frame.chosen = 0


@_inlined
def _err(code: Any, stack: Any, shots: Any, top: int, row: int) -> Any:
    """An error of a gate."""
    frame = stack.frames[top]
    width, one, other, first = code.error[row]
    if code.error_total[row] < 0:
        return _kraus(code, stack, shots, top, row)
    if frame.chosen == 0:
        draws.threaten(shots, frame, code.error_total[row])
        frame.chosen = 1
    where, leaked = stack.where[top], stack.leaked[top]
    while frame.hit < frame.hi:
        kind, at = draws.next_struck(
            shots, frame, code.figures[first : first + (2 if width == 1 else 14)]
        )
        string = kind + 1
        on_one, on_other = string, 0
        if width == 2:
            on_one, on_other = string >> 2, string & 3
        if leaked[one] or (where[one] < 0 and on_one == 3):
            on_one = 0
        if width == 2 and (leaked[other] or (where[other] < 0 and on_other == 3)):
            on_other = 0
        if on_one == 0 and on_other == 0:
            draws.spare(shots, frame, at)
            continue
        to = _part(stack, shots, top, at)
        if on_one:
            _strike(code, stack, to, one, on_one)
        if on_other:
            _strike(code, stack, to, other, on_other)
        return to
    frame.chosen = 0
    frame.step += 1
    return top


@kernel
def _kraus(code: Any, stack: Any, shots: Any, top: int, row: int) -> Any:
    """Kraus operators on one or two qubits, each as likely as the norm that it leaves."""
    frame, psi, where = stack.frames[top], stack.psi[top], stack.where[top]
    width, one, other, first = code.error[row]
    if stack.leaked[top, one] or (width == 2 and stack.leaked[top, other]):
        frame.step += 1
        return top
    frame.active = dense.activate(psi, frame.active, where, one)
    if width == 2:
        frame.active = dense.activate(psi, frame.active, where, other)
    bits = np.empty(width, dtype=np.int64)
    bits[0] = where[one]
    if width == 2:
        bits[1] = where[other]
    size = 1 << width
    kinds = np.int64(code.kraus[first].real)
    operators = code.kraus[first + 1 : first + 1 + kinds * size * size].reshape(kinds, size, size)
    density = np.empty((size, size), dtype=np.complex128)
    dense.reduce(psi, frame.active, bits, density)
    weights = np.zeros(kinds)
    for kind in range(kinds):
        for i in range(size):
            for r in range(size):
                for c in range(size):
                    term = operators[kind, i, r] * density[r, c]
                    weights[kind] += (term * operators[kind, i, c].conjugate()).real
    if frame.chosen == 0:
        draws.choose(shots, frame, np.cumsum(weights)[:-1] / weights.sum())
    kind, at = draws.next_chosen(shots, frame, kinds)
    to = _part(stack, shots, top, at)
    part = stack.frames[to]
    scaled = operators[kind] * complex(max(weights[kind], 1e-300) ** -0.5)
    dense.multiply(stack.psi[to], part.active, bits, scaled)
    return to
