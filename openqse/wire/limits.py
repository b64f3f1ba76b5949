"""Caps on what crosses a socket. Each is named in the error that exceeding it raises."""

from __future__ import annotations

import zmq

from openqse.errors import LimitExceeded

#: Bytes of the header frame.
MAX_HEADER_BYTES = 4096

#: Frames of one message: header, body and buffers.
MAX_FRAMES = 8

#: Bytes of all frames of one message together.
MAX_MESSAGE_BYTES = 64 * 2**20

#: Bytes of one frame at which the transport hangs up without reading on: beyond it there is no
#: message to answer, only memory to protect.
TRANSPORT_MAX_FRAME_BYTES = 2 * MAX_MESSAGE_BYTES

#: Milliseconds between the transport's own signs of life between hosts; a connection without three
#: of them is given up, so that a host that vanished does not keep its place, and so that one that
#: comes back need not wait for TCP, which tries ever more rarely.
TRANSPORT_HEARTBEAT_MS = 1000

#: Messages that wait in an agent's socket to be read. Beyond them whoever sends has to wait.
MESSAGES_UNREAD = 1000

#: Connections of a job to one of its sockets on a node. Who greets beyond them is told; at twice as
#: many, the process that has the most loses one.
CONNECTIONS_PER_JOB = 1024

#: Messages that wait in an agent's socket for somebody to read them. What is beyond is dropped; a
#: client that lacks a result asks for it.
MESSAGES_UNSENT = 65536

#: Messages and bytes that travel as one where several are ready at once.
MAX_BUNDLE_MESSAGES = 64
MAX_BUNDLE_BYTES = 65536

#: Tasks that one session may have unanswered; further submissions wait in the client.
TASKS_IN_FLIGHT = 256

#: Bytes of the tasks that one session may have unanswered, but that one task may always be.
BYTES_IN_FLIGHT = 2 * MAX_MESSAGE_BYTES

#: Tasks that all sessions of a job together may have unanswered at one QPU.
TASKS_PER_JOB = 65536

#: Processes of a job that a QPU agent tells apart.
SESSIONS_PER_JOB = 4096

#: Bytes of an encoded program, and of those that a QPU agent keeps for a job, least recently used
#: dropped first.
MAX_PROGRAM_BYTES = 16 * 2**20
PROGRAM_BYTES_PER_JOB = 4 * MAX_PROGRAM_BYTES

#: Bytes of results that a session, or all of a job, has been sent and has not acknowledged, from
#: which on its further tasks wait.
SESSION_UNACKNOWLEDGED_BYTES = MAX_MESSAGE_BYTES
JOB_UNACKNOWLEDGED_BYTES = 4 * SESSION_UNACKNOWLEDGED_BYTES

#: Bytes of results after which a client acknowledges them though it has nothing to send.
ACKNOWLEDGE_BYTES = 2**20

#: Bytes of a hook exchange's request or answer (SPANK shim and node agent).
MAX_HOOK_BYTES = 65536


def check_program(size: int) -> None:
    """Raises LimitExceeded if a program of so many bytes is too large."""
    if size > MAX_PROGRAM_BYTES:
        raise LimitExceeded(
            f"a program of {size} bytes; at most {MAX_PROGRAM_BYTES} are taken",
            remedy="Divide it into several programs",
            limit="MAX_PROGRAM_BYTES",
        )


def apply(socket: zmq.Socket[bytes], linger_ms: int = 0, unsent: int = MESSAGES_UNSENT) -> None:
    """Bounds of every socket that carries messages; ``unsent`` 0 for those that never wait."""
    for option, value in (
        (zmq.LINGER, linger_ms),
        (zmq.SNDHWM, unsent),
        (zmq.RCVHWM, MESSAGES_UNREAD),
        (zmq.MAXMSGSIZE, TRANSPORT_MAX_FRAME_BYTES),
    ):
        socket.setsockopt(option, value)
