"""The hook socket: the SPANK plugin's requests come in, and its answers go out."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from openqse.errors import InternalError, OpenQSEError, ProtocolError
from openqse.wire import limits
from openqse_agent.clock import Clock
from openqse_agent.node import hooks
from openqse_agent.node.events import HookId
from openqse_agent.node.job_socket import credentials, give
from openqse_agent.poller import Poller

log = logging.getLogger("node-agent")

#: Seconds that the plugin has to send its request.
_DEADLINE = 5.0


@dataclass
class Connection:
    """A connection of the SPANK plugin.

    Attributes:
        read: whether its request is whole.
    """

    id: HookId
    socket: socket.socket
    began: float
    data: bytes = b""
    read: bool = False


class HookServer:
    """Takes one request on each connection, and answers it later.

    Args:
        staging: a folder on the same file system that nobody else can enter.
        runtime: where the socket is to be.
        take: gets a connection's id and its request, but for probes, which are answered here.
    """

    def __init__(
        self,
        staging: Path,
        runtime: Path,
        poller: Poller,
        clock: Clock,
        take: Callable[[HookId, hooks.Attach | hooks.Detach], None],
    ) -> None:
        self.path = runtime / hooks.SOCKET
        self._poller = poller
        self._clock = clock
        self._take = take
        self._ids = count(1)
        self.connections: dict[HookId, Connection] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        staged = staging / hooks.SOCKET
        self._listener.bind(str(staged))
        self._listener.listen(128)
        give(staged, self.path, os.geteuid(), os.getegid())
        poller.watch(self._listener.fileno(), self._accept)

    def answer(self, hook: HookId, block: bytes) -> None:
        """Answers a request, and ends the connection."""
        connection = self.connections.get(hook)
        if connection is None:
            return
        try:
            connection.socket.sendall(block)  # far below the socket's buffer
        except OSError as error:
            log.warning("the SPANK plugin did not take its answer: %s", error)
        self._close(connection)

    def elapsed_us(self, hook: HookId) -> int:
        """Microseconds since the plugin has connected."""
        connection = self.connections.get(hook)
        return int((self._clock.monotonic() - connection.began) * 1e6) if connection else 0

    def tick(self, now: float) -> None:
        """Ends connections whose requests did not come in time."""
        for connection in list(self.connections.values()):
            if not connection.read and now - connection.began > _DEADLINE:
                error = ProtocolError("no request in time")
                self.answer(connection.id, hooks.format_error(error))

    def close(self) -> None:
        """Hangs up on everybody, and removes the socket."""
        for connection in self.connections.values():
            connection.socket.close()
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError as error:  # out of descriptors, or the plugin has hung up already
            log.error("a hook request could not be accepted: %s", error)
            return
        accepted.setblocking(False)
        _, uid, _ = credentials(accepted)
        if uid not in (0, os.geteuid()):
            log.warning("refused a hook request from uid %d", uid)
            accepted.close()
            return
        connection = Connection(next(self._ids), accepted, self._clock.monotonic())
        self.connections[connection.id] = connection
        self._poller.watch(accepted.fileno(), partial(self._receive, connection))

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(limits.MAX_HOOK_BYTES + 1)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.data += data
        try:
            if hooks.complete(connection.data):
                # What else arrives (the plugin hanging up) no longer matters.
                connection.read = True
                self._poller.unwatch(connection.socket.fileno())
                self._request(connection.id, hooks.parse(connection.data))
        except OpenQSEError as error:
            log.warning("refused a hook request: %s", error.at("node agent"))
            self.answer(connection.id, hooks.format_error(error))
        except Exception as error:  # a defect must cost its request, not the node
            log.exception("a hook request could not be handled")
            failure = InternalError(repr(error), layer="node agent")
            self.answer(connection.id, hooks.format_error(failure))

    def _request(self, hook: HookId, request: hooks.Attach | hooks.Detach | hooks.Probe) -> None:
        if isinstance(request, hooks.Probe):
            self.answer(hook, hooks.format_success({}, 0))
        else:
            self._take(hook, request)

    def _close(self, connection: Connection) -> None:
        if self.connections.pop(connection.id, None) is not None:
            self._poller.unwatch(connection.socket.fileno())
            connection.socket.close()
