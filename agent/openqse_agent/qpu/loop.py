"""The QPU agent: a plain poller loop that owns the QPU's socket and clocks.

The device runs in the executor's thread and slurmctld is asked in threads of a small pool, so that
the loop never waits for either.
"""

from __future__ import annotations

import argparse
import heapq
import logging
import os
import secrets
import signal
import sqlite3
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from hashlib import sha256
from itertools import count
from typing import Any

import zmq

from openqse import device
from openqse.errors import (
    ConfigurationError,
    InternalError,
    LeaseDenied,
    LimitExceeded,
    NoLease,
    OpenQSEError,
    ProtocolError,
    TaskCancelled,
    UnknownProgram,
)
from openqse.site import SiteQPU
from openqse.wire import limits
from openqse.wire.frames import (
    Frame,
    bundled,
    decode_body,
    decode_header,
    encode,
    encode_error,
    send,
    task_of,
    unbundle,
)
from openqse.wire.messages import TASK_KINDS, Header, Kind, Latency, header
from openqse.wire.tasks import decode_work, encode_outcome
from openqse_agent import config as configuration
from openqse_agent.qpu.executor import Executor, Task
from openqse_agent.qpu.journal import Journal
from openqse_agent.qpu.leases import Lease, LeaseTable, Mode
from openqse_agent.slurm import choice
from openqse_agent.slurm import client as slurm

log = logging.getLogger("qpu-agent")

_TICK_MS = 200
#: Messages taken before completions and clocks get their turn.
_DRAIN = 256
#: Bytes of encoded programs kept for tasks that name one by its hash.
_PROGRAM_BYTES = 256 * 2**20
#: Reasons kept of leases that have ended, to tell those who still believe in them.
_ENDED_KEPT = 4096
#: Seconds for which shares read from Slurm are good.
_SHARES_FOR = 60.0

_POLLIN = int(zmq.POLLIN)

#: Envelope of an answer: routing id of the relay or the node agent, and of the session.
Address = tuple[bytes, bytes]


