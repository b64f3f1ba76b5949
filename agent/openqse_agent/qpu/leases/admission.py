"""Who may use the QPU: attach, detach and heartbeat of the node agents, judged with slurmctld."""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from openqse.errors import (
    InternalError,
    LeaseDenied,
    OpenQSEError,
    ProtocolError,
    StaleLease,
    StorageError,
)
from openqse.site import SiteQPU
from openqse.wire.frames import Frame, encode, encode_error
from openqse.wire.messages import Header, Kind, header
from openqse_agent.qpu.journal import Journal
from openqse_agent.qpu.leases.table import Lease, LeaseTable, Mode, State
from openqse_agent.qpu.tasks.sessions import Address
from openqse_agent.slurm import client as slurm

log = logging.getLogger("qpu-agent")

#: Reasons kept of leases that have ended, to tell those who still believe in them.
_ENDED_KEPT = 4096
#: Seconds for which shares read from Slurm are good.
_SHARES_FOR = 60.0
#: Seconds until slurmctld, which did not answer, is asked again after leases.
_ASK_AGAIN = 2.0
#: Former runs of node agents that are remembered, to refuse what they left on the way.
_RUNS_KEPT = 4096

#: Puts a question to slurmctld and has its answer, or the error, brought back.
Ask = Callable[[Callable[[], Any], Callable[[Any], None]], None]


