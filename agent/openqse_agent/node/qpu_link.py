"""The QPU's side of a node: one connection to each QPU agent, and whether it is alive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import zmq

from openqse.site import SiteQPU
from openqse.wire import leases as wire
from openqse.wire.schema import Message
from openqse_agent import keys
from openqse_agent.clock import Clock
from openqse_agent.keys import Pair
from openqse_agent.node.job_socket import has_ended
from openqse_agent.node.relays import towards_qpu

#: Seconds between heartbeats to a QPU agent of which this node holds leases, or which has not
#: heard yet that it holds none.
HEARTBEAT_EVERY = 1.0
#: Seconds of silence after which a QPU agent counts as lost.
LOST_AFTER = 4.0


class QPULink:
    """The node agent's own connection to one QPU agent; tasks have theirs (``relays``).

    Attributes:
        lost: it has not answered lately.
        complaint: the last error that it answered with, which is logged once.
    """

    def __init__(
        self, context: zmq.Context[Any], qpu: SiteQPU, identity: bytes, pair: Pair, clock: Clock
    ) -> None:
        self.qpu = qpu
        self.server_key = keys.of_qpu(qpu)
        self._pair = pair
        self._clock = clock
        self._context = context
        self._identity = identity
        self._waiting_since: float | None = None
        self._last_heartbeat = 0.0
        self._at_rest = False
        self._heartbeat_at_rest = False
        self._ended: dict[str, tuple[int, ...]] = {}
        self.lost = False
        self.complaint = ""
        self.socket = self._connect()

    def _connect(self) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        towards_qpu(socket, self._pair, self.server_key)
        socket.setsockopt(zmq.ROUTING_ID, self._identity)
        socket.connect(self.qpu.endpoint)
        return socket

    def say(self, message: Message, task: bytes = b"", time_left: float = 0.0) -> None:
        """Sends a message; it is kept while the connection is being made.

        Where the handshake was refused, as by a QPU agent with a key that the site file here does
        not have, there is nobody to send to, and libzmq would wait for ever. The message is dropped
        then, and the QPU agent is found lost as one that does not answer.
        """
        with suppress(zmq.Again):
            # The first frame names a session for the relays' messages: here, none.
            frames = [b"", *message.frames(task, time_left=time_left)]
            self.socket.send_multipart(frames, zmq.NOBLOCK)
        if self._waiting_since is None:
            self._waiting_since = self._clock.monotonic()

    def heard(self) -> None:
        """Notes that the QPU agent has answered."""
        self._waiting_since = None
        self.lost = False

    def mark_dirty(self) -> None:
        """Notes that what the QPU agent believes of this node may be out of date."""
        self._at_rest = self._heartbeat_at_rest = False

    def heartbeat(self, now: float, leases: Mapping[str, int], asking: tuple[int, ...]) -> None:
        """States at the QPU agent what this node holds, if it is time to.

        Args:
            leases: generations by lease. asking: jobs that are attaching.
        """
        empty = not leases and not asking
        if now - self._last_heartbeat >= HEARTBEAT_EVERY and not (empty and self._at_rest):
            self._last_heartbeat = now
            self._heartbeat_at_rest = empty
            ended, self._ended = self._ended, {}
            self.say(wire.Heartbeat(leases, asking, ended))

    def acknowledged(self, processes: Mapping[str, Iterable[int]]) -> None:
        """The QPU agent has answered a heartbeat: an empty one need not be repeated.

        Args:
            processes: by lease, those on this node that it owes something. The next heartbeat says
                which of them have ended.
        """
        self._at_rest = self._heartbeat_at_rest
        self._ended = {
            lease: ended
            for lease, named in processes.items()
            if (ended := tuple(filter(has_ended, named)))
        }

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
        self.mark_dirty()
        return found

    def rekey(self, pair: Pair) -> None:
        """Connects with another key, as soon as no answer is waited for."""
        if pair != self._pair and self._waiting_since is None:
            self._pair = pair
            self.socket.close()
            self.socket = self._connect()
