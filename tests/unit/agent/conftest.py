"""Fixtures of the agents' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import openqse
from tests.support.agents.stack import Stack
from tests.support.ports import free_ports


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Makes stacks with settings of their own; all are stopped afterwards."""
    made: list[Stack] = []

    def make(**settings: Any) -> Stack:
        ports = dict(zip(("emu0", "emu1"), free_ports(2), strict=True))
        made.append(Stack(tmp_path / str(len(made)), ports, **settings))
        return made[-1]

    yield make
    for stack in made:
        stack.close()


@pytest.fixture
def stack(make_stack: Callable[..., Stack]) -> Stack:
    """A stack with two QPUs, emu0 (4 slots) and emu1 (1 slot)."""
    return make_stack()


@pytest.fixture
def guarded(make_stack: Callable[..., Stack]) -> Stack:
    """A stack whose QPU agents and node agent have keys."""
    return make_stack(keys=True)


@pytest.fixture
def enter(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts this process into a job that holds QPUs, as the plugin does with a rank."""

    def enter(job_id: int = 7, qpus: str = "emu0:2", **licenses: int) -> None:
        held = licenses or {f"qpu_{q.partition(':')[0]}": 4 for q in qpus.split(",")}
        stack.slurm.submit(job_id, held)
        stack.enter(job_id, qpus, monkeypatch)

    return enter


@pytest.fixture
def rank(enter: Callable[..., None]) -> Iterator[openqse.QPU]:
    """A rank's connection to emu0, which its job holds."""
    enter()
    with openqse.connect() as qpu:
        yield qpu
