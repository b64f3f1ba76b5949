"""The way to a QPU through the node agent: one socket for all QPUs of a process.

Nobody but the callers drives the socket: whoever waits for a result polls it, so a result costs no
second wake-up in a background thread. Of several waiting threads one polls and the others are told.
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
    OpenQSEError,
    ProtocolError,
    TaskCancelled,
    UnknownProgram,
    from_wire,
)
from openqse.session import QPU, Future, Lease, Request
from openqse.wire import limits
from openqse.wire.frames import Frame, check_size, decode_body, decode_header, encode
from openqse.wire.messages import Kind, header
from openqse.wire.tasks import decode_outcome, encode_work

#: Seconds of silence after which a waiting client asks whether the agents are alive.
PING_AFTER = 1.0
#: Seconds without any answer after which the node agent counts as lost.
LOST_AFTER = 5.0
#: How often a task is sent again because its QPU agent was restarted or had dropped its program.
MAX_RESENDS = 5


@dataclass
class _Pending:
    """A task sent and not answered: all that is needed to send it again."""

    future: Future[Any]
    request: Request
    qpu: str
    deadline: float | None
    resends: int = 0


@dataclass
class _Uplink:
    """What this process knows of one of its job's QPUs."""

    lease: Lease
    capabilities: Capabilities
    window: int
    in_flight: int = 0
    programs: set[bytes] = field(default_factory=set)


