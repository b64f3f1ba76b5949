"""Tasks on the device, in turns and slices; and an agent whose journal fails lives on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import openqse
from openqse import device
from openqse.errors import DeviceError, LimitExceeded, StorageError, TaskCancelled
from openqse.testing import ScriptedDevice
from openqse_agent.qpu.charges.commit import Ended, GroupCommit
from openqse_agent.qpu.journal import Charge, Journal
from openqse_agent.qpu.leases import Lease, Mode
from openqse_agent.qpu.tasks.executor import Executor
from openqse_agent.qpu.tasks.queue import FairQueue
from openqse_agent.qpu.tasks.sessions import Ledger, Session
from openqse_agent.qpu.tasks.shares import ShareTree
from openqse_agent.qpu.tasks.task import Task
from openqse_agent.slurm.client import Reservation
from tests.support.agents.stack import Refused, Stack, eventually

#: Seconds of QPU time: a thousand of the scripted device's shots.
SLICE = 1e-3
#: Shots, each of three times, of a task that runs for as long as a test takes.
MANY = 3_000_000
PROGRAM = openqse.CircuitBuilder(1).measure_all().build()


@pytest.fixture
def journal(tmp_path: Any) -> Journal:
    return Journal(tmp_path / "emu0.sqlite")


class Rig:
    """An executor, with the charging that its tasks go through, turned as the loop does."""

    def __init__(self, journal: Journal) -> None:
        self.driver = ScriptedDevice(max_shots=MANY)
        self.charging: GroupCommit[Task] = GroupCommit(journal)
        queue: FairQueue[Task] = FairQueue(ShareTree())
        self.executor = Executor(device.ThreadDevice(self.driver), self.charging, 4, queue, SLICE)

    def turn(self) -> list[Ended[Task]]:
        self.executor.turn()
        return self.charging.turn(self.executor.waits_for_turn)

    def until(self, condition: Callable[[list[Ended[Task]]], Any]) -> list[Ended[Task]]:
        """Turns until what has ended since meets a condition; what has."""
        ended: list[Ended[Task]] = []

        def reached() -> Any:
            ended.extend(self.turn())
            return condition(ended)

        eventually(reached)
        return ended

    def outcomes(self, *tasks: Task) -> dict[bytes, Any]:
        """Runs tasks to their ends."""
        for one in tasks:
            self.executor.push(one)
        ended = self.until(lambda ended: len(ended) >= len(tasks))
        assert sorted(one.id for one, _, _ in ended) == sorted(one.id for one in tasks)
        return {one.id: outcome for one, outcome, _ in ended}

    def close(self) -> None:
        self.executor.stop(5)
        self.charging.stop(5)


@pytest.fixture
def rig(journal: Journal) -> Iterator[Rig]:
    made = Rig(journal)
    yield made
    made.close()


def task(number: int, program: openqse.Circuit = PROGRAM, shots: int = 2, **changed: Any) -> Task:
    lease = Lease("L", 7, 0, "alice", "chem", 1, Mode.SHARED, 0, 1, None, 0.0)
    session = Session(Ledger(lease), b"session", (b"c1", b"s"))
    work = device.Work(bytes.fromhex(program.id), np.empty((3, 0)), shots=shots)
    values: dict[str, Any] = {"deadline": None, "interactive": False, "arrived": 0.0}
    return Task(b"%d" % number, session, 100, work, program.program, **(values | changed))


def test_a_long_task_gives_way_after_each_slice(rig: Rig) -> None:
    order: list[bytes] = []
    run = rig.driver.run
    rig.driver.run = lambda *a, **k: (order.append(rig.executor.running[0].id), run(*a, **k))[1]  # type: ignore
    lease = Lease("M", 8, 0, "bob", "ml", 1, Mode.SHARED, 0, 1, None, 0.0)
    long = task(1, shots=1000)  # of three sets: three slices
    short = task(2, shots=1)
    short.session = Session(Ledger(lease), b"another", (b"c1", b"s"))
    found = rig.outcomes(long, short)
    assert order == [b"1", b"2", b"1", b"1"]
    assert found[b"1"].data.memory.shape == (3, 1000, 1)
    assert found[b"1"].data.qpu_time_ns == 3_000_000


def test_a_task_of_slices_is_charged_once_when_it_has_its_result(
    rig: Rig, journal: Journal
) -> None:
    rig.outcomes(task(1, shots=5000))
    (used,) = journal.usage()
    assert (used.tasks, used.shots, used.qpu_time_ns) == (1, 15_000, 15_000_000)


def test_a_task_is_cancelled_between_its_slices(rig: Rig, journal: Journal) -> None:
    executor, long = rig.executor, task(1, shots=MANY)
    executor.push(long)
    rig.until(lambda _: long.shots_done > 0)
    executor.hold(True)
    if not executor.cancel(long, TaskCancelled("enough")):  # else the loop answers it
        ((_, outcome, _),) = rig.until(bool)
        assert isinstance(outcome, TaskCancelled)
    assert 0 < long.shots_done < long.shots
    assert len(executor) == 0
    assert not executor.waits_for_turn
    assert journal.usage() == []


def small(rig: Rig, count: int, **changed: Any) -> list[Task]:
    """Tasks of one session that ask the same of one program, with numbers as parameters; the
    program has run before."""
    builder = openqse.CircuitBuilder(1, 8)
    program = builder.rx(builder.parameter("angle"), 0).measure(0, 0).build()
    tasks = [task(i, program) for i in range(count + 1)]
    tasks[0].session.tasks = count  # unanswered ones
    for i, one in enumerate(tasks):
        one.session = tasks[0].session
        one.work = replace(one.work, parameters=np.full((1, 1), float(i)), **changed)
    rig.outcomes(tasks.pop(0))
    prepared = rig.executor._programs.get(program.program)
    assert prepared is not None
    prepared.seconds = 1e-9  # QPU time alone is to count, however busy the machine is
    rig.driver.runs = 0
    return tasks


def test_small_tasks_of_one_program_run_in_one_go(rig: Rig, journal: Journal) -> None:
    tasks = small(rig, 10)
    found = rig.outcomes(*tasks)
    assert rig.driver.runs == 1
    for number, one in enumerate(tasks, 1):
        samples = found[one.id].data
        assert samples.memory.tolist() == [[[number]] * 2]
        assert samples.qpu_time_ns == 2 * rig.driver.SHOT_NS
    (used,) = journal.usage()
    assert (used.tasks, used.shots) == (11, 22)
    queue = rig.executor._queue
    assert isinstance(queue, FairQueue)
    assert queue._shares.usage((), time.monotonic()) == pytest.approx(22e-6)


def test_while_others_wait_less_is_run_in_one_go(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 4.5 * 2 * rig.driver.SHOT_NS * 1e-9
    monkeypatch.setattr("openqse_agent.qpu.tasks.dispatch._TOGETHER_WHILE_OTHERS_WAIT", limit)
    tasks = small(rig, 8)
    lease = Lease("M", 8, 0, "bob", "ml", 1, Mode.SHARED, 0, 1, None, 0.0)
    others = [task(20 + i) for i in range(8)]
    for one in others:
        one.session = Session(Ledger(lease), b"another", (b"c1", b"s"))
    rig.outcomes(*tasks, *others)
    assert rig.driver.runs == 2 + len(others)  # two of the others take longer than the limit


@pytest.mark.parametrize(
    "apart",
    [
        {"seed": 7},  # it is good for the task as it is
        {"shots": 600},  # two would be more than a slice
    ],
)
def test_tasks_that_are_to_run_alone_do(rig: Rig, apart: dict[str, Any]) -> None:
    rig.outcomes(*small(rig, 5, **apart))
    assert rig.driver.runs == 5


def test_tasks_of_other_sessions_programs_or_shots_are_not_run_along(rig: Rig) -> None:
    tasks = small(rig, 6)
    lease = Lease("M", 8, 0, "bob", "ml", 1, Mode.SHARED, 0, 1, None, 0.0)
    tasks[1].session = Session(Ledger(lease), b"another", (b"c1", b"s"))
    tasks[3].work = replace(tasks[3].work, shots=3)
    rig.outcomes(*tasks)  # those of the first: 0, 2 | 3 | 4, 5
    assert rig.driver.runs == 4


def test_of_tasks_that_fail_in_one_go_each_has_its_own_end(rig: Rig, journal: Journal) -> None:
    run = rig.driver.run

    def failing(prepared: Any, parameters: Any, *rest: Any, **place: Any) -> Any:
        if 3.0 in parameters:
            raise ValueError("an angle out of range")
        return run(prepared, parameters, *rest, **place)

    tasks = small(rig, 5)
    rig.driver.run = failing  # type: ignore[method-assign]
    tasks[0].stopped = TaskCancelled("not wanted any more")
    found = rig.outcomes(*tasks)
    assert isinstance(found[tasks[0].id], TaskCancelled)
    assert isinstance(found[tasks[2].id], DeviceError)
    assert [found[tasks[i].id].data.memory[0, 0, 0] for i in (1, 3, 4)] == [2, 4, 5]
    (used,) = journal.usage()
    assert used.tasks == 4


def test_a_question_to_the_device_is_put_between_the_slices_of_a_task(rig: Rig) -> None:
    executor, long = rig.executor, task(1, shots=MANY)
    seen: list[tuple[tuple[Task, ...], int]] = []
    executor.push(long)
    rig.until(lambda _: long.shots_done > 0)
    executor.aside(
        lambda: seen.append((executor.running, executor.estimate(PROGRAM.program, 5, 2)))
    )
    rig.until(lambda _: seen)
    assert seen == [((), 10 * rig.driver.SHOT_NS)]
    assert long.shots_done < long.shots
    assert rig.driver.prepared == 1  # what tasks have brought is not prepared again
    executor.cancel(long, TaskCancelled("enough"))


def test_questions_leave_the_device_to_the_tasks_that_wait(rig: Rig) -> None:
    executor, order = rig.executor, []
    executor._asides_from = float("inf")  # they have had their part
    executor.push(task(1))
    executor.aside(lambda: order.append(len(executor)))
    rig.until(lambda _: order)
    assert order == [0]
    for _ in range(16):
        executor.aside(lambda: None)
    with pytest.raises(LimitExceeded, match="16 estimates wait"):
        executor.aside(lambda: None)


def test_the_device_is_busy_while_it_runs_tasks_also_those_that_fail(rig: Rig) -> None:
    rig.outcomes(task(1))
    succeeded = rig.executor.busy_s
    assert succeeded > 0

    def rejected(*_: Any, **__: Any) -> Any:
        time.sleep(0.05)  # what it took
        raise ValueError("a driver's own exception")

    rig.driver.run = rejected  # type: ignore[method-assign]
    began = time.monotonic()
    rig.outcomes(task(2))
    assert 0.05 <= rig.executor.busy_s - succeeded <= time.monotonic() - began


def test_what_has_begun_ends_while_no_task_is_started(rig: Rig) -> None:
    driver, executor, long, other = rig.driver, rig.executor, task(1, shots=3000), task(2)
    driver.hold.clear()
    executor.push(long)
    executor.push(other)
    rig.until(lambda _: driver.started.acquire(blocking=False))
    executor.hold(True)
    driver.hold.set()
    ended = rig.until(bool)
    assert [(one.id, out.data.qpu_time_ns) for one, out, _ in ended] == [(b"1", 9_000_000)]
    queue = executor._queue
    assert isinstance(queue, FairQueue)
    assert queue._shares.usage((), time.monotonic()) == pytest.approx(9e-3)  # slices are charged
    assert len(executor) == 1
    executor.hold(False)
    rig.until(bool)


def test_a_charge_names_task_lease_job_account_and_all_shots(rig: Rig, journal: Journal) -> None:
    seen: list[Charge] = []
    record = journal.charge
    journal.charge = lambda charges: (seen.extend(charges), record(charges))  # type: ignore
    rig.outcomes(task(1))
    (charge,) = seen
    assert charge[:-1] == Charge("L", b"1", 1, 7, "chem", "alice", 6, 6000)[:-1]
    assert charge.waited_ns > 0


def test_a_failed_task_costs_nothing(rig: Rig, journal: Journal) -> None:
    too_wide = openqse.CircuitBuilder(5).measure_all().build()
    broken = openqse.CircuitBuilder(2).measure_all().build()
    rig.driver.broken.add(broken.id)
    late = task(2, deadline=0.0)
    stopped = task(3, stopped=TaskCancelled("gone"))
    ended = rig.outcomes(task(1, broken), late, stopped, task(4, too_wide))
    assert [type(ended[b"%d" % i]).__name__ for i in (1, 2, 3, 4)] == [
        "DeviceError",
        "DeadlineExceeded",
        "TaskCancelled",
        "NotSupported",
    ]
    assert journal.usage() == []


def test_tasks_that_fail_give_way_like_others(rig: Rig) -> None:
    """Their owner pays nothing, but its share is charged for the time that they had the device."""
    lease = Lease("M", 8, 0, "bob", "ml", 1, Mode.SHARED, 0, 1, None, 0.0)
    other = Session(Ledger(lease), b"another", (b"c1", b"s"))
    order: list[str] = []
    run = rig.driver.run

    def failing(prepared: Any, *more: Any, **named: Any) -> Any:
        account = rig.executor.running[0].lease.account
        order.append(account)
        if account == "ml":
            time.sleep(0.01)
            raise ValueError("it fails")
        return run(prepared, *more, **named)

    rig.driver.run = failing  # type: ignore[method-assign]
    bad = [task(n, shots=1) for n in range(20)]
    for one in bad:
        one.session = other
    rig.outcomes(*bad, *(task(n, shots=300) for n in range(20, 24)))
    assert "ml" in order[-10:]
    assert order.index("chem") < 3
    assert max(i for i, account in enumerate(order) if account == "chem") < 12


def test_no_more_programs_are_kept_than_configured(rig: Rig) -> None:
    programs = [openqse.CircuitBuilder(1, n).measure(0, 0).build() for n in range(1, 6)]
    rig.outcomes(*(task(n, program) for n, program in enumerate(programs)))
    assert rig.driver.prepared == 5
    rig.outcomes(task(10, programs[-1]))
    assert rig.driver.prepared == 5
    rig.outcomes(task(11, programs[0]))
    assert rig.driver.prepared == 6


def test_an_agent_whose_journal_fails_goes_on_serving(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Journal, *_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Journal, "charge", full)
        with pytest.raises(StorageError, match="charge could not be recorded"):
            rank.run(PROGRAM, shots=1)
    assert rank.run(PROGRAM, shots=1).counts == {"0": 1}
    (used,) = stack.qpus["emu0"].agent._journal.usage()
    assert used.tasks == 1


class FullDisk:
    """A journal's database that takes ``left`` more changes of leases, and no further ones."""

    def __init__(self, database: sqlite3.Connection, left: int) -> None:
        self._database = database
        self.left = left

    def execute(self, statement: str, *values: Any) -> Any:
        if "lease" in statement:
            self.left -= 1
            if self.left < 0:
                raise sqlite3.OperationalError("database or disk is full")
        return self._database.execute(statement, *values)


