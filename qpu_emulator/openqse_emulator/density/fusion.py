"""A sequence of operations and channels as few passes over a density matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import Operation
from openqse.program.gates import Op, matrix
from openqse_emulator.density.transfer import WIDEST, Transfer, transfer
from openqse_emulator.noise import Channel


@dataclass(frozen=True, eq=False)
class Factor:
    """A matrix on some qubits: one pass.

    Attributes:
        qubits: ascending where they are two.
        values: as ``transfer`` gives it.
    """

    qubits: tuple[int, ...]
    values: Transfer


@dataclass(frozen=True, eq=False)
class Controlled:
    """A gate on more qubits than a transfer matrix may have.

    Attributes:
        controls, targets: qubits.
        gate: complex128, on the targets.
    """

    controls: tuple[int, ...]
    targets: tuple[int, ...]
    gate: NDArray[np.complex128]


Pass = Factor | Controlled


class Fusion:
    """Multiplies together what acts on the same qubits, as it comes.

    All on two qubits, from what acts on both to the last before something else touches one of them,
    is one matrix; what came before on one of them alone joins it. What is under way on other qubits
    may wait, since it commutes.
    """

    def __init__(self, angles: NDArray[np.float64]) -> None:
        self._angles = angles
        self._alone: dict[int, Transfer] = {}
        self._pairs: dict[int, _Pair] = {}
        self._passes: list[Pass] = []

    def add(self, item: Operation | Channel) -> None:
        """Takes the next operation or channel.

        Raises:
            NotSupported: leakage.
        """
        qubits = item.qubits
        if not qubits or (isinstance(item, Operation) and item.op in (Op.BARRIER, Op.ID)):
            return
        if len(qubits) > WIDEST:
            assert isinstance(item, Operation)
            self._settle(qubits)
            for qubit in qubits:
                self._pass_alone(qubit)
            self._passes.append(_controlled(item, self._angles))
            return
        values = transfer(item, self._angles)
        if len(qubits) == 1:
            self._on_one(qubits[0], values)
        elif len(qubits) == 2:
            self._on_two(qubits, values)
        else:
            self._settle(qubits)
            before = self._before(qubits)
            self._passes.append(Factor(qubits, values if before is None else values @ before))

    def take(self, qubits: Iterable[int] | None = None) -> list[Pass]:
        """The passes so far, after which nothing waits on these qubits (None: on any)."""
        if qubits is None:
            self._settle(list(self._pairs))
            waiting = sorted(self._alone)
            for low, high in zip(waiting[::2], waiting[1::2], strict=False):
                both = self._before((low, high))
                assert both is not None
                self._passes.append(Factor((low, high), both))
            waiting = sorted(self._alone)
        else:
            waiting = list(qubits)
            self._settle(waiting)
        for qubit in waiting:
            self._pass_alone(qubit)
        taken, self._passes = self._passes, []
        return taken

    def _on_one(self, qubit: int, values: Transfer) -> None:
        pair = self._pairs.get(qubit)
        if pair is None:
            before = self._alone.get(qubit)
            self._alone[qubit] = values if before is None else values @ before
        elif qubit == pair.low:
            pair.values = np.matmul(values, pair.values.reshape(4, 4, 16)).reshape(16, 16)
        else:
            pair.values = (values @ pair.values.reshape(4, 64)).reshape(16, 16)

    def _on_two(self, qubits: tuple[int, ...], values: Transfer) -> None:
        low, high = sorted(qubits)
        if qubits[0] != low:
            values = values.reshape(4, 4, 4, 4).transpose(1, 0, 3, 2).reshape(16, 16)
        pair = self._pairs.get(low)
        if pair is not None and pair is self._pairs.get(high):
            pair.values = values @ pair.values
            return
        self._settle(qubits)
        before = self._before((low, high))
        pair = _Pair(low, high, values if before is None else values @ before)
        self._pairs[low] = self._pairs[high] = pair

    def _before(self, qubits: tuple[int, ...]) -> Transfer | None:
        """What waits on each of some qubits alone, as one matrix, which waits no more."""
        if self._alone.keys().isdisjoint(qubits):
            return None
        return reduce(_beside, [self._alone.pop(qubit, _IDENTITY) for qubit in qubits])

    def _settle(self, qubits: Iterable[int]) -> None:
        """Makes passes of the pairs that some qubits are in."""
        for qubit in qubits:
            pair = self._pairs.get(qubit)
            if pair is not None:
                del self._pairs[pair.low], self._pairs[pair.high]
                self._passes.append(Factor((pair.low, pair.high), pair.values))

    def _pass_alone(self, qubit: int) -> None:
        values = self._alone.pop(qubit, None)
        if values is not None:
            self._passes.append(Factor((qubit,), values))


@dataclass(eq=False)
class _Pair:
    """What is under way on two qubits: float64 ``(16, 16)``, ``low`` the less significant digit."""

    low: int
    high: int
    values: Transfer


_IDENTITY = np.eye(4)


def _beside(first: Transfer, second: Transfer) -> Transfer:
    """Two matrices on different qubits as one; the first has the less significant digits."""
    size = len(first) * len(second)
    product: Transfer = second[:, np.newaxis, :, np.newaxis] * first[:, np.newaxis]
    return product.reshape(size, size)


def _controlled(operation: Operation, angles: NDArray[np.float64]) -> Controlled:
    op, controls, qubits, at, _ = operation
    gate = matrix(op, tuple(angles[at.start : at.stop].tolist()))
    return Controlled(qubits[:controls], qubits[controls:], gate)


def count_passes(sequence: Iterable[Operation | Channel]) -> int:
    """How many passes over two qubits a sequence takes, about: what wider ones take is added up."""
    partner: dict[int, int] = {}
    count, touched = 0, set[int]()
    for item in sequence:
        qubits = item.qubits
        touched.update(qubits)
        if len(qubits) == 2:
            first, second = qubits
            if partner.get(first) != second or partner.get(second) != first:
                count += 1
                partner[first], partner[second] = second, first
        elif len(qubits) > 2:
            count += 4 ** (min(len(qubits), WIDEST) - 2) * (1 if len(qubits) <= WIDEST else 4)
            for qubit in qubits:
                partner.pop(qubit, None)
    return count + -(-(len(touched) - len(partner)) // 2)
