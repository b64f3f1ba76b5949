"""What a job did stands in its record, to the nanosecond, and counts in the fair tree."""

from __future__ import annotations

import json
import re

from tests.support.accounting import UsageBefore, raw_usage
from tests.support.containers import Cluster, until
from tests.support.jobs import START, Jobs, python


def test_a_thousand_tasks_from_two_nodes(jobs: Jobs, cluster: Cluster) -> None:
    """Each result once and right; their QPU times add up to what the job is charged."""
    job = jobs.submit(
        "--qpu=emu0:2", "-N2", "-n4", wrap=["srun", "--mpi=pmix", *python("thousand.py")]
    )
    jobs.wait(job, "COMPLETED", 180)
    (line,) = jobs.lines(job)
    assert line["ranks"] == 4
    assert line["nodes"] == ["c1", "c2"]
    assert line["numbers"] == list(range(1000))
    assert line["wrong"] == []
    assert line["task_ids"] == 1000
    (row,) = cluster.usage(job)
    assert row["tasks"] == 1000
    assert row["shots"] == 4000
    assert row["qpu_time_ns"] == line["qpu_time_ns"] > 0
    assert (row["account"], row["user"]) == ("chem", "alice")


def test_slurm_client_reads_a_running_job(jobs: Jobs, cluster: Cluster) -> None:
    """The question that a QPU agent puts to slurmctld, put from its container."""
    job = jobs.submit("--qpu=emu0:2,emu1", "--time=7", wrap="sleep 120")
    jobs.wait(job, "RUNNING")
    ask = (
        "import json, dataclasses\n"
        "from openqse_agent.slurm.commands import Commands\n"
        "client = Commands(5.0)\n"
        f"found = client.jobs([{job}, 1_000_000_000])\n"
        "print(json.dumps({id: dataclasses.asdict(job) for id, job in found.items()}))\n"
        "print(json.dumps(list(client.fair_tree().accounts)))\n"
    )
    said = cluster.check(["python", "-c", ask], service="qpu").out.splitlines()
    jobs.cancel(job)
    found, accounts = map(json.loads, said)
    assert list(found) == [str(job)]
    record = found[str(job)]
    assert record["running"]
    assert record["state"] == "RUNNING"
    assert (record["uid"], record["user"], record["account"]) == (2001, "alice", "chem")
    assert record["licenses"] == {"qpu_emu0": 2, "qpu_emu1": 1}
    assert record["restart_count"] == 0
    assert record["end_time"] is not None
    assert {"chem", "ml"} <= set(accounts)


def test_sacct_shows_slots_and_billing(jobs: Jobs, cluster: Cluster) -> None:
    job = jobs.submit("--qpu=emu0:3,emu1", wrap=["srun", *python("bell.py", "emu0")])
    jobs.wait(job, "COMPLETED")

    def recorded() -> dict[str, str]:
        columns = "State,Account,AllocTRES"
        said = cluster.check(["sacct", "-X", "-n", "-P", "-j", str(job), "-o", columns]).out
        state, account, tres = said.strip().split("|") if said.strip() else ("", "", "")
        if state != "COMPLETED":
            return {}
        return {"account": account, **dict(item.split("=") for item in tres.split(","))}

    record = until(recorded, START, f"job {job} is in the accounting")
    assert record["account"] == "chem"
    assert record["license/qpu_emu0"] == "3"
    assert record["license/qpu_emu1"] == "1"
    assert record["billing"] == "4"


def test_a_job_without_qpu_is_not_billed(jobs: Jobs, cluster: Cluster) -> None:
    job = jobs.submit("-N1", wrap="true")
    record = jobs.wait(job, "COMPLETED")
    assert "billing" not in record.get("AllocTRES", "")


def test_slurm_agrees_with_the_site_file(cluster: Cluster) -> None:
    said = cluster.check(["openqse", "site", "check", "--json"], service="slurmctld").out
    findings = json.loads(said)
    assert findings
    assert [finding for finding in findings if not finding["agrees"]] == []


def test_qpu_slots_count_in_the_fair_tree(
    jobs: Jobs, cluster: Cluster, usage_before: UsageBefore
) -> None:
    """RawUsage of the account grows by slots times seconds of all jobs of these tests.

    Slurm adds it once a minute (PriorityCalcPeriod=1).
    """
    job = jobs.submit("--qpu=emu0:4", wrap=["sleep", "3"])
    jobs.wait(job, "COMPLETED")
    columns = "--format=ElapsedRaw,AllocTRES"
    since = f"--starttime={usage_before.at}"

    def billed() -> int:
        said = cluster.check(["sacct", "-X", "-n", "-P", "-A", "chem", since, columns]).out
        rows = re.findall(r"^(\d+)\|(?:.*,)?billing=(\d+)", said, re.MULTILINE)
        return sum(int(seconds) * int(billing) for seconds, billing in rows)

    until(lambda: billed() >= 12, START, "the job is in the accounting")
    expected = billed()
    until(
        lambda: raw_usage(cluster) - usage_before.raw >= 0.9 * expected,
        90,
        f"usage of the account chem grew by about {expected} from {usage_before.raw}",
    )
