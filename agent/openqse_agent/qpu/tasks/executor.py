"""Runs tasks on the device in the order that the queue says, without holding up the loop.

A thread runs them. Waking it and being woken by it costs more than a short task itself, so the loop
runs tasks that are known to be short in its own time, and hands the device to the thread at the
first that is not. Loop and thread never use the device at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

import numpy as np

from openqse import device
from openqse.errors import (
    DeadlineExceeded,
    InternalError,
    LimitExceeded,
    NotSupported,
    OpenQSEError,
    TaskCancelled,
)
from openqse.program.program import Program
from openqse.wire import limits
from openqse_agent.qpu.charges.commit import AHEAD, Charging
from openqse_agent.qpu.leases import Lease
from openqse_agent.qpu.tasks.queue import Owner, Queue
from openqse_agent.qpu.tasks.sessions import Ledger, Session

log = logging.getLogger("qpu-agent")

#: A task expected to take less than this (seconds) is short: cheaper run than handed to the thread.
_SHORT = 150e-6
#: Tasks of each latency class whose waits are remembered.
_WAITS = 1000
#: Seconds of short tasks that the loop runs before it looks at its sockets again.
_TURN = 1e-3
#: Tasks that run in one go at most, and for how many seconds while others wait.
_TOGETHER, _TOGETHER_WHILE_OTHERS_WAIT = 64, 0.01
#: Questions that may wait for the device, and the part of the time that they get of it from tasks.
_ASIDES, _ASIDES_PART = 16, 0.1
#: Bytes of an expectation's value.
_VALUE = 8
#: Bytes that a result's message has at most beside the result.
_RESULT_HEAD = 2**12
#: Bytes of encoded programs whose prepared forms are kept.
_PREPARED_BYTES = 64 * 2**20

T = TypeVar("T")
Outcome: TypeAlias = "device.Outcome | OpenQSEError"
Ended: TypeAlias = "tuple[Task, Outcome]"
"""A task that has ended, and what it gave."""
_Ran: TypeAlias = "tuple[Outcome | None, int]"
"""What running a task gave, None if there is more of it to run, and the time that its owner's share
is charged, nanoseconds: QPU time or, if it failed, for how long it had the device."""


@dataclass(eq=False, slots=True)
class Task:
    """A task in the QPU agent.

    Attributes:
        size: bytes of the message that brought it.
        program: its program. deadline: monotonic instant, or None.
        arrived, began: monotonic instants. turn: number of the device's turn when it arrived.
        slices: what is left to run of it. join: what its slices gave so far; None while it has not
            begun, or is run whole.
        stopped: why it is to end early; set by the loop, read by the device.
    """

    id: bytes
    session: Session
    size: int
    work: device.Work
    program: Program
    deadline: float | None
    interactive: bool
    arrived: float
    turn: int = 0
    began: float = 0.0
    slices: Iterator[device.Work] | None = None
    join: device.Join | None = None
    stopped: OpenQSEError | None = None

    @property
    def lease(self) -> Lease:
        return self.session.ledger.lease

    @property
    def owner(self) -> Owner:
        return self.session.ledger.owner

    @property
    def line(self) -> bytes:
        return self.session.id

    @property
    def shots(self) -> int:
        """Shots of all parameter sets together."""
        return self.work.shots * len(self.work.parameters)

    @property
    def shots_done(self) -> int:
        return self.join.shots if self.join else 0

    def should_stop(self) -> bool:
        """Whether the device should give up: cancelled, or too late."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.stopped = self.stopped or DeadlineExceeded(
                "the task's deadline passed", layer="QPU agent", remedy="Allow it more time"
            )
        return self.stopped is not None


@dataclass(slots=True)
class _Program:
    """A prepared program and what running it last took: seconds, and for how many shots.

    Attributes:
        size: bytes of the encoded program. shot_size: of one shot's bits.
        qpu_time: QPU time of one shot when it ran last, seconds.
    """

    prepared: Any
    size: int
    shot_size: int
    seconds: float = float("inf")
    shots: int = 1
    qpu_time: float | None = None

    def expected(self, work: device.Work) -> float:
        """An upper estimate of a run's seconds."""
        return self.seconds * max(1.0, _shots(work) / self.shots)

    def took(self, seconds: float, work: device.Work) -> None:
        """Notes a run; one that was held up by something else does not count for much."""
        self.seconds = min(seconds, 1.25 * self.expected(work))
        self.shots = _shots(work)


