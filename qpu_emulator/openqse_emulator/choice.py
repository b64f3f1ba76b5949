"""Which engine computes a program, why, and what memory that takes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from openqse.device import Scalar
from openqse.errors import DeviceError, NotSupported
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse_emulator import cost, density, noise, stabilizer
from openqse_emulator.noise import Kind, Sequenced
from openqse_emulator.profile import Engine, Method
from openqse_emulator.statevector import execute, program

#: The largest whole number that an error's details can carry over the wire.
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Task:
    """What is asked of a program.

    Attributes:
        shots: of a run; of an expectation, how many trajectories a mean is taken of where none is
            exact.
        observed: whether it is an expectation.
    """

    shots: int
    observed: bool = False


@dataclass(frozen=True)
class Choice:
    """How a program is computed.

    Attributes:
        method: by which engine.
        reason: why, a short sentence for users.
        bytes: memory that it takes, as far as this is known beforehand: of a state vector or
            trajectory one state, and where it collapses those of the branches that may wait.
        exact: of an expectation, whether it is exact and not the mean of trajectories.
    """

    method: Method
    reason: str
    bytes: int
    exact: bool = True

    @property
    def metadata(self) -> dict[str, Scalar]:
        """What results say of how they were computed."""
        return {"method": self.method, "reason": self.reason}

    def out_of_memory(self) -> DeviceError:
        """What a task ends with for which memory ran out all the same."""
        return DeviceError(
            f"memory ran out for a program that takes {self.bytes:.3g} bytes ({self.method})",
            layer="device",
            remedy="Use fewer qubits or shots, or run the emulator on a larger machine",
        )


def choose(
    circuit: Circuit,
    engine: Engine,
    sequence: Sequenced,
    task: Task,
    *,
    angles: NDArray[np.float64] | None = None,
) -> Choice:
    """The engine for a program.

    Where the profile leaves it open (``auto``) this is the stabilizer engine for what is Clifford
    with Pauli noise, and a state vector for what has no noise. With noise it is a density matrix or
    trajectories, whichever costs less (see ``cost``). Of an expectation it is what gives it exactly
    if anything does: a state vector only if its outcomes on the way are not too many to follow.

    Args:
        circuit: gates, measurements and resets.
        engine: with numbers in place of zeros (``Engine.on_this_machine``).
        sequence: what is going to happen, as ``noise.sequence`` gives it: for an expectation,
            without the final measurements.
        angles: float64 ``(n_angles,)``, a row of ``Circuit.bind``; None where an engine is sought
            for all parameters.

    Raises:
        NotSupported: the engine that the profile asks for cannot compute the program, or it takes
            more memory than there is.
    """
    considered = _Program(circuit, angles, engine, sequence, task)
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
        chosen = _automatic(considered)
    if chosen.bytes > engine.memory_bytes:
        raise NotSupported(
            f"the program computes with {circuit.num_qubits} qubits, for which the method "
            f"{chosen.method} takes {_figure(chosen.bytes)} bytes; a program may take "
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
        sequence: Sequenced,
        task: Task,
    ) -> None:
        self.circuit = circuit
        self.angles = angles
        self.engine = engine
        self.sequence = sequence
        self.task = task
        self.kinds = {channel.kind for channel in noise.channels(sequence)}
        # Where a program collapses, a branch waits with a state for every halving of the shots.
        self.collapses = program.read(
            circuit,
            observed=task.observed,
            disturbed=noise.disturbed(sequence, circuit.num_qubits),
            identities=noise.identities(sequence),
        ).collapses
        self.collapses += sum(channel.kind is Kind.KRAUS for channel in noise.channels(sequence))

    @property
    def few_branches(self) -> bool:
        """Whether all outcomes on the way are no more than trajectories would be."""
        return self.collapses < self.task.shots.bit_length()

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
        """A method with what is to be said of it."""
        exact = True
        if self.task.observed and method in ("statevector", "trajectories"):
            exact = method == "statevector" and self.few_branches
            if not exact:
                reason += f"; the mean of {self.task.shots} trajectories"
            elif self.collapses:
                reason += "; exact, over all outcomes on the way"
        return Choice(method, reason, self.bytes(method), exact)

    def bytes(self, method: Method) -> int:
        n, observed = self.circuit.num_qubits, self.task.observed
        if method == "density":
            outputs = self.circuit.num_outputs
            return density.program_bytes(self.sequence, n, outputs, observed=observed)
        if method == "stabilizer":
            measurements = int(np.count_nonzero(self.circuit.opcodes == Op.MEASURE))
            return stabilizer.program_bytes(n, measurements, self.circuit.num_clbits)
        states = 1 + min(self.collapses, self.task.shots.bit_length())
        return execute.state_bytes(n, execute.DTYPES[self.engine.precision]) * states

    def seconds(self, method: Method) -> float:
        """What a method other than the stabilizer's costs."""
        n, observed, shots = self.circuit.num_qubits, self.task.observed, self.task.shots
        if method == "density":
            outputs = self.circuit.num_outputs
            return cost.of_density(self.sequence, n, outputs, observed=observed)
        if method == "trajectories":
            return cost.of_trajectories(self.sequence, n, shots, self.collapses)
        return cost.of_branches(self.sequence, n, min(2.0 ** min(self.collapses, 64), shots))


def _automatic(considered: _Program) -> Choice:
    if considered.obstacle("stabilizer") is None:
        errors = "the noise is Pauli" if considered.kinds else "has no noise"
        return considered.choice("stabilizer", f"the program is Clifford and {errors}")
    if considered.kinds:
        return _noisy(considered)
    pure = considered.choice("statevector", "the program has no noise")
    if not considered.task.observed or not considered.collapses:
        return pure
    if considered.obstacle("density") is None:
        exact = considered.choice("density", "a density matrix follows all outcomes on the way")
        fits = exact.bytes <= considered.engine.memory_bytes
        if fits and (
            not pure.exact or considered.seconds("density") < considered.seconds("statevector")
        ):
            return exact
    return pure


def _noisy(considered: _Program) -> Choice:
    n, shots = considered.circuit.num_qubits, considered.task.shots
    obstacle = considered.obstacle("density")
    if obstacle is not None:
        return considered.choice("trajectories", f"the program has noise, and {obstacle}")
    exact = considered.choice("density", f"a density matrix of {n} qubits is exact")
    if exact.bytes > considered.engine.memory_bytes:
        return considered.choice("trajectories", "a density matrix does not fit into the memory")
    if considered.task.observed:
        return exact
    if considered.seconds("density") <= considered.seconds("trajectories"):
        return considered.choice(
            "density", f"a density matrix of {n} qubits costs less than {shots} trajectories"
        )
    return considered.choice(
        "trajectories", f"{shots} trajectories cost less than a density matrix of {n} qubits"
    )


def _figure(number: int) -> str:
    """Three digits of a number of any size, which a float need not hold."""
    return f"{Decimal(number):.3g}"
