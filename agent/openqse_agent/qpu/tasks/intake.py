"""Takes in the messages of ranks: their tasks, and what becomes of them until they are answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from openqse import device
from openqse.errors import (
    DeadlineExceeded,
    NoLease,
    OpenQSEError,
    ProtocolError,
    TaskCancelled,
)
from openqse.wire import limits
from openqse.wire.frames import Frame, bundled, decode_body, encode, encode_error
from openqse.wire.messages import TASK_KINDS, Header, Kind, Latency, header
from openqse.wire.tasks import (
    Acknowledge,
    Resync,
    Resynced,
    TaskRequest,
    decode_task,
    encode_outcome,
)
from openqse_agent.clock import Clock
from openqse_agent.qpu.addresses import Address, origin
from openqse_agent.qpu.journal.database import Journal
from openqse_agent.qpu.journal.settling import Settling
from openqse_agent.qpu.leases.table import Lease, LeaseTable
from openqse_agent.qpu.tasks.deadlines import Deadlines
from openqse_agent.qpu.tasks.executor import Executor
from openqse_agent.qpu.tasks.sessions import Ledger, Session
from openqse_agent.qpu.tasks.task import State, Task

log = logging.getLogger("qpu-agent")

#: Bytes of a session's id at the beginning of a task's, and of the number after it.
_SESSION, _NUMBER = 8, 8

#: Kinds of message that ranks send through their jobs' relays.
KINDS = TASK_KINDS | {Kind.CANCEL, Kind.RESYNC, Kind.ACKNOWLEDGE}


class Intake:
    """The tasks of the QPU from their arrival until their answers are sent.

    Args:
        window: tasks that one session may have unanswered.
        explained: the error of a task that has waited too long, with what is known of the reason.
        send: takes messages out.

    Attributes:
        tasks: those not answered yet, by id.
        ledgers: what is owed under each lease, by its id.
    """

    def __init__(
        self,
        leases: LeaseTable,
        journal: Journal,
        settling: Settling,
        executor: Executor,
        window: int,
        clock: Clock,
        *,
        explained: Callable[[OpenQSEError], OpenQSEError],
        send: Callable[[Address, list[Frame]], None],
    ) -> None:
        self._leases = leases
        self._journal = journal
        self._settling = settling
        self._executor = executor
        self._window = window
        self._clock = clock
        self._explained = explained
        self._send = send
        self._deadlines = Deadlines()
        self._results: dict[Address, list[list[Frame]]] = {}
        self.tasks: dict[bytes, Task] = {}
        self.ledgers: dict[str, Ledger] = {}

    def take(self, address: Address, head: Header, frames: list[bytes]) -> None:
        """Takes in a message of one of ``KINDS``.

        Raises:
            OpenQSEError: it is refused.
        """
        lease = self._lease(address, head)
        if head.kind in TASK_KINDS:
            self._submit(lease, address, head, frames)
        elif head.kind == Kind.CANCEL:
            task = self.tasks.get(head.task)
            if task is not None and task.lease is lease:
                self._cancel(
                    task, TaskCancelled("the task was cancelled by its client", layer="QPU agent")
                )
        elif head.kind == Kind.RESYNC:
            self._resync(self._session(lease, head, address), head, Resync.of(frames))
        else:
            session = self._session(lease, head, address)
            self._acknowledge(session, Acknowledge.of(frames).acknowledged)

    def tick(self, now: float) -> None:
        """Ends the tasks that have waited too long; ``now`` in monotonic seconds."""
        for task in self._deadlines.passed(now):
            if task.id in self.tasks and task.late(now):
                assert task.stopped is not None
                self._cancel(task, self._explained(task.stopped))
        self._deadlines.forget_ended(self.tasks, len(self.tasks))
        refusal = self._settling.refusal(now)
        if refusal is not None:
            self._cancel_all(lambda task: True, refusal)

    # --- from ranks ------------------------------------------------------------------------------

    def _lease(self, address: Address, head: Header) -> Lease:
        sender = origin(address[0])
        if sender.job_id is None:
            raise NoLease("only a job's relay sends tasks", layer="QPU agent")
        return self._leases.check(head.lease, head.generation, sender.node, sender.job_id)

    def _session(self, lease: Lease, head: Header, address: Address) -> Session:
        """The session of a task id's first bytes."""
        if len(head.task) < _SESSION:
            raise ProtocolError(f"a session has {_SESSION} bytes", layer="QPU agent")
        ledger = self.ledgers.get(lease.id)
        if ledger is None:
            ledger = self.ledgers[lease.id] = Ledger(lease)
        session = ledger.session(head.task[:_SESSION], address)
        session.version = head.version
        return session

    def _submit(self, lease: Lease, address: Address, head: Header, frames: list[bytes]) -> None:
        if len(head.task) != _SESSION + _NUMBER:
            raise ProtocolError("a task's id has 16 bytes", layer="QPU agent")
        session = self._session(lease, head, address)
        known = self.tasks.get(head.task)
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
        session.admit(size, self._window)
        now = self._clock.monotonic()
        refusal = self._settling.refusal(now)
        if refusal is not None:
            raise refusal
        task = _task(session, head, request, size, now)
        if session.highest is None or number > session.highest:
            session.highest = number
        self.tasks[task.id] = task
        session.add(size)
        self._deadlines.add(task)
        self._executor.push(task)

    def _acknowledge(self, session: Session, numbers: Sequence[int]) -> None:
        """Drops the answers that a client has."""
        if numbers:
            session.take(numbers)
            self._executor.resume(session.ledger)

    def _resync(self, session: Session, head: Header, resync: Resync) -> None:
        """Tells a client which of the tasks that it lacks are under way.

        The others it sends again: their answers come before this one on the same way, so what it
        then still lacks was lost, be it the task or its answer.
        """
        ids = {session.id + number.to_bytes(_NUMBER, "big"): number for number in resync.unanswered}
        session.keep_only(set(ids))
        self._executor.resume(session.ledger)
        waiting = tuple(number for task, number in ids.items() if task in self.tasks)
        lease = session.lease
        answer = Resynced(waiting).frames(
            head.task, lease=lease.id, generation=lease.generation, version=head.version
        )
        self._reply(session, answer)

    @staticmethod
    def _note_process(session: Session, process: int) -> None:
        """Notes which process says that a session is its own; a lie harms that session alone."""
        if process:
            session.ledger.belongs(session, (origin(session.address[0]).node, process))

    # --- to ranks --------------------------------------------------------------------------------

    def answer(self, task: Task, outcome: device.Outcome | OpenQSEError) -> None:
        """Has a task's outcome sent, and kept until its client has taken it."""
        self.tasks.pop(task.id, None)
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

    def send_results(self) -> None:
        """Sends what is ready."""
        for address, results in self._results.items():
            for frames in bundled(results) if len(results) > 1 else results:
                self._send(address, frames)
        self._results.clear()

    def _cancel(self, task: Task, reason: OpenQSEError) -> None:
        if self._executor.cancel(task, reason):
            self.answer(task, reason)

    def _cancel_all(self, whose: Callable[[Task], bool], reason: OpenQSEError) -> None:
        for task in list(filter(whose, self.tasks.values())):
            self._cancel(task, reason)

    # --- what leases mean for their tasks --------------------------------------------------------

    def end_lease(self, lease: Lease, reason: str) -> None:
        """Ends the tasks of a lease that is over."""
        ended = NoLease(reason, layer="QPU agent", remedy="Submit the job again")
        self._cancel_all(lambda task: task.lease is lease, ended)
        self.ledgers.pop(lease.id, None)

    def end_for_limit(self, lease: Lease) -> None:
        """Ends the tasks of a job that has run into its time limit, which bounds every deadline."""
        self._cancel_all(lambda task: task.lease is lease, _time_limit(lease))

    def processes(self, lease: Lease, node: str) -> list[int]:
        """Those on a node that are owed something under a lease, be it an answer or its keeping."""
        ledger = self.ledgers.get(lease.id)
        return [] if ledger is None else list(ledger.processes.get(node, ()))

    def end_processes(self, lease: Lease, node: str, processes: Sequence[int]) -> None:
        """Ends the tasks of processes that have ended: nobody would take their answers."""
        ledger = self.ledgers.get(lease.id)
        ended = set() if ledger is None else ledger.end(node, processes)
        if ledger is None or not ended:
            return
        log.info("job %d: %d session(s) on %s have ended", lease.job_id, len(ended), node)
        reason = TaskCancelled("the process that sent the task has ended", layer="QPU agent")
        self._cancel_all(lambda task: task.session in ended, reason)
        self._executor.resume(ledger)  # what they had not taken is no more


def _task(session: Session, head: Header, request: TaskRequest, size: int, now: float) -> Task:
    """The task of a message of ``size`` bytes; a program that came along is kept for the next."""
    work, ledger = request.work, session.ledger
    if request.program is not None and work.program not in ledger.programs:
        limits.check_program(len(request.program.data))
        if request.program.digest != work.program:
            raise ProtocolError("a program whose digest is not its name", layer="QPU agent")
        ledger.keep_program(request.program)
    program = ledger.program(work.program)
    deadline = now + head.time_left if head.time_left else None
    interactive = head.latency == Latency.INTERACTIVE
    return Task(head.task, session, size, work, program, deadline, interactive, now)


def _time_limit(lease: Lease) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the time limit of job {lease.job_id} has ended",
        layer="QPU agent",
        remedy="Submit it again with more time: --time",
    )
