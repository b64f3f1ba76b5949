"""Runs tasks on the device in the order that the queue says, without holding up the loop.

Threads run them: one for each task that the device may have under way. Waking a thread and being
woken by it costs more than a short task itself, so the loop runs tasks that are known to be short
in its own time, and hands the device to the threads at the first that is not. Loop and threads
never use the device at once. ``Dispatch`` decides what runs; this carries it out.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from openqse import device
from openqse.errors import (
    InternalError,
    LimitExceeded,
    NotSupported,
    OpenQSEError,
    TaskCancelled,
)
from openqse.program.program import Program
from openqse_agent.clock import SYSTEM, Clock
from openqse_agent.qpu.charges.commit import Ended, GroupCommit
from openqse_agent.qpu.tasks.dispatch import Batch, Dispatch, Ran, check_size, stops
from openqse_agent.qpu.tasks.policies import Queue, Queueable
from openqse_agent.qpu.tasks.programs import Prepared, Programs, shots_of
from openqse_agent.qpu.tasks.sessions import Ledger
from openqse_agent.qpu.tasks.task import Outcome, State, Task

log = logging.getLogger("qpu-agent")

#: A task expected to take less than this (seconds) is short: cheaper run than handed to a thread.
_SHORT = 150e-6
#: QPU time counted for a task under way whose program has not run before, seconds: enough for
#: accounts to take turns. More would put those who come meanwhile behind what was never used.
_UNKNOWN = 1e-6
#: Seconds of short tasks that the loop runs before it looks at its sockets again.
_TURN = 1e-3
#: Questions that may wait for the device, and the part of the time that they get of it from tasks.
_ASIDES, _ASIDES_PART = 16, 0.1
#: Tasks that the device has under way at most, if nobody says otherwise.
WATERMARK = 4

T = TypeVar("T")


class Executor:
    """The queue, the device, and the threads that run what is not short.

    Tasks that take long run in slices of QPU time, where the device can: after each the queue says
    who is next. Small ones of one session that ask the same of one program run in one go. A slice
    is charged to its owner's share at once, and the task, when it has given its result, in the
    journal. Where the device takes several tasks at once it gets as many, up to a watermark: what
    is beyond waits here, where its order is the queue's.

    Args:
        charging: gets the tasks that have ended, with their outcomes.
        programs: prepared programs kept. slice: seconds of QPU time.
        name: what errors call the device.
        watermark: tasks that the device has under way at most.
    """

    def __init__(
        self,
        driver: device.Device[Any, Any],
        charging: GroupCommit[Task],
        programs: int,
        queue: Queue[Task],
        slice: float,
        name: str = "the device",
        watermark: int = WATERMARK,
        clock: Clock = SYSTEM,
    ) -> None:
        self._driver = driver
        self._offered = driver.capabilities
        self._charging = charging
        self._programs = Programs(driver, name, programs)
        self._queue = queue
        self._slice = slice
        self._name = name
        self._watermark = watermark
        self._now = clock.monotonic
        self._dispatch = Dispatch(queue, slice)
        self._lock = threading.Lock()  # guards queue, dispatch and who has the device
        self._calls = threading.Lock()  # held for calls that the device gets one at a time
        self._workers = 0  # threads that have work
        self._handed: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._asides: deque[Callable[[], None]] = deque()
        self._asides_from = 0.0  # tasks that wait come first until then, monotonic

    # --- called by the loop ----------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, task: Task) -> None:
        """Queues a task; ``turn`` starts work on what was pushed."""
        with self._lock:
            self._dispatch.push(task)

    def turn(self) -> None:
        """Runs short tasks for a moment, or sees to it that threads work; to be called again while
        ``waits_for_turn``."""
        began = self._now()
        while self._now() - began < _TURN:
            with self._lock:
                if not self._has_place:
                    break
                batch = None if self._asides_due else self._next(_TURN)
                if batch is None and not self._asides_due:
                    break
                inline = batch is not None and batch.short and not self._workers
                if not inline:
                    self._workers += 1
            if inline and batch is not None:
                self._run(batch)
            else:
                self._hand(batch)

    @property
    def waits_for_turn(self) -> bool:
        """Whether something waits that only ``turn`` will begin."""
        return self._has_place and (
            self._asides_due
            or (self._dispatch.can_begin and self._charging.has_room and self._ready)
        )

    @property
    def busy(self) -> bool:
        """Whether the device has work, be it between two slices, or gets some at the next turn."""
        return self._workers > 0 or self._dispatch.begun or self.waits_for_turn

    @property
    def running(self) -> tuple[Task, ...]:
        """The tasks that the device has."""
        return self._dispatch.running

    @property
    def busy_s(self) -> float:
        """Seconds in which the device has had tasks, and slices, since the agent began."""
        return self._dispatch.busy_s

    @property
    def waits(self) -> dict[bool, deque[int]]:
        """As ``Dispatch.waits``."""
        return self._dispatch.waits

    def hold(self, held: bool) -> None:
        """Starts tasks no more, or again; what has begun goes on."""
        with self._lock:
            self._dispatch.held = held

    def resume(self, ledger: Ledger) -> None:
        """Queues again those parked tasks of a lease whose sessions have taken results since."""
        if self._dispatch.is_parked(ledger):
            with self._lock:
                self._dispatch.resume(ledger)

    def parked(self) -> list[Task]:
        """The tasks whose sessions have to take results before they run."""
        with self._lock:
            return self._dispatch.parked()

    def cancel(self, task: Task, reason: OpenQSEError) -> bool:
        """Ends a task early: True if that is done, else its device is told to stop."""
        with self._lock:
            waited = task.state in (State.QUEUED, State.PARKED)
            batch = self._dispatch.cancel(task, reason)
        if batch is not None:
            self._tell_to_stop(batch)
        return waited

    def aside(self, call: Callable[[], None]) -> None:
        """Has the device asked something in between tasks, by a call that raises nothing; ``turn``
        starts it.

        Raises:
            LimitExceeded: many wait already.
        """
        if len(self._asides) >= _ASIDES:
            raise LimitExceeded(
                f"{_ASIDES} estimates wait for the device already",
                layer="QPU agent",
                remedy="Ask again later",
                limit="ASIDES",
            )
        self._asides.append(call)

    @property
    def _asides_due(self) -> bool:
        return bool(self._asides) and (len(self._queue) == 0 or self._now() >= self._asides_from)

    def alone(self, call: Callable[[], T]) -> T:
        """Calls something that looks at what the queue goes by, or changes it, while nobody else
        does."""
        with self._lock:
            return call()

    def waiting(self) -> list[Task]:
        """The tasks that wait for the device, in no order that means anything."""
        with self._lock:
            return list(self._queue.waiting())

    def forecast(self, coming: Queueable | None = None) -> Iterator[tuple[Any, float]]:
        """The tasks that wait, in the order in which they are to start, with the seconds until
        then; the queue goes on meanwhile. One that is not there may be forecast along."""

        def cost(task: Any) -> float:
            return 0.0 if task is coming else self.expected_qpu_time(task) or 0.0

        queue: Queue[Any] = self._queue
        forecast = queue.forecast(cost, self._slice, coming)
        with self._lock:
            first = next(forecast, None)
        if first is not None:
            yield first
            yield from forecast

    def estimate(self, program: Program, shots: int, sets: int) -> int:
        """What running a program would take; to be called ``aside``.

        A program that no task has brought is not kept.

        Returns:
            QPU time, nanoseconds.

        Raises:
            OpenQSEError: the device cannot run it, or has no model of its timing.
        """
        work = device.Work(program.digest, np.empty((sets, 0)), shots)
        with self._calls, device.typed_errors():
            prepared = self._programs.prepare(program, keep=False)
            return self._driver.estimate(prepared.form, work)

    def expected_qpu_time(self, task: Task) -> float | None:
        """Seconds of QPU time that a task is going to take, if that is known."""
        prepared = self._programs.get(task.program)
        if prepared is None or prepared.qpu_time is None:
            return None
        return prepared.qpu_time * (shots_of(task.work) - task.shots_done)

    def expected_to_run(self) -> float:
        """Seconds of QPU time until the device gets something else to do, at most."""
        with self._lock:
            batches = [tuple(batch.tasks) for batch in self._dispatch.under_way]
        if len(batches) < self._depth:
            return 0.0
        left = (sum(self.expected_qpu_time(task) or 0.0 for task in tasks) for tasks in batches)
        return min(self._slice, *left)

    def stop(self, timeout: float) -> None:
        """Ends the threads after the tasks that run, and closes the device."""
        for _ in self._threads:
            self._handed.put(None)
        until = self._now() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - self._now()))
        if not any(thread.is_alive() for thread in self._threads):
            self._driver.close()

    # --- the threads -----------------------------------------------------------------------------

    def _hand(self, batch: Batch | None) -> None:
        """Hands tasks, or the questions that are due, to a thread."""
        if len(self._threads) < self._workers:
            name = f"executor-{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._serve, name=name, daemon=True))
            self._threads[-1].start()
        self._handed.put(partial(self._work, batch))

    def _serve(self) -> None:
        while (work := self._handed.get()) is not None:
            work()

    def _work(self, batch: Batch | None) -> None:
        """Runs tasks and those after them, and what is asked of the device in between."""
        more = True
        while more:
            short = batch is not None and batch.short
            if batch is not None:
                self._run(batch)
            self._ask_asides()
            with self._lock:
                # Back to the loop as soon as tasks are short again, or the device takes fewer.
                batch = None if short or self._workers > self._depth else self._next()
                more = batch is not None
                self._workers -= not more
            self._charging.wake()  # for what has ended, or the turn

    def _ask_asides(self) -> None:
        while self._asides_due:
            try:
                aside = self._asides.popleft()
            except IndexError:  # another thread was faster
                return
            began = self._now()
            aside()
            took = self._now() - began
            self._asides_from = began + took / _ASIDES_PART

    # --- both ------------------------------------------------------------------------------------

    @property
    def _has_place(self) -> bool:
        """Whether a further task may get to the device."""
        return not self._workers or self._workers < self._depth

    @property
    def _depth(self) -> int:
        """How many tasks the device may have now."""
        return max(1, min(self._driver.capacity, self._watermark))

    @property
    def _ready(self) -> bool:
        """Whether the device runs what it gets. One that cannot say so will say why it fails."""
        try:
            return self._driver.status().ready
        except Exception:
            log.exception("the device does not say how it is")
            return True

    def _next(self, most: float | None = None) -> Batch | None:
        """Takes what the device gets next: a task whose charge can be recorded and whose result its
        session will take, or several small ones.

        Args:
            most: seconds that several short ones may take; None for a slice's.
        """
        if not (self._dispatch.can_begin and self._charging.has_room and self._ready):
            return None
        now = self._now()
        task = self._dispatch.next(now)
        if task is None:
            return None
        prepared = self._programs.get(task.program)
        # Who takes several at once queues them: what was short once may wait there, and the loop
        # with it.
        alone = self._depth == 1
        short = alone and prepared is not None and prepared.expected(task.work) < _SHORT
        limit = self._slice if most is None or self._workers or not short else most
        batch = self._dispatch.begin(task, prepared, limit, now)
        batch.short = short
        if not alone:
            expected = self.expected_qpu_time(task)
            self._dispatch.advance(batch, _UNKNOWN if expected is None else expected)
        return batch

    def _run(self, batch: Batch) -> None:
        """Runs a task, or a slice of it, or small ones that ask the same in one go."""
        if len(batch.tasks) > 1:
            ran = self._run_together(batch)
        else:
            ran = [self._run_one(batch, batch.tasks[0])]
        ended: list[Ended[Task]]
        with self._lock:
            ended = self._dispatch.end(batch, ran, self._now())
        for one in ended:
            self._charging.add(one)

    def _run_together(self, batch: Batch) -> list[Ran]:
        """Runs tasks in one go; one by one if that fails, so that each has an error of its own."""
        tasks = batch.tasks
        works = [task.work for task in tasks]
        try:
            with self._calls:
                prepared = self._programs.prepare(tasks[0].program)
            outcome, _ = self._execute(batch, tasks, prepared, device.together(works))
            return [(part, part.data.qpu_time_ns) for part in device.apart(outcome, works)]
        except OpenQSEError:
            return [self._run_one(batch, task) for task in tasks]

    def _run_one(self, batch: Batch, task: Task) -> Ran:
        """Runs a task, or a slice of one."""
        outcome: Outcome | None
        began = self._now()
        try:
            if task.should_stop(began):
                raise TaskCancelled("stopped before it ran")
            device.check_work(task.work, self._offered, self._name)
            with self._calls:
                prepared = self._programs.prepare(task.program)
                check_size(task, prepared)
                work = self._next_slice(task, prepared)
            outcome, seconds = self._execute(batch, [task], prepared, work)
            took = outcome.data.qpu_time_ns
            prepared.took(seconds, work, took)
            if task.join is not None:
                task.join.add(outcome)
                outcome = task.join.outcome() if task.join.done else None
            return outcome, took
        except TaskCancelled as error:
            task.late(self._now())  # if it is, that is why
            outcome = task.stopped or error
        except OpenQSEError as error:
            outcome = error.at("QPU agent")
        except Exception as error:
            log.exception("a task could not be run")
            outcome = InternalError(repr(error), layer="QPU agent")
        # Nobody pays for it, and yet others have waited for so long.
        return outcome, int((self._now() - began) * 1e9)

    def _execute(
        self, batch: Batch, tasks: list[Task], prepared: Prepared, work: device.Work
    ) -> tuple[device.Outcome, float]:
        """What the device makes of work for tasks of a batch, and in how many seconds."""
        began = self._now()
        try:
            with self._calls, device.typed_errors():
                handle = self._driver.submit(prepared.form, work)
            batch.handled, batch.handle = tasks, handle
            if tasks[0].stopped and stops(batch):  # told so before the device had it
                self._tell_to_stop(batch)
            outcome = device.result(self._driver, handle, work, shot_size=prepared.shot_size)
        finally:
            batch.handle, batch.handled = None, []
        return outcome, self._now() - began

    def _tell_to_stop(self, batch: Batch) -> None:
        try:
            self._driver.cancel(batch.handle)
        except Exception:
            log.exception("the device could not be told to stop a task")

    def _next_slice(self, task: Task, prepared: Prepared) -> device.Work:
        """What of a task is to run now."""
        offered, work = self._offered, task.work
        if not offered.slices:
            return work
        if task.slices is None:
            slice_ns = int(self._slice * 1e9)
            try:
                took = self._driver.estimate(prepared.form, work)
            except NotSupported:
                took = 0
            if took <= slice_ns:
                return work
            task.slices = device.slices(work, took, slice_ns, offered.seeds)
            task.join = device.Join(work)
        return next(task.slices)
