"""What jobs used reaches Slurm's accounting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openqse
from openqse.errors import SlurmError
from openqse_agent.qpu.charges.writeback import Accounting
from openqse_agent.qpu.journal import Charge, Journal
from openqse_agent.qpu.leases import Lease, Mode, State
from openqse_agent.slurm.client import QPUUse
from tests.support.agents.stack import Stack, eventually


class Slurm:
    """An accounting that answers as it is told to."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.told: list[tuple[int, dict[str, QPUUse]]] = []

    def record_use(self, job_id: int, use: Any) -> bool:
        self.told.append((job_id, dict(use)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)


def at_once(question: Callable[[], Any], answered: Callable[[Any], None]) -> None:
    answered(question())


def accounting(path: Any, slurm: Slurm) -> tuple[Accounting, Journal]:
    journal = Journal(path / "emu0.sqlite")
    journal.write_lease(Lease("L", 7, 0, "alice", "chem", 1, Mode.SHARED, 0, 1, None, 0.0))
    journal.charge(
        [Charge("L", b"%d" % i, 1, 7, "chem", "alice", 10, 2 * 10**9, 10**8) for i in (1, 2)]
    )
    return Accounting("emu0", journal, slurm, at_once), journal  # type: ignore[arg-type]


USE = {"emu0": QPUUse(qpu_time=4.0, tasks=2, shots=20, waited=0.2)}


def test_a_job_is_written_when_it_has_ended_and_until_slurm_has_it(tmp_path: Any) -> None:
    slurm = Slurm()
    writer, journal = accounting(tmp_path, slurm)
    writer.tick(0.0)
    assert slurm.told == []
    journal.end_lease("L", State.RELEASED, "its job has ended")
    slurm.answers = [SlurmError("no record yet"), False, True]
    for now in range(5, 120, 5):
        writer.tick(float(now))
    assert slurm.told == [(7, USE)] * 3
    assert journal.unreported(9) == []


def test_who_cannot_be_written_is_asked_ever_less_often_and_after_a_restart(tmp_path: Any) -> None:
    slurm = Slurm()
    writer, journal = accounting(tmp_path, slurm)
    journal.end_lease("L", State.RELEASED, "its job has ended")
    slurm.answers = [SlurmError("no right to")] * 100
    for now in range(0, 600, 5):
        writer.tick(float(now))
    assert len(slurm.told) < 10
    journal.close()
    slurm.answers = [True]
    again = Journal(tmp_path / "emu0.sqlite")
    Accounting("emu0", again, slurm, at_once).tick(0.0)  # type: ignore[arg-type]
    assert again.unreported(9) == []


def test_a_job_without_tasks_has_nothing_to_write(tmp_path: Any) -> None:
    slurm = Slurm()
    writer, journal = accounting(tmp_path, slurm)
    journal.write_lease(Lease("M", 8, 0, "bob", "ml", 1, Mode.SHARED, 0, 1, None, 0.0))
    journal.end_lease("M", State.RELEASED, "its job has ended")
    writer.tick(0.0)
    assert slurm.told == []
    assert journal.unreported(9) == []


def test_the_agent_writes_what_an_ended_job_used(rank: openqse.QPU, stack: Stack) -> None:
    program = openqse.CircuitBuilder(1).measure_all().build()
    rank.run(program, shots=5)
    rank.close()
    stack.slurm.end(7)
    stack.detach(7)
    eventually(lambda: 7 in stack.slurm.recorded)
    used = stack.slurm.recorded[7]["emu0"]
    assert (used.tasks, used.shots) == (1, 5)
    assert used.waited > 0
