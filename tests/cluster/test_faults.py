"""Under faults drawn from seeds nothing leaks and nothing is lost; and under many tasks or clients.

One seed again: ``pytest tests/cluster/test_faults.py -k seed-7``, or ``ci/bench faults --seed 7``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.cluster.faults.audit import Verdict
from benchmarks.cluster.faults.drive import Stage
from benchmarks.cluster.faults.plan import plan
from tests.support.containers import Cluster, until

SEEDS = range(1, 21)


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> Iterator[Stage]:
    with Stage(cluster) as prepared:
        yield prepared


@pytest.mark.parametrize("seed", SEEDS, ids="seed-{}".format)
def test_nothing_leaks_and_nothing_is_lost(stage: Stage, seed: int) -> None:
    chosen = plan(seed)
    print(f"seed {seed}: {chosen}")
    verdict = stage.run(chosen)
    assert verdict.findings == {}


def test_a_node_that_slurm_has_drained_is_found(cluster: Cluster) -> None:
    """What the verdict of every seed counts on: that it would be."""

    def out_of_service() -> list[str]:
        verdict = Verdict()
        verdict.note_left(cluster.left_behind())
        return verdict.drained

    assert out_of_service() == []
    update = ["scontrol", "update", "nodename=c2"]
    cluster.check([*update, "state=drain", "reason=to see that it is found"])
    try:
        until(lambda: out_of_service() == ["c2 is drained"], 10, "the drained node is found")
    finally:
        cluster.check([*update, "state=resume"])
    until(lambda: out_of_service() == [], 10, "the node is back")
