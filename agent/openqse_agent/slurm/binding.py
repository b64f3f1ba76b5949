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
from collections.abc import Iterable, Iterator
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
        self.version = ""
        self._timeout = timeout
        self._turn = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._ask({})

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
            SlurmError: slurmdbd, which pyslurm asks for this, does not answer.
        """
        shares: dict[str, float] = self._ask({"shares": True})
        return shares

    def close(self) -> None:
        """Ends the worker; the next question starts another."""
        if self._socket is not None:
            self._socket.close()
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
        self._socket = self._worker = None

    def _ask(self, question: dict[str, Any]) -> Any:
        deadline = time.monotonic() + self._timeout
        if not self._turn.acquire(timeout=self._timeout):
            raise self._late()
        try:
            if self._socket is None:
                self._start(deadline)
            return self._exchange(question, deadline) if question else None
        finally:
            self._turn.release()

    def _start(self, deadline: float) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._worker = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                pass_fds=[theirs.fileno()],
            )
        self._socket = ours
        self.version = self._exchange({"version": True}, deadline)

    def _exchange(self, question: dict[str, Any], deadline: float) -> Any:
        assert self._socket is not None
        assert self._worker is not None
        try:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            self._socket.sendall(json.dumps(question).encode() + b"\n")
            answer = json.loads(_line(self._socket, deadline))
        except TimeoutError:
            self.close()
            raise self._late() from None
        except (OSError, EOFError) as error:
            worker = self._worker
            self.close()
            raise _error(
                f"the worker that imports pyslurm ended with exit code {worker.returncode}"
            ) from error
        if "error" in answer:
            if question.keys() == {"version"}:
                self.close()
            raise _error(answer["error"])
        return answer["answer"]

    def _late(self) -> SlurmError:
        return SlurmError(
            f"pyslurm did not answer within {self._timeout:g} s",
            layer="slurmctld",
            remedy="Check with `scontrol ping` that slurmctld answers from this host",
        )


def _line(connection: socket.socket, deadline: float) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        received = connection.recv(1 << 20)
        if not received:
            raise EOFError
        line += received
    return line


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
        yield Association(
            row.id, row.parent_account_id or None, row.account, row.user or "", row.shares or 0
        )


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
