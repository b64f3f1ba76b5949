"""What every Slurm client must do, against whatever cluster it is connected to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pytest

from openqse.errors import SlurmError
from openqse_agent.slurm.client import Job, QPUUse, Reservation, SlurmClient


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
    assert first.fair_tree() == second.fair_tree()
    assert first.reservations() == second.reservations()


def holds_back(client: SlurmClient, licenses: Mapping[str, int], name: str) -> None:
    """It reserves all of some licenses, now and later, says so, and gives them back.

    Args:
        name: begins the names of the reservations that it makes; there are none such before.
    """
    now = int(time.time())
    client.release(name)  # no such: nothing to end
    endless = Reservation(name, licenses, now, None)
    client.reserve(endless)
    held = client.reservations()[name]
    assert (held.licenses, held.end) == (licenses, None)
    assert abs(held.start - now) < 60
    fails(lambda: client.reserve(endless), 30)  # the name is taken
    planned = Reservation(f"{name}_later", licenses, now + 3600, now + 5400)
    fails(lambda: client.reserve(planned), 30)  # the licenses are
    client.release(name)
    client.reserve(planned)
    assert {n: r for n, r in client.reservations().items() if n.startswith(name)} == {
        planned.name: planned
    }
    client.release(planned.name)
    client.release(planned.name)
    assert not any(n.startswith(name) for n in client.reservations())


def records_use(
    first: SlurmClient, second: SlurmClient, job: int, comment: Callable[[], str]
) -> None:
    """Two clients write into the record of an ended job, each what its QPU gave; none is lost.

    Args:
        comment: what the record has now.
    """
    before = comment()
    emu0 = {"emu0": QPUUse(12.5, 40, 4000, 3.25)}
    emu1 = {"emu1": QPUUse(0.000000001, 1, 1, 0.0)}
    said0 = "qpu_time/emu0=12.5,tasks/emu0=40,shots/emu0=4000,waited/emu0=3.25"
    said1 = "qpu_time/emu1=0.000000001,tasks/emu1=1,shots/emu1=1,waited/emu1=0"
    assert not first.record_use(job, emu0)
    assert comment() == f"{before} openqse:{said0}".strip()
    assert first.record_use(job, emu0)
    assert not second.record_use(job, emu1)
    assert comment() == f"{before} openqse:{said0},{said1}".strip()
    assert first.record_use(job, emu0)
    assert second.record_use(job, emu1)
    more = {"emu0": QPUUse(13.0, 41, 4100, 3.25)}
    assert not first.record_use(job, more)
    assert first.record_use(job, more)
    said0 = "qpu_time/emu0=13,tasks/emu0=41,shots/emu0=4100,waited/emu0=3.25"
    assert comment() == f"{before} openqse:{said0},{said1}".strip()


def fails(question: Callable[[], object], within: float, layer: str = "slurmctld") -> SlurmError:
    """The question raises an error that says where and what to do, within so many seconds."""
    started = time.monotonic()
    with pytest.raises(SlurmError) as caught:
        question()
    assert time.monotonic() - started < within
    assert caught.value.layer == layer
    assert caught.value.remedy
    return caught.value
