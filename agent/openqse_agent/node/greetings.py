"""What ranks ask their node agent: what their job holds, and whether its QPU agents are alive."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from openqse.errors import InternalError, OpenQSEError, ProtocolError
from openqse.wire import leases as wire
from openqse.wire.frames import Frame, decode_header, encode_error, task_of
from openqse.wire.messages import Header, Kind
from openqse.wire.versions import agree
from openqse_agent.node.job_directory import JobDirectory
from openqse_agent.node.jobs import unavailable
from openqse_agent.node.qpu_link import QPULink

log = logging.getLogger("node-agent")

#: Messages taken from one socket before the others get their turn.
_DRAIN = 128


class Greetings:
    """Answers ranks.

    Args:
        node: its name. window: tasks that a rank may have unanswered at each QPU.
    """

    def __init__(self, node: str, window: int, links: Mapping[str, QPULink]) -> None:
        self._node = node
        self._window = window
        self._links = links

    def serve(self, directory: JobDirectory) -> None:
        """Answers what a job's ranks have said."""
        for _ in range(_DRAIN):
            message = directory.receive()
            if message is None:
                return
            first, frames = message
            try:
                head = decode_header(frames)
                if head.kind == Kind.HELLO:
                    process = int(first.get("User-Id"))
                    directory.socket.admit(process)
                    answer = self._welcome(directory, head, wire.Hello.of(frames), process)
                elif head.kind == Kind.PING:
                    answer = self._pong(directory, head)
                else:
                    raise ProtocolError(
                        f"the node agent takes no {head.kind!r} messages from ranks",
                        layer="node agent",
                    )
            except OpenQSEError as error:
                answer = encode_error(task_of(frames), error.at("node agent"))
            except Exception as error:  # a defect must cost its message, not the node
                log.exception("a rank's message could not be handled")
                failure = InternalError(repr(error), layer="node agent")
                answer = encode_error(task_of(frames), failure)
            directory.send(first.bytes, answer)

    def _welcome(
        self, directory: JobDirectory, head: Header, hello: wire.Hello, process: int
    ) -> list[Frame]:
        job = directory.job
        leases = [
            wire.HeldLease(
                id=holding.lease,
                qpu=holding.qpu,
                slots=holding.slots,
                mode=holding.mode,
                generation=holding.generation,
                capabilities=holding.capabilities,
                socket=str(directory.relays[holding.qpu].socket.path),
                version=agree(hello.versions, holding.versions, holding.qpu),
            )
            for holding in job.holdings.values()
        ]
        welcome = wire.Welcome(job.id, self._node, process, self._window, tuple(leases))
        return welcome.frames(head.task)

    def _pong(self, directory: JobDirectory, head: Header) -> list[Frame]:
        holding = directory.job.by_lease(head.lease)
        link = self._links[holding.qpu]
        if link.lost:
            raise unavailable(link.qpu)
        pong = wire.Pong()
        return pong.frames(head.task, lease=holding.lease, generation=holding.generation)
