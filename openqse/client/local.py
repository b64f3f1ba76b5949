"""Devices in this process: the way in without Slurm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from openqse import device
from openqse.client.futures import Future, Request
from openqse.client.qpu import QPU
from openqse.errors import ArgumentError, DeadlineExceeded, OpenQSEError, TaskCancelled

#: Tasks that are under way at once, at most.
_WATERMARK = 8


def open_qpu(name: str, profile: str | None) -> QPU:
    """A handle to a device that runs in this process.

    Raises:
        ConfigurationError: the device cannot be loaded or does not know the profile.
    """
    loaded = device.load(name, profile)
    return QPU(name, loaded.capabilities, _LocalTransport(loaded), None)


class _Task:
    """A task on its way.

    Attributes:
        handle: of the device, once it has the task.
    """

    def __init__(self, request: Request, future: Future[Any], now: float) -> None:
        self.request = request
        self.future = future
        self.deadline = None if request.timeout is None else now + request.timeout
        self.cancelled = False
        self.handle: Any = None


class _LocalTransport:
    """Runs tasks in threads, as many at once as the device takes."""

    def __init__(self, loaded: device.Device[Any, Any]) -> None:
        self._device = loaded
        count = max(1, min(loaded.capacity, _WATERMARK))
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="openqse-device")
        self._workers: set[int] = set()  # the threads' ids
        self._calls = threading.Lock()  # held for calls that the device gets one at a time
        self._prepared: tuple[bytes, Any] = (b"", None)
        self._preparer = device.Preparer(loaded)
        self._changed = threading.Condition()
        self._tasks: dict[bytes, _Task] = {}

    def submit(self, request: Request, future: Future[Any], more: bool) -> None:
        task = self._tasks[future.key] = _Task(request, future, time.monotonic())
        self._threads.submit(self._run, task)

    def _run(self, task: _Task) -> None:
        self._workers.add(threading.get_ident())
        outcome: device.Outcome | OpenQSEError
        try:
            outcome = self._outcome(task)
        except TaskCancelled as error:
            late = task.deadline is not None and time.monotonic() > task.deadline
            outcome = DeadlineExceeded("the task's timeout passed") if late else error
        except OpenQSEError as error:
            outcome = error
        self._tasks.pop(task.future.key, None)
        task.future.resolve(outcome)
        task.future.notify()
        with self._changed:
            self._changed.notify_all()

    def _outcome(self, task: _Task) -> device.Outcome:
        """What the device makes of a task."""
        program, work = task.request.program, task.request.work
        shot_size = (program.width + 7) // 8
        if task.cancelled:
            raise TaskCancelled("the task was cancelled before it ran")
        if task.deadline is not None:
            work = replace(work, deadline=task.deadline)
        with self._calls, device.typed_errors():
            kept, prepared = self._prepared
            key = self._preparer.key(program)
            if kept != key:
                prepared = self._preparer.prepare(program)
                self._prepared = key, prepared
            task.handle = self._device.submit(prepared, work)
        if task.cancelled:  # while it was submitted
            self._device.cancel(task.handle)
        left = None if task.deadline is None else task.deadline - time.monotonic()
        return device.result(self._device, task.handle, work, left, shot_size)

    def wait(self, ready: Callable[[], object], timeout: float | None) -> bool:
        if threading.get_ident() in self._workers and not ready() and timeout != 0:
            raise ArgumentError(
                "a callback of a device in this process cannot wait for another task of it",
                remedy="Wait for it outside of the callback",
            )
        with self._changed:
            return bool(self._changed.wait_for(ready, timeout))

    def cancel(self, future: Future[Any]) -> None:
        task = self._tasks.get(future.key)
        if task is not None:
            self._cancel(task)

    def _cancel(self, task: _Task) -> None:
        task.cancelled = True
        if task.handle is not None:
            self._device.cancel(task.handle)

    def close(self) -> None:
        for task in list(self._tasks.values()):
            self._cancel(task)
        self._threads.shutdown(wait=True)
        self._device.close()
