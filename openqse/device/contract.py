"""The device contract: all that the author of a driver needs to read.

A device says what it can do (``Capabilities``), translates programs once (``prepare``), takes tasks
(``submit``) and says what became of them (``wait``). Whatever its descriptor does not offer is
refused by ``check`` before the device hears of it, on the client's side and in the QPU agent alike.
A blocking function becomes a device through ``openqse.device.adapter``; ``docs/devices.md`` shows
how a driver is written, and ``openqse device check NAME`` holds it against this contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from openqse.device import needs
from openqse.errors import (
    ArgumentError,
    NotSupported,
    ProtocolError,
    UnsupportedInput,
)
from openqse.program.circuit import FORMAT, FORMAT_1, Circuit
from openqse.program.observable import PauliSum
from openqse.program.program import Program

#: A prepared program, and what stands for a task under way: the device's own objects.
P = TypeVar("P")
H = TypeVar("H")

Scalar: TypeAlias = "str | int | float | bool"

#: What a device says of how it came to a result; see ``Samples``.
Metadata: TypeAlias = Mapping[str, Scalar]


@dataclass(frozen=True)
class Capabilities:
    """What a device offers. ``check`` enforces every field.

    Attributes:
        num_qubits: qubits that a program may have.
        formats: names of the program formats that ``prepare`` takes.
        max_shots: shots that one task may ask of each set of parameters.
        gates: names of the gates that a circuit may use, a ``c`` in front for each control
            (``"rz"``, ``"cx"``); None means all, under any number of controls.
        coupling: pairs of qubits that gates may act on, in either direction; None means that a gate
            may act on any qubits.
        dynamic_circuits: a circuit may measure and reset in its course, and act on outcomes.
        expectation: the expectation of an observable may be asked for.
        seeds: a task may bring a seed; equal seeds give equal results.
        slices: a task may be run in slices (see ``Work``).
    """

    num_qubits: int
    formats: tuple[str, ...]
    max_shots: int
    gates: tuple[str, ...] | None = None
    coupling: tuple[tuple[int, int], ...] | None = None
    dynamic_circuits: bool = False
    expectation: bool = False
    seeds: bool = False
    slices: bool = False

    def to_wire(self) -> dict[str, Any]:
        """The descriptor as plain values."""
        return asdict(self)

    @staticmethod
    def from_wire(body: Mapping[str, Any]) -> Capabilities:
        """The descriptor that ``to_wire`` wrote; fields of later versions are passed over.

        Raises:
            ProtocolError: a field is missing or of another type.
        """
        known = {f.name: body[f.name] for f in fields(Capabilities) if f.name in body}
        try:
            gates, coupling = known.get("gates"), known.get("coupling")
            known["formats"] = tuple(map(str, known["formats"]))
            known["gates"] = None if gates is None else tuple(map(str, gates))
            known["coupling"] = (
                None if coupling is None else tuple((int(a), int(b)) for a, b in coupling)
            )
            return Capabilities(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"malformed capabilities: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Work:
    """What a task asks of a device, or a slice of that.

    A run is the shots of its first set of parameters, then those of the second, and so on. A slice
    is some sets with all their shots, or some shots of one set; of an expectation, some sets.
    However a run with a seed is cut, its slices give the samples of the whole, and their QPU times
    add up to its.

    Attributes:
        program: id of the program (SHA-256, 32 bytes).
        parameters: float64 ``(k, n_parameters)``: ``k`` sets of values.
        shots: shots of each set; 0 where an observable is given.
        seed: equal seeds give equal results; None draws one. Devices without ``seeds`` get None.
        observable: its expectation is asked for instead of samples.
        first_set: the number in the whole run of the first of these sets.
        first_shot: the number in the whole set of the first of these shots.
        of_shots: shots that the whole run takes of each set; None means that these are its last.
            Devices without ``slices`` get 0, 0 and None.
        deadline: monotonic instant after which nobody waits for the result, seconds. The agent
            cancels the task then; a device may give up by itself.
    """

    program: bytes
    parameters: NDArray[np.float64]
    shots: int = 0
    seed: int | None = None
    observable: PauliSum | None = None
    first_set: int = 0
    first_shot: int = 0
    of_shots: int | None = None
    deadline: float | None = None


@dataclass(frozen=True)
class Samples:
    """What sampling gave.

    Attributes:
        memory: uint8 ``(k, shots, ceil(w / 8))``, ``w`` the width of the program's outputs; their
            bit ``i`` is bit ``i % 8`` (least significant first) of byte ``i // 8``.
        qpu_time_ns: QPU time of all ``k`` sets together, nanoseconds. This is what is charged.
        metadata: how the device came to it, by name: ``"method"`` and ``"reason"`` for what an
            emulator chose, ``"job"`` for a vendor's own id, and whatever else users may need.
    """

    memory: NDArray[np.uint8]
    qpu_time_ns: int
    metadata: Metadata = field(default_factory=dict)

    @property
    def method(self) -> str:
        """How an emulator computed it and why, in words; empty for hardware."""
        return method_of(self.metadata)


@dataclass(frozen=True)
class Expectations:
    """What an expectation gave.

    Attributes:
        values: float64 ``(k,)``.
        qpu_time_ns, metadata: as in ``Samples``.
    """

    values: NDArray[np.float64]
    qpu_time_ns: int
    metadata: Metadata = field(default_factory=dict)

    @property
    def method(self) -> str:
        """As in ``Samples``."""
        return method_of(self.metadata)


def method_of(metadata: Metadata) -> str:
    """Words for how an emulator came to a result and why; empty where the metadata say nothing."""
    words = (str(metadata[key]) for key in ("method", "reason") if key in metadata)
    return ": ".join(words)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task gave: samples or expectation values, and the id of the calibration in force."""

    data: Samples | Expectations
    calibration: str


