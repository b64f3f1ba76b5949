"""Messages that are ready to go out, in their order."""

from __future__ import annotations

from collections import deque

import zmq

from openqse.wire.frames import Frame, bundled, send


class Outbox:
    """Messages for several sockets: any thread may add some, and the one that holds the sockets
    sends them.

    Attributes:
        ready: the messages, each with its socket.
    """

    def __init__(self) -> None:
        self.ready: deque[tuple[zmq.Socket[bytes], list[Frame]]] = deque()

    def add(self, socket: zmq.Socket[bytes], frames: list[Frame]) -> None:
        """Adds a message for a socket."""
        self.ready.append((socket, frames))

    def flush(self) -> None:
        """Sends what is there: messages to one socket that follow each other go together."""
        ready = self.ready
        while ready:
            socket, frames = ready.popleft()
            if not ready:
                send(socket, frames)
                return
            together = [frames]
            while ready and ready[0][0] is socket:
                together.append(ready.popleft()[1])
            for message in bundled(together):
                send(socket, message)
