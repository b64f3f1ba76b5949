"""Whose task is next: a hierarchical weighted fair queue, charged with the QPU time of tasks.

Values and transitions, no I/O and no clock: the QPU agent, the tests and the simulator drive the
same objects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar

from openqse_agent.qpu.tasks.shares import ShareTree

#: After this many interactive tasks in a row a session's oldest batch task goes first.
INTERACTIVE_RUN = 8
#: Decisions that a forecast looks ahead: a second or two of work.
FORECAST_STEPS = 100_000
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


class _Node(Generic[Q]):
    """A child among others on its level of the tree.

    Attributes:
        tag: its virtual time: QPU time that it was charged, by weight, and moved on to its level's
            clock where it came back from idleness.
        waiting, pressing, running: tasks below that wait, are interactive and wait, are taken.
    """

    __slots__ = ("key", "parent", "pressing", "running", "tag", "waiting", "weight")

    def __init__(self, key: Any, parent: _Level[Q] | None, weight: float) -> None:
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

    def resemble(self, other: _Node[Q]) -> None:
        """Takes over another's tag and waiting tasks' numbers."""
        self.tag, self.waiting, self.pressing = other.tag, other.waiting, other.pressing


class _Session(_Node[Q]):
    """A session, with its tasks in order.

    Attributes:
        run: interactive ones taken since the last batch one.
    """

    __slots__ = ("batch", "interactive", "run")

    def __init__(self, key: Any, parent: _Level[Q], weight: float) -> None:
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

    def copied(self, parent: _Level[Q]) -> _Session[Q]:
        """A copy of it and its waiting tasks below another parent."""
        copy: _Session[Q] = _Session(self.key, parent, self.weight)
        copy.resemble(self)
        copy.run = self.run
        copy.batch, copy.interactive = self.batch.copy(), self.interactive.copy()
        return copy


class _Heap(Generic[Q]):
    """Children by their tags, as far as they have tasks of one sort waiting.

    Entries whose tag is no more the child's, or whose child has none waiting, are out of date, and
    dropped when they come up. Of equal tags the one that came first does.

    Args:
        waiting: how many tasks of that sort a child has.
    """

    __slots__ = ("_entered", "_entries", "_order", "_waiting")

    def __init__(self, waiting: Callable[[_Node[Q]], int]) -> None:
        self._waiting = waiting
        self._entries: list[tuple[float, int, _Node[Q]]] = []
        self._entered: dict[_Node[Q], float] = {}  # tag of a child's latest entry
        self._order = count()

    def put(self, child: _Node[Q]) -> None:
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

    def first(self) -> _Node[Q]:
        """The child whose tag is least; there must be one."""
        entries = self._entries
        while True:
            tag, _, child = entries[0]
            if tag == child.tag and self._waiting(child):
                return child
            heappop(entries)
            if self._entered.get(child) == tag:
                del self._entered[child]

    def drop(self, child: _Node[Q]) -> None:
        """Forgets a child that goes elsewhere."""
        self._entries = [entry for entry in self._entries if entry[2] is not child]
        heapify(self._entries)
        self._entered.pop(child, None)

    def clear(self) -> None:
        self._entries.clear()
        self._entered.clear()

    def copied(self, children: Mapping[Hashable, _Node[Q]]) -> _Heap[Q]:
        """A copy of what is up to date, of the children's copies by key."""
        copy: _Heap[Q] = _Heap(self._waiting)
        for tag, order, child in self._entries:
            if tag == child.tag and self._waiting(child):
                copy._entries.append((tag, order, children[child.key]))
                copy._entered[children[child.key]] = tag
        heapify(copy._entries)
        copy._order = count(next(self._order))
        return copy


