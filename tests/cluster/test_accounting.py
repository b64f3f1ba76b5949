"""Slurm's side of sharing: limits of accounts on QPU slots, the fair tree, and the bill."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.support.containers import Cluster, Command, until
from tests.support.jobs import START, Jobs, python

#: Seconds within which the record of a job that has ended says what it used.
RECORDED = 60.0

# Asked in the QPU agents' container as they ask, of jobs of which they have nothing to tell.
RECORD = """
import json, sys
from openqse.errors import SlurmError
from openqse_agent.slurm.choice import connect
from openqse_agent.slurm.client import QPUUse
job, use = json.loads(sys.argv[1])
try:
    said = connect("auto", 3.0).record_use(job, {qpu: QPUUse(*used) for qpu, used in use.items()})
    print(json.dumps({"said": said}))
except SlurmError as error:
    print(json.dumps({"error": str(error)}))
"""
TREE = """
import json
from openqse_agent.slurm.choice import connect
tree = connect("auto", 3.0).fair_tree()
print(json.dumps({
    "half_life": tree.half_life,
    "accounts": {name: [each.parent, each.shares] for name, each in tree.accounts.items()},
    "users": {" ".join(key): shares for key, shares in tree.users.items()},
    "usage": {" ".join(key): used for key, used in tree.usage.items()},
}))
"""

#: QPU time, tasks, shots and time waited, by QPU.
Use = Mapping[str, tuple[float, int, int, float]]
USE: Use = {"emu0": (1.5, 3, 300, 0.25)}
WORD = "openqse:qpu_time/emu0=1.5,tasks/emu0=3,shots/emu0=300,waited/emu0=0.25"


def manage(cluster: Cluster, *words: str) -> None:
    cluster.check(["sacctmgr", "-i", "-Q", *words])


def associations(cluster: Cluster) -> str:
    columns = "format=account,parentname,user,partition,fairshare,grptres,grptresmins"
    return cluster.check(["sacctmgr", "-n", "-P", "show", "associations", columns]).out


@contextmanager
def made_account(cluster: Cluster) -> Iterator[str]:
    """An account of alice's below chem that has used nothing and is gone afterwards."""
    before = associations(cluster)
    name = f"test{secrets.token_hex(3)}"
    try:
        manage(cluster, "add", "account", name, "parent=chem")
        manage(cluster, "add", "user", "alice", f"account={name}")
        yield name
    finally:
        # Slurm removes no association with jobs, and jobs end in their time.
        cluster.check(["scancel", f"--account={name}"])
        remove = ["sacctmgr", "-i", "-Q", "delete", "user", "alice", f"account={name}"]
        until(lambda: cluster.run(remove).code == 0, START, f"no job of {name} is left")
        manage(cluster, "delete", "account", name)
        assert associations(cluster) == before


@pytest.fixture
def account(cluster: Cluster) -> Iterator[str]:
    with made_account(cluster) as name:
        yield name


@pytest.fixture
def another(cluster: Cluster, account: str) -> Iterator[str]:
    with made_account(cluster) as name:
        yield name


def test_a_limit_of_slots_holds_the_accounts_second_job(
    jobs: Jobs, cluster: Cluster, account: str
) -> None:
    manage(cluster, "modify", "account", account, "set", "GrpTRES=license/qpu_emu0=1")
    first = jobs.submit("-A", account, "--qpu=emu0", wrap="sleep 120")
    jobs.wait(first, "RUNNING")
    second = jobs.submit("-A", account, "--qpu=emu0", wrap="sleep 120")
    jobs.wait(second, "PENDING", Reason="AssocGrpLicense")
    others = jobs.submit("-A", "chem", "--qpu=emu0", wrap="sleep 120")
    jobs.wait(others, "RUNNING")
    jobs.wait(second, "PENDING", Reason="AssocGrpLicense")
    jobs.cancel(first)
    jobs.wait(second, "RUNNING")


def test_a_limit_of_minutes_stops_an_account_that_has_used_them(
    jobs: Jobs, cluster: Cluster, account: str
) -> None:
    """Four slots for a quarter of a minute are one minute."""
    manage(cluster, "modify", "account", account, "set", "GrpTRESMins=license/qpu_emu0=1")
    spender = jobs.submit("-A", account, "--qpu=emu0:4", wrap="sleep 16")
    jobs.wait(spender, "COMPLETED")
    late = jobs.submit("-A", account, "--qpu=emu0", wrap="true")
    jobs.wait(late, "PENDING", Reason="AssocGrpLicenseMinutes")
    without = jobs.submit("-A", account, wrap="true")
    jobs.wait(without, "COMPLETED")
    manage(cluster, "modify", "account", account, "set", "GrpTRESMins=license/qpu_emu0=100")
    jobs.wait(late, "COMPLETED")


