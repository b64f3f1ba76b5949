"""The device contract: what every QPU driver offers, the emulator or somebody's real stack."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openqse.errors import ConfigurationError, DeviceError, OpenQSEError
from openqse.program.observable import PauliSum
from openqse.program.program import Program

#: Group of entry points under which a package names the factory of its device.
ENTRY_POINTS = "openqse.devices"

#: Slices of many shots are cut at multiples of this, since devices compute shots in blocks.
_BLOCK = 256


@dataclass(frozen=True)
class Capabilities:
    """What a device offers. What is not declared here is refused with ``NotSupported``.

    Attributes:
        num_qubits: qubits a program may use.
        native_gates: names of the gates that the device executes as such.
        coupling: pairs of qubits that two-qubit gates may act on; None means all pairs.
        formats: program formats that ``prepare`` accepts.
        max_shots: largest number of shots in one task.
        dynamic_circuits: mid-circuit measurement and reset.
        logical: the qubits are error-corrected.
        expectation: ``expectation`` is offered.
        slices: a task may be run in slices (see ``Device.run``); else tasks run whole.
        timing: seconds by name of what takes them (``"x"``, ``"readout"``, ``"reset"`` …).
    """

    num_qubits: int
    native_gates: tuple[str, ...]
    formats: tuple[str, ...]
    max_shots: int
    coupling: tuple[tuple[int, int], ...] | None = None
    dynamic_circuits: bool = False
    logical: bool = False
    expectation: bool = False
    slices: bool = False
    timing: Mapping[str, float] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_wire(body: dict[str, Any]) -> Capabilities:
        coupling = body.get("coupling")
        return Capabilities(
            **{
                **body,
                "native_gates": tuple(body["native_gates"]),
                "formats": tuple(body["formats"]),
                "coupling": None if coupling is None else tuple((a, b) for a, b in coupling),
            }
        )


@dataclass(frozen=True)
class Samples:
    """Outcome of sampling.

    Attributes:
        memory: uint8 ``(k, shots, ceil(num_clbits / 8))``; classical bit ``i`` is bit ``i % 8``
            (least significant first) of byte ``i // 8``.
        qpu_time_ns: QPU time of all ``k`` sets together, nanoseconds.
        method: how an emulator computed it and why, for people; empty for hardware.
    """

    memory: NDArray[np.uint8]
    qpu_time_ns: int
    method: str = ""


@dataclass(frozen=True)
class Expectations:
    """Outcome of an expectation.

    Attributes:
        values: float64 ``(k,)``.
        qpu_time_ns: QPU time of all ``k`` sets together, nanoseconds.
        method: as in ``Samples``.
    """

    values: NDArray[np.float64]
    qpu_time_ns: int
    method: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What a task asks of a device, or a slice of that.

    Attributes:
        program: id of the program (SHA-256, 32 bytes).
        parameters: float64 ``(k, n_parameters)``.
        shots: shots for each of the ``k`` sets; 0 where an observable is given.
        seed: for equal results; None draws one.
        observable: its expectation is asked for instead of samples.
        first_set, first_shot, of_shots: where a slice lies in the whole (see ``Device.run``).
    """

    program: bytes
    parameters: NDArray[np.float64]
    shots: int = 0
    seed: int | None = None
    observable: PauliSum | None = None
    first_set: int = 0
    first_shot: int = 0
    of_shots: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task gave: samples or expectation values, and under which calibration."""

    data: Samples | Expectations
    calibration: str


@dataclass(frozen=True)
class Calibration:
    """A calibration: its id (named in every result) and its figures."""

    id: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DeviceStatus:
    """Whether the device can run tasks now, and why not."""

    online: bool
    reason: str = ""


class Device(Protocol):
    """A QPU driver. ``prepare``, ``run``, ``expectation`` and ``estimate`` are called one at a
    time; what else there is must answer at any moment, from any thread, without waiting for
    hardware.

    ``stopped`` is asked while a program runs; once it is true the device raises ``TaskCancelled``
    as soon as it can.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def prepare(self, program: Program) -> Any:
        """Checks and translates a program once, so that running it needs parameters alone.

        Raises:
            NotSupported: the program needs what the device does not offer.
        """
        ...

    def run(
        self,
        prepared: Any,
        parameters: NDArray[np.float64],
        shots: int,
        seed: int | None,
        stopped: Callable[[], bool],
        first_set: int = 0,
        first_shot: int = 0,
        of_shots: int | None = None,
    ) -> Samples:
        """Samples a prepared program, or a slice of a run.

        A run is the shots of its first set of parameters, then those of the second, and so on. A
        slice is some sets with all their shots, or some shots of one set. However a run with a
        seed is cut, its slices give the samples of the whole, and their QPU times add up to its.
        A device that declares no ``slices`` is given none of the last three arguments; hardware,
        which has no seeds, may ignore them.

        Args:
            parameters: float64 ``(k, n_parameters)``.
            shots: shots for each of the ``k`` sets.
            seed: equal seeds give equal samples; None draws one.
            first_set: the number in the whole run of the first of these sets.
            first_shot: the number in the whole set of the first of these shots.
            of_shots: shots that the whole run takes of each set; None means that these are its
                last.

        Raises:
            TaskCancelled, DeviceError, NotSupported.
        """
        ...

    def expectation(
        self,
        prepared: Any,
        observable: PauliSum,
        parameters: NDArray[np.float64],
        seed: int | None,
        stopped: Callable[[], bool],
        first_set: int = 0,
    ) -> Expectations:
        """The observable's expectation for each of the ``k`` rows of ``parameters``.

        Args:
            seed, first_set: as in ``run``; a slice is some of the sets.

        Raises:
            TaskCancelled, DeviceError, NotSupported.
        """
        ...

    def estimate(
        self, prepared: Any, shots: int, sets: int, observable: PauliSum | None = None
    ) -> int:
        """QPU time that a run, or with an observable an expectation, is going to take.

        Args:
            shots: of each set; ignored with an observable.
            sets: number of sets of parameters.

        Returns:
            Nanoseconds.

        Raises:
            NotSupported: the device has no model of its timing.
        """
        ...

    def calibration(self) -> Calibration: ...

    def status(self) -> DeviceStatus: ...

    def close(self) -> None: ...


