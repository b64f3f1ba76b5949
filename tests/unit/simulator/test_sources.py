"""Traces from what a site has recorded: a QPU agent's journal, and Slurm's accounting."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_journal import charge
from test_leases import lease

from openqse.errors import ConfigurationError
from openqse_agent.qpu.journal import Journal
from openqse_agent.qpu.leases import Mode
from openqse_simulator import sources
from openqse_simulator.policies import POLICIES
from openqse_simulator.site import simulate
from openqse_simulator.traces import Site, Trace


def test_a_journal_is_replayed_with_its_jobs_and_charges(tmp_path: Path) -> None:
    path = tmp_path / "state" / "emu0.sqlite"
    journal = Journal(path)
    journal.write_lease(lease(1, 2))
    journal.write_lease(lease(2, mode=Mode.EXCLUSIVE))
    journal.charge(
        [
            charge(b"first", qpu_time_ns=2_000_000_000),
            charge(b"second", qpu_time_ns=500_000_000, waited_ns=10**9),
            charge(b"other", 2, lease="lease-2", qpu_time_ns=250_000_000),
        ]
    )
    journal.settle()
    journal.close()
    trace = sources.load(path)
    assert [(job.name, job.slots, job.exclusive) for job in trace.jobs] == [
        ("1", 2, False),
        ("2", 1, True),
    ]
    assert [sorted(job.sessions[0].seconds.tolist()) for job in trace.jobs] == [[0.5, 2.0], [0.25]]
    assert all((job.sessions[0].think >= 0).all() for job in trace.jobs)
    report = simulate(trace, "fair")
    assert (report.tasks, report.qpu_seconds) == (3, pytest.approx(2.75))


HEAD = "JobIDRaw|Account|User|Submit|Start|End|NNodes|TimelimitRaw|AllocTRES|AdminComment\n"


def printed(path: Path, *rows: str) -> Trace:
    """The trace of what ``sacct --parsable2`` printed on 31 January 2027, from hour to hour."""
    day = "2027-01-31T"
    text = HEAD + "".join(row.replace("@", day) + "\n" for row in rows)
    path.write_text(text)
    return sources.load(path)


def row(
    job: int, begin: str, end: str, comment: str, *, nodes: int = 1, slots: int = 1, qpu: str = "a"
) -> str:
    held = f"billing=1,license/qpu_{qpu}={slots},node={nodes}"
    return f"{job}|chem|alice|@08:00:00|@{begin}|@{end}|{nodes}|60|{held}|{comment}"


def test_accounting_is_replayed_with_the_sums_of_each_job(tmp_path: Path) -> None:
    used = "the site's own openqse:qpu_time/a=20.0,tasks/a=40,shots/a=4000,waited/a=60.0"
    trace = printed(tmp_path / "jobs", row(1, "08:00:10", "08:03:30", used, nodes=3, slots=2))
    (job,) = trace.jobs
    assert (job.name, job.account, job.user) == ("1", "chem", "alice")
    assert (job.submitted, job.limit, job.nodes, job.slots) == (0.0, 3600.0, 3, 2)
    (session,) = job.sessions
    assert session.seconds.tolist() == [0.5] * 40
    assert session.think.tolist() == [3.0] * 40  # 200 s less 20 s and 60 s, between 40 tasks
    assert session.window == 1
    assert trace.site == Site(nodes=3, qpus=1, slots=2)
    for policy in POLICIES:
        assert simulate(trace, policy).qpu_seconds == pytest.approx(20)


def test_tasks_that_waited_longer_than_their_job_took_were_in_flight_together(
    tmp_path: Path,
) -> None:
    used = "openqse:qpu_time/a=50.0,tasks/a=100,shots/a=1,waited/a=350.0"
    trace = printed(tmp_path / "jobs", row(1, "08:00:00", "08:01:40", used))
    (session,) = trace.jobs[0].sessions
    assert session.window == 4
    assert not session.think.any()


def test_the_site_has_what_was_in_use_at_a_time(tmp_path: Path) -> None:
    def used(qpu: str) -> str:
        return f"openqse:qpu_time/{qpu}=1.0,tasks/{qpu}=1,shots/{qpu}=1,waited/{qpu}=0.0"

    trace = printed(
        tmp_path / "jobs",
        row(1, "08:00:00", "09:00:00", used("a"), nodes=2, slots=2),
        row(2, "08:30:00", "10:00:00", used("a"), nodes=4),
        row(3, "09:00:00", "10:00:00", used("b"), nodes=3, slots=2, qpu="b"),
        row(4, "10:00:00", "11:00:00", used("b"), nodes=5, qpu="b"),
    )
    assert trace.site == Site(nodes=7, qpus=2, slots=3)
    assert [job.qpu for job in trace.jobs] == [0, 0, 1, 1]


def test_jobs_that_used_no_qpu_or_have_not_ended_are_left_out(tmp_path: Path) -> None:
    used = "openqse:qpu_time/a=1.0,tasks/a=1,shots/a=1,waited/a=0.0"
    ended = row(1, "08:00:00", "09:00:00", used)
    trace = printed(
        tmp_path / "jobs",
        row(2, "08:00:00", "09:00:00", "nothing of ours"),
        row(3, "08:00:00", "09:00:00", used).replace("@09:00:00", "Unknown"),
        ended,
        ended,  # of a job that was resized
    )
    assert [job.name for job in trace.jobs] == ["1"]


def test_of_several_qpus_the_busiest_counts(tmp_path: Path) -> None:
    used = ",".join(
        f"qpu_time/{qpu}={time},tasks/{qpu}=2,shots/{qpu}=1,waited/{qpu}=0.0"
        for qpu, time in (("b", 3.0), ("a", 8.0))
    )
    trace = printed(tmp_path / "jobs", row(1, "08:00:00", "09:00:00", f"openqse:{used}", slots=4))
    (job,) = trace.jobs
    assert job.sessions[0].seconds.tolist() == [4.0, 4.0]
    assert job.slots == 4


@pytest.mark.parametrize(
    "comment", ["", "openqse:qpu_time/a", "openqse:qpu_time/a=x,tasks/a=1,waited/a=0"]
)
def test_accounting_without_a_legible_job_is_refused(comment: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no trace"):
        printed(tmp_path / "jobs", row(1, "08:00:00", "09:00:00", comment))
