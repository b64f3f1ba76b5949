"""What each kind of fault does to the cluster, and how it ends."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.cluster.faults.audit import Rank
from tests.support.containers import COMPUTE, Cluster, until
from tests.support.jobs import Jobs

#: Seconds without a heartbeat after which a lease is checked: short, so that faults outlast it.
LEASE_TTL = 5.0
#: Seconds for a service to serve again.
_BACK = 60.0

QPU_CONFIG = "/etc/openqse/agent.toml"
NODE_PROGRAMS = "/etc/supervisor/roles/compute.conf /etc/supervisor/role.conf"
JOURNAL = "/var/lib/openqse-small"
FILLER = f"{JOURNAL}/filler"
CLOCK = "/run/openqse-clock"
_HOUR = 3600
#: No host answers to this address, so what is sent there is lost without a sign: a cut cable.
_NOBODY = "02:00:00:00:de:ad"


@dataclass
class Scene:
    """The cluster with one workload in it.

    Attributes:
        ids: the job of each user. ranks: as they began, by job.
    """

    cluster: Cluster
    jobs: Jobs
    ids: dict[str, int]
    ranks: dict[int, list[Rank]]

    def execute(self, service: str, command: str) -> float:
        """Runs a command that must succeed; gives the instant at which it had."""
        said = self.cluster.check(f"{command} && date +%s.%N", service=service)
        return float(said.out.split()[-1])

    def program(self, service: str, name: str) -> int:
        """The process of a program under the container's supervisor, once it runs."""

        def running() -> int:
            said = self.cluster.run(["supervisorctl", "pid", name], service=service).out.strip()
            return int(said) if said.isdecimal() else 0

        return until(running, _BACK, f"{name} runs on {service}")


Action = Callable[[Scene, str], float]
"""Does something to a target; gives the instant at which it was done."""


def _over(scene: Scene, target: str) -> float:
    """The fault was over at the moment at which it began."""
    return 0.0


def _kill_rank(scene: Scene, target: str) -> float:
    user, _, number = target.partition(":")
    rank = next(r for r in scene.ranks[scene.ids[user]] if r.rank == int(number))
    return scene.execute(rank.node, f"kill -9 {rank.pid}")


def _kill_slurmstepd(scene: Scene, target: str) -> float:
    user, step, node = re.split("[:@]", target)
    title = rf"^slurmstepd: \[{scene.ids[user]}\.{step}\]"
    return scene.execute(node, f"pkill -9 -f '{title}'")


def _cancel_job(scene: Scene, target: str) -> float:
    """As its user does on seeing that it is stuck: Slurm misses a slurmstepd only after minutes."""
    scene.jobs.cancel(scene.ids[target.partition(":")[0]])
    return time.time()


def _kill_node_agent(scene: Scene, target: str) -> float:
    return scene.execute(target, f"kill -9 {scene.program(target, 'node-agent')}")


def _kill_qpu_agent(scene: Scene, target: str) -> float:
    return scene.execute("qpu", f"kill -9 {scene.program('qpu', f'qpu-agent-{target}')}")


def _kill_node(scene: Scene, target: str) -> float:
    """Its site tells Slurm, which would miss jobs younger than 40 s on a node that is back."""
    scene.cluster.kill(target)
    died = time.time()
    state = [f"nodename={target}", "state=down", "reason=its host died"]
    scene.cluster.check(["scontrol", "update", *state])
    return died


def _start_node(scene: Scene, target: str) -> float:
    """Switches the node on; that is all: Slurm takes it back by itself (ReturnToService)."""
    scene.cluster.restart(target)
    scene.cluster.wait_ready(target)
    return time.time()


def _cut(scene: Scene, target: str) -> float:
    for here, there in ((target, "qpu"), ("qpu", target)):
        where = scene.cluster.address(there)
        change = ["neigh", "replace", where, "lladdr", _NOBODY, "nud", "permanent", "dev", "eth0"]
        scene.cluster.configure_network(here, *change)
    return time.time()


def _mend(scene: Scene, target: str) -> float:
    for here, there in ((target, "qpu"), ("qpu", target)):
        where = scene.cluster.address(there)
        scene.cluster.configure_network(here, "neigh", "del", where, "dev", "eth0")
    return time.time()


def _stop_slurm(scene: Scene, target: str) -> float:
    return scene.execute(target, f"supervisorctl stop {target}")


def _start_slurm(scene: Scene, target: str) -> float:
    scene.execute(target, f"supervisorctl start {target}")
    scene.cluster.wait_ready(target)
    return time.time()


