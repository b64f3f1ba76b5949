"""Which tasks the device gets next, and what becomes of them when it is done. Values and
transitions, no I/O and no clock; the executor carries them out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from openqse import device
from openqse.errors import LimitExceeded, OpenQSEError
from openqse.wire import limits
from openqse_agent.qpu.charges.commit import AHEAD, Ended
from openqse_agent.qpu.journal import Charge
from openqse_agent.qpu.tasks.policies import Queue
from openqse_agent.qpu.tasks.programs import Prepared, shots_of
from openqse_agent.qpu.tasks.sessions import Ledger
from openqse_agent.qpu.tasks.task import UNDER_WAY, Outcome, State, Task

#: Tasks of each latency class whose waits are remembered.
_WAITS = 1000
#: Tasks that run in one go at most, and for how many seconds while others wait.
_TOGETHER, _TOGETHER_WHILE_OTHERS_WAIT = 64, 0.01
#: Bytes of an expectation's value.
_VALUE = 8
#: Bytes that a result's message has at most beside the result.
_RESULT_HEAD = 2**12

Ran: TypeAlias = "tuple[Outcome | None, int]"
"""What running a task gave, None if there is more of it to run, and the time that its owner's share
is charged, nanoseconds: QPU time or, if it failed, for how long it had the device."""


@dataclass(eq=False, slots=True)
class Batch:
    """Tasks that the device gets together: one, or several that it runs in one go.

    Attributes:
        short: the first is known to take hardly any time.
        ahead: seconds by which each was advanced in the queue.
        handle, handled: what stands for them at the device, and for which of them; None and none
            while the device has not got them.
    """

    tasks: list[Task]
    short: bool = False
    ahead: float = 0.0
    handle: Any = None
    handled: list[Task] = field(default_factory=list)


class Dispatch:
    """The order of tasks at the device.

    Args:
        slice: seconds of QPU time after which a task gives way to others, where it can.

    Attributes:
        held: no task is started; what has begun goes on.
        busy_s: seconds in which the device has had something.
        under_way: what the device has.
        waits: of tasks that began lately, how many turns others had from their arrival on, the one
            that ran then included; of batch tasks (False) and interactive ones (True).
    """

    def __init__(self, queue: Queue[Task], slice: float) -> None:
        self._queue = queue
        self._slice = slice
        self._begun: set[Task] = set()  # those that wait for their next slice
        self._parked: dict[Ledger, list[Task]] = {}
        self._turns = 0
        self._busy_since = 0.0
        self.busy_s = 0.0
        self.held = False
        self.under_way: list[Batch] = []
        self.waits: dict[bool, deque[int]] = {c: deque(maxlen=_WAITS) for c in (False, True)}

    @property
    def can_begin(self) -> bool:
        """Whether ``next`` may give a task: there is one, unless its session is blocked."""
        return bool(self._begun) if self.held else len(self._queue) > 0

    @property
    def begun(self) -> bool:
        """Whether tasks wait of which some slices have run."""
        return bool(self._begun)

    @property
    def running(self) -> tuple[Task, ...]:
        """The tasks that the device has."""
        return tuple(task for batch in self.under_way for task in batch.tasks)

    def parked(self) -> list[Task]:
        """The tasks whose sessions have to take results before they run."""
        return [task for tasks in self._parked.values() for task in tasks]

    def push(self, task: Task) -> None:
        """Queues a task."""
        task.turn = self._turns - len(self.under_way)  # it waits for those, too
        self._queue.push(task)

    def next(self, now: float) -> Task | None:
        """Takes the task whose turn it is, of those whose results their sessions will take."""
        if self.held:
            task = next((begun for begun in self._begun if self._queue.take(begun)), None)
        else:
            while (task := self._queue.pop()) is not None and task.session.blocked:
                task.become(State.PARKED)
                self._parked.setdefault(task.session.ledger, []).append(task)
                self._begun.discard(task)  # nobody waits for its end before its results are taken
                self._queue.charge(task, 0.0, now)
        if task is not None:
            task.become(State.RUNNING)
            self._begun.discard(task)
        return task

    def begin(self, task: Task, prepared: Prepared | None, most: float, now: float) -> Batch:
        """What the device gets now: a task that was taken, and with it those behind that ask the
        same of the same program, as many as make up a slice.

        Args:
            prepared: the task's program, if it has run before.
            most: seconds that several may take.
        """
        batch = Batch([task])
        if task.join is None and prepared is not None and prepared.qpu_time:
            self._add_alike(batch, prepared, prepared.qpu_time, most)
        for one in batch.tasks:
            if one.join is None:
                one.began = now
                self.waits[one.interactive].append(self._turns - one.turn)
        self._turns += 1
        if not self.under_way:
            self._busy_since = now
        self.under_way.append(batch)
        return batch

    def _add_alike(self, batch: Batch, prepared: Prepared, qpu_time: float, most: float) -> None:
        """Adds the tasks behind one that may run along with it; while those of other sessions wait
        fewer: their first ones are not to wait for all of these."""
        (task,) = batch.tasks
        alone = len(self._queue) < task.session.tasks
        limit = self._slice if alone else min(self._slice, _TOGETHER_WHILE_OTHERS_WAIT)
        shots = min(
            limit / qpu_time,
            min(most, limit) / prepared.seconds * prepared.shots,
            AHEAD / max(_VALUE, prepared.shot_size),
        )
        left = int(shots / max(task.work.shots, 1)) - len(task.work.parameters)

        def wanted(other: Task) -> bool:
            return (
                other.join is None
                and len(other.work.parameters) <= left
                and device.alike(task.work, other.work)
            )

        while len(batch.tasks) < _TOGETHER and (other := self._queue.pop_more(task, wanted)):
            other.become(State.RUNNING)
            batch.tasks.append(other)
            left -= len(other.work.parameters)

    def advance(self, batch: Batch, seconds: float) -> None:
        """Counts what each task of a batch is expected to take, since others are chosen before it
        ends; no more than a slice."""
        batch.ahead = min(seconds, self._slice)
        for task in batch.tasks:
            self._queue.advance(task, batch.ahead)

    def end(self, batch: Batch, results: list[Ran], now: float) -> list[Ended[Task]]:
        """Takes back what the device had: those of its tasks that have ended."""
        self.under_way.remove(batch)
        if not self.under_way:
            self.busy_s += now - self._busy_since
        ended = []
        for task, (outcome, took) in zip(batch.tasks, results, strict=True):
            if outcome is None and task.state is State.STOPPING:
                outcome = task.stopped
            more = outcome is None
            self._queue.charge(task, took * 1e-9, now, more, batch.ahead)
            if outcome is None:
                task.become(State.QUEUED)
                self._begun.add(task)
            else:
                task.become(State.ENDED)
                ended.append(Ended(task, outcome, charge_of(task, outcome)))
        return ended

    def cancel(self, task: Task, reason: OpenQSEError) -> Batch | None:
        """Ends a task early, at once if the device does not have it.

        Returns:
            What the device is to be told to stop; None if there is nothing to tell.
        """
        if task.state is State.PARKED:
            ledger = task.session.ledger
            self._parked[ledger].remove(task)
            if not self._parked[ledger]:
                del self._parked[ledger]
        elif task.state is State.QUEUED:
            self._queue.remove(task)
            self._begun.discard(task)
        else:
            task.stop(reason)
            if task.state in UNDER_WAY:
                return next((b for b in self.under_way if stops(b) and task in b.handled), None)
            return None
        task.stopped = reason
        task.become(State.ENDED)
        return None

    def resume(self, ledger: Ledger) -> None:
        """Queues again those parked tasks of a lease whose sessions have taken results since."""
        parked = self._parked.pop(ledger, [])
        still = [task for task in parked if task.session.blocked]
        if still:
            self._parked[ledger] = still
        for task in parked:
            if not task.session.blocked:
                task.become(State.QUEUED)
                self._queue.push(task)

    def is_parked(self, ledger: Ledger) -> bool:
        """Whether tasks of a lease are parked."""
        return ledger in self._parked


def stops(batch: Batch) -> bool:
    """Whether the device is to stop what it has of a batch: nobody waits for any of it."""
    return batch.handle is not None and all(task.stopped for task in batch.handled)


def charge_of(task: Task, outcome: Outcome) -> Charge | None:
    """What a task that has ended is charged; None if it gave no result."""
    if isinstance(outcome, OpenQSEError):
        return None
    lease = task.lease
    return Charge(
        lease.id,
        task.id,
        lease.generation,
        lease.job_id,
        lease.account,
        lease.user,
        task.shots,
        outcome.data.qpu_time_ns,
        int(1e9 * (task.began - task.arrived)),
    )


def check_size(task: Task, prepared: Prepared) -> None:
    """Refuses a task whose result no message could carry, before it has cost anything.

    Raises:
        LimitExceeded: it would be too large.
    """
    sampled = task.work.observable is None
    size = task.shots * prepared.shot_size if sampled else shots_of(task.work) * _VALUE
    if size > limits.MAX_MESSAGE_BYTES - _RESULT_HEAD:
        raise LimitExceeded(
            f"a result of {size} bytes; at most {limits.MAX_MESSAGE_BYTES - _RESULT_HEAD} are sent",
            layer="QPU agent",
            remedy="Divide the parameter sets or shots among several tasks",
            limit="MAX_MESSAGE_BYTES",
        )
