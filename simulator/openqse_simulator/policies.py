"""Whose task is next at a QPU: the QPU agent's own queue, and what it is compared with."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from openqse_agent.config import QPUConfig
from openqse_agent.qpu.tasks.policies import FifoQueue, Owner
from openqse_agent.qpu.tasks.queue import FairQueue
from openqse_agent.qpu.tasks.shares import DEFAULT_HALF_LIFE, ShareTree
from openqse_agent.slurm.client import AccountShare

_AGENT = QPUConfig()


@dataclass(eq=False, slots=True)
class Task:
    """A task at a QPU.

    Attributes:
        line: number of its session in the job. left: seconds of QPU time that it still needs.
        arrived: turns that the QPU had given when the task came.
        begun: whether a slice of it has run.
        done: called when it has ended.
    """

    owner: Owner
    line: int
    interactive: bool
    left: float
    done: Callable[[], Any]
    arrived: int = 0
    begun: bool = False


class Queue(Protocol):
    """Of the QPU agent's ``Queue``, what a simulation needs."""

    def push(self, task: Task) -> None: ...

    def pop(self) -> Task | None: ...

    def charge(self, task: Task, seconds: float, now: float, more: bool = False) -> None: ...


@dataclass(frozen=True)
class Settings:
    """How a QPU agent is configured; defaults are its own.

    Attributes:
        slice: seconds of QPU time after which a task gives way to others, with any policy.
        interactive_credit, idle_credit: as in ``FairQueue``.
    """

    slice: float = _AGENT.slice
    interactive_credit: float = _AGENT.interactive_credit
    idle_credit: float = _AGENT.idle_credit


@dataclass(eq=False, slots=True)
class Part:
    """A part of a QPU's time, and the queue of the tasks that it is for.

    Attributes:
        speed: the part, 1 for all of it. turns: slices that have run.
        idle: called when a task comes and none runs.
    """

    queue: Queue
    speed: float = 1.0
    turns: int = 0
    idle: Callable[[], Any] | None = None


def fair(shares: dict[str, int], settings: Settings) -> dict[str, Part]:
    """The hierarchical fair queue of the QPU agent."""
    tree = ShareTree()
    accounts = {name: AccountShare("", weight) for name, weight in shares.items()}
    tree.update(accounts, {}, DEFAULT_HALF_LIFE)
    queue = FairQueue[Task](
        tree, interactive_credit=settings.interactive_credit, idle_credit=settings.idle_credit
    )
    return dict.fromkeys(shares, Part(queue))


def fifo(shares: dict[str, int], settings: Settings) -> dict[str, Part]:
    """First come, first served."""
    return dict.fromkeys(shares, Part(FifoQueue[Task]()))


def round_robin(shares: dict[str, int], settings: Settings) -> dict[str, Part]:
    """Jobs in turn, a slice each, whatever their accounts' shares."""
    return dict.fromkeys(shares, Part(RoundRobinQueue()))


def partition(shares: dict[str, int], settings: Settings) -> dict[str, Part]:
    """A fixed part of the time for each account, used or not, and in it first come, first served:
    an account sees a QPU of its own that is slower by its share."""
    total = sum(shares.values())
    return {name: Part(FifoQueue[Task](), weight / total) for name, weight in shares.items()}


#: What makes the parts of a QPU, by account, of shares and settings.
POLICIES: dict[str, Callable[[dict[str, int], Settings], dict[str, Part]]] = {
    "fair": fair,
    "fifo": fifo,
    "round-robin": round_robin,
    "partition": partition,
}


class RoundRobinQueue:
    """Jobs take turns, each with its tasks as they come."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[Hashable, deque[Task]] = OrderedDict()

    def push(self, task: Task) -> None:
        self._jobs.setdefault(task.owner.job, deque()).append(task)

    def pop(self) -> Task | None:
        if not self._jobs:
            return None
        job, tasks = self._jobs.popitem(last=False)
        task = tasks.popleft()
        if tasks:
            self._jobs[job] = tasks
        return task

    def charge(self, task: Task, seconds: float, now: float, more: bool = False) -> None:
        if more:
            self._jobs.setdefault(task.owner.job, deque()).appendleft(task)
