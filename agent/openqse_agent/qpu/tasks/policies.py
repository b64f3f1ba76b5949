"""What every order of tasks has in common, and the simplest one.

Values and transitions, no I/O and no clock: the QPU agent, the tests and the simulator drive the
same objects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

#: Decisions that a forecast looks ahead: a second or two of work.
FORECAST_STEPS = 100_000


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose tasks they are: the upper part of their way through the tree.

    Attributes:
        job: what tells jobs apart (the lease id). slots: the job's weight among its user's jobs.
        reservation: name of the reservation that the job runs in; empty if in none.
    """

    account: str
    user: str
    job: Hashable
    slots: int = 1
    reservation: str = ""


class Queueable(Protocol):
    """What the queue needs to know of a task."""

    @property
    def owner(self) -> Owner: ...

    @property
    def line(self) -> Hashable:
        """What tells the job's sessions apart."""
        ...

    @property
    def interactive(self) -> bool: ...


Q = TypeVar("Q", bound=Queueable)


class Queue(Protocol[Q]):
    """The order in which a QPU's tasks run, and the interface of every policy.

    Each task that was taken, by ``pop``, ``pop_more`` or ``take``, is given back by one ``charge``.
    """

    def __len__(self) -> int:
        """Tasks that wait."""
        ...

    def push(self, task: Q) -> None:
        """Adds a task behind those of its session and latency class."""
        ...

    def pop(self) -> Q | None:
        """Takes the task whose turn it is; None if none waits."""
        ...

    def pop_more(self, task: Q, wanted: Callable[[Q], bool]) -> Q | None:
        """Takes the task behind one that was just taken, of the same session and latency class, if
        it is ``wanted``: to be run in one go with it."""
        ...

    def advance(self, task: Q, seconds: float) -> None:
        """Counts what a taken task is expected to take before it has: where several are under way
        the next is chosen before the last was charged. ``charge`` sets it right."""
        ...

    def charge(
        self, task: Q, seconds: float, now: float, more: bool = False, ahead: float = 0.0
    ) -> None:
        """Says what a taken task took.

        Args:
            seconds: QPU time, 0 or more.
            now: monotonic seconds, for the decay of usage.
            more: it is not finished: it waits again, at the head of its line.
            ahead: seconds by which it was advanced.
        """
        ...

    def take(self, task: Q) -> bool:
        """Takes a task though it is not its turn; False if it does not wait."""
        ...

    def remove(self, task: Q) -> bool:
        """Takes out a waiting task; False if it does not wait."""
        ...

    def waiting(self) -> Iterator[Q]:
        """The tasks that wait, in no order that means anything."""
        ...

    def forecast(
        self, cost: Callable[[Q], float], slice: float, coming: Q | None = None
    ) -> Iterator[tuple[Q, float]]:
        """The tasks that wait, in the order in which they would begin if nothing came in between.

        Works on a copy, made at the first step.

        Args:
            cost: estimated QPU time of what is left of a task, seconds.
            slice: seconds after which a task gives way to others.
            coming: a task that is not there, to be forecast as if it came now.

        Yields:
            Each task, and the seconds until its next start; not those that come after
            ``FORECAST_STEPS`` decisions.
        """
        ...


class FifoQueue(Generic[Q]):
    """First come, first served: for comparison."""

    def __init__(self) -> None:
        self._tasks: deque[Q] = deque()

    def __len__(self) -> int:
        return len(self._tasks)

    def push(self, task: Q) -> None:
        self._tasks.append(task)

    def pop(self) -> Q | None:
        return self._tasks.popleft() if self._tasks else None

    def pop_more(self, task: Q, wanted: Callable[[Q], bool]) -> Q | None:
        first = self._tasks[0] if self._tasks else None
        same = first is not None and (first.owner.job, first.line) == (task.owner.job, task.line)
        return self._tasks.popleft() if same and first is not None and wanted(first) else None

    def advance(self, task: Q, seconds: float) -> None:
        pass

    def charge(
        self, task: Q, seconds: float, now: float, more: bool = False, ahead: float = 0.0
    ) -> None:
        if more:
            self._tasks.appendleft(task)

    def take(self, task: Q) -> bool:
        return self.remove(task)

    def remove(self, task: Q) -> bool:
        try:
            self._tasks.remove(task)
        except ValueError:
            return False
        return True

    def waiting(self) -> Iterator[Q]:
        return iter(self._tasks)

    def forecast(
        self, cost: Callable[[Q], float], slice: float, coming: Q | None = None
    ) -> Iterator[tuple[Q, float]]:
        elapsed = 0.0
        for task in [*self._tasks, *([] if coming is None else [coming])]:
            yield task, elapsed
            elapsed += cost(task)
