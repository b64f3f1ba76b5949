"""Who may use the QPU: attach, detach and heartbeat of the node agents, judged with slurmctld.

Values and transitions: ``Admission.handle`` takes an event and gives the actions that follow from
it, in their order. It asks, sends and writes nothing itself, and the time is handed in.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import count

from openqse.errors import (
    InternalError,
    LeaseDenied,
    OpenQSEError,
    ProtocolError,
    StorageError,
)
from openqse.site import SiteQPU
from openqse.wire import leases as wire
from openqse_agent.qpu.leases.candidate import Candidate, Stage
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
    Join,
    Question,
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
from openqse_agent.qpu.leases.runs import Runs
from openqse_agent.qpu.leases.table import Lease, LeaseTable, State
from openqse_agent.slurm import client as slurm

log = logging.getLogger("qpu-agent")

#: Reasons kept of leases that have ended, to tell those who still believe in them.
_ENDED_KEPT = 4096
#: Seconds for which shares read from Slurm are good.
_SHARES_FOR = 60.0
#: Seconds until slurmctld, which did not answer, is asked again after leases.
_ASK_AGAIN = 2.0


class Admission:
    """The leases of a QPU and what may change them.

    Args:
        ttl: seconds after which slurmctld is asked after a lease again.
        new_id: gives the id of a new lease.
    """

    def __init__(
        self,
        qpu: SiteQPU,
        leases: LeaseTable,
        ttl: float,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._qpu = qpu
        self._leases = leases
        self._ttl = ttl
        self._new_id = new_id
        self._numbers = count(1)
        self._candidates: dict[int, Candidate] = {}
        self._reconciling: Question | None = None
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._shares_read = float("-inf")
        self._ask_after = 0.0
        self._answered_at = float("-inf")
        self._slurm_error: OpenQSEError | None = None
        self._runs = Runs()
        self._now = 0.0
        self._actions: list[Action] = []

    def handle(self, event: Event, now: float) -> list[Action]:
        """Takes in an event.

        Args:
            now: monotonic seconds.

        Returns:
            What is to be done now, in this order, before the next event is handed in but for those
            that tell how a record went.
        """
        self._now = now
        self._actions = []
        match event:
            case Heard(sender, message):
                self._hear(sender, message)
            case Answered(question, answer):
                self._answered(question, answer)
            case Recorded(Record() as record, error):
                self._recorded(record, error)
            case Recorded(RecordEnd(lease), error):
                self._end_recorded(lease, error)
            case Tick():
                self._tick()
        return self._actions

    def _do(self, action: Action) -> None:
        self._actions.append(action)

    @property
    def slurm_error(self) -> OpenQSEError | None:
        """Why slurmctld cannot be asked; None if it answers."""
        return self._slurm_error

    def lapsed(self, now: float) -> int:
        """How many leases nobody has renewed for long."""
        return len(self._leases.lapsed(now, self._ttl))

    def suspends_revocation(self, now: float) -> bool:
        """Whether there are leases after which slurmctld would have to be asked, and which are kept
        until it answers."""
        return self._slurm_error is not None and bool(self._leases.unconfirmed(now, self._ttl))

    # --- time ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Has slurmctld asked after leases when it is time to, or whether it answers at all, and
        ends what can end now."""
        for lease in self._leases.releasing:  # the journal did not take it at first
            self._do(RecordEnd(lease))
        if len(self._leases):
            self._read_shares()
        if self._reconciling is not None or self._now < self._ask_after:
            return
        ids = [lease.job_id for lease in self._leases.unconfirmed(self._now, self._ttl)]
        silent = self._slurm_error is not None or self._now - self._answered_at > self._ttl
        if not ids and silent:
            ids = [slurm.ANY_JOB]  # nobody waits for it, but that it answers is to be known
        if ids:
            self._reconciling = self._ask(ids)

    def _read_shares(self) -> None:
        if self._now - self._shares_read > _SHARES_FOR:
            self._shares_read = self._now
            self._do(ReadShares())

    def _ask(self, ids: Iterable[int]) -> Question:
        question = Question(next(self._numbers), tuple(ids))
        self._do(AskSlurm(question))
        return question

    # --- node agents -----------------------------------------------------------------------------

    def _hear(self, sender: Sender, message: wire.Attach | wire.Detach | wire.Heartbeat) -> None:
        try:
            if self._runs.begins(sender.node, sender.run):
                # What it holds may be out of date: its jobs may have ended while it was away.
                self._leases.doubt(sender.node)
            match message:
                case wire.Attach():
                    self._attach(sender, message)
                case wire.Detach():
                    self._detach(sender, message)
                case wire.Heartbeat():
                    self._heartbeat(sender, message)
        except OpenQSEError as error:
            self._do(Refuse(sender, error))

    def _attach(self, sender: Sender, request: wire.Attach) -> None:
        if request.node != sender.node:
            raise ProtocolError("an attach in the name of another node", layer="QPU agent")
        lease = self._leases.of_job(request.job_id)
        if lease is not None and lease.restart_count != request.restart_count:
            self._revoke(lease, "its job was requeued")
            lease = None
        if lease is not None:
            self._join(lease, sender, request, slurm_us=0)
            return
        candidate = self._candidates.get(request.job_id)
        if candidate is None:
            question = self._ask([request.job_id])
            candidate = Candidate(request.job_id, self._now, question)
            self._candidates[request.job_id] = candidate
        candidate.add(sender, request)

    def _detach(self, sender: Sender, message: wire.Detach) -> None:
        candidate = self._candidates.get(message.job_id)
        if candidate is not None:
            candidate.leave(sender.address)
            if candidate.stage == Stage.ANSWERED:
                del self._candidates[message.job_id]
        self._leave(message.job_id, sender.node, message.lease)
        self._do(Confirm(sender))

    def _leave(self, job_id: int, node: str, lease_id: str) -> None:
        ended = self._leases.leave(job_id, node, lease_id)
        if ended is not None:
            self._end(ended, State.RELEASED, "its job has ended or left its last node")
            return
        still = self._leases.of_job(job_id)
        if still is not None:
            self._do(Record(still))

    def _heartbeat(self, sender: Sender, heartbeat: wire.Heartbeat) -> None:
        """Takes in all that a node holds, which jobs it asks for, and which of the processes named
        to it have ended."""
        node = sender.node
        granted = [x for x in self._leases if x.state == State.GRANTED]
        renewed = self._leases.renew(heartbeat.leases, node, self._now)
        for lease in granted:
            if lease.state == State.ACTIVE:
                self._do(Record(lease))
        for lease in self._leases.forsaken(heartbeat.leases, heartbeat.asking, node):
            log.warning("node %s no longer holds lease %s", node, lease.id)
            self._leave(lease.job_id, node, lease.id)
        unknown = f"the QPU agent of {self._qpu.name} does not know it"
        revoked = {
            lease_id: self._ended.get(lease_id, unknown)
            for lease_id in heartbeat.leases
            if lease_id not in renewed
        }
        held = tuple(lease for lease in self._leases if lease.id in renewed)
        for lease in held:
            if lease.id in heartbeat.gone:
                self._do(EndProcesses(lease, node, tuple(heartbeat.gone[lease.id])))
        self._do(Renew(sender, held, revoked))

    # --- slurmctld -------------------------------------------------------------------------------

    def _answered(self, question: Question, answer: Mapping[int, slurm.Job] | OpenQSEError) -> None:
        if question == self._reconciling:
            self._reconcile(question, answer)
            return
        for candidate in self._candidates.values():
            if candidate.question == question:
                self._admit(candidate, answer)
                return
        # All of the job's nodes have left meanwhile.

    def _reconcile(
        self, question: Question, answer: Mapping[int, slurm.Job] | OpenQSEError
    ) -> None:
        """Ends leases of jobs that slurmctld says have ended, or have given their licenses back,
        and only those."""
        self._reconciling = None
        self._ask_after = self._now + min(_ASK_AGAIN, self._ttl / 2)
        self._answered_at = self._now
        if isinstance(answer, OpenQSEError):
            if self._slurm_error is None:
                log.error("no lease is revoked while slurmctld cannot be asked: %s", answer)
            self._slurm_error = answer
            return
        if self._slurm_error is not None:
            log.warning("slurmctld answers again")
            self._slurm_error = None
        self._revoke_ended(question.ids, answer)

    def _admit(self, candidate: Candidate, answer: Mapping[int, slurm.Job] | OpenQSEError) -> None:
        """Grants the lease for which nodes of a job wait, or tells them why not."""
        lease: Lease | None = None
        refusal: OpenQSEError = LeaseDenied(f"job {candidate.job_id} has left", layer="QPU agent")
        self._slurm_error = answer if isinstance(answer, OpenQSEError) else None
        self._answered_at = self._now
        try:
            if isinstance(answer, OpenQSEError):
                raise answer
            lease = self._judge(candidate, answer)
            if lease is None:
                return  # slurmctld is asked once more
        except OpenQSEError as error:
            refusal = error
        except Exception as error:  # a defect must not leave the job's nodes waiting
            log.exception("job %d could not be admitted", candidate.job_id)
            refusal = InternalError(repr(error), layer="QPU agent")
        candidate.become(Stage.ANSWERED)
        del self._candidates[candidate.job_id]
        slurm_us = int((self._now - candidate.began) * 1e6)
        for sender, request in candidate.waiting:
            try:
                if lease is None:
                    raise refusal
                self._join(lease, sender, request, slurm_us)
            except OpenQSEError as error:
                self._refuse_join(candidate.job_id, sender, error)
        if lease is not None:
            self._end_empty(lease)

    def _judge(self, candidate: Candidate, jobs: Mapping[int, slurm.Job]) -> Lease | None:
        """The lease that a job holds or gets; None if slurmctld is to be asked further.

        Raises:
            LeaseDenied: it gets none.
        """
        job_id, others = candidate.job_id, candidate.others
        self._revoke_ended(others, jobs)
        asker = jobs.get(job_id)
        leader = asker.leader if asker is not None and asker.running else job_id
        if leader != job_id and leader not in jobs and leader not in others:
            self._ask_further(candidate, Stage.LEADER, [leader])
            return None
        first = candidate.waiting[0][1]
        holder = self._holder(jobs.get(leader), job_id, first)
        lease = self._leases.of_job(leader)
        if lease is None:
            holders = [held.job_id for held in self._leases]
            short = holder.licenses[self._qpu.license] > self._leases.free
            if short and not set(holders) <= set(others):
                self._ask_further(candidate, Stage.HOLDERS, holders)
                return None
            lease = self._grant(holder, first)
        lease.jobs.add(job_id)
        return lease

    def _ask_further(self, candidate: Candidate, stage: Stage, ids: Iterable[int]) -> None:
        candidate.become(stage)
        candidate.others = tuple(dict.fromkeys([*candidate.others, *ids]))
        candidate.question = self._ask([candidate.job_id, *candidate.others])

    def _holder(self, job: slurm.Job | None, job_id: int, request: wire.Attach) -> slurm.Job:
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
        if job.uid != request.uid:
            raise LeaseDenied(
                f"job {job_id} belongs to uid {job.uid}, not {request.uid}", layer="slurmctld"
            )
        return job

    def _grant(self, job: slurm.Job, request: wire.Attach) -> Lease:
        lease = Lease(
            id=self._new_id(),
            job_id=job.id,
            uid=job.uid,
            user=job.user,
            account=job.account,
            slots=job.licenses[self._qpu.license],
            mode=request.mode,
            restart_count=request.restart_count,
            generation=1,
            ends_at=job.end_time,
            renewed_at=self._now,
            reservation=job.reservation,
        )
        lease.confirm(job.end_time, job.remaining, self._now)
        self._leases.grant(lease)  # in the journal as soon as a node has joined it
        log.info("job %d (%s) holds %d slot(s): %s", job.id, job.account, lease.slots, lease.id)
        if job.reservation:  # its part of the QPU may not be known yet
            self._shares_read = float("-inf")
        self._read_shares()
        return lease

    def _revoke_ended(self, ids: Iterable[int], jobs: Mapping[int, slurm.Job]) -> None:
        for job_id in ids:
            lease, job = self._leases.of_job(job_id), jobs.get(job_id)
            if lease is None:
                continue
            if job is not None and job.running:
                if job.licenses.get(self._qpu.license, 0) < lease.slots:
                    self._revoke(lease, "its job holds no longer the licenses of its slots")
                    continue
                lease.reservation = job.reservation  # the journal does not have it
                if lease.confirm(job.end_time, job.remaining, self._now):
                    self._do(Record(lease))
                if lease.over:
                    self._do(EndForLimit(lease))
            elif job is not None and job.state == "TIMEOUT":
                log.warning("lease %s of job %d expired", lease.id, job_id)
                reason = f"the lease of {self._qpu.name} expired: its job's time limit has ended"
                self._end(lease, State.EXPIRED, reason)
            else:
                self._revoke(lease, "its job has ended")

    # --- leases ----------------------------------------------------------------------------------

    def _join(self, lease: Lease, sender: Sender, request: wire.Attach, slurm_us: int) -> None:
        """Adds a node to a lease; it is told when that is in the journal.

        Raises:
            LeaseDenied: its step asks for more than the job holds.
        """
        new = sender.node not in lease.nodes
        self._leases.join(lease, sender.node, request.slots, request.mode, self._now)
        self._do(Record(lease, Join(sender, new, slurm_us)))

    def _recorded(self, record: Record, error: StorageError | None) -> None:
        lease, join = record.lease, record.join
        if join is None:
            if error is not None:
                log.error("a change of lease %s is not recorded: %s", lease.id, error)
            return
        node = join.sender.node
        if error is not None:
            if join.new:
                lease.nodes.discard(node)
            self._refuse_join(lease.job_id, join.sender, error)
            self._end_empty(lease)
        elif lease.held and node in lease.nodes:
            self._do(Grant(join.sender, lease, join.slurm_us))
        else:  # it has left, or the lease has ended, while it was being recorded
            left = LeaseDenied(f"job {lease.job_id} has left", layer="QPU agent")
            self._refuse_join(lease.job_id, join.sender, left)

    def _refuse_join(self, job_id: int, sender: Sender, error: OpenQSEError) -> None:
        log.warning("job %d is not attached: %s", job_id, error)
        self._do(Refuse(sender, error))

    def _end_empty(self, lease: Lease) -> None:
        if lease.held and not lease.nodes:
            self._end(lease, State.RELEASED, "no node joined it")

    def _revoke(self, lease: Lease, reason: str) -> None:
        log.warning("lease %s of job %d revoked: %s", lease.id, lease.job_id, reason)
        self._end(lease, State.REVOKED, f"the lease of {self._qpu.name} was revoked: {reason}")

    def _end(self, lease: Lease, how: State, reason: str) -> None:
        log.info("lease %s of job %d ends: %s", lease.id, lease.job_id, reason)
        self._leases.end(lease, how, reason)
        self._ended[lease.id] = reason
        if len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)
        self._do(Revoke(lease, reason))
        self._do(RecordEnd(lease))

    def _end_recorded(self, lease: Lease, error: StorageError | None) -> None:
        """One that the journal does not take now stays releasing, and is tried again."""
        if lease.state != State.RELEASING:
            return
        if error is not None:
            log.error("the end of lease %s is still to be recorded: %s", lease.id, error)
        else:
            self._leases.ended(lease)
