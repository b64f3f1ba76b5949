"""Attach and detach on a node: all QPUs of a step or none, and nothing left of a job that ends.

Values and transitions: ``Attachments.handle`` takes an event and gives the actions that follow from
it, in their order. It asks, answers and makes nothing itself, and the time is handed in.

An attach and a detach go these ways:

    ASKING ──► OPENING ──► ATTACHED        LEAVING ──► LEFT
       └──────────┴──────► REFUSED            └──────► UNHEARD

A step whose job is attaching already waits for that, and follows. An attach that is refused gives
back what was granted, or may be on its way.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from openqse.errors import LeaseDenied, OpenQSEError
from openqse.site import Site
from openqse.wire import leases as wire
from openqse_agent.node import hooks
from openqse_agent.node.events import (
    Action,
    Ask,
    Close,
    CloseQPU,
    Event,
    Fail,
    Granted,
    HookId,
    JobEnds,
    Leave,
    Left,
    Open,
    Opened,
    Refused,
    Renewed,
    Restored,
    StepAttaches,
    Succeed,
    Tick,
    Write,
)
from openqse_agent.node.jobs import Holding, Job, unavailable

log = logging.getLogger("node-agent")

#: Seconds after which a QPU agent that has not answered an attach is asked again.
_ASK_AGAIN = 1.0
#: Seconds for the QPU agents to confirm that a job has left.
_DETACH_TIMEOUT = 3.0

S = TypeVar("S", bound=StrEnum)


class AttachState(StrEnum):
    """How far an attach is."""

    ASKING = "asking"  # QPU agents are asked for the job's leases
    OPENING = "opening"  # all have granted; the job's sockets are being made
    ATTACHED = "attached"  # its steps have been answered
    REFUSED = "refused"  # its steps have been told why not


class DetachState(StrEnum):
    """How far a detach is."""

    LEAVING = "leaving"  # QPU agents are told
    LEFT = "left"  # all have confirmed
    UNHEARD = "unheard"  # some have not in time: heartbeats tell them, or their leases lapse


#: What may follow what.
ATTACH_TRANSITIONS: Mapping[AttachState, frozenset[AttachState]] = {
    AttachState.ASKING: frozenset({AttachState.OPENING, AttachState.REFUSED}),
    AttachState.OPENING: frozenset({AttachState.ATTACHED, AttachState.REFUSED}),
    AttachState.ATTACHED: frozenset(),
    AttachState.REFUSED: frozenset(),
}
DETACH_TRANSITIONS: Mapping[DetachState, frozenset[DetachState]] = {
    DetachState.LEAVING: frozenset({DetachState.LEFT, DetachState.UNHEARD}),
    DetachState.LEFT: frozenset(),
    DetachState.UNHEARD: frozenset(),
}


def _follow(table: Mapping[S, frozenset[S]], job_id: int, before: S, after: S) -> S:
    """The state that follows.

    Raises:
        ValueError: that is no way to go.
    """
    if after not in table[before]:
        raise ValueError(f"job {job_id} cannot become {after} from {before}")
    return after


@dataclass
class Attaching:
    """An attach under way: all of its QPUs grant, or none is kept.

    Attributes:
        steps: the step that began it, and those of the same job that follow.
        asked: QPUs that have been asked. granted: what those have given that have said yes.
        deadline: monotonic instant by which all must have answered.
        asked_at: when they were asked last.
    """

    steps: list[StepAttaches]
    asked: tuple[str, ...]
    deadline: float
    asked_at: float
    granted: dict[str, Holding] = field(default_factory=dict)
    state: AttachState = AttachState.ASKING

    @property
    def request(self) -> hooks.Attach:
        """What the first step asks for."""
        return self.steps[0].request

    @property
    def job_id(self) -> int:
        return self.request.job_id

    @property
    def silent(self) -> list[str]:
        """QPUs whose agents have not answered."""
        return [qpu for qpu in self.asked if qpu not in self.granted]

    def become(self, state: AttachState) -> None:
        """Goes over into another state; raises ValueError if that is no way to go."""
        self.state = _follow(ATTACH_TRANSITIONS, self.job_id, self.state, state)


@dataclass
class Detaching:
    """A detach under way.

    Attributes:
        silent: QPUs whose agents have not confirmed.
        hooks: connections that wait for them.
    """

    job_id: int
    deadline: float
    silent: set[str]
    hooks: list[HookId]
    state: DetachState = DetachState.LEAVING

    def become(self, state: DetachState) -> None:
        """Goes over into another state; raises ValueError if that is no way to go."""
        self.state = _follow(DETACH_TRANSITIONS, self.job_id, self.state, state)


class Attachments:
    """The jobs of a node, and what may change what they hold.

    Args:
        runtime: the folder of the jobs' directories.
        timeout: seconds for the QPU agents to grant a job's leases.

    Attributes:
        jobs: those attached, or whose sockets are being made, by id.
    """

    def __init__(self, site: Site, runtime: Path, timeout: float) -> None:
        self._site = site
        self._runtime = runtime
        self._timeout = timeout
        self.jobs: dict[int, Job] = {}
        self._attaching: dict[int, Attaching] = {}
        self._detaching: dict[int, Detaching] = {}
        self._now = 0.0
        self._actions: list[Action] = []

    def handle(self, event: Event, now: float) -> list[Action]:
        """Takes in an event.

        Args:
            now: monotonic seconds.

        Returns:
            What is to be done now, in this order. Of its outcome only ``Opened`` is waited for.
        """
        self._now = now
        self._actions = []
        match event:
            case StepAttaches():
                self._attach(event)
            case JobEnds(hook, job_id):
                self._detach(job_id, hook)
            case Granted():
                self._granted(event)
            case Refused(_, job_id, error):
                self._refused(job_id, error)
            case Left(qpu, job_id):
                self._left(qpu, job_id)
            case Renewed(qpu, pong):
                self._renewed(qpu, pong)
            case Restored(job):
                self._restore(job)
            case Opened(job_id, error):
                self._opened(job_id, error)
            case Tick():
                self._tick()
        return self._actions

    def _do(self, action: Action) -> None:
        self._actions.append(action)

    # --- what QPU agents are told, and ranks -----------------------------------------------------

    def asks_for(self, job_id: int) -> bool:
        """Whether a job is attaching."""
        return job_id in self._attaching

    @property
    def asking(self) -> tuple[int, ...]:
        """The jobs that are attaching."""
        return tuple(self._attaching)

    def held(self, qpu: str) -> dict[str, int]:
        """The leases of a QPU that this node holds, and their generations."""
        holdings = (job.holdings.get(qpu) for job in self.jobs.values())
        return {each.lease: each.generation for each in holdings if each is not None}

    def socket(self, job_id: int) -> Path:
        """Where a job's ranks find this agent."""
        return directory(self._runtime, job_id) / hooks.SOCKET

    # --- attach ----------------------------------------------------------------------------------

    def _attach(self, step: StepAttaches) -> None:
        try:
            self._begin(step)
        except OpenQSEError as error:
            log.warning("job %d not attached: %s", step.request.job_id, error)
            self._do(Fail(step.hook, error))

    def _begin(self, step: StepAttaches) -> None:
        """Begins an attach, joins one that is under way, or answers at once.

        Raises:
            LeaseDenied: the step asks for more than the job holds. ConfigurationError: for a QPU
                that the site does not have.
        """
        request = step.request
        for name in request.qpus:
            self._site.qpu(name)
        under_way = self._attaching.get(request.job_id)
        if under_way is not None and under_way.request.restart_count != request.restart_count:
            self._refuse(under_way, LeaseDenied("the job was requeued", layer="node agent"))
            under_way = None
        job = self.jobs.get(request.job_id)
        if job is not None and job.restart_count != request.restart_count:
            # A requeued job whose epilog did not reach this agent.
            self._leave(job.id, job.leases)
            self._forget(job.id)
            job = None
        if under_way is not None:
            under_way.steps.append(step)
            return
        new = Job(request.job_id, request.uid, request.gid, request.restart_count)
        missing = (job or new).missing(request, self._site)
        if job is not None and not missing:
            self._succeed(step.hook, job)
            return
        deadline = self._now + self._timeout
        attaching = Attaching([step], tuple(missing), deadline, self._now)
        self._attaching[request.job_id] = attaching
        self._ask(attaching, missing)

    def _ask(self, attaching: Attaching, qpus: Iterable[str]) -> None:
        left = max(0.0, attaching.deadline - self._now)
        for qpu in qpus:
            self._do(Ask(qpu, attaching.request, left))

    def _granted(self, event: Granted) -> None:
        attaching = self._attaching.get(event.job_id)
        if (
            attaching is None
            or attaching.state != AttachState.ASKING
            or event.qpu not in attaching.asked
        ):
            return  # too late: the attach was refused and taken back; or said twice
        grant = event.grant
        attaching.granted[event.qpu] = Holding(
            qpu=event.qpu,
            lease=event.lease,
            generation=event.generation,
            slots=grant.slots,
            mode=grant.mode,
            ends_at=None if grant.time_left is None else self._now + grant.time_left,
            capabilities=grant.capabilities,
            slurm_us=grant.slurm_us,
            versions=grant.versions,
        )
        if not attaching.silent:
            self._open(attaching)

    def _open(self, attaching: Attaching) -> None:
        attaching.become(AttachState.OPENING)
        request = attaching.request
        job = self.jobs.setdefault(
            request.job_id,
            Job(request.job_id, request.uid, request.gid, request.restart_count),
        )
        for name in request.qpus:  # in the order of the request, which the environment shows
            if name in attaching.granted:
                job.holdings[name] = attaching.granted[name]
        self._do(Open(job, attaching.asked))

    def _opened(self, job_id: int, error: str | None) -> None:
        job, attaching = self.jobs.get(job_id), self._attaching.get(job_id)
        if attaching is None or attaching.state != AttachState.OPENING:
            self._reopened(job, error)
            return
        # One that the job held already may have been revoked while it was asking for others.
        held = {} if job is None else job.holdings
        revoked = [qpu for qpu in attaching.request.qpus if qpu not in held]
        if error is not None:
            self._refuse(
                attaching,
                LeaseDenied(
                    f"the job's sockets under {self._runtime} cannot be made: {error}",
                    layer="node agent",
                    remedy="Ask the administrator to look at the file system of this node",
                ),
            )
        elif job is None or revoked:
            self._refuse(
                attaching,
                LeaseDenied(
                    f"the lease of {', '.join(revoked)} was revoked while job {job_id} attached",
                    layer="node agent",
                    remedy="Submit the job again",
                ),
            )
        else:
            attaching.become(AttachState.ATTACHED)
            del self._attaching[job_id]
            log.info("job %d attached: %s", job_id, ", ".join(job.holdings))
            self._succeed(attaching.steps[0].hook, job)
            for step in attaching.steps[1:]:
                self._attach(step)

    def _succeed(self, hook: HookId, job: Job) -> None:
        socket = str(self.socket(job.id))
        self._do(Succeed(hook, job.environment(socket, self._site, self._now)))

    def _refused(self, job_id: int, error: OpenQSEError) -> None:
        attaching = self._attaching.get(job_id)
        if attaching is not None and attaching.state == AttachState.ASKING:
            self._refuse(attaching, error)

    def _refuse(self, attaching: Attaching, error: OpenQSEError) -> None:
        """Ends an attach without a lease: what was granted, or may be on its way, is given back."""
        log.warning("job %d not attached: %s", attaching.job_id, error)
        if attaching.state == AttachState.OPENING:
            self._take_back(attaching)
        attaching.become(AttachState.REFUSED)
        del self._attaching[attaching.job_id]
        self._leave(attaching.job_id, dict.fromkeys(attaching.asked, ""))
        for step in attaching.steps:
            self._do(Fail(step.hook, error))

    def _take_back(self, attaching: Attaching) -> None:
        """Undoes what an attach that failed here has made."""
        job = self.jobs.get(attaching.job_id)
        if job is None:
            return
        for qpu in attaching.asked:
            job.holdings.pop(qpu, None)
            self._do(CloseQPU(job.id, qpu))
        if not job.holdings:
            self._forget(job.id)

    def _restore(self, job: Job) -> None:
        """Lets a job of an earlier run of this agent go on where its ranks look for it."""
        for name in job.holdings.keys() - self._site.qpus.keys():
            log.warning("job %d held %s, which the site no longer has", job.id, name)
            del job.holdings[name]
        self.jobs[job.id] = job
        self._do(Open(job, tuple(job.holdings)))

    def _reopened(self, job: Job | None, error: str | None) -> None:
        if job is None:
            return
        if error is None:
            log.info("job %d goes on: %s", job.id, ", ".join(job.holdings))
        else:
            log.error("job %d cannot go on, its sockets cannot be made: %s", job.id, error)
            self._forget(job.id)

    # --- detach ----------------------------------------------------------------------------------

    def _leave(self, job_id: int, leases: Mapping[str, str]) -> None:
        for qpu, lease in leases.items():
            self._do(Leave(qpu, job_id, lease))

    def _forget(self, job_id: int) -> None:
        """Ends a job here: what is not recorded is not held."""
        del self.jobs[job_id]
        self._do(Close(job_id))

    def _detach(self, job_id: int, hook: HookId) -> None:
        attaching = self._attaching.get(job_id)
        if attaching is not None:
            self._refuse(attaching, LeaseDenied("the job has ended", layer="node agent"))
        under_way, job = self._detaching.get(job_id), self.jobs.get(job_id)
        if under_way is not None and job is None:
            under_way.hooks.append(hook)
            return
        # A job unknown here may still be attached by an earlier run of this agent: ask everybody.
        leases = job.leases if job else dict.fromkeys(self._site.qpus, "")
        if job is not None:
            self._forget(job_id)
        detaching = Detaching(job_id, self._now + _DETACH_TIMEOUT, set(leases), [hook])
        if under_way is not None:
            detaching.hooks += under_way.hooks
            detaching.silent |= under_way.silent
        self._detaching[job_id] = detaching
        self._leave(job_id, leases)
        log.info("job %d detached", job_id)
        self._end_detach(detaching)

    def _left(self, qpu: str, job_id: int) -> None:
        detaching = self._detaching.get(job_id)
        if detaching is not None:
            detaching.silent.discard(qpu)
            self._end_detach(detaching)

    def _end_detach(self, detaching: Detaching) -> None:
        """Answers a detach that all have confirmed, or whose time is up."""
        if not detaching.silent:
            detaching.become(DetachState.LEFT)
        elif self._now > detaching.deadline:
            detaching.become(DetachState.UNHEARD)
            log.warning(
                "job %d: no confirmation from the QPU agent of %s; its lease ends when it lapses",
                detaching.job_id,
                ", ".join(sorted(detaching.silent)),
            )
        else:
            return
        del self._detaching[detaching.job_id]
        for hook in detaching.hooks:
            self._do(Succeed(hook, {}))

    # --- time, and heartbeats --------------------------------------------------------------------

    def _tick(self) -> None:
        for attaching in list(self._attaching.values()):
            if attaching.state != AttachState.ASKING:
                continue
            if self._now > attaching.deadline:
                self._refuse(attaching, unavailable(self._site.qpu(attaching.silent[0])))
            elif self._now - attaching.asked_at > _ASK_AGAIN:
                attaching.asked_at = self._now
                self._ask(attaching, attaching.silent)
        for detaching in list(self._detaching.values()):
            self._end_detach(detaching)

    def _renewed(self, qpu: str, pong: wire.Pong) -> None:
        """Takes in generations, and which leases are no more."""
        for job in list(self.jobs.values()):
            holding = job.holdings.get(qpu)
            if holding is None:
                continue
            if holding.lease in pong.leases:
                holding.generation = pong.leases[holding.lease]
            elif holding.lease in pong.revoked:
                reason = pong.revoked[holding.lease]
                log.warning("job %d: %s", job.id, reason)
                job.revoked[holding.lease] = reason
                del job.holdings[qpu]
                self._do(CloseQPU(job.id, qpu))
                if job.holdings:
                    self._do(Write(job))
                else:
                    self._forget(job.id)


def directory(runtime: Path, job_id: int) -> Path:
    """The private directory of a job."""
    return runtime / f"job-{job_id}"
