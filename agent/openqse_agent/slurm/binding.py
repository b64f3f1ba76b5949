"""The Slurm client by the library ``pyslurm``, which runs in a process of its own.

libslurm ends the process that loads it where it finds no configuration, and pyslurm keeps Python's
interpreter lock while libslurm waits for slurmctld. So the agent never imports it: a worker process
(``worker.py``) does, and is killed and replaced when it is late.

Slurm's commands answer what pyslurm cannot: it does not know what associations have used, and it
names a job of slurmdbd's by its number alone, which for the first of an array or of a heterogeneous
job means all of them.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from openqse.errors import SlurmError
from openqse_agent.slurm.client import FairTree, Job, QPUUse, Reservation
from openqse_agent.slurm.commands import Commands

_WORKER = "openqse_agent.slurm.worker"


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
        self._commands = Commands(timeout)
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

    def fair_tree(self) -> FairTree:
        """The tree as slurmctld has it now, by Slurm's commands; see ``Commands``."""
        return self._commands.fair_tree()

    def record_use(self, job_id: int, use: Mapping[str, QPUUse]) -> bool:
        """Writes into the accounting what a job used, by Slurm's commands; see ``Commands``."""
        return self._commands.record_use(job_id, use)

    def reservations(self) -> dict[str, Reservation]:
        """The reservations of licenses that have not ended, by name.

        Raises:
            SlurmError: slurmctld does not answer.
        """
        rows = self._ask({"reservations": True})
        return {row["name"]: Reservation(**row) for row in rows}

    def reserve(self, reservation: Reservation) -> None:
        """Has slurmctld hold licenses back. Jobs that have them keep them.

        Raises:
            SlurmError: slurmctld does not answer, or refuses.
        """
        self._ask({"reserve": asdict(reservation)})

    def release(self, name: str) -> None:
        """Ends a reservation; one that is gone already is none to end.

        Raises:
            SlurmError: slurmctld does not answer, or refuses.
        """
        self._ask({"release": name})

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
                [sys.executable, "-m", _WORKER, str(theirs.fileno())],
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
