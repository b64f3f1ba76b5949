"""The process that imports pyslurm for an agent: one line of JSON asks, one answers.

It imports nothing heavy, because it must start within a question's deadline.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

from openqse_agent.slurm.records import (
    ENDLESS,
    held_licenses,
    is_running,
    listed_licenses,
    remaining,
    reservation_end,
)

_UNKNOWN_JOB = 2017  # ESLURM_INVALID_JOB_ID
_UNKNOWN_RESERVATION = 2053  # ESLURM_RESERVATION_INVALID


def _serve(connection: socket.socket) -> None:
    """Answers questions until the agent closes the connection."""
    with connection, connection.makefile("rwb") as lines:
        for line in lines:
            try:
                answer = {"answer": _answer(json.loads(line))}
            except Exception as error:  # whatever it is, it is the agent's to report
                answer = {"error": f"pyslurm: {type(error).__name__}: {error}"}
            lines.write(json.dumps(answer).encode() + b"\n")
            lines.flush()


def _answer(question: dict[str, Any]) -> Any:
    import pyslurm

    if "jobs" in question:
        wanted = question["jobs"]
        now = _now(pyslurm)  # first: a limit may end late for it, never early
        return [_job(found, now) for found in _load(pyslurm, wanted) if found.id in wanted]
    if "reservations" in question:
        return [_reservation(r) for r in pyslurm.Reservations.load().values() if r.licenses]
    if "reserve" in question:
        return _reserve(pyslurm, question["reserve"])
    if "release" in question:
        return _release(pyslurm, question["release"])
    return pyslurm.__version__


def _load(pyslurm: Any, wanted: list[int]) -> Iterable[Any]:
    if len(wanted) == 1:
        try:
            found = pyslurm.Job.load(wanted[0])
        except pyslurm.RPCError as error:
            if error.errno == _UNKNOWN_JOB:
                return []
            raise
        # For an array's or a heterogeneous job's id, this may be another of its jobs.
        if found.id == wanted[0]:
            return [found]
    jobs: Iterable[Any] = pyslurm.Jobs.load().values()
    return jobs


def _now(pyslurm: Any) -> int | None:
    """slurmctld's time, seconds since the epoch; None where pyslurm cannot tell it.

    Job records come without it. The statistics have it, which not every release of pyslurm reads.
    """
    try:
        request_time: int = pyslurm.slurmctld.diag().request_time
    except (AttributeError, pyslurm.RPCError):
        return None
    return request_time


def _job(found: Any, now: int | None) -> dict[str, Any]:
    """The fields of a ``Job``."""
    running = is_running(found.state)
    # Without a time limit slurmctld sets an end a year ahead.
    end_time = found.end_time if found.time_limit else None
    # Releases before 25.11 lack allocated_licenses.
    allocated = getattr(found, "allocated_licenses", [])
    return {
        "id": found.id,
        "running": running,
        "state": found.state,
        "uid": found.user_id,
        "user": found.user_name,
        "account": found.account or "",
        "licenses": held_licenses(running, ",".join(found.licenses), ",".join(allocated)),
        "end_time": end_time,
        "restart_count": found.requeue_count,
        "leader": found.heterogeneous_id or found.id,
        "reservation": (found.reservation or "") if running else "",
        "remaining": remaining(running, end_time, now),
    }


def _reservation(found: Any) -> dict[str, Any]:
    """The fields of a ``Reservation``."""
    return {
        "name": found.name,
        "licenses": held_licenses(True, ",".join(found.licenses), ""),
        "start": found.start_time,
        "end": reservation_end(found.start_time, found.end_time),
    }


def _reserve(pyslurm: Any, wanted: dict[str, Any]) -> None:
    flags = pyslurm.ReservationFlags
    start = max(int(wanted["start"]), int(time.time()))
    pyslurm.Reservation(
        wanted["name"],
        # In this order: an end is checked against the start.
        start_time=start,
        end_time=start + ENDLESS if wanted["end"] is None else int(wanted["end"]),
        licenses=[listed_licenses(wanted["licenses"])],
        users=["root"],
        flags=flags.MAINTENANCE | flags.ANY_NODES,
    ).create()


def _release(pyslurm: Any, name: str) -> None:
    try:
        pyslurm.Reservation(name).delete()
    except pyslurm.RPCError as error:
        if error.errno != _UNKNOWN_RESERVATION:
            raise


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
