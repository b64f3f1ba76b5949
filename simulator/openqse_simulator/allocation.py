"""Which jobs run: nodes and slots given out in the order of submission, with EASY backfilling.

A job behind the first that waits may start if it takes nothing that the first will need: it ends by
its limit before the first can start, or fits beside it (D. Lifka, The ANL/IBM SP scheduling system,
JSSPP 1995).
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass
from itertools import count, islice

from openqse_simulator.traces import Job, Site

#: Jobs behind the first that are considered for backfilling, as ``bf_max_job_test`` of Slurm.
_DEPTH = 100


@dataclass(slots=True)
class _Free:
    """What is free: nodes, and slots of each QPU."""

    nodes: int
    slots: list[int]

    def fits(self, job: Job, slots: int) -> int | None:
        """The QPU on which a job can run, the one with most free slots; None if there is none."""
        if job.nodes > self.nodes:
            return None
        qpu = job.qpu
        if qpu is None:
            qpu = self.slots.index(max(self.slots))
        return qpu if self.slots[qpu] >= slots else None

    def take(self, nodes: int, qpu: int, slots: int) -> None:
        self.nodes -= nodes
        self.slots[qpu] -= slots


class Allocator:
    """The jobs of a site that wait, and that run."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._free = _Free(site.nodes, [site.slots] * site.qpus)
        self._waiting: deque[Job] = deque()
        self._running: list[tuple[float, int, Job, int]] = []  # by the end that limits promise
        self._entries: dict[Job, tuple[float, int, Job, int]] = {}
        self._order = count()

    def submit(self, job: Job, now: float) -> list[tuple[Job, int]]:
        """A job comes; the jobs that start, each with its QPU."""
        self._waiting.append(job)
        return self._start(now)

    def end(self, job: Job, now: float) -> list[tuple[Job, int]]:
        """A job ends; the jobs that start."""
        entry = self._entries.pop(job)
        self._running.remove(entry)
        self._free.take(-job.nodes, entry[3], -self._slots(job))
        return self._start(now)

    def _slots(self, job: Job) -> int:
        return self._site.slots if job.exclusive else job.slots

    def _start(self, now: float) -> list[tuple[Job, int]]:
        started: list[tuple[Job, int]] = []
        while self._waiting:
            qpu = self._free.fits(self._waiting[0], self._slots(self._waiting[0]))
            if qpu is None:
                return started + self._backfill(now)
            started.append(self._run(self._waiting.popleft(), qpu, now))
        return started

    def _run(self, job: Job, qpu: int, now: float) -> tuple[Job, int]:
        self._free.take(job.nodes, qpu, self._slots(job))
        entry = self._entries[job] = (now + job.limit, next(self._order), job, qpu)
        insort(self._running, entry)
        return job, qpu

    def _backfill(self, now: float) -> list[tuple[Job, int]]:
        candidates = [
            job
            for job in islice(self._waiting, 1, 1 + _DEPTH)
            if self._free.fits(job, self._slots(job)) is not None
        ]
        if not candidates:
            return []
        begins, left = self._reserve(now)
        started = []
        for job in candidates:
            slots = self._slots(job)
            qpu = self._free.fits(job, slots)
            if qpu is None:
                continue
            if now + job.limit > begins:  # it would run beside the first
                if job.nodes > left.nodes or slots > left.slots[qpu]:
                    continue
                left.take(job.nodes, qpu, slots)
            started.append(self._run(job, qpu, now))
            self._waiting.remove(job)
        return started

    def _reserve(self, now: float) -> tuple[float, _Free]:
        """When the first can start at the latest, and what is free then beside it."""
        first = self._waiting[0]
        later = _Free(self._free.nodes, list(self._free.slots))
        for end, _, job, qpu in self._running:
            later.take(-job.nodes, qpu, -self._slots(job))
            found = later.fits(first, self._slots(first))
            if found is not None:
                later.take(first.nodes, found, self._slots(first))
                return max(end, now), later
        raise AssertionError(f"job {first.name} fits into no empty site")
