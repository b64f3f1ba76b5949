"""Cutting work into slices, and putting their outcomes together, as values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqse.device import Expectations, Join, Outcome, Samples, Work, slices
from openqse.errors import DeviceError
from openqse.program.observable import PauliSum

Z = PauliSum.from_terms({"Z0": 1.0}, 1)
SET_NS = 1_000_000


def sampling(sets: int, shots: int, seed: int | None = 1) -> Work:
    return Work(bytes(32), np.arange(float(sets))[:, np.newaxis], shots, seed)


def numbered(part: Work) -> Outcome:
    """An outcome whose rows name the set and the shot that they are of."""
    rows = np.indices((len(part.parameters), part.shots)).transpose(1, 2, 0)
    memory = (rows + np.array([part.first_set, part.first_shot])).astype(np.uint8)
    return Outcome(
        Samples(memory, len(part.parameters) * part.shots, {"method": "method"}), "calibration"
    )


@given(st.integers(1, 9), st.integers(1, 3000), st.integers(1, 4 * SET_NS))
def test_slices_run_through_all_shots_of_all_sets_in_order(
    sets: int, shots: int, slice_ns: int
) -> None:
    work = sampling(sets, shots)
    visited = [
        (i, part.first_shot, part.first_shot + part.shots)
        for part in slices(work, sets * SET_NS, slice_ns)
        for i in (part.first_set + np.arange(len(part.parameters))).tolist()
    ]
    reached = dict.fromkeys(range(sets), 0)
    for i, first, last in visited:
        assert first == reached[i] < last
        reached[i] = last
    assert reached == dict.fromkeys(range(sets), shots)
    assert [i for i, _, _ in visited] == sorted(i for i, _, _ in visited)


@given(st.integers(1, 9), st.integers(1, 300), st.integers(SET_NS // 100, 4 * SET_NS))
def test_joined_slices_are_the_whole(sets: int, shots: int, slice_ns: int) -> None:
    work = sampling(sets, shots)
    join = Join(work)
    for part in slices(work, sets * SET_NS, slice_ns):
        assert not join.done
        np.testing.assert_array_equal(part.parameters[0, 0], part.first_set)
        join.add(numbered(part))
    assert join.done
    assert join.qpu_time_ns == sets * shots
    outcome, whole = join.outcome(), numbered(work)
    assert isinstance(outcome.data, Samples)
    np.testing.assert_array_equal(outcome.data.memory, whole.data.memory)  # type: ignore[union-attr]
    assert outcome.data.qpu_time_ns == whole.data.qpu_time_ns
    assert (outcome.data.method, outcome.calibration) == ("method", "calibration")


@given(st.integers(1, 10**6), st.integers(2, 50))
def test_slices_take_about_the_time_asked_for(shots: int, pieces: int) -> None:
    *full, last = slices(sampling(1, shots), SET_NS, SET_NS // pieces)
    for part in full:
        taken = SET_NS * part.shots / shots
        assert taken < 1.5 * SET_NS / pieces + SET_NS / shots
    assert len(full) <= 1.5 * pieces + 1
    assert last.shots <= max(part.shots for part in [*full, last])


def test_sets_are_kept_whole_where_they_are_short() -> None:
    parts = list(slices(sampling(10, 100), 10 * SET_NS, 3 * SET_NS))
    assert [len(part.parameters) for part in parts] == [2, 3, 2, 3]
    assert {part.shots for part in parts} == {100}


def test_many_shots_are_cut_where_blocks_end() -> None:
    parts = list(slices(sampling(1, 10_000), SET_NS, SET_NS // 9))
    assert [part.first_shot % 256 for part in parts] == [0] * len(parts)
    assert len(parts) == 10


def test_expectation_is_cut_between_sets_alone() -> None:
    work = replace(sampling(3, 0), observable=Z)
    parts = list(slices(work, 3 * SET_NS, SET_NS // 5))
    assert [(part.first_set, len(part.parameters)) for part in parts] == [(0, 1), (1, 1), (2, 1)]
    join = Join(work)
    for part in parts:
        values = Expectations(part.parameters[:, 0], 7)
        join.add(Outcome(values, "c"))
    assert isinstance(join.outcome().data, Expectations)
    np.testing.assert_array_equal(join.outcome().data.values, [0, 1, 2])  # type: ignore[union-attr]
    assert join.qpu_time_ns == 21


def test_work_of_one_slice_is_left_as_it_is() -> None:
    work = sampling(2, 100, seed=None)
    assert list(slices(work, SET_NS, SET_NS)) == [work]


def test_slices_share_a_seed_that_is_drawn_for_them() -> None:
    parts = list(slices(sampling(1, 100, seed=None), SET_NS, SET_NS // 4))
    (seed,) = {part.seed for part in parts}
    assert seed is not None
    (other,) = {part.seed for part in slices(sampling(1, 100, seed=None), SET_NS, SET_NS // 4)}
    assert seed != other
    assert {part.of_shots for part in parts} == {100}


def test_slice_can_be_cut_again() -> None:
    first, second = slices(sampling(1, 1000), SET_NS, SET_NS // 2)
    parts = list(slices(second, SET_NS // 2, SET_NS // 4))
    assert parts[0].first_shot == first.shots
    assert sum(part.shots for part in parts) == second.shots
    assert {part.of_shots for part in parts} == {1000}


def test_calibrations_are_named_in_order() -> None:
    work = sampling(4, 1)
    join = Join(work)
    for part, name in zip(slices(work, 4, 1), ["a", "b", "b", "a"], strict=True):
        join.add(replace(numbered(part), calibration=name))
    assert join.outcome().calibration == "a+b"


def test_more_results_than_asked_for_are_an_error() -> None:
    join = Join(sampling(1, 3))
    join.add(numbered(sampling(1, 2)))
    with pytest.raises(DeviceError, match="4 results where 3"):
        join.add(numbered(sampling(1, 2)))


def test_program_without_classical_bits_is_joined() -> None:
    join = Join(sampling(2, 5))
    join.add(Outcome(Samples(np.zeros((2, 5, 0), np.uint8), 1), "c"))
    assert join.outcome().data.memory.shape == (2, 5, 0)  # type: ignore[union-attr]