def test_both_levels_agree_on_who_used_more_and_slurm_starts_the_others_job(
    jobs: Jobs, cluster: Cluster, account: str, another: str
) -> None:
    for who, tasks, seconds in ((account, "600", 12), (another, "60", 4)):
        command = ["srun", *python("short.py", tasks)]
        job = jobs.submit("-A", who, "--qpu=emu0", wrap=f"{shlex.join(command)}; sleep {seconds}")
        jobs.wait(job, "COMPLETED", 60)

    def agent(name: str) -> float:
        said = cluster.check(["openqse", "share", "emu0", "--account", name, "--json"])
        return sum(row["raw_usage"] for row in json.loads(said.out) if not row["user"])

    def slurm(column: str, user: str) -> list[float]:
        columns = f"Account,User,{column}"
        command = ["sshare", "-n", "-P", "-a", "-A", f"{account},{another}", "-o", columns]
        rows = [line.strip().split("|") for line in cluster.check(command).out.splitlines()]
        found = {name: float(value) for name, whose, value in rows if whose == user}
        return [found[account], found[another]]

    # Once a minute.
    def worked_out() -> bool:
        lower, higher = slurm("FairShare", "alice")
        return lower < higher and min(slurm("RawUsage", "")) > 0

    until(worked_out, 150, "Slurm's tree has the usage of both jobs")
    more, less = slurm("RawUsage", "")
    assert more > less
    assert agent(account) > agent(another) > 0
    holder = jobs.submit("-A", "chem", "--qpu=emu1", wrap="sleep 120")
    jobs.wait(holder, "RUNNING")
    first, second = (
        jobs.submit("-A", who, "--qpu=emu1", wrap="sleep 120") for who in (account, another)
    )
    for job in (first, second):
        jobs.wait(job, "PENDING", Reason="Licenses")
    jobs.cancel(holder)
    jobs.wait(second, "RUNNING")
    assert jobs.describe(first)["JobState"] == "PENDING"


def test_the_fair_tree_has_accounts_without_shares_and_users_of_partitions(
    jobs: Jobs, cluster: Cluster, account: str
) -> None:
    manage(cluster, "modify", "account", account, "set", "fairshare=parent")
    user = ("user", "alice", f"account={account}")
    manage(cluster, "modify", *user, "set", "fairshare=parent")
    manage(cluster, "add", *user, "partition=batch", "fairshare=2")
    manage(cluster, "add", *user, "partition=urgent", "fairshare=7")
    job = jobs.submit("-A", account, "-p", "batch", "--qpu=emu0:4", wrap="sleep 3")
    jobs.wait(job, "COMPLETED")
    tree = json.loads(cluster.check(["python", "-c", TREE], service="qpu").out)
    assert tree["half_life"] == 7 * 86400
    assert tree["accounts"] == {"chem": ["", 1], "ml": ["", 1], account: ["chem", None]}
    assert tree["users"] == {
        "root root": 1,
        "chem alice": 1,
        f"{account} alice": 7,
        "ml bob": 1,
    }
    assert tree["usage"][f"{account} "] == tree["usage"][f"{account} alice"] >= 8
    assert tree["usage"]["chem "] >= tree["usage"]["chem alice"] + tree["usage"][f"{account} "]


def start_record(cluster: Cluster, job: int, use: Use) -> Command:
    return cluster.start(["python", "-c", RECORD, json.dumps([job, use])], service="qpu")


def record(cluster: Cluster, job: int, use: Use) -> dict[str, object]:
    """What a QPU agent's one attempt gave."""
    output = start_record(cluster, job, use).result()
    (line,) = output.lines or pytest.fail(str(output))
    return line


def until_recorded(cluster: Cluster, job: int, *uses: Use) -> None:
    """QPU agents, one for each use, try at the same time until it is said of all of them."""

    def said() -> bool:
        attempts = [start_record(cluster, job, use) for use in uses]
        answers = [attempt.result().lines for attempt in attempts]
        return answers == [[{"said": True}]] * len(uses)

    until(said, RECORDED, f"the record of job {job} says what it used")


