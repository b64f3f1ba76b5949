"""What admission hears of, and what it wants done about it: values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from openqse.errors import OpenQSEError, StorageError
from openqse.wire import leases as wire
from openqse_agent.qpu.addresses import Address, origin
from openqse_agent.qpu.leases.table import Lease
from openqse_agent.slurm.client import Job

# --- events --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sender:
    """A node agent that waits for an answer.

    Attributes:
        task: what the header of the answer is to repeat.
    """

    address: Address
    task: bytes

    @property
    def node(self) -> str:
        return origin(self.address[0]).node

    @property
    def run(self) -> str:
        """Which run of that node's agent it is."""
        return origin(self.address[0]).run


@dataclass(frozen=True)
class Heard:
    """A node agent has sent a message."""

    sender: Sender
    message: wire.Attach | wire.Detach | wire.Heartbeat


@dataclass(frozen=True)
class Answered:
    """slurmctld has answered a question with the jobs that it knows, or it could not be asked."""

    question: Question
    answer: Mapping[int, Job] | OpenQSEError


@dataclass(frozen=True)
class Recorded:
    """The journal has taken a record, or has refused it."""

    record: Record | RecordEnd
    error: StorageError | None = None


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event: TypeAlias = Heard | Answered | Recorded | Tick

# --- actions -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """After which jobs slurmctld is to be asked.

    Attributes:
        number: no two questions have the same.
    """

    number: int
    ids: tuple[int, ...]


@dataclass(frozen=True)
class AskSlurm:
    """Ask slurmctld; the answer comes back as ``Answered``."""

    question: Question


@dataclass(frozen=True)
class ReadShares:
    """Have the fair tree and the reservations read from Slurm."""


@dataclass(frozen=True)
class Join:
    """A node that waits for its join to be recorded.

    Attributes:
        new: whether the node was no part of the lease before.
        slurm_us: microseconds for which slurmctld was waited for.
    """

    sender: Sender
    new: bool
    slurm_us: int


@dataclass(frozen=True)
class Record:
    """Write a lease, as it is now, into the journal; ``Recorded`` follows.

    Attributes:
        join: who waits for it; None for what a restart would find out again by itself.
    """

    lease: Lease
    join: Join | None = None


@dataclass(frozen=True)
class RecordEnd:
    """Write the end of a lease into the journal; ``Recorded`` follows."""

    lease: Lease


@dataclass(frozen=True)
class Grant:
    """Tell a node agent that its job holds a lease."""

    sender: Sender
    lease: Lease
    slurm_us: int


@dataclass(frozen=True)
class Refuse:
    """Answer a node agent with an error."""

    sender: Sender
    error: OpenQSEError


@dataclass(frozen=True)
class Confirm:
    """Tell a node agent that its job has left."""

    sender: Sender


@dataclass(frozen=True)
class Renew:
    """Answer a heartbeat.

    Attributes:
        renewed: the leases that hold. revoked: why the others do not, by id.
    """

    sender: Sender
    renewed: tuple[Lease, ...]
    revoked: Mapping[str, str]


@dataclass(frozen=True)
class EndProcesses:
    """Processes of a job have ended on a node: nobody is left to take their answers."""

    lease: Lease
    node: str
    processes: tuple[int, ...]


@dataclass(frozen=True)
class Revoke:
    """A lease is over: its tasks are to end."""

    lease: Lease
    reason: str


@dataclass(frozen=True)
class EndForLimit:
    """A job has run into its time limit, which bounds the deadlines of its tasks."""

    lease: Lease


Action: TypeAlias = (
    AskSlurm
    | ReadShares
    | Record
    | RecordEnd
    | Grant
    | Refuse
    | Confirm
    | Renew
    | EndProcesses
    | Revoke
    | EndForLimit
)
