"""The Slurm client: the questions that agents ask, and what they are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Job:
    """What slurmctld says of a job.

    Attributes:
        id: the job id; a component of a heterogeneous job has its own.
        running: whether it holds its allocation now (running, suspended or being configured).
        state: Slurm's word for its state, upper case.
        uid, user, account: whose it is.
        licences: number held by name, such as ``{"qpu_emu0": 2}``.
        end_time: when its time limit ends, seconds since the epoch; None without a limit.
        restart_count: how often it was requeued.
        leader: of a component of a heterogeneous job, the first component's id, which alone can
            hold licences; else the job's own.
    """

    id: int
    running: bool
    state: str
    uid: int
    user: str
    account: str
    licences: Mapping[str, int]
    end_time: float | None
    restart_count: int
    leader: int


@dataclass(frozen=True)
class Reservation:
    """Licences that Slurm holds back for maintenance: jobs wait for them as if they were in use.

    Attributes:
        licences: number by name.
        start, end: seconds since the epoch; an end of None means until it is released.
    """

    name: str
    licences: Mapping[str, int]
    start: float
    end: float | None


class SlurmClient(Protocol):
    """Asks slurmctld. Every call blocks for at most the client's timeout; none is retried.

    Every method raises ``SlurmError`` if slurmctld does not answer or its answer cannot be read.
    """

    def jobs(self, ids: Iterable[int]) -> dict[int, Job]:
        """The jobs that slurmctld knows among ``ids``, by id, in one question."""
        ...

    def shares(self) -> dict[str, float]:
        """Normalised shares (0 to 1) of each account in the fair tree, root left out."""
        ...

    def reservations(self) -> dict[str, Reservation]:
        """The reservations of licences that have not ended, by name."""
        ...

    def reserve(self, reservation: Reservation) -> None:
        """Has slurmctld hold licences back. Jobs that have them keep them.

        Needs a Slurm operator's rights. Refused, among others, where there is one of that name, or
        one of the same licences at that time.
        """
        ...

    def release(self, name: str) -> None:
        """Ends a reservation; one that is gone already is none to end."""
        ...
