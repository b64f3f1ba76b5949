"""The way to a job's QPUs through the node agent.

A process has one socket for each QPU, on which tasks go out and results come in, and one on which
the node agent itself says what the job holds and who is alive. Nobody but the callers drives them:
whoever waits for a result takes in what arrives, so a result costs no second wake-up in a
background thread. Of several waiting threads one takes in and the others are told.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import zmq

from openqse.device import Capabilities
from openqse.errors import (
    AgentUnavailable,
    DeadlineExceeded,
    NoLease,
    OpenQSEError,
    ProtocolError,
    StaleLease,
    TaskCancelled,
    UnknownProgram,
    from_wire,
)
from openqse.qpu import QPU, Future, Lease, Request
from openqse.wire import limits
from openqse.wire.frames import (
    Frame,
    bundled,
    decode_body,
    decode_header,
    encode,
    send,
    unbundle,
)
from openqse.wire.messages import Header, Kind, header
from openqse.wire.tasks import decode_outcome, encode_work

#: Seconds of silence after which a waiting client asks whether the agents are alive.
PING_AFTER = 1.0
#: Seconds without any answer after which the node agent counts as lost.
LOST_AFTER = 5.0
#: How often a task is sent again because its QPU agent was restarted or had dropped its program.
MAX_RESENDS = 5

#: Tasks that follow each other at once are sent together, up to this many.
_BURST = 32

_POLLIN = int(zmq.POLLIN)


@dataclass(slots=True, eq=False)
class _Pending:
    """A task sent and not answered: all that is needed to send it again."""

    future: Future[Any]
    request: Request
    uplink: _Uplink
    deadline: float | None
    resends: int = 0


@dataclass(slots=True, eq=False)
class _Uplink:
    """One of the job's QPUs: the socket to it and what this process knows of it."""

    lease: Lease
    capabilities: Capabilities
    window: int
    socket: zmq.Socket[bytes]
    in_flight: int = 0
    programs: set[bytes] = field(default_factory=set)


