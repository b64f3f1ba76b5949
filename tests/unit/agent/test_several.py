"""Several tasks under way at a device that takes them: order, ends and charges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_executor import task

import openqse
from openqse import device
from openqse.device import Outcome, Samples
from openqse.errors import DeviceError, TaskCancelled
from openqse.testing import ScriptedService
from openqse.testing.device import Job
from openqse_agent.qpu.charges.commit import GroupCommit
from openqse_agent.qpu.journal import Journal
from openqse_agent.qpu.leases import Lease, Mode
from openqse_agent.qpu.tasks.executor import Executor
from openqse_agent.qpu.tasks.queue import FairQueue
from openqse_agent.qpu.tasks.sessions import Ledger, Session
from openqse_agent.qpu.tasks.shares import ShareTree
from openqse_agent.qpu.tasks.task import State, Task
from tests.support.agents.stack import eventually

SLICE = 1e-3
BUILDER = openqse.CircuitBuilder(1, 8)
PROGRAM = BUILDER.rx(BUILDER.parameter("value"), 0).measure(0, 0).build()


class Rig:
    """An executor over a service, and its journal."""

    def __init__(self, service: ScriptedService, journal: Journal, watermark: int) -> None:
        self.service = service
        self.journal = journal
        self.charging: GroupCommit[Task] = GroupCommit(journal)
        queue: FairQueue[Task] = FairQueue(ShareTree())
        self.executor = Executor(
            service, self.charging, 4, queue, SLICE, "emu0", watermark=watermark
        )
        self.outcomes: dict[Task, Any] = {}

    def turn(self) -> None:
        """What the loop does again and again."""
        self.executor.turn()
        for one, outcome, _ in self.charging.turn(busy=self.executor.waits_for_turn):
            assert one not in self.outcomes
            self.outcomes[one] = outcome

    def until(self, condition: Callable[[], Any]) -> None:
        def reached() -> Any:
            self.turn()
            return condition()

        eventually(reached)

    def under_way(self, count: int) -> list[Job]:
        """Turns until so many tasks are under way; them."""
        self.until(lambda: len(self.service.jobs) == count)
        return list(self.service.jobs)

    def push(self, *tasks: Task) -> None:
        for one in tasks:
            self.executor.push(one)

    def charged(self) -> int:
        return sum(used.tasks for used in self.journal.usage())

    def close(self) -> None:
        self.service.die()
        self.executor.stop(5)
        self.charging.stop(5)
        self.journal.close()


@pytest.fixture
def make_rig(tmp_path: Any) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(watermark: int = 4, **service: Any) -> Rig:
        journal = Journal(tmp_path / f"{len(made)}.sqlite")
        made.append(Rig(ScriptedService(**service), journal, watermark))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()


def valued(number: int, account: str = "chem", **changed: Any) -> Task:
    """A task whose samples spell its number, of a session of its own."""
    made = task(number, PROGRAM, **changed)
    lease = Lease(account, 7, 0, "alice", account, 1, Mode.SHARED, 0, 1, None, 0.0)
    made.session = Session(Ledger(lease), b"%d" % number, (b"c1", b"s"))
    made.work = replace(made.work, parameters=np.full((1, 1), float(number)))
    return made


def number_of(job: Job) -> int:
    return int(job.work.parameters[0, 0])


def value_of(outcome: Any) -> int:
    assert isinstance(outcome, Outcome)
    assert isinstance(outcome.data, Samples)
    return int(outcome.data.memory[0, 0, 0])


def test_as_many_are_under_way_as_the_device_takes(rig: Rig) -> None:
    tasks = [valued(n) for n in range(10)]
    rig.push(*tasks)
    rig.under_way(4)
    assert [one.state for one in tasks].count(State.RUNNING) == 4
    assert len(rig.executor) == 6
    assert not rig.executor.waits_for_turn  # so that the loop sleeps
    while len(rig.outcomes) < 10:
        for job in rig.service.jobs[:1]:
            rig.service.end(job)
        rig.turn()
    assert rig.service.most == 4
    assert rig.charged() == 10


@pytest.mark.parametrize("order", [[3, 1, 2, 0], [3, 2, 1, 0], [1, 0, 3, 2]])
def test_each_has_its_own_result_in_whatever_order_they_end(rig: Rig, order: list[int]) -> None:
    tasks = [valued(n) for n in range(4)]
    rig.push(*tasks)
    jobs = {number_of(job): job for job in rig.under_way(4)}
    for at, number in enumerate(order, 1):
        rig.service.end(jobs[number])
        rig.until(lambda at=at: len(rig.outcomes) == at)
    assert {value_of(rig.outcomes[one]): int(one.id) for one in tasks} == {n: n for n in range(4)}
    assert [one.state for one in tasks] == [State.ENDED] * 4
    assert rig.charged() == 4


def test_a_long_queue_of_the_device_is_filled_to_the_watermark_alone(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(watermark=2, capacity=100)
    rig.push(*(valued(n) for n in range(50)))
    rig.under_way(2)
    rig.push(valued(99, "ml"))
    ended: list[int] = []
    while 99 not in ended:
        rig.turn()
        for job in list(rig.service.jobs):
            ended.append(number_of(job))
            rig.service.end(job)
    assert rig.service.most == 2
    assert len(ended) <= 5  # not after all that came before it


def test_the_loop_never_waits_for_a_device_that_takes_several(rig: Rig) -> None:
    first, second = valued(1), valued(2)
    rig.push(first)
    (job,) = rig.under_way(1)
    rig.service.end(job)
    rig.until(lambda: first in rig.outcomes)
    known = rig.executor._programs.get(first.program)
    assert known is not None
    known.seconds = 1e-9  # however short it was
    rig.push(second)
    (job,) = rig.under_way(1)  # ``turn`` has returned: the device still has the task
    rig.service.end(job)
    rig.until(lambda: second in rig.outcomes)


def test_accounts_take_turns_before_anything_was_charged(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(watermark=8, capacity=8)
    rig.push(*(valued(n) for n in range(10)), *(valued(n, "ml") for n in range(10, 20)))
    first = [number_of(job) for job in rig.under_way(8)]
    assert sum(number >= 10 for number in first) == 4


def test_a_device_may_come_to_take_fewer(rig: Rig) -> None:
    rig.push(*(valued(n) for n in range(8)))
    jobs = rig.under_way(4)
    rig.service.capacity = 1
    for job in jobs:
        rig.service.end(job)
    for done in range(4, 8):
        (job,) = rig.under_way(1)
        rig.service.end(job)
        rig.until(lambda done=done: len(rig.outcomes) > done)
    assert all(isinstance(outcome, Outcome) for outcome in rig.outcomes.values())


def test_of_several_only_the_cancelled_one_is_stopped(rig: Rig) -> None:
    tasks = [valued(n) for n in range(5)]
    rig.push(*tasks)
    jobs = rig.under_way(4)
    running = next(one for one in tasks if one.state is State.RUNNING)
    waiting = next(one for one in tasks if one.state is State.QUEUED)
    assert rig.executor.cancel(waiting, TaskCancelled("enough"))
    assert not rig.executor.cancel(running, TaskCancelled("enough"))
    rig.until(lambda: running in rig.outcomes)
    assert str(rig.outcomes[running]) == "client: enough"
    assert rig.charged() == 0
    for job in jobs:
        rig.service.end(job)
    rig.until(lambda: len(rig.outcomes) == 4)
    assert rig.charged() == 3
    assert (waiting.state, running.state) == (State.ENDED, State.ENDED)


def test_a_device_that_dies_ends_what_it_had_and_gets_nothing_before_it_is_back(rig: Rig) -> None:
    tasks = [valued(n) for n in range(6)]
    rig.push(*tasks)
    rig.under_way(4)
    rig.service.die()
    rig.until(lambda: len(rig.outcomes) == 4)
    for outcome in rig.outcomes.values():
        assert isinstance(outcome, DeviceError)
        assert str(outcome) == "device: ConnectionError: the service is gone"
    assert rig.charged() == 0
    assert not rig.executor.waits_for_turn
    assert len(rig.executor) == 2  # they wait
    rig.service.revive()
    for job in rig.under_way(2):
        rig.service.end(job)
    rig.until(lambda: len(rig.outcomes) == 6)
    assert rig.charged() == 2


LIES: list[Callable[[Outcome], Any]] = [
    lambda right: replace(right, data=replace(right.data, memory=np.zeros((1, 3, 1), np.uint8))),
    lambda right: replace(right, data=replace(right.data, memory=np.zeros((2, 2, 1), np.uint8))),
    lambda right: replace(right, data=replace(right.data, memory=np.zeros((1, 2, 2), np.uint8))),
    lambda right: replace(right, data=replace(right.data, memory=np.zeros((1, 2, 1)))),
    lambda right: replace(right, data=replace(right.data, qpu_time_ns=-1)),
    lambda right: replace(right, data=replace(right.data, qpu_time_ns=2**63)),
    lambda right: replace(right, data=device.Expectations(np.zeros(1), 5)),
    lambda right: {"counts": {"0": 2}},
]


@pytest.mark.parametrize("lie", LIES)
def test_a_device_that_lies_of_one_is_paid_for_the_others_alone(
    rig: Rig, lie: Callable[[Outcome], Any]
) -> None:
    tasks = [valued(n) for n in range(4)]
    rig.push(*tasks)
    liar, *honest = rig.under_way(4)
    rig.service.end(liar, lie(rig.service.right(liar)))
    for job in honest:
        rig.service.end(job)
    rig.until(lambda: len(rig.outcomes) == 4)
    wrong = [outcome for outcome in rig.outcomes.values() if isinstance(outcome, DeviceError)]
    assert len(wrong) == 1
    assert "the device" in wrong[0].message
    assert rig.charged() == 3


def test_held_what_is_under_way_ends_and_nothing_begins(rig: Rig) -> None:
    rig.push(*(valued(n) for n in range(6)))
    jobs = rig.under_way(4)
    rig.executor.hold(True)
    for job in jobs:
        rig.service.end(job)
    rig.until(lambda: len(rig.outcomes) == 4)
    assert not rig.executor.waits_for_turn
    rig.turn()
    assert not rig.service.jobs
    rig.executor.hold(False)
    rig.under_way(2)


def test_tasks_run_their_slices_beside_each_other(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(capacity=2, slices=True)
    tasks = [valued(n, shots=3000) for n in range(2)]
    rig.push(*tasks)
    while len(rig.outcomes) < 2:
        jobs = list(rig.service.jobs)  # threads add to them meanwhile
        assert len({number_of(job) for job in jobs}) == len(jobs)
        for job in jobs[-1:]:
            rig.service.end(job)
        rig.turn()
    assert len(rig.service.submitted) >= 6
    for one in tasks:
        outcome = rig.outcomes[one]
        assert outcome.data.memory.shape == (1, 3000, 1)
        assert value_of(outcome) == int(one.id)
        assert outcome.data.qpu_time_ns == 3_000_000
    assert all(job.work.seed is None for job in rig.service.submitted)  # it takes none
    assert rig.charged() == 2


def test_a_question_to_the_device_is_put_while_tasks_are_under_way(rig: Rig) -> None:
    rig.push(valued(1), valued(2))
    rig.under_way(2)
    seen: list[int] = []
    rig.executor.aside(lambda: seen.append(rig.executor.estimate(PROGRAM.program, 5, 2)))
    rig.until(lambda: seen)
    assert seen == [10_000]


def test_the_device_is_busy_for_the_time_in_which_it_had_any(rig: Rig) -> None:
    rig.push(*(valued(n) for n in range(4)))
    for job in rig.under_way(4):
        rig.service.end(job)
    rig.until(lambda: len(rig.outcomes) == 4)
    first, last = min(one.began for one in rig.outcomes), rig.executor._now()
    assert 0 < rig.executor.busy_s <= last - first
