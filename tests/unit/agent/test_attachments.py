"""Attach and detach on a node as values: what follows from what, whatever the order of things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from openqse.errors import AgentUnavailable, LeaseDenied
from openqse.site import Site, SiteQPU
from openqse.wire import leases as wire
from openqse_agent.node import hooks
from openqse_agent.node.attach import (
    ATTACH_TRANSITIONS,
    DETACH_TRANSITIONS,
    Attaching,
    Attachments,
    AttachState,
    Detaching,
    DetachState,
)
from openqse_agent.node.events import (
    Action,
    Ask,
    Close,
    CloseQPU,
    Event,
    Fail,
    Granted,
    JobEnds,
    Leave,
    Left,
    Open,
    Opened,
    Refused,
    Renewed,
    Restored,
    StepAttaches,
    Succeed,
    Tick,
    Write,
)
from openqse_agent.node.jobs import Job

QPUS = ("emu0", "emu1")
SITE = Site({name: SiteQPU(name, 4, f"tcp://{name}", "") for name in QPUS})
TIMEOUT = 4.0


def request(job_id: int, *qpus: str, restarts: int = 0, slots: int = 1) -> hooks.Attach:
    return hooks.Attach(job_id, 1000, 1000, restarts, dict.fromkeys(qpus, slots), "shared")


def granted(qpu: str, job_id: int, lease: str, slots: int = 1) -> Granted:
    grant = wire.LeaseGrant(slots, wire.Mode.SHARED, 600.0, {}, 5)
    return Granted(qpu, job_id, lease, 1, grant)


class Desk:
    """The attachments of a node whose sockets can be made unless ``disk_full``."""

    def __init__(self) -> None:
        self.attachments = Attachments(SITE, Path("/run/openqse"), TIMEOUT)
        self.now = 0.0
        self.disk_full = False

    def hears(self, event: Event) -> list[Action]:
        """What follows, sockets made on the way included."""
        done: list[Action] = []
        for action in self.attachments.handle(event, self.now):
            done.append(action)
            if isinstance(action, Open):
                error = "the disk is full" if self.disk_full else None
                done += self.hears(Opened(action.job.id, error))
        return done

    def attach(self, hook: int, job_id: int, *qpus: str, **options: Any) -> list[Action]:
        return self.hears(StepAttaches(hook, request(job_id, *qpus, **options)))

    def attached(self, job_id: int, *qpus: str) -> Job:
        """A job that holds these QPUs."""
        self.attach(0, job_id, *qpus)
        for qpu in qpus:
            self.hears(granted(qpu, job_id, f"{qpu}-{job_id}"))
        return self.attachments.jobs[job_id]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def of(kind: type[Any], actions: list[Action]) -> list[Any]:
    return [action for action in actions if isinstance(action, kind)]


def test_a_step_is_answered_when_all_of_its_qpus_have_granted(desk: Desk) -> None:
    assert [ask.qpu for ask in desk.attach(1, 7, "emu1", "emu0")] == ["emu1", "emu0"]
    assert desk.hears(granted("emu0", 7, "A")) == []
    assert desk.attachments.jobs == {}
    (answer,) = of(Succeed, desk.hears(granted("emu1", 7, "B")))
    assert (answer.hook, answer.environment["OPENQSE_QPUS"]) == (1, "emu1:1,emu0:1")
    assert answer.environment["OPENQSE_SOCKET"] == "/run/openqse/job-7/node.sock"
    assert desk.attachments.held("emu0") == {"A": 1}


def test_what_one_qpu_refuses_is_given_back_at_all(desk: Desk) -> None:
    desk.attach(1, 7, "emu0", "emu1")
    desk.hears(granted("emu0", 7, "A"))
    actions = desk.hears(Refused("emu1", 7, LeaseDenied("no")))
    assert of(Leave, actions) == [Leave("emu0", 7, ""), Leave("emu1", 7, "")]
    assert [fail.hook for fail in of(Fail, actions)] == [1]
    assert desk.hears(granted("emu1", 7, "B")) == []  # too late
    assert desk.attachments.jobs == {}


def test_a_qpu_agent_that_does_not_answer_is_asked_again_and_named_in_the_end(desk: Desk) -> None:
    desk.attach(1, 7, "emu0", "emu1")
    desk.hears(granted("emu0", 7, "A"))
    desk.now = 1.5
    assert desk.hears(Tick()) == [Ask("emu1", request(7, "emu0", "emu1"), 2.5)]
    desk.now = 4.5
    (fail,) = of(Fail, desk.hears(Tick()))
    assert isinstance(fail.error, AgentUnavailable)
    assert "emu1" in str(fail.error)


def test_sockets_that_cannot_be_made_cost_all_that_was_granted(desk: Desk) -> None:
    desk.disk_full = True
    desk.attach(1, 7, "emu0")
    actions = desk.hears(granted("emu0", 7, "A"))
    assert [type(action) for action in actions] == [Open, CloseQPU, Close, Leave, Fail]
    assert "cannot be made: the disk is full" in str(of(Fail, actions)[0].error)


def test_a_later_step_that_fails_leaves_the_job_what_it_had(desk: Desk) -> None:
    job = desk.attached(7, "emu0")
    desk.disk_full = True
    desk.attach(2, 7, "emu0", "emu1")
    actions = desk.hears(granted("emu1", 7, "B"))
    assert [type(action) for action in actions] == [Open, CloseQPU, Leave, Fail]
    assert (desk.attachments.jobs, list(job.holdings)) == ({7: job}, ["emu0"])


def test_a_step_whose_earlier_lease_is_revoked_while_it_asks_for_another_gets_neither(
    desk: Desk,
) -> None:
    desk.attached(7, "emu0")
    desk.attach(2, 7, "emu0", "emu1")
    desk.hears(Renewed("emu0", wire.Pong(revoked={"emu0-7": "its job has ended"})))
    actions = desk.hears(granted("emu1", 7, "B"))
    assert "lease of emu0 was revoked" in str(of(Fail, actions)[0].error)
    assert desk.attachments.jobs == {}


def test_steps_that_come_while_their_job_attaches_follow(desk: Desk) -> None:
    desk.attach(1, 7, "emu0")
    assert desk.attach(2, 7, "emu0") == []
    assert desk.attach(3, 7, "emu1") == []
    actions = desk.hears(granted("emu0", 7, "A"))
    assert [answer.hook for answer in of(Succeed, actions)] == [1, 2]
    assert [ask.qpu for ask in of(Ask, actions)] == ["emu1"]
    (last,) = of(Succeed, desk.hears(granted("emu1", 7, "B")))
    assert (last.hook, last.environment["OPENQSE_QPUS"]) == (3, "emu0:1,emu1:1")


def test_a_requeued_job_begins_anew_whatever_its_former_run_holds_or_asks_for(desk: Desk) -> None:
    desk.attached(7, "emu0")
    desk.attach(2, 7, "emu1")
    actions = desk.attach(3, 7, "emu0", restarts=1)
    assert [fail.hook for fail in of(Fail, actions)] == [2]
    assert of(Leave, actions) == [Leave("emu1", 7, ""), Leave("emu0", 7, "emu0-7")]
    assert of(Close, actions) == [Close(7)]
    assert [ask.request.restart_count for ask in of(Ask, actions)] == [1]


def test_a_job_that_ends_while_it_attaches_is_refused_and_detached(desk: Desk) -> None:
    desk.attach(1, 7, "emu0")
    actions = desk.hears(JobEnds(2, 7))
    assert [fail.hook for fail in of(Fail, actions)] == [1]
    assert {leave.qpu for leave in of(Leave, actions)} == set(QPUS)  # it is not known here
    assert desk.hears(Left("emu0", 7)) == []
    assert desk.hears(Left("emu1", 7)) == [Succeed(2, {})]


def test_a_detach_does_not_wait_for_ever(desk: Desk) -> None:
    desk.attached(7, "emu0")
    assert of(Succeed, desk.hears(JobEnds(2, 7))) == []
    desk.now = 3.5
    assert desk.hears(Tick()) == [Succeed(2, {})]


def test_detaches_with_an_attach_between_them_are_all_answered(desk: Desk) -> None:
    desk.attached(7, "emu0")
    desk.hears(JobEnds(2, 7))
    assert desk.hears(JobEnds(3, 7)) == []
    desk.attached(7, "emu1")
    desk.hears(JobEnds(4, 7))
    answers = [*desk.hears(Left("emu0", 7)), *desk.hears(Left("emu1", 7))]
    assert {answer.hook for answer in of(Succeed, answers)} == {2, 3, 4}


def test_a_lease_that_is_no_more_closes_its_socket_and_the_last_one_the_job(desk: Desk) -> None:
    job = desk.attached(7, "emu0", "emu1")
    gone = wire.Pong(revoked={"emu0-7": "its job has ended"})
    assert desk.hears(Renewed("emu0", gone)) == [CloseQPU(7, "emu0"), Write(job)]
    assert job.revoked == {"emu0-7": "its job has ended"}
    gone = wire.Pong(revoked={"emu1-7": "its job has ended"})
    assert desk.hears(Renewed("emu1", gone)) == [CloseQPU(7, "emu1"), Close(7)]


def test_generations_are_those_of_the_last_heartbeat(desk: Desk) -> None:
    desk.attached(7, "emu0")
    desk.hears(Renewed("emu0", wire.Pong(leases={"emu0-7": 5})))
    assert desk.attachments.held("emu0") == {"emu0-7": 5}


def test_a_restored_job_goes_on_without_qpus_that_the_site_no_longer_has(desk: Desk) -> None:
    job = desk.attached(7, "emu0")
    fewer = Attachments(Site({"emu1": SITE.qpu("emu1")}), Path("/run"), TIMEOUT)
    assert fewer.handle(Restored(job), 0.0) == [Open(job, ())]
    assert fewer.handle(Opened(7, "no space"), 0.0) == [Close(7)]


def test_no_state_follows_but_those_of_the_tables() -> None:
    for before in AttachState:
        for after in AttachState:
            attaching = Attaching([StepAttaches(1, request(7))], (), 0.0, 0.0, state=before)
            if after in ATTACH_TRANSITIONS[before]:
                attaching.become(after)
            else:
                with pytest.raises(ValueError, match=f"cannot become {after}"):
                    attaching.become(after)
    for before_ in DetachState:
        for after_ in DetachState:
            detaching = Detaching(7, 0.0, set(), [], state=before_)
            if after_ in DETACH_TRANSITIONS[before_]:
                detaching.become(after_)
            else:
                with pytest.raises(ValueError, match=f"cannot become {after_}"):
                    detaching.become(after_)


class AnyHistory(RuleBasedStateMachine):
    """Whatever the plugin, the QPU agents, the disk and deaths do, and in whatever order: a job has
    all that a step was told, or the step was refused; every hook is answered once; what is
    recorded, open and held agree; and nothing of a job that ended is left."""

    jobs = st.integers(1, 2)
    wishes = st.sampled_from([("emu0",), ("emu1",), ("emu0", "emu1")])
    qpus = st.sampled_from(QPUS)

    def __init__(self) -> None:
        super().__init__()
        self.attachments = Attachments(SITE, Path("/run/openqse"), TIMEOUT)
        self.now = 0.0
        self.hook = 0
        self.disk_full = False
        self.steps: dict[int, tuple[str, ...]] = {}  # hooks that wait, and what they ask for
        self.ends: set[int] = set()
        self.sockets: dict[int, set[str]] = {}
        self.records: dict[int, set[str]] = {}
        self.mail: list[tuple[str, int, str]] = []  # on the way to QPU agents
        self.leases: dict[tuple[str, int], str] = {}  # what QPU agents believe of this node
        self.numbers = 0

    def handle(self, event: Event) -> None:
        for action in self.attachments.handle(event, self.now):
            match action:
                case Ask(qpu, request, left):
                    assert 0.0 <= left <= TIMEOUT + 1e-6
                    self.mail.append((qpu, request.job_id, "attach"))
                case Leave(qpu, job_id, _):
                    self.mail.append((qpu, job_id, "detach"))
                case Open(job, qpus):
                    self.open(job, qpus)
                case CloseQPU(job_id, qpu):
                    self.sockets.get(job_id, set()).discard(qpu)
                case Write(job):
                    self.records[job.id] = set(job.holdings)
                case Close(job_id):
                    self.records.pop(job_id, None)
                    self.sockets.pop(job_id, None)
                case Succeed(hook, environment):
                    self.succeeded(hook, dict(environment))
                case Fail(hook, _):
                    del self.steps[hook]

    def open(self, job: Job, qpus: tuple[str, ...]) -> None:
        opened = self.sockets.setdefault(job.id, set())
        opened |= set(qpus[:1] if self.disk_full else qpus)
        if not self.disk_full:
            self.records[job.id] = set(job.holdings)
        self.handle(Opened(job.id, "full" if self.disk_full else None))

    def succeeded(self, hook: int, environment: dict[str, str]) -> None:
        if hook in self.ends:
            self.ends.remove(hook)
            return
        wanted, job_id = self.steps.pop(hook), int(environment["OPENQSE_JOB_ID"])
        assert set(wanted) <= self.sockets[job_id]
        assert set(wanted) <= self.records[job_id]

    @rule(job_id=jobs, wish=wishes, restarts=st.sampled_from([0, 0, 0, 1]))
    def step(self, job_id: int, wish: tuple[str, ...], restarts: int) -> None:
        self.hook += 1
        self.steps[self.hook] = wish
        self.handle(StepAttaches(self.hook, request(job_id, *wish, restarts=restarts)))

    @rule(job_id=jobs)
    def end(self, job_id: int) -> None:
        self.hook += 1
        self.ends.add(self.hook)
        self.handle(JobEnds(self.hook, job_id))

    @precondition(lambda self: self.mail)
    @rule(fate=st.sampled_from(["heard", "heard", "heard", "refused", "lost", "answer lost"]))
    def qpu_agent(self, fate: str) -> None:
        """The next message arrives, or does not; so does its answer."""
        qpu, job_id, what = self.mail.pop(0)
        if fate == "lost":
            return
        if what == "detach":
            self.leases.pop((qpu, job_id), None)
            answer: Event = Left(qpu, job_id)
        elif fate == "refused":
            answer = Refused(qpu, job_id, LeaseDenied("no"))
        else:
            self.numbers += 1
            lease = self.leases.setdefault((qpu, job_id), f"L{self.numbers}")
            answer = granted(qpu, job_id, lease)
        if fate != "answer lost":
            self.handle(answer)

    @rule(qpu=qpus, loses=st.sampled_from([None, None, 1, 2]))
    def heartbeat(self, qpu: str, loses: int | None) -> None:
        """The QPU agent hears what this node holds and asks for; it may have revoked a lease."""
        if loses is not None:
            self.leases.pop((qpu, loses), None)
        held, asking = self.attachments.held(qpu), self.attachments.asking
        for where, job_id in list(self.leases):
            if where == qpu and self.leases[where, job_id] not in held and job_id not in asking:
                del self.leases[where, job_id]
        known = {lease for (where, _), lease in self.leases.items() if where == qpu}
        renewed = {lease: generation for lease, generation in held.items() if lease in known}
        revoked = {lease: "gone" for lease in held if lease not in known}
        self.handle(Renewed(qpu, wire.Pong(leases=renewed, revoked=revoked)))

    @rule(full=st.booleans())
    def disk(self, full: bool) -> None:
        self.disk_full = full

    @rule(seconds=st.sampled_from([0.2, 1.5, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.handle(Tick())

    @rule()
    def all_is_heard(self) -> None:
        while self.mail:
            self.qpu_agent("heard")

    @rule()
    def die(self) -> None:
        """The agent is killed, and its next run finds what was recorded."""
        jobs = dict(self.attachments.jobs)
        self.attachments = Attachments(SITE, Path("/run/openqse"), TIMEOUT)
        self.steps, self.ends, self.sockets, self.mail = {}, set(), {}, []
        self.disk_full = False
        for job_id in list(self.records):
            self.handle(Restored(jobs[job_id]))

    @invariant()
    def what_is_recorded_open_and_held_agrees(self) -> None:
        held = {job.id: set(job.holdings) for job in self.attachments.jobs.values()}
        assert held == self.records == self.sockets
        assert all(held.values())

    def teardown(self) -> None:
        """In the end everybody is answered, and QPU agents believe what is so."""
        self.disk_full = False
        for _ in range(4):
            self.all_is_heard()
            self.wait(5.0)
        assert (self.steps, self.ends) == ({}, set())
        for qpu in QPUS:
            self.heartbeat(qpu, None)
            assert set(self.attachments.held(qpu)) == {
                lease for (where, _), lease in self.leases.items() if where == qpu
            }
        for job_id in (1, 2):
            self.end(job_id)
        self.all_is_heard()
        assert (self.attachments.jobs, self.sockets, self.records, self.leases) == ({}, {}, {}, {})


AnyHistory.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyHistory = AnyHistory.TestCase
