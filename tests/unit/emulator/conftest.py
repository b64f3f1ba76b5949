"""One emulator for all tests: it keeps nothing that one test could see of another but its cache."""

from __future__ import annotations

import pytest

from openqse_emulator.device import Emulator, create


@pytest.fixture(scope="session")
def emulator() -> Emulator:
    return create("superconducting")
