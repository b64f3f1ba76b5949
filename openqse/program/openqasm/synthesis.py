"""Unitary matrices as steps: up to five qubits, exact to rounding.

One qubit: ``U``. Two: the canonical decomposition ``(A ⊗ B) exp(i(a XX + b YY + c ZZ)) (C ⊗ D)``
(Kraus and Cirac, arXiv:quant-ph/0011050; in the magic basis local gates are real, Makhlin,
arXiv:quant-ph/0002045). More: the cosine-sine decomposition halves a matrix into blocks that one
qubit selects (Shende, Bullock and Markov, arXiv:quant-ph/0406176); a selected block is a controlled
gate, which the circuit form has. Qubits that only control, or that nothing couples, are found
first.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from openqse.program.angle import Angle
from openqse.program.gates import Op, matrix
from openqse.program.openqasm.steps import Step, Value, controlled, u_steps

Matrix: TypeAlias = NDArray[np.complex128]

#: Qubits of a gate whose matrix is built: 32 × 32 numbers, about a thousand steps at most.
MAX_QUBITS = 5
#: What counts as zero in a matrix that was computed from others.
_ZERO = 1e-13
#: How far the matrix of the steps may be from the matrix that was asked for.
TOLERANCE = 1e-12


class Inexact(Exception):
    """The steps found are not the matrix to ``TOLERANCE``."""


def unitary_of(steps: Sequence[Step], qubits: Sequence[int]) -> Matrix:
    """The matrix of steps without free parameters; ``qubits[0]`` is the least significant bit.

    Returns:
        complex128 ``(2**n, 2**n)`` for ``n = len(qubits)``.
    """
    n = len(qubits)
    axis = {q: n - 1 - i for i, q in enumerate(qubits)}
    # One axis for each qubit, the most significant first, and one for the column.
    state = np.eye(2**n, dtype=np.complex128).reshape((2,) * n + (2**n,))
    for step in steps:
        if step.op is Op.BARRIER:
            continue
        gate = matrix(step.op, numbers(step))
        controls = [axis[q] for q in step.qubits[: step.controls]]
        targets = [axis[q] for q in step.qubits[step.controls :]]
        # Controls first, then the targets, the most significant first; a view of ``state``.
        moved = np.moveaxis(state, [*controls, *reversed(targets)], range(len(step.qubits)))
        chosen = moved[(1,) * len(controls)]
        shape = chosen.shape
        chosen[...] = (gate @ chosen.reshape(len(gate), -1)).reshape(shape)
    return state.reshape(2**n, 2**n)


def numbers(step: Step) -> tuple[float, ...]:
    """The angles of a step without free parameters."""
    return tuple(float(angle) for angle in step.angles if not isinstance(angle, Angle))


def synthesised(unitary: Matrix, qubits: Sequence[int]) -> list[Step]:
    """Steps of a matrix, its phase included; ``qubits[0]`` is the least significant bit.

    Args:
        unitary: complex128 ``(2**n, 2**n)``, unitary to rounding.

    Raises:
        Inexact: rounding spoiled the result.
    """
    steps = _merged(_steps(unitary, tuple(qubits)))
    if np.abs(unitary_of(steps, qubits) - unitary).max() > TOLERANCE:
        raise Inexact
    return steps


def diagonal(phases: Sequence[Value], qubits: Sequence[int]) -> list[Step]:
    """``exp(i phases[x])`` for each basis state ``x``: phase gates under every set of controls.

    Phases may have free parameters.
    """
    angles = list(phases)
    for bit in range(len(qubits)):  # what a set of qubits adds to what its subsets have
        for x in range(len(angles)):
            if x >> bit & 1:
                angles[x] = angles[x] - angles[x ^ 1 << bit]
    steps = []
    for x, angle in enumerate(angles):
        if negligible(angle):
            continue
        members = tuple(q for bit, q in enumerate(qubits) if x >> bit & 1)
        if members:
            steps.append(Step(Op.P, members, (angle,), len(members) - 1))
        else:
            steps.append(Step(Op.GPHASE, (), (angle,)))
    return steps


def negligible(value: Value) -> bool:
    """Whether an angle is 0 but for rounding."""
    if isinstance(value, Angle):
        return abs(value.constant) < 1e-15 and not any(value.terms.values())
    return abs(value) < 1e-15


def _steps(unitary: Matrix, qubits: tuple[int, ...]) -> list[Step]:
    n = len(qubits)
    if n == 0:
        phase = cmath.phase(complex(unitary[0, 0]))
        return [] if abs(phase) < 1e-15 else [Step(Op.GPHASE, (), (phase,))]
    if n == 1:
        return _one_qubit(unitary, qubits[0])
    for bit in range(n):
        steps = _uncoupled(unitary, qubits, bit)
        if steps is not None:
            return steps
    return _two_qubits(unitary, qubits) if n == 2 else _halved(unitary, qubits)


def _one_qubit(unitary: Matrix, qubit: int) -> list[Step]:
    """A 2 × 2 unitary as a global phase and a ``U`` (or ``P``, or ``X``)."""
    (m00, m01), (m10, m11) = ((complex(x) for x in row) for row in unitary)
    if abs(m10) < 1e-15:
        angles = (0.0, 0.0, cmath.phase(m11 / m00))
        phase = cmath.phase(m00)
    elif abs(m00) < 1e-15:
        phase, lam = cmath.phase(m10), cmath.phase(-m01 / m10)
        if abs(abs(lam) - math.pi) < 1e-15:
            flip = [Step(Op.X, (qubit,))]
            return flip if abs(phase) < 1e-15 else [Step(Op.GPHASE, (), (phase,)), *flip]
        angles = (math.pi, 0.0, lam)
    else:
        phase, phi = cmath.phase(m00), cmath.phase(m10 / m00)
        # Of two ways to lambda the one that does not lean on the smaller, less exact elements.
        lam = cmath.phase(m11 / m00) - phi if abs(m10) < abs(m00) else cmath.phase(-m01 / m00)
        angles = (2 * math.atan2(abs(m10), abs(m00)), phi, lam)
    steps = u_steps(angles, qubit, 0.0 if abs(phase) < 1e-15 else phase)
    return [s for s in steps if s.op is not Op.P or not negligible(s.angles[0])]


def _split(unitary: Matrix, bit: int) -> NDArray[np.complex128]:
    """The four blocks that qubit ``bit`` selects, ``[row, column]``."""
    n = len(unitary).bit_length() - 1
    axes = unitary.reshape((2,) * (2 * n))
    row, column = n - 1 - bit, 2 * n - 1 - bit
    half = 2 ** (n - 1)
    return np.moveaxis(axes, (row, column), (0, 1)).reshape(2, 2, half, half)


def _uncoupled(unitary: Matrix, qubits: tuple[int, ...], bit: int) -> list[Step] | None:
    """The steps where qubit ``bit`` does not mix with the others; None where it does."""
    blocks = _split(unitary, bit)
    rest, qubit = qubits[:bit] + qubits[bit + 1 :], qubits[bit]
    if np.abs(blocks[0, 1]).max() < _ZERO and np.abs(blocks[1, 0]).max() < _ZERO:
        change = blocks[0, 0].conj().T @ blocks[1, 1]
        # Where 0 selects nothing but the identity, only the controlled part remains.
        return [*controlled(_steps(change, rest), (qubit,)), *_steps(blocks[0, 0], rest)]
    largest = np.unravel_index(np.argmax(np.abs(blocks).max(axis=(2, 3))), (2, 2))
    other = blocks[largest]
    other = other / (np.linalg.norm(other) / math.sqrt(len(other)))
    factor = np.einsum("abij,ij->ab", blocks, other.conj()) / len(other)
    if np.abs(np.einsum("ab,ij->abij", factor, other) - blocks).max() < _ZERO:
        return [*_one_qubit(factor, qubit), *_steps(other, rest)]
    return None


# --- two qubits ----------------------------------------------------------------------------------

#: Columns are Bell states with phases such that tensor products become real.
_MAGIC = np.array(
    [[1, 0, 0, 1j], [0, 1j, 1, 0], [0, 1j, -1, 0], [1, 0, 0, -1j]], dtype=np.complex128
) / math.sqrt(2)
_PAULIS = (Op.X, Op.Y, Op.Z)
_ROTATIONS = (Op.RXX, Op.RYY, Op.RZZ)
#: Eigenvalues of 1, XX, YY and ZZ on the magic basis: one row for each of its states.
_EIGENVALUES = np.stack(
    [np.ones(4)]
    + [np.real(np.diag(_MAGIC.conj().T @ np.kron(matrix(p), matrix(p)) @ _MAGIC)) for p in _PAULIS],
    axis=1,
)


def _two_qubits(unitary: Matrix, qubits: tuple[int, ...]) -> list[Step]:
    """The canonical decomposition; the interaction's angles within a quarter turn."""
    if np.abs(unitary - unitary[0, 0] * matrix(Op.SWAP)).max() < _ZERO:
        return [*_steps(unitary[:1, :1], ()), Step(Op.SWAP, qubits)]
    special = unitary / cmath.exp(1j * cmath.phase(complex(np.linalg.det(unitary))) / 4)
    magic = _MAGIC.conj().T @ special @ _MAGIC
    basis = _real_eigenvectors(magic.T @ magic)
    if np.linalg.det(basis) < 0:
        basis[:, 0] *= -1
    phases = np.angle(np.diag(basis.T @ magic.T @ magic @ basis)) / 2
    left = magic @ basis @ np.diag(np.exp(-1j * phases))
    if np.linalg.det(left).real < 0:
        phases[0] += math.pi
        left[:, 0] *= -1
    # phases = offset + a XX + b YY + c ZZ on each state of the basis
    offset, *interaction = np.linalg.solve(_EIGENVALUES, phases).tolist()
    outer = cmath.exp(1j * offset) * (_MAGIC @ left.real @ _MAGIC.conj().T)
    rotations = []
    for pauli, rotation, angle in zip(_PAULIS, _ROTATIONS, interaction, strict=True):
        quarter_turns = round(angle / (math.pi / 2))
        angle -= quarter_turns * math.pi / 2
        outer = outer @ np.linalg.matrix_power(
            1j * np.kron(matrix(pauli), matrix(pauli)), quarter_turns % 4
        )
        if abs(angle) > 1e-15:
            rotations.append(Step(rotation, qubits, (-2 * angle,)))
    inner = _MAGIC @ basis.T @ _MAGIC.conj().T
    phase = unitary @ (outer @ unitary_of(rotations, qubits) @ inner).conj().T
    outer = phase[0, 0] / abs(phase[0, 0]) * outer
    return [*_local(inner, qubits), *rotations, *_local(outer, qubits)]


