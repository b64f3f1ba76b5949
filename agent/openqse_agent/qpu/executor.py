"""Runs tasks on the device, in a thread of its own, in the order that the queue says."""

from __future__ import annotations

import logging
import os
import queue as stdlib_queue
import threading
import time
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openqse import device
from openqse.errors import DeadlineExceeded, DeviceError, OpenQSEError, TaskCancelled
from openqse.program.circuit import Circuit
from openqse_agent.qpu.journal import Charge, Journal
from openqse_agent.qpu.leases import Lease
from openqse_agent.qpu.queue import FairQueue

log = logging.getLogger("qpu-agent")

#: Results gathered before they are charged and handed over together.
_BATCH = 64
#: A program whose last run took longer (seconds) is not waited for: what is ready goes out first.
_SHORT = 500e-6


@dataclass(eq=False, slots=True)
class Task:
    """A task in the QPU agent.

    Attributes:
        address: envelope of its answer: routing id of the node agent, session.
        program: its program, encoded. deadline: monotonic instant, or None.
        stopped: why it is to end early; set by the loop, read by the device.
    """

    id: bytes
    address: tuple[bytes, bytes]
    lease: Lease
    work: device.Work
    program: bytes
    deadline: float | None
    interactive: bool
    stopped: OpenQSEError | None = None

    @property
    def account(self) -> str:
        return self.lease.account

    def should_stop(self) -> bool:
        """Whether the device should give up: cancelled, or too late."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.stopped = self.stopped or DeadlineExceeded(
                "the task's deadline passed", layer="QPU agent", remedy="Allow it more time"
            )
        return self.stopped is not None


@dataclass(slots=True)
class _Program:
    prepared: Any
    seconds: float = float("inf")


@dataclass
class Executor:
    """The queue and the one thread that empties it.

    The loop pushes tasks and takes completions; ``ready`` is an eventfd for its poller. Charges are
    recorded before results are handed over.
    """

    driver: device.Device
    journal_path: Path
    programs: int
    ready: int = field(default_factory=lambda: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    def __post_init__(self) -> None:
        self._queue: FairQueue[Task] = FairQueue()
        self._lock = threading.Lock()
        self._idle = False
        self._wake: stdlib_queue.SimpleQueue[bool] = stdlib_queue.SimpleQueue()
        self._completions: deque[tuple[Task, device.Outcome | OpenQSEError]] = deque()
        self._prepared: OrderedDict[bytes, _Program] = OrderedDict()
        self._thread = threading.Thread(target=self._serve, name="executor", daemon=True)
        self._thread.start()

    # --- called by the loop ----------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, task: Task) -> None:
        """Queues a task; ``kick`` starts work on what was pushed."""
        with self._lock:
            self._queue.push(task)

    def kick(self) -> None:
        """Wakes the thread if it waits for tasks."""
        with self._lock:
            wake = self._idle and len(self._queue) > 0
            if wake:
                self._idle = False
        if wake:
            self._wake.put(True)

    def cancel(self, task: Task, reason: OpenQSEError) -> bool:
        """Ends a task early: True if it was still queued, else its device is told to stop."""
        task.stopped = reason
        with self._lock:
            return self._queue.remove(task)

    def set_weight(self, account: str, weight: float) -> None:
        with self._lock:
            self._queue.set_weight(account, weight)

    def completions(self) -> list[tuple[Task, device.Outcome | OpenQSEError]]:
        """Takes what has ended since the last call."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.ready)
        taken = []
        while self._completions:
            taken.append(self._completions.popleft())
        return taken

    def stop(self, timeout: float) -> None:
        """Ends the thread after the task that runs."""
        self._wake.put(False)
        self._thread.join(timeout)

    # --- the thread ------------------------------------------------------------------------------

    def _serve(self) -> None:
        journal = Journal(self.journal_path)
        finished: list[tuple[Task, device.Outcome | OpenQSEError]] = []
        try:
            while True:
                with self._lock:
                    task = self._queue.pop()
                    self._idle = task is None and not finished
                if task is None:
                    if finished:
                        self._hand_over(journal, finished)
                        continue
                    if not self._wake.get():
                        return
                    continue
                program = self._prepared.get(task.work.program)
                slow = program is None or program.seconds > _SHORT
                if finished and (slow or len(finished) >= _BATCH):
                    self._hand_over(journal, finished)
                finished.append((task, self._run(task)))
        finally:
            journal.close()
            self.driver.close()

    def _run(self, task: Task) -> device.Outcome | OpenQSEError:
        try:
            if task.should_stop():
                raise TaskCancelled("stopped before it ran")
            program = self._prepare(task)
            began = time.monotonic()
            outcome = device.execute(self.driver, program.prepared, task.work, task.should_stop)
            program.seconds = time.monotonic() - began
            return outcome
        except TaskCancelled as error:
            return task.stopped or error
        except OpenQSEError as error:
            return error.at("QPU agent")

    def _prepare(self, task: Task) -> _Program:
        key = task.work.program
        program = self._prepared.get(key)
        if program is None:
            with device.typed_errors():
                program = _Program(self.driver.prepare(Circuit.decode(task.program)))
            self._prepared[key] = program
            if len(self._prepared) > self.programs:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(key)
        return program

    def _hand_over(
        self, journal: Journal, finished: list[tuple[Task, device.Outcome | OpenQSEError]]
    ) -> None:
        charges = [_charge(t, o) for t, o in finished if isinstance(o, device.Outcome)]
        try:
            if charges:
                journal.charge(charges)
            self._completions.extend(finished)
        except (
            Exception
        ) as error:  # a full disk, for one: nobody gets for free what is not recorded
            log.exception("charges could not be recorded")
            failure = DeviceError(
                f"the task ran, but its charge could not be recorded: {error}",
                layer="QPU agent",
                remedy="Ask the administrator to look at the journal's disk, then run it again",
            )
            self._completions.extend((task, failure) for task, _ in finished)
        finished.clear()
        os.eventfd_write(self.ready, 1)


def _charge(task: Task, outcome: device.Outcome) -> Charge:
    lease = task.lease
    return Charge(
        task=task.id,
        lease=lease.id,
        job_id=lease.job_id,
        account=lease.account,
        user=lease.user,
        shots=task.work.shots * len(task.work.parameters),
        qpu_time_ns=outcome.data.qpu_time_ns,
    )
