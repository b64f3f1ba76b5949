"""When tasks have waited too long. Values and transitions, no I/O and no clock."""

from __future__ import annotations

import heapq
from collections.abc import Container
from itertools import count

from openqse_agent.qpu.tasks.task import Task

#: Deadlines of tasks that have ended which are kept, beside as many as there are tasks.
_KEPT = 1024


class Deadlines:
    """The deadlines of tasks, the earliest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Task]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, task: Task) -> None:
        """Notes the deadline of a task, if it has one."""
        if task.deadline is not None:
            heapq.heappush(self._heap, (task.deadline, next(self._order), task))

    def passed(self, now: float) -> list[Task]:
        """Takes out the tasks whose deadlines lie before ``now``; some of them may have ended."""
        tasks = []
        while self._heap and self._heap[0][0] < now:
            tasks.append(heapq.heappop(self._heap)[2])
        return tasks

    def forget_ended(self, tasks: Container[bytes], number: int) -> None:
        """Drops those of tasks that have ended, if they are many: they may lie hours ahead.

        Args:
            tasks: ids of those that have not. number: how many these are.
        """
        if len(self._heap) > 2 * number + _KEPT:
            self._heap = [entry for entry in self._heap if entry[2].id in tasks]
            heapq.heapify(self._heap)