def _fill_disk(scene: Scene, target: str) -> float:
    return scene.execute("qpu", f"{{ cat /dev/zero >{FILLER} 2>/dev/null || true; }}")


def _free_disk(scene: Scene, target: str) -> float:
    return scene.execute("qpu", f"rm {FILLER}")


def _move_clock(scene: Scene, target: str) -> float:
    offset = _HOUR if target == COMPUTE[0] else -_HOUR  # into the future here, the past there
    return scene.execute(target, f"echo {offset:+d} >{CLOCK}")


def _set_clock(scene: Scene, target: str) -> float:
    return scene.execute(target, f"echo +0 >{CLOCK}")


#: How each kind of fault begins and ends.
ACTIONS: dict[str, tuple[Action, Action]] = {
    "rank": (_kill_rank, _over),
    "slurmstepd": (_kill_slurmstepd, _cancel_job),
    "node-agent": (_kill_node_agent, _over),
    "qpu-agent": (_kill_qpu_agent, _over),
    "node": (_kill_node, _start_node),
    "cut": (_cut, _mend),
    "slurmctld": (_stop_slurm, _start_slurm),
    "slurmdbd": (_stop_slurm, _start_slurm),
    "disk": (_fill_disk, _free_disk),
    "clock": (_move_clock, _set_clock),
}


def _names(cluster: Cluster, known: bool) -> None:
    """Lets hosts know the nodes' addresses whether those are up, as a site's do.

    Docker's name service forgets a container that was killed, and slurmctld, which asks for its
    name, then stands still until that times out.
    """
    mark = "# for fault injection"
    lines = [f"{cluster.address(node)} {node} {mark}" for node in COMPUTE] if known else []
    for service in ("slurmctld", "login"):
        # Written in place, not replaced: Docker has mounted this very file.
        change = f"others=$(grep -v '{mark}' /etc/hosts); echo \"$others\" >/etc/hosts;"
        append = "".join(f"echo '{line}' >>/etc/hosts;" for line in lines)
        cluster.run(change + append, service=service)


@contextmanager
def prepared(cluster: Cluster) -> Iterator[None]:
    """Gives the agents what faults need, and takes it from them at the end.

    QPU agents get an empty journal on a disk of their own that is small enough to fill, and a short
    TTL; node agents a wall clock that a file moves (libfaketime; monotonic clocks go on as ever, as
    they do when somebody sets a host's clock).
    """
    clock = (
        f'environment=LD_PRELOAD="/usr/$LIB/faketime/libfaketime.so.1",'
        f'FAKETIME_TIMESTAMP_FILE="{CLOCK}",FAKETIME_NO_CACHE="1",'
        f'FAKETIME_DONT_FAKE_MONOTONIC="1",DONT_FAKE_MONOTONIC="1"'
    )
    journal = f's|^state_dir = "[^"]*"|state_dir = "{JOURNAL}"|'
    ttl = f"s|^lease_ttl = [0-9.]*|lease_ttl = {LEASE_TTL}|"
    qpu_agents = "supervisorctl restart $(supervisorctl status | awk '/^qpu-agent/ { print $1 }')"
    try:
        _names(cluster, known=True)
        for node in COMPUTE:
            cluster.check(
                f"echo +0 >{CLOCK}; for f in {NODE_PROGRAMS}; do cp -n $f $f.kept;"
                f"""  sed '/^command=.*openqse-node-agent/a {clock}' $f.kept >$f; done;"""
                "supervisorctl reread && supervisorctl update",
                service=node,
            )
        cluster.check(
            f"cp -n {QPU_CONFIG} {QPU_CONFIG}.kept;"
            f"sed '{journal}; {ttl}' {QPU_CONFIG}.kept >{QPU_CONFIG};"
            f"rm -rf {JOURNAL}/*; {qpu_agents}",
            service="qpu",
        )
        for service in (*COMPUTE, "qpu"):
            cluster.wait_ready(service)
        yield
    finally:
        _names(cluster, known=False)
        for node in COMPUTE:
            cluster.restart(node)
            cluster.run(
                f"for f in {NODE_PROGRAMS}; do [ ! -e $f.kept ] || mv $f.kept $f; done;"
                f"rm -f {CLOCK}; supervisorctl reread && supervisorctl update",
                service=node,
            )
        cluster.run(
            f"[ ! -e {QPU_CONFIG}.kept ] || mv {QPU_CONFIG}.kept {QPU_CONFIG};"
            f"{qpu_agents}; rm -rf {JOURNAL}/*",
            service="qpu",
        )
        for service in (*COMPUTE, "qpu"):
            cluster.wait_ready(service)
