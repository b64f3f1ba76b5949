"""The way to a job's QPUs through the node agent.

A process has one socket for each QPU, on which tasks go out and results come in, and one on which
the node agent itself says what the job holds and who is alive. Nobody but the callers drives them:
whoever waits for a result takes in what arrives, so a result costs no second wake-up in a
background thread. Of several waiting threads one takes in and the others are told.

What is on its way may be lost: a connection breaks, an agent dies. So every second the client
asks after what is old: it names its unanswered tasks, and the QPU agent says which of them it has
under way (resync). What else is still unanswered then is sent again; task ids see to it that it
counts once.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import zmq

from openqse.client.futures import Future, Request
from openqse.client.qpu import QPU, Lease
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
)
from openqse.wire import limits
from openqse.wire.control import Failure
from openqse.wire.frames import Frame, bundled, decode_header, encode, send, unbundle
from openqse.wire.leases import Hello, Ping, Welcome
from openqse.wire.messages import Header, Kind, header
from openqse.wire.schema import Message
from openqse.wire.task_ids import session_id
from openqse.wire.tasks import (
    Acknowledge,
    Cancel,
    Resync,
    Resynced,
    TaskRequest,
    decode_outcome,
    encode_task,
)
from openqse.wire.versions import SPOKEN

log = logging.getLogger("openqse")

#: Seconds after which a waiting client asks after unanswered tasks, and whether the agents live.
ASK_EVERY = 1.0
#: How often while a question is open: whoever was restarted is to be found soon.
ASK_AGAIN = 0.25
#: Seconds of silence after which the user is told what the program waits for.
TELL_AFTER = 5.0
#: Seconds of silence after which an agent counts as lost: time to restart it, or for a network to
#: come back.
PATIENCE = 30.0
#: How often a task is sent again because its QPU agent was restarted or had dropped its program.
MAX_RESENDS = 5

#: Tasks that follow each other at once are sent together, up to this many.
_BURST = 32

#: Bytes of a session's id at the beginning of a task's.
_SESSION = 8

_POLLIN = int(zmq.POLLIN)


def _number(task: bytes) -> int:
    """The number of a task within its session."""
    return int.from_bytes(task[_SESSION:], "big")


@dataclass(slots=True, eq=False)
class _Pending:
    """A task sent and not answered: all that is needed to send it again."""

    future: Future[Any]
    request: Request
    handle: _Handle
    deadline: float | None
    sent: float
    size: int = 0
    resends: int = 0
    cancelled: bool = False

    @property
    def uplink(self) -> _Uplink:
        return self.handle.uplink


@dataclass(slots=True, eq=False)
class _Uplink:
    """One of the job's QPUs: the socket to it and what this process knows of it.

    Attributes:
        in_flight, size: unanswered tasks, and the bytes of their messages.
        version: of the protocol that is spoken on it.
        taken, taken_size: numbers of the answers that are to be acknowledged, and their bytes.
        resyncing: tasks of the last resync that were due.
        asked: when the first question went out that nothing was heard after; None if nothing is
            open.
        trouble: what the node agent says of the QPU agent. told: whether the user knows.
    """

    lease: Lease
    capabilities: Capabilities
    window: int
    socket: zmq.Socket[bytes]
    version: int = SPOKEN.newest
    in_flight: int = 0
    size: int = 0
    programs: set[bytes] = field(default_factory=set)
    taken: list[int] = field(default_factory=list)
    taken_size: int = 0
    resyncing: list[bytes] = field(default_factory=list)
    asked: float | None = None
    trouble: OpenQSEError | None = None
    told: bool = False

    def frames(self, message: Message, task: bytes) -> list[Frame]:
        """A message of this session under its lease."""
        lease = self.lease
        return message.frames(
            task, lease=lease.id, generation=lease.generation, version=self.version
        )


def _is_of(uplink: _Uplink | None, pending: _Pending) -> bool:
    return pending.uplink is uplink


class Connection:
    """This process's session with the node agent, shared by its QPU handles."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._users = 0
        self._lock = threading.Lock()
        self._credit = threading.Lock()  # guards what of the uplinks' windows is in use
        self._ended: deque[Future[Any]] = deque()  # whose callbacks are to be called
        self._told = threading.Condition()
        self._listening = 0
        self._outbox: deque[tuple[zmq.Socket[bytes], list[Frame]]] = deque()
        self._pending: dict[bytes, _Pending] = {}
        self._process = 0  # this one, as the node agent knows it
        self._uplinks: dict[str, _Uplink] = {}
        self._last_asked = time.monotonic()
        self._node_asked: float | None = None
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
        limits.apply(socket, linger_ms=200, unsent=0)
        socket.setsockopt(zmq.RCVTIMEO, int(ASK_EVERY * 1000))
        socket.connect(f"ipc://{path}")
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def _hello(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:  # an agent that is restarted meanwhile has not heard it
            self._control.send_multipart(Hello(SPOKEN).frames(b"hello"))
            left = deadline - time.monotonic()
            if self._control.poll(math.ceil(max(0.0, min(left, ASK_EVERY)) * 1000)):
                break
            if left <= ASK_EVERY:
                raise self._no_answer(timeout)
        frames = self._control.recv_multipart()
        if decode_header(frames).kind == Kind.ERROR:
            raise Failure.of(frames).error
        welcome = Welcome.of(frames)
        self._process = welcome.process
        for held in welcome.leases:
            if held.version not in SPOKEN:  # a node agent of the release before does not choose
                raise ProtocolError(
                    f"the node agent wants protocol version {held.version} spoken with {held.qpu}; "
                    f"this program speaks {SPOKEN}",
                    remedy="Install the same release of openqse in the program and in the agents",
                )
            lease = Lease(held.id, held.qpu, held.slots, held.mode, held.generation)
            capabilities = Capabilities.from_wire(dict(held.capabilities))
            socket = self._connect(held.socket)
            self._uplinks[lease.qpu] = _Uplink(
                lease, capabilities, welcome.window, socket, held.version
            )

    @staticmethod
    def _no_answer(seconds: float) -> AgentUnavailable:
        return AgentUnavailable(
            f"the node agent has not answered for {seconds:g} s",
            layer="node agent",
            remedy="Ask the administrator to check openqse-node-agent on this node",
        )

    @property
    def qpus(self) -> list[str]:
        """Names of the job's QPUs."""
        return list(self._uplinks)

    def open(self, name: str | None) -> QPU | None:
        """A handle to one of the job's QPUs: that of this name, or the only one; None if there is
        no such."""
        if name is None and len(self._uplinks) == 1:
            (name,) = self._uplinks
        uplink = self._uplinks.get(name or "")
        if uplink is None:
            return None
        self._users += 1
        return QPU(uplink.lease.qpu, uplink.capabilities, _Handle(self, uplink), uplink.lease)

    # --- sending ---------------------------------------------------------------------------------

    def submit(self, handle: _Handle, request: Request, future: Future[Any], more: bool) -> None:
        """Sends a task, with ``more`` not before others follow; waits while the window is full."""
        uplink, now = handle.uplink, time.monotonic()
        deadline = None if request.timeout is None else now + request.timeout
        pending = _Pending(future, request, handle, deadline, now)
        if not self._use(uplink, lambda: uplink.in_flight < uplink.window, deadline, tasks=1):
            raise self._window_full(f"{uplink.window} tasks")
        try:
            frames = self._frames(pending)
            size = sum(map(len, frames))

            def fits() -> bool:
                return not uplink.size or uplink.size + size <= limits.BYTES_IN_FLIGHT

            if not fits():
                self._send_out()
            if not self._use(uplink, fits, deadline, size=size):
                raise self._window_full(f"{uplink.size} bytes of tasks")
        except BaseException:
            self._free(uplink, tasks=1)
            raise
        pending.size = size
        self._pending[future.key] = pending
        self._outbox.append((uplink.socket, frames))
        if not more or len(self._outbox) >= _BURST:
            self._send_out()

    def _use(
        self,
        uplink: _Uplink,
        fits: Callable[[], bool],
        deadline: float | None,
        *,
        tasks: int = 0,
        size: int = 0,
    ) -> bool:
        """Waits until something fits into a window and takes its place there; False if too late."""
        while True:
            with self._credit:
                if fits():
                    uplink.in_flight += tasks
                    uplink.size += size
                    return True
            left = None if deadline is None else deadline - time.monotonic()
            if not self.wait(fits, left if left is None else max(0.0, left)):
                return False

    def _free(self, uplink: _Uplink, *, tasks: int = 0, size: int = 0) -> None:
        with self._credit:
            uplink.in_flight -= tasks
            uplink.size -= size

    @staticmethod
    def _window_full(what: str) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"{what} are unanswered and none ended within the timeout",
            remedy="Wait for results before submitting more, or allow more time",
        )

    def _frames(self, pending: _Pending) -> list[Frame]:
        request, uplink = pending.request, pending.uplink
        work, lease = request.work, uplink.lease
        program = None if work.program in uplink.programs else request.program
        if program is not None:
            limits.check_program(len(program.data))
        taken, uplink.taken, uplink.taken_size = uplink.taken, [], 0
        body, buffers = encode_task(TaskRequest(work, program, self._process, taken))
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
            version=uplink.version,
        )
        frames = encode(head, body, buffers)
        if program is not None:
            uplink.programs.add(work.program)
        return frames

    def cancel(self, future: Future[Any]) -> None:
        """Asks that a task be cancelled."""
        pending = self._pending.get(future.key)
        if pending is not None:
            pending.cancelled = True
            self._post(pending.uplink.socket, self._cancellation(pending))

    @staticmethod
    def _cancellation(pending: _Pending) -> list[Frame]:
        return pending.uplink.frames(Cancel(), pending.future.key)

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
        left = ASK_EVERY if timeout is None else max(0.0, min(ASK_EVERY, timeout))
        while True:
            if self._lock.acquire(blocking=False):
                try:
                    if not ready():
                        self._pump(left, ready)
                finally:
                    self._lock.release()
                self._notify()
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
                left = min(ASK_EVERY, deadline - time.monotonic())
                if left <= 0:
                    return False
        self._send_out()  # what another thread may have left
        return True

    def _notify(self) -> None:
        """Calls the callbacks of what has ended; nobody may hold the sockets meanwhile, since they
        may wait for other futures."""
        while self._ended:
            try:
                future = self._ended.popleft()
            except IndexError:  # another thread was faster
                return
            future.notify()

    def _pump(self, timeout: float, ready: Callable[[], object]) -> None:
        """Takes in what has arrived, waiting for it up to ``timeout`` seconds."""
        self._flush()
        timeout = min(timeout, self._until_asked())
        if len(self._uplinks) == 1 and timeout == ASK_EVERY and threading.active_count() == 1:
            # Nobody else to listen to: a plain receive is cheaper than a poll.
            (uplink,) = self._uplinks.values()
            try:
                self._receive(uplink.socket.recv_multipart(), uplink)
            except zmq.Again:
                self._drain(self._control, None, lambda: False)
            else:
                self._drain(uplink.socket, uplink, ready)
        else:
            ready_now = {socket for socket, _ in self._poller.poll(math.ceil(timeout * 1000))}
            if self._wake in ready_now:
                os.eventfd_read(self._wake)
                self._flush()
            if self._control in ready_now:
                self._drain(self._control, None, lambda: False)
            for uplink in self._uplinks.values():
                if uplink.socket in ready_now:
                    self._drain(uplink.socket, uplink, lambda: False)
        now = time.monotonic()
        if now - self._last_asked >= self._until_asked() * 0.9 and not ready():
            self._last_asked = now
            self._ask(now)

    def _drain(
        self, socket: zmq.Socket[bytes], uplink: _Uplink | None, ready: Callable[[], object]
    ) -> None:
        """Takes in what a socket has, until ``ready()``."""
        while not ready() and int(socket.getsockopt(zmq.EVENTS)) & _POLLIN:
            self._receive(socket.recv_multipart(), uplink)

    # --- asking ----------------------------------------------------------------------------------

    def _until_asked(self) -> float:
        """Seconds from one question to the next."""
        silent = any(uplink.asked is not None for uplink in self._uplinks.values())
        return min(ASK_AGAIN, ASK_EVERY) if silent else ASK_EVERY

    def _ask(self, now: float) -> None:
        """Asks after what has been unanswered for long; gives up what has been for too long."""
        unanswered: dict[str, list[_Pending]] = {}
        for pending in list(self._pending.values()):
            unanswered.setdefault(pending.uplink.lease.qpu, []).append(pending)
        for name, all_pending in unanswered.items():
            uplink = self._uplinks[name]
            old = [p.future.key for p in all_pending if now - p.sent >= ASK_EVERY * 0.9]
            if not old:
                continue
            if uplink.asked is None:
                uplink.asked = now
            silence = now - uplink.asked
            if silence >= PATIENCE:
                self._fail(partial(_is_of, uplink), self._lost(uplink))
                uplink.asked = None
                continue
            if silence >= TELL_AFTER:
                self._tell(uplink)
            if silence > 0:  # is it the node agent, the QPU agent, or the lease?
                if self._node_asked is None:
                    self._node_asked = now
                self._control.send_multipart(Ping().frames(name.encode(), lease=uplink.lease.id))
            uplink.resyncing = old
            numbers = tuple(_number(p.future.key) for p in all_pending)
            send(uplink.socket, uplink.frames(Resync(numbers), old[0][:_SESSION]))

    def _tell(self, uplink: _Uplink) -> None:
        """Tells the user, once for each silence, what the program waits for."""
        if not os.path.exists(self._path):
            self._fail(
                lambda pending: True,
                NoLease(
                    "the job's sockets on this node are gone",
                    layer="node agent",
                    remedy="The job has ended or its leases were revoked; submit it again",
                ),
            )
        elif not uplink.told:
            uplink.told = True
            log.warning("%s; waiting up to %d s for it", self._lost(uplink).message, PATIENCE)

    def _lost(self, uplink: _Uplink) -> OpenQSEError:
        """The error that says who does not answer."""
        now = time.monotonic()
        if self._node_asked is not None and now - self._node_asked >= min(TELL_AFTER, PATIENCE) / 2:
            return self._no_answer(now - self._node_asked)
        return uplink.trouble or AgentUnavailable(
            f"the QPU agent of {uplink.lease.qpu} has not answered for "
            f"{now - (uplink.asked or now):.0f} s",
            layer="QPU agent",
            remedy="Ask the administrator to check the network between this node and its host",
        )

    def _resynced(self, uplink: _Uplink, head: Header, frames: list[bytes]) -> None:
        """Sends again what was due of a resync and the QPU agent neither runs nor has answered."""
        waiting = set(Resynced.of(frames).waiting)
        due, uplink.resyncing = uplink.resyncing, []
        self._renew(uplink, head.generation)
        for task in due:
            pending = self._pending.get(task)
            if pending is None:
                continue
            if _number(task) not in waiting:
                send(uplink.socket, self._frames(pending))
            if pending.cancelled:
                send(uplink.socket, self._cancellation(pending))

    # --- receiving -------------------------------------------------------------------------------

    def _receive(self, frames: list[bytes], uplink: _Uplink | None) -> None:
        """Takes in a message of a QPU agent, or of the node agent if ``uplink`` is None."""
        if uplink is None:
            self._node_asked = None
        else:
            uplink.asked, uplink.trouble, uplink.told = None, None, False
        try:
            head = decode_header(frames)
            if head.kind == Kind.BUNDLE:
                for message in unbundle(frames):
                    self._take(decode_header(message), message, uplink)
            else:
                self._take(head, frames, uplink)
        except OpenQSEError as error:
            self._fail(lambda pending: True, error)

    def _take(self, head: Header, frames: list[bytes], uplink: _Uplink | None) -> None:
        if uplink is None:
            self._from_node(head, frames)
        elif head.kind == Kind.RESULT:
            self._count_taken(uplink, head.task, frames)
            self._resolve(head.task, decode_outcome(frames))
        elif head.kind == Kind.ERROR:
            self._count_taken(uplink, head.task, frames)
            self._failed(uplink, head.task, Failure.of(frames).error)
        elif head.kind == Kind.RESYNCED:
            self._resynced(uplink, head, frames)
        else:
            raise ProtocolError(f"unexpected {head.kind!r} from a QPU agent")

    def _from_node(self, head: Header, frames: list[bytes]) -> None:
        if head.kind == Kind.WELCOME:
            return  # to a greeting that was repeated
        uplink = self._uplinks.get(head.task.decode(errors="replace"))
        if head.kind == Kind.PONG and uplink is not None:
            uplink.trouble = None
            self._renew(uplink, head.generation)
        elif head.kind == Kind.ERROR:
            error = Failure.of(frames).error
            if uplink is not None and isinstance(error, AgentUnavailable):
                uplink.trouble = error  # it may come back
            else:
                self._fail(lambda pending: uplink in (None, pending.uplink), error)
        else:
            raise ProtocolError(f"unexpected {head.kind!r} from the node agent")

    def _count_taken(self, uplink: _Uplink, task: bytes, frames: list[bytes]) -> None:
        """Notes that the QPU agent may forget an answer, and says so where it is large."""
        uplink.taken.append(_number(task))
        uplink.taken_size += sum(map(len, frames))
        if uplink.taken_size >= limits.ACKNOWLEDGE_BYTES:
            self._acknowledge(uplink, task[:_SESSION])

    @staticmethod
    def _acknowledge(uplink: _Uplink, session: bytes) -> None:
        taken, uplink.taken, uplink.taken_size = uplink.taken, [], 0
        send(uplink.socket, uplink.frames(Acknowledge(tuple(taken)), session))

    def _failed(self, uplink: _Uplink, task: bytes, error: OpenQSEError) -> None:
        pending = self._pending.get(task)
        if pending is None:
            if isinstance(error, StaleLease):  # the answer to a resync, or to a cancellation
                self._renew(uplink, int(error.details.get("generation", 0)))
            elif len(task) <= _SESSION:  # to a resync, or to what could not be read
                self._fail(partial(_is_of, uplink), error)
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
        if pending.cancelled:
            send(pending.uplink.socket, self._cancellation(pending))

    def _resolve(self, task: bytes, outcome: Any) -> None:
        pending = self._pending.pop(task, None)
        if pending is not None:  # else a second answer to a task that was sent twice
            self._free(pending.uplink, tasks=1, size=pending.size)
            pending.future.resolve(outcome)
            self._ended.append(pending.future)

    def _fail(self, which: Callable[[_Pending], bool], error: OpenQSEError) -> None:
        for task in [task for task, pending in self._pending.items() if which(pending)]:
            self._resolve(task, error)

    # --- ending ----------------------------------------------------------------------------------

    def close(self, handle: _Handle) -> None:
        """Cancels a handle's unfinished tasks; the last one hangs up."""
        for pending in list(self._pending.values()):
            if pending.handle is handle:
                self.cancel(pending.future)
        with self._lock:
            self._flush()
            if handle.uplink.taken:
                self._acknowledge(handle.uplink, session_id())
            self._fail(
                lambda pending: pending.handle is handle,
                TaskCancelled("the connection was closed before the task ended"),
            )
        self._notify()
        with _opening:
            self._users -= 1
            self.hang_up_unused()

    def hang_up_unused(self) -> None:
        """Ends the connection if no handle uses it; to be called by whoever holds ``_opening``."""
        if self._users == 0:
            self._hang_up()

    def _hang_up(self) -> None:
        if _connections.get(self._path) is self:
            del _connections[self._path]
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
        self.uplink = uplink
        self.wait = connection.wait
        self.cancel = connection.cancel

    def submit(self, request: Request, future: Future[Any], more: bool) -> None:
        if self._connection is None:
            raise TaskCancelled(f"the connection to {self.uplink.lease.qpu} was closed")
        self._connection.submit(self, request, future, more)

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close(self)


_connections: dict[str, Connection] = {}
_opening = threading.RLock()  # guards them, and how many handles use each


def _forget_parents() -> None:
    """A forked child must not use its parent's sockets."""
    global _opening
    _opening = threading.RLock()
    _connections.clear()


os.register_at_fork(after_in_child=_forget_parents)


def open_qpu(path: str, name: str | None, timeout: float) -> tuple[QPU | None, list[str]]:
    """A handle to one of the job's QPUs by the process's connection to the node agent at ``path``,
    which is made if there is none; None if the job has no QPU of this name, or several where none
    is named. And the names of those it has.

    Raises:
        AgentUnavailable: no answer within ``timeout`` seconds. OpenQSEError: as the agent says.
    """
    with _opening:
        connection = _connections.get(path)
        if connection is None:
            connection = _connections[path] = Connection(path, timeout)
        qpu = connection.open(name)
        connection.hang_up_unused()
        return qpu, connection.qpus