def comments(cluster: Cluster, job: int, *options: str) -> dict[str, str]:
    """The comment in each record that sacct has for a job's id, by job and restarts."""
    columns = "JobID,Restarts,AdminComment"
    said = cluster.check(["sacct", "-X", "-n", "-P", *options, "-j", str(job), "-o", columns]).out
    rows = (line.split("|") for line in said.splitlines())
    return {f"{job} {restarts}": comment for job, restarts, comment in rows}


def bill(comment: str) -> dict[str, float]:
    """The items that a comment ends with."""
    _, _, word = comment.rpartition("openqse:")
    return {name: float(value) for name, _, value in (i.partition("=") for i in word.split(","))}


def test_the_bill_is_in_sacct(jobs: Jobs, cluster: Cluster) -> None:
    """The agents of both QPUs write what `openqse usage` says, beside a comment of the site."""
    job = jobs.submit("--qpu=emu0,emu1", wrap=["srun", *python("bell.py", "emu0", "emu1")])
    jobs.wait(job, "COMPLETED")
    until(lambda: comments(cluster, job), START, f"job {job} is in the accounting")
    manage(cluster, "modify", "job", "where", f"jobid={job}", "set", "AdminComment=grant 7")
    charged = {row["qpu"]: row for row in cluster.usage(job)}
    assert set(charged) == {"emu0", "emu1"}
    expected: dict[str, float] = {}
    for qpu, row in charged.items():
        assert row["tasks"] == 1
        assert row["shots"] == 200
        assert row["qpu_time_ns"] > 0
        expected |= {
            f"qpu_time/{qpu}": row["qpu_time_ns"] / 1e9,
            f"tasks/{qpu}": 1,
            f"shots/{qpu}": 200,
            f"waited/{qpu}": row["waited_ns"] / 1e9,
        }

    def written() -> bool:
        (comment,) = comments(cluster, job).values()
        site, word, _ = comment.partition(" openqse:")
        return bool(word) and site == "grant 7" and bill(comment) == pytest.approx(expected)

    until(written, RECORDED, f"the accounting of job {job} has {expected}")


def test_of_agents_that_write_at_once_none_is_lost(jobs: Jobs, cluster: Cluster) -> None:
    job = jobs.submit(wrap="true")
    jobs.wait(job, "COMPLETED")
    uses: list[Use] = [{f"q{number}": (1.5, number, 300, 0.25)} for number in range(4)]
    until_recorded(cluster, job, *uses)
    (comment,) = comments(cluster, job).values()
    assert {name: tasks for name, tasks in bill(comment).items() if "tasks" in name} == {
        f"tasks/q{number}": number for number in range(4)
    }


def test_of_an_array_and_a_heterogeneous_job_one_record_has_the_bill(
    jobs: Jobs, cluster: Cluster
) -> None:
    """Their ids are those of the last task and the first component; Slurm takes them for all."""
    array = jobs.submit("--array=1-3", wrap="true")
    het = jobs.submit("-n1", ":", "-n1", wrap="true")
    until_recorded(cluster, array, USE)
    until_recorded(cluster, het, USE)
    assert sorted(comments(cluster, array).values()) == ["", "", WORD]
    assert comments(cluster, het) == {f"{het}+0 0": WORD, f"{het}+1 0": ""}


def test_of_a_requeued_job_the_last_record_has_the_bill(jobs: Jobs, cluster: Cluster) -> None:
    job = jobs.submit(wrap="sleep 3")
    jobs.wait(job, "RUNNING")
    assert "no end" in str(record(cluster, job, USE)["error"])
    cluster.check(["scontrol", "requeue", str(job)])
    jobs.wait(job, "PENDING", Restarts="1")
    assert "slurmdbd has no end" in str(record(cluster, job, USE)["error"])
    jobs.wait(job, "COMPLETED", START, Restarts="1")
    until_recorded(cluster, job, USE)
    assert comments(cluster, job, "--duplicates") == {f"{job} 0": "", f"{job} 1": WORD}


def test_without_slurmdbd_an_attempt_fails_and_a_later_one_does_not(
    jobs: Jobs, cluster: Cluster
) -> None:
    with cluster.stopped(("slurmdbd", "slurmdbd")):
        job = jobs.submit(wrap="true")
        jobs.wait(job, "COMPLETED")
        assert "Connection refused" in str(record(cluster, job, USE)["error"])
    until_recorded(cluster, job, USE)
    assert list(comments(cluster, job).values()) == [WORD]
