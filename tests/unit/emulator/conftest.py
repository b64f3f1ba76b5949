"""Emulators and engines for all tests: they keep nothing that one test could see of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray

from openqse_emulator import profile
from openqse_emulator.device import Emulator, make
from openqse_emulator.profile import Engine
from openqse_emulator.statevector import execute

Engines = Callable[[DTypeLike, int], execute.Engine]


@pytest.fixture(scope="session", autouse=True)
def filled_memory() -> Iterator[None]:
    """Memory that is new holds no zeros: whoever reads what was not written gets no number."""

    def filled(size: int, dtype: DTypeLike) -> NDArray[Any]:
        numbers = aligned(size, dtype)
        numbers.fill(np.nan)
        return numbers

    aligned = execute.aligned
    with mock.patch.object(execute, "aligned", filled):
        yield


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """Computes state vectors with two threads, of programs that are Clifford as well."""
    make().close()  # the kernels are compiled now, in no test's time
    engine = Engine(method="statevector", threads=2)
    made = Emulator(replace(profile.load("superconducting"), engine=engine))
    yield made
    made.close()


@pytest.fixture(scope="session")
def automatic() -> Iterator[Emulator]:
    """Chooses a method for each program."""
    made = make("superconducting")
    yield made
    made.close()


@pytest.fixture(scope="session")
def engine() -> Iterator[Engines]:
    """State-vector engines, by precision and number of threads."""
    made: dict[tuple[np.dtype, int], execute.Engine] = {}

    def of(dtype: DTypeLike, threads: int = 1) -> execute.Engine:
        key = np.dtype(dtype), threads
        if key not in made:
            made[key] = execute.Engine(*key)
        return made[key]

    yield of
    for each in made.values():
        each.close()
