"""What runs in the stack stops: users are told which layer and what to do, and nothing is left."""

from __future__ import annotations

import re

from tests.support.containers import COMPUTE, Cluster, until
from tests.support.jobs import START, Jobs, python

NODE_AGENTS = [(node, "node-agent") for node in COMPUTE]
#: Seconds within which a user must be told.
TOLD = 10.0
#: Seconds within which a running program gives up an agent that does not come back.
GIVEN_UP = 40.0
#: Seconds until a lease without heartbeat has been asked after at slurmctld: TTL and half of it.
LAPSE = 60.0


def test_no_job_without_qpu_needs_the_node_agent(jobs: Jobs, cluster: Cluster) -> None:
    with cluster.stopped(*NODE_AGENTS):
        assert jobs.srun("-N2", "hostname").out.split() != []
        failed = jobs.run("srun", "--qpu=emu0", "-w", "c1", "true")
        idle = dict.fromkeys(COMPUTE, "idle")
        until(lambda: cluster.node_states() == idle, START, "all nodes idle")
    assert failed.code != 0
    assert failed.seconds < TOLD
    assert "openqse: node agent on c1: not running" in failed.err
    assert "start openqse-node-agent on this node" in failed.err


def test_a_job_without_qpu_opens_no_socket(jobs: Jobs, cluster: Cluster) -> None:
    """A listener in the node agent's place counts who comes; it never answers."""
    socket, count = "/run/openqse/node.sock", "/tmp/openqse-mute"

    def came() -> int:
        said = cluster.run(f"cat {count}", service="c1")
        return int(said.out) if said.out else -1

    with cluster.stopped(("c1", "node-agent")):
        programs = "/home/alice/cluster-tests"
        mute = cluster.start(
            f"echo $$ >{count}.pid; exec python {programs}/mute.py {socket} {count}",
            service="c1",
            deadline=90,
        )
        try:
            until(lambda: came() == 0, START, "the listener is there")
            plain = jobs.srun("-w", "c1", "true")
            assert plain.seconds < 4  # the plugin would have waited for an answer for 5 s
            assert came() == 0
            failed = jobs.run("srun", "--qpu=emu0", "-w", "c1", "true", deadline=60)
            assert came() >= 1
            until(lambda: cluster.node_states()["c1"] == "idle", START, "c1 idle after the epilog")
        finally:
            cluster.run(
                f"kill $(cat {count}.pid); rm -f {socket} {count} {count}.pid", service="c1"
            )
            mute.result()
    assert failed.code != 0
    assert failed.seconds < TOLD
    assert "openqse: node agent on c1: no answer within 5 s" in failed.err


def test_two_qpus_and_one_agent_down(jobs: Jobs, cluster: Cluster) -> None:
    """All leases or none: the QPU that did answer is free again."""
    with cluster.stopped(("qpu", "qpu-agent-emu1")):
        failed = jobs.run("srun", "--qpu=emu0:2,emu1", "-N2", "true")
        until(lambda: cluster.leases("emu0") == [], 3, "no lease of emu0")
        # A job that needs emu0 alone is none the worse for it.
        (line,) = jobs.srun("--qpu=emu0", *python("bell.py")).lines
        idle = dict.fromkeys(COMPUTE, "idle")
        until(lambda: cluster.node_states() == idle, START, "all nodes idle")
    assert line["correlated"]
    assert failed.code != 0
    assert failed.seconds < TOLD
    assert (
        "openqse: QPU agent: the QPU agent of emu1 at tcp://qpu:5571 does not answer" in failed.err
    )
    assert "Ask the administrator to check openqse-qpu-agent emu1 on its host" in failed.err


def test_agents_stop_while_jobs_run(jobs: Jobs, cluster: Cluster) -> None:
    """A job loses its node agent, another its QPU agent: both are told, and end."""
    on_c1 = jobs.submit("--qpu=emu0", "-w", "c1", "-n2", wrap=["srun", *python("steady.py")])
    on_c2 = jobs.submit("--qpu=emu1", "-w", "c2", "-n2", wrap=["srun", *python("steady.py")])
    jobs.until_lines(on_c1, 2)
    jobs.until_lines(on_c2, 2)
    with cluster.stopped(("c1", "node-agent"), ("qpu", "qpu-agent-emu1")):
        for job, layer, remedy in (
            (on_c1, "node agent", "check openqse-node-agent on this node"),
            (on_c2, "QPU agent", "check openqse-qpu-agent emu1 on its host"),
        ):
            jobs.wait(job, "FAILED", deadline=2 * GIVEN_UP, ExitCode="3:0")
            failures = [line for line in jobs.lines(job) if line["event"] == "failed"]
            assert sorted(line["rank"] for line in failures) == [0, 1]
            for line in failures:
                assert line["error"] == "AgentUnavailable"
                assert line["layer"] == layer
                assert remedy in line["remedy"]
                assert line["silence"] < GIVEN_UP
        idle = dict.fromkeys(COMPUTE, "idle")
        until(lambda: cluster.node_states() == idle, START, "all nodes idle")
    # emu1's lease came back with its agent, from the journal, and its job has ended. Slurm gives
    # the slot to the next job, and so does the agent, without waiting for that lease to lapse.
    (line,) = jobs.srun("--qpu=emu1", "-w", "c2", *python("bell.py")).lines
    assert line["correlated"]
    # On c1 nobody is left to renew or end the other.
    until(lambda: cluster.leases() == [], LAPSE, "the leases lapsed")


def test_a_running_job_outlives_its_qpu_agent(jobs: Jobs, cluster: Cluster) -> None:
    """A QPU agent that is restarted at once goes on with its leases, a generation later."""
    job = jobs.submit("--qpu=emu0", "-N2", "-n2", wrap=["srun", *python("steady.py")])
    jobs.until_lines(job, 2)
    (before,) = cluster.leases("emu0")
    cluster.check(["supervisorctl", "restart", "qpu-agent-emu0"], service="qpu")
    cluster.wait_ready("qpu")
    (after,) = cluster.leases("emu0")
    assert after["id"] == before["id"]
    assert after["generation"] == before["generation"] + 1
    charged = cluster.usage(job)[0]["tasks"]
    until(lambda: cluster.usage(job)[0]["tasks"] > charged + 100, START, "tasks go on")
    assert jobs.describe(job)["JobState"] == "RUNNING"
    assert len(jobs.lines(job)) == 2


def test_a_job_attaches_again_after_its_node_agent_was_restarted(
    jobs: Jobs, cluster: Cluster
) -> None:
    """The next step finds its way under the same lease, and the epilog ends it as ever."""
    granted = jobs.run("salloc", "--no-shell", "--qpu=emu0:2", "-w", "c1", deadline=60)
    (job,) = re.findall(r"Granted job allocation (\d+)", granted.err)
    step = [f"--jobid={job}", "--qpu=emu0:2", *python("bell.py")]
    (before,) = jobs.srun(*step).lines
    cluster.check(["supervisorctl", "restart", "node-agent"], service="c1")
    cluster.wait_ready("c1")
    (after,) = jobs.srun(*step).lines
    assert after["correlated"]
    assert after["lease"] == before["lease"]
    jobs.cancel(int(job))
    until(lambda: cluster.leases() == [], TOLD, "the lease ended")