def _real_eigenvectors(symmetric: Matrix) -> NDArray[np.float64]:
    """Real orthonormal eigenvectors (columns) of a unitary that equals its transpose.

    Its real and imaginary parts commute, so a mixture of them has the eigenvectors of both; the
    best of several mixtures is taken, for one may have equal eigenvalues by chance.
    """
    best, error = np.eye(4), math.inf
    for weight in (0.6180339887, 0.2718281828, 1.4142135624, 0.0314159265, 3.3333):
        _, vectors = np.linalg.eigh(symmetric.real + weight * symmetric.imag)
        found = vectors.T @ symmetric @ vectors
        off = float(np.abs(found - np.diag(np.diag(found))).max())
        if off < error:
            best, error = vectors, off
    return best


def _local(unitary: Matrix, qubits: tuple[int, ...]) -> list[Step]:
    """A tensor product of two one-qubit gates."""
    blocks = _split(unitary, 1)
    largest = np.unravel_index(np.argmax(np.abs(blocks).max(axis=(2, 3))), (2, 2))
    low = blocks[largest] / (np.linalg.norm(blocks[largest]) / math.sqrt(2))
    high = np.einsum("abij,ij->ab", blocks, low.conj()) / 2
    return [*_one_qubit(low, qubits[0]), *_one_qubit(high, qubits[1])]


