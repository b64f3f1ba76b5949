"""A job waits in Slurm's queue until QPU slots and nodes are free together."""

from __future__ import annotations

import pytest

from tests.support.containers import Cluster, until
from tests.support.jobs import START, Jobs, python


@pytest.mark.parametrize("second", ["alice", "bob"])
def test_a_held_qpu_makes_the_next_job_wait(jobs: Jobs, cluster: Cluster, second: str) -> None:
    first = jobs.submit("--qpu=emu1", "-N1", wrap=["srun", *python("bell.py", "--hold")])
    (held,) = jobs.until_lines(first, 1)
    follower = jobs.submit("--qpu=emu1", "-N1", wrap=["srun", *python("bell.py")], user=second)
    record = jobs.wait(follower, "PENDING", Reason="Licenses")
    assert record["NodeList"] in ("", "(null)")
    # No node idles for it: the other one serves a job that needs no QPU.
    other = jobs.srun("-N1", "--exclusive", "hostname", deadline=START).out.strip()
    assert other != held["node"]
    assert jobs.describe(follower)["JobState"] == "PENDING"
    jobs.cancel(first)
    jobs.wait(follower, "COMPLETED")
    (line,) = jobs.lines(follower, user=second)
    assert line["correlated"]
    assert line["lease"] != held["lease"]


def test_jobs_share_the_slots(jobs: Jobs, cluster: Cluster) -> None:
    """Two users' jobs run on one QPU at once; a third waits for the slots that they leave."""
    held = ["srun", *python("bell.py", "--hold")]
    first = jobs.submit("--qpu=emu0:2", wrap=held)
    other = jobs.submit("--qpu=emu0:1", wrap=held, user="bob")
    jobs.wait(first, "RUNNING")
    jobs.wait(other, "RUNNING")
    third = jobs.submit("--qpu=emu0:2", wrap=["srun", *python("bell.py")])
    jobs.wait(third, "PENDING", Reason="Licenses")
    jobs.until_lines(first, 1)
    holders = {row["job_id"]: (row["account"], row["slots"]) for row in cluster.leases("emu0")}
    assert holders[first] == ("chem", 2)
    assert third not in holders
    jobs.cancel(other)
    jobs.wait(third, "COMPLETED")


def test_a_jobs_licenses_and_its_lease_stay_together(jobs: Jobs, cluster: Cluster) -> None:
    """Its user cannot give them back; what an administrator takes the lease follows."""
    job = jobs.submit("--qpu=emu0:2", wrap=["srun", *python("bell.py", "--hold")])
    jobs.until_lines(job, 1)
    give_back = ["scontrol", "update", f"JobId={job}", "Licenses="]
    refused = cluster.start(give_back, user="alice").result()
    assert refused.code != 0, refused
    assert "submit the job again, or ask the administrator" in refused.err
    assert jobs.describe(job)["Licenses"] == "qpu_emu0:2"
    assert job in {row["job_id"] for row in cluster.leases("emu0")}
    cluster.check(give_back)
    until(
        lambda: job not in {row["job_id"] for row in cluster.leases("emu0")},
        30,
        "the lease of a job without licenses ends",
    )
    jobs.cancel(job)


def test_exclusive_takes_all_slots(jobs: Jobs) -> None:
    first = jobs.submit(
        "--qpu=emu0", "--qpu-mode=exclusive", wrap=["srun", *python("bell.py", "--hold")]
    )
    (line,) = jobs.until_lines(first, 1)
    assert (line["mode"], line["slots"]) == ("exclusive", 4)
    second = jobs.submit("--qpu=emu0", wrap=["srun", *python("bell.py")])
    jobs.wait(second, "PENDING", Reason="Licenses")
    jobs.cancel(first)
    jobs.wait(second, "COMPLETED")
