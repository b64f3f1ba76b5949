"""Answers those who ask how the QPU is; nothing of it changes anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from openqse import device
from openqse.errors import OpenQSEError
from openqse.site import SiteQPU
from openqse.wire import reports as wire
from openqse.wire.frames import Frame, decode_body, encode_error
from openqse.wire.messages import Header, Kind
from openqse_agent.clock import Clock
from openqse_agent.qpu.addresses import Address, Ask
from openqse_agent.qpu.journal.database import Journal
from openqse_agent.qpu.journal.settling import Settling
from openqse_agent.qpu.leases.admission import Admission
from openqse_agent.qpu.leases.table import LeaseTable
from openqse_agent.qpu.reports.estimates import Estimates
from openqse_agent.qpu.reports.rows import queue_rows, share_rows, wait_report
from openqse_agent.qpu.service.maintenance import Maintenance
from openqse_agent.qpu.tasks.executor import Executor
from openqse_agent.qpu.tasks.intake import Intake
from openqse_agent.qpu.tasks.shares import ShareTree

#: Reports that may wait for the thread that makes them.
MOST_WAITING = 16


@dataclass(frozen=True)
class Sources:
    """What reports are made from."""

    qpu: SiteQPU
    device: device.Device[Any, Any]
    leases: LeaseTable
    admission: Admission
    journal: Journal
    settling: Settling
    executor: Executor
    shares: ShareTree
    intake: Intake
    maintenance: Maintenance


class Reports:
    """Makes and sends reports.

    Args:
        ask: has an answer brought back later. look_up: the same, for what takes a while; raises
            LimitExceeded if many wait already.
        send: takes messages out.
    """

    def __init__(
        self,
        sources: Sources,
        clock: Clock,
        *,
        ask: Ask,
        look_up: Ask,
        send: Callable[[Address, list[Frame]], None],
    ) -> None:
        self._from = sources
        self._clock = clock
        self._look_up = look_up
        self._send = send
        self._estimates = Estimates(
            sources.qpu.name,
            sources.executor,
            sources.device.capabilities.max_shots,
            ask=ask,
            look_up=look_up,
            answer=self._estimated,
        )
        self._kinds: Mapping[str, Callable[[Address, Header, dict[str, Any]], None]] = {
            Kind.STATUS: self._status,
            Kind.LEASES: self._leases,
            Kind.USAGE: self._usage,
            Kind.QUEUE: self._queue,
            Kind.SHARE: self._shares,
            Kind.ESTIMATE: self._estimates.asked,
        }

    def take(self, address: Address, head: Header, frames: list[bytes]) -> None:
        """Takes in a question of one of the kinds that anybody may ask.

        Raises:
            OpenQSEError: it is refused.
        """
        self._kinds[head.kind](address, head, decode_body(frames))

    def _status(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        sources = self._from
        status, executor = sources.device.status(), sources.executor
        service, now = sources.maintenance.report(), self._clock.monotonic()
        report = wire.StatusReport(
            qpu=sources.qpu.name,
            online=status.ready,
            reason=status.reason,
            slots=sources.qpu.slots,
            free=sources.leases.free,
            leases=len(sources.leases),
            leases_lapsed=sources.admission.lapsed(now),
            slurmctld=_said(sources.admission.slurm_error),
            revocation_suspended=sources.admission.suspends_revocation(now),
            journal=_said(sources.settling.error),
            tasks_queued=len(executor),
            tasks=len(sources.intake.tasks),
            busy=executor.busy,
            busy_s=executor.busy_s,
            calibration=sources.device.calibration().id,
            drained=service.drained,
            windows=service.windows,
            slurm_error=service.slurm_error,
            **wait_report(executor),
        )
        self._send(address, report.frames(head.task))

    def _leases(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        rows = [
            wire.LeaseRow(
                qpu=self._from.qpu.name,
                id=lease.id,
                job_id=lease.job_id,
                user=lease.user,
                account=lease.account,
                slots=lease.slots,
                mode=lease.mode,
                generation=lease.generation,
                state=lease.state,
                nodes=tuple(sorted(lease.nodes)),
            )
            for lease in self._from.leases
        ]
        self._send(address, wire.LeasesReport(tuple(rows)).frames(head.task))

    def _usage(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        job_id = wire.UsageQuestion.read(body).job_id
        name, journal = self._from.qpu.name, self._from.journal

        def usage() -> wire.Report:
            used = journal.usage(job_id)
            return wire.UsageReport(tuple(wire.UsageRow(qpu=name, **asdict(u)) for u in used))

        self._report_later(address, head, usage)

    def _queue(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        limit = wire.QueueQuestion.read(body).limit
        sources, now = self._from, self._clock.monotonic()
        parked = sources.executor.parked()

        def queue() -> wire.Report:
            rows = queue_rows(sources.qpu.name, sources.executor, parked, limit, now)
            return wire.QueueReport(tuple(rows), len(sources.intake.tasks))

        self._report_later(address, head, queue)

    def _shares(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        sources, now = self._from, self._clock.monotonic()
        rows = share_rows(sources.qpu.name, sources.executor, sources.shares, now)
        self._send(address, wire.ShareReport(tuple(rows)).frames(head.task))

    def _estimated(
        self, address: Address, head: Header, said: dict[str, Any] | OpenQSEError
    ) -> None:
        if isinstance(said, OpenQSEError):
            self._send(address, encode_error(head.task, said))
            return
        drained, status = self._from.maintenance.report().drained, self._from.device.status()
        reason = f"drained {drained}" if drained else "" if status.ready else status.reason
        if reason:
            said = said | {"wait_s": None}  # nobody knows
        report = wire.EstimateReport(**said, free=self._from.leases.free, reason=reason)
        self._send(address, report.frames(head.task))

    def _report_later(
        self, address: Address, head: Header, report: Callable[[], wire.Report]
    ) -> None:
        """Sends a report that takes a while to make, or the error that there is in its place."""

        def made(answer: Any) -> None:
            if isinstance(answer, OpenQSEError):
                answer = encode_error(head.task, answer)
            self._send(address, answer)

        self._look_up(lambda: report().frames(head.task), made)


def _said(error: OpenQSEError | None) -> str:
    return "" if error is None else str(error)
