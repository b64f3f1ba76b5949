"""Who may use the QPU: attach, detach and heartbeat of the node agents, judged with slurmctld."""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from openqse.errors import InternalError, LeaseDenied, OpenQSEError, ProtocolError
from openqse.site import SiteQPU
from openqse.wire.frames import Frame, encode, encode_error
from openqse.wire.messages import Header, Kind, header
from openqse_agent.qpu.journal import Journal
from openqse_agent.qpu.leases import Lease, LeaseTable, Mode
from openqse_agent.slurm import client as slurm

log = logging.getLogger("qpu-agent")

#: Reasons kept of leases that have ended, to tell those who still believe in them.
_ENDED_KEPT = 4096
#: Seconds for which shares read from Slurm are good.
_SHARES_FOR = 60.0

#: Envelope of an answer: routing id of the relay or the node agent, and of the session.
Address = tuple[bytes, bytes]
#: Puts a question to slurmctld and has its answer, or the error, brought back.
Ask = Callable[[Callable[[], Any], Callable[[Any], None]], None]


class Admission:
    """The leases of a QPU and what may change them.

    It owns no socket and waits for nothing: ``ask`` brings slurmctld's answers back later, ``send``
    takes messages out.

    Args:
        capabilities: of the device, for the node agents to pass on.
        on_end: told of every lease that ends, and why.
        set_weight: told of the accounts' shares.
    """

    def __init__(
        self,
        qpu: SiteQPU,
        leases: LeaseTable,
        ttl: float,
        journal: Journal,
        client: slurm.SlurmClient,
        capabilities: dict[str, Any],
        *,
        ask: Ask,
        send: Callable[[Address, list[Frame]], None],
        on_end: Callable[[Lease, str], None],
        set_weight: Callable[[str, float], None],
    ) -> None:
        self._qpu = qpu
        self._leases = leases
        self._ttl = ttl
        self._journal = journal
        self._slurm = client
        self._capabilities = capabilities
        self._ask = ask
        self._send = send
        self._on_end = on_end
        self._set_weight = set_weight
        self._joining: dict[int, list[tuple[Address, Header, dict[str, Any]]]] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._shares_read = -_SHARES_FOR
        self._checked = time.monotonic()

    def tick(self, now: float) -> None:
        """Has slurmctld asked about lapsed leases when it is time to."""
        if now - self._checked > self._ttl / 2:
            self._checked = now
            lapsed = self._leases.lapsed(now, self._ttl)
            if lapsed:
                ids = [lease.job_id for lease in lapsed]
                self._ask(lambda: self._slurm.jobs(ids), self._reconcile)

    def attach(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        for key in ("job_id", "uid", "restart_count", "slots"):
            if type(body.get(key)) is not int or body[key] < 0:
                raise ProtocolError(f"an attach needs the number {key!r}", layer="QPU agent")
        if body.get("node") != speaker(address[0])[0]:
            raise ProtocolError("an attach in the name of another node", layer="QPU agent")
        if body.get("mode") not in list(Mode):
            raise ProtocolError(f"unknown mode {body.get('mode')!r}", layer="QPU agent")
        lease = self._leases.of_job(body["job_id"])
        if lease is not None and lease.restart_count != body["restart_count"]:
            self._end(lease, "its job was requeued")
            lease = None
        if lease is not None:
            self._join(lease, address, head, body, slurm_us=0)
            return
        waiting = self._joining.setdefault(body["job_id"], [])
        waiting.append((address, head, body))
        if len(waiting) > 1:
            return  # the job's other nodes wait for the same answer
        self._ask_admission(body["job_id"], [], time.monotonic())

    def _ask_admission(self, job_id: int, others: list[int], began: float) -> None:
        """Asks slurmctld what a job holds, and after others where that is needed to judge it."""
        ids = [job_id, *others]
        self._ask(
            lambda: self._slurm.jobs(ids),
            lambda answer: self._admit(job_id, others, began, answer),
        )

    def _admit(self, job_id: int, others: list[int], began: float, answer: Any) -> None:
        """Grants the lease for which nodes of a job wait, or tells them why not."""
        if not self._joining.get(job_id):  # its nodes have left again, or were answered already
            self._joining.pop(job_id, None)
            return
        lease: Lease | None = None
        refusal: OpenQSEError = LeaseDenied(f"job {job_id} has left", layer="QPU agent")
        try:
            if isinstance(answer, OpenQSEError):
                raise answer
            self._revoke_ended(others, answer)
            asker = answer.get(job_id)
            leader = asker.leader if asker is not None and asker.running else job_id
            if leader not in answer and leader not in others:
                self._ask_admission(job_id, [leader, *others], began)
                return
            body = self._joining[job_id][0][2]
            holder = self._holder(answer.get(leader), job_id, body)
            lease = self._leases.of_job(leader)
            if lease is None:
                holders = [held.job_id for held in self._leases]
                short = holder.licences[self._qpu.licence] > self._leases.free
                if short and not set(holders) <= set(others):
                    # Slurm may have given the licences of a job that has just ended to this one
                    # before its epilog was heard here: ask after those who still hold leases too.
                    self._ask_admission(job_id, [*others, *holders], began)
                    return
                lease = self._grant(holder, body)
            lease.jobs.add(job_id)
        except OpenQSEError as error:
            refusal = error
        except Exception as error:  # a defect must not leave the job's nodes waiting
            log.exception("job %d could not be admitted", job_id)
            refusal = InternalError(repr(error), layer="QPU agent")
        slurm_us = int((time.monotonic() - began) * 1e6)
        for address, head, body in self._joining.pop(job_id):
            try:
                if lease is None:
                    raise refusal
                self._join(lease, address, head, body, slurm_us)
            except OpenQSEError as error:
                log.warning("job %d is not attached: %s", job_id, error)
                self._send(address, encode_error(head.task, error))
        if lease is not None and not lease.nodes:
            self._end(lease, "no node joined it")

    def _holder(self, job: slurm.Job | None, job_id: int, body: dict[str, Any]) -> slurm.Job:
        """The job that holds the licences, as slurmctld knows it, whatever the node was told.

        Raises:
            LeaseDenied: it holds no slot of this QPU, or is not whose the node says.
        """
        name = self._qpu.name
        if job is None or not job.running or not job.licences.get(self._qpu.licence):
            raise LeaseDenied(
                f"job {job_id} holds no slot of {name}",
                layer="slurmctld",
                remedy=f"Ask for it when the job is submitted: --qpu={name}",
            )
        if job.uid != body["uid"]:
            raise LeaseDenied(
                f"job {job_id} belongs to uid {job.uid}, not {body['uid']}", layer="slurmctld"
            )
        return job

    def _grant(self, job: slurm.Job, body: dict[str, Any]) -> Lease:
        lease = Lease(
            id=secrets.token_hex(8),
            job_id=job.id,
            uid=job.uid,
            user=job.user,
            account=job.account,
            slots=job.licences[self._qpu.licence],
            mode=Mode(body["mode"]),
            restart_count=body["restart_count"],
            generation=1,
            ends_at=job.end_time,
            renewed_at=time.monotonic(),
        )
        self._leases.grant(lease)
        self._journal.write_lease(lease)
        log.info("job %d (%s) holds %d slot(s): %s", job.id, job.account, lease.slots, lease.id)
        now = time.monotonic()
        if now - self._shares_read > _SHARES_FOR:
            self._shares_read = now
            self._ask(self._slurm.shares, self._weigh)
        return lease

    def _weigh(self, shares: dict[str, float] | OpenQSEError) -> None:
        if isinstance(shares, OpenQSEError):
            log.warning("shares not read, weights stay as they are: %s", shares)
            return
        for account, share in shares.items():
            if share > 0:
                self._set_weight(account, share)

    def _join(
        self, lease: Lease, address: Address, head: Header, body: dict[str, Any], slurm_us: int
    ) -> None:
        self._leases.join(
            lease, speaker(address[0])[0], body["slots"], body["mode"], time.monotonic()
        )
        self._journal.write_lease(lease)
        answer = {
            "slots": lease.slots,
            "mode": lease.mode,
            "time_left": None if lease.ends_at is None else max(0.0, lease.ends_at - time.time()),
            "capabilities": self._capabilities,
            "slurm_us": slurm_us,
        }
        self._send(
            address,
            encode(
                header(Kind.LEASE, head.task, lease=lease.id, generation=lease.generation), answer
            ),
        )

    def detach(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        job_id = body.get("job_id")
        if type(job_id) is not int:
            raise ProtocolError("a detach names its job", layer="QPU agent")
        waiting = self._joining.get(job_id, [])
        waiting[:] = [entry for entry in waiting if entry[0] != address]
        lease = self._leases.leave(job_id, speaker(address[0])[0])
        if lease is not None:
            self._ended_now(lease, "released")
        else:
            still = self._leases.of_job(job_id)
            if still is not None:
                self._journal.write_lease(still)
        self._send(address, encode(header(Kind.DETACHED, head.task)))

    def heartbeat(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        claimed = body.get("leases")
        if not isinstance(claimed, list) or not all(type(x) is str for x in claimed):
            raise ProtocolError("a heartbeat lists leases", layer="QPU agent")
        renewed = self._leases.renew(claimed, speaker(address[0])[0], time.monotonic())
        revoked = {
            lease: self._ended.get(lease, f"the QPU agent of {self._qpu.name} does not know it")
            for lease in claimed
            if lease not in renewed
        }
        answer = {"leases": renewed, "revoked": revoked}
        self._send(address, encode(header(Kind.PONG, head.task), answer))

    def _reconcile(self, answer: Any) -> None:
        """Ends lapsed leases of jobs that slurmctld says have ended, and only those."""
        if isinstance(answer, OpenQSEError):
            log.warning("lapsed leases are kept, slurmctld cannot be asked: %s", answer)
            return
        now = time.monotonic()
        lapsed = self._leases.lapsed(now, self._ttl)
        self._revoke_ended([lease.job_id for lease in lapsed], answer)
        for lease in lapsed:
            lease.renewed_at = now  # of running jobs: asked again after another TTL

    def _revoke_ended(self, ids: list[int], jobs: dict[int, slurm.Job]) -> None:
        for job_id in ids:
            lease = self._leases.of_job(job_id)
            job = jobs.get(job_id)
            if lease is not None and (job is None or not job.running):
                self._end(lease, "its job has ended")

    def _end(self, lease: Lease, reason: str) -> None:
        log.warning("lease %s of job %d revoked: %s", lease.id, lease.job_id, reason)
        self._leases.end(lease)
        self._ended_now(lease, f"the lease of {self._qpu.name} was revoked: {reason}")

    def _ended_now(self, lease: Lease, reason: str) -> None:
        log.info("lease %s of job %d ended: %s", lease.id, lease.job_id, reason)
        self._journal.end_lease(lease, reason)
        self._ended[lease.id] = reason
        if len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)
        self._on_end(lease, reason)

    def list_leases(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        leases = [
            {
                "qpu": self._qpu.name,
                "id": lease.id,
                "job_id": lease.job_id,
                "user": lease.user,
                "account": lease.account,
                "slots": lease.slots,
                "mode": lease.mode,
                "generation": lease.generation,
                "nodes": sorted(lease.nodes),
            }
            for lease in self._leases
        ]
        self._send(address, encode(header(Kind.REPORT, head.task), {"leases": leases}))


@lru_cache(maxsize=4096)
def speaker(routing_id: bytes) -> tuple[str, int | None]:
    """Which node speaks, and for which job: NODE-RUN or a relay's NODE-RUN/JOB/NUMBER."""
    agent, *relay = routing_id.decode(errors="replace").split("/")
    job_id = int(relay[0]) if len(relay) == 2 and relay[0].isdecimal() else None
    return agent.rpartition("-")[0], job_id
