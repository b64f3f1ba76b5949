"""The leases of one QPU: who holds how many slots. Values and transitions, no I/O and no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from openqse.errors import LeaseDenied, NoLease, StaleLease
from openqse.wire.leases import Mode


class State(StrEnum):
    """Where a lease is in its life."""

    REQUESTED = "requested"  # a node agent asks for it; slurmctld has not confirmed the job
    GRANTED = "granted"  # holds its slots; no node agent has said yet that it knows of it
    ACTIVE = "active"  # a node agent holds it
    RELEASING = "releasing"  # its slots are free; its end is not in the journal yet
    RELEASED = "released"  # the job has left it
    EXPIRED = "expired"  # the job ran into its time limit
    REVOKED = "revoked"  # taken away: the job ended unheard, or was requeued


#: What may follow what.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.REQUESTED: frozenset({State.GRANTED}),
    State.GRANTED: frozenset({State.ACTIVE, State.RELEASING}),
    State.ACTIVE: frozenset({State.RELEASING}),
    State.RELEASING: frozenset({State.RELEASED, State.EXPIRED, State.REVOKED}),
    State.RELEASED: frozenset(),
    State.EXPIRED: frozenset(),
    State.REVOKED: frozenset(),
}
_HELD = frozenset({State.GRANTED, State.ACTIVE})


@dataclass
class Lease:
    """A job's right to ``slots`` slots of the QPU.

    Attributes:
        id: chosen at random when the lease is granted.
        generation: grows each time the lease is granted again; older messages are refused.
        ends_at: when the job's time limit ends, seconds since the epoch by slurmctld's clock; None
            without one.
        renewed_at: last heartbeat or grant, monotonic seconds.
        nodes: compute nodes whose agents have joined it.
        jobs: the job and, of a heterogeneous one, the components that use it: Slurm gives licenses
            to the first component alone.
        confirmed_at: when slurmctld last said that the job runs, monotonic seconds.
        limit_at: when the job's time limit ends as far as is known, monotonic seconds; None without
            one, or once it is over. It may be extended, so slurmctld is asked again then.
        over: whether slurmctld has said that the limit is over, though the job still runs: it is
            being ended, or its site allows it more (OverTimeLimit).
        ending, reason: while it is ending, how, and what its holders are told.
        reservation: name of Slurm's reservation that the job runs in; empty if in none.
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
    state: State = State.REQUESTED
    confirmed_at: float = float("-inf")
    limit_at: float | None = None
    over: bool = False
    ending: State | None = None
    reason: str = ""
    reservation: str = ""

    def __post_init__(self) -> None:
        self.jobs.add(self.job_id)

    @property
    def held(self) -> bool:
        """Whether its slots are its job's."""
        return self.state in _HELD

    def time_left(self, now: float, wall: float) -> float | None:
        """Seconds left of its job's time limit; None without one.

        Args:
            now: monotonic seconds. wall: seconds since the epoch, by this host's clock.
        """
        if self.over:
            return 0.0
        if self.limit_at is not None:
            return max(0.0, self.limit_at - now)
        # slurmctld has not told its time: as far as this host's clock knows.
        return None if self.ends_at is None else max(0.0, self.ends_at - wall)

    def become(self, state: State) -> None:
        """Goes over into another state.

        Raises:
            ValueError: that is no way for a lease to go.
        """
        if state not in TRANSITIONS[self.state]:
            raise ValueError(f"lease {self.id} cannot become {state} from {self.state}")
        self.state = state

    def confirm(self, ends_at: float | None, remaining: float | None, now: float) -> bool:
        """Notes slurmctld's word that the job runs; whether its time limit has changed.

        Args:
            ends_at: end of its time limit, by slurmctld's clock. remaining: seconds until then.
            now: monotonic seconds.
        """
        changed = ends_at != self.ends_at
        self.ends_at, self.confirmed_at = ends_at, now
        self.over = remaining is not None and remaining <= 0
        self.limit_at = None if self.over or remaining is None else now + remaining
        return changed


