"""Threads that work together, and how work is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from openqse.errors import TaskCancelled
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse_emulator import noise
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector import branches, execute
from openqse_emulator.statevector.team import Team
from openqse_emulator.trajectories import Prepared as Trajectories

from . import reference
from .circuits import assert_same_state, never, random_circuit, random_observable
from .conftest import Engines
from .test_engine import blocks_of
from .test_noise import model

PATIENCE = 20.0  # seconds that no test takes unless it fails


@pytest.fixture
def team() -> Iterator[Team]:
    made = Team(3)
    yield made
    made.close()


def test_every_piece_is_done_once(team: Team) -> None:
    done = [0] * 1000

    def job(thread: int, i: int) -> None:
        assert 0 <= thread < 3
        done[i] += 1

    team.each(1000, job, never)
    assert done == [1] * 1000


def test_threads_take_part_at_once(team: Team) -> None:
    barrier = threading.Barrier(3, timeout=PATIENCE)
    team.each(3, lambda thread, i: barrier.wait() and None, never)
    assert not barrier.broken


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_exception_of_a_thread_reaches_the_caller(team: Team, failing: int) -> None:
    barrier = threading.Barrier(3, timeout=PATIENCE)
    running: list[int] = []

    def job(thread: int, i: int) -> None:
        running.append(thread)
        if i < 3:
            barrier.wait()  # each thread has one of the first three
        running.remove(thread)
        if thread == failing:
            raise ZeroDivisionError(f"in {thread}")

    with pytest.raises(ZeroDivisionError, match=f"in {failing}"):
        team.each(300, job, never)
    assert running == []
    done: list[int] = []
    team.each(5, lambda thread, i: done.append(i), never)
    assert sorted(done) == list(range(5))


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_exception_of_one_thread_ends_the_others_that_work_with_it(
    team: Team, failing: int
) -> None:
    barrier = threading.Barrier(3, timeout=PATIENCE)
    halted = threading.Event()
    begun: set[int] = set()

    def job(thread: int) -> bool:
        if thread not in begun:
            begun.add(thread)
            barrier.wait()
            if thread == failing:
                raise ZeroDivisionError(f"in {thread}")
        elif not halted.wait(PATIENCE / 20):
            pytest.fail("the others were not halted")
        return halted.is_set()

    with pytest.raises(ZeroDivisionError, match=f"in {failing}"):
        team.together(team.threads, job, never, halted.set)


def test_caller_that_stops_halts_the_others(team: Team) -> None:
    halted = threading.Event()

    def job(thread: int) -> bool:
        return bool(thread) and halted.wait(PATIENCE)

    with pytest.raises(TaskCancelled):
        team.together(team.threads, job, lambda: True, halted.set)
    assert halted.is_set()


def test_closed_team_has_no_threads() -> None:
    before = threading.active_count()
    team = Team(4)
    team.each(8, lambda thread, i: None, never)
    team.close()
    assert threading.active_count() == before


class After:
    """``stopped`` that turns true at a call; nobody may ask again."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self) -> bool:
        self.left -= 1
        assert self.left >= 0, "asked again after the answer was to stop"
        return self.left == 0


CIRCUIT = random_circuit(9, 150, np.random.default_rng(6), controls=1).measure_all().build()
ANGLES = CIRCUIT.bind()[0]


def dynamic() -> Circuit:
    builder = CircuitBuilder(9)
    for i in range(30):
        builder.ry(0.7, i % 9).cx(i % 9, (i + 1) % 9).measure(i % 9, i % 8)
    return builder.build()


def evolve(engine: execute.Engine, stopped: After) -> None:
    engine.evolve(engine.prepare(CIRCUIT), ANGLES, stopped)


def sample(engine: execute.Engine, stopped: After) -> None:
    found = engine.distribution(engine.prepare(CIRCUIT), ANGLES, never)
    found.sample(Uniforms(1), np.zeros((1_000_000, 2), np.uint8), engine.team, stopped)


def batch(engine: execute.Engine, stopped: After) -> None:
    angles = np.tile(ANGLES, (200, 1))
    memory = np.zeros((200, 5, 2), np.uint8)
    engine.samples(engine.prepare(CIRCUIT), angles, Uniforms, memory, stopped)


def expect(engine: execute.Engine, stopped: After) -> None:
    observable = random_observable(9, 5, np.random.default_rng(1))
    engine.expectations(engine.prepare(CIRCUIT), observable, np.tile(ANGLES, (200, 1)), stopped)


def branch(engine: execute.Engine, stopped: After) -> None:
    circuit = dynamic()
    memory = np.zeros((100, 1), np.uint8)
    branches.sample(
        engine, engine.prepare(circuit), circuit.bind()[0], Uniforms(1), memory, stopped
    )


def scatter(engine: execute.Engine, stopped: After) -> None:
    sequence = noise.sequence(CIRCUIT, model(one_qubit=0.1, two_qubit=0.1))
    memory = np.zeros((2000, 2), np.uint8)
    Trajectories(engine, CIRCUIT, sequence).sample(ANGLES, Uniforms(1), memory, stopped)


@pytest.mark.parametrize("block", [6, 15])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("work", "calls"),
    [
        (evolve, 1),
        (sample, 3),
        (batch, 2),
        (batch, 20),
        (expect, 10),
        (branch, 50),
        (scatter, 5),
        (scatter, 130),
    ],
)
def test_work_that_is_stopped_ends_and_the_engine_goes_on(
    engine: Engines,
    work: Callable[[execute.Engine, After], None],
    calls: int,
    threads: int,
    block: int,
) -> None:
    team = engine(np.float64, threads)
    stopped = After(calls)
    with blocks_of(block):
        with pytest.raises(TaskCancelled) as caught:
            work(team, stopped)
        assert stopped.left == 0
        assert caught.value.layer == "device"
        state = team.evolve(team.prepare(CIRCUIT), ANGLES, never)
    assert_same_state(state.amplitudes(), reference.state(CIRCUIT))


@pytest.mark.parametrize("threads", [1, 2])
def test_evolution_is_stopped_between_its_blocks(engine: Engines, threads: int) -> None:
    circuit = random_circuit(16, 200, np.random.default_rng(5), controls=1).build()
    team = engine(np.float64, threads)
    stopped = After(2)
    with blocks_of(6):
        prepared = team.prepare(circuit)
        assert prepared.planned(circuit.bind()[0], True)[0].sweeps > 5
        with pytest.raises(TaskCancelled):
            team.evolve(prepared, circuit.bind()[0], stopped)
        state = team.evolve(prepared, circuit.bind()[0], never)
    assert_same_state(state.amplitudes(), reference.state(circuit))
