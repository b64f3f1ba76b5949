"""Whose task is next: a hierarchical weighted fair queue, charged with the QPU time of tasks.

Values and transitions, no I/O and no clock: the QPU agent, the tests and the simulator drive the
same objects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from openqse_agent.qpu.shares import ShareTree

#: After this many interactive tasks in a row a session's oldest batch task goes first.
INTERACTIVE_RUN = 8
#: Idle children that a node of the tree keeps, to save making them anew.
_IDLE_KEPT = 64


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

    Each task that ``pop`` or ``pop_more`` gave is given back by one ``charge``.
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

    def charge(self, task: Q, seconds: float, now: float, more: bool = False) -> None:
        """Says what a taken task took.

        Args:
            seconds: QPU time, 0 or more.
            now: monotonic seconds, for the decay of usage.
            more: it is not finished: it waits again, at the head of its line.
        """
        ...

    def remove(self, task: Q) -> bool:
        """Takes out a waiting task; False if it does not wait."""
        ...

    def waiting(self) -> Iterator[Q]:
        """The tasks that wait, in no order that means anything."""
        ...

    def forecast(self, cost: Callable[[Q], float], slice: float) -> Iterator[tuple[Q, float]]:
        """The tasks that wait, in the order in which they would begin if nothing came in between.

        Works on a copy, made at the first step.

        Args:
            cost: estimated QPU time of what is left of a task, seconds.
            slice: seconds after which a task gives way to others.

        Yields:
            Each task, and the seconds until its next start.
        """
        ...


#: Of a heap: tag, order of entry, node.
_Entry: TypeAlias = "tuple[float, int, _Node[Q]]"


class _Kind(Enum):
    """What a node of the tree stands for."""

    SHARE = auto()  # a reservation, account or user: a key of the share tree
    JOB = auto()
    SESSION = auto()


class _Node(Generic[Q]):
    """An account, user, job or session: a child among others, and a server to its own children.

    Attributes:
        tag: its virtual time: QPU time that it was charged, by weight, and moved on to its level's
            clock where it came back from idleness.
        clock: virtual time of the level below. latest: greatest tag there.
        waiting, pressing, running: tasks below that wait, are interactive and wait, are taken.
        ready, urgent: heaps of its children with waiting, and pressing, tasks by tag. Entries whose
            tag is no more the child's are out of date and dropped when they come up.
        in_ready, in_urgent: tag of its latest entry in the parent's heaps.
        batch, interactive: a session's tasks. run: interactive ones taken since the last batch one.
        sweep: number of children at which idle ones are dropped.
    """

    __slots__ = (
        "batch", "children", "clock", "in_ready", "in_urgent", "interactive", "key", "kind",
        "latest", "parent", "pressing", "ready", "run", "running", "sweep", "tag", "urgent",
        "waiting", "weight",
    )  # fmt: skip

    def __init__(self, kind: _Kind, key: Any, parent: _Node[Q] | None, weight: float) -> None:
        self.kind = kind
        self.key = key
        self.parent = parent
        self.weight = weight
        self.tag = self.clock = self.latest = 0.0
        self.waiting = self.pressing = self.running = self.run = 0
        self.sweep = _IDLE_KEPT
        self.in_ready: float | None = None
        self.in_urgent: float | None = None
        self.ready: list[_Entry[Q]] = []
        self.urgent: list[_Entry[Q]] = []
        self.children: dict[Hashable, _Node[Q]] = {}
        self.batch: deque[Q] = deque()
        self.interactive: deque[Q] = deque()

    def take(self) -> Q:
        """A session's next task."""
        if self.interactive and (self.run < INTERACTIVE_RUN or not self.batch):
            self.run += 1
            return self.interactive.popleft()
        self.run = 0
        return self.batch.popleft()

    def first_ready(self) -> _Node[Q]:
        """The child with waiting tasks whose tag is least."""
        heap = self.ready
        while True:
            tag, _, child = heap[0]
            if child.waiting and tag == child.tag:
                return child
            heappop(heap)
            if child.in_ready == tag:
                child.in_ready = None

    def first_urgent(self) -> _Node[Q]:
        """The child with interactive tasks whose tag is least."""
        heap = self.urgent
        while True:
            tag, _, child = heap[0]
            if child.pressing and tag == child.tag:
                return child
            heappop(heap)
            if child.in_urgent == tag:
                child.in_urgent = None