class Executor:
    """The queue, the device, and the thread that runs what is not short.

    Tasks that take long run in slices of QPU time, where the device can: after each the queue says
    who is next. Small ones of one session that ask the same of one program run in one go. A slice
    is charged to its owner's share at once, and the task, when it has given its result, in the
    journal.

    Args:
        charging: gets the tasks that have ended, with their outcomes.
        programs: prepared programs kept. slice: seconds of QPU time.

    Attributes:
        running: the tasks that the device has: one, or several that it runs in one go.
        busy_s: seconds that the device has run tasks, and slices, since the agent began.
        waits: of tasks that began lately, how many turns others had from their arrival on, the one
            that ran then included; of batch tasks (False) and interactive ones (True).
    """

    def __init__(
        self,
        driver: device.Device[Any, Any],
        charging: Charging,
        programs: int,
        queue: Queue[Task],
        slice: float,
        name: str = "the device",
    ) -> None:
        self._name = name
        self._preparer = device.Preparer(driver, name)
        self._handle: Any = None
        self._driver = driver
        self._charging = charging
        self._programs = programs
        self._queue = queue
        self._slice = slice
        self._slice_ns = int(slice * 1e9) if driver.capabilities.slices else None
        self._begun: set[Task] = set()  # those of which some slices have run, and more are to
        self.running: tuple[Task, ...] = ()
        self.busy_s = 0.0
        self.waits: dict[bool, deque[int]] = {c: deque(maxlen=_WAITS) for c in (False, True)}
        self._turns = 0
        self._lock = threading.Lock()  # guards the queue and whose turn the device is
        self._threads_turn = False
        self._held = False
        self._handed: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._asides: deque[Callable[[], None]] = deque()
        self._asides_from = 0.0  # tasks that wait come first until then, monotonic
        self._prepared: OrderedDict[bytes, _Program] = OrderedDict()
        self._prepared_size = 0
        self._thread = threading.Thread(target=self._serve, name="executor", daemon=True)
        self._thread.start()

    # --- called by the loop ----------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, task: Task) -> None:
        """Queues a task; ``turn`` starts work on what was pushed."""
        task.turn = self._turns - bool(self.running)  # it waits for that one, too
        with self._lock:
            self._queue.push(task)

    def turn(self) -> None:
        """Runs short tasks for a moment, or sees to it that the thread works; to be called again
        while ``waits_for_turn``."""
        began = time.monotonic()
        while time.monotonic() - began < _TURN:
            with self._lock:
                if self._threads_turn:
                    break
                task = None if self._asides_due else self._next()
                if task is None and not self._asides_due:
                    break
                self._threads_turn = task is None or not self._is_short(task)
            if task is None or self._threads_turn:
                self._handed.put(partial(self._work, task))
                break
            for ended in self._run(task, _TURN):
                self._charging.add(ended)

    @property
    def waits_for_turn(self) -> bool:
        """Whether tasks are queued that only ``turn`` will run."""
        return not self._threads_turn and (
            self._asides_due
            or (
                len(self._queue) > 0
                and (not self._held or bool(self._begun))
                and self._charging.has_room
            )
        )

    @property
    def busy(self) -> bool:
        """Whether the device has work, be it between two slices, or gets some at the next turn."""
        return self._threads_turn or bool(self._begun) or self.waits_for_turn

    def hold(self, held: bool) -> None:
        """Starts tasks no more, or again; what has begun goes on."""
        with self._lock:
            self._held = held

    def resume(self, ledger: Ledger) -> None:
        """Queues again those parked tasks of a lease whose sessions have taken results since."""
        with self._lock:
            parked, ledger.parked = ledger.parked, []
            for task in parked:
                if task.session.blocked:
                    ledger.parked.append(task)
                else:
                    self._queue.push(task)

    def cancel(self, task: Task, reason: OpenQSEError) -> bool:
        """Ends a task early: True if it was still queued, else its device is told to stop."""
        task.stopped = reason
        parked = task.session.ledger.parked
        with self._lock:
            if task in parked:
                parked.remove(task)
                return True
            self._begun.discard(task)
            if self._handle is not None and all(one.stopped for one in self.running):
                self._driver.cancel(self._handle)
            return self._queue.remove(task)

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
        return bool(self._asides) and (
            len(self._queue) == 0 or time.monotonic() >= self._asides_from
        )

    def alone(self, call: Callable[[], T]) -> T:
        """Calls something that looks at what the queue goes by, or changes it, while nobody else
        does."""
        with self._lock:
            return call()

    def waiting(self) -> list[Task]:
        """The tasks that wait for the device, in no order that means anything."""
        with self._lock:
            return list(self._queue.waiting())

    def forecast(self, coming: Task | None = None) -> Iterator[tuple[Task, float]]:
        """The tasks that wait, in the order in which they are to start, with the seconds until
        then; the queue goes on meanwhile. One that is not there may be forecast along."""
        forecast = self._queue.forecast(
            lambda task: self.expected_qpu_time(task) or 0.0, self._slice, coming
        )
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
        known = self._prepared.get(self._preparer.key(program))
        prepared = known.prepared if known else self._preparer.prepare(program)
        with device.typed_errors():
            work = device.Work(b"", np.empty((sets, 0)), shots)
            return self._driver.estimate(prepared, work)

    def expected_qpu_time(self, task: Task) -> float | None:
        """Seconds of QPU time that a task is going to take, if that is known."""
        program = self._prepared.get(self._preparer.key(task.program))
        if program is None or program.qpu_time is None:
            return None
        return program.qpu_time * (_shots(task.work) - task.shots_done)

    def expected_to_run(self) -> float:
        """Seconds of QPU time until the device gets something else to do, at most."""
        return min(sum(self.expected_qpu_time(task) or 0.0 for task in self.running), self._slice)

    def stop(self, timeout: float) -> None:
        """Ends the thread after the task that runs, and closes the device."""
        self._handed.put(None)
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._driver.close()

    # --- the thread ------------------------------------------------------------------------------

    def _serve(self) -> None:
        while (work := self._handed.get()) is not None:
            work()

    def _work(self, task: Task | None) -> None:
        """Runs a task and those after it, and what is asked of the device in between."""
        more = True
        while more:
            short = task is not None and self._is_short(task)
            for ended in self._run(task, self._slice) if task is not None else ():
                self._charging.add(ended)
            while self._asides_due:
                began = time.monotonic()
                self._asides.popleft()()
                took = time.monotonic() - began
                self._asides_from = began + took / _ASIDES_PART
            with self._lock:
                # Back to the loop as soon as tasks are short again.
                task = None if short else self._next()
                more = self._threads_turn = task is not None
            self._charging.wake()  # for what has ended, or the turn

    # --- both ------------------------------------------------------------------------------------

    def _next(self) -> Task | None:
        """The next task whose charge can be recorded and whose result its session will take."""
        if not self._charging.has_room:
            return None
        if self._held:
            return next((begun for begun in self._begun if self._queue.take(begun)), None)
        while (task := self._queue.pop()) is not None and task.session.blocked:
            task.session.ledger.parked.append(task)
            self._begun.discard(task)  # nobody waits for its end before its results are taken
            self._queue.charge(task, 0.0, time.monotonic())
        return task

    def _is_short(self, task: Task) -> bool:
        program = self._prepared.get(self._preparer.key(task.program))
        return program is not None and program.expected(task.work) < _SHORT

    def _run(self, task: Task, most: float) -> list[Ended]:
        """Runs a task, or a slice of one, or small ones that ask the same in one go.

        Args:
            most: seconds that several may take.

        Returns:
            Those that have ended.
        """
        tasks = [task, *self._alike(task, most)]
        self.running = tuple(tasks)
        for one in tasks:
            if one.join is None:
                one.began = time.monotonic()
                self.waits[one.interactive].append(self._turns - one.turn)
        self._turns += 1
        try:
            ran = self._run_together(tasks) if len(tasks) > 1 else [self._run_one(task)]
        finally:
            self.running = ()
        ended = []
        now = time.monotonic()
        with self._lock:
            for one, (outcome, took) in zip(tasks, ran, strict=True):
                more = outcome is None
                self._queue.charge(one, took * 1e-9, now, more)
                (self._begun.add if more else self._begun.discard)(one)
                if outcome is not None:
                    ended.append((one, outcome))
        return ended

    def _alike(self, task: Task, most: float) -> list[Task]:
        """Takes the tasks behind one that may run along with it: as many as make up a slice or, if
        those of other sessions wait, fewer: their first ones are not to wait for all of these."""
        program = self._prepared.get(self._preparer.key(task.program))
        if task.join is not None or program is None or not program.qpu_time:
            return []
        alone = len(self._queue) < task.session.tasks
        limit = self._slice if alone else min(self._slice, _TOGETHER_WHILE_OTHERS_WAIT)
        most = min(most, limit)
        shots = min(
            limit / program.qpu_time,
            most / program.seconds * program.shots,
            AHEAD / max(_VALUE, program.shot_size),
        )
        left = int(shots / max(task.work.shots, 1)) - len(task.work.parameters)
        tasks: list[Task] = []

        def wanted(other: Task) -> bool:
            return (
                other.join is None
                and len(other.work.parameters) <= left
                and device.alike(task.work, other.work)
            )

        with self._lock:
            while len(tasks) < _TOGETHER - 1 and (other := self._queue.pop_more(task, wanted)):
                tasks.append(other)
                left -= len(other.work.parameters)
        return tasks

    def _run_together(self, tasks: list[Task]) -> list[_Ran]:
        """Runs tasks in one go; one by one if that fails, so that each has an error of its own."""
        works = [task.work for task in tasks]
        try:
            prepared = self._prepare(tasks[0]).prepared
            outcome, _ = self._execute(prepared, device.together(works))
            return [(part, part.data.qpu_time_ns) for part in device.apart(outcome, works)]
        except OpenQSEError:
            return [self._run_one(task) for task in tasks]

    def _run_one(self, task: Task) -> _Ran:
        """Runs a task, or a slice of one."""
        outcome: Outcome | None
        began = time.monotonic()
        try:
            if task.should_stop():
                raise TaskCancelled("stopped before it ran")
            program = self._prepare(task)
            device.check_work(task.work, self._driver.capabilities, self._name)
            _check_size(task, program)
            work = self._next_slice(task, program)
            if task.deadline is not None:
                work = replace(work, deadline=task.deadline)
            outcome, seconds = self._execute(program.prepared, work)
            program.took(seconds, work)
            took = outcome.data.qpu_time_ns
            program.qpu_time = took * 1e-9 / _shots(work)
            if task.join is not None:
                task.join.add(outcome)
                outcome = task.join.outcome() if task.join.done else None
            return outcome, took
        except TaskCancelled as error:
            task.should_stop()  # if it is late, that is why
            outcome = task.stopped or error
        except OpenQSEError as error:
            outcome = error.at("QPU agent")
        except Exception as error:
            log.exception("a task could not be run")
            outcome = InternalError(repr(error), layer="QPU agent")
        # Nobody pays for it, and yet others have waited for so long.
        return outcome, int((time.monotonic() - began) * 1e9)

    def _execute(self, prepared: Any, work: device.Work) -> tuple[device.Outcome, float]:
        """What the device makes of work, and in how many seconds."""
        began = time.monotonic()
        try:
            self._handle = self._driver.submit(prepared, work)
            if all(task.stopped for task in self.running):
                self._driver.cancel(self._handle)
            outcome = device.result(self._driver, self._handle, work)
        finally:
            self._handle = None
            seconds = time.monotonic() - began
            self.busy_s += seconds
        return outcome, seconds

    def _next_slice(self, task: Task, program: _Program) -> device.Work:
        """What of a task is to run now."""
        if self._slice_ns is None:
            return task.work
        if task.slices is None:
            work = task.work
            try:
                took = self._driver.estimate(program.prepared, work)
            except NotSupported:
                took = 0
            if took <= self._slice_ns:
                return work
            task.slices = device.slices(work, took, self._slice_ns, self._driver.capabilities.seeds)
            task.join = device.Join(work)
        return next(task.slices)

    def _prepare(self, task: Task) -> _Program:
        key = self._preparer.key(task.program)
        program = self._prepared.get(key)
        if program is None:
            prepared = self._preparer.prepare(task.program)
            shot_size = (task.program.width + 7) // 8
            program = self._prepared[key] = _Program(prepared, len(task.program.data), shot_size)
            self._prepared_size += program.size
            while len(self._prepared) > self._programs or self._prepared_size > _PREPARED_BYTES:
                _, dropped = self._prepared.popitem(last=False)
                self._prepared_size -= dropped.size
        self._prepared.move_to_end(key)
        return program


def _check_size(task: Task, program: _Program) -> None:
    """Refuses a task whose result no message could carry, before it has cost anything.

    Raises:
        LimitExceeded: it would be too large.
    """
    sampled = task.work.observable is None
    size = task.shots * program.shot_size if sampled else len(task.work.parameters) * _VALUE
    if size > limits.MAX_MESSAGE_BYTES - _RESULT_HEAD:
        raise LimitExceeded(
            f"a result of {size} bytes; at most {limits.MAX_MESSAGE_BYTES - _RESULT_HEAD} are sent",
            layer="QPU agent",
            remedy="Divide the parameter sets or shots among several tasks",
            limit="MAX_MESSAGE_BYTES",
        )


def _shots(work: device.Work) -> int:
    return max(work.shots, 1) * len(work.parameters)
