"""The leases of one QPU: who holds how many slots. Values and transitions, no I/O and no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from openqse.errors import LeaseDenied, NoLease, StaleLease


class Mode(StrEnum):
    SHARED = "shared"
    EXCLUSIVE = "exclusive"


@dataclass
class Lease:
    """A job's right to ``slots`` slots of the QPU.

    Attributes:
        id: chosen at random when the lease is granted.
        generation: grows each time the lease is granted again; older messages are refused.
        nodes: compute nodes whose agents have joined it.
        jobs: the job and, of a heterogeneous one, the components that use it: Slurm gives licences
            to the first component alone.
        ends_at: when the job's time limit ends, seconds since the epoch; None without one.
        renewed_at: last heartbeat or grant, monotonic seconds.
    """

    id: str
    job_id: int
    uid: int
    user: str
    account: str
    slots: int
    mode: Mode
    restart_count: int
    generation: int
    ends_at: float | None
    renewed_at: float
    nodes: set[str] = field(default_factory=set)
    jobs: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.jobs.add(self.job_id)


class LeaseTable:
    """The leases of a QPU with ``slots`` slots. At most one for each job."""

    def __init__(self, qpu: str, slots: int, leases: Iterable[Lease] = ()) -> None:
        self.qpu = qpu
        self.slots = slots
        self._leases = {lease.id: lease for lease in leases}

    def __iter__(self) -> Iterator[Lease]:
        return iter(list(self._leases.values()))

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return self.slots - sum(lease.slots for lease in self._leases.values())

    def of_job(self, job_id: int) -> Lease | None:
        """The job's lease, if it has one."""
        return next((x for x in self._leases.values() if job_id in x.jobs), None)

    def grant(self, lease: Lease) -> None:
        """Adds a lease.

        Raises:
            LeaseDenied: the job has one, or its slots are not free.
        """
        if self.of_job(lease.job_id) is not None:
            raise LeaseDenied(f"job {lease.job_id} holds a lease already", layer="QPU agent")
        if lease.slots > self.free:
            raise LeaseDenied(
                f"{lease.slots} slot(s) of {self.qpu} asked for and {self.free} of {self.slots} "
                "free, though Slurm gave the job its licences",
                layer="QPU agent",
                remedy="Ask the administrator to run 'openqse site check' and 'openqse leases'",
            )
        self._leases[lease.id] = lease

    def join(self, lease: Lease, node: str, slots: int, mode: str, now: float) -> None:
        """Adds a node to a lease, for a step that asks for ``slots`` slots.

        Raises:
            LeaseDenied: the step asks for more than the job holds.
        """
        if slots > lease.slots:
            raise LeaseDenied(
                f"job {lease.job_id} holds {lease.slots} slot(s) of {self.qpu} and its step asks "
                f"for {slots}",
                layer="QPU agent",
                remedy=f"Ask for them when the job is submitted: --qpu={self.qpu}:{slots}",
            )
        if mode == Mode.EXCLUSIVE and lease.slots < self.slots:
            raise LeaseDenied(
                f"job {lease.job_id} holds {lease.slots} of the {self.slots} slots of {self.qpu}; "
                "exclusive use takes all",
                layer="QPU agent",
                remedy="Ask for it when the job is submitted: --qpu-mode=exclusive",
            )
        lease.nodes.add(node)
        lease.renewed_at = now

    def leave(self, job_id: int, node: str) -> Lease | None:
        """Takes a node off the job's lease; gives the lease if it ended with that."""
        lease = self.of_job(job_id)
        if lease is None:
            return None
        lease.nodes.discard(node)
        return None if lease.nodes else self.end(lease)

    def end(self, lease: Lease) -> Lease:
        """Releases or revokes a lease."""
        del self._leases[lease.id]
        return lease

    def renew(self, lease_ids: Iterable[str], node: str, now: float) -> dict[str, int]:
        """Notes a node's heartbeat; gives the generations of those leases that it has joined."""
        renewed = {}
        for lease_id in lease_ids:
            lease = self._leases.get(lease_id)
            if lease is not None and node in lease.nodes:
                lease.renewed_at = now
                renewed[lease_id] = lease.generation
        return renewed

    def lapsed(self, now: float, ttl: float) -> list[Lease]:
        """Leases without a heartbeat for ``ttl`` seconds."""
        return [x for x in self._leases.values() if now - x.renewed_at > ttl]

    def check(self, lease_id: str, generation: int, node: str, job_id: int) -> Lease:
        """The lease under which a job sends a task from a node.

        Raises:
            NoLease: it does not exist, is another job's, or the node has not joined it.
            StaleLease: it was granted again since; ``details['generation']`` says which is current.
        """
        lease = self._leases.get(lease_id)
        if lease is None or node not in lease.nodes or job_id not in lease.jobs:
            raise NoLease(
                f"job {job_id} has no lease {lease_id!r} of {self.qpu} on node {node}",
                layer="QPU agent",
                remedy="It has ended or was revoked; submit the job again",
            )
        if generation != lease.generation:
            raise StaleLease(
                f"generation {generation} of lease {lease_id!r}; the current one is "
                f"{lease.generation}",
                layer="QPU agent",
                generation=lease.generation,
            )
        return lease
