"""A job's socket on its node: who may speak there, who is connected, and how many may be.

libzmq accepts connections and makes no end of it. Its monitor says which there are, by their
descriptors, and the kernel whose they are. Beyond ``limits.CONNECTIONS_PER_JOB`` a process that has
as many as any other is told at its greeting; at twice as many, which takes a process that does not
greet or does not listen, the one that has the most loses its latest.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from openqse.errors import LimitExceeded
from openqse.wire import limits

log = logging.getLogger("node-agent")

#: Names of sockets that are not in their place yet; none twice, since libzmq removes them late.
_staged = count(1)
#: News of connections taken in before other sockets get their turn.
_DRAIN = 128

_NEWS = "inproc://news"
_POLLIN = int(zmq.POLLIN)


class JobSocket:
    """One socket of a job.

    It has a ZeroMQ context of its own, so that whoever floods it slows nobody else: its thread
    waits until its news has been read.

    Args:
        path: where the job's ranks look for it.
        staging: folder on the same file system that nobody but this agent can enter.
        job_id, uid, gid: whose it is.

    Attributes:
        router: the socket itself.
        handlers: what to call when which of its other sockets can be read.

    Raises:
        OSError, zmq.ZMQError: it cannot be made.
    """

    def __init__(self, path: Path, staging: Path, job_id: int, uid: int, gid: int) -> None:
        self.path = path
        self._job_id = job_id
        self._uid = uid
        self._processes: dict[int, int] = {}  # by descriptor, the earliest first
        self._counts: Counter[int] = Counter()
        self._complained = False
        self._address = staging / str(next(_staged))
        self.context: zmq.Context[Any] = zmq.Context()
        try:
            self._zap: zmq.Socket[bytes] = self.context.socket(zmq.REP)
            self._zap.bind("inproc://zeromq.zap.01")
            self.router: zmq.Socket[bytes] = self.context.socket(zmq.ROUTER)
            limits.apply(self.router, unsent=limits.MESSAGES_UNREAD)
            self.router.setsockopt(zmq.ZAP_DOMAIN, str(job_id).encode())
            self.router.monitor(_NEWS, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
            self._news: zmq.Socket[bytes] = self.context.socket(zmq.PAIR)
            self._news.connect(_NEWS)
            self.router.bind(f"ipc://{self._address}")
            give(self._address, path, uid, gid)
        except BaseException:
            self.context.destroy(linger=0)
            raise
        self.handlers: dict[zmq.Socket[bytes], Callable[[], None]] = {
            self._zap: self._authenticate,
            self._news: partial(self._take_in, _DRAIN),
        }

    def close(self) -> None:
        """Closes it; what is on its way is dropped. Who uses ``router`` elsewhere is to end.

        Its path stays, for clients to see that the job goes on and to wait for the next run.
        """
        self._zap.close(linger=0)
        self._news.close(linger=0)
        self.context.term()

    # --- who may speak ---------------------------------------------------------------------------

    def _authenticate(self) -> None:
        """Answers libzmq's question whether a peer may speak here (ZAP, RFC 27).

        Messages of a peer that may carry its process id with them, as its user id.
        """
        _, request, _, address, *_ = self._zap.recv_multipart()
        fields = address.decode(errors="replace").split(":")  # localhost:UID:GID:PID
        known = len(fields) == 4 and fields[1].isdigit() and fields[3].isdigit()
        uid = int(fields[1]) if known else -1
        if uid in (self._uid, 0):
            answer = [b"200", b"OK", fields[3].encode()]
        else:
            log.warning("refused a session of uid %d with job %d", uid, self._job_id)
            answer = [b"400", b"not the job's user", b""]
        self._zap.send_multipart([b"1.0", request, *answer, b""])

    # --- who is connected ------------------------------------------------------------------------

    def admit(self, process: int) -> None:
        """Makes sure that a process that greets may have its connection.

        Raises:
            LimitExceeded: the job has too many, and no other process has more than this one.
        """
        self._take_in(len(self._processes) + _DRAIN)
        allowed = limits.CONNECTIONS_PER_JOB
        if len(self._processes) > allowed and self._counts[process] >= max(self._counts.values()):
            raise LimitExceeded(
                f"job {self._job_id} has {allowed} connections to {self.path.name} on this node, "
                f"{self._counts[process] - 1} of them this process",
                layer="node agent",
                remedy="Have fewer processes on a node, or fewer connections in each",
                limit="CONNECTIONS_PER_JOB",
            )

    def _take_in(self, most: int) -> None:
        """Takes in which connections were made and which have ended."""
        for _ in range(most):
            if not int(self._news.getsockopt(zmq.EVENTS)) & _POLLIN:
                return
            news = recv_monitor_message(self._news)
            descriptor = int(news["value"])
            self._remove(descriptor)
            if news["event"] == zmq.Event.ACCEPTED:
                process = self._of(descriptor, peer)
                if process is not None:
                    self._processes[descriptor] = process
                    self._counts[process] += 1
                    if len(self._processes) > 2 * limits.CONNECTIONS_PER_JOB:
                        self._hang_up()

    def _remove(self, descriptor: int) -> None:
        process = self._processes.pop(descriptor, None)
        if process is not None:
            self._counts[process] -= 1
            if not self._counts[process]:
                del self._counts[process]

    def _hang_up(self) -> None:
        """Ends the latest connection of the process that has the most; libzmq notices."""
        greedy = max(self._counts, key=self._counts.__getitem__)
        if not self._complained:
            self._complained = True
            log.warning(
                "process %d of job %d is cut off: it has %d of %d connections to %s",
                greedy,
                self._job_id,
                self._counts[greedy],
                len(self._processes),
                self.path.name,
            )
        latest = next(fd for fd, process in reversed(self._processes.items()) if process == greedy)
        self._of(latest, lambda connection: connection.shutdown(socket.SHUT_RDWR))
        self._remove(latest)

    def _of(self, descriptor: int, what: Callable[[socket.socket], Any]) -> Any:
        """Does something with a connection; None if it has ended.

        libzmq may have closed its descriptor by now, and the number may be something else's. So a
        copy is made, which stays what it is, and asked whether it is connected here.
        """
        with suppress(OSError):
            copy = os.dup(descriptor)
            try:
                connection = socket.socket(fileno=copy)
            except OSError:  # it is no socket any more
                os.close(copy)
                return None
            with connection:
                if connection.getsockname() == str(self._address):
                    return what(connection)
        return None


def peer(connection: socket.socket) -> int:
    """The process at the other end of a Unix socket."""
    process, _, _ = credentials(connection)
    return process


def credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group id of a Unix socket's other end."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", raw)
    return pid, uid, gid


def has_ended(process: int) -> bool:
    """Whether there is no such process any more; one that nobody has reaped has ended too."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # what cannot be looked at is left alone
        return False
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(0))
    finally:
        os.close(descriptor)


def give(staged: Path, path: Path, uid: int, gid: int) -> None:
    """Makes a staged socket its user's, and moves it to its place.

    In this order: the place may be that user's folder, where root must follow nothing by its name.
    """
    os.chmod(staged, 0o600)
    os.chown(staged, uid, gid)
    os.rename(staged, path)
