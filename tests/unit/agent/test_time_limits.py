"""A job's time limit bounds the deadlines of its tasks, by the word of slurmctld and no clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from test_tasks import echo_program, value_of

import openqse
from openqse.errors import DeadlineExceeded
from tests.support.agents.stack import Stack, eventually


@dataclass
class Limited:
    """A rank of a job that has little time left, and its stack."""

    stack: Stack
    rank: openqse.QPU

    @property
    def limit_at(self) -> float | None:
        (lease,) = self.stack.qpus["emu0"].agent._leases
        return lease.limit_at

    def submit(self, tasks: int) -> list[openqse.Future[openqse.Result]]:
        """Tasks of which none ends by itself."""
        self.stack.qpus["emu0"].device.hold.clear()
        program = echo_program()
        futures = [self.rank.submit(program, parameters=[i], shots=1) for i in range(tasks)]
        eventually(lambda: len(self.stack.qpus["emu0"].agent._intake.tasks) == tasks)
        return futures

    def go_on(self, futures: list[openqse.Future[openqse.Result]]) -> None:
        """The tasks have not been ended and give their results."""
        assert len(self.stack.qpus["emu0"].agent._intake.tasks) == len(futures)
        self.stack.qpus["emu0"].device.hold.set()
        assert [value_of(f.result(10)) for f in futures] == list(range(len(futures)))


@pytest.fixture
def limited(
    make_stack: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Limited]]:
    handles: list[openqse.QPU] = []

    def limited(left: float, ahead: float = 0.0, ttl: float = 30.0) -> Limited:
        stack = make_stack(lease_ttl=ttl)
        stack.slurm.ahead = ahead
        stack.slurm.submit(7, {"qpu_emu0": 1})
        stack.slurm.limit(7, left)
        stack.enter(7, "emu0", monkeypatch)
        handles.append(openqse.connect())
        return Limited(stack, handles[-1])

    yield limited
    for handle in handles:
        handle.close()


@pytest.mark.parametrize("ahead", [-3600.0, 0.0, 3600.0])
def test_tasks_end_with_their_jobs_time_limit_whoevers_clock_is_wrong(
    limited: Callable[..., Limited], ahead: float
) -> None:
    job = limited(1.0, ahead)
    began = time.monotonic()
    futures = job.submit(3)
    for future in futures:
        with pytest.raises(DeadlineExceeded, match="the time limit of job 7 has ended"):
            future.result(10)
    assert time.monotonic() - began > 0.5
    assert job.stack.qpus["emu0"].device.stopped == 1  # the one that ran
    with pytest.raises(DeadlineExceeded, match="with more time: --time"):
        job.rank.run(echo_program(), parameters=[1])
    assert job.stack.leases("emu0") == [7]  # until Slurm has ended the job


def test_a_limit_that_is_extended_in_time_ends_nothing(limited: Callable[..., Limited]) -> None:
    job = limited(1.0)
    futures = job.submit(3)
    before = job.limit_at
    assert before is not None
    job.stack.slurm.limit(7, 600.0)
    eventually(lambda: (job.limit_at or math.inf) > before + 60)
    job.go_on(futures)


def test_a_limit_that_is_extended_after_its_end_lets_tasks_run_again(
    limited: Callable[..., Limited],
) -> None:
    job = limited(0.2, ttl=0.5)
    eventually(lambda: job.limit_at is None)
    job.stack.slurm.limit(7, 600.0)
    eventually(lambda: job.limit_at is not None)
    assert value_of(job.rank.run(echo_program(), parameters=[3], shots=1, timeout=10)) == 3


def test_no_task_is_ended_while_slurmctld_does_not_answer(
    limited: Callable[..., Limited],
) -> None:
    job = limited(0.5)
    futures = job.submit(3)
    job.stack.slurm.down = True
    asked = len(job.stack.slurm.questions)
    eventually(lambda: len(job.stack.slurm.questions) >= asked + 2)
    job.go_on(futures)


def test_a_task_has_its_own_deadline_before_its_jobs(limited: Callable[..., Limited]) -> None:
    job = limited(600.0)
    job.submit(1)
    late = job.rank.submit(echo_program(), parameters=[1], timeout=0.2)
    with pytest.raises(DeadlineExceeded, match="the task's deadline passed"):
        late.result(10)
