"""A scripted Slurm, for tests of the agents; it comes with the agents' package."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from openqse.errors import SlurmError
from openqse_agent.slurm.client import ANY_JOB, AccountShare, FairTree, Job, QPUUse, Reservation
from openqse_agent.slurm.records import remaining


class ScriptedSlurm:
    """slurmctld as a table: jobs by id, or down.

    Attributes:
        questions: after which jobs it was asked, but for whether it answers at all.
        ahead: seconds by which its clock is ahead of everybody else's.
    """

    def __init__(self) -> None:
        self.known: dict[int, Job] = {}
        self.questions: list[list[int]] = []
        self.reserved: dict[str, Reservation] = {}
        self.recorded: dict[int, dict[str, QPUUse]] = {}
        self.down = False
        self.ahead = 0.0

    def submit(
        self, job_id: int, licenses: dict[str, int], account: str = "chem", leader: int = 0
    ) -> None:
        self.known[job_id] = Job(
            id=job_id,
            running=True,
            state="RUNNING",
            uid=os.getuid(),
            user="alice",
            account=account,
            licenses=licenses,
            end_time=None,
            restart_count=0,
            leader=leader or job_id,
        )
        self.limit(job_id, 600.0)

    def limit(self, job_id: int, left: float | None) -> None:
        """Sets what is left of a job's time limit, seconds; None for a job without one."""
        end_time = None if left is None else time.time() + self.ahead + left
        self.known[job_id] = replace(self.known[job_id], end_time=end_time)

    def end(self, job_id: int) -> None:
        self.known[job_id] = replace(self.known[job_id], running=False, state="COMPLETED")

    def jobs(self, ids: Iterable[int]) -> dict[int, Job]:
        ids = list(ids)
        if ids != [ANY_JOB]:
            self.questions.append(ids)
        self._answer()
        now = time.time() + self.ahead
        found = (self.known[i] for i in ids if i in self.known)
        return {j.id: replace(j, remaining=remaining(j.running, j.end_time, now)) for j in found}

    def fair_tree(self) -> FairTree:
        return FairTree(
            half_life=None,
            reset_period="NONE",
            accounts={"chem": AccountShare("", 3), "ml": AccountShare("", 1)},
            users={("chem", "alice"): 1, ("ml", "bob"): 1},
            usage={},
        )

    def record_use(self, job_id: int, use: Mapping[str, QPUUse]) -> bool:
        self._answer()
        said = self.recorded.setdefault(job_id, {})
        already = said == said | dict(use)
        said.update(use)
        return already

    def reservations(self) -> dict[str, Reservation]:
        self._answer()
        return dict(self.reserved)

    def reserve(self, reservation: Reservation) -> None:
        self._answer()
        assert reservation.name not in self.reserved
        self.reserved[reservation.name] = reservation

    def release(self, name: str) -> None:
        self._answer()
        self.reserved.pop(name, None)

    def _answer(self) -> None:
        if self.down:
            raise SlurmError("slurmctld does not answer", layer="slurmctld", remedy="Check it")
