"""Questions of the commands to the QPU agents."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast

import zmq

from openqse.errors import AgentUnavailable, OpenQSEError
from openqse.site import SiteQPU
from openqse.wire.control import Failure
from openqse.wire.frames import decode_body, decode_header, encode
from openqse.wire.messages import Kind, header
from openqse.wire.reports import Question, R
from openqse_agent import keys


def inquire(
    qpus: Iterable[SiteQPU],
    question: Question[R],
    timeout: float,
    pair: keys.Pair | None = None,
) -> dict[str, R | OpenQSEError]:
    """Puts one question to several QPU agents at once; arguments as in ``ask``.

    Returns:
        For each QPU its agent's report, or the error that says why there is none, be it that the
        report cannot be read.
    """
    answers = ask(qpus, question.kind, question.body(), timeout, pair)
    return {name: _reported(question, answer) for name, answer in answers.items()}


def _reported(question: Question[R], answer: dict[str, Any] | OpenQSEError) -> R | OpenQSEError:
    if isinstance(answer, OpenQSEError):
        return answer
    try:
        return cast(R, question.answer.read(answer))
    except OpenQSEError as error:
        return error.at("QPU agent")


def ask(
    qpus: Iterable[SiteQPU],
    kind: Kind,
    body: dict[str, Any],
    timeout: float,
    pair: keys.Pair | None = None,
) -> dict[str, dict[str, Any] | OpenQSEError]:
    """Sends one message to several QPU agents at once.

    Args:
        body: plain values.
        timeout: seconds to wait for all of them.
        pair: the key that proves who asks; without one, nobody knows who does.

    Returns:
        For each QPU the body of its agent's answer, or the error that says why there is none.
    """
    context: zmq.Context[Any] = zmq.Context()
    sockets: dict[str, zmq.Socket[bytes]] = {}
    answers: dict[str, dict[str, Any] | OpenQSEError] = {}
    poller = zmq.Poller()
    pair = pair or keys.Pair.anonymous()
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
        if decode_header(frames).kind == Kind.ERROR:
            return Failure.of(frames).error
        return decode_body(frames)
    except OpenQSEError as error:
        return error
