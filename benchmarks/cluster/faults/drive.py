"""One seed from beginning to end: workload, faults, silence, and the verdict."""

from __future__ import annotations

import json
import secrets
import shlex
import time
from collections.abc import Iterable
from contextlib import ExitStack

from benchmarks.cluster.faults import census
from benchmarks.cluster.faults.audit import Charge, Fault, Rank, Verdict, audit, parse
from benchmarks.cluster.faults.inject import ACTIONS, JOURNAL, LEASE_TTL, Scene, prepared
from benchmarks.cluster.faults.plan import KINDS, RANKS, USERS, Layout, Plan
from tests.support.containers import Cluster, Late, until
from tests.support.jobs import START, Jobs, python

#: Seconds until nothing is left of what has ended.
GONE = LEASE_TTL + 5.0
#: Seconds for ranks that were told to stop to have all their results.
DRAINED = 30.0
#: Seeds between two preparations of the agents.
SEEDS_PREPARED = 20


def drive(cluster: Cluster, plan: Plan, before: dict[str, census.Held]) -> Verdict:
    """Runs a seed's workload under its faults.

    Args:
        before: what the agents held when they had nothing to do.
    """
    name = f"flow-{plan.seed}-{secrets.token_hex(3)}"
    jobs = Jobs(cluster, name)
    folders = [f"/home/{user}/cluster-tests/{name}" for user in USERS]
    with ExitStack() as always:
        always.callback(cluster.run, ["rm", "-rf", *folders])
        always.callback(jobs.cancel)
        scene = _begin(cluster, jobs, plan, name)
        faults = _strike(scene, plan)
        cluster.check(["touch", *(f"{folder}/stop" for folder in folders)])
        doomed = frozenset[str]().union(
            *(KINDS[step.kind].dooms(step.target, plan.layout) for step in plan.steps)
        )
        late = _silence(scene)
        left = _left(cluster, before)
        killed = [scene.ids[user] for user in doomed]
        ranks = [rank for ranks in read_ranks(cluster, scene.ids, name).values() for rank in ranks]
        verdict = audit(ranks, killed, read_charges(cluster, scene.ids.values()), faults)
        verdict.lost += late
        verdict.note_left(left)
        return verdict


def _begin(cluster: Cluster, jobs: Jobs, plan: Plan, name: str) -> Scene:
    """Both jobs, once every rank has its first results."""
    ids = {}
    for user, nodes in plan.layout.nodes.items():
        folder = f"cluster-tests/{name}"
        cluster.check(["mkdir", "-p", folder], user=user)
        ids[user] = jobs.submit(
            "--no-requeue",
            "--qpu=emu0:2",
            f"--nodes={len(nodes)}",
            f"--nodelist={','.join(nodes)}",
            f"--ntasks={RANKS}",
            wrap=f"srun -K {shlex.join(python('flow.py', folder))}",
            user=user,
        )

    def flowing() -> dict[int, list[Rank]]:
        ranks = read_ranks(cluster, ids, name)
        all_ = [rank for ranks in ranks.values() for rank in ranks if rank.answers]
        return ranks if len(all_) == RANKS * len(USERS) else {}

    return Scene(cluster, jobs, ids, until(flowing, START, "every rank has results"))


def _strike(scene: Scene, plan: Plan) -> list[Fault]:
    """One fault after the other; whatever happens, each is ended."""
    faults = []
    for step in plan.steps:
        begin, end = ACTIONS[step.kind]
        began = ended = 0.0
        try:
            began = begin(scene, step.target)
            time.sleep(step.lasts)
        finally:
            ended = end(scene, step.target)
        faults.append(Fault(step.kind, step.target, began, max(began, ended)))
        time.sleep(step.pause)
    return faults


def _silence(scene: Scene) -> list[str]:
    """Waits until both jobs have ended; says which have not, and cancels them."""

    def ended() -> bool:
        return not scene.jobs.own_queue().strip()

    try:
        until(ended, DRAINED, "both jobs have ended")
    except Late:
        stuck = scene.jobs.own_queue().splitlines()
        scene.jobs.cancel()
        return [f"not ended {DRAINED:g} s after the last fault: job {line}" for line in stuck]
    return []


def _left(cluster: Cluster, before: dict[str, census.Held]) -> list[str]:
    """What is left of the jobs, and what agents hold more than before."""
    found: list[str] = []

    def nothing() -> bool:
        found[:] = cluster.left_behind() or census.grown(before, census.count(cluster))
        return not found

    try:
        until(nothing, GONE, "nothing is left")
    except Late:
        return found
    return []


def read_ranks(cluster: Cluster, ids: dict[str, int], name: str) -> dict[int, list[Rank]]:
    """What the ranks have written so far, by job."""
    read = {}
    for user, job in ids.items():
        files = cluster.read(f"/home/{user}/cluster-tests/{name}")
        ranks = (
            parse(job, rank, files[f"{job}.{rank}"])
            for rank in range(RANKS)
            if f"{job}.{rank}" in files
        )
        read[job] = [rank for rank in ranks if rank is not None]
    return read


def read_charges(cluster: Cluster, jobs: Iterable[int]) -> list[Charge]:
    """The charges of jobs as the journal has them on disk, past the QPU agent."""
    query = (
        "SELECT lower(hex(task)), job_id, qpu_time_ns, charged_at FROM charge "
        f"WHERE job_id IN ({','.join(map(str, jobs))})"
    )
    program = (
        "import json, sqlite3;"
        f"db = sqlite3.connect('file:{JOURNAL}/emu0.sqlite?mode=ro', uri=True);"
        f"print(json.dumps(db.execute('{query}').fetchall()))"
    )
    said = cluster.check(["python", "-c", program], service="qpu")
    return [Charge(*row) for row in json.loads(said.out)]


class Stage:
    """Runs seed after seed; a context manager that leaves the cluster as it was.

    The agents are prepared anew after some seeds, so that the journal's small disk holds, and after
    a seed that found something, which must not haunt the next.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._preparation = ExitStack()
        self._before: dict[str, census.Held] | None = None
        self._seeds = 0

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *error: object) -> None:
        self._strip()

    def _strip(self) -> None:
        self._before, self._seeds = None, 0
        self._preparation.close()

    def run(self, plan: Plan) -> Verdict:
        """Runs a seed's plan and judges it."""
        try:
            verdict = self._calm(plan.layout)
            if self._before is not None:
                verdict = drive(self._cluster, plan, self._before)
        except AssertionError as error:
            verdict = Verdict(lost=[f"the cluster stands still: {error}"])
        self._seeds += 1
        if self._seeds >= SEEDS_PREPARED or not verdict.sound:
            self._strip()
        return verdict

    def _calm(self, layout: Layout) -> Verdict:
        """Prepares the agents if they are not, and counts what they hold after a calm workload.

        The first workload makes what agents make once and keep. It must be sound like any other.
        """
        if self._before is not None:
            return Verdict()
        self._preparation.enter_context(prepared(self._cluster))
        verdict = drive(self._cluster, Plan(0, layout, ()), {})
        if verdict.sound:
            self._before = census.count(self._cluster)
        return verdict
