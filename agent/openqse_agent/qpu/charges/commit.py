"""What tasks are charged is recorded before their results go out, in batches, while the device goes
on.

Group commit (DeWitt and others, SIGMOD 1984): at most one batch is on its way to the disk, and what
ends meanwhile is the next one. A thread writes it while there are tasks for the loop to run. Where
there are none the loop writes by itself: waking a thread and being woken by it costs half as much
as the write.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING

from openqse import device
from openqse.errors import StorageError
from openqse_agent.qpu.journal import Charge, Journal

if TYPE_CHECKING:
    from openqse_agent.qpu.tasks.executor import Ended, Task

log = logging.getLogger("qpu-agent")

#: Bytes of ended tasks that may wait for the disk before no further one is run: the device gets
#: ahead of a slow disk, and no session far ahead of what it takes.
AHEAD = 2**14
#: Bytes that a task counts for beside its result.
_TASK = 2**8


class Charging:
    """The way of ended tasks through the journal; they come out in the order of going in.

    Attributes:
        ready: an eventfd for the loop's poller: ``turn`` has something to do.
    """

    def __init__(self, journal: Journal) -> None:
        self.ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._journal = journal
        self._ended: deque[Ended] = deque()
        self._writing: list[Ended] = []
        self._in = self._out = 0  # bytes so far; who runs tasks changes the one, the loop the other
        self._handed: SimpleQueue[list[Ended] | None] = SimpleQueue()
        self._written: deque[list[Ended]] = deque()
        self._thread = threading.Thread(target=self._serve, name="charging", daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        """Whether the charge of one more task can be recorded soon."""
        return self._in - self._out < AHEAD and self._journal.has_room

    def add(self, ended: Ended) -> None:
        """Takes a task and its outcome, from whoever has the device; ``turn`` does the rest."""
        self._in += _size(ended)
        self._ended.append(ended)

    def wake(self) -> None:
        """Makes ``ready`` readable."""
        os.eventfd_write(self.ready, 1)

    def turn(self, busy: bool) -> list[Ended]:
        """Sends the next batch to the disk; called by the loop.

        Args:
            busy: the loop has tasks to run; else it may as well wait for the disk.

        Returns:
            The tasks whose outcomes may go out: a ``StorageError`` in the place of each that could
            not be recorded.
        """
        out: list[Ended] = []
        if self._writing:
            if not self._written:
                return out
            out = self._written.popleft()
            self._out += sum(map(_size, self._writing))
            self._writing = []
        batch = self._take()
        if batch and (busy or out):  # what is recorded does not wait for what is not
            self._writing = batch
            self._handed.put(batch)
        elif batch:
            out = self._recorded(batch)
            self._out += sum(map(_size, batch))
        return out

    def stop(self, timeout: float) -> None:
        """Records what was added, and ends the thread."""
        self._handed.put(None)
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._recorded(self._take())

    def _take(self) -> list[Ended]:
        batch = []
        while self._ended:
            batch.append(self._ended.popleft())
        return batch

    def _serve(self) -> None:
        while (batch := self._handed.get()) is not None:
            self._written.append(self._recorded(batch))
            self.wake()

    def _recorded(self, batch: list[Ended]) -> list[Ended]:
        charges = [
            _charge(task, outcome) for task, outcome in batch if isinstance(outcome, device.Outcome)
        ]
        try:
            if charges:
                self._journal.charge(charges)
        except Exception as error:  # whatever it is: what is not recorded is not given
            log.exception("charges could not be recorded")
            failure = StorageError(
                "the task ran, but its charge could not be recorded: "
                f"{getattr(error, 'message', error)}",
                layer="QPU agent",
                remedy="Ask the administrator to look at the journal's disk, then run it again",
            )
            return [
                (task, failure if isinstance(outcome, device.Outcome) else outcome)
                for task, outcome in batch
            ]
        return batch


def _size(ended: Ended) -> int:
    _, outcome = ended
    if not isinstance(outcome, device.Outcome):
        return _TASK
    data = outcome.data
    return _TASK + (data.memory if isinstance(data, device.Samples) else data.values).nbytes


def _charge(task: Task, outcome: device.Outcome) -> Charge:
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
