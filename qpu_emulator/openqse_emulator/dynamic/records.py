"""What kernels work on: a compiled program, the frames of a walk, the shots, and what they give."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Code(NamedTuple):
    """A program for the kernels, made by ``compile.compiled``. It has ``n`` operations, and after
    them one that ends it and acts on all qubits.

    Attributes:
        op: int64 ``(n + 1,)``, operations of the circuit form, ``JUMP`` and ``HALT``.
        arguments: int64 ``(n + 1, 4)``, the first operands of classical operations.
        clbit, controls: int64 ``(n + 1,)``.
        target: int64, where a jump, or a branch whose condition is false, goes.
        waits: uint8, whether an operation can begin only when outcomes are known.
        begin, qubits: int64 ``(n + 2,)`` and flat: the qubits of quantum operations.
        angle: int64 ``(n + 1,)``, the first of an operation's angles.
        term_begin, term_cell, term_factor: the run-time terms of each angle: int64
            ``(angles + 1,)``, int64 and float64.
        duration: int64 ``(n + 1,)``, nanoseconds.
        slot: int64, where a box keeps when it ends.
        classical: uint8, from where on nothing brings qubits into superposition.
        final: uint8, the measurements in whose place an observable stands.
        seen: uint8 ``(num_qubits,)``, what is looked at after superpositions have ended.
        misread: float64 ``(n + 1, 2)``, how often a measurement reports a 0, or a 1, wrongly.
        error_begin: int64 ``(n + 2,)``, the errors of each operation, rows of:
        error: int64 ``(e, 4)``, the number of qubits, these, and the first of the figures.
        error_total: float64 ``(e,)``, how probable an error is; -1 for Kraus operators.
        figures: float64, of errors the running sum of 3 or 15 shares of ``error_total``.
        kraus: complex128, and of Kraus operators, from ``2 * figure`` on, their number and
            matrices.
        rates: float64 ``(num_qubits, 3)``: decay, dephasing and leakage per nanosecond.
        noisy: int64 ``(1,)``, whether anything goes wrong while time passes.
        tableau: int64 ``(1,)``, whether states are tableaux and not amplitudes.
    """

    op: Ints
    arguments: Ints
    clbit: Ints
    controls: Ints
    target: Ints
    waits: NDArray[np.uint8]
    begin: Ints
    qubits: Ints
    angle: Ints
    term_begin: Ints
    term_cell: Ints
    term_factor: Floats
    duration: Ints
    slot: Ints
    classical: NDArray[np.uint8]
    final: NDArray[np.uint8]
    seen: NDArray[np.uint8]
    misread: Floats
    error_begin: Ints
    error: Ints
    error_total: Floats
    figures: Floats
    kraus: NDArray[np.complex128]
    rates: Floats
    noisy: Ints
    tableau: Ints


#: A frame: one path, from where it is to where it ends. Its shots are ``order[lo:hi]``, of which
#: those from ``hit`` on are struck by what happens now; ``chosen`` says that what they are struck
#: by is drawn. ``hazard`` is how much has threatened a shot on this path, ``threshold`` the least
#: that any of its shots survives. ``known`` is when the last outcome is known, ``clock`` when what
#: depends on outcomes can begin. A path that is followed with its probability has a ``weight``.
FRAME = np.dtype([
    ("pc", np.int64), ("step", np.int64), ("steps", np.int64),
    ("lo", np.int64), ("hi", np.int64), ("hit", np.int64), ("chosen", np.int64),
    ("active", np.int64), ("start", np.float64), ("known", np.float64), ("clock", np.float64),
    ("hazard", np.float64), ("threshold", np.float64), ("weight", np.float64),
])  # fmt: skip


class Stack(NamedTuple):
    """The frames that are under way, the last one first.

    Attributes:
        frames: ``FRAME`` ``(f,)``.
        psi, words: complex128 ``(f, amplitudes)``, and the same memory as uint64: of a state its
            amplitudes or its tableau.
        ints, floats: int64 and float64 ``(f, cells)``, the same memory.
        bits: uint8 ``(f, clbits)``.
        free, began, ended: float64 ``(f, qubits)``, nanoseconds: when a qubit can be used again,
            and when its last operation began (-1: it had none) and ended.
        where: int64 ``(f, qubits)``, see ``dense``.
        leaked: uint8 ``(f, qubits)``, whether a qubit has left its two levels.
        boxes: float64 ``(f, depth)``, nanoseconds, when the boxes that are open end.
    """

    frames: Any
    psi: NDArray[np.complex128]
    words: NDArray[np.uint64]
    ints: Ints
    floats: Floats
    bits: NDArray[np.uint8]
    free: Floats
    began: Floats
    ended: Floats
    where: Ints
    leaked: NDArray[np.uint8]
    boxes: Floats


class Shots(NamedTuple):
    """The shots of a walk.

    Attributes:
        key: uint64 ``(1,)``, what the seed and the number of the set give.
        first: int64 ``(1,)``, the number of the first shot.
        order: int64 ``(shots,)``, a permutation, in which the shots of a frame stand together.
        threshold: float64 ``(shots,)``, how much hazard each survives.
        drawn: int64 ``(shots,)``, how many random numbers each has drawn.
        choice: int64 ``(shots,)``, what each drew last.
        sums: float64, room for the running sum of a state's probabilities.
    """

    key: NDArray[np.uint64]
    first: Ints
    order: Ints
    threshold: Floats
    drawn: Ints
    choice: Ints
    sums: Floats


class Found(NamedTuple):
    """What a walk gives.

    Attributes:
        memory: uint8 ``(shots, bytes)``, as in ``Samples``.
        ends: int64 ``(shots,)``, nanoseconds each took.
        left: bool ``(shots,)``, which are not computed yet.
        paulis, coefficients: of an observable, as in ``PauliSum``.
        sums: float64 ``(3,)``: of ended paths the weight, weight times expectation, and weight
            times nanoseconds.
        paths: int64 ``(1,)``, how many have ended.
    """

    memory: NDArray[np.uint8]
    ends: Ints
    left: NDArray[np.bool_]
    paulis: NDArray[np.uint8]
    coefficients: Floats
    sums: Floats
    paths: Ints


#: How a walk goes: shots are sampled; the mean of an observable over shots; or over all paths with
#: their probabilities.
SAMPLE, MEAN, EXACT = 0, 1, 2


class Control(NamedTuple):
    """How a walk stands.

    Attributes:
        mode: ``SAMPLE``, ``MEAN`` or ``EXACT``; most_steps: of a shot; num_outputs: bits that are
            written.
        state: int64 ``(3,)``: the top frame, and what went wrong at which operation.
    """

    mode: int
    most_steps: int
    num_outputs: int
    state: Ints
