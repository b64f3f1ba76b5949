"""Simulated sites: what is conserved, small cases by hand, and how policies compare."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse_simulator.measures import Report
from openqse_simulator.policies import POLICIES, Settings
from openqse_simulator.scenarios import SCENARIOS, exclusive
from openqse_simulator.site import simulate
from openqse_simulator.traces import Job, Session, Site, Trace

SLICE = Settings(slice=1.0, interactive_credit=0.0, idle_credit=0.0)


def session(
    *seconds: float, think: float = 0.0, window: int = 1, interactive: bool = False
) -> Session:
    every = len(seconds)
    pauses, urgent = np.full(every, think), np.full(every, interactive)
    return Session(np.array(seconds), pauses, urgent, window)


def job(name: str, *sessions: Session, account: str = "", **more: object) -> Job:
    made = {"submitted": 0.0, **more}
    return Job(name, account or name, name, sessions=sessions, **made)  # type: ignore[arg-type]


def site(*jobs: Job, shares: dict[str, int] | None = None, **size: int) -> Trace:
    equal = {each.account: 1 for each in jobs}
    return Trace(Site(**size), shares or equal, list(jobs))


def drawn(scenario: str, tasks: int = 2000, seed: int = 1) -> Trace:
    return SCENARIOS[scenario](tasks, np.random.default_rng(seed))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_task_is_served_once_and_wholly(scenario: str, policy: str) -> None:
    trace = drawn(scenario)
    report = simulate(trace, policy)
    asked = dict.fromkeys(trace.shares, 0.0)
    for each in trace.jobs:
        asked[each.account] += sum(float(s.seconds.sum()) for s in each.sessions)
    assert report.tasks == trace.tasks
    assert report.jobs == len(trace.jobs)
    np.testing.assert_allclose(report.service[-1], list(asked.values()))
    assert report.qpu_seconds == pytest.approx(sum(asked.values()))
    assert (np.diff(report.times) >= 0).all()
    assert (np.diff(report.service, axis=0) >= 0).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_it_is_determined_by_the_seed(policy: str) -> None:
    first, again = (simulate(drawn("centre"), policy) for _ in range(2))
    assert first.figures() == again.figures()
    np.testing.assert_array_equal(first.service, again.service)
    other = simulate(drawn("centre", seed=2), policy)
    assert other.figures() != first.figures()


@pytest.mark.parametrize("policy", POLICIES)
def test_one_job_takes_its_time_alone(policy: str) -> None:
    report = simulate(site(job("a", session(2, 3, 4, think=5))), policy, SLICE)
    assert report.makespan == pytest.approx(9 + 15)
    assert report.qpu_utilisation == pytest.approx(9 / 24)
    assert report.node_utilisation == pytest.approx(1 / 8)
    assert report.mean_slowdown == pytest.approx(1)
    assert report.share_error is None
    assert report.interactive_wait_slices_p99 is None


def test_think_time_of_one_job_is_used_by_another() -> None:
    trace = site(job("a", session(*[1] * 10, think=1)), job("b", session(*[1] * 10, think=1)))
    shared = simulate(trace, "fifo", SLICE)
    alone = simulate(exclusive(trace), "fifo", SLICE)
    assert shared.makespan == pytest.approx(21)
    assert alone.makespan == pytest.approx(40)
    assert alone.qpu_utilisation == pytest.approx(0.5)
    assert alone.mean_slowdown == pytest.approx((20 + 40) / 2 / 20)


def test_a_long_task_gives_way_after_each_slice() -> None:
    """A task of 10 s, and one of 1 s that comes at 2.5 s: it waits for the rest of one slice."""
    late = session(1, think=2.5)
    trace = site(job("a", session(10)), job("b", late, account="b"))
    for policy, end, waited in (("fair", 4.0, 1), ("round-robin", 4.0, 1), ("fifo", 11.0, 8)):
        report = simulate(trace, policy, SLICE)
        assert report.batch_wait_slices_p99 == waited
        ends = report.times[np.searchsorted(report.service[:, 1], 1.0)]
        assert ends == pytest.approx(end)


def test_an_interactive_task_goes_first_within_its_lead() -> None:
    many = session(*[1] * 30, window=30)
    quick = session(0.1, think=5.5, interactive=True)
    trace = site(job("a", many), job("b", many), job("c", many), job("d", quick))
    led = simulate(trace, "fair", Settings(slice=1.0, interactive_credit=2.0, idle_credit=0.0))
    assert led.interactive_wait_slices_p99 == 1
    assert simulate(trace, "fifo", SLICE).interactive_wait_slices_p99 == 85


def test_partition_leaves_unused_parts_idle() -> None:
    trace = site(
        job("a", session(3)), job("b", session(1)), shares={"a": 3, "b": 1, "absent": 4}
    )  # fmt: skip
    report = simulate(trace, "partition", SLICE)
    assert report.makespan == pytest.approx(8)
    assert report.qpu_utilisation == pytest.approx(0.5)


def test_tasks_are_sent_at_their_times() -> None:
    timed = Session(np.ones(3), np.array([0.0, 0.5, 10.0]), np.zeros(3, np.bool_), timed=True)
    report = simulate(site(job("a", timed, submitted=2.0)), "fifo", SLICE)
    assert report.makespan == pytest.approx(11)
    assert report.batch_wait_slices_p99 == 1


def contended(report: Report) -> tuple[float, float]:
    assert report.share_error is not None
    assert report.jain is not None
    return report.share_error, report.jain


@pytest.mark.parametrize("scenario", ["backlog", "centre"])
def test_fair_shares_better_than_first_come_first_served(scenario: str) -> None:
    trace = drawn(scenario, 10_000)
    error, index = contended(simulate(trace, "fair"))
    worse, lower = contended(simulate(trace, "fifo"))
    assert error < 0.03
    assert index > 0.999
    assert worse > 1
    assert lower < 0.9


def test_fair_serves_interactive_tasks_within_two_slices() -> None:
    report = simulate(drawn("backlog", 10_000), "fair")
    assert report.interactive_wait_slices_p99 is not None
    assert report.interactive_wait_slices_p99 <= 2


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.floats(0, 5), st.integers(1, 3), st.integers(1, 2),
            st.lists(st.floats(0.01, 3), min_size=1, max_size=6), st.floats(0, 2),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(sorted(POLICIES)),
)  # fmt: skip
def test_sites_end_between_the_bounds_of_their_jobs(
    drawn_jobs: list[tuple[str, float, int, int, list[float], float]], policy: str
) -> None:
    """No earlier than each job alone, no later than all of them one after the other."""
    jobs = [
        job(str(i), session(*seconds, think=think), account=account, submitted=submitted,
            nodes=nodes, slots=slots)
        for i, (account, submitted, nodes, slots, seconds, think) in enumerate(drawn_jobs)
    ]  # fmt: skip
    trace = site(*sorted(jobs, key=lambda each: each.submitted), nodes=3, slots=2)
    report = simulate(trace, policy)
    total = sum(sum(seconds) for *_, seconds, _ in drawn_jobs)
    thought = sum(len(seconds) * think for *_, seconds, think in drawn_jobs)
    first, last = jobs_span(jobs)
    slower = sum(trace.shares.values()) if policy == "partition" else 1
    assert report.makespan <= last - first + slower * total + thought + 1e-6
    assert report.makespan >= max(each.submitted - first + each.alone for each in jobs) - 1e-6


def jobs_span(jobs: list[Job]) -> tuple[float, float]:
    submitted = [each.submitted for each in jobs]
    return min(submitted), max(submitted)


def test_progress_is_told() -> None:
    told: list[int] = []
    simulate(drawn("backlog", 25_000), "fifo", progress=told.append)
    assert told == [10_000, 20_000]
