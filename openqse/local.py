"""Devices in this process: the way in without Slurm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from typing import Any

from openqse import device
from openqse.client.futures import Future, Request
from openqse.client.qpu import QPU
from openqse.errors import ArgumentError, DeadlineExceeded, OpenQSEError, TaskCancelled


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
        self._worker = 0  # the thread's id
        self._stopped: dict[bytes, threading.Event] = {}

    def submit(self, request: Request, future: Future[Any], more: bool) -> None:
        stop = self._stopped[future.key] = threading.Event()
        deadline = None if request.timeout is None else time.monotonic() + request.timeout
        self._thread.submit(self._run, request, future, stop, deadline)

    def _run(
        self, request: Request, future: Future[Any], stop: threading.Event, deadline: float | None
    ) -> None:
        self._worker = threading.get_ident()

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
        self._stopped.pop(future.key, None)
        future.resolve(outcome)
        future.notify()
        with self._changed:
            self._changed.notify_all()

    def wait(self, ready: Callable[[], object], timeout: float | None) -> bool:
        if threading.get_ident() == self._worker and not ready() and timeout != 0:
            raise ArgumentError(
                "a callback of a device in this process cannot wait for another task of it",
                remedy="Wait for it outside of the callback",
            )
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
