"""Flow control of a session at one QPU: its credit, and what it has still to acknowledge.

No sockets and no waiting; several threads may use a window.
"""

from __future__ import annotations

import threading

from openqse.errors import DeadlineExceeded
from openqse.wire import limits


class Window:
    """What a session may have unanswered at one QPU: so many tasks, and so many bytes of them.

    A task takes its place before it is encoded, so that nothing is encoded for nothing, and its
    room after that.

    Attributes:
        allowed: tasks that may be unanswered.
        tasks, size: those that are, and the bytes of their messages.
    """

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.tasks = 0
        self.size = 0
        self._lock = threading.Lock()

    def has_place(self) -> bool:
        """Whether one more task may be under way."""
        return self.tasks < self.allowed

    def has_room(self, size: int) -> bool:
        """Whether so many bytes fit beside those of the others; alone any number does."""
        return not self.size or self.size + size <= limits.BYTES_IN_FLIGHT

    def take_place(self) -> bool:
        """Takes a place for a task; False if there is none."""
        with self._lock:
            if self.tasks >= self.allowed:
                return False
            self.tasks += 1
            return True

    def take_room(self, size: int) -> bool:
        """Takes room for a task's bytes; False if there is not enough."""
        with self._lock:
            if self.size and self.size + size > limits.BYTES_IN_FLIGHT:
                return False
            self.size += size
            return True

    def free(self, size: int = 0) -> None:
        """Gives back the place of a task, and the room that it took."""
        with self._lock:
            self.tasks -= 1
            self.size -= size


def window_full(what: str) -> DeadlineExceeded:
    """The error of a task that found no place in time."""
    return DeadlineExceeded(
        f"{what} are unanswered and none ended within the timeout",
        remedy="Wait for results before submitting more, or allow more time",
    )


class Receipts:
    """Answers that have arrived and that the QPU agent does not know to have: it keeps them until
    it is told. A task's message tells it in passing.

    Attributes:
        size: their bytes.
    """

    def __init__(self) -> None:
        self.size = 0
        self._numbers: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def add(self, number: int, size: int) -> bool:
        """Notes the answer to a task; whether the agent is to be told without waiting for a task
        to tell it."""
        self._numbers.append(number)
        self.size += size
        return self.size >= limits.ACKNOWLEDGE_BYTES

    def take(self) -> tuple[int, ...]:
        """The numbers of the tasks, which are about to be told."""
        numbers, self._numbers, self.size = tuple(self._numbers), [], 0
        return numbers