@dataclass(frozen=True)
class Calibration:
    """A calibration: its id, which every result names, and its figures."""

    id: str
    values: Mapping[str, Any] = field(default_factory=dict)


class Operation(StrEnum):
    """What a device is doing, whether it takes tasks or not."""

    ONLINE = "online"
    CALIBRATING = "calibrating"
    MAINTENANCE = "maintenance"
    OFFLINE = "offline"


@dataclass(frozen=True)
class DeviceStatus:
    """How a device is.

    Attributes:
        operation: what it is doing.
        ready: whether tasks that are submitted now will run; while it is not, they wait in the
            agent.
        reason: why it is not ready, for people.
    """

    operation: Operation
    ready: bool
    reason: str = ""


#: The status of a device that serves.
READY = DeviceStatus(Operation.ONLINE, True)


class Device(Protocol[P, H]):
    """A QPU driver.

    ``prepare``, ``submit`` and ``estimate`` are called one at a time and, where ``capacity`` is 1,
    never while a task is under way. ``wait`` is called for several tasks at once, from a thread
    each. What else there is may be called by any thread at any moment, and answers without waiting
    for hardware or network. Every method may raise typed errors (``openqse.errors``); anything else
    that it raises counts as ``DeviceError``.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the device offers; the same for as long as it lives."""
        ...

    @property
    def capacity(self) -> int:
        """How many tasks may be under way at once, 1 or more; it may change with time."""
        ...

    def prepare(self, program: Program) -> P:
        """Translates a program once, so that running it needs parameters alone.

        Raises:
            NotSupported: the program has what the device does not offer; ``UnsupportedInput`` where
                it can name the construct.
        """
        ...

    def submit(self, prepared: P, work: Work) -> H:
        """Begins a task, which has passed ``check``, and returns without waiting for its end.

        Raises:
            NotAcquired: the device serves somebody else at present.
        """
        ...

    def wait(self, handle: H, timeout: float | None = None) -> Outcome | None:
        """Waits until a task has ended. A driver may look after its tasks here, in this thread.

        Args:
            timeout: seconds; 0 only looks, None waits for as long as it takes.

        Returns:
            What the task gave; None if it is still under way.

        Raises:
            TaskCancelled: it was cancelled. Anything else: why it failed.
        """
        ...

    def cancel(self, handle: H) -> None:
        """Asks that a task end as soon as it can, and returns at once; ``wait`` then raises
        ``TaskCancelled``, or gives the result where that was faster."""
        ...

    def estimate(self, prepared: P, work: Work) -> int:
        """QPU time that work is going to take, nanoseconds.

        Raises:
            NotSupported: the device has no model of its timing.
        """
        ...

    def calibration(self) -> Calibration:
        """The calibration in force."""
        ...

    def status(self) -> DeviceStatus:
        """How the device is."""
        ...

    def close(self) -> None:
        """Ends the device; it is not ready afterwards."""
        ...


