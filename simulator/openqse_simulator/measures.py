"""How good a policy was: shares, waits, utilisation."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqse_simulator.policies import Task
from openqse_simulator.traces import Job, Trace

#: Points of time at which service is noted for plots.
_POINTS = 400
#: Seconds of a window in which accounts contend.
_WINDOW = 10.0
#: Accounts entitled to less than this part of what there was are left out: they contended too
#: rarely for an average.
_NEGLIGIBLE = 1e-2
#: Seconds that a job counts at least, so that the shortest do not rule the mean slowdown (D.
#: Feitelson, Metrics for parallel job scheduling, JSSPP 2001).
_SHORT_JOB = 10.0


@dataclass(frozen=True, eq=False)
class Report:
    """What a simulation found. Times are seconds.

    Attributes:
        share_error: largest difference between what an account got and what it was entitled to (see
            ``Contention``), in parts of the latter; None where no accounts contended.
        jain: Jain's index of what accounts got over what they were entitled to: 1 if all got the
            same part of it, 1/n if one of n got all (R. Jain, D. Chiu and W. Hawe, A quantitative
            measure of fairness, DEC-TR-301, 1984).
        interactive_wait_slices, batch_wait_slices: slices of others that ran between a task's
            arrival and its first, p50 and p99 in turn; None without such tasks.
        qpu_utilisation, node_utilisation: parts of the makespan that QPUs ran tasks, and that nodes
            were allocated.
        makespan: from the first submission to the last end.
        mean_slowdown: of jobs: time from submission to end over the time that a job would take
            alone.
        qpu_seconds: QPU time of all tasks.
        times: float64 ``(p,)``; service: float64 ``(p, accounts)``, QPU time by then, for plots.
        waits: uint32 ``(n,)``, of all interactive tasks, in slices.
    """

    policy: str
    tasks: int
    jobs: int
    share_error: float | None
    jain: float | None
    interactive_wait_slices_p50: float | None
    interactive_wait_slices_p99: float | None
    batch_wait_slices_p50: float | None
    batch_wait_slices_p99: float | None
    qpu_utilisation: float
    node_utilisation: float
    makespan: float
    mean_slowdown: float
    qpu_seconds: float
    accounts: dict[str, int] = field(repr=False)
    times: NDArray[np.float64] = field(repr=False)
    service: NDArray[np.float64] = field(repr=False)
    waits: NDArray[np.uint32] = field(repr=False)

    def figures(self) -> dict[str, Any]:
        """What is reported: everything but the series."""
        found = dict(vars(self))
        for name in ("accounts", "times", "service", "waits"):
            del found[name]
        return found


class Contention:
    """What accounts got, and were entitled to, while they contended for one QPU.

    Time is cut into windows. Accounts contend in a window if they had tasks all through it; what
    the QPU gave them together they are entitled to by weight. Who had no tasks now and then might
    have got more by asking for more, so that its part is no matter of fairness.
    """

    def __init__(self, weights: dict[str, int]) -> None:
        self.got = dict.fromkeys(weights, 0.0)
        self.entitled = dict.fromkeys(weights, 0.0)
        self._weights = weights
        self._tasks: dict[str, int] = {}  # of the accounts that have any
        self._since: dict[str, float] = {}
        self._service = dict.fromkeys(weights, 0.0)
        self._begin = 0.0

    def came(self, account: str, now: float) -> None:
        """A task of an account has come."""
        if account in self._tasks:
            self._tasks[account] += 1
        else:
            self._tasks[account], self._since[account] = 1, now

    def served(self, account: str, seconds: float, now: float) -> None:
        """A slice of an account has run."""
        self._service[account] += seconds
        if now >= self._begin + _WINDOW:
            self._close(now)

    def went(self, account: str) -> None:
        """A task of an account has ended."""
        self._tasks[account] -= 1
        if not self._tasks[account]:
            del self._tasks[account], self._since[account]

    def _close(self, now: float) -> None:
        contend = [name for name, since in self._since.items() if since <= self._begin]
        if len(contend) > 1:
            given = sum(self._service[name] for name in contend)
            weight = sum(self._weights[name] for name in contend)
            for name in contend:
                self.got[name] += self._service[name]
                self.entitled[name] += given * self._weights[name] / weight
        self._service = dict.fromkeys(self._weights, 0.0)
        self._begin = now


def jain(parts: NDArray[np.float64]) -> float:
    """Jain's index of these numbers, not all of them 0."""
    return float(parts.sum() ** 2 / (len(parts) * (parts**2).sum()))


