"""The way of task messages through the node: from a job's private socket to a QPU agent.

The agent's loop takes no part in it: libzmq's own proxy passes messages on, in a thread that never
holds the interpreter's lock, so a task costs the node what a bare ZeroMQ hop costs. Nothing needs
to be read here: each QPU of a job has a socket of its own, and the routing id by which the QPU
agent knows the relay says which node and which job speak.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import zmq

from openqse.wire import limits
from openqse_agent.keys import Pair

log = logging.getLogger("node-agent")

_numbers = count(1)
#: Names of sockets that are not in their place yet; none twice, since libzmq removes them late.
_staged = count(1)


class Relay:
    """One job's connection to one QPU agent.

    It has a ZeroMQ context of its own: ending the context is what ends the proxy.

    Attributes:
        zap: asks whether a peer may speak (ZAP, RFC 27); whoever made the relay answers.
    """

    def __init__(
        self,
        path: Path,
        staging: Path,
        uid: int,
        gid: int,
        domain: bytes,
        endpoint: str,
        identity: str,
        pair: Pair,
        server_key: bytes | None,
    ) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self.path = path
        try:
            self.zap: zmq.Socket[bytes] = self._context.socket(zmq.REP)
            self.zap.bind("inproc://zeromq.zap.01")
            front = self._context.socket(zmq.ROUTER)
            back = self._context.socket(zmq.DEALER)
            limits.apply(front)
            towards_qpu(back, pair, server_key)
            front.setsockopt(zmq.ZAP_DOMAIN, domain)
            bind_private(front, path, staging, uid, gid)
            # Numbered, since the QPU agent may not have noticed the end of the job's last one.
            back.setsockopt(
                zmq.ROUTING_ID, f"{identity}/{domain.decode()}/{next(_numbers)}".encode()
            )
            back.connect(endpoint)
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._thread = threading.Thread(target=self._pass_on, args=(front, back), name=path.name)
        self._thread.start()

    @staticmethod
    def _pass_on(front: zmq.Socket[bytes], back: zmq.Socket[bytes]) -> None:
        try:
            zmq.proxy(front, back)
        except zmq.ContextTerminated:
            pass
        except zmq.ZMQError:
            log.exception("a relay ended")
        finally:
            front.close(linger=0)
            back.close(linger=0)

    def close(self) -> None:
        """Ends the relay; what is on its way is dropped."""
        self.zap.close(linger=0)
        self._context.term()
        self._thread.join()
        with suppress(OSError):  # its folder is the job's user's: anything may stand there now
            self.path.unlink()


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


def bind_private(socket: zmq.Socket[bytes], path: Path, staging: Path, uid: int, gid: int) -> None:
    """Binds to a Unix socket that is its user's alone from the first moment.

    Args:
        staging: folder on the same file system that nobody but this agent can enter.
    """
    staged = staging / str(next(_staged))
    socket.bind(f"ipc://{staged}")
    give(staged, path, uid, gid)


def give(staged: Path, path: Path, uid: int, gid: int) -> None:
    """Makes a staged socket its user's, and moves it to its place.

    In this order: the place may be that user's folder, where root must follow nothing by its name.
    """
    os.chmod(staged, 0o600)
    os.chown(staged, uid, gid)
    os.rename(staged, path)
