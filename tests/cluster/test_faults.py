"""Under faults drawn from seeds nothing leaks and nothing is lost; and under many tasks or clients.

One seed again: ``pytest tests/cluster/test_faults.py -k seed-7``, or ``ci/bench faults --seed 7``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from containers import Cluster
from faults.drive import Stage
from faults.plan import plan

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
