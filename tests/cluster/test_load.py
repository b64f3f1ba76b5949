"""Many tasks and many clients: nothing grows, nobody is refused."""

from __future__ import annotations

from benchmarks.cluster.faults import census
from tests.support.containers import COMPUTE, Cluster, until
from tests.support.jobs import Jobs, python

TASKS, WARM_UP, CLIENTS, RANKS = 24_000, 4_000, 1_000, 8
#: Growth of an agent's memory that is still flat.
FLAT = 0.05
#: Seconds within which what clients held is given back.
GONE = 15.0


def test_memory_stays_flat_over_many_tasks(jobs: Jobs, cluster: Cluster) -> None:
    programs = dict.fromkeys(COMPUTE, "node-agent") | {"qpu": "qpu-agent-emu0"}

    def run(tasks: int) -> dict[str, int]:
        each = tasks // RANKS
        lines = jobs.srun("--qpu=emu0", "-N2", f"-n{RANKS}", *python("short.py", str(each))).lines
        assert [(line["right"], line["tasks"]) for line in lines] == [(each, each)] * RANKS
        return {
            f"{program} on {service}": census.memory(cluster, service, program)
            for service, program in programs.items()
        }

    before = run(WARM_UP)
    after = run(TASKS)
    print({name: f"{before[name]} kB, then {after[name]} kB" for name in before})
    for name, memory in before.items():
        assert after[name] < (1 + FLAT) * memory, name


def test_a_thousand_clients_at_once(jobs: Jobs, cluster: Cluster) -> None:
    """Each is a process; all are connected before the first runs its task."""
    before = census.count(cluster)
    each = CLIENTS // RANKS
    command = python("crowd.py", str(each))
    lines = jobs.srun("--qpu=emu0", "-N2", f"-n{RANKS}", *command, deadline=150).lines
    print(lines)
    assert [(line["connected"], line["right"]) for line in lines] == [(each, each)] * RANKS
    until(lambda: not census.grown(before, census.count(cluster)), GONE, "agents hold no more")
