"""The site itself: jobs come, start, think and send tasks; QPUs run them in slices."""

from __future__ import annotations

from collections.abc import Callable, Generator
from itertools import count
from typing import Any

import simpy

from openqse_agent.qpu.tasks.policies import Owner
from openqse_simulator.allocation import Allocator
from openqse_simulator.measures import Measures, Report
from openqse_simulator.policies import POLICIES, Part, Settings, Task
from openqse_simulator.traces import Job, Session, Trace

_Process = Generator[simpy.Event, Any, None]
#: Tasks that end between two calls of ``progress``.
_PROGRESS = 10_000


def simulate(
    trace: Trace,
    policy: str,
    settings: Settings | None = None,
    progress: Callable[[int], object] | None = None,
) -> Report:
    """Runs a trace to its end. Nothing in it is random: equal traces give equal reports.

    Args:
        policy: a key of ``POLICIES``.
        progress: called with the number of tasks that have ended, now and then.
    """
    return _Site(trace, policy, settings or Settings(), progress).run()


class _Site:
    """A site in the course of its trace."""

    def __init__(
        self,
        trace: Trace,
        policy: str,
        settings: Settings,
        progress: Callable[[int], object] | None,
    ) -> None:
        self.env = simpy.Environment()
        self.measures = Measures(trace, policy)
        self._trace = trace
        self._allocator = Allocator(trace.site)
        self._qpus = [
            _QPU(self.env, POLICIES[policy](trace.shares, settings), settings, self.measures)
            for _ in range(trace.site.qpus)
        ]
        self._numbers = count()
        self._progress = progress

    def run(self) -> Report:
        self.env.process(self._submit())
        self.env.run()
        return self.measures.report(self.env.now)

    def _submit(self) -> _Process:
        for job in self._trace.jobs:
            if job.submitted > self.env.now:
                yield self.env.timeout(job.submitted - self.env.now)
            self._start(self._allocator.submit(job, self.env.now))

    def _start(self, started: list[tuple[Job, int]]) -> None:
        for job, qpu in started:
            self.env.process(self._run(job, self._qpus[qpu]))

    def _run(self, job: Job, qpu: _QPU) -> _Process:
        """A job from its start to its end."""
        began = self.env.now
        owner = Owner(job.account, job.user, next(self._numbers), job.slots)
        sessions = [
            self.env.process(self._timed(owner, line, session, qpu, began))
            if session.timed
            else self.env.process(self._windowed(owner, line, session, qpu))
            for line, session in enumerate(job.sessions)
        ]
        yield from sessions
        self.measures.ended(job, began, self.env.now)
        self._start(self._allocator.end(job, self.env.now))

    def _windowed(self, owner: Owner, line: int, session: Session, qpu: _QPU) -> _Process:
        """A session that sends its next task some time after a result."""
        tasks = zip(
            session.seconds.tolist(), session.think.tolist(), session.interactive.tolist(),
            strict=True,
        )  # fmt: skip

        def one_by_one() -> _Process:
            for seconds, think, interactive in tasks:
                if think:
                    yield self.env.timeout(think)
                yield self._send(qpu, owner, line, interactive, seconds)

        others = [self.env.process(one_by_one()) for _ in range(session.window - 1)]
        yield from one_by_one()
        yield from others

    def _timed(
        self, owner: Owner, line: int, session: Session, qpu: _QPU, began: float
    ) -> _Process:
        """A session that sends its tasks at their times."""
        ends = []
        for seconds, at, interactive in zip(
            session.seconds.tolist(), session.think.tolist(), session.interactive.tolist(),
            strict=True,
        ):  # fmt: skip
            if began + at > self.env.now:
                yield self.env.timeout(began + at - self.env.now)
            ends.append(self._send(qpu, owner, line, interactive, seconds))
        yield from ends

    def _send(
        self, qpu: _QPU, owner: Owner, line: int, interactive: bool, seconds: float
    ) -> simpy.Event:
        """Sends a task; the event of its end."""
        done = self.env.event()

        def finished() -> None:
            done.succeed()
            if self._progress and self.measures.tasks % _PROGRESS == 0:
                self._progress(self.measures.tasks)

        qpu.push(Task(owner, line, interactive, seconds, finished))
        return done


class _QPU:
    """A QPU that runs tasks in the order that its policy says."""

    def __init__(
        self,
        env: simpy.Environment,
        parts: dict[str, Part],
        settings: Settings,
        measures: Measures,
    ) -> None:
        self._env = env
        self._parts = parts
        self._slice = settings.slice
        self._contention = measures.contention()
        self._measures = measures
        for part in set(parts.values()):
            env.process(self._serve(part))

    def push(self, task: Task) -> None:
        part = self._parts[task.owner.account]
        task.arrived = part.turns
        part.queue.push(task)
        self._contention.came(task.owner.account, self._env.now)
        if part.idle is not None:
            part.idle()
            part.idle = None

    def _serve(self, part: Part) -> _Process:
        """Runs the tasks of a part, a slice at a time."""
        while True:
            task = part.queue.pop()
            if task is None:
                wanted = self._env.event()
                part.idle = wanted.succeed
                yield wanted
                continue
            if not task.begun:
                task.begun = True
                self._measures.began(task, part.turns - task.arrived)
            seconds = min(task.left, self._slice)
            yield self._env.timeout(seconds / part.speed)
            now = self._env.now
            part.turns += 1
            task.left -= seconds
            more = task.left > 0
            part.queue.charge(task, seconds, now, more)
            self._contention.served(task.owner.account, seconds, now)
            self._measures.served(task.owner.account, seconds, now)
            if not more:
                self._contention.went(task.owner.account)
                self._measures.tasks += 1
                task.done()