class LeaseTable:
    """The leases of a QPU with ``slots`` slots. At most one that is held for each job."""

    def __init__(self, qpu: str, slots: int, leases: Iterable[Lease] = ()) -> None:
        self.qpu = qpu
        self.slots = slots
        self._leases = {lease.id: lease for lease in leases}

    def __iter__(self) -> Iterator[Lease]:
        return iter([lease for lease in self._leases.values() if lease.held])

    def __len__(self) -> int:
        return sum(lease.held for lease in self._leases.values())

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return self.slots - sum(lease.slots for lease in self)

    @property
    def releasing(self) -> list[Lease]:
        """Leases whose end is still to be recorded."""
        return [x for x in self._leases.values() if x.state == State.RELEASING]

    def of_job(self, job_id: int) -> Lease | None:
        """The job's lease, if it holds one."""
        return next((x for x in self if job_id in x.jobs), None)

    def grant(self, lease: Lease) -> None:
        """Adds a lease that was requested.

        Raises:
            LeaseDenied: the job has one, or its slots are not free.
        """
        if self.of_job(lease.job_id) is not None:
            raise LeaseDenied(f"job {lease.job_id} holds a lease already", layer="QPU agent")
        if lease.slots > self.free:
            raise LeaseDenied(
                f"{lease.slots} slot(s) of {self.qpu} asked for and {self.free} of {self.slots} "
                "free, though Slurm gave the job its licenses",
                layer="QPU agent",
                remedy="Ask the administrator to run 'openqse site check' and 'openqse leases'",
            )
        lease.become(State.GRANTED)
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

    def leave(self, job_id: int, node: str, lease_id: str = "") -> Lease | None:
        """Takes a node off the job's lease; gives the lease if that was its last node.

        Args:
            lease_id: which lease is meant; empty for whichever the job holds. A former lease of
                the job changes nothing.
        """
        lease = self.of_job(job_id)
        if lease is None or lease_id not in ("", lease.id):
            return None
        lease.nodes.discard(node)
        return None if lease.nodes else lease

    def end(self, lease: Lease, how: State, reason: str) -> None:
        """Begins the end of a lease: its slots are free and its messages refused from now on."""
        lease.become(State.RELEASING)
        lease.ending, lease.reason = how, reason

    def ended(self, lease: Lease) -> None:
        """The end of a lease is recorded."""
        assert lease.ending is not None
        lease.become(lease.ending)
        del self._leases[lease.id]

    def renew(self, claims: Iterable[str], node: str, now: float) -> dict[str, int]:
        """Notes a node's heartbeat; gives the generations of those leases that it has joined."""
        renewed = {}
        for lease_id in claims:
            lease = self._leases.get(lease_id)
            if lease is not None and lease.held and node in lease.nodes:
                if lease.state == State.GRANTED:
                    lease.become(State.ACTIVE)
                lease.renewed_at = now
                renewed[lease_id] = lease.generation
        return renewed

    def forsaken(self, claims: Collection[str], asking: Collection[int], node: str) -> list[Lease]:
        """Leases that a node has joined and no longer speaks of: it left unheard, was restarted
        without them, or died between asking and holding.

        Args:
            claims: ids of all leases that it holds. asking: jobs for which it is asking.
        """
        return [
            x for x in self if node in x.nodes and x.id not in claims and x.jobs.isdisjoint(asking)
        ]

    def doubt(self, node: str) -> None:
        """Has slurmctld asked after the leases that a node has joined, soon."""
        for lease in self:
            if node in lease.nodes:
                lease.confirmed_at = float("-inf")

    def lapsed(self, now: float, ttl: float) -> list[Lease]:
        """Leases without a heartbeat for ``ttl`` seconds."""
        return [x for x in self if now - x.renewed_at > ttl]

    def unconfirmed(self, now: float, ttl: float) -> list[Lease]:
        """Leases after which slurmctld is to be asked: not confirmed for ``ttl`` seconds, or not
        since their jobs' time limits ended, unless these were extended."""
        return [
            x
            for x in self
            if now - x.confirmed_at > ttl
            or (x.limit_at is not None and x.confirmed_at < x.limit_at < now)
        ]

    def check(self, lease_id: str, generation: int, node: str, job_id: int) -> Lease:
        """The lease under which a job sends a task from a node.

        Raises:
            NoLease: it does not exist, is another job's, or the node has not joined it.
            StaleLease: it was granted again since; ``details['generation']`` says which is current.
        """
        lease = self._leases.get(lease_id)
        if lease is None or not lease.held or node not in lease.nodes or job_id not in lease.jobs:
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
