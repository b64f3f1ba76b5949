"""What every Slurm client must do, against whatever cluster it is connected to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pytest

from openqse.errors import SlurmError
from openqse_agent.slurm.client import Job, Reservation, SlurmClient


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
    assert first.reservations() == second.reservations()


def holds_back(client: SlurmClient, licences: Mapping[str, int], name: str) -> None:
    """It reserves all of some licences, now and later, says so, and gives them back.

    Args:
        name: begins the names of the reservations that it makes; there are none such before.
    """
    now = int(time.time())
    client.release(name)  # no such: nothing to end
    endless = Reservation(name, licences, now, None)
    client.reserve(endless)
    held = client.reservations()[name]
    assert (held.licences, held.end) == (licences, None)
    assert abs(held.start - now) < 60
    fails(lambda: client.reserve(endless), 30)  # the name is taken
    planned = Reservation(f"{name}_later", licences, now + 3600, now + 5400)
    fails(lambda: client.reserve(planned), 30)  # the licences are
    client.release(name)
    client.reserve(planned)
    assert {n: r for n, r in client.reservations().items() if n.startswith(name)} == {
        planned.name: planned
    }
    client.release(planned.name)
    client.release(planned.name)
    assert not any(n.startswith(name) for n in client.reservations())


def fails(question: Callable[[], object], within: float) -> SlurmError:
    """The question raises an error that says where and what to do, within so many seconds."""
    started = time.monotonic()
    with pytest.raises(SlurmError) as caught:
        question()
    assert time.monotonic() - started < within
    assert caught.value.layer == "slurmctld"
    assert caught.value.remedy
    return caught.value
