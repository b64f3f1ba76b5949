"""The QPU's side of a node: one connection to each QPU agent, and whether it is alive."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import zmq

from openqse.errors import AgentUnavailable
from openqse.site import SiteQPU
from openqse.wire import limits
from openqse.wire.frames import Frame, encode
from openqse.wire.messages import Kind, header

#: Seconds between heartbeats to a QPU agent of which this node holds leases.
HEARTBEAT_EVERY = 1.0
#: Seconds of silence after which a QPU agent counts as lost.
LOST_AFTER = 4.0


class Uplink:
    """A connection to one QPU agent.

    Messages to it begin with the routing id of the session that they come from, which the QPU agent
    repeats in its answer; it is empty for what the node agent itself says.
    """

    def __init__(self, context: zmq.Context[Any], qpu: SiteQPU, identity: bytes) -> None:
        self.qpu = qpu
        self._context = context
        self._identity = identity
        self._waiting_since: float | None = None
        self._last_beat = 0.0
        self.lost = False
        self.socket = self._connect()

    def _connect(self) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, 0),  # the sessions' windows bound what is on its way
            (zmq.RCVHWM, 0),
            (zmq.RECONNECT_IVL, 50),
            (zmq.RECONNECT_IVL_MAX, 1000),
            (zmq.MAXMSGSIZE, limits.TRANSPORT_MAX_FRAME_BYTES),
        ):
            socket.setsockopt(option, value)
        socket.setsockopt(zmq.ROUTING_ID, self._identity)
        socket.connect(self.qpu.endpoint)
        return socket

    def send(self, session: bytes, frames: Sequence[Frame]) -> None:
        """Sends a message; the connection keeps it while it is being made."""
        self.socket.send_multipart([session, *frames], copy=False)

    def say(self, kind: Kind, task: bytes, body: Any, time_left: float = 0.0) -> None:
        """Sends a message of the node agent's own."""
        self.send(b"", encode(header(kind, task, time_left=time_left), body))
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()

    def heard(self) -> None:
        """Notes that the QPU agent has answered."""
        self._waiting_since = None
        self.lost = False

    def beat(self, now: float, leases: list[str]) -> None:
        """Renews the leases at the QPU agent if it is time to."""
        if leases and now - self._last_beat >= HEARTBEAT_EVERY:
            self._last_beat = now
            self.say(Kind.HEARTBEAT, b"", {"leases": leases})

    def check(self, now: float) -> bool:
        """Whether the QPU agent was just found lost.

        The connection is then made anew, so that what it kept for a lost agent is not delivered to
        its successor hours later.
        """
        if self._waiting_since is None or now - self._waiting_since < LOST_AFTER:
            return False
        found, self.lost = not self.lost, True
        self.socket.close()
        self.socket = self._connect()
        self._waiting_since = None
        return found

    def unavailable(self) -> AgentUnavailable:
        """The error that says that this QPU agent does not answer."""
        return AgentUnavailable(
            f"the QPU agent of {self.qpu.name} at {self.qpu.endpoint} does not answer",
            layer="QPU agent",
            remedy=f"Ask the administrator to check openqse-qpu-agent {self.qpu.name} on its host",
        )