class Connection:
    """This process's session with the node agent, shared by its QPU handles."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._users = 0
        self._lock = threading.Lock()
        self._told = threading.Condition()
        self._listening = 0
        self._outbox: deque[tuple[zmq.Socket[bytes], list[Frame]]] = deque()
        self._pending: dict[bytes, _Pending] = {}
        self._uplinks: dict[str, _Uplink] = {}
        self._last_heard = time.monotonic()
        self._last_ping = 0.0
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = zmq.Poller()
        self._poller.register(self._wake, zmq.POLLIN)
        if not os.access(path, os.W_OK):
            raise NoLease(
                f"the job's socket {path} is not there or belongs to somebody else",
                remedy="Is this process in the job step whose environment it has?",
            )
        try:
            self._control = self._connect(path)
            self._hello(timeout)
        except BaseException:
            self._hang_up()
            raise

    def _connect(self, path: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        limits.apply(socket, linger_ms=200)
        socket.setsockopt(zmq.RCVTIMEO, int(PING_AFTER * 1000))
        socket.connect(f"ipc://{path}")
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def _hello(self, timeout: float) -> None:
        self._control.send_multipart(encode(header(Kind.HELLO, b"hello")))
        if not self._control.poll(int(timeout * 1000)):
            raise self._no_answer(timeout)
        frames = self._control.recv_multipart()
        head, body = decode_header(frames), decode_body(frames)
        if head.kind == Kind.ERROR:
            raise from_wire(body)
        for entry in body["leases"]:
            lease = Lease(
                entry["id"], entry["qpu"], entry["slots"], entry["mode"], entry["generation"]
            )
            capabilities = Capabilities.from_wire(entry["capabilities"])
            socket = self._connect(entry["socket"])
            self._uplinks[lease.qpu] = _Uplink(lease, capabilities, body["window"], socket)

    @staticmethod
    def _no_answer(seconds: float) -> AgentUnavailable:
        return AgentUnavailable(
            f"the node agent has not answered for {seconds:g} s",
            layer="node agent",
            remedy="Ask the administrator to check openqse-node-agent on this node",
        )

    @property
    def leases(self) -> dict[str, Lease]:
        """The job's leases by name of QPU."""
        return {name: uplink.lease for name, uplink in self._uplinks.items()}

    def open(self, name: str) -> QPU:
        """A handle to one of the job's QPUs."""
        uplink = self._uplinks[name]
        self._users += 1
        return QPU(name, uplink.capabilities, _Handle(self, uplink), uplink.lease)

    # --- sending ---------------------------------------------------------------------------------

    def submit(self, uplink: _Uplink, request: Request, future: Future[Any], more: bool) -> None:
        """Sends a task, with ``more`` not before others follow; waits while the window is full."""
        deadline = None if request.timeout is None else time.monotonic() + request.timeout
        if uplink.in_flight >= uplink.window and not self.wait(
            lambda: uplink.in_flight < uplink.window, request.timeout
        ):
            raise DeadlineExceeded(
                f"{uplink.window} tasks are unanswered and none ended within the timeout",
                remedy="Wait for results before submitting more, or allow more time",
            )
        pending = _Pending(future, request, uplink, deadline)
        frames = self._frames(pending)
        self._pending[future.key] = pending
        uplink.in_flight += 1
        self._outbox.append((uplink.socket, frames))
        if not more or len(self._outbox) >= _BURST:
            self._send_out()

    def _frames(self, pending: _Pending) -> list[Frame]:
        request, uplink = pending.request, pending.uplink
        work, lease = request.work, uplink.lease
        new = work.program not in uplink.programs
        body, buffers = encode_work(work, request.program.encoded if new else None)
        left = 0.0
        if pending.deadline is not None:
            left = max(pending.deadline - time.monotonic(), 1e-3)
        head = header(
            request.kind,
            pending.future.key,
            lease=lease.id,
            generation=lease.generation,
            time_left=left,
            latency=request.latency,
        )
        frames = encode(head, body, buffers)
        if new:
            uplink.programs.add(work.program)
        return frames

    def cancel(self, future: Future[Any]) -> None:
        """Asks that a task be cancelled."""
        pending = self._pending.get(future.key)
        if pending is not None:
            lease = pending.uplink.lease
            head = header(Kind.CANCEL, future.key, lease=lease.id, generation=lease.generation)
            self._post(pending.uplink.socket, encode(head))

    def _post(self, socket: zmq.Socket[bytes], frames: list[Frame]) -> None:
        self._outbox.append((socket, frames))
        self._send_out()

    def _send_out(self) -> None:
        """Sends now, or leaves it to the thread that holds the sockets and wakes that."""
        while self._outbox:
            if not self._lock.acquire(blocking=False):
                os.eventfd_write(self._wake, 1)
                return
            try:
                self._flush()
            finally:
                self._lock.release()

    def _flush(self) -> None:
        while self._outbox:
            socket, frames = self._outbox.popleft()
            if not self._outbox:
                send(socket, frames)
                return
            ready = [frames]
            while self._outbox and self._outbox[0][0] is socket:
                ready.append(self._outbox.popleft()[1])
            for message in bundled(ready):
                send(socket, message)

    # --- waiting ---------------------------------------------------------------------------------

    def wait(self, ready: Callable[[], object], timeout: float | None) -> bool:
        """Takes in results until ``ready()`` holds; False if ``timeout`` seconds passed first."""
        if ready():
            return True
        now = time.monotonic()
        deadline = None if timeout is None else now + timeout
        self._last_heard = now  # silence counts from the first moment that somebody listens
        left = PING_AFTER
        while True:
            if self._lock.acquire(blocking=False):
                try:
                    if not ready():
                        self._pump(left, ready)
                finally:
                    self._lock.release()
                if self._listening:
                    with self._told:
                        self._told.notify_all()
            else:
                with self._told:
                    self._listening += 1
                    if not ready():
                        self._told.wait(min(left, 0.1))
                    self._listening -= 1
            if ready():
                break
            if deadline is not None:
                left = min(PING_AFTER, deadline - time.monotonic())
                if left <= 0:
                    return False
        self._send_out()  # what another thread may have left
        return True

    def _pump(self, timeout: float, ready: Callable[[], object]) -> None:
        """Takes in what has arrived, waiting for it up to ``timeout`` seconds."""
        self._flush()
        if len(self._uplinks) == 1 and timeout == PING_AFTER and threading.active_count() == 1:
            # Nobody else to listen to: a plain receive is cheaper than a poll.
            (uplink,) = self._uplinks.values()
            try:
                self._receive(uplink.socket.recv_multipart())
            except zmq.Again:
                pass
            else:
                self._last_heard = time.monotonic()
                self._drain(uplink.socket, ready)
                return
            sockets: list[Any] = [self._control]
        else:
            sockets = [socket for socket, _ in self._poller.poll(math.ceil(timeout * 1000))]
        for socket in sockets:
            if socket == self._wake:
                os.eventfd_read(self._wake)
                self._flush()
            elif self._drain(socket, lambda: False):
                self._last_heard = time.monotonic()
        self._check_alive()

    def _drain(self, socket: zmq.Socket[bytes], ready: Callable[[], object]) -> bool:
        """Takes in what a socket has, at least until ``ready()``; whether it had anything."""
        heard = False
        while not (heard and ready()) and int(socket.getsockopt(zmq.EVENTS)) & _POLLIN:
            heard = True
            self._receive(socket.recv_multipart())
        return heard

    def _check_alive(self) -> None:
        now = time.monotonic()
        if now - self._last_heard > LOST_AFTER:
            self._fail(lambda pending: True, self._no_answer(LOST_AFTER))
        elif now - max(self._last_heard, self._last_ping) >= PING_AFTER * 0.9:
            self._last_ping = now
            for uplink in {
                pending.uplink.lease.qpu: pending.uplink for pending in self._pending.values()
            }.values():
                head = header(Kind.PING, uplink.lease.qpu.encode(), lease=uplink.lease.id)
                self._control.send_multipart(encode(head))

    # --- receiving -------------------------------------------------------------------------------

    def _receive(self, frames: list[bytes]) -> None:
        try:
            head = decode_header(frames)
            if head.kind == Kind.BUNDLE:
                for message in unbundle(frames):
                    self._take(decode_header(message), message)
            else:
                self._take(head, frames)
        except OpenQSEError as error:
            self._fail(lambda pending: True, error)

    def _take(self, head: Header, frames: list[bytes]) -> None:
        if head.kind == Kind.RESULT:
            self._resolve(head.task, decode_outcome(frames))
        elif head.kind == Kind.ERROR:
            self._failed(head.task, from_wire(decode_body(frames)))
        elif head.kind == Kind.PONG:
            self._renew(self._uplinks[head.task.decode()], head.generation)
        else:
            raise ProtocolError(f"unexpected {head.kind!r} from an agent")

    def _failed(self, task: bytes, error: OpenQSEError) -> None:
        pending = self._pending.get(task)
        if pending is None:
            # Not a task's: the answer to a ping, or to a message that could not be read.
            qpu = task.decode(errors="replace")
            self._fail(lambda pending: not qpu or pending.uplink.lease.qpu == qpu, error)
        elif isinstance(error, UnknownProgram) and pending.resends < MAX_RESENDS:
            pending.uplink.programs.discard(pending.request.work.program)
            self._resend(pending)
        elif isinstance(error, StaleLease) and pending.resends < MAX_RESENDS:
            current = int(error.details.get("generation", 0))
            if current > pending.uplink.lease.generation:
                self._renew(pending.uplink, current)
            elif current == pending.uplink.lease.generation:
                self._resend(pending)  # it crossed the news of the new generation
            else:
                self._resolve(task, error)
        else:
            self._resolve(task, error)

    def _renew(self, uplink: _Uplink, generation: int) -> None:
        """A grown generation means that the QPU agent was restarted: what it had not answered it
        has forgotten, so it is sent again."""
        if generation > uplink.lease.generation:
            uplink.lease = replace(uplink.lease, generation=generation)
            uplink.programs.clear()
            for pending in [p for p in self._pending.values() if p.uplink is uplink]:
                self._resend(pending)

    def _resend(self, pending: _Pending) -> None:
        pending.resends += 1
        send(pending.uplink.socket, self._frames(pending))

    def _resolve(self, task: bytes, outcome: Any) -> None:
        pending = self._pending.pop(task, None)
        if pending is not None:  # else a second answer to a task that was sent twice
            pending.uplink.in_flight -= 1
            pending.future.resolve(outcome)

    def _fail(self, which: Callable[[_Pending], bool], error: OpenQSEError) -> None:
        for task in [task for task, pending in self._pending.items() if which(pending)]:
            self._resolve(task, error)

    # --- ending ----------------------------------------------------------------------------------

    def close(self, uplink: _Uplink | None = None) -> None:
        """Cancels one QPU's unfinished tasks; the last handle hangs up."""
        for pending in list(self._pending.values()):
            if pending.uplink is uplink:
                self.cancel(pending.future)
        with self._lock:
            self._flush()
            self._fail(
                lambda pending: pending.uplink is uplink,
                TaskCancelled("the connection was closed before the task ended"),
            )
        self._users -= uplink is not None
        if self._users <= 0:
            self._hang_up()

    def _hang_up(self) -> None:
        if _connections.get((os.getpid(), self._path)) is self:
            del _connections[os.getpid(), self._path]
        for socket, _ in self._poller.sockets:
            if socket != self._wake:
                socket.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1


class _Handle:
    """A connection as the ``Transport`` of one QPU."""

    def __init__(self, connection: Connection, uplink: _Uplink) -> None:
        self._connection: Connection | None = connection
        self._uplink = uplink
        self.wait = connection.wait
        self.cancel = connection.cancel

    def submit(self, request: Request, future: Future[Any], more: bool) -> None:
        if self._connection is None:
            raise TaskCancelled(f"the connection to {self._uplink.lease.qpu} was closed")
        self._connection.submit(self._uplink, request, future, more)

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close(self._uplink)


_connections: dict[tuple[int, str], Connection] = {}


def connection(path: str, timeout: float) -> Connection:
    """The process's connection to the node agent at ``path``; one is made if there is none.

    Raises:
        AgentUnavailable: no answer within ``timeout`` seconds. OpenQSEError: as the agent says.
    """
    key = (os.getpid(), path)  # a forked child must not use its parent's sockets
    if key not in _connections:
        _connections[key] = Connection(path, timeout)
    return _connections[key]