# --- more qubits ---------------------------------------------------------------------------------


def _halved(unitary: Matrix, qubits: tuple[int, ...]) -> list[Step]:
    """``(L0 ⊕ L1) · [[C, -S], [S, C]] · (R0 ⊕ R1)``, the last qubit selecting the block."""
    half = len(unitary) // 2
    top, bottom = unitary[:half], unitary[half:]
    left0, cosines, right0 = np.linalg.svd(top[:, :half])
    left0, cosines, right0 = left0[:, ::-1], cosines[::-1].copy(), right0[::-1].copy()
    left1, sines = _columns(bottom[:, :half] @ right0.conj().T)
    # Small sines are not diagonal to their own precision, so they are made so, and the cosines of
    # these columns, which are large, once more.
    k = int((cosines < math.sqrt(0.5)).sum())
    turned1, small, turn = np.linalg.svd(sines[k:, k:])
    left1[:, k:] = left1[:, k:] @ turned1
    right0[k:] = turn @ right0[k:]
    turned0, large = _columns(cosines[k:, None] * turn.conj().T)
    left0[:, k:] = left0[:, k:] @ turned0
    cosines[k:] = np.diag(large).real
    angles = np.arctan2(np.concatenate([np.diag(sines).real[:k], small]), cosines)
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
    right1 = -s * (left0.conj().T @ top[:, half:]) + c * (left1.conj().T @ bottom[:, half:])
    rest, last = qubits[:-1], qubits[-1]
    return [
        *_selected(right0, right1, rest, last),
        *_selected_rotations((2 * angles).tolist(), rest, last),
        *_selected(left0, left1, rest, last),
    ]


