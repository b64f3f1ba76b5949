"""Which faults a seed means."""

from __future__ import annotations

import pytest

from benchmarks.cluster.faults.plan import APART, KINDS, SPREAD, USERS, plan

SEEDS = range(1, 501)


def test_a_seed_always_means_the_same() -> None:
    assert [plan(seed) for seed in SEEDS] == [plan(seed) for seed in SEEDS]


def test_ten_seeds_in_a_row_have_every_kind_of_fault() -> None:
    for first in (1, 8, 21):
        assert {plan(seed).steps[0].kind for seed in range(first, first + 10)} == set(KINDS)


@pytest.mark.parametrize("layout", [SPREAD, APART])
def test_both_layouts_meet_every_kind(layout: object) -> None:
    plans = [plan(seed) for seed in SEEDS if plan(seed).layout == layout]
    assert {step.kind for chosen in plans for step in chosen.steps} == set(KINDS)


def test_no_fault_is_aimed_at_a_job_that_is_dead() -> None:
    for chosen in map(plan, SEEDS):
        dead: frozenset[str] = frozenset()
        for step in chosen.steps:
            assert dead < set(USERS), "nothing is left to disturb"
            dooms = KINDS[step.kind].dooms(step.target, chosen.layout)
            assert not dooms & dead
            dead |= dooms


def test_faults_last_as_long_as_their_kind_may() -> None:
    steps = [step for seed in SEEDS for step in plan(seed).steps]
    for step in steps:
        shortest, longest = KINDS[step.kind].lasts
        assert shortest <= step.lasts <= longest
    cuts = [step.lasts for step in steps if step.kind == "cut"]
    assert min(cuts) < 1.5
    assert max(cuts) > 15


def test_a_killed_node_dooms_the_jobs_on_it_alone() -> None:
    node = KINDS["node"]
    assert node.dooms("c1", SPREAD) == {"alice", "bob"}
    assert node.dooms("c1", APART) == {"alice"}
    assert node.dooms("c2", APART) == {"bob"}