@contextmanager
def typed_errors() -> Iterator[None]:
    """Turns whatever a device raises beside the typed errors into ``DeviceError``."""
    try:
        yield
    except OpenQSEError:
        raise
    except Exception as error:
        raise _device_error(error) from error


def _device_error(error: Exception) -> DeviceError:
    return DeviceError(f"{type(error).__name__}: {error}", layer="device")


def execute(device: Device, prepared: Any, work: Work, stopped: Callable[[], bool]) -> Outcome:
    """Runs one task, or a slice of one, on a device.

    Raises:
        OpenQSEError: as the device says; ``DeviceError`` for anything else it raises.
    """
    data: Samples | Expectations
    sets, shots, seed = work.parameters, work.shots, work.seed
    numbers = {"first_set": work.first_set, "first_shot": work.first_shot}
    numbers["of_shots"] = work.of_shots or 0
    place = {name: number for name, number in numbers.items() if number}
    try:
        if work.observable is None:
            data = device.run(prepared, sets, shots, seed, stopped, **place)
        else:
            data = device.expectation(prepared, work.observable, sets, seed, stopped, **place)
        if not 0 <= data.qpu_time_ns < 2**63:
            raise ValueError(f"a QPU time of {data.qpu_time_ns} ns")
        return Outcome(data, device.calibration().id)
    except OpenQSEError:
        raise
    except Exception as error:
        raise _device_error(error) from error


