"""What every Slurm client must do, against whatever cluster it is connected to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pytest

from openqse.errors import SlurmError
from openqse_agent.slurm.client import Job, SlurmClient


def tells(client: SlurmClient, jobs: Mapping[int, Job], unknown: int) -> None:
    """Asked for one or for all, it tells these jobs and no other; ``unknown`` is no job's id."""
    assert client.jobs([]) == {}
    assert client.jobs([unknown]) == {}
    assert client.jobs([unknown, unknown + 1]) == {}
    assert client.jobs([*jobs, unknown]) == dict(jobs)
    for id, job in jobs.items():
        assert client.jobs([id]) == {id: job}


def agree(first: SlurmClient, second: SlurmClient, jobs: list[int]) -> None:
    """Two clients of one cluster at rest say the same."""
    assert first.jobs(jobs) == second.jobs(jobs)
    for job in jobs:
        assert first.jobs([job]) == second.jobs([job])
    assert first.shares() == pytest.approx(second.shares())


def fails(question: Callable[[], object], within: float) -> SlurmError:
    """The question raises an error that says where and what to do, within so many seconds."""
    started = time.monotonic()
    with pytest.raises(SlurmError) as caught:
        question()
    assert time.monotonic() - started < within
    assert caught.value.layer == "slurmctld"
    assert caught.value.remedy
    return caught.value
