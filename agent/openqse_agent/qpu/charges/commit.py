"""Charges are recorded before the results that they are for go out, in batches, while the device
goes on.

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
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from openqse import device
from openqse.errors import OpenQSEError, StorageError
from openqse_agent.qpu.journal import Charge, Journal

log = logging.getLogger("qpu-agent")

#: Bytes of ended tasks that may wait for the disk before no further one is run: the device gets
#: ahead of a slow disk, and no session far ahead of what it takes.
AHEAD = 2**14
#: Bytes that a task counts for beside its result.
_TASK = 2**8

T = TypeVar("T")
Outcome: TypeAlias = "device.Outcome | OpenQSEError"


class Ended(NamedTuple, Generic[T]):
    """Something that has ended.

    Attributes:
        task: what it was. outcome: what it gave, or why it gave nothing.
        charge: what is to be recorded before the outcome goes out; None if nothing is.
    """

    task: T
    outcome: Outcome
    charge: Charge | None = None

    @property
    def size(self) -> int:
        """Bytes that it counts for."""
        if isinstance(self.outcome, OpenQSEError):
            return _TASK
        data = self.outcome.data
        return _TASK + (data.memory if isinstance(data, device.Samples) else data.values).nbytes


class GroupCommit(Generic[T]):
    """The way of what has ended through the journal; all comes out in the order of going in.

    Attributes:
        ready: an eventfd for the loop's poller: ``turn`` has something to do.
    """

    def __init__(self, journal: Journal) -> None:
        self.ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._journal = journal
        self._ended: deque[Ended[T]] = deque()
        self._writing: list[Ended[T]] = []
        self._counted = threading.Lock()  # several threads may add
        self._in = self._out = 0  # bytes so far
        self._handed: SimpleQueue[list[Ended[T]] | None] = SimpleQueue()
        self._written: deque[list[Ended[T]]] = deque()
        self._thread = threading.Thread(target=self._serve, name="charging", daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        """Whether the charge of one more task can be recorded soon."""
        return self._in - self._out < AHEAD and self._journal.has_room

    def add(self, ended: Ended[T]) -> None:
        """Takes something and its outcome, from any thread; ``turn`` does the rest."""
        with self._counted:
            self._in += ended.size
        self._ended.append(ended)

    def wake(self) -> None:
        """Makes ``ready`` readable."""
        os.eventfd_write(self.ready, 1)

    def turn(self, busy: bool) -> list[Ended[T]]:
        """Sends the next batch to the disk; called by the loop.

        Args:
            busy: the loop has tasks to run; else it may as well wait for the disk.

        Returns:
            What may go out: with a ``StorageError`` in the place of each outcome whose charge could
            not be recorded.
        """
        out: list[Ended[T]] = []
        if self._writing:
            if not self._written:
                return out
            out = self._written.popleft()
            self._out += sum(ended.size for ended in self._writing)
            self._writing = []
        batch = self._take()
        if batch and (busy or out):  # what is recorded does not wait for what is not
            self._writing = batch
            self._handed.put(batch)
        elif batch:
            out = self._recorded(batch)
            self._out += sum(ended.size for ended in batch)
        return out

    def stop(self, timeout: float) -> None:
        """Records what was added, and ends the thread."""
        self._handed.put(None)
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._recorded(self._take())

    def _take(self) -> list[Ended[T]]:
        batch = []
        while self._ended:
            batch.append(self._ended.popleft())
        return batch

    def _serve(self) -> None:
        while (batch := self._handed.get()) is not None:
            self._written.append(self._recorded(batch))
            self.wake()

    def _recorded(self, batch: list[Ended[T]]) -> list[Ended[T]]:
        charges = [ended.charge for ended in batch if ended.charge is not None]
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
            return [e if e.charge is None else Ended(e.task, failure) for e in batch]
        return batch
