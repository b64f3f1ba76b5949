"""The QPU agent: a plain poller loop that owns the QPU's socket and clocks.

The device runs in the executor's thread, but for tasks known to be short, and slurmctld is asked in
threads of a small pool, so that the loop waits for neither.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import logging
import os
import signal
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import zmq

from openqse import device
from openqse.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InternalError,
    LimitExceeded,
    NoLease,
    NotAuthorised,
    OpenQSEError,
    ProtocolError,
    StorageError,
    TaskCancelled,
)
from openqse.program.program import Program
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
from openqse.wire.reports import (
    EstimateReport,
    QueueQuestion,
    QueueReport,
    Report,
    ShareReport,
    StatusReport,
    UsageQuestion,
    UsageReport,
    UsageRow,
)
from openqse.wire.tasks import (
    Acknowledge,
    Resync,
    Resynced,
    decode_task,
    encode_outcome,
)
from openqse_agent import config as configuration
from openqse_agent import keys
from openqse_agent.notify import Notifier
from openqse_agent.qpu.charges.commit import GroupCommit
from openqse_agent.qpu.charges.writeback import Accounting
from openqse_agent.qpu.journal import Journal
from openqse_agent.qpu.leases import Lease, LeaseTable
from openqse_agent.qpu.leases.admission import Admission, speaker
from openqse_agent.qpu.reports.estimates import Estimates
from openqse_agent.qpu.reports.rows import queue_rows, share_rows, wait_report
from openqse_agent.qpu.service.maintenance import Maintenance, load
from openqse_agent.qpu.tasks.executor import Executor
from openqse_agent.qpu.tasks.policies import FifoQueue, Queue
from openqse_agent.qpu.tasks.queue import FairQueue
from openqse_agent.qpu.tasks.sessions import Address, Ledger, Session
from openqse_agent.qpu.tasks.shares import DEFAULT_HALF_LIFE, ShareTree, decay_per_second
from openqse_agent.qpu.tasks.task import State, Task
from openqse_agent.slurm import choice
from openqse_agent.slurm import client as slurm

log = logging.getLogger("qpu-agent")

_TICK_MS = 200
#: Messages taken before completions and clocks get their turn.
_DRAIN = 256
#: Deadlines of tasks that have ended which are kept, beside as many as there are tasks.
_DEADLINES_KEPT = 1024
#: Reports that may wait for the thread that makes them.
_REPORTS = 16
#: Seconds for which tasks wait for a journal that takes no charges, before they are refused.
_STORAGE_PATIENCE = 30.0
#: Seconds of usage that a restarted agent takes from its journal: what is older hardly counts.
_REMEMBERED = 8 * DEFAULT_HALF_LIFE
#: Bytes of a session's id at the beginning of a task's, and of the number after it.
_SESSION, _NUMBER = 8, 8

#: What anybody may ask.
_FOR_ALL = frozenset({Kind.STATUS, Kind.LEASES, Kind.USAGE, Kind.QUEUE, Kind.SHARE, Kind.ESTIMATE})
#: What administrators may ask besides, and nobody else.
_FOR_ADMINS = frozenset({Kind.DRAIN, Kind.RESUME})
#: Who speaks where the QPU has no key: whoever reaches its port, for nodes.
_UNPROVEN = keys.Principal(keys.Role.NODE, "")

_POLLIN = int(zmq.POLLIN)


class QPUAgent:
    """The agent of one QPU; ``run`` serves until ``stop``."""

    def __init__(
        self,
        config: configuration.AgentConfig,
        qpu: SiteQPU,
        driver: device.Device[Any, Any],
        client: slurm.SlurmClient,
    ) -> None:
        self._config = config.qpu
        self._qpu = qpu
        self._device = driver
        self._running = True
        self._context: zmq.Context[Any] = zmq.Context()
        self._guard = self._open_guard(config.keys)
        self._router = self._listen()
        path = config.qpu.state_dir / f"{qpu.name}.sqlite"
        windows = config.qpu.state_dir / f"{qpu.name}.windows"
        try:
            drained = load(windows, qpu.name)
            self._journal = Journal(path)
        except ConfigurationError:
            self._context.destroy(linger=0)
            raise
        self._leases = LeaseTable(qpu.name, qpu.slots, self._journal.restore(time.monotonic()))
        self._shares = ShareTree()
        self._queue = self._make_queue()
        self._charging: GroupCommit[Task] = GroupCommit(self._journal)
        self._executor = Executor(
            driver,
            self._charging,
            config.qpu.programs,
            self._queue,
            config.qpu.slice,
            qpu.name,
            config.qpu.watermark,
        )
        self._tasks: dict[bytes, Task] = {}
        self._ledgers: dict[str, Ledger] = {}
        self._results: dict[Address, list[list[Frame]]] = {}
        self._deadlines: list[tuple[float, int, Task]] = []
        self._order = count()
        self._storage_error: StorageError | None = None
        self._storage_failed = 0.0
        self._admission = Admission(
            qpu,
            self._leases,
            config.qpu.lease_ttl,
            self._journal,
            client,
            driver.capabilities.to_wire(),
            ask=self._ask,
            send=self._send,
            on_end=self._drop,
            set_shares=self._set_shares,
            on_over=self._end_for_limit,
            processes=self._processes,
            on_gone=self._forget,
        )
        self._maintenance = Maintenance(
            qpu,
            windows,
            drained,
            client,
            ask=self._ask,
            send=self._send,
            hold=self._executor.hold,
        )
        self._accounting = Accounting(qpu.name, self._journal, client, self._ask)
        self._estimates = Estimates(
            qpu.name,
            self._executor,
            driver.capabilities.max_shots,
            ask=self._ask,
            look_up=self._look_up,
            answer=self._report_estimate,
        )
        self._control: dict[str, Callable[[Address, Header, dict[str, Any]], None]] = {
            Kind.ATTACH: self._admission.attach,
            Kind.DETACH: self._admission.detach,
            Kind.HEARTBEAT: self._admission.heartbeat,
            Kind.PROBE: self._probe,
            Kind.LEASES: self._admission.list_leases,
            Kind.STATUS: self._status,
            Kind.USAGE: self._usage,
            Kind.QUEUE: self._report_queue,
            Kind.SHARE: self._report_shares,
            Kind.ESTIMATE: self._estimates.asked,
        }
        # Answers of slurmctld come back to the loop as calls to make. What anybody may ask has a
        # thread of its own: whoever asks much waits, and no job does.
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="slurm")
        self._reports = ThreadPoolExecutor(1, thread_name_prefix="reports")
        self._reports_free = threading.Semaphore(_REPORTS)
        self._calls: deque[Callable[[], None]] = deque()
        self._called = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._remember_usage()
        self._poller = zmq.Poller()
        for ready in (self._router, self._charging.ready, self._called):
            self._poller.register(ready, zmq.POLLIN)
        if self._guard is not None:
            self._poller.register(self._guard.zap, zmq.POLLIN)

    def _make_queue(self) -> Queue[Task]:
        if self._config.policy == "fifo":
            return FifoQueue()
        return FairQueue(
            self._shares,
            interactive_credit=self._config.interactive_credit,
            idle_credit=self._config.idle_credit,
        )

    def _remember_usage(self) -> None:
        """Loads past usage from the journal into the share tree, while tasks are served."""
        decay = decay_per_second(DEFAULT_HALF_LIFE)  # the site's is not known yet
        wall = time.time()

        def read() -> dict[tuple[str, str], float]:
            seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
            for account, user, at, ns in self._journal.past(wall - _REMEMBERED, wall):
                seconds[account, user] += ns * 1e-9 * decay ** (wall - at)
            return seconds

        def add(seconds: Any) -> None:
            if isinstance(seconds, OpenQSEError):
                log.warning("usage begins anew: %s", seconds)
                return
            now = time.monotonic()
            for (account, user), used in seconds.items():
                self._shares.charge(account, user, used, now)

        self._ask(read, lambda seconds: self._executor.alone(lambda: add(seconds)))

    def _set_shares(self, tree: slurm.FairTree, promised: dict[str, float]) -> None:
        """Takes over what Slurm's fair tree and its reservations say."""

        def change() -> None:
            self._shares.update(tree.accounts, tree.users, tree.half_life)
            self._shares.reserve(promised)
            if isinstance(self._queue, FairQueue):
                self._queue.renew_weights()

        self._executor.alone(change)

    def _open_guard(self, directory: Path) -> keys.Authenticator | None:
        public = keys.of_qpu(self._qpu)
        if public is None:
            log.warning(
                "the site file has no key for %s: messages are in the clear, and whoever reaches "
                "its port can speak for a node",
                self._qpu.name,
            )
            return None
        path = keys.latest(directory, self._qpu.name)
        for pair in map(keys.Pair.read, keys.pairs(directory, self._qpu.name)):
            if pair.public == public:
                return keys.Authenticator(self._context, self._qpu.name, pair.secret, directory)
        raise ConfigurationError(
            f"{path} is not the secret of the key that the site file has for {self._qpu.name}",
            layer="QPU agent",
            remedy="Put its public key into the site file, or the right secret here",
        )

    def _listen(self) -> zmq.Socket[bytes]:
        router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        limits.apply(router)
        for option, value in (
            (zmq.HEARTBEAT_IVL, limits.TRANSPORT_HEARTBEAT_MS),
            (zmq.HEARTBEAT_TIMEOUT, 3 * limits.TRANSPORT_HEARTBEAT_MS),
            # A node that connects again before its old connection is given up takes its place.
            (zmq.ROUTER_HANDOVER, 1),
        ):
            router.setsockopt(option, value)
        if self._guard is not None:
            self._guard.use(router)
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
        notifier = Notifier()
        notifier.ready()
        while self._running:
            # While short tasks wait the loop only glances at its sockets between two turns.
            pause = 0 if self._executor.waits_for_turn else _TICK_MS
            for ready, _ in self._poller.poll(pause):
                if ready is self._router:
                    self._receive()
                elif ready == self._charging.ready:
                    os.eventfd_read(self._charging.ready)
                elif self._guard is not None and ready is self._guard.zap:
                    self._guard.answer()
                else:
                    os.eventfd_read(self._called)
                    while self._calls:
                        self._calls.popleft()()
            self._executor.turn()
            for task, outcome, _ in self._charging.turn(busy=self._executor.waits_for_turn):
                self._answer(task, outcome)
            self._send_results()
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + _TICK_MS / 1000
                self._tick(now)
                notifier.alive(now)
        notifier.stopping()
        self._shut_down()

    def stop(self) -> None:
        """Ends ``run``; may be called from a signal handler."""
        if self._running:
            self._running = False
            os.eventfd_write(self._called, 1)

    def _tick(self, now: float) -> None:
        if self._guard is not None:
            self._guard.refresh()
        while self._deadlines and self._deadlines[0][0] < now:
            _, _, task = heapq.heappop(self._deadlines)
            if task.id in self._tasks and task.late(now):
                assert task.stopped is not None
                self._cancel(task, self._maintenance.explained(task.stopped))
        if len(self._deadlines) > 2 * len(self._tasks) + _DEADLINES_KEPT:
            # Those of tasks that have ended: their deadlines may be hours away.
            self._deadlines = [entry for entry in self._deadlines if entry[2].id in self._tasks]
            heapq.heapify(self._deadlines)
        self._settle(now)
        self._admission.tick(now)
        self._maintenance.tick(now)
        self._accounting.tick(now)

    def _settle(self, now: float) -> None:
        try:
            self._journal.settle()
        except StorageError as error:
            if self._storage_error is None:
                log.error("charges stay in the journal's log: %s", error)
                self._storage_failed = now
            self._storage_error = error
            if self._refuses(now):
                self._cancel_all(lambda task: True, error)
        else:
            if self._storage_error is not None:
                log.warning("the journal takes charges again")
                self._storage_error = None

    def _refuses(self, now: float) -> bool:
        """Whether tasks have waited long enough for a journal that cannot take their charges."""
        return not self._journal.has_room and now - self._storage_failed > _STORAGE_PATIENCE

    def _shut_down(self) -> None:
        log.info("stopping; leases stay in the journal")
        self._executor.stop(timeout=5.0)
        self._charging.stop(timeout=5.0)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._reports.shutdown(wait=False, cancel_futures=True)
        try:
            self._journal.close()
        except StorageError as error:
            log.error("charges stay in the journal's log: %s", error)
        self._context.destroy(linger=200)

    def _look_up(self, question: Callable[[], Any], answered: Callable[[Any], None]) -> None:
        """Has a report made that takes a while; ``answered`` gets it or the error, in the loop.

        Raises:
            LimitExceeded: many wait already.
        """
        if not self._reports_free.acquire(blocking=False):
            raise LimitExceeded(
                f"{_REPORTS} reports wait already",
                layer="QPU agent",
                remedy="Ask again later",
                limit="REPORTS",
            )

        def looked_up(answer: Any) -> None:
            self._reports_free.release()
            answered(answer)

        self._ask(question, looked_up, self._reports)

    def _ask(
        self,
        question: Callable[[], Any],
        answered: Callable[[Any], None],
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        """Puts a question to slurmctld, or to who else takes a while; ``answered`` gets the answer
        or the error, in the loop."""

        def deliver(answer: Any) -> None:
            try:
                answered(answer)
            except Exception:  # a full disk or a defect must cost its answer, not the QPU
                log.exception("an answer could not be handled")

        def work() -> None:
            try:
                answer = question()
            except OpenQSEError as error:
                answer = error
            except Exception as error:
                log.exception("a question could not be answered")
                answer = InternalError(
                    f"a question could not be answered: {error!r}", layer="QPU agent"
                )
            self._calls.append(lambda: deliver(answer))
            os.eventfd_write(self._called, 1)

        (pool or self._pool).submit(work)

    # --- messages --------------------------------------------------------------------------------

    def _receive(self) -> None:
        router = self._router
        for _ in range(_DRAIN):
            if self._guard is None:
                peer, session, *frames = router.recv_multipart()
                principal = _UNPROVEN
            else:
                first = router.recv(copy=False)  # only a frame tells who sent it
                peer, principal = first.bytes, self._guard.principal(first)
                session, *frames = router.recv_multipart()
            self._take((peer, session), frames, principal)
            if not int(router.getsockopt(zmq.EVENTS)) & _POLLIN:
                return

    def _take(
        self,
        address: Address,
        frames: list[bytes],
        principal: keys.Principal,
        bundled: bool = False,
    ) -> None:
        try:
            head = decode_header(frames)
            self._authorise(head.kind, principal)
            if head.kind == Kind.DRAIN:
                self._maintenance.drain(address, head, decode_body(frames), principal.name)
            elif head.kind == Kind.RESUME:
                self._maintenance.resume(address, head, decode_body(frames), principal.name)
            elif head.kind != Kind.BUNDLE:
                self._handle(address, head, frames)
            elif bundled:
                raise ProtocolError("a bundle within a bundle")
            else:
                for message in unbundle(frames):
                    self._take(address, message, principal, bundled=True)
        except OpenQSEError as error:
            self._send(address, encode_error(task_of(frames), error.at("QPU agent")))
        except Exception as error:  # a defect must cost its message, not the QPU
            log.exception("a message could not be handled")
            failure = InternalError(repr(error), layer="QPU agent")
            self._send(address, encode_error(task_of(frames), failure))

    def _authorise(self, kind: str, principal: keys.Principal) -> None:
        """Raises NotAuthorised if a principal's key is not good for what it asks."""
        if kind in _FOR_ALL:
            return
        if kind in _FOR_ADMINS:
            wanted, whose = keys.Role.ADMIN, "administrators"
            remedy = (
                "Run it as root on this QPU agent's host, or with a key whose public half lies in "
                f"the folder '{keys.ADMINS}' there (openqse-keys {keys.ADMIN})"
            )
            if self._guard is None:
                remedy = f"Without keys nobody can prove it: openqse-keys {self._qpu.name}"
        else:
            wanted, whose = keys.Role.NODE, "the site's node agents"
            remedy = "Put the node agents' public key into the folder of authorised keys"
        if principal.role is not wanted:
            raise NotAuthorised(
                f"{self._qpu.name} takes {kind!r} messages from {whose} alone",
                layer="QPU agent",
                remedy=remedy,
            )

    def _handle(self, address: Address, head: Header, frames: list[bytes]) -> None:
        if head.kind in TASK_KINDS:
            self._submit(address, head, frames)
        elif head.kind == Kind.CANCEL:
            lease = self._lease(address, head)
            task = self._tasks.get(head.task)
            if task is not None and task.lease is lease:
                self._cancel(
                    task, TaskCancelled("the task was cancelled by its client", layer="QPU agent")
                )
        elif head.kind == Kind.RESYNC:
            self._resync(address, head, decode_body(frames))
        elif head.kind == Kind.ACKNOWLEDGE:
            session = self._session(self._lease(address, head), head, address)
            self._acknowledge(session, Acknowledge.of(frames).acknowledged)
        elif (
            head.kind in self._control and speaker(address[0])[1] is None
        ):  # a relay speaks for ranks
            self._control[head.kind](address, head, decode_body(frames))
        else:
            raise ProtocolError(
                f"a QPU agent takes no {head.kind!r} messages from here", layer="QPU agent"
            )

    def _send(self, address: Address, frames: list[Frame]) -> None:
        send(self._router, [*address, *frames])

    # --- tasks -----------------------------------------------------------------------------------

    def _lease(self, address: Address, head: Header) -> Lease:
        node, job_id = speaker(address[0])
        if job_id is None:
            raise NoLease("only a job's relay sends tasks", layer="QPU agent")
        return self._leases.check(head.lease, head.generation, node, job_id)

    def _session(self, lease: Lease, head: Header, address: Address) -> Session:
        """The session of a task id's first bytes."""
        if len(head.task) < _SESSION:
            raise ProtocolError(f"a session has {_SESSION} bytes", layer="QPU agent")
        ledger = self._ledgers.get(lease.id)
        if ledger is None:
            ledger = self._ledgers[lease.id] = Ledger(lease)
        session = ledger.session(head.task[:_SESSION], address)
        session.version = head.version
        return session

    def _submit(self, address: Address, head: Header, frames: list[bytes]) -> None:
        lease = self._lease(address, head)
        if len(head.task) != _SESSION + _NUMBER:
            raise ProtocolError("a task's id has 16 bytes", layer="QPU agent")
        session = self._session(lease, head, address)
        known = self._tasks.get(head.task)
        if known is not None:  # sent again while it waits or runs
            if known.session is not session:
                raise ProtocolError("a task id that another job uses", layer="QPU agent")
            return
        answer = session.kept.get(head.task)
        if answer is not None:  # sent again because the answer was lost
            self._reply(session, answer)
            return
        number = int.from_bytes(head.task[_SESSION:], "big")
        if (session.highest is None or number <= session.highest) and self._journal.charged(
            lease.id, head.task
        ) == lease.generation:
            raise ProtocolError("a task id that was used before", layer="QPU agent")
        if lease.over:
            raise _time_limit(lease)
        request = decode_task(head.kind, decode_body(frames), frames[2:])
        self._note_process(session, request.process)
        self._acknowledge(session, request.acknowledged)
        size = sum(map(len, frames))
        session.admit(size, self._config.tasks_per_session)
        now = time.monotonic()
        if self._storage_error is not None and self._refuses(now):
            raise self._storage_error
        work = request.work
        if request.program is not None:
            self._keep_program(session.ledger, work.program, request.program)
        program = session.ledger.program(work.program)
        deadline = now + head.time_left if head.time_left else None
        interactive = head.latency == Latency.INTERACTIVE
        task = Task(head.task, session, size, work, program, deadline, interactive, now)
        if session.highest is None or number > session.highest:
            session.highest = number
        self._tasks[task.id] = task
        session.add(size)
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, next(self._order), task))
        self._executor.push(task)

    @staticmethod
    def _keep_program(ledger: Ledger, key: bytes, program: Program) -> None:
        if key in ledger.programs:
            return
        limits.check_program(len(program.data))
        if program.digest != key:
            raise ProtocolError("a program whose digest is not its name", layer="QPU agent")
        ledger.keep_program(program)

    def _acknowledge(self, session: Session, numbers: Sequence[int]) -> None:
        """Drops the answers that a client has."""
        if numbers:
            session.take(numbers)
            self._executor.resume(session.ledger)

    def _resync(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        """Tells a client which of the tasks that it lacks are under way.

        The others it sends again: their answers come before this one on the same way, so what it
        then still lacks was lost, be it the task or its answer.
        """
        session = self._session(self._lease(address, head), head, address)
        ids = {
            session.id + number.to_bytes(_NUMBER, "big"): number
            for number in Resync.read(body).unanswered
        }
        session.keep_only(set(ids))
        self._executor.resume(session.ledger)
        waiting = tuple(number for task, number in ids.items() if task in self._tasks)
        lease = session.lease
        answer = Resynced(waiting).frames(
            head.task, lease=lease.id, generation=lease.generation, version=head.version
        )
        self._reply(session, answer)

    def _cancel(self, task: Task, reason: OpenQSEError) -> None:
        if self._executor.cancel(task, reason):
            self._answer(task, reason)

    def _cancel_all(self, whose: Callable[[Task], bool], reason: OpenQSEError) -> None:
        for task in list(filter(whose, self._tasks.values())):
            self._cancel(task, reason)

    def _answer(self, task: Task, outcome: device.Outcome | OpenQSEError) -> None:
        self._tasks.pop(task.id, None)
        task.become(State.ANSWERED)
        if isinstance(outcome, OpenQSEError):
            frames = encode_error(task.id, outcome)
        else:
            head = header(Kind.RESULT, task.id, version=task.session.version)
            try:
                frames = encode(head, *encode_outcome(outcome))
            except OpenQSEError as error:
                frames = encode_error(task.id, error.at("QPU agent"))
        task.session.answer(task.id, task.size, frames)
        self._reply(task.session, frames)

    def _reply(self, session: Session, frames: list[Frame]) -> None:
        """Sends in order, with what else is ready for the session."""
        self._results.setdefault(session.address, []).append(frames)

    def _send_results(self) -> None:
        for address, results in self._results.items():
            for frames in bundled(results) if len(results) > 1 else results:
                self._send(address, frames)
        self._results.clear()

    def _drop(self, lease: Lease, reason: str) -> None:
        """Ends the tasks of a lease that has ended."""
        ended = NoLease(reason, layer="QPU agent", remedy="Submit the job again")
        self._cancel_all(lambda task: task.lease is lease, ended)
        self._ledgers.pop(lease.id, None)

    def _end_for_limit(self, lease: Lease) -> None:
        """Ends the tasks of a job that has run into its time limit, which bounds every deadline."""
        self._cancel_all(lambda task: task.lease is lease, _time_limit(lease))

    @staticmethod
    def _note_process(session: Session, process: int) -> None:
        """Notes which process says that a session is its own; a lie harms that session alone."""
        if process:
            session.ledger.belongs(session, (speaker(session.address[0])[0], process))

    def _processes(self, lease: Lease, node: str) -> list[int]:
        """Those on a node that are owed something under a lease, be it an answer or its keeping."""
        ledger = self._ledgers.get(lease.id)
        return [] if ledger is None else list(ledger.processes.get(node, ()))

    def _forget(self, lease: Lease, node: str, processes: list[int]) -> None:
        """Ends the tasks of processes that have ended: nobody would take their answers."""
        ledger = self._ledgers.get(lease.id)
        ended = set() if ledger is None else ledger.end(node, processes)
        if ledger is None or not ended:
            return
        log.info("job %d: %d session(s) on %s have ended", lease.job_id, len(ended), node)
        reason = TaskCancelled("the process that sent the task has ended", layer="QPU agent")
        self._cancel_all(lambda task: task.session in ended, reason)
        self._executor.resume(ledger)  # what they had not taken is no more

    # --- reports ---------------------------------------------------------------------------------

    def _probe(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        """Answered to those alone who may speak for a node; it changes nothing."""
        self._send(address, encode(header(Kind.PONG, head.task)))

    def _status(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        status, service = self._device.status(), self._maintenance.report()
        report = StatusReport(
            qpu=self._qpu.name,
            online=status.ready,
            reason=status.reason,
            slots=self._qpu.slots,
            journal="" if self._storage_error is None else str(self._storage_error),
            tasks_queued=len(self._executor),
            tasks=len(self._tasks),
            busy=self._executor.busy,
            busy_s=self._executor.busy_s,
            calibration=self._device.calibration().id,
            drained=service.drained,
            windows=service.windows,
            slurm_error=service.slurm_error,
            **self._admission.status(time.monotonic()),
            **wait_report(self._executor),
        )
        self._report(address, head, report)

    def _usage(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        job_id, name = UsageQuestion.read(body).job_id, self._qpu.name

        def usage() -> UsageReport:
            return UsageReport(
                tuple(UsageRow(qpu=name, **asdict(u)) for u in self._journal.usage(job_id))
            )

        self._report_later(address, head, usage)

    def _report_queue(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        limit, name = QueueQuestion.read(body).limit, self._qpu.name
        parked = self._executor.parked()

        def queue() -> QueueReport:
            rows = queue_rows(name, self._executor, parked, limit)
            return QueueReport(tuple(rows), len(self._tasks))

        self._report_later(address, head, queue)

    def _report_shares(self, address: Address, head: Header, body: dict[str, Any]) -> None:
        rows = share_rows(self._qpu.name, self._executor, self._shares)
        self._report(address, head, ShareReport(tuple(rows)))

    def _report_estimate(
        self, address: Address, head: Header, said: dict[str, Any] | OpenQSEError
    ) -> None:
        if isinstance(said, OpenQSEError):
            self._send(address, encode_error(head.task, said))
            return
        drained, status = self._maintenance.report().drained, self._device.status()
        reason = f"drained {drained}" if drained else "" if status.ready else status.reason
        if reason:
            said = said | {"wait_s": None}  # nobody knows
        free = self._admission.status(time.monotonic())["free"]
        self._report(address, head, EstimateReport(**said, free=free, reason=reason))

    def _report_later(self, address: Address, head: Header, report: Callable[[], Report]) -> None:
        """Sends a report that takes a while to make, or the error that there is in its place."""

        def made(answer: Any) -> None:
            if isinstance(answer, OpenQSEError):
                self._send(address, encode_error(head.task, answer))
            else:
                self._report(address, head, answer)

        self._look_up(report, made)

    def _report(self, address: Address, head: Header, report: Report) -> None:
        self._send(address, report.frames(head.task))


def _time_limit(lease: Lease) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the time limit of job {lease.job_id} has ended",
        layer="QPU agent",
        remedy="Submit it again with more time: --time",
    )


def credentials(directory: Path, qpu: SiteQPU) -> Path | None:
    """The file of a QPU's credentials; None where it has none.

    Raises:
        ConfigurationError: others than this agent could read it.
    """
    path = directory / qpu.name
    try:
        keys.check_private(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", layer="QPU agent") from error
    return path


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="openqse-qpu-agent",
        description="Owns one QPU of the site: its leases, queue, journal and device.",
    )
    made.add_argument("qpu", help="name of the QPU in the site file")
    configuration.add_option(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """The command ``openqse-qpu-agent``."""
    command = parser()
    arguments, config, site = configuration.parse(command, argv)
    try:
        qpu = site.qpu(arguments.qpu)
        driver = device.load(qpu.device, qpu.profile, credentials(config.qpu.credentials, qpu))
        client = choice.connect(config.slurm.client, config.slurm.timeout)
        agent = QPUAgent(config, qpu, driver, client)
    except ConfigurationError as error:
        command.exit(2, f"{command.prog}: {error}\n")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    gc.collect()
    gc.freeze()  # what a device's compiler leaves behind need not be looked through again
    agent.run()
    return 0
