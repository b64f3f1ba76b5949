"""Caps on what crosses a socket. Each is named in the error that exceeding it raises."""

from __future__ import annotations

import zmq

#: Version of the protocol between ranks and agents; both sides refuse any other.
PROTOCOL_VERSION = 1

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
#: of them is given up, so that a host that vanished does not keep its place.
TRANSPORT_HEARTBEAT_MS = 5000

#: Messages and bytes that travel as one where several are ready at once.
MAX_BUNDLE_MESSAGES = 64
MAX_BUNDLE_BYTES = 65536

#: Tasks that one session may have unanswered; further submissions wait in the client.
TASKS_IN_FLIGHT = 256

#: Bytes of a hook exchange's request or answer (SPANK shim and node agent).
MAX_HOOK_BYTES = 65536


def apply(socket: zmq.Socket[bytes], linger_ms: int = 0) -> None:
    """Bounds of every socket that carries messages.

    Queues have none of their own: the sessions' windows bound what is on its way.
    """
    for option, value in (
        (zmq.LINGER, linger_ms),
        (zmq.SNDHWM, 0),
        (zmq.RCVHWM, 0),
        (zmq.MAXMSGSIZE, TRANSPORT_MAX_FRAME_BYTES),
    ):
        socket.setsockopt(option, value)