class QPUAgent:
    """The agent of one QPU; ``run`` serves until ``stop``."""

    def __init__(
        self,
        config: configuration.AgentConfig,
        qpu: SiteQPU,
        driver: device.Device,
        client: slurm.SlurmClient,
    ) -> None:
        self._config = config.qpu
        self._qpu = qpu
        self._device = driver
        self._capabilities = driver.capabilities.to_wire()
        self._slurm = client
        self._running = True
        self._context: zmq.Context[Any] = zmq.Context()
        self._router = self._listen()
        path = config.qpu.state_dir / f"{qpu.name}.sqlite"
        self._journal = Journal(path)
        self._leases = LeaseTable(qpu.name, qpu.slots, self._journal.restore(time.monotonic()))
        self._executor = Executor(driver, self._journal, config.qpu.programs)
        self._tasks: dict[bytes, Task] = {}
        self._in_flight: Counter[Address] = Counter()
        self._results: dict[Address, list[list[Frame]]] = {}
        self._deadlines: list[tuple[float, int, Task]] = []
        self._order = count()
        self._programs: OrderedDict[bytes, bytes] = OrderedDict()
        self._program_bytes = 0
        self._joining: dict[int, list[tuple[Address, Header, dict[str, Any]]]] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._shares_read = -_SHARES_FOR
        self._checked = time.monotonic()
        # Answers of slurmctld come back to the loop as calls to make.
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="slurm")
        self._calls: deque[Callable[[], None]] = deque()
        self._called = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = zmq.Poller()
        for ready in (self._router, self._executor.ready, self._called):
            self._poller.register(ready, zmq.POLLIN)

    def _listen(self) -> zmq.Socket[bytes]:
        router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, 0),  # the sessions' windows bound what is on its way
            (zmq.RCVHWM, 0),
            (zmq.MAXMSGSIZE, limits.TRANSPORT_MAX_FRAME_BYTES),
            (zmq.TCP_KEEPALIVE, 1),
        ):
            router.setsockopt(option, value)
        port = self._qpu.endpoint.rpartition(":")[2]
        try:
            router.bind(f"tcp://*:{port}")
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise ConfigurationError(
                f"cannot listen on port {port} for {self._qpu.name}: {error}",
                layer="QPU agent",
                remedy="Is another agent of this QPU running?",
            ) from error
        return router

    # --- the loop --------------------------------------------------------------------------------

    def run(self) -> None:
        """Serves until ``stop`` is called."""
        log.info(
            "serving %s on %s: %d slots, %d leases from the journal",
            self._qpu.name,
            self._qpu.endpoint,
            self._qpu.slots,
            len(self._leases),
        )
        next_tick = 0.0
        while self._running:
            # While short tasks wait the loop only glances at its sockets between two turns.
            pause = 0 if self._executor.waits_for_turn else _TICK_MS
            for ready, _ in self._poller.poll(pause):
                if ready is self._router:
                    self._receive()
                elif ready == self._executor.ready:
                    for task, outcome in self._executor.completions():
                        self._answer(task, outcome)
                else:
                    os.eventfd_read(self._called)
                    while self._calls:
                        self._calls.popleft()()
            for task, outcome in self._executor.turn():
                self._answer(task, outcome)
            self._send_results()
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + _TICK_MS / 1000
                self._tick(now)
        self._shut_down()

    def stop(self) -> None:
        """Ends ``run``; may be called from a signal handler."""
        self._running = False

    def _tick(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] < now:
            _, _, task = heapq.heappop(self._deadlines)
            if task.id in self._tasks and task.should_stop():
                assert task.stopped is not None
                self._cancel(task, task.stopped)
        try:
            self._journal.settle()
        except sqlite3.Error as error:
            log.error("charges stay in the journal's log, the database cannot take them: %s", error)
        if now - self._checked > self._config.lease_ttl / 2:
            self._checked = now
            lapsed = self._leases.lapsed(now, self._config.lease_ttl)
            if lapsed:
                ids = [lease.job_id for lease in lapsed]
                self._ask(lambda: self._slurm.jobs(ids), self._reconcile)

    def _shut_down(self) -> None:
        log.info("stopping; leases stay in the journal")
        self._executor.stop(timeout=5.0)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._journal.close()
        self._context.destroy(linger=200)

    def _ask(self, question: Callable[[], Any], answered: Callable[[Any], None]) -> None:
        """Puts a question to slurmctld; ``answered`` gets its answer or the error, in the loop."""

        def deliver(answer: Any) -> None:
            try:
                answered(answer)
            except Exception:  # a full disk or a defect must cost its answer, not the QPU
                log.exception("an answer of slurmctld could not be handled")

        def work() -> None:
            try:
                answer = question()
            except OpenQSEError as error:
                answer = error
            except Exception as error:
                log.exception("the Slurm client failed")
                answer = InternalError(f"the Slurm client failed: {error!r}", layer="QPU agent")
            self._calls.append(lambda: deliver(answer))
            os.eventfd_write(self._called, 1)

        self._pool.submit(work)

    # --- messages --------------------------------------------------------------------------------

    def _receive(self) -> None:
        router = self._router
        for _ in range(_DRAIN):
            node, *rest = router.recv_multipart()
            address, frames = (node, rest[0] if rest else b""), rest[1:]
            self._take(address, frames)
            if not int(router.getsockopt(zmq.EVENTS)) & _POLLIN:
                return

    def _take(self, address: Address, frames: list[bytes], bundled: bool = False) -> None:
        try:
            head = decode_header(frames)
            if head.kind != Kind.BUNDLE:
                self._handle(address, head, frames)
            elif bundled:
                raise ProtocolError("a bundle within a bundle")
            else:
                for message in unbundle(frames):
                    self._take(address, message, bundled=True)
        except OpenQSEError as error:
            self._send(address, encode_error(task_of(frames), error.at("QPU agent")))
        except Exception as error:  # a defect must cost its message, not the QPU
            log.exception("a message could not be handled")
            failure = InternalError(repr(error), layer="QPU agent")
            self._send(address, encode_error(task_of(frames), failure))

    def _handle(self, address: Address, head: Header, frames: list[bytes]) -> None:
        if head.kind in TASK_KINDS:
            self._submit(address, head, frames)
        elif head.kind == Kind.CANCEL:
            self._lease(address, head)
            task = self._tasks.get(head.task)
            if task is not None and task.lease.id == head.lease:
                self._cancel(
                    task, TaskCancelled("the task was cancelled by its client", layer="QPU agent")
                )
        elif head.kind in _CONTROL and _speaker(address[0])[1] is None:  # a relay speaks for ranks
            _CONTROL[Kind(head.kind)](self, address, head, decode_body(frames))
        else:
            raise ProtocolError(
                f"a QPU agent takes no {head.kind!r} messages from here", layer="QPU agent"
            )

    def _send(self, address: Address, frames: list[Frame]) -> None:
        send(self._router, [*address, *frames])

    # --- tasks -----------------------------------------------------------------------------------

    def _lease(self, address: Address, head: Header) -> Lease:
        node, job_id = _speaker(address[0])
        if job_id is None:
            raise NoLease("only a job's relay sends tasks", layer="QPU agent")
        return self._leases.check(head.lease, head.generation, node, job_id)

    def _submit(self, address: Address, head: Header, frames: list[bytes]) -> None:
        lease = self._lease(address, head)
        if not head.task:
            raise ProtocolError("a task without an id", layer="QPU agent")
        known = self._tasks.get(head.task)
        if known is not None:
            # Sent again while it waits or runs: the last asker gets the answer.
            if known.lease is not lease:
                raise ProtocolError("a task id that another job uses", layer="QPU agent")
            self._in_flight[known.address] -= 1
            known.address = address
            self._in_flight[address] += 1
            return
        if self._in_flight[address] >= self._config.tasks_per_session:
            raise LimitExceeded(
                f"the session has {self._config.tasks_per_session} unanswered tasks",
                layer="QPU agent",
                remedy="Wait for results before sending more",
                limit="tasks_per_session",
            )
        work, attached = decode_work(frames)
        if attached is not None:
            self._keep_program(work.program, attached)
        program = self._programs.get(work.program)
        if program is None:
            raise UnknownProgram("the program is not kept here; send it again", layer="QPU agent")
        self._programs.move_to_end(work.program)
        deadline = time.monotonic() + head.time_left if head.time_left else None
        interactive = head.latency == Latency.INTERACTIVE
        task = Task(head.task, address, lease, work, program, deadline, interactive)
        self._tasks[task.id] = task
        self._in_flight[address] += 1
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, next(self._order), task))
        self._executor.push(task)

    def _keep_program(self, key: bytes, program: bytes) -> None:
        if key in self._programs:
            return
        if sha256(program).digest() != key:
            raise ProtocolError("a program whose hash is not its id", layer="QPU agent")
        self._programs[key] = program
        self._program_bytes += len(program)
        while self._program_bytes > _PROGRAM_BYTES:
            _, dropped = self._programs.popitem(last=False)
            self._program_bytes -= len(dropped)

    def _cancel(self, task: Task, reason: OpenQSEError) -> None:
        if self._executor.cancel(task, reason):
            self._answer(task, reason)

    def _answer(self, task: Task, outcome: device.Outcome | OpenQSEError) -> None:
        self._tasks.pop(task.id, None)
        self._in_flight[task.address] -= 1
        if not self._in_flight[task.address]:
            del self._in_flight[task.address]
        if isinstance(outcome, OpenQSEError):
            frames = encode_error(task.id, outcome)
        else:
            body, buffers = encode_outcome(outcome)
            try:
                frames = encode(header(Kind.RESULT, task.id), body, buffers)
            except LimitExceeded as error:
                frames = encode_error(task.id, error.at("QPU agent"))
        self._results.setdefault(task.address, []).append(frames)

    def _send_results(self) -> None:
        for address, results in self._results.items():
            for frames in bundled(results):
                self._send(address, frames)
        self._results.clear()

    # --- leases ----------------------------------------------------------------------------------

    def _attach(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        for key in ("job_id", "uid", "restart_count", "slots"):
            if type(body.get(key)) is not int or body[key] < 0:
                raise ProtocolError(f"an attach needs the number {key!r}", layer="QPU agent")
        if body.get("node") != _speaker(address[0])[0]:
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
                self._executor.set_weight(account, share)

    def _join(
        self, lease: Lease, address: Address, head: Header, body: dict[str, Any], slurm_us: int
    ) -> None:
        self._leases.join(
            lease, _speaker(address[0])[0], body["slots"], body["mode"], time.monotonic()
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

    def _detach(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        job_id = body.get("job_id")
        if type(job_id) is not int:
            raise ProtocolError("a detach names its job", layer="QPU agent")
        waiting = self._joining.get(job_id, [])
        waiting[:] = [entry for entry in waiting if entry[0] != address]
        lease = self._leases.leave(job_id, _speaker(address[0])[0])
        if lease is not None:
            self._ended_now(lease, "released")
        else:
            still = self._leases.of_job(job_id)
            if still is not None:
                self._journal.write_lease(still)
        self._send(address, encode(header(Kind.DETACHED, head.task)))

    def _heartbeat(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        claimed = body.get("leases")
        if not isinstance(claimed, list) or not all(type(x) is str for x in claimed):
            raise ProtocolError("a heartbeat lists leases", layer="QPU agent")
        renewed = self._leases.renew(claimed, _speaker(address[0])[0], time.monotonic())
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
        lapsed = self._leases.lapsed(now, self._config.lease_ttl)
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
        for task in [task for task in self._tasks.values() if task.lease is lease]:
            self._cancel(task, NoLease(reason, layer="QPU agent"))

    # --- reports ---------------------------------------------------------------------------------

    def _status(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        status = self._device.status()
        self._report(
            address,
            head,
            {
                "qpu": self._qpu.name,
                "online": status.online,
                "reason": status.reason,
                "slots": self._qpu.slots,
                "free": self._leases.free,
                "leases": len(self._leases),
                "tasks_queued": len(self._executor),
                "tasks": len(self._tasks),
                "calibration": self._device.calibration().id,
            },
        )

    def _list_leases(self, address: Address, head: Header, body: dict[str, Any]) -> None:
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
        self._report(address, head, {"leases": leases})

    def _usage(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        job_id = body.get("job_id")
        if job_id is not None and not (type(job_id) is int and 0 <= job_id < 2**32):
            raise ProtocolError("a job id is a number of 32 bits", layer="QPU agent")
        usage = [{"qpu": self._qpu.name, **u.to_wire()} for u in self._journal.usage(job_id)]
        self._report(address, head, {"usage": usage})

    def _report(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        self._send(address, encode(header(Kind.REPORT, head.task), body))


_CONTROL: dict[Kind, Callable[[QPUAgent, Address, Header, dict[str, Any]], None]] = {
    Kind.ATTACH: QPUAgent._attach,
    Kind.DETACH: QPUAgent._detach,
    Kind.HEARTBEAT: QPUAgent._heartbeat,
    Kind.STATUS: QPUAgent._status,
    Kind.LEASES: QPUAgent._list_leases,
    Kind.USAGE: QPUAgent._usage,
}


@lru_cache(maxsize=4096)
def _speaker(routing_id: bytes) -> tuple[str, int | None]:
    """Which node speaks, and for which job: NODE-RUN or a relay's NODE-RUN/JOB/NUMBER."""
    agent, *relay = routing_id.decode(errors="replace").split("/")
    job_id = int(relay[0]) if len(relay) == 2 and relay[0].isdecimal() else None
    return agent.rpartition("-")[0], job_id


def main(argv: list[str] | None = None) -> int:
    """The command ``openqse-qpu-agent``."""
    parser = argparse.ArgumentParser(
        prog="openqse-qpu-agent",
        description="Owns one QPU of the site: its leases, queue, journal and device.",
    )
    parser.add_argument("qpu", help="name of the QPU in the site file")
    arguments, config, site = configuration.parse(parser, argv)
    try:
        qpu = site.qpu(arguments.qpu)
        driver = device.load(qpu.device, qpu.profile)
        client = choice.connect(config.slurm.client, config.slurm.timeout)
        agent = QPUAgent(config, qpu, driver, client)
    except ConfigurationError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()
    return 0
