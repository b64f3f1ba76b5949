"""Qubits that nothing turns out of 0 take part in no state: a program on the others alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse_emulator.noise import Channel, Kind, Sequenced


@dataclass(frozen=True, eq=False)
class Layout:
    """A program on those of its qubits that something turns out of 0.

    Attributes:
        circuit: on these qubits alone, without barriers if any other qubit is left out.
        qubits: int64, ascending, which they were; None if that is all of them.
    """

    circuit: Circuit
    qubits: NDArray[np.int64] | None

    def sequence(self, sequenced: Sequenced) -> Sequenced:
        """The operations and channels of the whole program (see ``noise.sequence``) as those on
        these qubits."""
        if self.qubits is None:
            return sequenced
        places = {qubit: place for place, qubit in enumerate(self.qubits.tolist())}
        return [
            item._replace(qubits=tuple(places[qubit] for qubit in item.qubits))
            for item in sequenced
            if not places.keys().isdisjoint(item.qubits)
        ]

    def observable(self, observable: PauliSum) -> PauliSum:
        """An observable of the whole program as one of these qubits: of a qubit in 0, Z is 1, X and
        Y are 0."""
        if self.qubits is None:
            return observable
        others = np.delete(observable.paulis, self.qubits, axis=1)
        vanish = ((others == 1) | (others == 2)).any(axis=1)
        coefficients = np.where(vanish, 0.0, observable.coefficients)
        return PauliSum(coefficients, observable.paulis[:, self.qubits])


def layout(circuit: Circuit, sequences: Callable[[], list[Sequenced]]) -> Layout:
    """The program without the qubits that stay 0.

    Args:
        sequences: all that may happen to the program's qubits; asked only if there is a qubit on
            which no gate acts.
    """
    gates = ~np.isin(circuit.opcodes, (Op.MEASURE, Op.RESET, Op.BARRIER, Op.ID))
    counts = np.diff(circuit.operand_offsets)
    turned = np.zeros(circuit.num_qubits, dtype=np.bool_)
    turned[circuit.operands[np.repeat(gates, counts)]] = True
    if turned.all():
        return Layout(circuit, None)
    for sequenced in sequences():
        for item in sequenced:
            if not _keeps_zero(item):
                turned[list(item.qubits)] = True
    _keep_overwriting(circuit, turned)
    if turned.all():
        return Layout(circuit, None)
    if not turned.any():
        turned[0] = True  # a program has one qubit at least
    return Layout(_on(circuit, turned), np.flatnonzero(turned))


def _keeps_zero(item: Operation | Channel) -> bool:
    """Whether a qubit that is 0 surely is 0 afterwards."""
    if isinstance(item, Operation):
        return item.op in (Op.MEASURE, Op.RESET, Op.BARRIER, Op.ID)
    if item.kind is Kind.PAULI:
        return len(item.qubits) == 1 and item.probabilities[:2] == (0.0, 0.0)
    return item.kind is Kind.DAMPING


def _keep_overwriting(circuit: Circuit, turned: NDArray[np.bool_]) -> None:
    """Keeps the qubits whose measurement writes a bit that another one writes as well: a 0 is
    something then."""
    measured = circuit.opcodes == Op.MEASURE
    bits = circuit.clbits[measured]
    qubits = circuit.operands[circuit.operand_offsets[:-1][measured]]
    written = np.bincount(bits[bits >= 0], minlength=1)
    turned[qubits[(bits >= 0) & (written[bits] > 1)]] = True


def _on(circuit: Circuit, kept: NDArray[np.bool_]) -> Circuit:
    """The operations on some qubits, which are all that an operation but a barrier acts on, or
    none."""
    places = np.cumsum(kept) - 1
    offsets = circuit.operand_offsets
    counts = np.diff(offsets)
    barriers = circuit.opcodes == Op.BARRIER
    alone = np.ones(len(counts), dtype=np.bool_)  # a phase of the whole has no qubits
    has = counts > 0
    alone[has] = kept[circuit.operands[offsets[:-1][has]]]
    stays = alone & ~barriers
    operands = circuit.operands[np.repeat(stays, counts)]
    return replace(
        circuit,
        num_qubits=int(kept.sum()),
        opcodes=circuit.opcodes[stays],
        controls=circuit.controls[stays],
        clbits=circuit.clbits[stays],
        operand_offsets=np.concatenate([[0], np.cumsum(counts[stays])]),
        operands=places[operands],
        angle_offsets=np.append(circuit.angle_offsets[:-1][stays], circuit.angle_offsets[-1]),
    )
