"""Where a trace comes from: a trace file, a QPU agent's journal, or Slurm's accounting."""

from __future__ import annotations

import csv
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from itertools import accumulate
from pathlib import Path

import numpy as np

from openqse.errors import ConfigurationError
from openqse_simulator import traces
from openqse_simulator.traces import Job, Session, Site, Trace

_SQLITE = b"SQLite format 3\0"
#: What ``sacct --parsable2`` must have been asked for.
_COLUMNS = {"JobIDRaw", "Account", "User", "Submit", "Start", "End", "NNodes"}
#: Where a QPU agent writes.
_COMMENTS = ("AdminComment", "SystemComment")


def load(path: Path) -> Trace:
    """A trace of any of these files; its beginning tells which it is.

    Raises:
        ConfigurationError: it cannot be read, or is none of them.
    """
    try:
        with path.open("rb") as file:
            head = file.readline(4096)
        if head.startswith(_SQLITE):
            return _journal(path)
        if set(head.decode().strip().split("|")) >= _COLUMNS:
            return _accounting(path)
        return traces.read(path)
    except (OSError, ValueError, KeyError, TypeError, sqlite3.Error) as error:
        raise ConfigurationError(
            f"{path} is no trace: {type(error).__name__}: {error}",
            layer="simulator",
            remedy="Give a trace, a QPU agent's journal of this version, or what sacct printed "
            f"with --parsable2 and a --format that has {','.join(sorted(_COLUMNS))}",
        ) from error


def _journal(path: Path) -> Trace:
    """The charged tasks that a QPU agent has recorded. Each is sent again at the same time after
    its job's start. All shares are one, since the journal has none.

    The journal does not say which session sent a task, so a job's tasks are one session.
    """
    jobs: list[Job] = []
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        leases = database.execute(
            "SELECT id, job_id, account, user, slots, mode, granted_at FROM lease"
            " ORDER BY granted_at"
        ).fetchall()
        for lease, job_id, account, user, slots, mode, granted in leases:
            rows = database.execute(
                "SELECT charged_at - (waited_ns + qpu_time_ns) * 1e-9, qpu_time_ns * 1e-9"
                " FROM charge WHERE lease = ? ORDER BY 1",
                (lease,),
            ).fetchall()
            sent, seconds = np.array(rows, dtype=np.float64).reshape(-1, 2).T
            at = np.maximum(sent - granted, 0.0)
            session = Session(seconds, at, np.zeros(len(rows), np.bool_), timed=True)
            jobs.append(
                Job(
                    f"{job_id}", account, user, granted - leases[0][6], (session,),
                    slots=slots, qpu=0, exclusive=mode == "exclusive",
                )
            )  # fmt: skip
    most = max((job.slots for job in jobs), default=1)
    # Slurm let these jobs run when they did, so there was room for all of them.
    site = Site(nodes=max(1, len(jobs)), qpus=1, slots=max(1, most * len(jobs)))
    return Trace(site, {job.account: 1 for job in jobs}, jobs)


def _accounting(path: Path) -> Trace:
    """The jobs that used a QPU, as Slurm's accounting has them: from the usage comments that QPU
    agents write. The site has as many nodes and slots as were in use at a time. All shares are one.

    Of a job's tasks the sums are recorded. So they are equal here, one after the other with equal
    pauses or, where they ran and waited for longer than the job took, as many of them at a time as
    there were on average, by Little's law. Of several QPUs that a job used the busiest counts.
    """
    with path.open(newline="") as file:
        rows = csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE)
        records = {row["JobIDRaw"]: row for row in rows}  # one of each size of a resized job
    numbers: dict[str, int] = {}  # of QPUs, by name
    jobs: list[Job] = []
    spans: list[tuple[float, float]] = []
    for name, row in records.items():
        used = _used(" ".join(row.get(column) or "" for column in _COMMENTS))
        if not used or row["End"] == "Unknown":
            continue
        qpu = max(used, key=lambda each: used[each]["qpu_time"])
        submitted, start, end = (
            datetime.fromisoformat(row[column]).timestamp() for column in ("Submit", "Start", "End")
        )
        held = re.search(rf"license/qpu_{re.escape(qpu)}=(\d+)", row.get("AllocTRES") or "")
        minutes = row.get("TimelimitRaw") or ""
        spans.append((start, end))
        jobs.append(
            Job(
                name, row["Account"], row["User"], submitted, (_alike(used[qpu], end - start),),
                nodes=int(row["NNodes"]),
                slots=int(held[1]) if held else 1,
                qpu=numbers.setdefault(qpu, len(numbers)),
                limit=60.0 * int(minutes) if minutes.isdecimal() else max(end - start, 1.0),
            )
        )  # fmt: skip
    if not jobs:
        raise ValueError("no job in it used a QPU and has ended")
    slots = [
        _most([(*span, job.slots) for span, job in zip(spans, jobs, strict=True) if job.qpu == qpu])
        for qpu in numbers.values()
    ]
    nodes = _most([(*span, job.nodes) for span, job in zip(spans, jobs, strict=True)])
    first = min(job.submitted for job in jobs)
    jobs = [replace(job, submitted=job.submitted - first) for job in jobs]
    jobs.sort(key=lambda job: job.submitted)
    return Trace(Site(nodes, len(numbers), max(slots)), {job.account: 1 for job in jobs}, jobs)


def _used(comments: str) -> dict[str, dict[str, float]]:
    """What the QPU agents say that a job used: by QPU ``qpu_time``, ``tasks`` and ``waited``."""
    used: dict[str, dict[str, float]] = {}
    word = re.search(r"(?<!\S)openqse:(\S+)", comments)
    for item in word[1].split(",") if word else ():
        key, value = item.split("=")
        kind, qpu = key.split("/")
        used.setdefault(qpu, {})[kind] = float(value)
    return used


def _alike(used: dict[str, float], elapsed: float) -> Session:
    """A session of equal tasks that takes as long as a job whose tasks' sums are these."""
    count = int(used["tasks"])
    busy = used["qpu_time"] + used["waited"]
    window = max(1, min(count, round(busy / elapsed))) if elapsed > 0 else count
    think = max(0.0, elapsed - busy) / count
    return Session(
        np.full(count, used["qpu_time"] / count),
        np.full(count, think),
        np.zeros(count, np.bool_),
        window,
    )


def _most(spans: list[tuple[float, float, int]]) -> int:
    """The most that was held at a time.

    Args:
        spans: from when to when how much was.
    """
    changes = [(start, much) for start, _, much in spans] + [(end, -much) for _, end, much in spans]
    # At one moment what ends goes first, and yet each span alone counts.
    return max(*accumulate(much for _, much in sorted(changes)), *(much for *_, much in spans))
