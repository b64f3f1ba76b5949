"""Equal seeds give equal samples, however many threads there are and however shots are sliced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse_emulator import profile
from openqse_emulator.device import Emulator
from openqse_emulator.profile import Engine, Method, Noise, Precision
from openqse_emulator.randomness import Uniforms

from .circuits import never, random_circuit

PAULI = Noise(one_qubit=0.02, two_qubit=0.04, zero_as_one=(0.02,))
NOISE = Noise(one_qubit=0.02, two_qubit=0.04, t1_ns=(20_000,), zero_as_one=(0.02,))


def plain(n: int = 6) -> Circuit:
    return random_circuit(n, 12 * n, np.random.default_rng(n), free=0.4).measure_all().build()


def dynamic() -> Circuit:
    builder = random_circuit(5, 20, np.random.default_rng(1), free=0.4).measure(0, 5)
    builder.h(0).cx(0, 1).reset(2).ry(0.3, 2).measure(1, 6).h(1)
    return builder.measure_all().build()


def clifford() -> Circuit:
    builder = CircuitBuilder(5)
    for q in range(4):
        builder.h(q).s(q).cx(q, q + 1)
    return builder.measure_all().build()


PROGRAMS: dict[str, tuple[Method, Circuit, Noise, int]] = {
    "sampling": ("statevector", plain(), Noise(), 1),
    "misread": ("statevector", plain(), Noise(zero_as_one=(0.1,)), 1),
    "large": ("statevector", plain(14), Noise(), 1),
    "batch": ("statevector", plain(), Noise(), 7),
    "dynamic": ("statevector", dynamic(), Noise(), 2),
    "trajectories": ("trajectories", plain(), NOISE, 2),
    "dynamic trajectories": ("trajectories", dynamic(), NOISE, 1),
    "density": ("density", dynamic(), NOISE, 2),
    "stabilizer": ("stabilizer", clifford(), PAULI, 2),
}


def cut(whole: int, lengths: list[int]) -> Iterator[tuple[int, int]]:
    """Pieces ``(begin, count)`` of these lengths, over and over, that make a whole."""
    begin = i = 0
    while begin < whole:
        count = min(lengths[i % len(lengths)], whole - begin)
        yield begin, count
        begin, i = begin + count, i + 1


def sampled(
    name: str,
    shots: int,
    seed: int = 42,
    threads: int = 1,
    precision: Precision = "double",
    slices: Sequence[int] = (),
) -> NDArray[np.uint8]:
    """The memory of a run, in one or in slices of these lengths, over and over."""
    method, circuit, noise, sets = PROGRAMS[name]
    engine = Engine(method, precision, threads)
    emulator = Emulator(replace(profile.load(), engine=engine, noise=noise))
    parameters = np.random.default_rng(9).uniform(-3, 3, (sets, len(circuit.parameters)))
    prepared = emulator.prepare(circuit)
    parts = [
        emulator.run(prepared, parameters, count, seed, never, first_shot=begin, of_shots=shots)
        for begin, count in cut(shots, slices or [shots])
    ]
    emulator.close()
    assert all(part.method.startswith(method) for part in parts)
    return np.concatenate([part.memory for part in parts], axis=1)


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_number_of_threads_is_of_no_matter(name: str, precision: Precision) -> None:
    shots = 150 if "trajectories" in name else 100_000
    alone = sampled(name, shots, precision=precision)
    for threads in (2, 3):
        np.testing.assert_array_equal(sampled(name, shots, 42, threads, precision), alone)
    assert (sampled(name, shots, 43, precision=precision) != alone).any()


@pytest.mark.parametrize("name", PROGRAMS)
def test_slices_are_of_no_matter(name: str) -> None:
    whole = sampled(name, 600)
    np.testing.assert_array_equal(sampled(name, 600, slices=(1, 300, 77)), whole)
    np.testing.assert_array_equal(sampled(name, 77), whole[:, :77])


def test_sets_of_a_batch_draw_numbers_of_their_own() -> None:
    _, circuit, _, _ = PROGRAMS["batch"]
    emulator = Emulator(replace(profile.load(), engine=Engine("statevector", threads=2)))
    same = np.tile([[0.3, 0.4, 0.5]], (3, 1))
    memory = emulator.run(emulator.prepare(circuit), same, 1000, 5, never).memory
    emulator.close()
    assert (memory[0] != memory[1]).any()
    assert (memory[1] != memory[2]).any()


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**20),
    st.integers(0, 2**40),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
)
def test_pieces_of_a_stream_make_the_whole(
    seed: int, of_set: int, stream: int, lengths: list[int]
) -> None:
    uniforms = Uniforms(seed, of_set)
    whole = uniforms.draw(stream, 0, 100)
    pieces = [uniforms.draw(stream, begin, count) for begin, count in cut(100, lengths)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert ((whole >= 0) & (whole < 1)).all()


def test_seeds_sets_and_streams_have_numbers_of_their_own() -> None:
    streams = [
        Uniforms(seed, of_set).draw(stream, 0, 1000)
        for seed in (0, 1, 2**64 - 1)
        for of_set in (0, 1)
        for stream in (0, 1, 2**20, 2**32)
    ]
    assert len(np.unique(np.concatenate(streams))) == 1000 * len(streams)
    correlations = np.corrcoef(streams) - np.eye(len(streams))
    assert np.abs(correlations).max() < 0.2
    assert np.mean(streams) == pytest.approx(0.5, abs=0.01)
