"""Random programs with control flow mean the same to the reader and to a plain interpreter."""

from __future__ import annotations

import pytest

from openqse.program.openqasm import loads

from .exact import distribution
from .random_programs import Maker, results, text

SEEDS = [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 60))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_program_gives_what_a_plain_interpreter_gives(seed: int) -> None:
    body = Maker(seed).block(3, 5)
    expected = results(body)
    found = distribution(loads(text(body)))
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_random_programs_are_of_every_kind() -> None:
    kinds = {"IF", "LOOP", "BREAK", "CONTINUE", "LOAD", "STORE", "GETBITS", "SETBITS", "SEXT"}
    seen: set[str] = set()
    for seed in range(60):
        seen |= {o.op.name for o in loads(text(Maker(seed).block(3, 5))).operations()}
    assert kinds <= seen
