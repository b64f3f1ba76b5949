"""The timing model: how long a program would have taken on the hardware of a profile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from openqse.errors import ProgramError
from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import Op
from openqse_emulator.profile import Durations, Profile

_Z_ROTATIONS = frozenset({Op.Z, Op.S, Op.SDG, Op.T, Op.TDG, Op.P, Op.RZ})
_PAULIS = {Op.X: "cx", Op.Y: "cy", Op.Z: "cz"}

#: Two-qubit gates in one Toffoli gate.
_TOFFOLI = 6


def two_qubit_gates(op: Op, controls: int, native_gates: tuple[str, ...]) -> int:
    """How many native two-qubit gates a unitary operation is decomposed into.

    - SWAP: 3; of its three CX, the middle one alone takes the controls. RXX, RYY, RZZ: 1 where
      native, else two CX around an RZ, which alone takes the controls.
    - One control: 1 for X, Y and Z, which differ by one-qubit gates; none for a global phase,
      which is a P on the control; 2 for all others.
    - ``c >= 2`` controls: a chain of Toffoli gates of 6 each over clean ancilla qubits that the
      device is taken to have: ``2c - 3`` of them for X, Y and Z; for all others ``2(c - 1)``
      around the operation with one control; a global phase counts as a P with ``c - 1`` controls.
    """
    if op.name.lower() in native_gates and controls == 0 and op in _PAIRS:
        return 1
    if op is Op.SWAP:
        return 2 + two_qubit_gates(Op.X, controls + 1, native_gates)
    if op in _PAIRS:
        return 2 + two_qubit_gates(Op.RZ, controls, native_gates)
    if op is Op.GPHASE:
        return two_qubit_gates(Op.P, controls - 1, native_gates) if controls else 0
    if controls == 0 or op is Op.ID:
        return 0
    if op in _PAULIS:
        return 1 if controls == 1 else _TOFFOLI * (2 * controls - 3)
    return _TOFFOLI * 2 * (controls - 1) + 2


_PAIRS = frozenset({Op.RXX, Op.RYY, Op.RZZ, Op.SWAP})


def operation_ns(operation: Operation, profile: Profile) -> int:
    """Nanoseconds one operation occupies its qubits; a delay's are the program's to say, and are
    not counted here.

    The two-qubit gates of a decomposition follow each other with one layer of one-qubit gates in
    between.
    """
    op, durations = operation.op, profile.durations_ns
    if op in _TIMING:
        return 0
    if op is Op.MEASURE:
        return durations.readout
    if op is Op.RESET:
        return durations.reset
    count = two_qubit_gates(op, operation.controls, profile.native_gates)
    if count:
        return count * durations.two_qubit + (count - 1) * durations.one_qubit
    if op in _Z_ROTATIONS:
        return durations.z_rotation
    if op is Op.GPHASE:
        return durations.z_rotation if operation.controls else 0
    return durations.one_qubit


class Timed(NamedTuple):
    """An operation, and when it begins and ends: nanoseconds since the program began."""

    operation: Operation
    begin: float
    end: float


def schedule(circuit: Circuit, profile: Profile, *, measurements: bool = True) -> Iterator[Timed]:
    """The operations of a circuit without control flow, but phases of the whole.

    Every operation begins as soon as all its qubits are free; a barrier or a delay makes its qubits
    wait for each other. So does the beginning of a box, whose qubits are free when its duration has
    passed.

    Args:
        measurements: whether the final measurements take place, or are left out (as in an
            expectation).

    Raises:
        ProgramError: a delay or box of negative duration, or a box shorter than what is in it.
    """
    free: list[float] = [0] * circuit.num_qubits
    left_out = frozenset[int]() if measurements else final_measurements(circuit)
    boxes: list[float] = []  # when those that are open end
    for position, operation in enumerate(circuit.operations()):
        qubits = operation.qubits
        if not qubits or position in left_out:
            continue
        begin = max(free[q] for q in qubits)
        end = begin + operation_ns(operation, profile)
        if operation.op is Op.DELAY:
            end = begin + _duration(circuit, operation)
        elif operation.op is Op.BOX:
            boxes.append(begin + _duration(circuit, operation))
        elif operation.op is Op.END_BOX:
            end = boxes.pop()
            if begin > end + _ROUNDING:
                raise ProgramError(
                    f"a box on qubits {qubits} ends {begin - end:g} ns before what is in it",
                    layer="device",
                    remedy="Give it a longer duration, or none",
                )
        for q in qubits:
            free[q] = end
        yield Timed(operation, begin, end)


def timed_by_parameters(circuit: Circuit) -> bool:
    """Whether the duration of a delay or box depends on parameters."""
    begins = circuit.angle_offsets[:-1][np.isin(circuit.opcodes, (Op.DELAY, Op.BOX))]
    return bool(np.isin(begins, circuit.term_angles).any())


def _duration(circuit: Circuit, operation: Operation) -> float:
    ns = float(circuit.angle_constants[operation.angles.start])
    if ns < 0:
        raise ProgramError(
            f"a {operation.op.name.lower()} of {ns:g} ns on qubits {operation.qubits}",
            layer="device",
            remedy="Give a duration that is not negative",
        )
    return ns


#: What happens to qubits only in so far as they wait.
_TIMING = frozenset({Op.BARRIER, Op.DELAY, Op.BOX, Op.END_BOX})
#: Nanoseconds by which sums of durations may be wrong.
_ROUNDING = 1e-6


def circuit_ns(circuit: Circuit, profile: Profile, *, measurements: bool = True) -> int:
    """Nanoseconds from a circuit's first operation to the end of its last; see ``schedule``."""
    timed = schedule(circuit, profile, measurements=measurements)
    return math.ceil(max((each.end for each in timed), default=0))


