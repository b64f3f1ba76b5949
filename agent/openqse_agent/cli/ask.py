"""Questions of the commands to the QPU agents."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import zmq

from openqse.errors import AgentUnavailable, OpenQSEError, from_wire
from openqse.site import SiteQPU
from openqse.wire.frames import decode_body, decode_header, encode
from openqse.wire.messages import Kind, header
from openqse_agent import keys


def ask(
    qpus: Iterable[SiteQPU],
    kind: Kind,
    body: dict[str, Any],
    timeout: float,
    pair: keys.Pair | None = None,
) -> dict[str, dict[str, Any] | OpenQSEError]:
    """Puts one question to several QPU agents at once.

    Args:
        timeout: seconds to wait for all of them.
        pair: the key that shows who asks; without one, a guest does.

    Returns:
        For each QPU its agent's report, or the error that says why there is none.
    """
    context: zmq.Context[Any] = zmq.Context()
    sockets: dict[str, zmq.Socket[bytes]] = {}
    answers: dict[str, dict[str, Any] | OpenQSEError] = {}
    poller = zmq.Poller()
    pair = pair or keys.Pair.of_a_guest()
    try:
        for qpu in qpus:
            answers[qpu.name] = AgentUnavailable(
                f"the QPU agent of {qpu.name} at {qpu.endpoint} does not answer in {timeout:g} s",
                layer="QPU agent",
                remedy=f"Check openqse-qpu-agent {qpu.name} on its host",
            )
            socket = sockets[qpu.name] = context.socket(zmq.DEALER)
            pair.use(socket, keys.of_qpu(qpu))
            socket.connect(qpu.endpoint)
            poller.register(socket, zmq.POLLIN)
            # A handshake that was refused before this line leaves nobody to send to, for ever.
            with suppress(zmq.Again):
                socket.send_multipart([b"", *encode(header(kind), body)], zmq.NOBLOCK)
        deadline = time.monotonic() + timeout
        waiting = dict(sockets)
        while waiting and (left := deadline - time.monotonic()) > 0:
            ready = dict(poller.poll(int(left * 1000) + 1))
            for name, socket in list(waiting.items()):
                if socket in ready:
                    answers[name] = _read(socket.recv_multipart()[1:])
                    poller.unregister(waiting.pop(name))
    finally:
        context.destroy(linger=0)
    return answers


def _read(frames: list[bytes]) -> dict[str, Any] | OpenQSEError:
    try:
        head, body = decode_header(frames), decode_body(frames)
    except OpenQSEError as error:
        return error
    return from_wire(body) if head.kind == Kind.ERROR else body
