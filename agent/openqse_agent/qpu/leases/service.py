"""Carries out what admission decides: asks Slurm, writes the journal, answers node agents."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from openqse.errors import OpenQSEError, StorageError
from openqse.site import SiteQPU
from openqse.wire import leases as wire
from openqse.wire import versions
from openqse.wire.frames import Frame, encode_error
from openqse.wire.messages import Header, Kind
from openqse_agent.clock import Clock
from openqse_agent.qpu.addresses import Address, Ask
from openqse_agent.qpu.journal.database import Journal
from openqse_agent.qpu.leases.admission import Admission
from openqse_agent.qpu.leases.events import (
    Action,
    Answered,
    AskSlurm,
    Confirm,
    EndForLimit,
    EndProcesses,
    Event,
    Grant,
    Heard,
    ReadShares,
    Record,
    Recorded,
    RecordEnd,
    Refuse,
    Renew,
    Revoke,
    Sender,
    Tick,
)
from openqse_agent.qpu.leases.table import Lease
from openqse_agent.slurm import client as slurm

log = logging.getLogger("qpu-agent")

_Message: TypeAlias = wire.Attach | wire.Detach | wire.Heartbeat
_MESSAGES: Mapping[Kind, type[_Message]] = {
    message.kind: message for message in (wire.Attach, wire.Detach, wire.Heartbeat)
}
#: Kinds of message that node agents alone may send.
KINDS = _MESSAGES.keys() | {Kind.PROBE}

Shares = tuple[slurm.FairTree, dict[str, float]]
"""The fair tree, and what part of the QPU each reservation is promised."""


class Tasks(Protocol):
    """What leases mean for the tasks under them."""

    def end_lease(self, lease: Lease, reason: str) -> None:
        """Ends the tasks of a lease that is over."""
        ...

    def end_for_limit(self, lease: Lease) -> None:
        """Ends the tasks of a job that has run into its time limit."""
        ...

    def processes(self, lease: Lease, node: str) -> Sequence[int]:
        """The processes on a node that are owed something under a lease."""
        ...

    def end_processes(self, lease: Lease, node: str, processes: Sequence[int]) -> None:
        """Ends the tasks of processes that have ended."""
        ...


class LeaseService:
    """The way of admission's events and actions.

    Args:
        capabilities: of the device, for the node agents to pass on.
        ask: brings slurmctld's answers back later. send: takes messages out.
        set_shares: told what ``Shares`` says.
    """

    def __init__(
        self,
        qpu: SiteQPU,
        admission: Admission,
        journal: Journal,
        client: slurm.SlurmClient,
        capabilities: Mapping[str, Any],
        tasks: Tasks,
        clock: Clock,
        *,
        ask: Ask,
        send: Callable[[Address, list[Frame]], None],
        set_shares: Callable[[Shares], None],
    ) -> None:
        self._qpu = qpu
        self._admission = admission
        self._journal = journal
        self._slurm = client
        self._capabilities = capabilities
        self._tasks = tasks
        self._clock = clock
        self._ask = ask
        self._send = send
        self._set_shares = set_shares

    def take(self, address: Address, head: Header, frames: list[bytes]) -> None:
        """Takes in a message of one of ``KINDS``.

        Raises:
            ProtocolError: it is malformed.
        """
        if head.kind == Kind.PROBE:  # answered to those alone who may speak for a node
            self._send(address, wire.Pong().frames(head.task))
            return
        message = _MESSAGES[Kind(head.kind)].of(frames)
        self._handle(Heard(Sender(address, head.task), message))

    def tick(self) -> None:
        self._handle(Tick())

    def _handle(self, event: Event) -> None:
        for action in self._admission.handle(event, self._clock.monotonic()):
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case AskSlurm(question):
                self._ask(
                    lambda: self._slurm.jobs(question.ids),
                    lambda answer: self._handle(Answered(question, answer)),
                )
            case ReadShares():
                self._ask(lambda: (self._slurm.fair_tree(), self._promised()), self._weigh)
            case Record() | RecordEnd():
                self._record(action)
            case Grant(sender, lease, slurm_us):
                self._grant(sender, lease, slurm_us)
            case Refuse(sender, error):
                self._send(sender.address, encode_error(sender.task, error.at("QPU agent")))
            case Confirm(sender):
                self._send(sender.address, wire.Detached().frames(sender.task))
            case Renew():
                self._renew(action)
            case EndProcesses(lease, node, processes):
                self._tasks.end_processes(lease, node, processes)
            case Revoke(lease, reason):
                self._tasks.end_lease(lease, reason)
            case EndForLimit(lease):
                self._tasks.end_for_limit(lease)

    def _record(self, record: Record | RecordEnd) -> None:
        lease = record.lease
        error: StorageError | None = None
        try:
            if isinstance(record, Record):
                self._journal.write_lease(lease)
            else:
                assert lease.ending is not None
                self._journal.end_lease(lease.id, lease.ending, lease.reason)
        except StorageError as failure:
            error = failure
        self._handle(Recorded(record, error))

    def _grant(self, sender: Sender, lease: Lease, slurm_us: int) -> None:
        left = lease.time_left(self._clock.monotonic(), self._clock.time())
        grant = wire.LeaseGrant(
            lease.slots, lease.mode, left, self._capabilities, slurm_us, versions.SPOKEN
        )
        frames = grant.frames(sender.task, lease=lease.id, generation=lease.generation)
        self._send(sender.address, frames)

    def _renew(self, renew: Renew) -> None:
        node = renew.sender.node
        answer = wire.Pong(
            leases={lease.id: lease.generation for lease in renew.renewed},
            revoked=renew.revoked,
            processes={
                lease.id: tuple(self._tasks.processes(lease, node)) for lease in renew.renewed
            },
        )
        self._send(renew.sender.address, answer.frames(renew.sender.task))

    def _promised(self) -> dict[str, float]:
        """What part of the QPU each reservation in force holds."""
        now, license = self._clock.time(), self._qpu.license
        return {
            name: found.licenses[license] / self._qpu.slots
            for name, found in self._slurm.reservations().items()
            if license in found.licenses and found.start <= now
        }

    def _weigh(self, answer: Shares | OpenQSEError) -> None:
        if isinstance(answer, OpenQSEError):
            log.warning("shares not read, weights stay as they are: %s", answer)
            return
        self._set_shares(answer)
