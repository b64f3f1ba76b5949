"""Clifford programs with Pauli noise, on hundreds of qubits, through stim.

Equal seeds give equal samples with the same release of stim on the same kind of processor; stim
promises nothing beyond that (C. Gidney, Stim: a fast stabilizer circuit simulator, Quantum 5, 497
(2021)).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from itertools import product

import numpy as np
import stim
from numpy.typing import NDArray

from openqse.errors import NotSupported
from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import NON_UNITARY, Op, matrix
from openqse.program.observable import PauliSum
from openqse_emulator.noise import Channel, Kind, misread
from openqse_emulator.statevector.team import Stopped, go_on

#: Shots that are drawn at a time, each block with random numbers of its own. What stim draws for a
#: shot depends on how many others there are: so a block is drawn whole, whatever is asked of it.
#: stim has no smaller one: a vector's bits are shots.
BLOCK = 256

#: How far from a quarter turn an angle may be, radians.
_TOLERANCE = 1e-9
#: On more qubits than this no gate of the circuit form is Clifford, but those that do nothing.
_WIDEST = 4

#: Instructions of stim: names with figures, and targets as positions among an item's qubits.
_Instructions = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, eq=False)
class Program:
    """A Clifford program with Pauli noise as stim takes it.

    Attributes:
        circuit: whose measurements are recorded in order.
        num_clbits: of the classical register.
        clbits, records: int64, which bits are written, and by which measurement last.
        reference: bool ``(measurements,)``, one possible outcome without noise.
    """

    circuit: stim.Circuit
    num_clbits: int
    clbits: NDArray[np.int64]
    records: NDArray[np.int64]
    reference: NDArray[np.bool_]


def program_bytes(num_qubits: int, measurements: int, num_clbits: int) -> int:
    """Memory that sampling takes, roughly: a tableau, and a block's records, bits and uniforms."""
    return num_qubits**2 // 2 + BLOCK * (measurements + 9 * num_clbits)


def is_clifford(circuit: Circuit, angles: NDArray[np.float64] | None) -> bool:
    """Whether every gate is in the Clifford group: angles are quarter turns, within 1e-9.

    Args:
        angles: float64 ``(n_angles,)``, a row of ``Circuit.bind``; None where they are not known
            yet, which is taken for no where there are free parameters.
    """
    if angles is None:
        if circuit.parameters:
            return False
        angles = circuit.bind()[0]
    known: NDArray[np.float64] = angles
    return all(
        operation.op in NON_UNITARY or _gate(operation, known) is not None
        for operation in circuit.operations()
    )


def translate(
    sequence: Iterable[Operation | Channel], num_clbits: int, angles: NDArray[np.float64]
) -> Program:
    """The program of a sequence (see ``noise.sequence``).

    Raises:
        NotSupported: a gate that is not Clifford, or a channel that is not Pauli.
    """
    lines: list[str] = []  # stim reads text ten times as fast as it appends instructions
    written: dict[int, int] = {}
    measured = 0
    for item in sequence:
        for name, targets in _instructions(item, angles):
            lines.append(_line(name, [item.qubits[t] for t in targets]))
        if isinstance(item, Operation) and item.op is Op.MEASURE:
            written[item.clbit] = measured
            measured += 1
    circuit = stim.Circuit("\n".join(lines))
    return Program(
        circuit,
        num_clbits,
        np.array(list(written), dtype=np.int64),
        np.array(list(written.values()), dtype=np.int64),
        circuit.reference_sample(),
    )