class FairQueue(Generic[Q]):
    """A hierarchical weighted fair queue over reservation, account, sub-accounts, user, job and
    session.

    At each level it is start-time fair queuing (Goyal, Vin and Cheng, IEEE/ACM Trans. Networking 5
    (1997) 690), which needs no task's cost before it has run, and hierarchies of it (Goyal, Guo and
    Vin, OSDI 1996): the child with the least tag is served, its tag grows by cost / weight, and one
    that comes back from idleness starts at the clock of its level, the least tag there. Two things
    are added. A child with interactive tasks is served before the others while it is no more than
    ``lead`` seconds of QPU time ahead of them (borrowed virtual time: Duda and Cheriton, SOSP
    1999). And one that comes back having used less than its share lately starts up to ``memory``
    seconds of QPU time before the clock, in proportion to what it lacks.

    So, over any time in which two children f and g of one level always have tasks waiting, what
    they were charged satisfies ``|W_f/w_f - W_g/w_g| <= (m + l_f)/w_f + (m + l_g)/w_g``, l being
    the longest slice of each and m = lead + memory (without interactive tasks, lead counts as 0;
    without returns in that time, memory does). No child gains by splitting itself: its parent's tag
    is what counts. Batch tasks wait for no more than ``lead`` seconds of each sibling's.

    A decision takes O(levels · log children).

    Args:
        shares: the tree, its weights, and the decayed usage, which this queue adds to.
        lead: seconds of QPU time by which interactive tasks may bring their owners ahead.
        memory: most seconds of QPU time by which lately unused shares do.
    """

    def __init__(self, shares: ShareTree, *, lead: float = 0.0, memory: float = 0.0) -> None:
        self._shares = shares
        self._lead = lead
        self._memory = memory
        self._root: _Node[Q] = _Node(_Kind.SHARE, (), None, 1.0)
        self._jobs: dict[Hashable, _Node[Q]] = {}
        self._order = count()
        self._now = 0.0

    def __len__(self) -> int:
        return self._root.waiting

    def push(self, task: Q) -> None:
        """Adds a task behind those of its session and latency class."""
        session = self._session(task)
        (session.interactive if task.interactive else session.batch).append(task)
        self._await(session, task.interactive)

    def pop(self) -> Q | None:
        """Takes the task whose turn it is; None if none waits."""
        node = self._root
        if not node.waiting:
            return None
        while node.children:
            node = self._next_of(node)
        return self._taken(node, node.take())

    def pop_more(self, task: Q, wanted: Callable[[Q], bool]) -> Q | None:
        """Takes the task behind one that was just taken, if it is ``wanted``."""
        session = self._jobs[task.owner.job].children[task.line]
        line = session.interactive if task.interactive else session.batch
        if not line or not wanted(line[0]):
            return None
        return self._taken(session, line.popleft())

    def charge(self, task: Q, seconds: float, now: float, more: bool = False) -> None:
        """Says what a taken task took, and whether there is more of it to run."""
        self._now = now
        owner = task.owner
        if seconds:
            self._shares.charge(owner.account, owner.user, seconds, now)
        session = self._jobs[owner.job].children[task.line]
        if more:
            (session.interactive if task.interactive else session.batch).appendleft(task)
            self._await(session, task.interactive)
        node, parent = session, session.parent
        while parent is not None:
            node.running -= 1
            node.tag += seconds / node.weight
            if node.tag > parent.latest:
                parent.latest = node.tag
            if node.waiting:
                self._enter(parent, node)
            elif not node.running:
                self._rest(node)
            node, parent = parent, parent.parent
        node.running -= 1
        if not node.waiting and not node.running:
            self._rest(node)

    def remove(self, task: Q) -> bool:
        """Takes out a waiting task; False if it does not wait."""
        job = self._jobs.get(task.owner.job)
        session = None if job is None else job.children.get(task.line)
        if session is None:
            return False
        try:
            (session.interactive if task.interactive else session.batch).remove(task)
        except ValueError:
            return False
        node: _Node[Q] | None = session
        while node is not None:
            node.waiting -= 1
            node.pressing -= task.interactive
            if not node.waiting and not node.running:
                self._rest(node)
            node = node.parent
        return True

    def waiting(self) -> Iterator[Q]:
        """The tasks that wait, in no order that means anything."""
        for job in self._jobs.values():
            for session in job.children.values():
                yield from session.interactive
                yield from session.batch

    def forecast(self, cost: Callable[[Q], float], slice: float) -> Iterator[tuple[Q, float]]:
        """The tasks that wait, each once, with the seconds until its next start."""
        copy = FairQueue[Q](self._shares.frozen(), lead=self._lead, memory=self._memory)
        copy._root = copy._copied(self._root, None)
        copy._order = count(next(self._order))
        left: dict[int, float] = {}
        elapsed = 0.0
        while (task := copy.pop()) is not None:
            rest = left.get(id(task))
            if rest is None:
                yield task, elapsed
                rest = cost(task)
            part = min(rest, slice)
            left[id(task)] = rest - part
            elapsed += part
            copy.charge(task, part, self._now, more=rest > part)

    def renew_weights(self) -> None:
        """Takes over the weights of a share tree that has changed; what was charged stays.

        Accounts that have a new parent move when they are idle.
        """
        stack = [self._root]
        while stack:
            for child in stack.pop().children.values():
                if child.kind is _Kind.SHARE:
                    child.weight = self._shares.weight(child.key)
                    stack.append(child)

    # --- the tree --------------------------------------------------------------------------------

    def _session(self, task: Q) -> _Node[Q]:
        owner = task.owner
        job = self._jobs.get(owner.job)
        if job is None:
            node = self._root
            for key in self._shares.path(owner.reservation, owner.account, owner.user):
                child = node.children.get(key)
                if child is None:
                    child = _Node(_Kind.SHARE, key, node, self._shares.weight(key))
                    node.children[key] = child
                node = child
            job = _Node(_Kind.JOB, owner.job, node, float(owner.slots))
            self._jobs[owner.job] = node.children[owner.job] = job
        session = job.children.get(task.line)
        if session is None:
            session = job.children[task.line] = _Node(_Kind.SESSION, task.line, job, 1.0)
        return session

    def _await(self, session: _Node[Q], interactive: bool) -> None:
        """Counts a task that waits in a session, on its whole way to the root."""
        node, parent = session, session.parent
        while parent is not None:
            if not node.waiting and not node.running:
                node.tag = max(node.tag, parent.clock - self._head_start(node))
            node.waiting += 1
            node.pressing += interactive
            self._enter(parent, node)
            node, parent = parent, parent.parent
        node.waiting += 1
        node.pressing += interactive

    def _head_start(self, node: _Node[Q]) -> float:
        """How much virtual time before the clock a node starts that comes back from idleness."""
        if not self._memory or node.kind is not _Kind.SHARE:
            return 0.0
        return self._memory * self._shares.lack(node.key, self._now) / node.weight

    def _enter(self, parent: _Node[Q], node: _Node[Q]) -> None:
        """Sees to it that a child with waiting tasks is in its parent's heaps with its tag."""
        tag = node.tag
        if node.in_ready != tag:
            node.in_ready = tag
            _put(parent.ready, (tag, next(self._order), node))
        if node.pressing and node.in_urgent != tag:
            node.in_urgent = tag
            _put(parent.urgent, (tag, next(self._order), node))

    def _next_of(self, node: _Node[Q]) -> _Node[Q]:
        """The child whose turn it is."""
        child = node.first_ready()
        if child.tag > node.clock:
            node.clock = child.tag
        if node.pressing and not child.pressing:
            urgent = node.first_urgent()
            if urgent.tag - self._lead / urgent.weight <= child.tag:
                return urgent
        return child

    @staticmethod
    def _taken(session: _Node[Q], task: Q) -> Q:
        node: _Node[Q] | None = session
        while node is not None:
            node.waiting -= 1
            node.pressing -= task.interactive
            node.running += 1
            node = node.parent
        return task

    def _rest(self, node: _Node[Q]) -> None:
        """Ends a node's busy period: what its children were ahead of each other is over."""
        node.clock = max(node.clock, node.latest)
        if len(node.children) > _IDLE_KEPT:
            self._forget_below(node)
        parent = node.parent
        if parent is not None and len(parent.children) > parent.sweep:
            for child in list(parent.children.values()):
                if not child.waiting and not child.running and child.tag <= parent.clock:
                    self._forget(child)
            parent.sweep = 2 * len(parent.children) + _IDLE_KEPT  # so that it costs O(1) a task

    def _forget(self, node: _Node[Q]) -> None:
        """Drops an idle node, whose tag no longer matters."""
        self._forget_below(node)
        if node.kind is _Kind.JOB:
            del self._jobs[node.key]
        assert node.parent is not None
        del node.parent.children[node.key]

    def _forget_below(self, node: _Node[Q]) -> None:
        for child in list(node.children.values()):
            self._forget(child)
        node.ready.clear()
        node.urgent.clear()

    def _copied(self, node: _Node[Q], parent: _Node[Q] | None) -> _Node[Q]:
        """A copy of a node and of what waits below, in this queue."""
        copy: _Node[Q] = _Node(node.kind, node.key, parent, node.weight)
        copy.tag, copy.clock, copy.latest, copy.run = node.tag, node.clock, node.latest, node.run
        copy.waiting, copy.pressing = node.waiting, node.pressing
        copy.batch, copy.interactive = node.batch.copy(), node.interactive.copy()
        for key, child in node.children.items():
            if child.waiting:
                below = copy.children[key] = self._copied(child, copy)
                below.in_ready, below.in_urgent = child.in_ready, child.in_urgent
        # Entries keep their numbers: equal tags are served in the order in which they came.
        for heap, original in ((copy.ready, node.ready), (copy.urgent, node.urgent)):
            heap += [
                (tag, order, copy.children[child.key])
                for tag, order, child in original
                if child.waiting and tag == child.tag
            ]
            heapify(heap)
        if node.kind is _Kind.JOB:
            self._jobs[node.key] = copy
        return copy


def _put(heap: list[_Entry[Q]], entry: _Entry[Q]) -> None:
    """Adds an entry, in the place of one of the same node at the top."""
    if heap and heap[0][2] is entry[2]:
        heapreplace(heap, entry)
    else:
        heappush(heap, entry)


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

    def charge(self, task: Q, seconds: float, now: float, more: bool = False) -> None:
        if more:
            self._tasks.appendleft(task)

    def remove(self, task: Q) -> bool:
        try:
            self._tasks.remove(task)
        except ValueError:
            return False
        return True

    def waiting(self) -> Iterator[Q]:
        return iter(self._tasks)

    def forecast(self, cost: Callable[[Q], float], slice: float) -> Iterator[tuple[Q, float]]:
        elapsed = 0.0
        for task in list(self._tasks):
            yield task, elapsed
            elapsed += cost(task)