class Connection:
    """This process's session with the node agent; a ``Transport`` shared by its QPU handles."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._users = 0
        self._lock = threading.Lock()
        self._told = threading.Condition()
        self._outbox: deque[list[Frame]] = deque()
        self._pending: dict[bytes, _Pending] = {}
        self._uplinks: dict[str, _Uplink] = {}
        self._last_heard = time.monotonic()
        self._last_ping = 0.0
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 200),
            (zmq.SNDHWM, 0),  # the window bounds what is on its way
            (zmq.RCVHWM, 0),
            (zmq.MAXMSGSIZE, limits.TRANSPORT_MAX_FRAME_BYTES),
        ):
            self._socket.setsockopt(option, value)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._wake, zmq.POLLIN)
        try:
            self._socket.connect(f"ipc://{path}")
            self._hello(timeout)
        except BaseException:
            self._hang_up()
            raise

    @property
    def leases(self) -> dict[str, Lease]:
        """The job's leases by name of QPU."""
        return {name: uplink.lease for name, uplink in self._uplinks.items()}

    def _hello(self, timeout: float) -> None:
        self._socket.send_multipart(encode(header(Kind.HELLO, b"hello")))
        if not self._socket.poll(int(timeout * 1000)):
            raise AgentUnavailable(
                f"the node agent does not answer on {self._path} within {timeout:g} s",
                layer="node agent",
                remedy="Ask the administrator to check openqse-node-agent on this node",
            )
        frames = self._socket.recv_multipart()
        head, body = decode_header(frames), decode_body(frames)
        if head.kind == Kind.ERROR:
            raise from_wire(body)
        for entry in body["leases"]:
            lease = Lease(
                entry["id"], entry["qpu"], entry["slots"], entry["mode"], entry["generation"]
            )
            capabilities = Capabilities.from_wire(entry["capabilities"])
            self._uplinks[lease.qpu] = _Uplink(lease, capabilities, body["window"])

    def open(self, name: str) -> QPU:
        """A handle to one of the job's QPUs."""
        uplink = self._uplinks[name]
        self._users += 1
        return QPU(name, uplink.capabilities, _Handle(self, name), uplink.lease)

    # --- sending ---------------------------------------------------------------------------------

    def submit(self, qpu: str, request: Request, future: Future[Any]) -> None:
        uplink = self._uplinks[qpu]
        deadline = None if request.timeout is None else time.monotonic() + request.timeout
        if uplink.in_flight >= uplink.window and not self.wait(
            lambda: uplink.in_flight < uplink.window, request.timeout
        ):
            raise DeadlineExceeded(
                f"{uplink.window} tasks are unanswered and none ended within the timeout",
                remedy="Wait for results before submitting more, or allow more time",
            )
        pending = _Pending(future, request, qpu, deadline)
        frames = self._frames(pending)
        self._pending[future._key] = pending
        uplink.in_flight += 1
        self._post(frames)

    def _frames(self, pending: _Pending) -> list[Frame]:
        request, uplink = pending.request, self._uplinks[pending.qpu]
        work = request.work
        new = work.program not in uplink.programs
        body, buffers = encode_work(work, request.program.encoded if new else None)
        left = 0.0
        if pending.deadline is not None:
            left = max(pending.deadline - time.monotonic(), 1e-3)
        head = header(
            request.kind,
            pending.future._key,
            lease=uplink.lease.id,
            generation=uplink.lease.generation,
            time_left=left,
            latency=request.latency,
        )
        frames = encode(head, body, buffers)
        check_size(frames)
        uplink.programs.add(work.program)
        return frames

    def cancel(self, future: Future[Any]) -> None:
        pending = self._pending.get(future._key)
        if pending is not None:
            lease = self._uplinks[pending.qpu].lease
            self._post(
                encode(
                    header(Kind.CANCEL, future._key, lease=lease.id, generation=lease.generation)
                )
            )

    def _post(self, frames: list[Frame]) -> None:
        """Sends now, or leaves it to the thread that holds the socket and wakes that."""
        self._outbox.append(frames)
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
            self._socket.send_multipart(self._outbox.popleft())

    # --- waiting ---------------------------------------------------------------------------------

    def wait(self, ready: Callable[[], object], timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        self._last_heard = max(self._last_heard, time.monotonic())
        while not ready():
            left = PING_AFTER
            if deadline is not None:
                left = min(left, deadline - time.monotonic())
                if left <= 0:
                    return False
            if self._lock.acquire(blocking=False):
                try:
                    if not ready():
                        self._pump(left)
                finally:
                    self._lock.release()
                with self._told:
                    self._told.notify_all()
            else:
                with self._told:
                    if not ready():
                        self._told.wait(min(left, 0.1))
        if self._outbox:
            self._post(self._outbox.popleft())
        return True

    def _pump(self, timeout: float) -> None:
        """Sends what waits, then takes in whatever has arrived, waiting up to ``timeout`` s."""
        self._flush()
        for ready, _ in self._poller.poll(math.ceil(timeout * 1000)):
            if ready == self._wake:
                os.eventfd_read(self._wake)
                self._flush()
        heard = False
        for _ in range(limits.TASKS_IN_FLIGHT):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            heard = True
            self._receive(frames)
        now = time.monotonic()
        if heard:
            self._last_heard = now
        elif now - self._last_heard > LOST_AFTER:
            self._fail(
                lambda pending: True,
                AgentUnavailable(
                    f"the node agent has not answered for {LOST_AFTER:g} s",
                    layer="node agent",
                    remedy="Ask the administrator to check openqse-node-agent on this node",
                ),
            )
        elif now - max(self._last_heard, self._last_ping) >= PING_AFTER * 0.9:
            self._ping(now)

    def _ping(self, now: float) -> None:
        self._last_ping = now
        for name in {pending.qpu for pending in self._pending.values()}:
            head = header(Kind.PING, name.encode(), lease=self._uplinks[name].lease.id)
            self._socket.send_multipart(encode(head))

    # --- receiving -------------------------------------------------------------------------------

    def _receive(self, frames: list[bytes]) -> None:
        try:
            head = decode_header(frames)
            if head.kind == Kind.RESULT:
                self._resolve(head.task, decode_outcome(frames))
            elif head.kind == Kind.ERROR:
                self._failed(head.task, from_wire(decode_body(frames)))
            elif head.kind == Kind.PONG:
                self._renew(head.task.decode(), head.generation)
            else:
                raise ProtocolError(f"unexpected {head.kind!r} from the node agent")
        except OpenQSEError as error:
            self._fail(lambda pending: True, error)

    def _failed(self, task: bytes, error: OpenQSEError) -> None:
        pending = self._pending.get(task)
        if pending is None:
            # Not a task's: the answer to a ping, or to a message that could not be read.
            name = task.decode(errors="replace")
            self._fail(lambda pending: pending.qpu == name or not name, error)
        elif isinstance(error, UnknownProgram) and pending.resends < MAX_RESENDS:
            self._uplinks[pending.qpu].programs.discard(pending.request.work.program)
            self._resend(pending)
        else:
            self._resolve(task, error)

    def _renew(self, name: str, generation: int) -> None:
        """A grown generation means that the QPU agent was restarted: what it had not answered it
        has forgotten, so it is sent again."""
        uplink = self._uplinks[name]
        if generation > uplink.lease.generation:
            uplink.lease = replace(uplink.lease, generation=generation)
            uplink.programs.clear()
            for pending in [p for p in self._pending.values() if p.qpu == name]:
                self._resend(pending)

    def _resend(self, pending: _Pending) -> None:
        pending.resends += 1
        self._socket.send_multipart(self._frames(pending))

    def _resolve(self, task: bytes, outcome: Any) -> None:
        pending = self._pending.pop(task, None)
        if pending is not None:  # else a second answer to a task that was sent twice
            self._uplinks[pending.qpu].in_flight -= 1
            pending.future.resolve(outcome)

    def _fail(self, which: Callable[[_Pending], bool], error: OpenQSEError) -> None:
        for task in [task for task, pending in self._pending.items() if which(pending)]:
            self._resolve(task, error)

    # --- ending ----------------------------------------------------------------------------------

    def close(self, qpu: str | None = None) -> None:
        """Cancels one QPU's unfinished tasks; the last handle hangs up."""
        for pending in list(self._pending.values()):
            if pending.qpu == qpu:
                self.cancel(pending.future)
        with self._lock:
            self._fail(
                lambda pending: pending.qpu == qpu,
                TaskCancelled("the connection was closed before the task ended"),
            )
        self._users -= qpu is not None
        if self._users <= 0:
            self._hang_up()

    def _hang_up(self) -> None:
        if _connections.get((os.getpid(), self._path)) is self:
            del _connections[os.getpid(), self._path]
        self._socket.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1


class _Handle:
    """A connection as the transport of one QPU."""

    def __init__(self, connection: Connection, qpu: str) -> None:
        self._connection: Connection | None = connection
        self._qpu = qpu
        self.wait = connection.wait
        self.cancel = connection.cancel

    def submit(self, request: Request, future: Future[Any]) -> None:
        if self._connection is None:
            raise TaskCancelled(f"the connection to {self._qpu} was closed")
        self._connection.submit(self._qpu, request, future)

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close(self._qpu)


_connections: dict[tuple[int, str], Connection] = {}


def connection(path: str, timeout: float) -> Connection:
    """The process's connection to the node agent at ``path``; one is made if there is none.

    Raises:
        AgentUnavailable: no answer within ``timeout`` seconds. OpenQSEError: as the agent says.
    """
    key = (os.getpid(), path)  # a forked child must not use its parent's socket
    if key not in _connections:
        _connections[key] = Connection(path, timeout)
    return _connections[key]
