"""Two accounts with shares 3 : 1 saturate a QPU, fair and first come, first served.

ci/bench fairness            60 seconds of QPU time for each policy
ci/bench fairness --quick    20
ci/bench fairness --plot F   and the service over time as SVG

The account with the smaller share splits itself into two jobs of two ranks with deeper backlogs;
the other has one job of two ranks. Both mix short and long tasks. Meanwhile a job of the smaller
one sends short interactive tasks.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.cluster.sharing.figures import jain, percentile, share_error
from tests.support.containers import Cluster, NotUp, until, with_programs
from tests.support.jobs import START, Jobs, python

QPU = "emu0"
WEIGHTS = {"chem": 3.0, "ml": 1.0}
#: Jobs of the account that splits itself.
SPLIT = 2
#: Shots of the tasks, short and long.
SIZES = "60,200,1200"
#: Seconds in which a QPU gives the QPU time that is asked for; generous.
SERVED = 200.0
AGENT_TOML = "/etc/openqse/agent.toml"


@dataclass(frozen=True)
class Shared:
    """What came of one policy.

    Attributes:
        service: QPU time by account while both had tasks waiting, seconds.
        tasks: tasks in that time. seconds: how long it was by the clock.
        wait: turns of others that interactive tasks waited, 99 of 100 of them at most.
        glances: seconds that each interactive task took, way there and back included.
        course: the service after so many seconds by the clock, as it grew.
    """

    service: dict[str, float]
    tasks: int
    seconds: float
    wait: float
    glances: list[float]
    course: list[tuple[float, dict[str, float]]]

    def __str__(self) -> str:
        taken = [round(percentile(self.glances, part), 3) for part in (0.5, 0.99)]
        return (
            f"{self.service} s, {self.tasks} tasks in {self.seconds:.1f} s; {len(self.glances)} "
            f"interactive ones took {taken} s (p50, p99), waited {self.wait} slices (p99)"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="ci/bench fairness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plot", metavar="FILE", help="draw the service over time, as SVG")
    arguments = parser.parse_args()
    qpu_time = 20.0 if arguments.quick else 60.0
    found = {}
    try:
        with with_programs() as cluster, shares(cluster):
            for name in ("fair", "fifo"):
                say(f"{name}: {qpu_time:g} s of QPU time")
                with policy(cluster, name):
                    found[name] = share(cluster, qpu_time)
                say(f"{name}: {found[name]}")
    except NotUp as error:
        say(f"the cluster is not up: {error}")
        return 3
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    if arguments.plot:
        plot(found, arguments.plot)
    figures: dict[str, Callable[[Shared], float]] = {
        "share_error": lambda x: share_error(x.service, WEIGHTS),
        "jain": lambda x: jain(x.service, WEIGHTS),
        "interactive_wait_slices_p99": lambda x: x.wait,
    }
    for name, figure in figures.items():
        line = {"name": f"fairness.{name}", "value": round(figure(found["fair"]), 4)}
        print(json.dumps({**line, "fifo": round(figure(found["fifo"]), 4)}), flush=True)
    return 0


def plot(found: Mapping[str, Shared], file: str) -> None:
    """One panel for each policy: fair is where the lines lie on each other."""
    figure = Figure(figsize=(3.2 * len(found), 3.2), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
    for panel, (name, shared) in zip(panels, found.items(), strict=True):
        times = [0.0, *(at for at, _ in shared.course)]
        for account, weight in WEIGHTS.items():
            given = [0.0, *(service[account] / weight for _, service in shared.course)]
            panel.plot(times, given, marker=".", label=f"{account} ({weight:g})")
        panel.set(title=name, xlabel="time [s]")
    panels[0].set_ylabel("QPU time / shares [s]")
    panels[-1].legend(frameon=False)
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})


def say(text: str) -> None:
    print(f"fairness: {text}", file=sys.stderr, flush=True)


@contextmanager
def shares(cluster: Cluster) -> Iterator[None]:
    """Gives the accounts their shares in Slurm, and takes them back."""

    def give(account: str, shares: int) -> None:
        command = ["sacctmgr", "-i", "modify", "account", account, "set", f"fairshare={shares}"]
        cluster.check(command, service="slurmctld")

    try:
        for account, weight in WEIGHTS.items():
            give(account, int(weight))
        yield
    finally:
        for account in WEIGHTS:
            give(account, 1)


@contextmanager
def policy(cluster: Cluster, name: str) -> Iterator[None]:
    """Has the QPU agent run tasks by a policy."""

    def set_policy(name: str) -> None:
        change = f's/^policy = "[a-z]*"/policy = "{name}"/'
        cluster.check(["sed", "-i", change, AGENT_TOML], service="qpu")
        cluster.check(["supervisorctl", "restart", f"qpu-agent-{QPU}"], service="qpu")
        cluster.wait_ready("qpu")

    try:
        set_policy(name)
        yield
    finally:
        set_policy("fair")


def share(cluster: Cluster, qpu_time: float) -> Shared:
    """Has both accounts saturate the QPU until it has given so many seconds of QPU time."""
    name = f"sharing-{secrets.token_hex(3)}"
    jobs = Jobs(cluster, name)
    folder = f"/home/{name}"
    with ExitStack() as always:
        cluster.check(["install", "-d", "-m", "1777", folder])
        always.callback(cluster.run, ["rm", "-rf", folder])
        always.callback(jobs.cancel)
        load = ["srun", *python("saturate.py", folder, SIZES)]
        jobs.submit(f"--qpu={QPU}", "-n2", wrap=[*load, "48"])
        for _ in range(SPLIT):
            jobs.submit(f"--qpu={QPU}", "-n2", wrap=[*load, "64"], user="bob")
        until(
            lambda: len(cluster.check(f"ls {folder}").out.split()) >= 2 * (1 + SPLIT),
            2 * START,
            "every rank has a result",
        )
        glance = python("glance.py", folder, "0.05", "100000")
        watched = jobs.start("srun", f"--qpu={QPU}", "-n1", *glance, user="bob", deadline=300)
        began, first = time.monotonic(), charged(cluster)
        course: list[tuple[float, dict[str, float]]] = []

        def since() -> dict[str, tuple[float, int]]:
            """What each account was charged since then, once that is enough."""
            last = charged(cluster)
            more = {a: (last[a][0] - first[a][0], last[a][1] - first[a][1]) for a in WEIGHTS}
            course.append((time.monotonic() - began, {a: more[a][0] for a in WEIGHTS}))
            return more if sum(seconds for seconds, _ in more.values()) >= qpu_time else {}

        found = until(since, SERVED, f"{qpu_time:g} s of QPU time were given")
        seconds = time.monotonic() - began
        wait = until(lambda: interactive_wait(cluster), START, "an interactive task has begun")
        cluster.check(["touch", f"{folder}/stop"])
        output = watched.result()
        assert output.code == 0, str(output)
        service = {account: given for account, (given, _) in found.items()}
        tasks = sum(number for _, number in found.values())
        return Shared(service, tasks, seconds, wait[0], output.lines[-1]["seconds"], course)


def interactive_wait(cluster: Cluster) -> list[float]:
    """Turns of others that 99 of 100 interactive tasks waited at most; none before the first."""
    (status,) = json.loads(cluster.check(["openqse", "status", QPU, "--json"]).out)
    return [status[key] for key in ("interactive_wait_slices_p99",) if key in status]


def charged(cluster: Cluster) -> dict[str, tuple[float, int]]:
    """QPU time in seconds, and tasks, that each account was charged so far."""
    rows = json.loads(cluster.check(["openqse", "usage", QPU, "--json"]).out)
    totals = dict.fromkeys(WEIGHTS, (0.0, 0))
    for row in rows:
        if row["account"] not in totals:  # what else the cluster was used for
            continue
        seconds, tasks = totals[row["account"]]
        totals[row["account"]] = (seconds + row["qpu_time_ns"] * 1e-9, tasks + row["tasks"])
    return totals


if __name__ == "__main__":
    sys.exit(main())
