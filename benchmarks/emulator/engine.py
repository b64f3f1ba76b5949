"""What a benchmark asks of an engine, ours or a peer's, and how it hears back."""

from __future__ import annotations

import base64
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse.program.observable import PauliSum

#: A choice of an engine's options; values are what JSON can carry.
Setting = Mapping[str, Any]
#: Gives, outside the measured time, the numbers by which engines are held against each other.
Probe = Callable[[], ArrayLike]


class Kind(StrEnum):
    """What a task wants, and what its probe gives."""

    STATE = "state"  # the state in memory; amplitudes at ``Task.indices``
    SAMPLE = "sample"  # shots of the final measurements; ``statistics`` of them
    CLIFFORD = "clifford"  # the same, of a Clifford program that no state vector could hold
    NOISY = "noisy"  # the same, one trajectory a shot
    DENSITY = "density"  # the same, out of the exact density matrix
    EXPECTATION = "expectation"  # of the observable, for every set of parameters; these values


class Noise(NamedTuple):
    """The probability that a Pauli other than the identity, each as likely, follows a gate.

    Attributes:
        one, two: after a gate on one qubit, on its qubit; on two, on both of them jointly.
    """

    one: float
    two: float


@dataclass(frozen=True, eq=False)
class Task:
    """A circuit and what to do with it.

    Attributes:
        parameters: float64 ``(k, n_parameters)``; ``k`` is 1 but for a batch of expectations.
        indices: of the amplitudes that the probe of a state gives; bit ``q`` is qubit ``q``.
        shots: how many to sample, or how many trajectories.
        observable: of an expectation.
        noise: of trajectories and density matrices.
    """

    kind: Kind
    circuit: Circuit
    parameters: NDArray[np.float64]
    indices: tuple[int, ...] = ()
    shots: int = 0
    observable: PauliSum | None = None
    noise: Noise | None = None

    @property
    def num_qubits(self) -> int:
        return self.circuit.num_qubits

    @property
    def num_gates(self) -> int:
        """Operations that are unitary."""
        return int((self.circuit.opcodes < Op.MEASURE).sum())

    @property
    def batch(self) -> int:
        """Sets of parameters."""
        return len(self.parameters)

    def angles(self) -> NDArray[np.float64]:
        """The circuit's angles for every set of parameters: float64 ``(k, n_angles)``, radians."""
        return self.circuit.bind(self.parameters)

    def to_wire(self) -> dict[str, Any]:
        """The task as what JSON can carry."""
        return {
            "kind": self.kind.value,
            "circuit": base64.b64encode(self.circuit.encoded).decode(),
            "parameters": self.parameters.tolist(),
            "indices": self.indices,
            "shots": self.shots,
            "observable": self.observable
            and [self.observable.coefficients.tolist(), self.observable.paulis.tolist()],
            "noise": self.noise,
        }

    @staticmethod
    def from_wire(body: dict[str, Any]) -> Task:
        """The task that ``to_wire`` wrote."""
        circuit = Circuit.decode(base64.b64decode(body["circuit"]))
        rows = body["parameters"]
        sets = np.array(rows, np.float64).reshape(len(rows), len(circuit.parameters))
        return Task(
            Kind(body["kind"]),
            circuit,
            sets,
            tuple(body["indices"]),
            body["shots"],
            body["observable"] and PauliSum(*map(np.array, body["observable"])),
            body["noise"] and Noise(*body["noise"]),
        )


class Unsupported(Exception):
    """The engine cannot do a task; the text says why."""


class Laps:
    """Takes the time of the phases of a run, one after another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def __call__(self, phase: str) -> None:
        """Ends a phase: it began when the one before ended."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._began
        self._began = now


