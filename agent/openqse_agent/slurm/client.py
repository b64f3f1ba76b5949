"""The Slurm client: the questions that agents ask, and what they are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

#: Whom to ask after where the question is whether slurmctld answers; there need be no such job.
ANY_JOB = 1


@dataclass(frozen=True)
class Job:
    """What slurmctld says of a job.

    Attributes:
        id: the job id; a component of a heterogeneous job has its own.
        running: whether it holds its allocation now (running, suspended or being configured).
        state: Slurm's word for its state, upper case.
        uid, user, account: whose it is.
        licenses: number held by name, such as ``{"qpu_emu0": 2}``.
        end_time: when its time limit ends, seconds since the epoch by slurmctld's clock; None
            without a limit.
        remaining: seconds until then when slurmctld answered, by its own clock, so that no two
            clocks need to agree; negative once it is over. None without a limit, for a job that
            does not run, or where slurmctld does not tell its time. Two answers about a job as it
            is are equal whenever they were given.
        restart_count: how often it was requeued.
        leader: of a component of a heterogeneous job, the first component's id, which alone can
            hold licenses; else the job's own.
        reservation: name of the reservation that it runs in; empty if none.
    """

    id: int
    running: bool
    state: str
    uid: int
    user: str
    account: str
    licenses: Mapping[str, int]
    end_time: float | None
    restart_count: int
    leader: int
    reservation: str = ""
    remaining: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Reservation:
    """Licenses that Slurm holds back for maintenance: jobs wait for them as if they were in use.

    Attributes:
        licenses: number by name.
        start, end: seconds since the epoch; an end of None means until it is released.
    """

    name: str
    licenses: Mapping[str, int]
    start: float
    end: float | None


@dataclass(frozen=True)
class AccountShare:
    """An account's place in the fair tree.

    Attributes:
        parent: the account above it; empty under the root.
        shares: raw shares; None (``fairshare=parent``) where it has none of its own and its
            children compete at its parent's level.
    """

    parent: str
    shares: int | None


@dataclass(frozen=True)
class FairTree:
    """The fair tree of Slurm's associations, and what they have used of all that Slurm bills.

    Attributes:
        half_life: seconds in which what was used counts half; None where it counts in full until
            it is reset.
        reset_period: when Slurm sets all usage to zero, in its words, such as ``NONE`` or
            ``MONTHLY``.
        accounts: by name, the root left out.
        users: raw shares by (account, user); None (``fairshare=parent``) where the user does not
            compete with the account's others: Slurm ranks it before all of them. The account may
            be ``root``. A user with an association for each of some partitions has the greatest
            shares among them: a job runs in one partition, with the shares of that association,
            and a sum would give a user more for being listed more often.
        usage: billed seconds, decayed, by (account, user), summed over partitions; an account's
            own, which is the sum of all below it, by (account, "").
    """

    half_life: float | None
    reset_period: str
    accounts: Mapping[str, AccountShare]
    users: Mapping[tuple[str, str], int | None]
    usage: Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class QPUUse:
    """What a job used of a QPU in all its runs.

    Attributes:
        qpu_time: seconds.
        tasks, shots: number charged.
        waited: seconds that its tasks waited for their turn, added up.
    """

    qpu_time: float
    tasks: int
    shots: int
    waited: float


class SlurmClient(Protocol):
    """Asks slurmctld. Every call blocks for at most the client's timeout; none is retried.

    Every method raises ``SlurmError`` if slurmctld, or slurmdbd for ``record_use``, does not answer
    or its answer cannot be read.
    """

    def jobs(self, ids: Iterable[int]) -> dict[int, Job]:
        """The jobs that slurmctld knows among ``ids``, by id, in one question."""
        ...

    def fair_tree(self) -> FairTree:
        """The tree as slurmctld has it now, and how it lets usage decay."""
        ...

    def record_use(self, job_id: int, use: Mapping[str, QPUUse]) -> bool:
        """Writes what a job used of each QPU into its accounting record (``usage_comment``).

        What the record says of other QPUs, and any text of the site's, stays. Needs a Slurm
        operator's rights. Refused while slurmdbd has no record of the job or takes it to run still.

        Returns:
            Whether the record says so already. False: it was written now, and must be asked again
            once the timeout of a call has passed, until it is true. Slurm cannot compare before it
            writes, so another QPU agent that read the record before may write it after this one,
            without this use; the later call sees it and writes again.
        """
        ...

    def reservations(self) -> dict[str, Reservation]:
        """The reservations of licenses that have not ended, by name."""
        ...

    def reserve(self, reservation: Reservation) -> None:
        """Has slurmctld hold licenses back. Jobs that have them keep them.

        Needs a Slurm operator's rights. Refused, among others, where there is one of that name, or
        one of the same licenses at that time.
        """
        ...

    def release(self, name: str) -> None:
        """Ends a reservation; one that is gone already is none to end."""
        ...