class _Level(_Node[Q]):
    """A reservation, account, user or job: also a server to its own children.

    Attributes:
        owner: of a job; else None, and its key is one of the share tree's.
        clock: virtual time of the children's level. latest: greatest tag there.
        ready, urgent: children that have tasks, and interactive ones, waiting.
        sweep: number of children at which idle ones are dropped.
    """

    __slots__ = ("children", "clock", "latest", "owner", "ready", "sweep", "urgent")

    def __init__(
        self, key: Any, parent: _Level[Q] | None, weight: float, owner: Owner | None = None
    ) -> None:
        super().__init__(key, parent, weight)
        self.owner = owner
        self.clock = self.latest = 0.0
        self.children: dict[Hashable, _Node[Q]] = {}
        self.ready: _Heap[Q] = _Heap(attrgetter("waiting"))
        self.urgent: _Heap[Q] = _Heap(attrgetter("pressing"))
        self.sweep = _IDLE_KEPT

    def next(self, interactive_credit: float) -> _Node[Q]:
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


class FairQueue(Generic[Q]):
    """A hierarchical weighted fair queue over reservation, account, sub-accounts, user, job and
    session.

    At each level it is start-time fair queuing (Goyal, Vin and Cheng, IEEE/ACM Trans. Networking 5
    (1997) 690), which needs no task's cost before it has run, and hierarchies of it (Goyal, Guo and
    Vin, OSDI 1996): the child with the least tag is served, its tag grows by cost / weight, and one
    that comes back from idleness starts at the clock of its level, the least tag there. Two things
    are added. A child with interactive tasks is served before the others while it is no more than
    ``interactive_credit`` seconds of QPU time ahead of them (borrowed virtual time: Duda and
    Cheriton, SOSP 1999). And one that comes back having used less than its share lately starts up
    to ``idle_credit`` seconds of QPU time before the clock, in proportion to what it lacks.

    So, over any time in which two children f and g of one level always have tasks waiting, what
    they were charged satisfies ``|W_f/w_f - W_g/w_g| <= (m + l_f)/w_f + (m + l_g)/w_g``, l being
    the longest slice of each and m = interactive_credit + idle_credit (without interactive tasks,
    the first counts as 0; without returns in that time, the second does). No child gains by
    splitting itself: its parent's tag is what counts. Batch tasks wait for no more than
    ``interactive_credit`` seconds of each sibling's.

    A decision takes O(levels · log children).

    Args:
        shares: the tree, its weights, and the decayed usage, which this queue adds to.
        interactive_credit: seconds of QPU time by which interactive tasks may bring their owners
            ahead.
        idle_credit: most seconds of QPU time by which lately unused shares do.
    """

    def __init__(
        self, shares: ShareTree, *, interactive_credit: float = 0.0, idle_credit: float = 0.0
    ) -> None:
        self._shares = shares
        self._interactive_credit = interactive_credit
        self._idle_credit = idle_credit
        self._root: _Level[Q] = _Level((), None, 1.0)
        self._jobs: dict[Hashable, _Level[Q]] = {}
        self._now = 0.0

    def __len__(self) -> int:
        return self._root.waiting

    def push(self, task: Q) -> None:
        """Adds a task behind those of its session and latency class."""
        session = self._session(task)
        session.line(task).append(task)
        self._arrive(session, 1, task.interactive)

    def pop(self) -> Q | None:
        """Takes the task whose turn it is; None if none waits."""
        node: _Node[Q] = self._root
        if not node.waiting:
            return None
        while isinstance(node, _Level):
            node = node.next(self._interactive_credit)
        assert isinstance(node, _Session)
        return self._taken(node, node.take())

    def pop_more(self, task: Q, wanted: Callable[[Q], bool]) -> Q | None:
        """Takes the task behind one that was just taken, if it is ``wanted``."""
        session = self._session(task)
        line = session.line(task)
        if not line or not wanted(line[0]):
            return None
        return self._taken(session, line.popleft())

    def take(self, task: Q) -> bool:
        """Takes a task though it is not its turn; False if it does not wait."""
        job = self._jobs.get(task.owner.job)
        session = None if job is None else job.children.get(task.line)
        if not isinstance(session, _Session):
            return False
        try:
            session.line(task).remove(task)
        except ValueError:
            return False
        self._taken(session, task)
        return True

    def remove(self, task: Q) -> bool:
        """Takes out a waiting task; False if it does not wait."""
        taken = self.take(task)
        if taken:
            self.charge(task, 0.0, self._now)
        return taken

    def advance(self, task: Q, seconds: float) -> None:
        """Counts what a taken task is expected to take, as in SFQ(D): start-time fair queuing in
        front of a server that has several requests at once (Jin, Chase and Kaur, SIGMETRICS
        2004)."""
        node: _Node[Q] = self._session(task)
        while (parent := node.parent) is not None:
            self._move(node, parent, seconds)
            node = parent

    @staticmethod
    def _move(node: _Node[Q], parent: _Level[Q], seconds: float) -> None:
        """Moves a node's tag on, and its place among those that wait."""
        node.tag += seconds / node.weight
        if node.tag > parent.latest:
            parent.latest = node.tag
        if node.waiting:
            parent.ready.put(node)
            if node.pressing:
                parent.urgent.put(node)

    def charge(
        self, task: Q, seconds: float, now: float, more: bool = False, ahead: float = 0.0
    ) -> None:
        """Says what a taken task took, and whether there is more of it to run."""
        self._now = now
        if seconds:
            self._shares.charge(task.owner.account, task.owner.user, seconds, now)
        session = self._session(task)
        if more:
            session.line(task).appendleft(task)
            self._arrive(session, 1, task.interactive)
        node: _Node[Q] = session
        while (parent := node.parent) is not None:
            node.running -= 1
            self._move(node, parent, seconds - ahead)
            if node.idle:
                self._rest(node)
            node = parent
        node.running -= 1
        if node.idle:
            self._rest(node)

    def waiting(self) -> Iterator[Q]:
        """The tasks that wait, in no order that means anything."""
        for job in self._jobs.values():
            for session in job.children.values():
                assert isinstance(session, _Session)
                yield from session.interactive
                yield from session.batch

    def forecast(
        self, cost: Callable[[Q], float], slice: float, coming: Q | None = None
    ) -> Iterator[tuple[Q, float]]:
        """The tasks that wait, each once, with the seconds until its next start."""
        copy = FairQueue[Q](
            self._shares.frozen(),
            interactive_credit=self._interactive_credit,
            idle_credit=self._idle_credit,
        )
        copy._root = copy._copied(self._root, None)
        copy._now = self._now
        if coming is not None:
            copy.push(coming)
        left: dict[int, float] = {}
        elapsed = 0.0
        for _ in range(FORECAST_STEPS):
            task = copy.pop()
            if task is None:
                return
            rest = left.get(id(task))
            if rest is None:
                yield task, elapsed
                rest = cost(task)
            part = min(rest, slice)
            left[id(task)] = rest - part
            elapsed += part
            copy.charge(task, part, self._now, more=rest > part)

    def renew_weights(self) -> None:
        """Takes over a share tree that has changed: its weights, and where jobs have their place in
        it. What was charged stays."""
        stack = [self._root]
        while stack:
            for child in stack.pop().children.values():
                if isinstance(child, _Level) and child.owner is None:
                    child.weight = self._shares.weight(child.key)
                    stack.append(child)
        for job in list(self._jobs.values()):
            self._place(job)

    # --- the tree --------------------------------------------------------------------------------

    def _session(self, task: Q) -> _Session[Q]:
        """A task's session, made if it is not there."""
        owner = task.owner
        job = self._jobs.get(owner.job)
        if job is None:
            node = self._place_of(owner)
            job = _Level(owner.job, node, float(owner.slots), owner)
            self._jobs[owner.job] = node.children[owner.job] = job
        elif job.owner is None or job.owner.reservation != owner.reservation:  # known only now
            job.owner = owner
            self._place(job)
        session = job.children.get(task.line)
        if not isinstance(session, _Session):
            session = job.children[task.line] = _Session(task.line, job, 1.0)
        return session

    def _place_of(self, owner: Owner) -> _Level[Q]:
        """The node of a user, in its reservation and account, below which a job belongs."""
        node = self._root
        for key in self._shares.path(owner.reservation, owner.account, owner.user):
            child = node.children.get(key)
            if not isinstance(child, _Level):
                child = node.children[key] = _Level(key, node, self._shares.weight(key))
            node = child
        return node

    def _place(self, job: _Level[Q]) -> None:
        """Moves a job to where it belongs, with all that waits and is taken below it. There it
        starts at the clock, as if it came back from idleness."""
        assert job.owner is not None
        old, new = job.parent, self._place_of(job.owner)
        if old is None or old is new:
            return
        waiting, pressing, running = job.waiting, job.pressing, job.running
        job.count(-waiting, -pressing, -running)  # as if it arrived with them
        del old.children[job.key]
        old.ready.drop(job)
        old.urgent.drop(job)
        job.parent, job.tag = new, new.clock
        new.children[job.key] = job
        self._arrive(job, waiting, pressing, running)
        left: _Node[Q] | None = old
        while left is not None:
            left.count(-waiting, -pressing, -running)
            if left.idle:
                self._rest(left)
            left = left.parent

    def _arrive(self, node: _Node[Q], waiting: int, pressing: int, running: int = 0) -> None:
        """Counts tasks that have come to wait below a node, or are taken, on its whole way to the
        root."""
        while (parent := node.parent) is not None:
            if waiting and not node.waiting:
                if not node.running:
                    node.tag = max(node.tag, parent.clock - self._head_start(node))
                parent.ready.put(node)
            if pressing and not node.pressing:
                parent.urgent.put(node)
            node.count(waiting, pressing, running)
            node = parent
        node.count(waiting, pressing, running)

    def _head_start(self, node: _Node[Q]) -> float:
        """How much virtual time before the clock a node starts that comes back from idleness."""
        if not self._idle_credit or not isinstance(node, _Level) or node.owner is not None:
            return 0.0
        return self._idle_credit * self._shares.lack(node.key, self._now) / node.weight

    @staticmethod
    def _taken(session: _Session[Q], task: Q) -> Q:
        """Counts a task that was taken from a session, on its whole way to the root."""
        node: _Node[Q] | None = session
        while node is not None:
            node.waiting -= 1
            node.pressing -= task.interactive
            node.running += 1
            node = node.parent
        return task

    def _rest(self, node: _Node[Q]) -> None:
        """Ends a node's busy period: what its children were ahead of each other is over."""
        if isinstance(node, _Level):
            node.clock = max(node.clock, node.latest)
            if len(node.children) > _IDLE_KEPT:
                self._forget_below(node)
        parent = node.parent
        if parent is not None and len(parent.children) > parent.sweep:
            for child in list(parent.children.values()):
                if child.idle and child.tag <= parent.clock:
                    self._forget(child)
            parent.sweep = 2 * len(parent.children) + _IDLE_KEPT  # so that it costs O(1) a task

    def _forget(self, node: _Node[Q]) -> None:
        """Drops an idle node, whose tag no longer matters."""
        if isinstance(node, _Level):
            self._forget_below(node)
            if node.owner is not None:
                del self._jobs[node.key]
        assert node.parent is not None
        del node.parent.children[node.key]

    def _forget_below(self, node: _Level[Q]) -> None:
        for child in list(node.children.values()):
            self._forget(child)
        node.ready.clear()
        node.urgent.clear()

    def _copied(self, node: _Level[Q], parent: _Level[Q] | None) -> _Level[Q]:
        """A copy of a level and of what is below, in this queue: what idles keeps its tag, too."""
        copy: _Level[Q] = _Level(node.key, parent, node.weight, node.owner)
        copy.resemble(node)
        copy.clock, copy.latest = node.clock, node.latest
        for key, child in node.children.items():
            if isinstance(child, _Level):
                copy.children[key] = self._copied(child, copy)
            elif isinstance(child, _Session):
                copy.children[key] = child.copied(copy)
        copy.ready = node.ready.copied(copy.children)
        copy.urgent = node.urgent.copied(copy.children)
        if node.owner is not None:
            self._jobs[node.key] = copy
        return copy


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
