"""What is said: the kinds of message, and the header that every hop reads."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from openqse.wire.limits import PROTOCOL_VERSION


class Kind(StrEnum):
    """What a message asks or answers."""

    # Rank to node agent.
    HELLO = "hello"
    PING = "ping"
    # Rank to QPU agent; the node agent passes them on unread.
    RUN = "run"
    EXPECTATION = "expectation"
    CANCEL = "cancel"
    CLAIM = "claim"
    TAKEN = "taken"
    # Node agent to QPU agent.
    ATTACH = "attach"
    DETACH = "detach"
    HEARTBEAT = "heartbeat"
    PROBE = "probe"
    # Either way between rank and QPU agent: several messages as one.
    BUNDLE = "bundle"
    # Anybody to QPU agent: what it knows, nothing changed.
    STATUS = "status"
    LEASES = "leases"
    USAGE = "usage"
    QUEUE = "queue"
    SHARE = "share"
    ESTIMATE = "estimate"
    # Administrator to QPU agent.
    DRAIN = "drain"
    RESUME = "resume"
    # Answers.
    WELCOME = "welcome"
    PONG = "pong"
    RESULT = "result"
    CLAIMED = "claimed"
    LEASE = "lease"
    DETACHED = "detached"
    REPORT = "report"
    ERROR = "error"


#: Kinds that ask for a task; they alone take part in flow control.
TASK_KINDS = frozenset({Kind.RUN, Kind.EXPECTATION})


class Latency(StrEnum):
    """Latency class of a task: interactive tasks go first, within their account's share."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Header(NamedTuple):
    """Frame 0 of every message, as a MessagePack array in this order.

    Attributes:
        version: of the protocol.
        kind: a ``Kind``.
        task: chosen by the sender of a request and repeated in the answer, so that sending again
            is safe; at most 32 bytes. A task id is 16 bytes: 8 of the session, unique, and an
            8-byte counter.
        lease: id of the lease that a task runs under; empty where none is meant.
        generation: of that lease, as its holder knows it.
        time_left: seconds until the deadline when the message was sent; 0 means none. A span and
            not an instant, so that no two hosts' clocks need to agree.
        latency: a ``Latency``.
        trace: trace context (W3C ``traceparent``) or empty; passed on unread.
    """

    version: int
    kind: str
    task: bytes
    lease: str
    generation: int
    time_left: float
    latency: str
    trace: str


def header(
    kind: Kind,
    task: bytes = b"",
    *,
    lease: str = "",
    generation: int = 0,
    time_left: float = 0.0,
    latency: str = Latency.BATCH,
    trace: str = "",
) -> Header:
    """A header of this version of the protocol."""
    return Header(PROTOCOL_VERSION, kind, task, lease, generation, time_left, latency, trace)
