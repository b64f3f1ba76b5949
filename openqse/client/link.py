"""A session's link to one of the job's QPUs: what goes over it, and how it stands."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import zmq

from openqse.client.recovery import Recovery
from openqse.client.window import Receipts, Window
from openqse.device import Capabilities
from openqse.errors import AgentUnavailable, OpenQSEError, ProtocolError
from openqse.wire import limits
from openqse.wire.control import Failure
from openqse.wire.frames import Frame, decode_header, encode, send
from openqse.wire.leases import HeldLease, Hello, Welcome
from openqse.wire.messages import Kind, header
from openqse.wire.schema import Message
from openqse.wire.task_ids import LENGTH, number_of, session_of
from openqse.wire.tasks import Acknowledge, Cancel, encode_task
from openqse.wire.versions import SPOKEN

if TYPE_CHECKING:
    from openqse.client.futures import Future, Request

#: Seconds from one greeting to the next until the node agent answers.
GREET_EVERY = 1.0


@dataclass(slots=True, eq=False)
class Pending:
    """A task that was sent and is not answered: all that is needed to send it again.

    Attributes:
        owner: the handle that it was sent by. deadline, sent: monotonic seconds.
        size: bytes of its message. resends: how often it was sent again.
        cancelled: it is to be cancelled.
    """

    future: Future[Any]
    request: Request
    owner: object
    deadline: float | None
    sent: float
    size: int = 0
    resends: int = 0
    cancelled: bool = False


@dataclass(slots=True, eq=False)
class Link:
    """The way to one QPU agent, through the node's relay.

    Attributes:
        held: the lease, as it was at the greeting; ``recovery`` knows its current generation.
        process: this one, as the node agent knows it.
        pending: unanswered tasks by id.
        programs: digests of those that the QPU agent has been sent.
        trouble: what the node agent says of the QPU agent.
    """

    held: HeldLease
    capabilities: Capabilities
    socket: zmq.Socket[bytes]
    process: int
    window: Window
    recovery: Recovery
    receipts: Receipts = field(default_factory=Receipts)
    pending: dict[bytes, Pending] = field(default_factory=dict)
    programs: set[bytes] = field(default_factory=set)
    trouble: OpenQSEError | None = None

    @property
    def qpu(self) -> str:
        return self.held.qpu

    def sent(self) -> dict[bytes, float]:
        """The unanswered tasks, and when each was sent; other threads may add some meanwhile."""
        return {task: pending.sent for task, pending in list(self.pending.items())}

    def frames(self, message: Message, task: bytes) -> list[Frame]:
        """A message of this session under its lease."""
        return message.frames(
            task,
            lease=self.held.id,
            generation=self.recovery.generation,
            version=self.held.version,
        )

    def task_frames(self, pending: Pending) -> list[Frame]:
        """A task's message as it is to be sent now, with what is to be acknowledged.

        Raises:
            LimitExceeded: it is too large.
        """
        request = pending.request
        work = request.work
        program = None if work.program in self.programs else request.program
        if program is not None:
            limits.check_program(len(program.data))
        body, buffers = encode_task(work, program, self.process, self.receipts.take())
        left = 0.0
        if pending.deadline is not None:
            left = max(pending.deadline - time.monotonic(), 1e-3)
        head = header(
            request.kind,
            pending.future.key,
            lease=self.held.id,
            generation=self.recovery.generation,
            time_left=left,
            latency=request.latency,
            version=self.held.version,
        )
        frames = encode(head, body, buffers)
        if program is not None:
            self.programs.add(work.program)
        return frames

    def cancellation(self, pending: Pending) -> list[Frame]:
        """The message that asks to cancel a task."""
        return self.frames(Cancel(), pending.future.key)

    def acknowledgement(self, session: bytes) -> list[Frame]:
        """The message that tells which answers have arrived."""
        return self.frames(Acknowledge(self.receipts.take()), session)

    def lost(self, silence: float) -> OpenQSEError:
        """The error that says that the QPU agent is silent, for so many seconds."""
        return self.trouble or AgentUnavailable(
            f"the QPU agent of {self.qpu} has not answered for {silence:.0f} s",
            layer="QPU agent",
            remedy="Ask the administrator to check the network between this node and its host",
        )

    def note(self, task: bytes, size: int) -> None:
        """Notes that the answer to a task is here, and tells the QPU agent where it is large."""
        if len(task) == LENGTH and self.receipts.add(number_of(task), size):
            send(self.socket, self.acknowledgement(session_of(task)))


def greet(control: zmq.Socket[bytes], timeout: float) -> Welcome:
    """Greets the node agent until it answers: one that is restarted meanwhile has not heard it.

    Raises:
        AgentUnavailable: no answer within ``timeout`` seconds. OpenQSEError: as the agent says.
        ProtocolError: it wants a version spoken that this process does not speak.
    """
    deadline = time.monotonic() + timeout
    while True:
        control.send_multipart(Hello(SPOKEN).frames(b"hello"))
        left = deadline - time.monotonic()
        if control.poll(math.ceil(max(0.0, min(left, GREET_EVERY)) * 1000)):
            break
        if left <= GREET_EVERY:
            raise no_answer(timeout)
    frames = control.recv_multipart()
    if decode_header(frames).kind == Kind.ERROR:
        raise Failure.of(frames).error
    welcome = Welcome.of(frames)
    for held in welcome.leases:
        if held.version not in SPOKEN:
            raise ProtocolError(
                f"the node agent wants protocol version {held.version} spoken with {held.qpu}; "
                f"this program speaks {SPOKEN}",
                remedy="Install the same release of openqse in the program and in the agents",
            )
    return welcome


def no_answer(seconds: float) -> AgentUnavailable:
    """The error that says that the node agent is silent."""
    return AgentUnavailable(
        f"the node agent has not answered for {seconds:g} s",
        layer="node agent",
        remedy="Ask the administrator to check openqse-node-agent on this node",
    )
