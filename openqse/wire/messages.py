"""What is said: the kinds of message, and the header that every hop reads."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from openqse.wire.versions import SPOKEN


class Kind(StrEnum):
    """What a message asks or answers."""

    # Rank to node agent.
    HELLO = "hello"
    PING = "ping"
    # Rank to QPU agent; the node agent passes them on unread.
    RUN = "run"
    EXPECTATION = "expectation"
    CANCEL = "cancel"
    RESYNC = "resync"
    ACKNOWLEDGE = "acknowledge"
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
    RESYNCED = "resynced"
    LEASE = "lease"
    DETACHED = "detached"
    REPORT = "report"
    ERROR = "error"


#: Kinds that ask for a task; they alone take part in flow control.
TASK_KINDS = frozenset({Kind.RUN, Kind.EXPECTATION})

#: Kinds that a session consists of: they are in the version of the protocol that was agreed when it
#: began. All others are understood whatever the version, since they only ever gain fields.
SESSION_KINDS = TASK_KINDS | {
    Kind.CANCEL,
    Kind.RESYNC,
    Kind.RESYNCED,
    Kind.ACKNOWLEDGE,
    Kind.RESULT,
}


class Latency(StrEnum):
    """Latency class of a task: interactive tasks go first, within their account's share."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Header(NamedTuple):
    """Frame 0 of every message, as a MessagePack array in this order.

    Attributes:
        version: of the protocol, in which the message is written.
        kind: a ``Kind``.
        task: chosen by the sender of a request and repeated in the answer; at most 32 bytes. A
            task id has 16: 8 of its session, drawn at random, and an 8-byte counter, big-endian.
            So a task may be sent again and counts once.
        lease: id of the lease that a task runs under; empty where none is meant.
        generation: of that lease, as its holder knows it.
        time_left: seconds until the deadline when the message was sent; 0 means none. A span and
            not an instant, so that no two hosts' clocks need to agree.
        latency: a ``Latency``.
        trace: reserved for a trace context (W3C ``traceparent``); empty for now, passed on unread.
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
    version: int = SPOKEN.newest,
) -> Header:
    """A header; its fields are those of ``Header``."""
    return Header(version, kind, task, lease, generation, time_left, latency, trace)