def test_an_agent_that_cannot_record_a_lease_refuses_it_and_goes_on_serving(
    stack: Stack,
) -> None:
    for job in (7, 8):
        stack.slurm.submit(job, {"qpu_emu0": 3})
    journal = stack.qpus["emu0"].agent._journal
    database = journal._db
    journal._db = FullDisk(database, 0)  # type: ignore[assignment]
    refusal = r"QPU agent: the journal .* cannot be written: .* full\. Ask the administrator"
    with pytest.raises(Refused, match=refusal):
        stack.attach(7, "emu0")
    journal._db = database
    assert stack.attach(8, "emu0")
    assert stack.leases("emu0") == [8]


def test_an_agent_that_cannot_record_the_end_of_a_lease_goes_on_serving(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(lease_ttl=0.2)
    for job in (7, 8):
        stack.slurm.submit(job, {"qpu_emu0": 3})
    stack.attach(7, "emu0")
    stack.stop_node()
    try:
        journal = stack.qpus["emu0"].agent._journal
        database = journal._db
        journal._db = full = FullDisk(database, 0)  # type: ignore[assignment]
        stack.slurm.end(7)  # the lease lapses and is revoked
        eventually(lambda: full.left < 0)
        journal._db = database
    finally:
        stack.start_node()
    assert stack.attach(8, "emu0")
    assert stack.leases("emu0") == [8]


def test_weights_are_read_from_slurm_when_a_lease_is_granted(
    enter: Callable[..., None], stack: Stack
) -> None:
    enter()
    shares = stack.qpus["emu0"].agent._shares
    chem, ml = ("account", "chem"), ("account", "ml")
    eventually(lambda: shares.weight(chem) == 3 * shares.weight(ml))


def test_a_job_in_a_reservation_has_its_part_of_the_qpu_time(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.slurm.reserved["course"] = Reservation("course", {"qpu_emu0": 3}, 0.0, None)
    stack.slurm.submit(7, {"qpu_emu0": 1})
    stack.slurm.known[7] = replace(stack.slurm.known[7], reservation="course")
    stack.enter(7, "emu0", monkeypatch)
    agent = stack.qpus["emu0"].agent
    key = ("reservation", "course")
    eventually(lambda: agent._shares.weight(key) == 0.75)
    with openqse.connect() as qpu:
        qpu.run(PROGRAM)
    (ledger,) = agent._intake.ledgers.values()
    assert next(iter(agent._shares.path(ledger.owner.reservation, "chem", "alice"))) == key
