"""A task's life as values: whatever happens in whatever order, each task ends once."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from test_executor import task

from openqse import device
from openqse.errors import DeviceError, OpenQSEError, TaskCancelled
from openqse_agent.qpu.charges.commit import Ended
from openqse_agent.qpu.leases import Lease, Mode
from openqse_agent.qpu.tasks.dispatch import Batch, Dispatch, stops
from openqse_agent.qpu.tasks.programs import Prepared
from openqse_agent.qpu.tasks.queue import FairQueue
from openqse_agent.qpu.tasks.sessions import Ledger, Session
from openqse_agent.qpu.tasks.shares import ShareTree
from openqse_agent.qpu.tasks.task import TRANSITIONS, State, Task

SLICE = 1e-3
BLOCKED = 2**40  # bytes of results not taken
REASON = TaskCancelled("not wanted any more")


@pytest.mark.parametrize("state", State)
def test_a_task_goes_no_other_way_than_the_table_says(state: State) -> None:
    for to in State:
        one = task(1)
        one.state = state
        if to in TRANSITIONS[state]:
            one.become(to)
            assert one.state is to
        else:
            with pytest.raises(ValueError, match=f"cannot become {to} from {state}"):
                one.become(to)


def test_every_state_is_reached_and_only_an_answered_task_stays() -> None:
    reached = {State.QUEUED, *itertools.chain(*TRANSITIONS.values())}
    assert reached == set(State)
    assert [state for state, after in TRANSITIONS.items() if not after] == [State.ANSWERED]


class Lives(RuleBasedStateMachine):
    """Tasks of three sessions of two accounts at a device that takes three at once."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[Task] = FairQueue(
            ShareTree(), interactive_credit=0.5, idle_credit=0.5
        )
        self.dispatch = Dispatch(self.queue, SLICE)
        self.sessions = []
        for name, account in (("L", "chem"), ("M", "ml")):
            lease = Lease(name, 7, 0, "alice", account, 1, Mode.SHARED, 0, 1, None, 0.0)
            ledger = Ledger(lease)
            for number in range(2):
                session = Session(ledger, f"{name}{number}".encode(), (b"c1", b"s"))
                self.sessions.append(session)
        self.prepared = Prepared(None, 1, 1, seconds=1e-5, qpu_time=1e-5)
        self.tasks: list[Task] = []
        self.ended: dict[Task, object] = {}
        self.cancelled: set[Task] = set()
        self.charged = 0.0
        self.now = 0.0

    def clock(self) -> float:
        self.now += 1e-4
        return self.now

    @rule(session=st.integers(0, 3), interactive=st.booleans(), sets=st.integers(1, 3))
    def push(self, session: int, interactive: bool, sets: int) -> None:
        one = task(len(self.tasks), interactive=interactive, arrived=self.clock())
        one.session = self.sessions[session]
        one.work = device.Work(one.work.program, np.empty((sets, 0)), 4)
        self.tasks.append(one)
        self.dispatch.push(one)

    @precondition(lambda self: len(self.dispatch.under_way) < 3)
    @rule(ran_before=st.booleans())
    def begin(self, ran_before: bool) -> None:
        one = self.dispatch.next(self.clock())
        if one is None:
            return
        assert not one.session.blocked or self.dispatch.held
        prepared = self.prepared if ran_before else None
        batch = self.dispatch.begin(one, prepared, SLICE, self.now)
        assert len({(t.session, t.interactive) for t in batch.tasks}) == 1
        self.dispatch.advance(batch, 5e-4)
        batch.handle, batch.handled = object(), batch.tasks

    @precondition(lambda self: self.dispatch.under_way)
    @rule(which=st.integers(0, 2), how=st.sampled_from(["result", "failure", "more"]))
    def end(self, which: int, how: str) -> None:
        batch = self.dispatch.under_way[which % len(self.dispatch.under_way)]
        results = [self.result(one, how, len(batch.tasks) == 1) for one in batch.tasks]
        self.charged += sum(took * 1e-9 for _, took in results)
        for ended in self.dispatch.end(batch, results, self.clock()):
            self.take(ended)

    def result(
        self, one: Task, how: str, alone: bool
    ) -> tuple[device.Outcome | OpenQSEError | None, int]:
        if how == "failure":
            return DeviceError("it failed"), 1000
        if how == "more" and alone:
            one.join = one.join or device.Join(one.work)
            return None, 1000
        rows = np.zeros((len(one.work.parameters), 4, 1), np.uint8)
        return device.Outcome(device.Samples(rows, 1000), "c"), 1000

    def take(self, ended: Ended[Task]) -> None:
        assert ended.task not in self.ended
        assert (ended.charge is None) == isinstance(ended.outcome, OpenQSEError)
        self.ended[ended.task] = ended.outcome

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 10**6))
    def cancel(self, which: int) -> None:
        one = self.tasks[which % len(self.tasks)]
        before = one.state
        told = self.dispatch.cancel(one, REASON)
        self.cancelled.add(one)
        if before in (State.QUEUED, State.PARKED):
            assert told is None
            assert one.state is State.ENDED
            self.ended[one] = one.stopped
        elif told is not None:
            assert one in told.tasks
            assert stops(told)

    @rule(session=st.integers(0, 3), blocked=st.booleans())
    def take_results(self, session: int, blocked: bool) -> None:
        one = self.sessions[session]
        one.kept_size = BLOCKED if blocked else 0
        if not blocked:
            self.dispatch.resume(one.ledger)

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        self.dispatch.held = held

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        waiting, running = list(self.queue.waiting()), list(self.dispatch.running)
        places = [*waiting, *running, *self.dispatch.parked(), *self.ended]
        assert sorted(one.id for one in places) == sorted(one.id for one in self.tasks)
        assert {one.state for one in waiting} <= {State.QUEUED}
        assert {one.state for one in running} <= {State.RUNNING, State.STOPPING}
        assert {one.state for one in self.dispatch.parked()} <= {State.PARKED}
        assert {one.state for one in self.ended} <= {State.ENDED}

    @invariant()
    def what_stops_has_been_cancelled(self) -> None:
        assert {one for one in self.tasks if one.state is State.STOPPING} <= self.cancelled

    @invariant()
    def shares_are_charged_what_was_taken(self) -> None:
        used = self.queue._shares.usage((), self.now)
        assert used == pytest.approx(self.charged, rel=1e-3, abs=1e-12)

    def teardown(self) -> None:
        """All that is left ends, when nothing keeps it from that."""
        self.dispatch.held = False
        for session in self.sessions:
            session.kept_size = 0
            self.dispatch.resume(session.ledger)
        for _ in range(1000):
            one = self.dispatch.next(self.clock())
            if one is not None:
                self.dispatch.begin(one, None, SLICE, self.now)
            if not self.dispatch.under_way:
                break
            batch: Batch = self.dispatch.under_way[0]
            results = [self.result(one, "result", False) for one in batch.tasks]
            for ended in self.dispatch.end(batch, results, self.clock()):
                self.take(ended)
        assert set(self.ended) == set(self.tasks)
        assert len(self.queue) == 0
        assert not self.dispatch.can_begin


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
