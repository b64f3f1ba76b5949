"""The reader under fire, in every check: small programs of every construct, mutated."""

from __future__ import annotations

import random

import pytest

from openqse.program.openqasm import limits
from tests.fuzz.programs import mutated, one_input, seeds


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_OPERATIONS", 20_000)
    monkeypatch.setattr(limits, "MAX_EXPANSION", 200_000)


@pytest.mark.parametrize("seed", range(20))
def test_a_mutated_program_is_a_circuit_or_a_typed_error(seed: int) -> None:
    draw, texts = random.Random(seed), seeds()
    for _ in range(25):
        one_input(mutated(draw, texts).encode())


def test_bytes_that_are_no_text_are_refused() -> None:
    one_input(bytes(range(256)))
