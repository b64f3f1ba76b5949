"""The lease table as values and transitions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from openqse.errors import LeaseDenied, NoLease, StaleLease
from openqse_agent.qpu.leases import TRANSITIONS, Lease, LeaseTable, Mode, State


def lease(job_id: int, slots: int = 1, **changed: Any) -> Lease:
    values: dict[str, Any] = {
        "id": f"lease-{job_id}",
        "job_id": job_id,
        "uid": 1000,
        "user": "alice",
        "account": "chem",
        "slots": slots,
        "mode": Mode.SHARED,
        "restart_count": 0,
        "generation": 1,
        "ends_at": None,
        "renewed_at": 0.0,
    }
    return Lease(**(values | changed))


@pytest.fixture
def table() -> LeaseTable:
    return LeaseTable("emu0", 4)


def held(table: LeaseTable, job_id: int, slots: int = 1, *nodes: str) -> Lease:
    granted = lease(job_id, slots)
    table.grant(granted)
    for node in nodes:
        table.join(granted, node, 1, "shared", 0.0)
    return granted


def test_slots_are_free_until_they_are_granted_and_again_when_the_lease_ends(
    table: LeaseTable,
) -> None:
    first = held(table, 1, 3)
    assert (table.free, len(table)) == (1, 1)
    assert table.of_job(1) is first
    table.end(first, State.RELEASED, "its job has ended")
    assert (table.free, len(table), table.of_job(1)) == (4, 0, None)


def test_no_more_slots_are_granted_than_the_qpu_has(table: LeaseTable) -> None:
    held(table, 1, 3)
    with pytest.raises(LeaseDenied, match=r"2 slot\(s\) of emu0 asked for and 1 of 4 free"):
        table.grant(lease(2, 2))
    assert table.of_job(2) is None
    table.grant(lease(2, 1))
    assert table.free == 0


def test_a_job_has_one_lease(table: LeaseTable) -> None:
    held(table, 1)
    with pytest.raises(LeaseDenied, match="job 1 holds a lease already"):
        table.grant(lease(1, id="another"))


@pytest.mark.parametrize(
    ("holds", "asks", "mode", "complaint"),
    [
        (2, 2, "shared", None),
        (2, 1, "shared", None),
        (2, 3, "shared", r"holds 2 slot\(s\) of emu0 and its step asks for 3"),
        (4, 4, "exclusive", None),
        (4, 1, "exclusive", None),
        (2, 2, "exclusive", "holds 2 of the 4 slots of emu0; exclusive use takes all"),
    ],
)
def test_a_step_may_use_what_its_job_holds(
    table: LeaseTable, holds: int, asks: int, mode: str, complaint: str | None
) -> None:
    granted = held(table, 1, holds)
    if complaint is None:
        table.join(granted, "c1", asks, mode, 5.0)
        assert (granted.nodes, granted.renewed_at) == ({"c1"}, 5.0)
    else:
        with pytest.raises(LeaseDenied, match=complaint) as caught:
            table.join(granted, "c1", asks, mode, 5.0)
        assert "when the job is submitted" in caught.value.remedy
        assert (granted.nodes, granted.renewed_at) == (set(), 0.0)


def test_a_lease_ends_when_its_last_node_leaves(table: LeaseTable) -> None:
    granted = held(table, 1, 1, "c1", "c2")
    assert table.leave(1, "c1") is None
    assert table.leave(1, "c1") is None
    assert table.leave(1, "c9") is None
    assert table.of_job(1) is granted
    assert table.leave(1, "c2", "a former lease of the job") is None
    assert table.leave(1, "c2", granted.id) is granted
    table.end(granted, State.RELEASED, "its last node has left")
    assert table.leave(1, "c2") is None
    assert len(table) == 0


def test_a_heartbeat_renews_the_leases_that_its_node_has_joined(table: LeaseTable) -> None:
    mine, other = held(table, 1, 1, "c1"), held(table, 2, 1, "c2")
    mine.generation = 3
    assert table.renew([mine.id, other.id, "unknown"], "c1", 9.0) == {mine.id: 3}
    assert (mine.renewed_at, other.renewed_at) == (9.0, 0.0)


def test_a_lease_lapses_after_its_ttl_without_a_heartbeat(table: LeaseTable) -> None:
    first = held(table, 1, 1, "c1")
    held(table, 2, 1, "c1")
    table.renew(["lease-2"], "c1", 8.0)
    assert table.lapsed(10.0, 10.0) == []
    assert table.lapsed(10.1, 10.0) == [first]


def test_a_task_needs_its_jobs_own_lease_on_a_node_that_has_joined_it(table: LeaseTable) -> None:
    granted = held(table, 1, 1, "c1")
    held(table, 2, 1, "c1")
    assert table.check(granted.id, 1, "c1", 1) is granted
    for lease_id, node, job_id in (
        (granted.id, "c2", 1),
        (granted.id, "", 1),
        (granted.id, "c1", 2),
        ("unknown", "c1", 1),
        ("", "c1", 1),
    ):
        with pytest.raises(NoLease):
            table.check(lease_id, 1, node, job_id)
    table.end(granted, State.REVOKED, "its job has ended")
    with pytest.raises(NoLease):
        table.check(granted.id, 1, "c1", 1)


@pytest.mark.parametrize("generation", [0, 1, 3])
def test_a_holder_of_another_generation_is_fenced_off(table: LeaseTable, generation: int) -> None:
    granted = held(table, 1, 1, "c1")
    granted.generation = 2
    with pytest.raises(StaleLease) as caught:
        table.check(granted.id, generation, "c1", 1)
    assert caught.value.details == {"generation": 2}


def test_leases_of_the_journal_take_their_slots() -> None:
    table = LeaseTable("emu0", 4, [lease(1, 3, state=State.ACTIVE)])
    assert table.free == 1
    assert [x.job_id for x in table] == [1]


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_a_lease_goes_from_state_to_state_as_the_table_says(before: State, after: State) -> None:
    changing = lease(1, state=before)
    if after in TRANSITIONS[before]:
        changing.become(after)
        assert changing.state == after
    else:
        with pytest.raises(ValueError, match=f"cannot become {after} from {before}"):
            changing.become(after)
        assert changing.state == before


@pytest.mark.parametrize("how", [State.RELEASED, State.EXPIRED, State.REVOKED])
def test_the_life_of_a_lease(table: LeaseTable, how: State) -> None:
    one = lease(1, 4)
    assert (one.state, one.held) == (State.REQUESTED, False)
    table.grant(one)
    table.join(one, "c1", 1, "shared", 0.0)
    assert (one.state, one.held, table.free) == (State.GRANTED, True, 0)
    table.renew([one.id], "c1", 1.0)
    assert (one.state, one.held, table.free) == (State.ACTIVE, True, 0)
    table.end(one, how, "why")
    assert (one.state, one.held, table.free) == (State.RELEASING, False, 4)
    assert (table.releasing, table.of_job(1), list(table)) == ([one], None, [])
    with pytest.raises(NoLease):
        table.check(one.id, 1, "c1", 1)
    assert table.renew([one.id], "c1", 2.0) == {}
    table.grant(lease(1, 4, id="another"))  # its slots are free before its end is recorded
    table.ended(one)
    assert (one.state, one.reason, table.releasing) == (how, "why", [])


def test_a_node_forsakes_what_it_has_joined_and_neither_claims_nor_asks_for(
    table: LeaseTable,
) -> None:
    both, mine, other = held(table, 1, 1, "c1", "c2"), held(table, 2, 1, "c1"), held(table, 3)
    assert table.forsaken([], [], "c1") == [both, mine]
    assert table.forsaken([mine.id], [], "c1") == [both]
    assert table.forsaken([], [1], "c1") == [mine]
    assert table.forsaken([both.id, mine.id], [], "c1") == []
    assert table.forsaken([], [], "c3") == []
    assert other.nodes == set()


def test_slurmctld_is_asked_after_a_lease_once_a_ttl_and_when_its_limit_seems_over(
    table: LeaseTable,
) -> None:
    one = held(table, 1, 1, "c1")
    assert table.unconfirmed(0.0, 30.0) == [one]  # restored: nobody has said that its job runs
    assert one.confirm(None, None, 0.0) is False
    assert table.unconfirmed(29.0, 30.0) == []
    assert table.unconfirmed(31.0, 30.0) == [one]
    assert one.confirm(5010.0, 10.0, 31.0) is True  # a limit was set: ten seconds are left
    assert table.unconfirmed(40.0, 30.0) == []
    assert table.unconfirmed(41.5, 30.0) == [one]
    assert one.confirm(5020.0, 9.5, 41.5) is True  # it was extended
    assert table.unconfirmed(50.0, 30.0) == []
    assert not one.over


def test_a_limit_is_over_when_slurmctld_says_so_and_until_it_is_extended(
    table: LeaseTable,
) -> None:
    one = held(table, 1, 1, "c1")
    one.confirm(5000.0, 0.0, 1.0)
    assert one.over
    assert table.unconfirmed(2.0, 30.0) == []  # asked once a TTL, not for ever at once
    assert one.held
    one.confirm(5600.0, 599.0, 2.0)
    assert not one.over
    one.confirm(None, None, 3.0)  # without a limit, or its end not known
    assert not one.over


class AnyHistory(RuleBasedStateMachine):
    """Whatever jobs and nodes do in whatever order, slots are conserved."""

    jobs = st.integers(1, 4)
    nodes = st.sampled_from(["c1", "c2"])

    def __init__(self) -> None:
        super().__init__()
        self.table = LeaseTable("emu0", 4)
        self.model: dict[int, tuple[int, set[str]]] = {}

    @rule(job=jobs, slots=st.integers(1, 5), node=nodes)
    def attach(self, job: int, slots: int, node: str) -> None:
        used = sum(held for held, _ in self.model.values())
        granted = lease(job, slots)
        if job in self.model or used + slots > 4:
            with pytest.raises(LeaseDenied):
                self.table.grant(granted)
        else:
            self.table.grant(granted)
            self.table.join(granted, node, slots, "shared", 0.0)
            self.model[job] = (slots, {node})

    @rule(job=jobs, node=nodes)
    def join(self, job: int, node: str) -> None:
        found = self.table.of_job(job)
        assert (found is not None) == (job in self.model)
        if found is not None:
            self.table.join(found, node, 1, "shared", 0.0)
            self.model[job][1].add(node)

    @rule(job=jobs, node=nodes)
    def leave(self, job: int, node: str) -> None:
        ended = self.table.leave(job, node)
        if job in self.model:
            self.model[job][1].discard(node)
        assert (ended is not None) == (job in self.model and not self.model[job][1])
        if ended is not None:
            self.table.end(ended, State.RELEASED, "left")
            self.table.ended(ended)
            del self.model[job]

    @invariant()
    def slots_are_conserved(self) -> None:
        assert self.table.free == 4 - sum(slots for slots, _ in self.model.values())
        assert {x.job_id: (x.slots, x.nodes) for x in self.table} == self.model


AnyHistory.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestAnyHistory = AnyHistory.TestCase
