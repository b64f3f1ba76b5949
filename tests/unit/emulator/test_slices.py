"""Slices of a task give what the whole task gives, whichever engine computes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse import device
from openqse.device import Join, Outcome, Work
from openqse.errors import TaskCancelled
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.observable import PauliSum
from openqse_emulator import kept, profile
from openqse_emulator.device import Emulator, Prepared
from openqse_emulator.kept import Shots
from openqse_emulator.profile import Engine, Noise

from .circuits import never, random_circuit
from .test_determinism import NOISE, PAULI, PROGRAMS

SHOTS = 600


@cache
def opened(name: str) -> tuple[Emulator, Prepared]:
    method, circuit, noise, _ = PROGRAMS[name]
    emulator = Emulator(replace(profile.load(), engine=Engine(method, threads=2), noise=noise))
    return emulator, emulator.prepare(circuit)


def asked(circuit: Circuit, sets: int, shots: int, observable: PauliSum | None = None) -> Work:
    parameters = np.random.default_rng(9).uniform(-3, 3, (sets, len(circuit.parameters)))
    return Work(circuit.digest, parameters, shots, 42, observable)


def in_slices(emulator: Emulator, prepared: Prepared, work: Work, pieces: float) -> Outcome:
    join = Join(work)
    sets = len(work.parameters)
    time = emulator.estimate(prepared, work.shots, sets, work.observable)
    for part in device.slices(work, time, max(1, int(time / pieces))):
        join.add(device.perform(emulator, prepared, part, never))
    assert join.done
    return join.outcome()


def assert_same(found: Outcome, expected: Outcome) -> None:
    for name, value in vars(expected.data).items():
        np.testing.assert_array_equal(getattr(found.data, name), value, strict=True)
    assert found.calibration == expected.calibration


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(PROGRAMS)),
    st.integers(1, 4),
    st.integers(1, SHOTS),
    st.floats(1, 60),
)
def test_any_slicing_gives_the_samples_of_the_whole(
    name: str, sets: int, shots: int, pieces: float
) -> None:
    emulator, prepared = opened(name)
    work = asked(prepared.circuit, sets, shots)
    whole = device.perform(emulator, prepared, work, never)
    assert_same(in_slices(emulator, prepared, work, pieces), whole)


EXPECTED = {
    "statevector": Noise(),
    "trajectories": NOISE,
    "density": NOISE,
    "stabilizer": PAULI,
}


@pytest.mark.parametrize("method", EXPECTED)
def test_slices_of_an_expectation_are_the_whole(method: str) -> None:
    noise = EXPECTED[method]
    clifford = CircuitBuilder(5).h(0).s(1).cx(0, 1).cx(1, 2)
    rotated = random_circuit(5, 20, np.random.default_rng(3), free=0.5)
    circuit = (clifford if method == "stabilizer" else rotated).build()
    engine = Engine(method)  # type: ignore[arg-type]
    emulator = Emulator(replace(profile.load(), engine=engine, noise=noise, expectation_shots=40))
    observable = PauliSum.from_terms({"Z0": 1.0, "X1 Y2": 0.5}, 5)
    prepared = emulator.prepare(circuit)
    work = asked(circuit, 7, 0, observable)
    whole = device.perform(emulator, prepared, work, never)
    for pieces in (2, 3.5, 7, 100):
        assert_same(in_slices(emulator, prepared, work, pieces), whole)
    assert_same(device.perform(emulator, prepared, work, never), whole)
    if method == "trajectories":
        other = device.perform(emulator, prepared, replace(work, seed=43), never)
        assert (other.data.values != whole.data.values).any()  # type: ignore[union-attr]


def test_slices_are_computed_by_the_engine_of_the_whole() -> None:
    """With few shots trajectories cost less, with many a density matrix."""
    emulator = Emulator(replace(profile.load(), noise=NOISE))
    circuit = random_circuit(7, 20, np.random.default_rng(3)).measure_all().build()
    prepared = emulator.prepare(circuit)
    assert emulator.run(prepared, np.zeros((1, 0)), 1, 1, never).method.startswith("traj")
    work = asked(circuit, 1, 1000)
    whole = device.perform(emulator, prepared, work, never)
    assert whole.data.method.startswith("density")
    assert_same(in_slices(emulator, prepared, work, 40), whole)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No time to compute shots ahead of their slice."""
    monkeypatch.setattr(kept, "_AHEAD", -1.0)
    return


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("name", ["trajectories", "dynamic trajectories", "dynamic"])
def test_slices_that_nothing_is_computed_ahead_for_give_the_same(name: str) -> None:
    emulator, prepared = opened(name)
    work = asked(prepared.circuit, 2, SHOTS)
    whole = device.perform(emulator, prepared, work, never)
    assert_same(in_slices(emulator, prepared, work, 40), whole)


def test_interrupted_run_ahead_leaves_what_is_left() -> None:
    """Shots are sampled once each, in the slice's own time or ahead of it."""
    sampled: list[tuple[int, int]] = []
    shots = Shots(100, 1)

    def sample(begin: int, end: int, stopped: object) -> None:
        rows = np.flatnonzero(shots.left[begin:end]) + begin
        if len(sampled) == 0:  # time is up in the course of the first
            rows = rows[rows % 2 == 0]
        sampled.extend((begin, row) for row in rows.tolist())
        shots.memory[rows, 0] = rows
        shots.left[rows] = False
        if len(rows) == 50:
            raise TaskCancelled("time is up")

    for begin in range(0, 100, 10):
        rows = shots.take(begin, begin + 10, sample, never, alike=False)
        np.testing.assert_array_equal(rows[:, 0], np.arange(begin, begin + 10))
    assert sorted(row for _, row in sampled) == list(range(100))


def test_slices_of_runs_of_different_length_are_told_apart() -> None:
    """The same program with the same seed: what is kept for one run has no room for the other."""
    emulator, prepared = opened("trajectories")
    sets = asked(prepared.circuit, 1, 1).parameters

    def sliced(first: int, count: int, of_shots: int) -> np.ndarray:
        where = {"first_shot": first, "of_shots": of_shots}
        return emulator.run(prepared, sets, count, 5, never, **where).memory[0]

    whole = emulator.run(prepared, sets, 20, 5, never).memory[0]
    np.testing.assert_array_equal(sliced(0, 3, 9), whole[:3])
    np.testing.assert_array_equal(sliced(8, 12, 20), whole[8:])
    np.testing.assert_array_equal(sliced(3, 6, 9), whole[3:9])


def test_slice_that_is_stopped_ends() -> None:
    emulator, prepared = opened("trajectories")
    part = replace(asked(prepared.circuit, 1, 10), of_shots=SHOTS)
    with pytest.raises(TaskCancelled):
        device.perform(emulator, prepared, part, lambda: True)
    again = device.perform(emulator, prepared, part, never)
    whole = device.perform(emulator, prepared, replace(part, shots=SHOTS), never)
    np.testing.assert_array_equal(again.data.memory, whole.data.memory[:, :10])  # type: ignore[union-attr]


def test_shots_of_a_task_are_kept_no_longer_than_its_slices() -> None:
    emulator = Emulator(replace(profile.load(), engine=Engine("trajectories"), noise=NOISE))
    prepared = emulator.prepare(PROGRAMS["trajectories"][1])
    work = asked(prepared.circuit, 1, SHOTS)
    parts = list(device.slices(work, 10, 1))
    for part in parts[:-1]:
        device.perform(emulator, prepared, part, never)
        assert emulator._kept.nbytes > 0
    device.perform(emulator, prepared, parts[-1], never)
    assert emulator._kept.nbytes == 0