def check(
    program: Program, work: Work, capabilities: Capabilities, name: str = "the device"
) -> None:
    """Refuses what a device does not offer: this is where its descriptor is enforced.

    Of programs in other formats than the circuit form only the format can be checked; what else
    they need is for the device to say.

    Args:
        name: what errors call the device.

    Raises:
        NotSupported, UnsupportedInput, ArgumentError: what, and what to do instead.
    """
    check_program(program, capabilities, name)
    check_work(work, capabilities, name)


def check_program(program: Program, capabilities: Capabilities, name: str = "the device") -> None:
    """The part of ``check`` that looks at the program alone, once for all of its tasks.

    Of a format other than a circuit's the device itself looks further, in ``prepare``.
    """
    if program.format not in capabilities.formats:
        raise UnsupportedInput(
            f"{name} takes no programs of format {program.format!r}, only "
            f"{', '.join(map(repr, capabilities.formats))}",
            remedy="Write the program in one of these, or use another QPU",
            construct=program.format,
            format=program.format,
            formats=list(capabilities.formats),
        )
    if program.format in (FORMAT, FORMAT_1):
        _check_circuit(needs.circuit(program), capabilities, name)


def _check_circuit(program: Circuit, capabilities: Capabilities, name: str) -> None:
    if program.num_qubits > capabilities.num_qubits:
        raise NotSupported(
            f"the program has {program.num_qubits} qubits; {name} has {capabilities.num_qubits}",
            remedy="Use fewer qubits, or a QPU that has more",
            num_qubits=program.num_qubits,
            max_qubits=capabilities.num_qubits,
        )
    if not capabilities.dynamic_circuits and (dynamic := needs.dynamic(program)):
        raise UnsupportedInput(
            f"{name} runs no program that {dynamic}",
            remedy="Measure each qubit once, at the end of the program",
            construct=dynamic,
        )
    if capabilities.gates is not None:
        _check_gates(program, capabilities.gates, name)
    if capabilities.coupling is not None:
        _check_coupling(program, capabilities.coupling, name)


def _check_gates(program: Circuit, gates: tuple[str, ...], name: str) -> None:
    for gate in needs.gates(program):
        if gate not in gates:
            raise UnsupportedInput(
                f"{name} has no gate {gate!r}",
                remedy=f"Use these alone: {', '.join(gates)}",
                construct=gate,
            )


def _check_coupling(program: Circuit, coupling: tuple[tuple[int, int], ...], name: str) -> None:
    coupled = {frozenset(pair) for pair in coupling}
    for gate, qubits in needs.joined(program):
        if frozenset(qubits) not in coupled:
            construct = f"{gate} on qubits {', '.join(map(str, qubits))}"
            raise UnsupportedInput(
                f"{name} cannot apply {construct}, which are not coupled",
                remedy="Route the program over the pairs that its capabilities list",
                construct=construct,
            )


def check_work(work: Work, capabilities: Capabilities, name: str = "the device") -> None:
    """The part of ``check`` that looks at what a task asks."""
    if work.observable is None:
        shots = work.shots if work.of_shots is None else work.of_shots
        if not 1 <= work.shots <= shots <= capabilities.max_shots:
            raise ArgumentError(
                f"{shots} shots; {name} takes 1 to {capabilities.max_shots} in one task",
                remedy="Divide them among several tasks",
            )
    elif not capabilities.expectation:
        raise NotSupported(
            f"{name} offers no expectation of observables",
            remedy="Sample in the bases of the observable's terms with run()",
        )
    if work.seed is not None and not capabilities.seeds:
        raise NotSupported(f"{name} takes no seed", remedy="Leave it out: its results are random")
    sliced = work.first_set or work.first_shot or work.of_shots is not None
    if sliced and not capabilities.slices:
        raise NotSupported(f"{name} runs no slices of a task", remedy="Run it whole")
