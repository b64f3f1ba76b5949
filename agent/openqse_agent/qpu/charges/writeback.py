"""Tells Slurm's accounting what ended jobs used of the QPU, so that ``sacct`` shows it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Any

from openqse.errors import OpenQSEError, StorageError
from openqse_agent.qpu.journal import Journal
from openqse_agent.slurm import client as slurm

log = logging.getLogger("qpu-agent")

#: Seconds between two looks for jobs that have ended.
_EVERY = 5.0
#: Seconds until a job is tried again, doubled each time up to the last.
_FIRST_RETRY, _LAST_RETRY = 5.0, 600.0
#: Jobs that are written at a time.
_AT_ONCE = 8


class Accounting:
    """Writes the use of jobs back, one after the other, until Slurm has it.

    The journal remembers which are still to be written; so neither a restart nor a slurmdbd that is
    down loses one. A record may be written twice, with the same words.

    Args:
        ask: puts a question to Slurm and has its answer brought back.
    """

    def __init__(
        self,
        qpu: str,
        journal: Journal,
        client: slurm.SlurmClient,
        ask: Callable[[Callable[[], Any], Callable[[Any], None]], None],
    ) -> None:
        self._qpu = qpu
        self._journal = journal
        self._slurm = client
        self._ask = ask
        self._next = 0.0
        self._asking = False
        self._retries: dict[int, tuple[float, float]] = {}  # when, and after how long

    def tick(self, now: float) -> None:
        """Writes what is to be written and has not been tried too lately."""
        if self._asking or now < self._next:
            return
        self._next = now + _EVERY
        try:
            ended = self._journal.unreported(_AT_ONCE + len(self._retries))
        except (StorageError, sqlite3.Error) as error:
            log.error("the journal does not say which jobs have ended: %s", error)
            return
        due = [job for job in ended if self._retries.get(job, (0.0, 0.0))[0] <= now][:_AT_ONCE]
        if due:
            self._asking = True
            self._ask(lambda: self._write(due), lambda answers: self._written(answers, now))

    def _use(self, job: int) -> slurm.QPUUse | None:
        """What a job used; None for one without tasks."""
        rows = self._journal.usage(job)
        if not rows:
            return None
        return slurm.QPUUse(
            qpu_time=sum(row.qpu_time_ns for row in rows) * 1e-9,
            tasks=sum(row.tasks for row in rows),
            shots=sum(row.shots for row in rows),
            waited=sum(row.waited_ns for row in rows) * 1e-9,
        )

    def _write(self, jobs: list[int]) -> dict[int, bool | OpenQSEError]:
        """Writes what jobs used, in a thread: of each whether that is done, or why not."""
        answers: dict[int, bool | OpenQSEError] = {}
        for job in jobs:
            try:
                used = self._use(job)
                answers[job] = used is None or self._slurm.record_use(job, {self._qpu: used})
            except OpenQSEError as error:
                answers[job] = error
        return answers

    def _written(self, answers: Any, now: float) -> None:
        self._asking = False
        if isinstance(answers, OpenQSEError):
            log.error("the use of jobs cannot be written: %s", answers)
            return
        for job, answer in answers.items():
            if answer is True:
                self._journal.mark_reported(job)
                self._retries.pop(job, None)
                continue
            last = self._retries.get(job, (0.0, 0.0))[1]
            pause = _FIRST_RETRY if answer is False else min(2 * last or _FIRST_RETRY, _LAST_RETRY)
            self._retries[job] = (now + pause, pause)
            if answer is not False and pause == _LAST_RETRY > last:
                log.warning("the use of job %d is not in Slurm's accounting yet: %s", job, answer)
