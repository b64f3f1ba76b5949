"""What happens to a site: its jobs and their tasks, as values and as files.

A trace file has a JSON object a line, which are of three kinds:

    {"site": {"nodes": 8, "qpus": 1, "slots": 4}, "shares": {"chem": 3, "ml": 1}}
    {"job": "1", "account": "chem", "user": "alice", "submitted": 0.0, "nodes": 1, "slots": 1,
     "qpu": null, "exclusive": false, "limit": 600.0}
    {"job": "1", "session": "0", "seconds": 0.2, "think": 1.5, "interactive": false}

The first line is the site's. A job stands before its tasks. Times are seconds. A task is sent
``think`` seconds after the result before, or with ``at`` in its place, so long after its job's
start, whatever has been answered. With ``window`` (at the first task of a session) the session
keeps so many tasks unanswered. What has a default may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Session:
    """The tasks of one process of a job, in order.

    Attributes:
        seconds: float64 ``(n,)``, QPU time of each.
        think: float64 ``(n,)``: seconds from a result to the next task or, if ``timed``, from the
            job's start to the task.
        interactive: bool ``(n,)``, latency classes.
        window: tasks that it keeps unanswered.
        timed: tasks are sent at their times, whatever has been answered.
    """

    seconds: NDArray[np.float64]
    think: NDArray[np.float64]
    interactive: NDArray[np.bool_]
    window: int = 1
    timed: bool = False

    @property
    def alone(self) -> float:
        """Seconds that it takes at least."""
        if self.timed:
            return float(np.max(self.think + self.seconds, initial=0.0))
        return float(self.think.sum() / self.window + self.seconds.sum())


@dataclass(frozen=True, eq=False)
class Job:
    """A job and what it asks of the site.

    Attributes:
        submitted: seconds after the beginning.
        nodes, slots: what it needs, the slots of one QPU.
        qpu: number of that QPU; None for any.
        exclusive: it takes all slots.
        limit: seconds that it may take: what backfilling goes by; it is not enforced.
    """

    name: str
    account: str
    user: str
    submitted: float
    sessions: tuple[Session, ...]
    nodes: int = 1
    slots: int = 1
    qpu: int | None = None
    exclusive: bool = False
    limit: float = 3600.0

    @property
    def alone(self) -> float:
        """Seconds that it takes at least: with the QPU to itself."""
        quantum = sum(float(each.seconds.sum()) for each in self.sessions)
        return max([quantum, *(each.alone for each in self.sessions)])


@dataclass(frozen=True)
class Site:
    """Compute nodes, QPUs, and the slots of each QPU."""

    nodes: int = 8
    qpus: int = 1
    slots: int = 4


@dataclass(frozen=True, eq=False)
class Trace:
    """A site's jobs, by when they were submitted, and its accounts' shares."""

    site: Site
    shares: dict[str, int]
    jobs: list[Job] = field(default_factory=list)

    @property
    def tasks(self) -> int:
        return sum(len(session.seconds) for job in self.jobs for session in job.sessions)


def save(trace: Trace, path: Path) -> None:
    """Writes a trace file."""
    with path.open("w") as file:
        for line in _lines(trace):
            file.write(json.dumps(line) + "\n")


def read(path: Path) -> Trace:
    """What a trace file says.

    Raises:
        ValueError, KeyError, TypeError: it is none.
        OSError: it cannot be read.
    """
    heads: dict[str, dict[str, Any]] = {}
    sessions: dict[str, dict[str, _Read]] = {}
    with path.open() as file:
        first = json.loads(next(file, "{}"))
        site, shares = Site(**first["site"]), {str(k): int(v) for k, v in first["shares"].items()}
        for line in map(json.loads, file):
            name = str(line.pop("job"))
            if "seconds" not in line:
                heads[name], sessions[name] = line, {}
                continue
            timed = "at" in line
            made = _Read(int(line.get("window", 1)), timed)
            tasks = sessions[name].setdefault(str(line.get("session", "0")), made)
            if tasks.timed != timed:
                raise ValueError(f"job {name}: a session with 'at' and 'think'")
            tasks.seconds.append(float(line["seconds"]))
            tasks.think.append(float(line["at"] if timed else line.get("think", 0.0)))
            tasks.interactive.append(bool(line.get("interactive", False)))
    jobs = [
        Job(name, sessions=tuple(each.session() for each in sessions[name].values()), **head)
        for name, head in heads.items()
    ]
    for job in jobs:
        if job.nodes > site.nodes or job.slots > site.slots or (job.qpu or 0) >= site.qpus:
            raise ValueError(f"job {job.name} asks for more than the site has")
        shares.setdefault(job.account, 1)
    return Trace(site, shares, sorted(jobs, key=lambda job: job.submitted))


def _lines(trace: Trace) -> Iterator[dict[str, Any]]:
    yield {"site": asdict(trace.site), "shares": trace.shares}
    for job in trace.jobs:
        yield {
            "job": job.name,
            "account": job.account,
            "user": job.user,
            "submitted": job.submitted,
            "nodes": job.nodes,
            "slots": job.slots,
            "qpu": job.qpu,
            "exclusive": job.exclusive,
            "limit": job.limit,
        }
        for number, session in enumerate(job.sessions):
            columns = zip(
                session.seconds.tolist(), session.think.tolist(), session.interactive.tolist(),
                strict=True,
            )  # fmt: skip
            for i, (seconds, think, interactive) in enumerate(columns):
                task = {"job": job.name, "session": str(number), "seconds": seconds}
                task["at" if session.timed else "think"] = think
                task["interactive"] = interactive
                if i == 0 and session.window > 1:
                    task["window"] = session.window
                yield task


@dataclass
class _Read:
    """A session as it is read."""

    window: int
    timed: bool
    seconds: list[float] = field(default_factory=list)
    think: list[float] = field(default_factory=list)
    interactive: list[bool] = field(default_factory=list)

    def session(self) -> Session:
        return Session(
            np.array(self.seconds, dtype=np.float64),
            np.array(self.think, dtype=np.float64),
            np.array(self.interactive, dtype=np.bool_),
            self.window,
            self.timed,
        )
