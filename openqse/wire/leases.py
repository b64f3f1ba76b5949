"""How a process, its node agent and a QPU agent speak of leases.

Rank and node agent: ``hello``, ``welcome``, ``ping``, ``pong``. Node agent and QPU agent:
``attach``, ``lease``, ``detach``, ``detached``, ``heartbeat``, ``pong``, ``probe``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, ClassVar

from openqse.wire.bounds import (
    Count,
    JobId,
    Many,
    Name,
    Plain,
    ProcessId,
    Seconds,
    Text,
    UserId,
    Whole,
    Words,
)
from openqse.wire.messages import Kind
from openqse.wire.schema import Message
from openqse.wire.versions import FIRST, Version, Versions

LeaseId = Annotated[str, Text(256)]
Generation = Count
Slots = Annotated[int, Whole(0, 2**31 - 1)]


class Mode(StrEnum):
    """Whether a lease leaves other slots of its QPU to others."""

    SHARED = "shared"
    EXCLUSIVE = "exclusive"


# --- rank and node agent -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """Rank to node agent: what does the job hold? Answered by ``welcome``.

    Attributes:
        versions: those of the protocol that this process speaks.
    """

    kind: ClassVar = Kind.HELLO
    versions: Versions = FIRST


@dataclass(frozen=True, slots=True)
class HeldLease:
    """One lease of a ``welcome``.

    Attributes:
        generation: the current one; every message under the lease names it.
        capabilities: of the device (``openqse.device.Capabilities``).
        socket: path of the Unix socket that leads to the QPU agent.
        version: of the protocol, to be spoken on that socket: the newest that both ends know.
    """

    id: LeaseId
    qpu: Name
    slots: Slots
    mode: Mode
    generation: Generation
    capabilities: Plain
    socket: Annotated[str, Text(4096)]
    version: Version = 1


@dataclass(frozen=True, slots=True)
class Welcome(Message):
    """Node agent to rank, answers ``hello``.

    Attributes:
        node: the node's name.
        process: the rank's process id as the node agent sees it; each task names it.
        window: tasks that the rank may have unanswered at each QPU.
    """

    kind: ClassVar = Kind.WELCOME
    job_id: JobId
    node: Name
    process: ProcessId
    window: Annotated[int, Whole(1, 2**31 - 1)]
    leases: Annotated[tuple[HeldLease, ...], Many(1024)]


@dataclass(frozen=True, slots=True)
class Ping(Message):
    """Rank to node agent: is the QPU agent of the header's lease alive, as far as is known?
    Answered by ``pong``, or ``error``."""

    kind: ClassVar = Kind.PING


@dataclass(frozen=True, slots=True)
class Pong(Message):
    """Answers ``ping`` (the header has lease and generation), ``probe`` and ``heartbeat``.

    Only a heartbeat's answer has fields:

    Attributes:
        leases: generations of those leases that hold.
        revoked: why the others are no more.
        processes: by lease, processes on that node that are owed something. The node agent looks
            which of them have ended.
    """

    kind: ClassVar = Kind.PONG
    leases: Mapping[LeaseId, Generation] = field(default_factory=dict)
    revoked: Mapping[LeaseId, Words] = field(default_factory=dict)
    processes: Mapping[LeaseId, tuple[ProcessId, ...]] = field(default_factory=dict)


# --- node agent and QPU agent --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attach(Message):
    """Node agent to QPU agent: may this job use the QPU from here? Answered by ``lease``, or
    ``error``. The header's ``task`` is the job id as 8 bytes, big-endian.

    Attributes:
        node: name of the node that asks.
        restart_count: how often Slurm has requeued the job.
        slots: those that the step asks for.
    """

    kind: ClassVar = Kind.ATTACH
    job_id: JobId
    uid: UserId
    node: Name
    restart_count: Count
    slots: Slots
    mode: Mode


@dataclass(frozen=True, slots=True)
class LeaseGrant(Message):
    """QPU agent to node agent, answers ``attach``; the header has the lease's id and generation.

    Attributes:
        slots: all that the job holds.
        time_left: seconds of the job's time limit that are left; None without a limit.
        capabilities: of the device, passed on in ``welcome``.
        slurm_us: microseconds that slurmctld took to confirm the job.
        versions: those of the protocol that the QPU agent speaks.
    """

    kind: ClassVar = Kind.LEASE
    slots: Slots
    mode: Mode
    time_left: Seconds | None
    capabilities: Plain
    slurm_us: Count
    versions: Versions = FIRST


@dataclass(frozen=True, slots=True)
class Detach(Message):
    """Node agent to QPU agent: the job no longer uses the QPU from here. Answered by ``detached``.
    The header's ``task`` is as in ``attach``. To say it again changes nothing.

    Attributes:
        lease: which one is meant; empty for whichever the job has.
    """

    kind: ClassVar = Kind.DETACH
    job_id: JobId
    node: Name = ""
    lease: LeaseId = ""


@dataclass(frozen=True, slots=True)
class Detached(Message):
    """QPU agent to node agent, answers ``detach``."""

    kind: ClassVar = Kind.DETACHED


@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """Node agent to QPU agent: all that this node holds. Answered by ``pong``.

    Attributes:
        leases: their generations.
        asking: jobs that are attaching.
        gone: by lease, those of the last answer's ``processes`` that have ended.
    """

    kind: ClassVar = Kind.HEARTBEAT
    leases: Mapping[LeaseId, Generation]
    asking: tuple[JobId, ...]
    gone: Mapping[LeaseId, tuple[ProcessId, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe(Message):
    """Node agent, or who checks a site, to QPU agent: is its key good for a node? Answered by an
    empty ``pong``, or ``error``; nothing changes."""

    kind: ClassVar = Kind.PROBE
