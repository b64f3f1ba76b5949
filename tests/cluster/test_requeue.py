"""A job that starts again releases its lease and gets a new one."""

from __future__ import annotations

from typing import Any

from tests.support.containers import Cluster
from tests.support.jobs import START, Jobs, python

#: A requeued job waits for AuthInfo's cred_expire of slurm_conf/slurm.conf before it starts again.
AGAIN = START + 20


def _second_run(jobs: Jobs, job: int, first: dict[str, Any]) -> None:
    jobs.wait(job, "RUNNING", AGAIN, Restarts="1")
    before, second = jobs.until_lines(job, 2)
    assert before == first
    assert second["correlated"]
    assert second["qpu"] == first["qpu"]
    assert second["lease"] != first["lease"]


def _submit(jobs: Jobs, *options: str) -> tuple[int, dict[str, Any]]:
    job = jobs.submit(*options, "--open-mode=append", wrap=["srun", *python("bell.py", "--hold")])
    (first,) = jobs.until_lines(job, 1)
    assert jobs.describe(job)["Restarts"] == "0"
    return job, first


def test_a_requeued_job_attaches_again(jobs: Jobs, cluster: Cluster) -> None:
    job, first = _submit(jobs, "--qpu=emu0:2")
    cluster.check(["scontrol", "requeue", str(job)])
    jobs.wait(job, "PENDING")
    assert [row for row in cluster.leases() if row["job_id"] == job] == []
    _second_run(jobs, job, first)
    (row,) = [row for row in cluster.leases() if row["job_id"] == job]
    assert row["slots"] == 2
    assert row["generation"] == 1


def test_a_preempted_job_attaches_again(jobs: Jobs, cluster: Cluster) -> None:
    """A job of the partition urgent takes the only slot of emu1 from one of batch."""
    job, first = _submit(jobs, "--qpu=emu1", "-N1")
    urgent = jobs.submit(
        "--qpu=emu1", "-N1", "--partition=urgent", wrap=["srun", *python("bell.py")], user="bob"
    )
    jobs.wait(urgent, "COMPLETED")
    (line,) = jobs.lines(urgent, user="bob")
    assert line["correlated"]
    assert line["qpu"] == "emu1"
    assert line["lease"] != first["lease"]
    _second_run(jobs, job, first)