class Engine(ABC):
    """One engine with one precision and number of threads, alone in its process.

    A run does everything anew from the circuit form: nothing of an earlier run may be of use to it.
    """

    name: ClassVar[str]
    #: Whether it has density matrices.
    has_density: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, precision: str, threads: int) -> None:
        """``precision`` is ``double`` or ``single``. Raises Unsupported."""

    @abstractmethod
    def settings(self, task: Task) -> Sequence[Setting]:
        """The settings worth a trial for a task, the most promising first. Raises Unsupported."""

    def offered(self, task: Task) -> Sequence[Setting]:
        """``settings``, where the engine can do this kind of task at all. Raises Unsupported."""
        if task.kind is Kind.DENSITY and not self.has_density:
            raise Unsupported("it has no density matrices that take noise models")
        return self.settings(task)

    @abstractmethod
    def run(self, task: Task, setting: Setting, lap: Laps) -> Probe:
        """Does the task: ends the phases ``translate_s`` (for us ``plan_s`` and ``bind_s``) and
        ``execute_s``. The probe may keep the outcome; it goes before the next run."""


class Gate(NamedTuple):
    """A unitary operation with its angles in radians."""

    op: Op
    controls: tuple[int, ...]
    targets: tuple[int, ...]
    angles: tuple[float, ...]


def gates(circuit: Circuit, angles: NDArray[np.float64]) -> Iterator[Gate]:
    """The unitary operations of a circuit in order, ``angles`` being a row of ``Circuit.bind``."""
    values = angles.tolist()
    for op, controls, qubits, span, _ in circuit.operations():
        if op < Op.MEASURE:
            own = tuple(values[span.start : span.stop])
            yield Gate(op, qubits[:controls], qubits[controls:], own)


def angle_spans(circuit: Circuit) -> list[range]:
    """The positions of each unitary operation's angles in a row of ``Circuit.bind``."""
    return [angles for op, _, _, angles, _ in circuit.operations() if op < Op.MEASURE]


def noise_after(noise: Noise, gate: Gate) -> tuple[tuple[int, ...], float]:
    """The qubits that noise follows a gate on, one or two, and its probability."""
    qubits = gate.controls + gate.targets
    if len(qubits) > 2:
        raise Unsupported("noise after gates on one or two qubits alone")
    return qubits, noise.one if len(qubits) == 1 else noise.two


def terms(observable: PauliSum) -> Iterator[tuple[float, list[int], list[int]]]:
    """Each term's coefficient, qubits, and Paulis on these (1 is X, 2 Y, 3 Z)."""
    for coefficient, paulis in zip(
        observable.coefficients.tolist(), observable.paulis, strict=True
    ):
        qubits = np.flatnonzero(paulis)
        yield coefficient, qubits.tolist(), paulis[qubits].tolist()


def statistics(bits: ArrayLike, counts: Sequence[int] | None = None) -> NDArray[np.float64]:
    """What samples are held against each other by: how often each bit is 1, and how often each
    differs from the next.

    Args:
        bits: 0 or 1, shape ``(rows, num_bits)``, qubit 0 first.
        counts: how often each row came, shape ``(rows,)``; once if left out.

    Returns:
        float64 ``(2 * num_bits - 1,)``.
    """
    table = np.asarray(bits, dtype=bool)
    both = np.hstack([table, table[:, 1:] ^ table[:, :-1]])
    return np.asarray(np.average(both, axis=0, weights=counts), dtype=np.float64)


def bits_of(numbers: ArrayLike, num_bits: int) -> NDArray[np.uint8]:
    """Whole numbers of at most 64 bits as rows of bits, the least significant first."""
    columns = np.asarray(numbers, dtype=np.uint64)[:, np.newaxis]
    places = np.arange(num_bits, dtype=np.uint64)
    return (columns >> places & np.uint64(1)).astype(np.uint8)


def bits_of_text(texts: Sequence[str], *, first_is_qubit_0: bool) -> NDArray[np.uint8]:
    """Bit strings of one length as rows of bits, qubit 0 first."""
    rows = np.frombuffer("".join(texts).encode(), dtype=np.uint8).reshape(len(texts), -1) - ord("0")
    return rows if first_is_qubit_0 else rows[:, ::-1]