class Admission:
    """The leases of a QPU and what may change them.

    It owns no socket and waits for nothing: ``ask`` brings slurmctld's answers back later, ``send``
    takes messages out.

    Args:
        capabilities: of the device, for the node agents to pass on.
        on_end: told of every lease that ends, and why.
        set_shares: told of the fair tree, and what part of the QPU each reservation is promised.
        on_over: told of every lease whose job runs beyond its time limit.
        processes: those on a node that are owed something under a lease.
        on_gone: told of processes that have ended: of the lease, the node, and their ids.
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
        set_shares: Callable[[slurm.FairTree, dict[str, float]], None],
        on_over: Callable[[Lease], None],
        processes: Callable[[Lease, str], list[int]],
        on_gone: Callable[[Lease, str, list[int]], None],
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
        self._set_shares = set_shares
        self._on_over = on_over
        self._processes = processes
        self._on_gone = on_gone
        self._joining: dict[int, list[tuple[Address, Header, dict[str, Any]]]] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._shares_read = float("-inf")
        self._asking = False
        self._ask_after = 0.0
        self._answered_at = float("-inf")
        self._slurm_error: OpenQSEError | None = None
        self._runs: dict[str, str] = {}
        self._former_runs: OrderedDict[str, None] = OrderedDict()

    def tick(self, now: float) -> None:
        """Has slurmctld asked after leases when it is time to, or whether it answers at all, and
        ends what can end now."""
        for lease in self._leases.releasing:  # the journal did not take it at first
            self._record_end(lease)
        if len(self._leases):
            self._read_shares(now)
        if self._asking or now < self._ask_after:
            return
        ids = [lease.job_id for lease in self._leases.unconfirmed(now, self._ttl)]
        if not ids and (self._slurm_error is not None or now - self._answered_at > self._ttl):
            ids = [slurm.ANY_JOB]  # nobody waits for it, but that it answers is to be known
        if ids:
            self._asking = True
            self._ask(lambda: self._slurm.jobs(ids), lambda answer: self._reconcile(ids, answer))

    def status(self, now: float) -> dict[str, Any]:
        """What a report says of the leases.

        ``slurmctld`` is why it cannot be asked, or empty; ``revocation_suspended`` says that there
        are leases which it would have to be asked after, and which are kept until it answers.
        """
        return {
            "free": self._leases.free,
            "leases": len(self._leases),
            "leases_lapsed": len(self._leases.lapsed(now, self._ttl)),
            "slurmctld": "" if self._slurm_error is None else str(self._slurm_error),
            "revocation_suspended": self._slurm_error is not None
            and bool(self._leases.unconfirmed(now, self._ttl)),
        }

    def _current_run(self, address: Address) -> str:
        """The node that speaks.

        Raises:
            StaleLease: a later run of its agent has spoken since.
        """
        node, run = speaker(address[0])[0], address[0].decode(errors="replace")
        current = self._runs.get(node)
        if run != current:
            if run in self._former_runs:
                raise StaleLease(
                    f"a former run of the agent of node {node}; another has taken its place",
                    layer="QPU agent",
                    remedy="Does another host of that name run a node agent?",
                )
            self._runs[node] = run
            if current is not None:
                # What it holds may be out of date: its jobs may have ended while it was away.
                for lease in self._leases:
                    if node in lease.nodes:
                        lease.confirmed_at = float("-inf")
                self._former_runs[current] = None
                if len(self._former_runs) > _RUNS_KEPT:
                    self._former_runs.popitem(last=False)
        return node

    def attach(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        for key in ("job_id", "uid", "restart_count", "slots"):
            if type(body.get(key)) is not int or body[key] < 0:
                raise ProtocolError(f"an attach needs the number {key!r}", layer="QPU agent")
        if body.get("node") != self._current_run(address):
            raise ProtocolError("an attach in the name of another node", layer="QPU agent")
        if body.get("mode") not in list(Mode):
            raise ProtocolError(f"unknown mode {body.get('mode')!r}", layer="QPU agent")
        lease = self._leases.of_job(body["job_id"])
        if lease is not None and lease.restart_count != body["restart_count"]:
            self._revoke(lease, "its job was requeued")
            lease = None
        if lease is not None:
            self._join(lease, address, head, body, slurm_us=0)
            return
        waiting = self._joining.setdefault(body["job_id"], [])
        first = not waiting
        if all(address != other for other, _, _ in waiting):  # else it has asked again
            waiting.append((address, head, body))
        if not first:
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
            self._slurm_error = answer if isinstance(answer, OpenQSEError) else None
            self._answered_at = time.monotonic()
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
                short = holder.licenses[self._qpu.license] > self._leases.free
                if short and not set(holders) <= set(others):
                    # Slurm may have given the licenses of a job that has just ended to this one
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
        if lease is not None and lease.held and not lease.nodes:
            self._end(lease, State.RELEASED, "no node joined it")

    def _holder(self, job: slurm.Job | None, job_id: int, body: dict[str, Any]) -> slurm.Job:
        """The job that holds the licenses, as slurmctld knows it, whatever the node was told.

        Raises:
            LeaseDenied: it holds no slot of this QPU, or is not whose the node says.
        """
        name = self._qpu.name
        if job is None or not job.running or not job.licenses.get(self._qpu.license):
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
            slots=job.licenses[self._qpu.license],
            mode=Mode(body["mode"]),
            restart_count=body["restart_count"],
            generation=1,
            ends_at=job.end_time,
            renewed_at=time.monotonic(),
            reservation=job.reservation,
        )
        lease.confirm(job.end_time, job.remaining, time.monotonic())
        self._leases.grant(lease)  # in the journal as soon as a node has joined it
        log.info("job %d (%s) holds %d slot(s): %s", job.id, job.account, lease.slots, lease.id)
        if job.reservation:  # its part of the QPU may not be known yet
            self._shares_read = float("-inf")
        self._read_shares(time.monotonic())
        return lease

    def _read_shares(self, now: float) -> None:
        """Has Slurm asked after shares and reservations, if it is time to."""
        if now - self._shares_read > _SHARES_FOR:
            self._shares_read = now
            self._ask(lambda: (self._slurm.fair_tree(), self._promised()), self._weigh)

    def _promised(self) -> dict[str, float]:
        """What part of the QPU each reservation in force holds."""
        now, license = time.time(), self._qpu.license
        return {
            name: found.licenses[license] / self._qpu.slots
            for name, found in self._slurm.reservations().items()
            if license in found.licenses and found.start <= now
        }

    def _weigh(self, answer: tuple[slurm.FairTree, dict[str, float]] | OpenQSEError) -> None:
        if isinstance(answer, OpenQSEError):
            log.warning("shares not read, weights stay as they are: %s", answer)
            return
        self._set_shares(*answer)

    def _join(
        self, lease: Lease, address: Address, head: Header, body: dict[str, Any], slurm_us: int
    ) -> None:
        node = speaker(address[0])[0]
        new = node not in lease.nodes
        self._leases.join(lease, node, body["slots"], body["mode"], time.monotonic())
        try:
            self._journal.write_lease(lease)
        except StorageError:
            if new:
                lease.nodes.discard(node)
            raise
        answer = {
            "slots": lease.slots,
            "mode": lease.mode,
            "time_left": _time_left(lease),
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
        job_id, lease_id = body.get("job_id"), body.get("lease", "")
        if type(job_id) is not int or type(lease_id) is not str:
            raise ProtocolError("a detach names its job", layer="QPU agent")
        node = self._current_run(address)
        waiting = self._joining.get(job_id, [])
        waiting[:] = [entry for entry in waiting if entry[0] != address]
        self._leave(job_id, node, lease_id)
        self._send(address, encode(header(Kind.DETACHED, head.task)))

    def _leave(self, job_id: int, node: str, lease_id: str) -> None:
        ended = self._leases.leave(job_id, node, lease_id)
        if ended is not None:
            self._end(ended, State.RELEASED, "its job has ended or left its last node")
            return
        still = self._leases.of_job(job_id)
        if still is not None:
            self._note(still)

    def _note(self, lease: Lease) -> None:
        """Records what a restart would find out again by itself."""
        try:
            self._journal.write_lease(lease)
        except StorageError as error:
            log.error("a change of lease %s is not recorded: %s", lease.id, error)

    def heartbeat(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        """Takes in all that a node holds (generations by lease), which jobs it asks for, and which
        of the processes named to it have gone; names those that are owed something."""
        claims, asking, gone = body.get("leases"), body.get("asking"), body.get("gone", {})
        if not isinstance(claims, dict) or not all(
            type(x) is str and type(g) is int for x, g in claims.items()
        ):
            raise ProtocolError("a heartbeat lists leases with generations", layer="QPU agent")
        if not isinstance(asking, list) or not all(type(job) is int for job in asking):
            raise ProtocolError("a heartbeat lists the jobs that are attaching", layer="QPU agent")
        if not isinstance(gone, dict) or not all(
            isinstance(ids, list) and all(type(process) is int for process in ids)
            for ids in gone.values()
        ):
            raise ProtocolError("a heartbeat lists processes by lease", layer="QPU agent")
        node = self._current_run(address)
        now = time.monotonic()
        activated = [x for x in self._leases if x.state == State.GRANTED and x.id in claims]
        renewed = self._leases.renew(claims, node, now)
        for lease in activated:
            if lease.state == State.ACTIVE:
                self._note(lease)
        for lease in self._leases.forsaken(claims, asking, node):
            log.warning("node %s no longer holds lease %s", node, lease.id)
            self._leave(lease.job_id, node, lease.id)
        revoked = {
            lease: self._ended.get(lease, f"the QPU agent of {self._qpu.name} does not know it")
            for lease in claims
            if lease not in renewed
        }
        held = [lease for lease in self._leases if lease.id in renewed]
        for lease in held:
            if lease.id in gone:
                self._on_gone(lease, node, gone[lease.id])
        processes = {lease.id: self._processes(lease, node) for lease in held}
        answer = {"leases": renewed, "revoked": revoked, "processes": processes}
        self._send(address, encode(header(Kind.PONG, head.task), answer))

    def _reconcile(self, ids: list[int], answer: Any) -> None:
        """Ends leases of jobs that slurmctld says have ended, or have given their licenses back,
        and only those."""
        now = time.monotonic()
        self._asking = False
        self._ask_after = now + min(_ASK_AGAIN, self._ttl / 2)
        self._answered_at = now
        if isinstance(answer, OpenQSEError):
            if self._slurm_error is None:
                log.error("no lease is revoked while slurmctld cannot be asked: %s", answer)
            self._slurm_error = answer
            return
        if self._slurm_error is not None:
            log.warning("slurmctld answers again")
            self._slurm_error = None
        self._revoke_ended(ids, answer)

    def _revoke_ended(self, ids: list[int], jobs: dict[int, slurm.Job]) -> None:
        now = time.monotonic()
        for job_id in ids:
            lease, job = self._leases.of_job(job_id), jobs.get(job_id)
            if lease is None:
                continue
            if job is not None and job.running:
                if job.licenses.get(self._qpu.license, 0) < lease.slots:
                    self._revoke(lease, "its job holds no longer the licenses of its slots")
                    continue
                lease.reservation = job.reservation  # the journal does not have it
                if lease.confirm(job.end_time, job.remaining, now):
                    self._note(lease)
                if lease.over:
                    self._on_over(lease)
            elif job is not None and job.state == "TIMEOUT":
                log.warning("lease %s of job %d expired", lease.id, job_id)
                reason = f"the lease of {self._qpu.name} expired: its job's time limit has ended"
                self._end(lease, State.EXPIRED, reason)
            else:
                self._revoke(lease, "its job has ended")

    def _revoke(self, lease: Lease, reason: str) -> None:
        log.warning("lease %s of job %d revoked: %s", lease.id, lease.job_id, reason)
        self._end(lease, State.REVOKED, f"the lease of {self._qpu.name} was revoked: {reason}")

    def _end(self, lease: Lease, how: State, reason: str) -> None:
        log.info("lease %s of job %d ends: %s", lease.id, lease.job_id, reason)
        self._leases.end(lease, how, reason)
        self._ended[lease.id] = reason
        if len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)
        self._on_end(lease, reason)
        self._record_end(lease)

    def _record_end(self, lease: Lease) -> None:
        """Records the end of a lease; one that the journal does not take now stays releasing."""
        assert lease.ending is not None
        try:
            self._journal.end_lease(lease.id, lease.ending, lease.reason)
        except StorageError as error:
            log.error("the end of lease %s is still to be recorded: %s", lease.id, error)
        else:
            self._leases.ended(lease)

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
                "state": lease.state,
                "nodes": sorted(lease.nodes),
            }
            for lease in self._leases
        ]
        self._send(address, encode(header(Kind.REPORT, head.task), {"leases": leases}))


def _time_left(lease: Lease) -> float | None:
    """Seconds left of its job's time limit; None without one."""
    if lease.over:
        return 0.0
    if lease.limit_at is not None:
        return max(0.0, lease.limit_at - time.monotonic())
    # slurmctld has not told its time: as far as this host's clock knows.
    return None if lease.ends_at is None else max(0.0, lease.ends_at - time.time())


@lru_cache(maxsize=4096)
def speaker(routing_id: bytes) -> tuple[str, int | None]:
    """Which node speaks, and for which job: NODE-RUN or a relay's NODE-RUN/JOB/NUMBER."""
    agent, *relay = routing_id.decode(errors="replace").split("/")
    job_id = int(relay[0]) if len(relay) == 2 and relay[0].isdecimal() else None
    return agent.rpartition("-")[0], job_id
