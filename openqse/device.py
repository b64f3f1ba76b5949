"""The device contract: what every QPU driver offers, the emulator or somebody's real stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openqse.errors import ConfigurationError, DeviceError, OpenQSEError
from openqse.program.circuit import Circuit
from openqse.program.observable import PauliSum

#: Group of entry points under which a package names the factory of its device.
ENTRY_POINTS = "openqse.devices"


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
    """What a task asks of a device.

    Attributes:
        program: id of the program (SHA-256, 32 bytes).
        parameters: float64 ``(k, n_parameters)``.
        shots: shots for each of the ``k`` sets; 0 where an observable is given.
        seed: for equal samples; None draws one.
        observable: its expectation is asked for instead of samples.
    """

    program: bytes
    parameters: NDArray[np.float64]
    shots: int = 0
    seed: int | None = None
    observable: PauliSum | None = None


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
    """A QPU driver. ``prepare``, ``run`` and ``expectation`` are called one at a time; what else
    there is must answer at any moment, from any thread, without waiting for hardware.

    ``stopped`` is asked between slices of a run; once it is true the device raises
    ``TaskCancelled`` as soon as it can.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def prepare(self, program: Circuit) -> Any:
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
    ) -> Samples:
        """Samples a prepared program.

        Args:
            parameters: float64 ``(k, n_parameters)``.
            shots: shots for each of the ``k`` sets.
            seed: equal seeds give equal samples; None draws one.

        Raises:
            TaskCancelled, DeviceError, NotSupported.
        """
        ...

    def expectation(
        self,
        prepared: Any,
        observable: PauliSum,
        parameters: NDArray[np.float64],
        stopped: Callable[[], bool],
    ) -> Expectations:
        """The observable's expectation for each of the ``k`` rows of ``parameters``.

        Raises:
            TaskCancelled, DeviceError, NotSupported.
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
    """Runs one task on a device.

    Raises:
        OpenQSEError: as the device says; ``DeviceError`` for anything else it raises.
    """
    data: Samples | Expectations
    try:
        if work.observable is None:
            data = device.run(prepared, work.parameters, work.shots, work.seed, stopped)
        else:
            data = device.expectation(prepared, work.observable, work.parameters, stopped)
        if not 0 <= data.qpu_time_ns < 2**63:
            raise ValueError(f"a QPU time of {data.qpu_time_ns} ns")
        return Outcome(data, device.calibration().id)
    except OpenQSEError:
        raise
    except Exception as error:
        raise _device_error(error) from error


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
