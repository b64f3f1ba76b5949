"""The QPU's side of a node: one connection to each QPU agent, and whether it is alive."""

from __future__ import annotations

import time
from typing import Any

import zmq

from openqse.errors import AgentUnavailable
from openqse.site import SiteQPU
from openqse.wire.frames import encode
from openqse.wire.messages import Kind, header
from openqse_agent import keys
from openqse_agent.keys import Pair
from openqse_agent.node.relays import towards_qpu

#: Seconds between heartbeats to a QPU agent of which this node holds leases, or which has not
#: heard yet that it holds none.
HEARTBEAT_EVERY = 1.0
#: Seconds of silence after which a QPU agent counts as lost.
LOST_AFTER = 4.0


class QPULink:
    """The node agent's own connection to one QPU agent; tasks have theirs (``relays``).

    Attributes:
        gone: by lease, processes on this node that the QPU agent owes something and that have
            ended; the next heartbeat says so.
    """

    def __init__(
        self, context: zmq.Context[Any], qpu: SiteQPU, identity: bytes, pair: Pair
    ) -> None:
        self.qpu = qpu
        self.server_key = keys.of_qpu(qpu)
        self._pair = pair
        self._context = context
        self._identity = identity
        self._waiting_since: float | None = None
        self._last_beat = 0.0
        self._at_rest = False
        self._beating_at_rest = False
        self.lost = False
        self.complaint = ""
        self.gone: dict[str, list[int]] = {}
        self.socket = self._connect()

    def _connect(self) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        towards_qpu(socket, self._pair, self.server_key)
        socket.setsockopt(zmq.ROUTING_ID, self._identity)
        socket.connect(self.qpu.endpoint)
        return socket

    def say(self, kind: Kind, task: bytes, body: Any, time_left: float = 0.0) -> None:
        """Sends a message; it is kept while the connection is being made."""
        # The first frame names a session for the relays' messages: here, none.
        frames = encode(header(kind, task, time_left=time_left), body)
        self.socket.send_multipart([b"", *frames])
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()

    def heard(self) -> None:
        """Notes that the QPU agent has answered."""
        self._waiting_since = None
        self.lost = False

    def stir(self) -> None:
        """Notes that what the QPU agent believes of this node may be out of date."""
        self._at_rest = self._beating_at_rest = False

    def beat(self, now: float, leases: dict[str, int], asking: list[int]) -> None:
        """States at the QPU agent what this node holds, if it is time to.

        Args:
            leases: generations by lease. asking: jobs that are attaching.
        """
        empty = not leases and not asking
        if now - self._last_beat >= HEARTBEAT_EVERY and not (empty and self._at_rest):
            self._last_beat = now
            self._beating_at_rest = empty
            gone, self.gone = self.gone, {}
            self.say(Kind.HEARTBEAT, b"", {"leases": leases, "asking": asking, "gone": gone})

    def beaten(self) -> None:
        """The QPU agent has answered a heartbeat: an empty one need not be repeated."""
        self._at_rest = self._beating_at_rest

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
        self.stir()
        return found

    def rekey(self, pair: Pair) -> None:
        """Connects with another key, as soon as no answer is waited for."""
        if pair != self._pair and self._waiting_since is None:
            self._pair = pair
            self.socket.close()
            self.socket = self._connect()

    def unavailable(self) -> AgentUnavailable:
        """The error that says that this QPU agent does not answer."""
        return AgentUnavailable(
            f"the QPU agent of {self.qpu.name} at {self.qpu.endpoint} does not answer",
            layer="QPU agent",
            remedy=f"Ask the administrator to check openqse-qpu-agent {self.qpu.name} on its host",
        )
