"""A slow interpreter of canonical items, and the items of circuits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import Circuit
from openqse_emulator.statevector import execute, program
from openqse_emulator.statevector.canonical import (
    EXCHANGE,
    FUSION,
    FUSION_ROWS,
    PHASE1,
    PHASE2,
    PHASE_MANY,
    ROTATION,
)
from openqse_emulator.statevector.execute import NO_NOISE
from openqse_emulator.statevector.readout import State


class Items(NamedTuple):
    """What a circuit is rewritten to: items, their numbers, and the frame after them."""

    items: NDArray[np.int64]
    values: NDArray[np.complex128]
    names: NDArray[np.int64]
    flips: int
    signs: int

    def state(self, order: Iterable[int] | None = None) -> NDArray[np.complex128]:
        """The state after the items (some of them, in some order) and the frame."""
        state = np.zeros(1 << len(self.names), dtype=complex)
        state[0] = 1
        for i in range(len(self.items)) if order is None else order:
            rows = self.values[i : i + FUSION_ROWS].ravel().tolist()
            state = applied(state, self.items[i].tolist(), rows)
        numbers = np.concatenate([state.real, state.imag])
        return State(numbers, self.names, self.flips, self.signs).amplitudes()


def rewritten(
    circuit: Circuit,
    angles: NDArray[np.float64],
    noise: NDArray[np.int64] = NO_NOISE,
    *,
    noisy: bool = False,
) -> Items:
    """The items of a circuit, which must not be more than there is said to be room for."""
    read = program.read(circuit)
    space = execute.Workspace(read, noisy)
    space.rewrite(angles, noise)
    count = int(space.frame[0])
    assert count <= read.most_items
    end = execute.state_of(np.empty(0), space)
    return Items(
        space.items[:count].copy(), space.values[:count].copy(), end.names, end.flips, end.signs
    )


def applied(
    state: NDArray[np.complex128], item: list[int], value: list[complex]
) -> NDArray[np.complex128]:
    """The state after an item, by the definition of its kind.

    Args:
        value: the numbers of its row, and of those that follow.
    """
    kind, p, q, required = item
    x = np.arange(len(state))
    at_p, at_q = x >> p & 1 == 1, x >> q & 1 == 1
    if kind == ROTATION:
        tangent, cosine = value[0].real, value[0].imag
        return cosine * (state + np.where(at_p, tangent, -tangent) * state[x ^ (1 << p)])
    if kind == PHASE1:
        return state * np.where(at_p, value[0], 1)
    if kind == PHASE2:
        single = np.where(at_p, value[0], 1) * np.where(at_q, value[1], 1)
        return state * single * np.where(at_p & at_q, value[2], 1)
    if kind == EXCHANGE:
        return state[np.where(at_p, x ^ (1 << q), x)]
    if kind == FUSION:
        if required:  # a further row of one
            return state
        matrix = np.reshape(value[:16], (4, 4))
        row = at_p + 2 * at_q
        others = x & ~(1 << p | 1 << q)
        parts = [matrix[row, c] * state[others | (c & 1) << p | c >> 1 << q] for c in range(4)]
        return np.sum(parts, axis=0)
    assert kind == PHASE_MANY
    return state * np.where(x & p == required, value[0], 1)
