"""Jobs, ranks and slurmstepd die: nothing of theirs is left."""

from __future__ import annotations

import shlex

import pytest

from tests.support.containers import COMPUTE, Cluster, until
from tests.support.jobs import Jobs, python

#: Seconds within which everything of a dead job is gone.
GONE = 10.0
#: Milliseconds within which scancel has cancelled a job's tasks.
CANCELLED = 2000


def _running(jobs: Jobs, *options: str) -> int:
    """A job of two ranks that use both QPUs' slots all the time."""
    job = jobs.submit("--qpu=emu0:3", "-n2", *options, wrap=["srun", "-K", *python("steady.py")])
    jobs.until_lines(job, 2)
    return job


def _gone(cluster: Cluster) -> None:
    until(lambda: cluster.left_behind() == [], GONE, "nothing left")


_TASKS = "openqse status emu0 --json | grep -o '\"tasks\": [0-9]*' | grep -o '[0-9]*$'"


def _tasks(cluster: Cluster) -> int:
    """Tasks at emu0's agent that have not ended."""
    return int(cluster.check(_TASKS).out)


def test_scancel_of_a_running_job(jobs: Jobs, cluster: Cluster) -> None:
    job = _running(jobs, "-N2")
    assert {node for row in cluster.leases() for node in row["nodes"]} == set(COMPUTE)
    jobs.cancel(job)
    _gone(cluster)
    assert jobs.describe(job)["JobState"] == "CANCELLED"


def test_scancel_cancels_the_tasks_that_wait(jobs: Jobs, cluster: Cluster) -> None:
    job = jobs.submit("--qpu=emu0", "-n1", wrap=["srun", *python("backlog.py")])
    jobs.until_lines(job, 1)
    assert _tasks(cluster) > 100
    said = cluster.check(
        f"scancel {job} && began=$(date +%s%N) && until [ $({_TASKS}) = 0 ]; do :; done;"
        "echo $((($(date +%s%N) - began) / 1000000))"
    )
    assert int(said.out) < CANCELLED
    _gone(cluster)


def test_scancel_with_sigkill(jobs: Jobs, cluster: Cluster) -> None:
    job = _running(jobs, "-N2")
    cluster.check(["scancel", "--signal=KILL", "--full", str(job)])
    _gone(cluster)


def test_a_killed_rank(jobs: Jobs, cluster: Cluster) -> None:
    job = _running(jobs, "-N1", "-w", "c1")
    victim = jobs.lines(job)[0]["pid"]
    cluster.check(f"kill -9 {victim}", service="c1")
    jobs.wait(job, "FAILED")
    _gone(cluster)


def test_a_killed_rank_whose_job_goes_on_takes_its_tasks_with_it(
    jobs: Jobs, cluster: Cluster
) -> None:
    step = shlex.join(["srun", *python("backlog.py")])
    job = jobs.submit("--qpu=emu0", "-n1", "-w", "c1", wrap=f"{step}; sleep 60")
    jobs.until_lines(job, 1)
    assert _tasks(cluster) > 100
    killed = cluster.check("pkill -9 -e -f '^[^ ]*python[^ ]* [^ ]*backlog.py'", service="c1")
    assert killed.out.count("killed") == 1
    until(lambda: _tasks(cluster) == 0, 4, "its tasks are cancelled")
    assert jobs.describe(job)["JobState"] == "RUNNING"
    assert cluster.usage(job)[0]["tasks"] < 150  # they did not just end
    jobs.cancel(job)
    _gone(cluster)


@pytest.mark.parametrize("step", ["0", "batch"])
def test_a_killed_slurmstepd(jobs: Jobs, cluster: Cluster, step: str) -> None:
    """Slurm does not miss it for minutes; the user's scancel ends the job and what it left."""
    job = _running(jobs, "-N1", "-w", "c1")
    killed = cluster.check(f"pkill -9 -e -f '^slurmstepd: \\[{job}\\.{step}\\]'", service="c1")
    assert "slurmstepd" in killed.out
    jobs.cancel(job)
    until(lambda: jobs.describe(job)["JobState"] != "RUNNING", 30, "the job ended")
    until(lambda: cluster.leases() == [], GONE, "no lease")
    # Ranks that nobody killed find their socket gone, and end.
    until(lambda: cluster.left_behind() == [], 2 * GONE, "nothing left")
