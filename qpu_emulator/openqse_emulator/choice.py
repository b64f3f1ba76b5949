"""Which engine computes a program, why, and what memory that takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from openqse.errors import NotSupported
from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import Op
from openqse_emulator import density, noise, stabilizer
from openqse_emulator.noise import Channel, Kind
from openqse_emulator.profile import Engine, Method
from openqse_emulator.statevector import execute, program

#: The largest whole number that an error's details can carry over the wire.
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Choice:
    """How a program is computed.

    Attributes:
        method: by which engine.
        reason: why, a short sentence for users.
        bytes: memory that it takes, as far as this is known beforehand: of a state vector or
            trajectory one state, and where it collapses those of the branches that may wait.
    """

    method: Method
    reason: str
    bytes: int


def choose(
    circuit: Circuit,
    engine: Engine,
    sequence: Iterable[Operation | Channel],
    shots: int | None = None,
    *,
    angles: NDArray[np.float64] | None = None,
) -> Choice:
    """The engine for a program.

    Where the profile leaves it open (``auto``) this is the stabilizer engine for what is Clifford
    with Pauli noise, and a state vector for what has no noise. With noise it is a density matrix
    where ``4**n``, once for each of the ``2**m`` branches of ``m`` measurements in the program's
    course, is at most ``shots * 2**n``: what trajectories visit for each operation; else it is
    trajectories.

    Args:
        engine: with numbers in place of zeros (``Engine.on_this_machine``).
        sequence: the circuit as ``noise.sequence`` gives it.
        shots: of a run; None for an expectation, which a density matrix gives exactly.
        angles: float64 ``(n_angles,)``, a row of ``Circuit.bind``; None where an engine is sought
            for all parameters.

    Raises:
        NotSupported: the engine that the profile asks for cannot compute the program, or it takes
            more memory than there is.
    """
    considered = _Program(circuit, angles, engine, list(sequence), shots)
    if engine.method != "auto":
        obstacle = considered.obstacle(engine.method)
        if obstacle is not None:
            raise NotSupported(
                f'method = "{engine.method}" for this program: {obstacle}',
                layer="device",
                remedy='Set method = "auto" in the profile',
                method=engine.method,
            )
        chosen = considered.choice(engine.method, "the profile asks for it")
    else:
        chosen = _automatic(considered, shots)
    if chosen.bytes > engine.memory_bytes:
        raise NotSupported(
            f"the program has {circuit.num_qubits} qubits, for which the method {chosen.method} "
            f"takes {_figure(chosen.bytes)} bytes; a program may take "
            f"{_figure(engine.memory_bytes)}",
            layer="device",
            remedy="Use fewer qubits, or a QPU on a larger machine",
            num_qubits=circuit.num_qubits,
            bytes=min(chosen.bytes, _LARGEST),
            memory_bytes=engine.memory_bytes,
        )
    return chosen


class _Program:
    """A program as a choice looks at it."""

    def __init__(
        self,
        circuit: Circuit,
        angles: NDArray[np.float64] | None,
        engine: Engine,
        sequence: list[Operation | Channel],
        shots: int | None,
    ) -> None:
        self.circuit = circuit
        self.angles = angles
        self.engine = engine
        self.sequence = sequence
        self.kinds = {channel.kind for channel in noise.channels(sequence)}
        self.branchings = density.branchings(sequence)
        # Where a program collapses, a branch waits with a state for every halving of the shots.
        collapses = program.read(circuit).collapses
        collapses += sum(channel.kind is Kind.KRAUS for channel in noise.channels(sequence))
        self.states = 1 + min(collapses, (shots or 1).bit_length())

    def obstacle(self, method: Method) -> str | None:
        """Why a method cannot compute the program, its memory aside."""
        n = self.circuit.num_qubits
        if method == "statevector" and self.kinds:
            return "there is noise, which a single state cannot hold"
        if method == "stabilizer" and not self.kinds <= {Kind.PAULI}:
            return "the noise is more than Pauli errors"
        if method == "stabilizer" and not stabilizer.is_clifford(self.circuit, self.angles):
            return "it is not Clifford"
        if method == "density" and n > density.MOST_QUBITS:
            return f"it has {n} qubits, and density matrices at most {density.MOST_QUBITS}"
        if method == "density" and Kind.LEAKAGE in self.kinds:
            return "its qubits leak"
        return None

    def choice(self, method: Method, reason: str) -> Choice:
        return Choice(method, reason, self.bytes(method))

    def bytes(self, method: Method) -> int:
        n = self.circuit.num_qubits
        if method == "density":
            return density.matrix_bytes(n) * (1 + self.branchings)
        if method == "stabilizer":
            measurements = int(np.count_nonzero(self.circuit.opcodes == Op.MEASURE))
            return stabilizer.program_bytes(n, measurements, self.circuit.num_clbits)
        return execute.state_bytes(n, execute.DTYPES[self.engine.precision]) * self.states


def _automatic(considered: _Program, shots: int | None) -> Choice:
    n = considered.circuit.num_qubits
    if considered.obstacle("stabilizer") is None:
        errors = "the noise is Pauli" if considered.kinds else "has no noise"
        return considered.choice("stabilizer", f"the program is Clifford and {errors}")
    if not considered.kinds:
        return considered.choice("statevector", "the program has no noise")
    obstacle = considered.obstacle("density")
    if obstacle is not None:
        return considered.choice("trajectories", f"the program has noise, and {obstacle}")
    exact = considered.choice("density", f"a density matrix of {n} qubits is exact")
    if exact.bytes > considered.engine.memory_bytes:
        return considered.choice("trajectories", "a density matrix does not fit into the memory")
    if shots is None:
        return exact
    if 2 ** (n + considered.branchings) <= shots:
        return considered.choice(
            "density", f"a density matrix of {n} qubits costs less than {shots} trajectories"
        )
    return considered.choice(
        "trajectories", f"{shots} trajectories cost less than a density matrix of {n} qubits"
    )


def _figure(number: int) -> str:
    """Three digits of a number of any size, which a float need not hold."""
    return f"{Decimal(number):.3g}"
