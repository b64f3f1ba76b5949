"""The way to a job's QPUs through the node agent: sockets and threads.

A process has one socket for each QPU, on which tasks go out and results come in, and one on which
the node agent itself says what the job holds and who is alive. Nobody but the callers drives them:
whoever waits for a result takes in what arrives, so a result costs no second wake-up in a
background thread. Of several waiting threads one takes in and the others are told.

``recovery`` decides what to do about loss and silence, ``window`` how much may be under way.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import zmq

from openqse.client import recovery
from openqse.client.futures import Future, Request
from openqse.client.link import Link, Pending, greet, no_answer
from openqse.client.outbox import Outbox
from openqse.client.qpu import QPU, Lease
from openqse.client.recovery import (
    Action,
    AskNode,
    AskTasks,
    CancelAgain,
    End,
    ForgetPrograms,
    GiveUp,
    Recovery,
    Resend,
    Silent,
)
from openqse.client.window import Window, window_full
from openqse.device import Capabilities
from openqse.errors import (
    AgentUnavailable,
    NoLease,
    OpenQSEError,
    ProtocolError,
    TaskCancelled,
)
from openqse.wire import limits
from openqse.wire.control import Failure
from openqse.wire.frames import decode_header, send, unbundle
from openqse.wire.leases import HeldLease, Ping, Welcome
from openqse.wire.messages import Header, Kind
from openqse.wire.task_ids import number_of, session_id, session_of
from openqse.wire.tasks import Resync, Resynced, decode_outcome

log = logging.getLogger("openqse")

#: Tasks that follow each other at once are sent together, up to this many.
_BURST = 32

_POLLIN = int(zmq.POLLIN)


class Connection:
    """This process's session with the node agent, shared by its QPU handles."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._users = 0
        self._lock = threading.Lock()
        self._ended: deque[Future[Any]] = deque()  # whose callbacks are to be called
        self._told = threading.Condition()
        self._listening = 0
        self._outbox = Outbox()
        self._links: dict[str, Link] = {}
        self._last_looked = time.monotonic()
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
            welcome = greet(self._control, timeout)
            for held in welcome.leases:
                self._links[held.qpu] = self._link(held, welcome)
        except BaseException:
            self._hang_up()
            raise

    def _connect(self, path: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        limits.apply(socket, linger_ms=200, unsent=0)
        socket.setsockopt(zmq.RCVTIMEO, int(recovery.ASK_EVERY * 1000))
        socket.connect(f"ipc://{path}")
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def _link(self, held: HeldLease, welcome: Welcome) -> Link:
        return Link(
            held,
            Capabilities.from_wire(dict(held.capabilities)),
            self._connect(held.socket),
            welcome.process,
            Window(welcome.window),
            Recovery(held.generation),
        )

    @property
    def qpus(self) -> list[str]:
        """Names of the job's QPUs."""
        return list(self._links)

    def open(self, name: str | None) -> QPU | None:
        """A handle to one of the job's QPUs: that of this name, or the only one; None if there is
        no such."""
        if name is None and len(self._links) == 1:
            (name,) = self._links
        link = self._links.get(name or "")
        if link is None:
            return None
        self._users += 1
        held = link.held
        lease = Lease(held.id, held.qpu, held.slots, held.mode, link.recovery.generation)
        return QPU(held.qpu, link.capabilities, _Handle(self, link), lease)

    # --- sending ---------------------------------------------------------------------------------

    def submit(self, handle: _Handle, request: Request, future: Future[Any], more: bool) -> None:
        """Sends a task, with ``more`` not before others follow; waits while the window is full."""
        link, now = handle.link, time.monotonic()
        window = link.window
        deadline = None if request.timeout is None else now + request.timeout
        pending = Pending(future, request, handle, deadline, now)
        if not (window.take_place() or self._take(window.take_place, window.has_place, deadline)):
            raise window_full(f"{window.allowed} tasks")
        try:
            frames = link.task_frames(pending)
            size = sum(map(len, frames))
            if not window.take_room(size):
                self._send_out()  # what is waited for may not have gone out yet
                room = partial(window.take_room, size), partial(window.has_room, size)
                if not self._take(*room, deadline):
                    raise window_full(f"{window.size} bytes of tasks")
        except BaseException:
            window.free()
            raise
        pending.size = size
        link.pending[future.key] = pending
        self._outbox.add(link.socket, frames)
        if not more or len(self._outbox.ready) >= _BURST:
            self._send_out()

    def _take(
        self, take: Callable[[], bool], fits: Callable[[], bool], deadline: float | None
    ) -> bool:
        """Takes something of a window, waiting until it fits; False if that is too late."""
        while not take():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self.wait(fits, left):
                return False
        return True

    def cancel(self, link: Link, future: Future[Any]) -> None:
        """Asks that a task be cancelled."""
        pending = link.pending.get(future.key)
        if pending is not None:
            pending.cancelled = True
            self._outbox.add(link.socket, link.cancellation(pending))
            self._send_out()

    def _send_out(self) -> None:
        """Sends now, or leaves it to the thread that holds the sockets and wakes that."""
        while self._outbox.ready:
            if not self._lock.acquire(blocking=False):
                os.eventfd_write(self._wake, 1)
                return
            try:
                self._outbox.flush()
            finally:
                self._lock.release()

    # --- waiting ---------------------------------------------------------------------------------

    def wait(self, ready: Callable[[], object], timeout: float | None) -> bool:
        """Takes in results until ``ready()`` holds; False if ``timeout`` seconds passed first."""
        if ready():
            return True
        now, most = time.monotonic(), recovery.ASK_EVERY
        deadline = None if timeout is None else now + timeout
        left = most if timeout is None else max(0.0, min(most, timeout))
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
                left = min(most, deadline - time.monotonic())
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
        self._outbox.flush()
        timeout = min(timeout, self._until_look())
        alone = len(self._links) == 1 and threading.active_count() == 1
        if alone and timeout == recovery.ASK_EVERY:
            self._receive_alone(ready)
        else:
            self._receive_any(timeout)
        now = time.monotonic()
        if now - self._last_looked >= self._until_look() * 0.9 and not ready():
            self._last_looked = now
            for link in self._links.values():
                self._act(link, link.recovery.look(now, link.sent()))

    def _receive_alone(self, ready: Callable[[], object]) -> None:
        """There is nobody else to listen to: a plain receive is cheaper than a poll."""
        (link,) = self._links.values()
        try:
            self._receive(link.socket.recv_multipart(), link)
        except zmq.Again:
            self._drain(self._control, None, lambda: False)
        else:
            self._drain(link.socket, link, ready)

    def _receive_any(self, timeout: float) -> None:
        ready = {socket for socket, _ in self._poller.poll(math.ceil(timeout * 1000))}
        if self._wake in ready:
            os.eventfd_read(self._wake)
            self._outbox.flush()
        if self._control in ready:
            self._drain(self._control, None, lambda: False)
        for link in self._links.values():
            if link.socket in ready:
                self._drain(link.socket, link, lambda: False)

    def _drain(
        self, socket: zmq.Socket[bytes], link: Link | None, ready: Callable[[], object]
    ) -> None:
        """Takes in what a socket has, until ``ready()``."""
        while not ready() and int(socket.getsockopt(zmq.EVENTS)) & _POLLIN:
            self._receive(socket.recv_multipart(), link)

    # --- receiving -------------------------------------------------------------------------------

    def _receive(self, frames: list[bytes], link: Link | None) -> None:
        """Takes in a message of a QPU agent, or of the node agent if ``link`` is None."""
        if link is None:
            self._node_asked = None
        else:
            link.recovery.heard()
            link.trouble = None
        try:
            head = decode_header(frames)
            if head.kind == Kind.BUNDLE:
                for message in unbundle(frames):
                    self._take_in(decode_header(message), message, link)
            else:
                self._take_in(head, frames, link)
        except OpenQSEError as error:
            self._fail(self._links.values(), error)

    def _take_in(self, head: Header, frames: list[bytes], link: Link | None) -> None:
        if link is None:
            self._from_node(head, frames)
        elif head.kind == Kind.RESULT:
            link.note(head.task, sum(map(len, frames)))
            self._resolve(link, head.task, decode_outcome(frames))
        elif head.kind == Kind.ERROR:
            link.note(head.task, sum(map(len, frames)))
            pending = link.pending.get(head.task)
            resends = 0 if pending is None else pending.resends
            error = Failure.of(frames).error
            self._act(link, link.recovery.failed(head.task, error, resends, link.pending))
        elif head.kind == Kind.RESYNCED:
            waiting = set(Resynced.of(frames).waiting)
            self._act(link, link.recovery.resynced(head.generation, waiting, link.pending))
        else:
            raise ProtocolError(f"unexpected {head.kind!r} from a QPU agent")

    def _from_node(self, head: Header, frames: list[bytes]) -> None:
        if head.kind == Kind.WELCOME:
            return  # to a greeting that was repeated
        link = self._links.get(head.task.decode(errors="replace"))
        if head.kind == Kind.PONG and link is not None:
            link.trouble = None
            self._act(link, link.recovery.renewed(head.generation, link.pending))
        elif head.kind == Kind.ERROR:
            error = Failure.of(frames).error
            if link is not None and isinstance(error, AgentUnavailable):
                link.trouble = error  # it may come back
            else:
                self._fail(self._links.values() if link is None else [link], error)
        else:
            raise ProtocolError(f"unexpected {head.kind!r} from the node agent")

    # --- recovering ------------------------------------------------------------------------------

    def _until_look(self) -> float:
        """Seconds from one look at what is unanswered to the next."""
        silent = any(link.recovery.open_since is not None for link in self._links.values())
        return min(recovery.ASK_AGAIN, recovery.ASK_EVERY) if silent else recovery.ASK_EVERY

    def _act(self, link: Link, actions: Iterable[Action]) -> None:
        """Carries out what recovery has decided."""
        for action in actions:
            match action:
                case AskTasks(tasks):
                    asked = Resync(tuple(map(number_of, tasks)))
                    send(link.socket, link.frames(asked, session_of(tasks[0])))
                case AskNode():
                    self._ask_node(link)
                case Silent(first):
                    self._tell(link, first)
                case GiveUp(silence):
                    self._fail([link], self._lost(link, silence))
                case ForgetPrograms(None):
                    link.programs.clear()
                case ForgetPrograms(bytes() as task) if task in link.pending:
                    link.programs.discard(link.pending[task].request.work.program)
                case Resend(tasks, counted):
                    self._resend(link, tasks, counted)
                case CancelAgain(tasks):
                    for pending in filter(None, map(link.pending.get, tasks)):
                        if pending.cancelled:
                            send(link.socket, link.cancellation(pending))
                case End(error, None):
                    self._fail([link], error)
                case End(error, bytes() as task):
                    self._resolve(link, task, error)

    def _ask_node(self, link: Link) -> None:
        if self._node_asked is None:
            self._node_asked = time.monotonic()
        self._control.send_multipart(Ping().frames(link.qpu.encode(), lease=link.held.id))

    def _resend(self, link: Link, tasks: Iterable[bytes], counted: bool) -> None:
        for pending in filter(None, map(link.pending.get, tasks)):
            pending.resends += counted
            send(link.socket, link.task_frames(pending))
            if pending.cancelled:
                send(link.socket, link.cancellation(pending))

    def _tell(self, link: Link, first: bool) -> None:
        """Tells the user, the first time in a silence, what the program waits for."""
        if not os.path.exists(self._path):
            gone = NoLease(
                "the job's sockets on this node are gone",
                layer="node agent",
                remedy="The job has ended or its leases were revoked; submit it again",
            )
            self._fail(self._links.values(), gone)
        elif first:
            now = time.monotonic()
            why = self._lost(link, now - (link.recovery.open_since or now)).message
            log.warning("%s; waiting up to %d s for it", why, recovery.PATIENCE)

    def _lost(self, link: Link, silence: float) -> OpenQSEError:
        """The error that says who does not answer."""
        if self._node_asked is not None:
            node_silence = time.monotonic() - self._node_asked
            if node_silence >= min(recovery.TELL_AFTER, recovery.PATIENCE) / 2:
                return no_answer(node_silence)
        return link.lost(silence)

    # --- ending ----------------------------------------------------------------------------------

    def _resolve(self, link: Link, task: bytes, outcome: Any) -> None:
        pending = link.pending.pop(task, None)
        if pending is not None:  # else a second answer to a task that was sent twice
            link.window.free(pending.size)
            pending.future.resolve(outcome)
            self._ended.append(pending.future)

    def _fail(
        self, links: Iterable[Link], error: OpenQSEError, owner: object | None = None
    ) -> None:
        """Ends all tasks of some links, or those of one handle."""
        for link in links:
            for task, pending in list(link.pending.items()):
                if owner is None or pending.owner is owner:
                    self._resolve(link, task, error)

    def close(self, handle: _Handle) -> None:
        """Cancels a handle's unfinished tasks; the last one hangs up."""
        link = handle.link
        for pending in list(link.pending.values()):
            if pending.owner is handle:
                self.cancel(link, pending.future)
        with self._lock:
            self._outbox.flush()
            if link.receipts:
                send(link.socket, link.acknowledgement(session_id()))
            closed = TaskCancelled("the connection was closed before the task ended")
            self._fail([link], closed, handle)
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

    def __init__(self, connection: Connection, link: Link) -> None:
        self._connection: Connection | None = connection
        self.link = link
        self.wait = connection.wait
        self.cancel = partial(connection.cancel, link)

    def submit(self, request: Request, future: Future[Any], more: bool) -> None:
        if self._connection is None:
            raise TaskCancelled(f"the connection to {self.link.qpu} was closed")
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
