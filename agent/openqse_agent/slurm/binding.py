"""The Slurm client by the library ``pyslurm``, which runs in a process of its own.

libslurm ends the process that loads it where it finds no configuration, and pyslurm keeps Python's
interpreter lock while libslurm waits for slurmctld. So the agent never imports it: a worker process
does, answers each question with a line of JSON, and is killed and replaced when it is late.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from openqse.errors import SlurmError
from openqse_agent.slurm.client import Job
from openqse_agent.slurm.records import (
    Association,
    account_shares,
    held_licences,
    is_running,
)

_UNKNOWN_JOB = 2017  # ESLURM_INVALID_JOB_ID


class Binding:
    """Asks through one worker process; questions of several threads take turns.

    Args:
        timeout: seconds that a question may take, waiting for its turn and a new worker included.

    Raises:
        SlurmError: pyslurm is not installed here, or cannot be imported.
    """

    def __init__(self, timeout: float) -> None:
        if find_spec("pyslurm") is None:
            raise _error("pyslurm is not installed for this Python")
        self._timeout = timeout
        self._turn = threading.Lock()
        self._worker: _Worker | None = None
        self.version: str = self._ask({"version": True})

    def jobs(self, ids: Iterable[int]) -> dict[int, Job]:
        """The jobs that slurmctld knows among ``ids``, by id, in one question.

        Raises:
            SlurmError: slurmctld does not answer, or its answer cannot be read.
        """
        wanted = sorted(set(ids))
        if not wanted:
            return {}
        return {job["id"]: Job(**job) for job in self._ask({"jobs": wanted})}

    def shares(self) -> dict[str, float]:
        """Normalised shares (0 to 1) of each account in the fair tree, root left out.

        Raises:
            SlurmError: slurmdbd, whom pyslurm asks for this, does not answer.
        """
        shares: dict[str, float] = self._ask({"shares": True})
        return shares

    def close(self) -> None:
        """Ends the worker; a further question would start another."""
        with self._turn:
            self._end()

    def _ask(self, question: Mapping[str, Any]) -> Any:
        deadline = time.monotonic() + self._timeout
        if not self._turn.acquire(timeout=self._timeout):
            raise self._late()
        try:
            if self._worker is None:
                self._worker = _Worker()
            answer = self._worker.ask(question, deadline)
        except TimeoutError:
            self._end()
            raise self._late() from None
        except (OSError, EOFError) as error:
            self._end()
            raise _error(
                "the process that loads pyslurm ended; libslurm's reason stands before this in"
                " the agent's log"
            ) from error
        finally:
            self._turn.release()
        if "error" in answer:
            raise _error(answer["error"])
        return answer["answer"]

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.end()
        self._worker = None

    def _late(self) -> SlurmError:
        return SlurmError(
            f"pyslurm did not answer within {self._timeout:g} s",
            layer="slurmctld",
            remedy="Check with `scontrol ping` that slurmctld answers from this host",
        )


class _Worker:
    """The process that imports pyslurm, and the agent's end of the connection to it."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        # When the agent ends, however it ends, its end closes and the worker ends too.
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def ask(self, question: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        self._limit(deadline)
        self._connection.sendall(json.dumps(question).encode() + b"\n")
        line = bytearray()
        while not line.endswith(b"\n"):
            self._limit(deadline)
            received = self._connection.recv(1 << 20)
            if not received:
                raise EOFError
            line += received
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _limit(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)

    def end(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


def _error(message: str) -> SlurmError:
    return SlurmError(
        message,
        layer="slurmctld",
        remedy="Check `scontrol ping` and `import pyslurm` as the agent's user, or write"
        ' client = "commands" under [slurm]',
    )


# What follows runs in the worker.


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
        return [asdict(_job(found)) for found in _load(pyslurm, wanted) if found.id in wanted]
    if "shares" in question:
        return account_shares(_associations(pyslurm))
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


def _job(found: Any) -> Job:
    running = is_running(found.state)
    # Releases before 25.11 lack allocated_licenses.
    allocated = getattr(found, "allocated_licenses", [])
    return Job(
        id=found.id,
        running=running,
        state=found.state,
        uid=found.user_id,
        user=found.user_name,
        account=found.account or "",
        licences=held_licences(running, _text(found.licenses), _text(allocated)),
        # Without a time limit slurmctld sets an end a year ahead.
        end_time=found.end_time if found.time_limit else None,
        restart_count=found.requeue_count,
    )


def _text(licences: Any) -> str:
    """pyslurm 24.11 and later have a list, releases before it a mapping to counts."""
    if isinstance(licences, dict):
        return ",".join(f"{name}:{count}" for name, count in licences.items())
    return ",".join(licences or [])


def _associations(pyslurm: Any) -> Iterator[Association]:
    for row in pyslurm.db.Associations.load().values():
        if row.cluster == pyslurm.settings.LOCAL_CLUSTER:
            yield Association(
                row.id, row.parent_account_id or None, row.account, row.user or "", row.shares or 0
            )


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
