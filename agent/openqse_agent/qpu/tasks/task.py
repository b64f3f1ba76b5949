"""A task in the QPU agent, from its arrival to its answer. Values and transitions, no I/O and no
clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from openqse import device
from openqse.errors import DeadlineExceeded, OpenQSEError
from openqse.program.program import Program
from openqse_agent.qpu.leases import Lease
from openqse_agent.qpu.tasks.policies import Owner
from openqse_agent.qpu.tasks.sessions import Session

Outcome: TypeAlias = "device.Outcome | OpenQSEError"


class State(StrEnum):
    """Where a task is in its life."""

    QUEUED = "queued"  # waits for the device: for its beginning, or for its next slice
    PARKED = "parked"  # was next, and waits until its session takes results
    RUNNING = "running"  # the device has it, or a slice of it
    STOPPING = "stopping"  # the device has it, and has been told to stop
    ENDED = "ended"  # its outcome is known; its charge may still have to be recorded
    ANSWERED = "answered"  # its answer is with its session


#: What may follow what.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.PARKED, State.RUNNING, State.ENDED}),
    State.PARKED: frozenset({State.QUEUED, State.ENDED}),
    State.RUNNING: frozenset({State.QUEUED, State.STOPPING, State.ENDED}),
    State.STOPPING: frozenset({State.ENDED}),
    State.ENDED: frozenset({State.ANSWERED}),
    State.ANSWERED: frozenset(),
}
#: The states in which the device has a task.
UNDER_WAY = frozenset({State.RUNNING, State.STOPPING})


@dataclass(eq=False, slots=True)
class Task:
    """A task in the QPU agent.

    Attributes:
        size: bytes of the message that brought it.
        program: its program. deadline: monotonic instant, or None.
        arrived, began: monotonic instants. turn: number of the device's turn when it arrived.
        slices: what is left to run of it. join: what its slices gave so far; None while it has not
            begun, or is run whole.
        stopped: why it is to end early.
    """

    id: bytes
    session: Session
    size: int
    work: device.Work
    program: Program
    deadline: float | None
    interactive: bool
    arrived: float
    turn: int = 0
    began: float = 0.0
    slices: Iterator[device.Work] | None = None
    join: device.Join | None = None
    stopped: OpenQSEError | None = None
    state: State = State.QUEUED

    def __post_init__(self) -> None:
        if self.deadline is not None:
            self.work = replace(self.work, deadline=self.deadline)

    @property
    def lease(self) -> Lease:
        """Under which it came."""
        return self.session.ledger.lease

    @property
    def owner(self) -> Owner:
        """Whose it is, for the queue."""
        return self.session.ledger.owner

    @property
    def line(self) -> bytes:
        """Its session, for the queue."""
        return self.session.id

    @property
    def shots(self) -> int:
        """Shots of all parameter sets together."""
        return self.work.shots * len(self.work.parameters)

    @property
    def shots_done(self) -> int:
        """Those of them that its slices have given so far."""
        return self.join.shots if self.join else 0

    def become(self, state: State) -> None:
        """Goes over into another state.

        Raises:
            ValueError: that is no way for a task to go.
        """
        if state not in TRANSITIONS[self.state]:
            raise ValueError(f"task {self.id.hex()} cannot become {state} from {self.state}")
        self.state = state

    def stop(self, reason: OpenQSEError) -> None:
        """Is to end early; the device, if it has the task, is told."""
        self.stopped = reason
        if self.state is State.RUNNING:
            self.become(State.STOPPING)

    def late(self, now: float) -> bool:
        """Whether its deadline has passed, which then is why it stops."""
        if self.deadline is None or now <= self.deadline:
            return False
        self.stopped = self.stopped or DeadlineExceeded(
            "the task's deadline passed", layer="QPU agent", remedy="Allow it more time"
        )
        return True

    def should_stop(self, now: float) -> bool:
        """Whether it is to end early: cancelled, or too late."""
        return self.stopped is not None or self.late(now)
