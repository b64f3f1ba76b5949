"""Noise: a circuit as the sequence of its operations and of what goes wrong between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import GATES, Op, matrix
from openqse_emulator import timing
from openqse_emulator.profile import Noise, PerQubit, Profile


class Kind(Enum):
    """What a channel does."""

    PAULI = "Pauli errors"
    DAMPING = "amplitude damping"
    KRAUS = "Kraus operators"
    LEAKAGE = "leakage"


class Channel(NamedTuple):
    """Something that goes wrong, with some probability.

    Attributes:
        kind, qubits: what, on one qubit or (PAULI, KRAUS) two.
        probabilities: of PAULI X, Y, Z, or IX, IY, IZ, XI … ZZ where the first letter is for the
            first qubit; of DAMPING that 1 decays to 0; of LEAKAGE that the qubit leaves its two
            levels. Empty for KRAUS.
        operators: of KRAUS, complex128 ``(k, 2**m, 2**m)`` on ``m`` qubits, of which the first is
            the least significant bit of both indices.
    """

    kind: Kind
    qubits: tuple[int, ...]
    probabilities: tuple[float, ...] = ()
    operators: NDArray[np.complex128] = np.empty((0, 0, 0), dtype=np.complex128)


#: Operations without barriers and identities, and the channels between them, in order of time.
Sequenced = list[Operation | Channel]


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """The errors of a profile's hardware.

    Attributes:
        profile: its timing and its figures.
        named: by gate, the channel (on no qubits yet) that stands in place of depolarising errors.
    """

    profile: Profile
    named: Mapping[str, Channel]

    @staticmethod
    def of(profile: Profile) -> NoiseModel:
        """The noise model of a profile."""
        noise = profile.noise
        named = {gate: Channel(Kind.PAULI, (), values) for gate, values in noise.pauli.items()}
        for gate, matrices in noise.kraus.items():
            named[gate] = Channel(Kind.KRAUS, (), operators=np.array(matrices, np.complex128))
        return NoiseModel(profile, named)

    @property
    def quiet(self) -> bool:
        """Whether nothing goes wrong but in reading out."""
        return replace(self.profile.noise, zero_as_one=(), one_as_zero=()) == Noise()

    def of_gate(self, operation: Operation) -> Iterator[Channel]:
        """The errors of a gate, apart from relaxation while it takes place.

        A gate that is decomposed (see ``timing.two_qubit_gates``) errs once for each of its
        two-qubit gates, which take turns on the pairs of neighbours among its qubits; those on one
        pair are a single depolarising channel. Gates that take no time make no error, identities
        neither.
        """
        op, controls, qubits, _, _ = operation
        own = self.named.get("c" * controls + op.name.lower())
        if own is not None:
            yield own._replace(qubits=qubits)
            return
        if op is Op.ID or not timing.operation_ns(operation, self.profile):
            return
        noise = self.profile.noise
        count = timing.two_qubit_gates(op, controls, self.profile.native_gates)
        if not count:
            for qubit in qubits:
                yield from depolarising(noise.one_qubit, (qubit,))
            return
        pairs = list(pairwise(qubits))
        for i, pair in enumerate(pairs):
            times = len(range(i, count, len(pairs)))
            yield from depolarising(noise.two_qubit, pair, times)

    def of_time(self, qubit: int, ns: float, idle_ns: float) -> Iterator[Channel]:
        """What happens to a qubit in ``ns`` nanoseconds, during ``idle_ns`` of which it idles."""
        noise = self.profile.noise
        t1, t2 = figure(noise.t1_ns, qubit, math.inf), figure(noise.t2_ns, qubit, math.inf)
        yield from relaxation(qubit, ns, t1, t2)
        if noise.leakage_per_ns and idle_ns:
            leaks = -math.expm1(-noise.leakage_per_ns * idle_ns)
            yield Channel(Kind.LEAKAGE, (qubit,), (leaks,))


def depolarising(probability: float, qubits: tuple[int, ...], times: int = 1) -> Iterator[Channel]:
    """One channel for ``times`` depolarising errors, or none where these have no probability.

    An error is a Pauli string other than the identity, each of the ``d - 1`` (3 or 15) as likely.
    Any string keeps the share ``1 - d p / (d - 1)`` of its expectation, and that ``times`` over.
    """
    d = 4 ** len(qubits)
    each = (1 - (1 - probability * d / (d - 1)) ** times) / d
    if each:
        yield Channel(Kind.PAULI, qubits, (each,) * (d - 1))


def relaxation(qubit: int, ns: float, t1_ns: float, t2_ns: float) -> Iterator[Channel]:
    """Thermal relaxation to 0 in ``ns`` nanoseconds, without channels that do nothing.

    Amplitude damping with probability ``1 - exp(-t / T1)`` shrinks coherences by
    ``exp(-t / 2 T1)``; phase flips with probability ``(1 - exp(-t / Tphi)) / 2``, where
    ``1 / Tphi = 1 / T2 - 1 / (2 T1)``, shrink them to ``exp(-t / T2)``. This is exact for every
    ``T2 <= 2 T1`` (Nielsen and Chuang, Quantum Computation and Quantum Information, section 8.3).
    """
    decays = -math.expm1(-ns / t1_ns)
    dephasing = max(0.0, 1 / t2_ns - 1 / (2 * t1_ns))
    flips = -math.expm1(-ns * dephasing) / 2
    if decays:
        yield Channel(Kind.DAMPING, (qubit,), (decays,))
    if flips:
        yield Channel(Kind.PAULI, (qubit,), (0.0, 0.0, flips))


def sequence(circuit: Circuit, model: NoiseModel, *, measurements: bool = True) -> Sequenced:
    """The operations of a circuit with the noise between them.

    Operations begin when all their qubits are free (see ``timing.schedule``). A gate's own errors
    follow it. Relaxation since a qubit's last operation began, in it and while the qubit idles,
    comes before the next one. A measurement collapses its qubit when it begins; a reset ends with a
    fresh qubit. Before its first operation a qubit rests in 0, and nothing happens to it, nor does
    it matter after its last one.

    Args:
        measurements: whether the final measurements take place, or are left out and every qubit
            waits for the end (as in an expectation).
    """
    if model.quiet:  # when things happen is of no matter
        left_out = frozenset[int]() if measurements else timing.final_measurements(circuit)
        return [
            item
            for position, item in enumerate(circuit.operations())
            if item.qubits and item.op not in _IDLE and position not in left_out
        ]
    noisy: Sequenced = []
    ends = 0.0
    #: When the qubit's last operation began and ended; a qubit that nothing has touched has none.
    last: dict[int, tuple[float, float]] = {}

    def wait(qubit: int, until: float) -> None:
        if qubit in last:
            began, ended = last[qubit]
            noisy.extend(model.of_time(qubit, until - began, until - ended))

    timed = timing.schedule(circuit, model.profile, measurements=measurements)
    for operation, start, end in timed:
        op, qubits = operation.op, operation.qubits
        ends = max(ends, end)
        errors = list(model.of_gate(operation)) if op in GATES else []
        if op in _IDLE and not errors:
            continue  # its qubits idle
        for q in qubits:
            if op is not Op.RESET:
                wait(q, start)
            last[q] = (end if op is Op.RESET else start, end)
        noisy.append(operation)
        noisy.extend(errors)
    if not measurements:
        for q in sorted(last):
            wait(q, ends)
    return noisy


#: What does nothing itself but let time pass.
_IDLE = frozenset({Op.ID, Op.BARRIER, Op.DELAY, Op.BOX, Op.END_BOX})


def channels(sequenced: Iterable[Operation | Channel]) -> Iterator[Channel]:
    """The channels of a sequence."""
    return (item for item in sequenced if isinstance(item, Channel))


def keeps_zero(item: Operation | Channel) -> bool:
    """Whether a qubit that is 0 surely is 0 afterwards."""
    if isinstance(item, Operation):
        return item.op in (Op.MEASURE, Op.RESET, Op.ID)
    if item.kind is Kind.PAULI:
        return len(item.qubits) == 1 and item.probabilities[:2] == (0.0, 0.0)
    return item.kind is Kind.DAMPING


def disturbed(sequenced: Sequenced, num_qubits: int) -> NDArray[np.bool_]:
    """The qubits that a channel may turn out of 0 before any gate acts on them: bool
    ``(num_qubits,)``."""
    found, settled = np.zeros((2, num_qubits), dtype=np.bool_)
    for item in sequenced:
        if not keeps_zero(item):
            for qubit in item.qubits:
                found[qubit] |= not settled[qubit] and isinstance(item, Channel)
                settled[qubit] = True
    return found


def identities(sequenced: Sequenced) -> bool:
    """Whether identities err: a sequence has them only then."""
    return any(isinstance(item, Operation) and item.op is Op.ID for item in sequenced)


def kraus(channel: Channel) -> NDArray[np.complex128]:
    """The Kraus operators of a channel, complex128 ``(k, 2**m, 2**m)`` on its ``m`` qubits.

    Raises:
        ValueError: leakage has none: it leaves the qubit's two levels.
    """
    if channel.kind is Kind.KRAUS:
        return channel.operators
    if channel.kind is Kind.PAULI:
        weights = np.sqrt([max(0.0, 1 - sum(channel.probabilities)), *channel.probabilities])
        operators = weights[:, np.newaxis, np.newaxis] * _STRINGS[len(channel.qubits)]
        return np.asarray(operators, dtype=np.complex128)
    if channel.kind is Kind.DAMPING:
        (decays,) = channel.probabilities
        stays = [[1, 0], [0, math.sqrt(1 - decays)]]
        return np.array([stays, [[0, math.sqrt(decays)], [0, 0]]], dtype=np.complex128)
    raise ValueError("leakage has no Kraus operators on a qubit")


_ONE = np.array([matrix(op) for op in (Op.ID, Op.X, Op.Y, Op.Z)])
#: Pauli strings on one and on two qubits, in the order of ``Channel.probabilities`` after I or II.
_STRINGS = {1: _ONE, 2: np.array([np.kron(second, first) for first in _ONE for second in _ONE])}


def readout_errors(circuit: Circuit, profile: Profile) -> NDArray[np.float64]:
    """How often each classical bit is misread: float64 ``(num_clbits, 2)``, the probability that a
    0 is reported as 1, and a 1 as 0, by the measurement that writes the bit last; ``(0, 2)`` where
    the profile has no such errors."""
    noise = profile.noise
    if not (noise.zero_as_one or noise.one_as_zero):
        return np.zeros((0, 2))
    errors = np.zeros((circuit.num_clbits, 2))
    for op, _, qubits, _, clbit in circuit.operations():
        if op is Op.MEASURE:
            zero = figure(noise.zero_as_one, qubits[0], 0.0)
            errors[clbit] = zero, figure(noise.one_as_zero, qubits[0], 0.0)
    return errors


def misread(
    memory: NDArray[np.uint8], errors: NDArray[np.float64], uniforms: NDArray[np.float64]
) -> None:
    """Flips the bits that are misread, in place.

    Args:
        memory: uint8 ``(shots, ceil(num_clbits / 8))``, as in ``Samples``.
        errors: as ``readout_errors`` gives them.
        uniforms: float64 ``(shots, num_clbits)``, random numbers in [0, 1).
    """
    bits = np.unpackbits(memory, axis=1, count=len(errors), bitorder="little")
    flips = uniforms < np.where(bits, errors[:, 1], errors[:, 0])
    memory[:] = np.packbits(bits ^ flips, axis=1, bitorder="little")


def figure(values: PerQubit, qubit: int, absent: float) -> float:
    return values[qubit if len(values) > 1 else 0] if values else absent
