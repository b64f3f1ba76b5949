"""A job on its way to a lease: whom slurmctld is asked after, and who waits for the answer.

It goes this way:

    JOB ──► LEADER ──► HOLDERS ──► ANSWERED
     └────────┴───────────┴───────────┘

slurmctld is asked after the job and, where the job is a component of a heterogeneous one, after the
first component, which alone can hold licenses. If its slots are not free, slurmctld is asked after
the jobs that hold them too: it may have given the licenses of a job that has just ended to this one
before the epilog was heard here. All nodes of a job wait for the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from openqse.wire import leases as wire
from openqse_agent.qpu.addresses import Address
from openqse_agent.qpu.leases.events import Question, Sender


class Stage(StrEnum):
    """How far a job is that attaches."""

    JOB = "job"  # slurmctld is asked after the job
    LEADER = "leader"  # and after the first component of the heterogeneous job that it is part of
    HOLDERS = "holders"  # and after the jobs that hold the QPU's slots
    ANSWERED = "answered"  # its nodes have their answer, or have left


#: What may follow what. New holders may have come while slurmctld was asked after the others.
TRANSITIONS: Mapping[Stage, frozenset[Stage]] = {
    Stage.JOB: frozenset({Stage.LEADER, Stage.HOLDERS, Stage.ANSWERED}),
    Stage.LEADER: frozenset({Stage.HOLDERS, Stage.ANSWERED}),
    Stage.HOLDERS: frozenset({Stage.HOLDERS, Stage.ANSWERED}),
    Stage.ANSWERED: frozenset(),
}


@dataclass
class Candidate:
    """A job that attaches and holds no lease yet.

    Attributes:
        began: when the first of its nodes asked, monotonic seconds.
        question: the one to slurmctld that is under way.
        others: jobs after which slurmctld was asked beside it.
        waiting: the nodes that wait, and what they ask for, the first one first.
    """

    job_id: int
    began: float
    question: Question
    others: tuple[int, ...] = ()
    waiting: list[tuple[Sender, wire.Attach]] = field(default_factory=list)
    stage: Stage = Stage.JOB

    def become(self, stage: Stage) -> None:
        """Goes over into another stage.

        Raises:
            ValueError: that is no way for an attach to go.
        """
        if stage not in TRANSITIONS[self.stage]:
            raise ValueError(f"job {self.job_id} cannot come to {stage} from {self.stage}")
        self.stage = stage

    def add(self, sender: Sender, request: wire.Attach) -> None:
        """Has a node wait; one that has asked before waits already."""
        if all(sender.address != other.address for other, _ in self.waiting):
            self.waiting.append((sender, request))

    def leave(self, address: Address) -> None:
        """A node waits no more; the last one ends it."""
        self.waiting = [entry for entry in self.waiting if entry[0].address != address]
        if not self.waiting:
            self.become(Stage.ANSWERED)
