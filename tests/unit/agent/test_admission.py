"""Admission as values: what follows from what, in whatever order things happen."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from openqse.errors import LeaseDenied, ProtocolError, SlurmError, StaleLease, StorageError
from openqse.site import SiteQPU
from openqse.wire import leases as wire
from openqse_agent.qpu.leases import LeaseTable, Mode
from openqse_agent.qpu.leases.admission import Admission
from openqse_agent.qpu.leases.candidate import TRANSITIONS, Candidate, Stage
from openqse_agent.qpu.leases.events import (
    Action,
    Answered,
    AskSlurm,
    Confirm,
    EndForLimit,
    Event,
    Grant,
    Heard,
    Question,
    ReadShares,
    Record,
    Recorded,
    RecordEnd,
    Refuse,
    Renew,
    Revoke,
    Sender,
    Tick,
)
from openqse_agent.slurm.client import ANY_JOB, Job

SLOTS = 4
TTL = 30.0


def job(job_id: int, slots: int = 1, **changed: Any) -> Job:
    made = Job(
        id=job_id,
        running=True,
        state="RUNNING",
        uid=1000,
        user="alice",
        account="chem",
        licenses={"qpu_emu0": slots},
        end_time=None,
        restart_count=0,
        leader=job_id,
    )
    return replace(made, **changed)


def sender(job_id: int, node: str = "c1", run: str = "a") -> Sender:
    return Sender((f"{node}-{run}".encode(), b""), job_id.to_bytes(8, "big"))


def attach(job_id: int, node: str = "c1", run: str = "a", slots: int = 1, **changed: Any) -> Heard:
    values = {"uid": 1000, "node": node, "restart_count": 0, "mode": Mode.SHARED} | changed
    return Heard(sender(job_id, node, run), wire.Attach(job_id=job_id, slots=slots, **values))


def detach(job_id: int, node: str = "c1", run: str = "a", lease: str = "") -> Heard:
    return Heard(sender(job_id, node, run), wire.Detach(job_id, node, lease))


def heartbeat(leases: dict[str, int], node: str = "c1", run: str = "a", **more: Any) -> Heard:
    return Heard(sender(0, node, run), wire.Heartbeat(leases, **({"asking": ()} | more)))


class Desk:
    """An admission whose actions are looked at; records go well unless ``disk_full``."""

    def __init__(self) -> None:
        self.table = LeaseTable("emu0", SLOTS)
        numbers = count(1)
        self.admission = Admission(
            SiteQPU("emu0", SLOTS, "", ""), self.table, TTL, lambda: f"L{next(numbers)}"
        )
        self.now = 0.0
        self.disk_full = False

    def hears(self, event: Event) -> list[Action]:
        """What follows, but for the records that are carried out on the way."""
        done: list[Action] = []
        for action in self.admission.handle(event, self.now):
            if isinstance(action, Record | RecordEnd):
                error = StorageError("the disk is full") if self.disk_full else None
                done += self.hears(Recorded(action, error))
            else:
                done.append(action)
        return done

    def admits(self, *jobs: Job, **options: Any) -> list[Action]:
        """Attaches the first of the jobs, with slurmctld knowing all of them."""
        (ask,) = self.hears(attach(jobs[0].id, **options))
        assert isinstance(ask, AskSlurm)
        return self.hears(Answered(ask.question, {j.id: j for j in jobs}))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def only(kind: type[Any], actions: list[Action]) -> Any:
    (found,) = (action for action in actions if isinstance(action, kind))
    return found


def test_a_job_is_granted_what_slurmctld_says_it_holds(desk: Desk) -> None:
    grant = only(Grant, desk.admits(job(7, 3)))
    assert (grant.lease.slots, grant.lease.nodes, grant.sender) == (3, {"c1"}, sender(7))
    assert desk.table.free == 1


def test_all_nodes_of_a_job_wait_for_one_question(desk: Desk) -> None:
    ask = only(AskSlurm, desk.hears(attach(7)))
    assert desk.hears(attach(7, "c2")) == []
    assert desk.hears(attach(7)) == []  # it has asked again: it is answered once
    actions = desk.hears(Answered(ask.question, {7: job(7)}))
    grants = [action.sender.node for action in actions if isinstance(action, Grant)]
    assert grants == ["c1", "c2"]


def test_who_asks_for_too_much_is_refused_and_the_lease_ends_without_a_node(desk: Desk) -> None:
    actions = desk.admits(job(7, 1), slots=2)
    assert isinstance(only(Refuse, actions).error, LeaseDenied)
    assert only(Revoke, actions).reason == "no node joined it"
    assert desk.table.free == SLOTS


def test_a_lease_that_cannot_be_recorded_is_not_granted(desk: Desk) -> None:
    desk.disk_full = True
    actions = desk.admits(job(7))
    assert isinstance(only(Refuse, actions).error, StorageError)
    assert (desk.table.free, len(desk.table.releasing)) == (SLOTS, 1)
    desk.disk_full = False
    desk.hears(Tick())
    assert desk.table.releasing == []


def test_the_first_component_of_a_heterogeneous_job_holds_the_licenses(desk: Desk) -> None:
    ask = only(AskSlurm, desk.hears(attach(8)))
    component = job(8, leader=7, licenses={})
    further = only(AskSlurm, desk.hears(Answered(ask.question, {8: component})))
    assert further.question.ids == (8, 7)
    actions = desk.hears(Answered(further.question, {8: component, 7: job(7)}))
    lease = only(Grant, actions).lease
    assert (lease.job_id, lease.jobs) == (7, {7, 8})


def test_slots_of_jobs_that_ended_unheard_are_looked_for_before_a_job_is_refused(
    desk: Desk,
) -> None:
    desk.admits(job(7, 3))
    ask = only(AskSlurm, desk.admits(job(8, 3)))
    assert ask.question.ids == (8, 7)
    ended = job(7, running=False, state="COMPLETED")
    actions = desk.hears(Answered(ask.question, {8: job(8, 3), 7: ended}))
    assert only(Revoke, actions).lease.job_id == 7
    assert only(Grant, actions).lease.job_id == 8


def test_slots_that_are_not_free_are_refused_once_their_holders_have_been_asked_after(
    desk: Desk,
) -> None:
    desk.admits(job(7, 3))
    ask = only(AskSlurm, desk.admits(job(8, 3)))
    actions = desk.hears(Answered(ask.question, {8: job(8, 3), 7: job(7, 3)}))
    assert "1 of 4 free" in str(only(Refuse, actions).error)
    assert [lease.job_id for lease in desk.table] == [7]


def test_an_answer_after_all_nodes_have_left_grants_nothing(desk: Desk) -> None:
    ask = only(AskSlurm, desk.hears(attach(7)))
    assert desk.hears(detach(7)) == [Confirm(sender(7))]
    again = only(AskSlurm, desk.hears(attach(7)))
    assert desk.hears(Answered(ask.question, {7: job(7)})) == []
    assert only(Grant, desk.hears(Answered(again.question, {7: job(7)})))


def test_a_defect_costs_the_job_an_error_and_no_node_waits_for_ever(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(LeaseTable, "grant", fail)
    assert "a defect" in str(only(Refuse, desk.admits(job(7))).error)


def test_a_later_run_of_a_nodes_agent_takes_the_place_of_the_former(desk: Desk) -> None:
    lease = only(Grant, desk.admits(job(7))).lease
    lease.confirmed_at = 5.0
    assert only(Renew, desk.hears(heartbeat({lease.id: 1}, run="b"))).renewed == (lease,)
    assert lease.confirmed_at == float("-inf")  # its job may have ended meanwhile
    for message in (heartbeat({}), detach(7), attach(7)):
        assert isinstance(only(Refuse, desk.hears(message)).error, StaleLease)
    assert lease.held


def test_a_requeued_job_loses_its_former_lease(desk: Desk) -> None:
    former = only(Grant, desk.admits(job(7))).lease
    actions = desk.hears(attach(7, restart_count=1))
    assert only(Revoke, actions).lease is former
    again = job(7, restart_count=1)
    ask = only(AskSlurm, actions)
    assert only(Grant, desk.hears(Answered(ask.question, {7: again}))).lease.id != former.id


def test_nobody_attaches_in_the_name_of_another_node(desk: Desk) -> None:
    event = attach(7)
    forged = replace(event, message=replace(event.message, node="c2"))  # type: ignore[arg-type]
    assert isinstance(only(Refuse, desk.hears(forged)).error, ProtocolError)


def test_a_job_over_its_limit_has_its_tasks_ended_and_keeps_its_lease(desk: Desk) -> None:
    lease = only(Grant, desk.admits(job(7, end_time=100.0, remaining=5.0))).lease
    desk.now = 6.0
    ask = only(AskSlurm, desk.hears(Tick()))
    over = job(7, end_time=100.0, remaining=-1.0)
    assert desk.hears(Answered(ask.question, {7: over})) == [EndForLimit(lease)]
    assert lease.held


def test_shares_are_read_when_a_lease_is_granted_and_once_a_minute(desk: Desk) -> None:
    assert only(ReadShares, desk.admits(job(7)))
    assert not any(isinstance(action, ReadShares) for action in desk.admits(job(8)))
    desk.now = 61.0
    assert only(ReadShares, desk.hears(Tick()))


def test_that_slurmctld_answers_at_all_is_asked_once_a_ttl(desk: Desk) -> None:
    ask = only(AskSlurm, desk.hears(Tick()))
    assert ask.question.ids == (ANY_JOB,)
    desk.now = 100.0
    assert desk.hears(Tick()) == []  # one such question at a time
    desk.hears(Answered(ask.question, SlurmError("down")))
    assert desk.admission.slurm_error is not None
    desk.now = 103.0
    again = only(AskSlurm, desk.hears(Tick()))
    desk.hears(Answered(again.question, {}))
    assert desk.admission.slurm_error is None
    desk.now = 110.0
    assert desk.hears(Tick()) == []


def test_no_stage_of_an_attach_follows_but_those_of_the_table() -> None:
    for before in Stage:
        for after in Stage:
            candidate = Candidate(7, 0.0, Question(1, (7,)), stage=before)
            if after in TRANSITIONS[before]:
                candidate.become(after)
            else:
                with pytest.raises(ValueError, match=f"cannot come to {after}"):
                    candidate.become(after)


class AnyHistory(RuleBasedStateMachine):
    """Whatever node agents, slurmctld and the disk do, and in whatever order: slots are conserved,
    whoever asks is answered, nobody holds what is not in the journal, and nothing of an ended job
    is left in the end."""

    jobs = st.integers(1, 3)
    nodes = st.sampled_from(["c1", "c2"])

    def __init__(self) -> None:
        super().__init__()
        self.table = LeaseTable("emu0", SLOTS)
        numbers = count(1)
        self.admission = Admission(
            SiteQPU("emu0", SLOTS, "", ""), self.table, TTL, lambda: f"L{next(numbers)}"
        )
        self.now = 0.0
        self.slurm: dict[int, Job] = {}
        self.runs = {"c1": 0, "c2": 0}
        self.questions: list[Question] = []
        self.records: list[Record | RecordEnd] = []
        self.journal: dict[str, set[str]] = {}  # nodes by lease that has not ended
        self.waiting: set[tuple[str, int]] = set()
        self.holds: dict[str, dict[str, int]] = {"c1": {}, "c2": {}}  # jobs by lease, by node

    def handle(self, event: Event) -> None:
        for action in self.admission.handle(event, self.now):
            match action:
                case AskSlurm(question):
                    self.questions.append(question)
                case Record() | RecordEnd():
                    self.records.append(action)
                case Grant(to, lease, _):
                    assert lease.held
                    assert to.node in self.journal[lease.id]
                    self.answered(to)
                    self.holds[to.node][lease.id] = lease.job_id
                case Refuse(to, _):
                    self.answered(to)
                case Revoke(lease, _):
                    assert not lease.held
                case Renew(to, renewed, revoked):
                    for lease_id in revoked:
                        self.holds[to.node].pop(lease_id)
                    assert {lease.id for lease in renewed} == self.holds[to.node].keys()

    def answered(self, to: Sender) -> None:
        self.waiting.discard((to.node, int.from_bytes(to.task, "big")))

    def run_of(self, node: str) -> str:
        return f"r{self.runs[node]}"

    def running(self, job_id: int) -> bool:
        return job_id in self.slurm and self.slurm[job_id].running

    def starts(self, job_id: int, slots: int) -> None:
        """Slurm gives a job no more licenses than there are."""
        held = (j.licenses["qpu_emu0"] for j in self.slurm.values() if j.running)
        if not self.running(job_id) and sum(held) + slots <= SLOTS:
            former = self.slurm.get(job_id)
            restarts = former.restart_count + 1 if former else 0
            self.slurm[job_id] = job(job_id, slots, restart_count=restarts)

    @rule(job_id=jobs)
    def finish(self, job_id: int) -> None:
        if self.running(job_id):
            self.slurm[job_id] = replace(self.slurm[job_id], running=False, state="COMPLETED")

    @rule(job_id=jobs, node=nodes, slots=st.integers(1, 3))
    def attach(self, job_id: int, node: str, slots: int) -> None:
        self.starts(job_id, slots)
        if self.running(job_id):
            self.waiting.add((node, job_id))
            restarts = self.slurm[job_id].restart_count
            self.handle(attach(job_id, node, self.run_of(node), restart_count=restarts))

    @rule(job_id=jobs)
    def attach_everywhere(self, job_id: int) -> None:
        for node in self.holds:
            self.attach(job_id, node, 1)

    @rule(job_id=jobs, node=nodes)
    def leave(self, job_id: int, node: str) -> None:
        self.waiting.discard((node, job_id))
        held = self.holds[node]
        for lease_id in [each for each, holder in held.items() if holder == job_id]:
            del held[lease_id]
        self.handle(detach(job_id, node, self.run_of(node)))

    @rule(node=nodes)
    def beat(self, node: str) -> None:
        asking = tuple(job_id for where, job_id in self.waiting if where == node)
        claims = dict.fromkeys(self.holds[node], 1)
        self.handle(heartbeat(claims, node, self.run_of(node), asking=asking))

    @rule(node=nodes)
    def restart(self, node: str) -> None:
        """A node agent that is restarted holds what it has recorded, and asks for nothing."""
        self.runs[node] += 1
        self.waiting = {entry for entry in self.waiting if entry[0] != node}
        self.beat(node)

    @precondition(lambda self: self.questions)
    @rule(which=st.integers(0, 9), down=st.sampled_from([False, False, True]))
    def slurmctld_answers(self, which: int, down: bool) -> None:
        question = self.questions.pop(which % len(self.questions))
        known = {i: self.slurm[i] for i in question.ids if i in self.slurm}
        self.handle(Answered(question, SlurmError("down") if down else known))

    @precondition(lambda self: self.records)
    @rule(full=st.sampled_from([False, False, True]))
    def disk(self, full: bool) -> None:
        """Records are carried out in their order, however late."""
        record = self.records.pop(0)
        lease = record.lease
        if not full:
            if isinstance(record, Record):
                self.journal[lease.id] = set(lease.nodes)
            else:
                self.journal.pop(lease.id, None)
        self.handle(Recorded(record, StorageError("full") if full else None))

    @precondition(lambda self: self.questions or self.records)
    @rule()
    def all_goes_well(self) -> None:
        self.settle()

    @rule(seconds=st.sampled_from([0.2, 3.0, TTL + 1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.handle(Tick())

    @invariant()
    def slots_are_conserved(self) -> None:
        assert 0 <= self.table.free == SLOTS - sum(lease.slots for lease in self.table)
        assert len({lease.job_id for lease in self.table}) == len(self.table)

    def settle(self) -> None:
        while self.questions or self.records:
            if self.records:
                self.disk(full=False)
            else:
                self.slurmctld_answers(0, down=False)

    def teardown(self) -> None:
        """In the end all is quiet, and everything agrees."""
        self.settle()
        assert self.waiting == set()
        self.wait(0.2)  # what the disk did not take is recorded now
        self.settle()
        for node in self.holds:
            self.beat(node)
        self.settle()
        held = {lease.id: lease.nodes for lease in self.table}
        assert held.keys() == self.journal.keys()
        # That a node has left may not be recorded: a restart finds it out by the heartbeats.
        assert all(nodes <= self.journal[lease] for lease, nodes in held.items())
        assert held == {
            lease: {node for node, leases in self.holds.items() if lease in leases}
            for lease in set().union(*self.holds.values())
        }
        for _ in range(2):
            for job_id in self.slurm:
                self.finish(job_id)
            self.wait(TTL + 1)
            self.settle()
        assert (list(self.table), self.table.releasing, self.journal) == ([], [], {})
        for node in self.holds:
            self.beat(node)
        assert self.holds == {"c1": {}, "c2": {}}


AnyHistory.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyHistory = AnyHistory.TestCase