def slices(work: Work, qpu_time_ns: int, slice_ns: int) -> Iterator[Work]:
    """Cuts work into slices of about a given QPU time, in the order in which they are to run.

    Each is some sets of parameters with all their shots or, where one set takes longer, some shots
    of one set. An expectation is cut between sets alone.

    Args:
        qpu_time_ns: estimated QPU time of the work.
        slice_ns: that of a slice, more than 0.

    Yields:
        The work itself if it is one slice; else slices, all with one seed, which is drawn where the
        work has none.
    """
    sets, shots = len(work.parameters), work.shots
    pieces = -(-qpu_time_ns // slice_ns)
    if pieces <= 1:
        yield work
        return
    seed = secrets.randbits(64) if work.seed is None else work.seed
    whole = replace(work, seed=seed, of_shots=work.of_shots or shots or None)
    for first, last in _cut(sets, pieces):
        part = replace(
            whole, parameters=work.parameters[first:last], first_set=work.first_set + first
        )
        within = -(-pieces // sets)
        if within == 1 or shots <= 1:
            yield part
            continue
        each = -(-shots // min(within, shots))
        if each > _BLOCK:
            each = round(each / _BLOCK) * _BLOCK
        for begin in range(0, shots, each):
            yield replace(part, shots=min(each, shots - begin), first_shot=work.first_shot + begin)


def _cut(whole: int, pieces: int) -> Iterator[tuple[int, int]]:
    """First and last of so many pieces of about equal length, none of them empty."""
    pieces = min(pieces, whole)
    for i in range(pieces):
        yield whole * i // pieces, whole * (i + 1) // pieces


class Join:
    """Puts the outcomes of a work's slices together as they come: each is copied once.

    Attributes:
        qpu_time_ns: QPU time of the slices so far.
    """

    def __init__(self, work: Work) -> None:
        self.qpu_time_ns = 0
        self._shape = (len(work.parameters), work.shots)[: 1 if work.observable else 2]
        self._size = math.prod(self._shape)
        self._filled = 0
        self._rows: NDArray[Any] = np.empty(0)
        self._calibrations: list[str] = []
        self._method = ""

    @property
    def shots(self) -> int:
        """Shots so far, of all sets together; of an expectation, sets."""
        return self._filled

    @property
    def done(self) -> bool:
        """Whether all that the work asks for is there."""
        return self._filled == self._size

    def add(self, outcome: Outcome) -> None:
        """Adds what the next slice gave.

        Raises:
            DeviceError: it is more than the work asks for.
        """
        data = outcome.data
        given = data.memory if isinstance(data, Samples) else data.values
        inner = given.shape[len(self._shape) :]
        count = math.prod(given.shape[: len(self._shape)])
        end = self._filled + count
        if end > self._size:
            raise DeviceError(
                f"the device gave {end} results where {self._size} were asked for", layer="device"
            )
        if not self._filled:
            self._rows = np.empty((self._size, *inner), given.dtype)
            self._method = data.method
        self._rows[self._filled : end] = given.reshape(count, *inner)
        self._filled = end
        self.qpu_time_ns += data.qpu_time_ns
        if outcome.calibration not in self._calibrations:
            self._calibrations.append(outcome.calibration)

    def outcome(self) -> Outcome:
        """The outcome of the work, which is ``done``.

        Where the device was calibrated between slices, the ids of the calibrations are joined by
        ``+``, in the order in which they were first in force.
        """
        array = self._rows.reshape(*self._shape, *self._rows.shape[1:])
        made = Samples if len(self._shape) == 2 else Expectations
        data = made(array, self.qpu_time_ns, self._method)
        return Outcome(data, "+".join(self._calibrations))


def alike(one: Work, other: Work) -> bool:
    """Whether two pieces of work may be run as one, as more sets of parameters of one program.

    Not where a seed is given: it is good for the work as it is.
    """
    return (
        one.program == other.program
        and one.shots == other.shots
        and one.seed is None
        and other.seed is None
        and one.parameters.shape[1] == other.parameters.shape[1]
        and _same(one.observable, other.observable)
    )


def _same(one: PauliSum | None, other: PauliSum | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one.paulis, other.paulis) and np.array_equal(
        one.coefficients, other.coefficients
    )


def together(works: Sequence[Work]) -> Work:
    """Pieces of work that are all ``alike`` as one."""
    return replace(works[0], parameters=np.concatenate([work.parameters for work in works]))


def apart(outcome: Outcome, works: Sequence[Work]) -> list[Outcome]:
    """The outcome of work done ``together`` as those of its pieces, each with its part of the QPU
    time.

    Raises:
        DeviceError: the device gave other than what was asked for.
    """
    data = outcome.data
    given = len(data.memory if isinstance(data, Samples) else data.values)
    sets = sum(len(work.parameters) for work in works)
    if given != sets:
        raise DeviceError(
            f"the device gave results of {given} sets where {sets} were asked for",
            layer="device",
        )
    outcomes, first, charged = [], 0, 0
    for work in works:
        last = first + len(work.parameters)
        until = data.qpu_time_ns * last // sets
        took = until - charged
        part: Samples | Expectations
        if isinstance(data, Samples):
            part = replace(data, memory=data.memory[first:last], qpu_time_ns=took)
        else:
            part = replace(data, values=data.values[first:last], qpu_time_ns=took)
        outcomes.append(Outcome(part, outcome.calibration))
        first, charged = last, until
    return outcomes


def load(name: str, profile: str | None = None, credentials: Path | None = None) -> Device:
    """The device that an installed package offers under ``name``.

    Args:
        profile: the device's own configuration: a name that it knows, or a path; None means its
            default.
        credentials: file of what the device needs to identify itself to its provider. Its factory
            gets the path, as a second argument, and tells nobody what is in it.

    Raises:
        ConfigurationError: no such device is installed, or it does not know the profile.
    """
    found = entry_points(group=ENTRY_POINTS)
    for point in found:
        if point.name == name:
            try:
                factory = point.load()
            except ImportError as error:
                raise ConfigurationError(
                    f"device {name!r} cannot be loaded: {error}",
                    remedy=f"Install its dependencies, for example: pip install 'openqse[{name}]'",
                ) from error
            given = (profile,) if credentials is None else (profile, credentials)
            device: Device = factory(*given)
            return device
    known = ", ".join(sorted(point.name for point in found)) or "none"
    raise ConfigurationError(
        f"no device {name!r} is installed (installed: {known})",
        remedy="Install the package that offers it, or correct the name",
    )
