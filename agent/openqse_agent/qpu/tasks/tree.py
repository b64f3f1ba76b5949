"""The tree of the fair queue: levels, sessions with their tasks, and who is next on each level."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from operator import attrgetter
from typing import Any, Generic

from openqse_agent.qpu.tasks.policies import Owner, Q

#: After this many interactive tasks in a row a session's oldest batch task goes first.
INTERACTIVE_RUN = 8
#: Idle children that a node of the tree keeps, to save making them anew.
IDLE_KEPT = 64


class Node(Generic[Q]):
    """A child among others on its level of the tree.

    Attributes:
        tag: its virtual time: QPU time that it was charged, by weight, and moved on to its level's
            clock where it came back from idleness.
        waiting, pressing, running: tasks below that wait, are interactive and wait, are taken.
    """

    __slots__ = ("key", "parent", "pressing", "running", "tag", "waiting", "weight")

    def __init__(self, key: Any, parent: Level[Q] | None, weight: float) -> None:
        self.key = key
        self.parent = parent
        self.weight = weight
        self.tag = 0.0
        self.waiting = self.pressing = self.running = 0

    @property
    def idle(self) -> bool:
        """Whether no task below waits or is taken."""
        return not self.waiting and not self.running

    def count(self, waiting: int, pressing: int, running: int) -> None:
        """Counts tasks below; with negative numbers, no more."""
        self.waiting += waiting
        self.pressing += pressing
        self.running += running

    def resemble(self, other: Node[Q]) -> None:
        """Takes over another's tag and waiting tasks' numbers."""
        self.tag, self.waiting, self.pressing = other.tag, other.waiting, other.pressing


class Session(Node[Q]):
    """A session, with its tasks in order.

    Attributes:
        run: interactive ones taken since the last batch one.
    """

    __slots__ = ("batch", "interactive", "run")

    def __init__(self, key: Any, parent: Level[Q], weight: float) -> None:
        super().__init__(key, parent, weight)
        self.batch: deque[Q] = deque()
        self.interactive: deque[Q] = deque()
        self.run = 0

    def line(self, task: Q) -> deque[Q]:
        """Its tasks of a task's latency class."""
        return self.interactive if task.interactive else self.batch

    def take(self) -> Q:
        """Its next task."""
        if self.interactive and (self.run < INTERACTIVE_RUN or not self.batch):
            self.run += 1
            return self.interactive.popleft()
        self.run = 0
        return self.batch.popleft()

    def copied(self, parent: Level[Q]) -> Session[Q]:
        """A copy of it and its waiting tasks below another parent."""
        copy: Session[Q] = Session(self.key, parent, self.weight)
        copy.resemble(self)
        copy.run = self.run
        copy.batch, copy.interactive = self.batch.copy(), self.interactive.copy()
        return copy


class Heap(Generic[Q]):
    """Children by their tags, as far as they have tasks of one sort waiting.

    Entries whose tag is no more the child's, or whose child has none waiting, are out of date, and
    dropped when they come up. Of equal tags the one that came first does.

    Args:
        waiting: how many tasks of that sort a child has.
    """

    __slots__ = ("_entered", "_entries", "_order", "_waiting")

    def __init__(self, waiting: Callable[[Node[Q]], int]) -> None:
        self._waiting = waiting
        self._entries: list[tuple[float, int, Node[Q]]] = []
        self._entered: dict[Node[Q], float] = {}  # tag of a child's latest entry
        self._order = count()

    def put(self, child: Node[Q]) -> None:
        """Sees to it that a child has an entry with its tag."""
        tag, entries = child.tag, self._entries
        if self._entered.get(child) == tag:
            return
        self._entered[child] = tag
        entry = (tag, next(self._order), child)
        if entries and entries[0][2] is child:
            heapreplace(entries, entry)
        else:
            heappush(entries, entry)

    def first(self) -> Node[Q]:
        """The child whose tag is least; there must be one."""
        entries = self._entries
        while True:
            tag, _, child = entries[0]
            if tag == child.tag and self._waiting(child):
                return child
            heappop(entries)
            if self._entered.get(child) == tag:
                del self._entered[child]

    def drop(self, child: Node[Q]) -> None:
        """Forgets a child that goes elsewhere."""
        self._entries = [entry for entry in self._entries if entry[2] is not child]
        heapify(self._entries)
        self._entered.pop(child, None)

    def clear(self) -> None:
        self._entries.clear()
        self._entered.clear()

    def copied(self, children: Mapping[Hashable, Node[Q]]) -> Heap[Q]:
        """A copy of what is up to date, of the children's copies by key."""
        copy: Heap[Q] = Heap(self._waiting)
        for tag, order, child in self._entries:
            if tag == child.tag and self._waiting(child):
                copy._entries.append((tag, order, children[child.key]))
                copy._entered[children[child.key]] = tag
        heapify(copy._entries)
        copy._order = count(next(self._order))
        return copy


class Level(Node[Q]):
    """A reservation, account, user or job: also a server to its own children.

    Attributes:
        owner: of a job; else None, and its key is one of the share tree's.
        clock: virtual time of the children's level. latest: greatest tag there.
        ready, urgent: children that have tasks, and interactive ones, waiting.
        sweep: number of children at which idle ones are dropped.
    """

    __slots__ = ("children", "clock", "latest", "owner", "ready", "sweep", "urgent")

    def __init__(
        self, key: Any, parent: Level[Q] | None, weight: float, owner: Owner | None = None
    ) -> None:
        super().__init__(key, parent, weight)
        self.owner = owner
        self.clock = self.latest = 0.0
        self.children: dict[Hashable, Node[Q]] = {}
        self.ready: Heap[Q] = Heap(attrgetter("waiting"))
        self.urgent: Heap[Q] = Heap(attrgetter("pressing"))
        self.sweep = IDLE_KEPT

    def next(self, interactive_credit: float) -> Node[Q]:
        """The child whose turn it is; the clock moves on.

        Args:
            interactive_credit: seconds of QPU time by which one with interactive tasks may be
                ahead.
        """
        child = self.ready.first()
        if child.tag > self.clock:
            self.clock = child.tag
        if self.pressing and not child.pressing:
            urgent = self.urgent.first()
            if urgent.tag - interactive_credit / urgent.weight <= child.tag:
                return urgent
        return child
