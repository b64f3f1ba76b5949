"""The way of task messages through the node: from a job's private socket to a QPU agent.

The agent's loop takes no part in it: libzmq's own proxy passes messages on, in a thread that never
holds the interpreter's lock, so a task costs the node what a bare ZeroMQ hop costs. Nothing needs
to be read here: each QPU of a job has a socket of its own, and the routing id by which the QPU
agent knows the relay says which node and which job speak.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from itertools import count

import zmq

from openqse.wire import limits
from openqse_agent.keys import Pair
from openqse_agent.node.job_socket import JobSocket

log = logging.getLogger("node-agent")

_numbers = count(1)


class Relay:
    """One job's connection to one QPU agent, behind a socket for the job's ranks.

    Ending that socket's context is what ends the proxy.
    """

    def __init__(
        self,
        socket: JobSocket,
        job_id: int,
        endpoint: str,
        identity: str,
        pair: Pair,
        key: bytes | None,
    ) -> None:
        self.socket = socket
        back = socket.context.socket(zmq.DEALER)
        try:
            towards_qpu(back, pair, key)
            # Numbered, since the QPU agent may not have noticed the end of the job's last one.
            back.setsockopt(zmq.ROUTING_ID, f"{identity}/{job_id}/{next(_numbers)}".encode())
            back.connect(endpoint)
        except BaseException:
            back.close(linger=0)
            socket.router.close(linger=0)
            socket.close()
            raise
        self._thread = threading.Thread(target=self._pass_on, args=(back,), name=socket.path.name)
        self._thread.start()

    def _pass_on(self, back: zmq.Socket[bytes]) -> None:
        try:
            zmq.proxy(self.socket.router, back)
        except zmq.ContextTerminated:
            pass
        except zmq.ZMQError:
            log.exception("a relay ended")
        finally:
            self.socket.router.close(linger=0)
            back.close(linger=0)

    def close(self) -> None:
        """Ends the relay; what is on its way is dropped."""
        self.socket.close()
        self._thread.join()
        with suppress(OSError):  # its folder is the job's user's: anything may stand there now
            self.socket.path.unlink()


def towards_qpu(socket: zmq.Socket[bytes], pair: Pair, server_key: bytes | None) -> None:
    """Options of a socket that connects to a QPU agent."""
    limits.apply(socket)
    pair.use(socket, server_key)
    for option, milliseconds in (
        (zmq.RECONNECT_IVL, 50),
        (zmq.RECONNECT_IVL_MAX, 250),
        (zmq.CONNECT_TIMEOUT, 1000),
        (zmq.HEARTBEAT_IVL, limits.TRANSPORT_HEARTBEAT_MS),
        (zmq.HEARTBEAT_TIMEOUT, 3 * limits.TRANSPORT_HEARTBEAT_MS),
    ):
        socket.setsockopt(option, milliseconds)