class Measures:
    """Collects measurements while a simulation runs.

    Attributes:
        tasks: that have ended.
    """

    def __init__(self, trace: Trace, policy: str) -> None:
        self.tasks = 0
        self._trace = trace
        self._policy = policy
        self._contentions: list[Contention] = []
        self._service = dict.fromkeys(trace.shares, 0.0)
        self._waits = {True: array("I"), False: array("I")}
        self._slowdowns = array("d")
        self._node_seconds = 0.0
        total = sum(float(each.seconds.sum()) for job in trace.jobs for each in job.sessions)
        self._step = max(total / _POINTS, 1e-9)
        self._noted = self._all = 0.0
        self._series: list[list[float]] = [[0.0, *self._service.values()]]

    def contention(self) -> Contention:
        """The account of another QPU."""
        made = Contention(self._trace.shares)
        self._contentions.append(made)
        return made

    def began(self, task: Task, waited: int) -> None:
        """A task's first slice begins, after so many of others."""
        self._waits[task.interactive].append(waited)

    def served(self, account: str, seconds: float, now: float) -> None:
        """A slice has run."""
        self._service[account] += seconds
        self._all += seconds
        if self._all - self._noted >= self._step:
            self._noted = self._all
            self._series.append([now, *self._service.values()])

    def ended(self, job: Job, began: float, now: float) -> None:
        """A job has ended."""
        self._node_seconds += job.nodes * (now - began)
        self._slowdowns.append((now - job.submitted) / max(job.alone, _SHORT_JOB))

    def report(self, now: float) -> Report:
        """The report of the whole simulation."""
        site = self._trace.site
        first = min((job.submitted for job in self._trace.jobs), default=0.0)
        makespan = now - first
        series = np.array([*self._series, [now, *self._service.values()]])
        entitled, got = (
            np.sum([list(each.values()) for each in columns], axis=0)
            for columns in (
                [each.entitled for each in self._contentions],
                [each.got for each in self._contentions],
            )
        )
        counted = entitled > _NEGLIGIBLE * entitled.sum()
        part = got[counted] / entitled[counted]
        quick, slow = (
            np.percentile(waits, [50, 99], method="higher").tolist() if waits else (None, None)
            for waits in (self._waits[True], self._waits[False])
        )
        return Report(
            policy=self._policy,
            tasks=self.tasks,
            jobs=len(self._slowdowns),
            share_error=float(np.abs(part - 1).max()) if len(part) else None,
            jain=jain(part) if len(part) else None,
            interactive_wait_slices_p50=quick[0],
            interactive_wait_slices_p99=quick[1],
            batch_wait_slices_p50=slow[0],
            batch_wait_slices_p99=slow[1],
            qpu_utilisation=self._all / (site.qpus * makespan) if makespan else 0.0,
            node_utilisation=self._node_seconds / (site.nodes * makespan) if makespan else 0.0,
            makespan=makespan,
            mean_slowdown=float(np.mean(self._slowdowns)) if self._slowdowns else 0.0,
            qpu_seconds=self._all,
            accounts=dict(self._trace.shares),
            times=series[:, 0],
            service=series[:, 1:],
            waits=np.array(self._waits[True], dtype=np.uint32),
        )
