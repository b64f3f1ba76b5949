"""A program as engines compute it: of gates, measurements and resets, on as few qubits as there can
be. A qubit that nothing turns out of 0 takes part in no state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import GATES, Op
from openqse.program.observable import PauliSum
from openqse_emulator import noise
from openqse_emulator.noise import Channel, Sequenced


@dataclass(frozen=True, eq=False)
class Layout:
    """A program on those of its qubits that something turns out of 0.

    Attributes:
        circuit: on these qubits alone, without what only lets time pass.
        qubits: by qubit of the whole program, which it is here; those left out are not there.
        angles: by angle of the whole program, which it is here.
    """

    circuit: Circuit
    qubits: dict[int, int] | None = None
    angles: list[int] | None = None

    def sequence(self, sequenced: Sequenced) -> Sequenced:
        """The operations and channels of the whole program (see ``noise.sequence``) as those of
        this one."""
        return [
            self._item(item)
            for item in sequenced
            if self.qubits is None or self.qubits.keys() >= set(item.qubits)
        ]

    def _item(self, item: Operation | Channel) -> Operation | Channel:
        if self.qubits is not None:
            item = item._replace(qubits=tuple(self.qubits[qubit] for qubit in item.qubits))
        if self.angles is not None and isinstance(item, Operation) and item.angles:
            first = self.angles[item.angles.start]
            item = item._replace(angles=range(first, first + len(item.angles)))
        return item

    def observable(self, observable: PauliSum) -> PauliSum:
        """An observable of the whole program as one of these qubits: of a qubit in 0, Z is 1, X and
        Y are 0."""
        if self.qubits is None:
            return observable
        kept = list(self.qubits)
        others = np.delete(observable.paulis, kept, axis=1)
        vanish = ((others == 1) | (others == 2)).any(axis=1)
        coefficients = np.where(vanish, 0.0, observable.coefficients)
        return PauliSum(coefficients, observable.paulis[:, kept])


def layout(circuit: Circuit, sequences: Callable[[], list[Sequenced]]) -> Layout:
    """The program without the qubits that stay 0.

    Args:
        sequences: all that may happen to the program's qubits; asked only if there is a qubit on
            which no gate acts.
    """
    counts = np.diff(circuit.operand_offsets)
    gates = np.isin(circuit.opcodes, tuple(GATES - {Op.ID}))
    turned = np.zeros(circuit.num_qubits, dtype=np.bool_)
    turned[circuit.operands[np.repeat(gates, counts)]] = True
    if not turned.all():
        for sequenced in sequences():
            for item in sequenced:
                if not noise.keeps_zero(item):
                    turned[list(item.qubits)] = True
        turned[_overwriting(circuit)] = True
        if not turned.any():
            turned[0] = True  # a program has one qubit at least
    idle = np.isin(circuit.opcodes, (Op.BARRIER, Op.DELAY, Op.BOX, Op.END_BOX))
    if turned.all() and not idle.any():
        return Layout(circuit)
    positions = np.repeat(np.arange(len(counts)), counts)
    stays = ~idle
    stays[positions[~turned[circuit.operands]]] = False
    return Layout(
        _part(circuit, stays, turned),
        {qubit: place for place, qubit in enumerate(np.flatnonzero(turned).tolist())},
        _places(np.repeat(stays, np.diff(circuit.angle_offsets))).tolist(),
    )


def with_bits(circuit: Circuit) -> Circuit:
    """The circuit whose every measurement has a bit: outcomes that are dropped go to one more bit,
    which is none of the results'."""
    dropped = (circuit.opcodes == Op.MEASURE) & (circuit.clbits < 0)
    if not dropped.any():
        return circuit
    clbits = np.where(dropped, circuit.num_clbits, circuit.clbits)
    return replace(circuit, num_clbits=circuit.num_clbits + 1, clbits=clbits)


def _overwriting(circuit: Circuit) -> NDArray[np.int64]:
    """The qubits whose measurement writes a bit of the results that another one writes as well: a
    0 is something then."""
    measured = circuit.opcodes == Op.MEASURE
    bits = circuit.clbits[measured]
    qubits = circuit.operands[circuit.operand_offsets[:-1][measured]]
    written = np.bincount(bits, minlength=1)
    return np.asarray(qubits[(bits < circuit.num_outputs) & (written[bits] > 1)], dtype=np.int64)


def _part(circuit: Circuit, stays: NDArray[np.bool_], turned: NDArray[np.bool_]) -> Circuit:
    """The operations that stay, all of whose qubits are among those that are turned."""
    counts, angle_counts = np.diff(circuit.operand_offsets), np.diff(circuit.angle_offsets)
    operands = circuit.operands[np.repeat(stays, counts)]
    of_kept = np.repeat(stays, angle_counts)
    terms = of_kept[circuit.term_angles]
    arrays: dict[str, Any] = {
        "opcodes": circuit.opcodes[stays],
        "controls": circuit.controls[stays],
        "clbits": circuit.clbits[stays],
        "operand_offsets": np.concatenate([[0], np.cumsum(counts[stays])]),
        "operands": _places(turned)[operands],
        "angle_offsets": np.concatenate([[0], np.cumsum(angle_counts[stays])]),
        "angle_constants": circuit.angle_constants[of_kept],
        "term_angles": _places(of_kept)[circuit.term_angles[terms]],
        "term_parameters": circuit.term_parameters[terms],
        "term_coefficients": circuit.term_coefficients[terms],
    }
    return replace(circuit, num_qubits=int(turned.sum()), **arrays)


def _places(kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Of all that is kept its place among that."""
    return np.cumsum(kept, dtype=np.int64) - 1