def sample(
    program: Program,
    errors: NDArray[np.float64],
    shots: int,
    seed: tuple[int, int],
    stopped: Stopped,
    first: int = 0,
) -> NDArray[np.uint8]:
    """Samples a program, in blocks of ``BLOCK`` shots.

    Args:
        errors: as ``noise.readout_errors`` gives them.
        seed: from 0 to 2^64 - 1, and the number of a set of parameters.
        first: the number of the first shot.

    Returns:
        uint8 ``(shots, ceil(num_clbits / 8))``, as in ``Samples``.

    Raises:
        TaskCancelled: ``stopped`` was true.
    """
    memory = np.empty((shots, -(-program.num_clbits // 8)), dtype=np.uint8)
    for block in range(first // BLOCK, -(-(first + shots) // BLOCK)):
        go_on(stopped)
        begin = block * BLOCK - first  # of the block, in the memory
        rows = memory[max(begin, 0) : begin + BLOCK]
        wanted = slice(max(-begin, 0), max(-begin, 0) + len(rows))
        key = sha256(b"%d %d %d" % (*seed, block)).digest()
        sampler = program.circuit.compile_sampler(
            seed=int.from_bytes(key[:8], "little"), reference_sample=program.reference
        )
        bits = np.zeros((len(rows), program.num_clbits), dtype=np.bool_)
        bits[:, program.clbits] = sampler.sample(BLOCK)[wanted][:, program.records]
        rows[:] = np.packbits(bits, axis=1, bitorder="little")
        if errors.any():
            rng = np.random.default_rng(int.from_bytes(key[8:], "little"))
            misread(rows, errors, rng.random((BLOCK, program.num_clbits))[wanted])
    return memory


def expectation(
    sequence: Iterable[Operation | Channel],
    observable: PauliSum,
    angles: NDArray[np.float64],
    stopped: Stopped,
) -> float:
    """The exact expectation of an observable at the end, without readout errors.

    The terms are followed back through the program. Clifford gates map each to another Pauli
    string; a Pauli channel multiplies it by the probability that it commutes with the error, less
    that it does not; resets and measurements leave of it what commutes with Z. What arrives at the
    zero state has an expectation if it is made of Z alone.

    Args:
        sequence: as ``noise.sequence`` gives it with ``measurements=False``.

    Raises:
        NotSupported: a gate that is not Clifford, or a channel that is not Pauli.
        TaskCancelled: ``stopped`` was true.
    """
    values = observable.coefficients.copy()
    codes = observable.paulis.copy()
    for item in list(sequence)[::-1]:
        go_on(stopped)
        instructions = _instructions(item, angles)
        if instructions:
            strings, factors = _back(instructions, len(item.qubits))
            qubits = list(item.qubits)
            rows = codes[:, qubits] @ (4 ** np.arange(len(qubits)))
            codes[:, qubits] = strings[rows]
            values *= factors[rows]
    return float(values[np.isin(codes, (_I, _Z)).all(axis=1)].sum())


_I, _Z = 0, 3


@lru_cache(maxsize=4096)
def _back(instructions: _Instructions, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """What every Pauli string after these instructions is before them.

    Returns:
        uint8 ``(4**width, width)``, the codes of the strings before, and float64 ``(4**width,)``,
        their factors; the row of a string has the code of its qubit ``i`` as base-4 digit ``i``.
    """
    strings = np.array([codes[::-1] for codes in product(range(4), repeat=width)], dtype=np.uint8)
    factors = np.ones(len(strings))
    for name, targets in instructions[::-1]:
        circuit = stim.Circuit(_line(name, targets))
        probabilities = circuit[0].gate_args_copy()
        for row, codes in enumerate(strings):
            if name in ("M", "R"):
                factors[row] *= codes[0] in (_I, _Z)
                strings[row] *= name == "M"
            elif probabilities:
                factors[row] *= _commuting(codes.tolist(), probabilities)
            else:
                before = stim.PauliString(codes.tolist()).before(circuit)
                strings[row] = list(before)
                factors[row] *= before.sign.real
    return strings, factors


def _commuting(codes: list[int], probabilities: list[float]) -> float:
    """The probability that a string commutes with the error of a channel, less that it does not."""
    _, *errors = product(range(4), repeat=len(codes))
    turned = 0.0
    for probability, error in zip(probabilities, errors, strict=True):
        anticommuting = sum(a != b and a * b != 0 for a, b in zip(codes, error, strict=True))
        turned += probability * (anticommuting % 2)
    return 1 - 2 * turned


def _line(name: str, targets: Sequence[int]) -> str:
    return " ".join([name, *map(str, targets)])


def _instructions(item: Operation | Channel, angles: NDArray[np.float64]) -> _Instructions:
    """An operation or channel as stim writes it."""
    if isinstance(item, Channel):
        if item.kind is not Kind.PAULI:
            raise NotSupported(
                f"{item.kind.value} in a stabilizer program",
                layer="device",
                remedy='Set method = "auto" in the profile',
            )
        return _channel(item.probabilities)
    if item.op is Op.MEASURE:
        return (("M", (0,)),)
    if item.op is Op.RESET:
        return (("R", (0,)),)
    if item.op is Op.BARRIER:
        return ()
    gate = _gate(item, angles)
    if gate is None:
        raise NotSupported(
            f"{'controlled ' * bool(item.controls)}{item.op.name.lower()} on qubits {item.qubits} "
            "is not a Clifford gate",
            layer="device",
            remedy='Set method = "auto" in the profile',
        )
    return gate


@lru_cache(maxsize=4096)
def _channel(probabilities: tuple[float, ...]) -> _Instructions:
    width = 1 if len(probabilities) == 3 else 2
    figures = ", ".join(str(float(p)) for p in probabilities)
    return ((f"PAULI_CHANNEL_{width}({figures})", tuple(range(width))),)


def _gate(operation: Operation, angles: NDArray[np.float64]) -> _Instructions | None:
    """A gate as stim writes it; None where it is not Clifford."""
    op, controls, qubits, at, _ = operation
    if op is Op.ID or not qubits:
        return ()
    if len(qubits) > _WIDEST:
        return None
    quarters = []
    for angle in angles[at.start : at.stop].tolist():
        turns = round(angle / _QUARTER)
        if abs(angle - turns * _QUARTER) > _TOLERANCE:
            return None
        quarters.append(turns % 8)  # a rotation has a period of two turns
    return _clifford(op, controls, tuple(quarters))


_QUARTER = np.pi / 2


@lru_cache(maxsize=4096)
def _clifford(op: Op, controls: int, quarters: tuple[int, ...]) -> _Instructions | None:
    gate = matrix(op, tuple(turns * _QUARTER for turns in quarters))
    full = np.eye(len(gate) << controls, dtype=np.complex128)
    on = (1 << controls) - 1
    full[on :: 1 << controls, on :: 1 << controls] = gate
    try:
        tableau = stim.Tableau.from_unitary_matrix(full, endian="little")
    except ValueError:  # it is not Clifford
        return None
    name = _names().get(str(tableau))
    if name is not None:
        return ((name, tuple(range(len(tableau)))),)
    return tuple(
        (instruction.name, tuple(target.value for target in instruction.targets_copy()))
        for instruction in tableau.to_circuit()
        if isinstance(instruction, stim.CircuitInstruction)
    )


@cache
def _names() -> dict[str, str]:
    """Names of stim's gates on one and two qubits by what they do."""
    return {
        str(data.tableau): name
        for name, data in stim.gate_data().items()
        if data.is_unitary and (data.is_single_qubit_gate or data.is_two_qubit_gate)
    }
