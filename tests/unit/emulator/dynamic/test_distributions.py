"""What programs with classical control give: known distributions, and those of the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from program.reference import distribution

from openqse.program.circuit import Circuit
from openqse_emulator import profile
from openqse_emulator.dynamic import density, paths
from openqse_emulator.dynamic.compile import compiled
from openqse_emulator.noise import NoiseModel

from ..circuits import assert_drawn_from, never
from .programs import KNOWN, programs

QUIET = NoiseModel.of(profile.load("superconducting"))
ROOM = 2**30


def sampled(circuit: Circuit, shots: int, seed: int = 1) -> NDArray[np.uint8]:
    program = compiled(circuit, QUIET)
    found = paths.Sampled.none(program, shots)
    paths.sample(program, np.zeros(0), (seed, 0), 0, found, ROOM, never)
    assert not found.left.any()
    return found.memory


def exact(circuit: Circuit, model: NoiseModel = QUIET) -> dict[int, float]:
    found = density.distribution(compiled(circuit, model), model, np.zeros(0), ROOM, never)
    result: dict[int, float] = {}
    for row, p in zip(found.memory, np.diff(found.cumulative, prepend=0.0), strict=True):
        value = int.from_bytes(row.tobytes(), "little")
        result[value] = result.get(value, 0.0) + float(p)
    return result


@pytest.mark.parametrize("name", KNOWN)
def test_known_programs_are_sampled_as_computed_by_hand(name: str) -> None:
    circuit, expected = KNOWN[name]()
    assert_drawn_from(sampled(circuit, 20_000), expected)


@pytest.mark.parametrize("name", [name for name in KNOWN if name != "dynamic_ghz"])
def test_density_matrices_give_known_distributions_exactly(name: str) -> None:
    circuit, expected = KNOWN[name]()
    found = exact(circuit)
    assert found.keys() >= {value for value, p in expected.items() if p > 1e-12}
    for value, p in found.items():
        assert p == pytest.approx(expected.get(value, 0.0), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(circuit=programs())
def test_state_vectors_agree_with_the_reference_interpreter(circuit: Circuit) -> None:
    expected = {int(bits, 2): p for bits, p in distribution(circuit).items()}
    assert_drawn_from(sampled(circuit, 4000), expected)


@settings(max_examples=25, deadline=None)
@given(circuit=programs(most_qubits=3))
def test_density_matrices_agree_with_the_reference_interpreter(circuit: Circuit) -> None:
    expected = {int(bits, 2): p for bits, p in distribution(circuit).items()}
    for value, p in exact(circuit).items():
        assert p == pytest.approx(expected.get(value, 0.0), abs=1e-9)
