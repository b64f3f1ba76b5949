"""A device made of blocking functions, as most simulators and many stacks offer them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from openqse.device.contract import (
    Calibration,
    Capabilities,
    DeviceStatus,
    Expectations,
    Outcome,
    Samples,
    Work,
)
from openqse.errors import DeviceError, OpenQSEError, TaskCancelled
from openqse.program.observable import PauliSum
from openqse.program.program import Program

P = TypeVar("P")


class Blocking(Protocol[P]):
    """A QPU driver whose ``run`` returns when the task has ended. One thread calls it at a time,
    but for ``capabilities``, ``calibration`` and ``status``, which answer at any moment.

    ``stopped`` is asked while a task runs; once it is true the driver raises ``TaskCancelled`` as
    soon as it can. What is not said here is as in ``Device``.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def prepare(self, program: Program) -> P: ...

    def run(
        self,
        prepared: P,
        parameters: NDArray[np.float64],
        shots: int,
        seed: int | None,
        stopped: Callable[[], bool],
        first_set: int = 0,
        first_shot: int = 0,
        of_shots: int | None = None,
    ) -> Samples:
        """Samples a prepared program, or a slice of a run; arguments as the fields of ``Work``.

        A driver that declares no ``slices`` is given none of the last three.
        """
        ...

    def expectation(
        self,
        prepared: P,
        observable: PauliSum,
        parameters: NDArray[np.float64],
        seed: int | None,
        stopped: Callable[[], bool],
        first_set: int = 0,
    ) -> Expectations:
        """The observable's expectation for each of the ``k`` rows of ``parameters``; called only
        where ``expectation`` is declared."""
        ...

    def estimate(
        self, prepared: P, shots: int, sets: int, observable: PauliSum | None = None
    ) -> int: ...

    def calibration(self) -> Calibration: ...

    def status(self) -> DeviceStatus: ...

    def close(self) -> None: ...


def perform(
    driver: Blocking[P], prepared: P, work: Work, stopped: Callable[[], bool] = lambda: False
) -> Outcome:
    """Has a blocking driver do work; errors are its own."""
    place: dict[str, int] = {}
    if work.first_set:
        place["first_set"] = work.first_set
    if work.first_shot:
        place["first_shot"] = work.first_shot
    if work.of_shots is not None and work.observable is None:
        place["of_shots"] = work.of_shots
    sets, seed = work.parameters, work.seed
    data: Samples | Expectations
    if work.observable is None:
        data = driver.run(prepared, sets, work.shots, seed, stopped, **place)
    else:
        data = driver.expectation(prepared, work.observable, sets, seed, stopped, **place)
    return Outcome(data, driver.calibration().id)


@dataclass(eq=False, slots=True)
class Run(Generic[P]):
    """A task of a ``ThreadDevice``.

    Attributes:
        claimed: a thread runs it, or has. ended: set at its end; made where somebody waits.
        outcome: what came of it; None before its end.
    """

    prepared: P
    work: Work
    cancelled: bool = False
    claimed: bool = False
    ended: threading.Event | None = None
    outcome: Outcome | OpenQSEError | None = None


class ThreadDevice(Generic[P]):
    """A ``Device`` of a blocking driver, with one task under way at a time.

    Whoever waits for a task without limit runs it meanwhile, in its own thread: handing it to
    another and being woken costs more than a short task. Only who polls needs a thread that does.

    Args:
        clock: monotonic seconds, for deadlines.
    """

    capacity = 1

    def __init__(self, driver: Blocking[P], clock: Callable[[], float] = time.monotonic) -> None:
        self.driver = driver
        self._clock = clock
        self._lock = threading.Lock()  # guards who claims a run
        self._turn = threading.Lock()  # held by the thread that has the driver
        self._thread: ThreadPoolExecutor | None = None

    @property
    def capabilities(self) -> Capabilities:
        """As the driver declares them."""
        return self.driver.capabilities

    def prepare(self, program: Program) -> P:
        """As in the contract."""
        return self.driver.prepare(program)

    def submit(self, prepared: P, work: Work) -> Run[P]:
        """As in the contract. The task begins when it is waited for."""
        return Run(prepared, work)

    def wait(self, handle: Run[P], timeout: float | None = None) -> Outcome | None:
        """As in the contract."""
        if handle.outcome is None:
            if timeout is None and self._claim(handle):
                self._run(handle)
            else:
                self._watch(handle).wait(timeout)
        if isinstance(handle.outcome, OpenQSEError):
            raise handle.outcome
        return handle.outcome

    def _claim(self, run: Run[P]) -> bool:
        """Whether the caller is the one to run a task."""
        with self._lock:
            claimed, run.claimed = run.claimed, True
        return not claimed

    def _watch(self, run: Run[P]) -> threading.Event:
        """What is set when a task has ended, which a thread sees to."""
        with self._lock:
            ended = run.ended = run.ended or threading.Event()
            if run.outcome is not None:
                ended.set()
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="openqse-device")
        if self._claim(run):
            self._thread.submit(self._run, run)
        return ended

    def _run(self, run: Run[P]) -> None:
        outcome: Outcome | OpenQSEError
        try:
            with self._turn:
                outcome = self._outcome(run)
        except OpenQSEError as error:
            outcome = error
        except Exception as error:
            outcome = DeviceError(f"{type(error).__name__}: {error}", layer="device")
            outcome.__cause__ = error
        with self._lock:
            run.outcome = outcome
            if run.ended is not None:
                run.ended.set()

    def _outcome(self, run: Run[P]) -> Outcome:
        deadline = run.work.deadline

        def stopped() -> bool:
            return run.cancelled or (deadline is not None and self._clock() > deadline)

        if stopped():
            raise TaskCancelled("the task was stopped before it ran", layer="device")
        return perform(self.driver, run.prepared, run.work, stopped)

    def cancel(self, handle: Run[P]) -> None:
        """As in the contract."""
        handle.cancelled = True

    def estimate(self, prepared: P, work: Work) -> int:
        """As in the contract."""
        return self.driver.estimate(prepared, work.shots, len(work.parameters), work.observable)

    def calibration(self) -> Calibration:
        """As the driver says."""
        return self.driver.calibration()

    def status(self) -> DeviceStatus:
        """As the driver says."""
        return self.driver.status()

    def close(self) -> None:
        """Ends the thread after the task that runs, and closes the driver."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        self.driver.close()
