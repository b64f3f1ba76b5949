"""What attach and detach hear of on a node, and what they want done about it: values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from openqse.errors import OpenQSEError
from openqse.wire import leases as wire
from openqse_agent.node import hooks
from openqse_agent.node.jobs import Job

HookId = int
"""A connection of the SPANK plugin that waits for its answer."""

# --- events --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepAttaches:
    """A step starts on this node and asks for QPUs."""

    hook: HookId
    request: hooks.Attach


@dataclass(frozen=True)
class JobEnds:
    """A job has ended on this node."""

    hook: HookId
    job_id: int


@dataclass(frozen=True)
class Granted:
    """A QPU agent has granted a job its lease, or a step a part in it."""

    qpu: str
    job_id: int
    lease: str
    generation: int
    grant: wire.LeaseGrant


@dataclass(frozen=True)
class Refused:
    """A QPU agent has refused a job."""

    qpu: str
    job_id: int
    error: OpenQSEError


@dataclass(frozen=True)
class Left:
    """A QPU agent has confirmed that a job has left."""

    qpu: str
    job_id: int


@dataclass(frozen=True)
class Renewed:
    """A QPU agent has answered a heartbeat."""

    qpu: str
    pong: wire.Pong


@dataclass(frozen=True)
class Restored:
    """A job was attached by an earlier run of this agent."""

    job: Job


@dataclass(frozen=True)
class Opened:
    """What ``Open`` asked for is done, or could not be: why."""

    job_id: int
    error: str | None = None


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event: TypeAlias = (
    StepAttaches | JobEnds | Granted | Refused | Left | Renewed | Restored | Opened | Tick
)

# --- actions -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """Ask a QPU agent for a job's lease; to ask again changes nothing.

    Attributes:
        time_left: seconds in which it may still answer.
    """

    qpu: str
    request: hooks.Attach
    time_left: float


@dataclass(frozen=True)
class Leave:
    """Tell a QPU agent that a job no longer uses it from here. A message that is lost is made up
    for by the heartbeats, which state what this node holds.

    Attributes:
        lease: which one is meant; empty for whichever the job has.
    """

    qpu: str
    job_id: int
    lease: str


@dataclass(frozen=True)
class Open:
    """Make a job's directory and its sockets to these QPUs, and record the job; ``Opened``
    follows."""

    job: Job
    qpus: tuple[str, ...]


@dataclass(frozen=True)
class CloseQPU:
    """Close a job's socket to a QPU, if it has one."""

    job_id: int
    qpu: str


@dataclass(frozen=True)
class Write:
    """Record a job of which something has changed."""

    job: Job


@dataclass(frozen=True)
class Close:
    """Forget a job: its record, sockets and directory."""

    job_id: int


@dataclass(frozen=True)
class Succeed:
    """Answer the plugin: its tasks get this environment."""

    hook: HookId
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Fail:
    """Answer the plugin with an error."""

    hook: HookId
    error: OpenQSEError


Action: TypeAlias = Ask | Leave | Open | CloseQPU | Write | Close | Succeed | Fail
