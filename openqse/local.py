"""Devices in this process: the way in without Slurm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from typing import Any

from openqse import device
from openqse.errors import DeadlineExceeded, OpenQSEError, TaskCancelled
from openqse.qpu import QPU, Future, Request


def device_names() -> set[str]:
    """Names of the installed devices."""
    return {point.name for point in entry_points(group=device.ENTRY_POINTS)}


def open_qpu(name: str, profile: str | None) -> QPU:
    """A handle to a device that runs in a thread of this process.

    Raises:
        ConfigurationError: the device cannot be loaded or does not know the profile.
    """
    loaded = device.load(name, profile)
    return QPU(name, loaded.capabilities, _LocalTransport(loaded), None)


class _LocalTransport:
    """Runs tasks one after the other in one thread."""

    def __init__(self, loaded: device.Device) -> None:
        self._device = loaded
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="openqse-device")
        self._prepared: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._stopped: dict[bytes, threading.Event] = {}

    def submit(self, request: Request, future: Future[Any], more: bool) -> None:
        stop = self._stopped[future.key] = threading.Event()
        deadline = None if request.timeout is None else time.monotonic() + request.timeout
        self._thread.submit(self._run, request, future, stop, deadline)

    def _run(
        self, request: Request, future: Future[Any], stop: threading.Event, deadline: float | None
    ) -> None:
        def late() -> bool:
            return deadline is not None and time.monotonic() > deadline

        outcome: device.Outcome | OpenQSEError
        try:
            if stop.is_set():
                raise TaskCancelled("the task was cancelled before it ran")
            prepared = self._prepared.get(request.program.id)
            if prepared is None:
                with device.typed_errors():
                    prepared = self._device.prepare(request.program)
                self._prepared = {request.program.id: prepared}
            outcome = device.execute(
                self._device, prepared, request.work, lambda: stop.is_set() or late()
            )
        except TaskCancelled as error:
            outcome = DeadlineExceeded("the task's timeout passed") if late() else error
        except OpenQSEError as error:
            outcome = error
        with self._changed:
            self._stopped.pop(future.key, None)
            future.resolve(outcome)
            self._changed.notify_all()

    def wait(self, ready: Callable[[], object], timeout: float | None) -> bool:
        with self._changed:
            return bool(self._changed.wait_for(ready, timeout))

    def cancel(self, future: Future[Any]) -> None:
        stop = self._stopped.get(future.key)
        if stop is not None:
            stop.set()

    def close(self) -> None:
        for stop in list(self._stopped.values()):
            stop.set()
        self._thread.shutdown(wait=True)
        self._device.close()
