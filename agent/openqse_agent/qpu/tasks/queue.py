"""Whose task is next: a hierarchical weighted fair queue, charged with the QPU time of tasks.

Values and transitions, no I/O and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic

from openqse_agent.qpu.tasks.policies import FORECAST_STEPS, Owner, Q
from openqse_agent.qpu.tasks.shares import ShareTree
from openqse_agent.qpu.tasks.tree import IDLE_KEPT, Level, Node, Session


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
        self._root: Level[Q] = Level((), None, 1.0)
        self._jobs: dict[Hashable, Level[Q]] = {}
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
        node: Node[Q] = self._root
        if not node.waiting:
            return None
        while isinstance(node, Level):
            node = node.next(self._interactive_credit)
        assert isinstance(node, Session)
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
        if not isinstance(session, Session):
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
        node: Node[Q] = self._session(task)
        while (parent := node.parent) is not None:
            node.tag += seconds / node.weight
            parent.latest = max(parent.latest, node.tag)
            if node.waiting:
                parent.ready.put(node)
                if node.pressing:
                    parent.urgent.put(node)
            node = parent

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
        node: Node[Q] = session
        while (parent := node.parent) is not None:
            node.running -= 1
            node.tag += (seconds - ahead) / node.weight
            if node.tag > parent.latest:
                parent.latest = node.tag
            if node.waiting:
                parent.ready.put(node)
                if node.pressing:
                    parent.urgent.put(node)
            elif not node.running:
                self._rest(node)
            node = parent
        node.running -= 1
        if node.idle:
            self._rest(node)

    def waiting(self) -> Iterator[Q]:
        """The tasks that wait, in no order that means anything."""
        for job in self._jobs.values():
            for session in job.children.values():
                assert isinstance(session, Session)
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
                if isinstance(child, Level) and child.owner is None:
                    child.weight = self._shares.weight(child.key)
                    stack.append(child)
        for job in list(self._jobs.values()):
            self._place(job)

    # --- the tree --------------------------------------------------------------------------------

    def _session(self, task: Q) -> Session[Q]:
        """A task's session, made if it is not there."""
        owner = task.owner
        job = self._jobs.get(owner.job)
        if job is None:
            node = self._place_of(owner)
            job = Level(owner.job, node, float(owner.slots), owner)
            self._jobs[owner.job] = node.children[owner.job] = job
        elif job.owner is None or job.owner.reservation != owner.reservation:  # known only now
            job.owner = owner
            self._place(job)
        session = job.children.get(task.line)
        if not isinstance(session, Session):
            session = job.children[task.line] = Session(task.line, job, 1.0)
        return session

    def _place_of(self, owner: Owner) -> Level[Q]:
        """The node of a user, in its reservation and account, below which a job belongs."""
        node = self._root
        for key in self._shares.path(owner.reservation, owner.account, owner.user):
            child = node.children.get(key)
            if not isinstance(child, Level):
                child = node.children[key] = Level(key, node, self._shares.weight(key))
            node = child
        return node

    def _place(self, job: Level[Q]) -> None:
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
        left: Node[Q] | None = old
        while left is not None:
            left.count(-waiting, -pressing, -running)
            if left.idle:
                self._rest(left)
            left = left.parent

    def _arrive(self, node: Node[Q], waiting: int, pressing: int, running: int = 0) -> None:
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

    def _head_start(self, node: Node[Q]) -> float:
        """How much virtual time before the clock a node starts that comes back from idleness."""
        if not self._idle_credit or not isinstance(node, Level) or node.owner is not None:
            return 0.0
        return self._idle_credit * self._shares.lack(node.key, self._now) / node.weight

    @staticmethod
    def _taken(session: Session[Q], task: Q) -> Q:
        """Counts a task that was taken from a session, on its whole way to the root."""
        node: Node[Q] | None = session
        while node is not None:
            node.waiting -= 1
            node.pressing -= task.interactive
            node.running += 1
            node = node.parent
        return task

    def _rest(self, node: Node[Q]) -> None:
        """Ends a node's busy period: what its children were ahead of each other is over."""
        if isinstance(node, Level):
            node.clock = max(node.clock, node.latest)
            if len(node.children) > IDLE_KEPT:
                self._forget_below(node)
        parent = node.parent
        if parent is not None and len(parent.children) > parent.sweep:
            for child in list(parent.children.values()):
                if child.idle and child.tag <= parent.clock:
                    self._forget(child)
            parent.sweep = 2 * len(parent.children) + IDLE_KEPT  # so that it costs O(1) a task

    def _forget(self, node: Node[Q]) -> None:
        """Drops an idle node, whose tag no longer matters."""
        if isinstance(node, Level):
            self._forget_below(node)
            if node.owner is not None:
                del self._jobs[node.key]
        assert node.parent is not None
        del node.parent.children[node.key]

    def _forget_below(self, node: Level[Q]) -> None:
        for child in list(node.children.values()):
            self._forget(child)
        node.ready.clear()
        node.urgent.clear()

    def _copied(self, node: Level[Q], parent: Level[Q] | None) -> Level[Q]:
        """A copy of a level and of what is below, in this queue: what idles keeps its tag, too."""
        copy: Level[Q] = Level(node.key, parent, node.weight, node.owner)
        copy.resemble(node)
        copy.clock, copy.latest = node.clock, node.latest
        for key, child in node.children.items():
            if isinstance(child, Level):
                copy.children[key] = self._copied(child, copy)
            elif isinstance(child, Session):
                copy.children[key] = child.copied(copy)
        copy.ready = node.ready.copied(copy.children)
        copy.urgent = node.urgent.copied(copy.children)
        if node.owner is not None:
            self._jobs[node.key] = copy
        return copy