def final_measurements(circuit: Circuit) -> frozenset[int]:
    """Positions of the measurements after which nothing touches their qubit, but what lets time
    pass: an observable stands in their place."""
    touching = ~np.isin(circuit.opcodes, (Op.ID, *_TIMING))
    counts = np.diff(circuit.operand_offsets)
    positions = np.repeat(np.arange(len(counts)), counts)
    kept = touching[positions]
    last = np.full(circuit.num_qubits, -1)
    np.maximum.at(last, circuit.operands[kept], positions[kept])
    measured = np.flatnonzero(circuit.opcodes == Op.MEASURE)
    qubits = circuit.operands[circuit.operand_offsets[measured]]
    return frozenset(measured[last[qubits] == measured].tolist())


def shot_ns(circuit: Circuit, profile: Profile) -> int:
    """QPU time of one shot, nanoseconds."""
    return _around(profile.durations_ns) + circuit_ns(circuit, profile)


def expectation_shot_ns(circuit: Circuit, profile: Profile) -> int:
    """QPU time of one shot of an expectation, nanoseconds.

    The circuit without its final measurements, a one-qubit gate that turns the qubits into the
    basis of the group of terms, and their readout.
    """
    durations = profile.durations_ns
    measured = durations.one_qubit + durations.readout
    return _around(durations) + circuit_ns(circuit, profile, measurements=False) + measured


def _around(durations: Durations) -> int:
    return durations.initialisation + durations.shot_overhead


@lru_cache(maxsize=64)
def measurement_groups(paulis: bytes, num_qubits: int) -> int:
    """How many groups of qubit-wise commuting terms an observable is measured in.

    Greedy: each term, in order, joins the first group none of whose terms asks another Pauli of a
    qubit. The identity is in no group: it needs no measurement.

    Args:
        paulis: bytes of a uint8 array ``(terms, num_qubits)`` as in ``PauliSum``.
    """
    terms = np.frombuffer(paulis, dtype=np.uint8).reshape(-1, num_qubits)
    bases: list[tuple[int, int]] = []
    for term in terms:
        x, z = _mask((term == 1) | (term == 2)), _mask((term == 2) | (term == 3))
        if not x | z:
            continue
        for i, (group_x, group_z) in enumerate(bases):
            shared = (x | z) & (group_x | group_z)
            if not ((x ^ group_x) | (z ^ group_z)) & shared:
                bases[i] = (group_x | x, group_z | z)
                break
        else:
            bases.append((x, z))
    return len(bases)


def _mask(flags: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> int:
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")
