"""Running work on a device, and holding what it gives against what was asked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqse.device.contract import Device, Expectations, H, Outcome, P, Samples, Work
from openqse.errors import DeviceError, OpenQSEError


def verify(outcome: Outcome | None, work: Work, shot_size: int | None = None) -> Outcome:
    """What a device says to have come of work, if it can be that.

    Args:
        shot_size: bytes of one shot's bits; None where that is not known.

    Raises:
        DeviceError: it is not what was asked for; so it is neither charged nor given to anybody.
    """
    if not isinstance(outcome, Outcome):
        raise DeviceError(f"the device gave {outcome!r} as the outcome of a task", layer="device")
    data, sets = outcome.data, len(work.parameters)
    array: NDArray[Any]
    wanted: tuple[int, ...]
    if isinstance(data, Samples) and work.observable is None:
        array, wanted = data.memory, (sets, work.shots)
        good = array.ndim == 3 and shot_size in (None, array.shape[-1])
    elif isinstance(data, Expectations) and work.observable is not None:
        array, wanted, good = data.values, (sets,), data.values.ndim == 1
        if not np.isfinite(array).all():
            raise DeviceError("the device gave an expectation that is no number", layer="device")
    else:
        raise DeviceError(f"the device gave {type(data).__name__} unasked", layer="device")
    dtype = np.uint8 if work.observable is None else np.float64
    if not good or array.dtype != dtype or array.shape[: len(wanted)] != wanted:
        raise DeviceError(
            f"the device gave {array.dtype} {array.shape} where {dtype.__name__} results of "
            f"{' x '.join(map(str, wanted))} were asked for"
            + (f", {shot_size} bytes each" if len(wanted) > 1 and shot_size is not None else ""),
            layer="device",
        )
    if not 0 <= data.qpu_time_ns < 2**63:
        raise DeviceError(f"the device said a QPU time of {data.qpu_time_ns} ns", layer="device")
    return outcome


class typed_errors:
    """Turns whatever a device raises beside the typed errors into ``DeviceError``."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, OpenQSEError):
            raise DeviceError(f"{type(error).__name__}: {error}", layer="device") from error


def result(
    device: Device[Any, H],
    handle: H,
    work: Work,
    patience: float | None = None,
    shot_size: int | None = None,
) -> Outcome:
    """Waits for a task's end: what it gave, verified.

    Args:
        patience: seconds after which the task is cancelled, at the latest; None for no limit.
        shot_size: as in ``verify``.

    Raises:
        OpenQSEError: as the device says; ``DeviceError`` for anything else that it raises or gives.
    """
    with typed_errors():
        outcome = None if patience is None else device.wait(handle, max(patience, 0.0))
        if outcome is None:
            if patience is not None:
                device.cancel(handle)
            outcome = device.wait(handle)
        return verify(outcome, work, shot_size)


def execute(device: Device[P, Any], prepared: P, work: Work) -> Outcome:
    """Runs one task, or a slice of one, and waits for its end; errors as in ``result``."""
    with typed_errors():
        handle = device.submit(prepared, work)
    return result(device, handle, work)
