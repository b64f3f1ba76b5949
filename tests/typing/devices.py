"""What a type checker sees of the device contract: what a driver's author has to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

from openqse.device import (
    READY,
    Blocking,
    Calibration,
    Capabilities,
    Device,
    DeviceStatus,
    Outcome,
    Samples,
    Work,
)
from openqse.errors import NotSupported
from openqse.program.observable import PauliSum
from openqse.program.program import Program
from openqse.testing import ScriptedDevice


class Asynchronous:
    """A driver with a queue behind it; a program is its text, a task its number."""

    capabilities = Capabilities(num_qubits=5, formats=("openqasm.3",), max_shots=1000)
    capacity = 4

    def prepare(self, program: Program) -> str:
        return program.data.decode()

    def submit(self, prepared: str, work: Work) -> int:
        return 1

    def wait(self, handle: int, timeout: float | None = None) -> Outcome | None:
        return None

    def cancel(self, handle: int) -> None: ...

    def estimate(self, prepared: str, work: Work) -> int:
        raise NotSupported("no model of its timing")

    def calibration(self) -> Calibration:
        return Calibration("today")

    def status(self) -> DeviceStatus:
        return READY

    def close(self) -> None: ...


class WithoutCancel:
    capabilities = Asynchronous.capabilities
    capacity = 1


def drivers_are_devices() -> list[Device[str, int]]:
    return [Asynchronous()]


def what_lacks_methods_is_no_device() -> Device[str, int]:
    return WithoutCancel()  # type: ignore[return-value]


def a_handle_belongs_to_its_device(device: Device[str, int], work: Work) -> None:
    handle = device.submit("program", work)
    assert_type(handle, int)
    assert_type(device.wait(handle, 1.0), Outcome | None)
    device.cancel("another's")  # type: ignore[arg-type]


def a_blocking_driver_samples(driver: Blocking[str], stopped: Callable[[], bool]) -> None:
    sets: NDArray[np.float64] = np.zeros((1, 0))
    assert_type(driver.run("program", sets, 100, None, stopped), Samples)


def results_are_arrays_with_metadata(samples: Samples) -> None:
    assert_type(samples.memory, NDArray[np.uint8])
    assert_type(samples.qpu_time_ns, int)
    assert_type(samples.method, str)


def work_says_what_is_asked(work: Work) -> None:
    assert_type(work.parameters, NDArray[np.float64])
    assert_type(work.observable, PauliSum | None)


def the_scripted_device_is_one() -> None:
    ScriptedDevice()
