"""Synthetic traces. Each is drawn from a seed: equal seeds give equal traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from openqse_simulator.traces import Job, Session, Site, Trace


def _batch(seconds: NDArray[np.float64], think: float = 0.0, window: int = 1) -> Session:
    every = len(seconds)
    return Session(seconds, np.full(every, think), np.zeros(every, np.bool_), window)


def backlog(tasks: int, draw: Generator) -> Trace:
    """Accounts with shares 3 : 1 and more tasks than one QPU can run. The one with the smaller
    share has more jobs, processes and tasks in flight. A third sends small interactive tasks."""
    heavy = int(tasks * 0.9)

    def job(name: str, account: str, count: int, sessions: int, window: int) -> Job:
        each = max(1, count // sessions)
        seconds = [draw.lognormal(np.log(0.2), 1.0, each) for _ in range(sessions)]
        made = tuple(_batch(s, 0.001, window) for s in seconds)
        return Job(name, account, f"user of {account}", 0.0, made)

    # As many for each as its share, so that both have tasks until the end.
    jobs = [
        job("large", "chem", heavy * 3 // 4, 1, 20),
        job("split 1", "ml", heavy // 8, 4, 40),
        job("split 2", "ml", heavy // 8, 4, 40),
    ]
    few = max(1, tasks - heavy)
    span = sum(float(s.seconds.sum()) for each in jobs for s in each.sessions)
    think = draw.exponential(0.8 * span / few, few)
    quick = Session(np.full(few, 0.005), think, np.ones(few, np.bool_))
    jobs.append(Job("notebook", "edu", "carol", 0.0, (quick,)))
    return Trace(Site(nodes=4, qpus=1, slots=4), {"chem": 3, "ml": 1, "edu": 1}, jobs)


def hybrid(tasks: int, draw: Generator) -> Trace:
    """Variational jobs on a small site. Between tasks a job computes classically for three times
    as long as its tasks take; with exclusive use the QPU idles meanwhile."""
    jobs, submitted = [], 0.0
    per_job = 100
    for number in range(max(1, tasks // per_job)):
        quantum = draw.lognormal(np.log(0.5), 0.5, per_job)
        think = draw.exponential(3 * quantum.mean(), per_job)
        session = Session(quantum, think, np.zeros(per_job, np.bool_))
        account = ("chem", "ml", "edu")[number % 3]
        limit = 4 * float(quantum.sum() + think.sum())
        jobs.append(Job(f"{number}", account, f"{account}{number % 5}", submitted, (session,),
                        nodes=int(draw.integers(1, 5)), limit=limit))  # fmt: skip
        submitted += float(draw.exponential(30.0))
    return Trace(Site(nodes=32, qpus=2, slots=4), {"chem": 1, "ml": 1, "edu": 1}, jobs)


def centre(tasks: int, draw: Generator) -> Trace:
    """A computing centre: 20 accounts with very different shares and, for a million tasks, 4,000
    nodes and 200 QPUs. Jobs arrive at random and ask for nine tenths of the QPUs' time: people who
    send interactive tasks, variational loops, and sampling in bulk."""
    qpus = max(2, tasks // 5000)
    site = Site(nodes=20 * qpus, qpus=qpus, slots=4)
    shares = {f"account{i:02}": int(2 ** (i % 5)) for i in range(20)}
    names, weights = list(shares), np.array(list(shares.values()), dtype=np.float64)
    jobs: list[Job] = []
    drawn, quantum = 0, 0.0
    while drawn < tasks:
        count = min(int(draw.geometric(1 / 120)), tasks - drawn)
        drawn += count
        kind = int(draw.choice(3, p=[0.2, 0.5, 0.3]))
        # Most accounts ask for what they are entitled to, the first three for far more.
        asks = (
            draw.integers(3) if draw.random() < 0.3 else draw.choice(20, p=weights / weights.sum())
        )
        account = names[int(asks)]
        processes = 1 if kind == 0 else min(count, int(draw.choice([1, 2, 4, 8])))
        sessions = tuple(
            _KINDS[kind](count // processes + (i < count % processes), draw)
            for i in range(processes)
        )
        quantum += sum(float(each.seconds.sum()) for each in sessions)
        job = Job(f"{len(jobs)}", account, f"{account}-{draw.integers(8)}", 0.0, sessions,
                  nodes=int(2 ** draw.integers(0, 5)) if kind else 1)  # fmt: skip
        jobs.append(replace(job, limit=3 * job.alone + 60))
    times = np.sort(draw.uniform(0.0, quantum / (0.9 * qpus), len(jobs)))
    jobs = [replace(job, submitted=float(at)) for job, at in zip(jobs, times, strict=True)]
    return Trace(site, shares, jobs)


def _person(count: int, draw: Generator) -> Session:
    """Small interactive tasks, and seconds of thought between them."""
    seconds, think = draw.lognormal(np.log(0.02), 1.0, count), draw.exponential(3.0, count)
    return Session(seconds, think, np.ones(count, np.bool_))


def _loop(count: int, draw: Generator) -> Session:
    """A variational loop: tasks, and classical work between them."""
    seconds, think = draw.lognormal(np.log(0.4), 1.0, count), draw.exponential(1.0, count)
    return Session(seconds, think, np.zeros(count, np.bool_))


def _bulk(count: int, draw: Generator) -> Session:
    """Many tasks at once."""
    return _batch(draw.lognormal(np.log(0.4), 1.0, count), 0.001, 16)


_KINDS = (_person, _loop, _bulk)

#: What draws a trace of about so many tasks, by the scenario's name.
SCENARIOS: dict[str, Callable[[int, Generator], Trace]] = {
    "backlog": backlog,
    "hybrid": hybrid,
    "centre": centre,
}


def exclusive(trace: Trace) -> Trace:
    """The same trace with every job taking all slots of its QPU."""
    jobs = [replace(job, exclusive=True) for job in trace.jobs]
    return Trace(trace.site, trace.shares, jobs)