def _columns(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """The QR decomposition with a diagonal of R that is not negative."""
    q, r = np.linalg.qr(matrix)
    diagonal = np.diag(r)
    signs = np.where(diagonal == 0, 1, diagonal / np.where(diagonal == 0, 1, np.abs(diagonal)))
    return q * signs, r * signs.conj()[:, None]


def _selected(zero: Matrix, one: Matrix, rest: tuple[int, ...], selects: int) -> list[Step]:
    change = zero.conj().T @ one
    return [*controlled(_steps(change, rest), (selects,)), *_steps(zero, rest)]


def _selected_rotations(angles: list[float], rest: tuple[int, ...], target: int) -> list[Step]:
    """``RY(angles[x])`` on ``target`` for each state ``x`` of ``rest``.

    Rotations between ``CX`` along a Gray code (Möttönen et al., arXiv:quant-ph/0404089).
    """
    size = len(angles)
    steps = []
    for i in range(size):
        gray = i ^ i >> 1
        signs = [1 - 2 * ((x & gray).bit_count() & 1) for x in range(size)]
        angle = sum(a * sign for a, sign in zip(angles, signs, strict=True)) / size
        if abs(angle) > 1e-15:
            steps.append(Step(Op.RY, (target,), (angle,)))
        flipped = gray ^ ((i + 1) % size ^ (i + 1) % size >> 1)
        steps.append(Step(Op.X, (rest[flipped.bit_length() - 1], target), (), 1))
    return steps


def _merged(steps: list[Step]) -> list[Step]:
    """Global phases summed into one step, the first; two equal ``X`` in a row left out."""
    phase = 0.0
    merged: list[Step] = []
    for step in steps:
        if step.op is Op.GPHASE and not step.controls:
            phase += numbers(step)[0]
        elif step.op is Op.X and merged and merged[-1] == step:
            merged.pop()
        else:
            merged.append(step)
    phase = math.remainder(phase, 2 * math.pi)
    return merged if abs(phase) < 1e-15 else [Step(Op.GPHASE, (), (phase,)), *merged]
