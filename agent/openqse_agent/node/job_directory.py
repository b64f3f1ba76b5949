"""A job's private directory on its node: the agent's socket, and one for each of the job's QPUs."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from openqse_agent.node import hooks
from openqse_agent.node.job_socket import JobSocket
from openqse_agent.node.jobs import Job
from openqse_agent.node.relays import Relay
from openqse_agent.poller import Poller

log = logging.getLogger("node-agent")


class JobDirectory:
    """The directory of an attached job, for its user alone.

    Args:
        path: where it is to be.
        staging: a folder on the same file system that nobody else can enter: sockets are made there
            and moved to their places.
        from_ranks: called when the job's ranks have said something to the agent.

    Attributes:
        socket: the agent's own. relays: those to the QPU agents, by QPU.

    Raises:
        OSError, zmq.ZMQError: it cannot be made; nothing is left of it.
    """

    def __init__(
        self,
        path: Path,
        staging: Path,
        job: Job,
        poller: Poller,
        from_ranks: Callable[[JobDirectory], None],
    ) -> None:
        self.job = job
        self.path = path
        self._staging = staging
        self._poller = poller
        self.relays: dict[str, Relay] = {}
        path.mkdir(mode=0o700)
        try:
            self.socket = self._open_socket(path / hooks.SOCKET)
            os.chown(path, job.uid, job.gid)  # last: until now nobody else can enter
        except BaseException:
            discard(path, staging)
            raise
        poller.watch(self.socket.router, partial(from_ranks, self))

    def _open_socket(self, path: Path) -> JobSocket:
        opened = JobSocket(path, self._staging, self.job.id, self.job.uid, self.job.gid)
        for ready, handler in opened.handlers.items():
            self._poller.watch(ready, handler)
        return opened

    def open_relay(self, qpu: str, open_relay: Callable[[JobSocket], Relay]) -> None:
        """Makes the job's socket to a QPU agent; one that is there already stays.

        Args:
            open_relay: connects the socket.

        Raises:
            OSError, zmq.ZMQError: it cannot be made.
        """
        if qpu not in self.relays:
            self.relays[qpu] = open_relay(self._open_socket(self.path / f"{qpu}.sock"))

    def close_relay(self, qpu: str) -> None:
        """Removes the job's socket to a QPU agent, if there is one."""
        relay = self.relays.pop(qpu, None)
        if relay is not None:
            self._unwatch(relay.socket)
            relay.close()

    def close(self) -> None:
        """Closes the sockets; what is on its way is dropped. The directory stays."""
        for qpu in list(self.relays):
            self.close_relay(qpu)
        self._unwatch(self.socket)
        self._poller.unwatch(self.socket.router)
        self.socket.router.close(linger=0)
        self.socket.close()

    def remove(self) -> None:
        """Closes the sockets and removes the directory."""
        self.close()
        discard(self.path, self._staging)

    def _unwatch(self, closing: JobSocket) -> None:
        for ready in closing.handlers:
            self._poller.unwatch(ready)

    def send(self, session: bytes, frames: list[Any]) -> None:
        """Answers a rank."""
        self.socket.router.send_multipart([session, *frames])

    def receive(self) -> tuple[zmq.Frame, list[bytes]] | None:
        """A rank's message: the first frame, which names its session and tells who sent it, and the
        others; None if there is none."""
        router = self.socket.router
        try:
            return router.recv(zmq.NOBLOCK, copy=False), router.recv_multipart()
        except zmq.ZMQError:  # nothing more, or closed by an answer to the last one
            return None


def discard(directory: Path, staging: Path) -> None:
    """Removes a job's directory, whatever its user has made of it.

    First it goes where that user can add nothing to it; what cannot be removed stays there.
    """
    aside = staging / f"{directory.name}-{secrets.token_hex(4)}"
    try:
        os.rename(directory, aside)
    except OSError as error:
        log.error("%s stays: %s", directory, error)
        return
    remove(aside)


def remove(directory: Path) -> None:
    """Removes a directory, or as much of it as can be removed."""
    try:
        shutil.rmtree(directory, ignore_errors=True)
    except RecursionError:  # a user has nested folders a thousand deep
        log.error("%s cannot be removed, it is too deep: rm -r does it", directory)
