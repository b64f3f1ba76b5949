"""What each process of a job is owed: its unanswered tasks counted, its results kept until it has
taken them. Values and transitions, no I/O and no clock.

A task id is a session's id followed by a number that grows. So a session needs to remember the
greatest number that it has seen and no more: what comes later with a smaller one was sent again,
and the journal knows whether it was charged.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from openqse.errors import LimitExceeded, UnknownProgram
from openqse.program.program import Program
from openqse.wire import limits
from openqse.wire.frames import Frame
from openqse.wire.versions import SPOKEN
from openqse_agent.qpu.leases import Lease
from openqse_agent.qpu.tasks.policies import Owner

#: Envelope of an answer: routing id of the relay or the node agent, and of the session.
Address = tuple[bytes, bytes]

#: A node, and the id of a process there.
Process = tuple[str, int]


@dataclass(eq=False, slots=True)
class Session:
    """One process that sends tasks under a lease.

    Attributes:
        id: the first bytes of its tasks' ids.
        address, version: whence it spoke last, and in which version of the protocol.
        highest: greatest number of its tasks so far; None before the first.
        tasks, size: its unanswered tasks, and the bytes of the messages that brought them.
        kept: answers that it has not acknowledged, by task id. kept_size: their bytes.
        process: the node and the process id there that it has said to be; None before.
        ended: that process has ended: nobody will take an answer.
    """

    ledger: Ledger
    id: bytes
    address: Address
    version: int = SPOKEN.newest
    highest: int | None = None
    tasks: int = 0
    size: int = 0
    kept: OrderedDict[bytes, list[Frame]] = field(default_factory=OrderedDict)
    kept_size: int = 0
    process: Process | None = None
    ended: bool = False

    @property
    def lease(self) -> Lease:
        return self.ledger.lease

    @property
    def blocked(self) -> bool:
        """Whether its tasks have to wait until it, or its job, takes results."""
        return (
            self.kept_size >= limits.SESSION_UNACKNOWLEDGED_BYTES
            or self.ledger.kept_size >= limits.JOB_UNACKNOWLEDGED_BYTES
        )

    def admit(self, size: int, window: int) -> None:
        """Makes sure that a task of ``size`` bytes may be added.

        Raises:
            LimitExceeded: the session, or its job, has too much unanswered or not taken.
        """
        if self.tasks >= window:
            raise _exceeded(f"the session has {window} unanswered tasks", "tasks_per_session")
        if len(self.kept) >= 2 * window:
            raise _exceeded(
                f"the session has not taken {2 * window} results", "results_per_session"
            )
        # Twice what clients allow themselves: they do not count what is sent again.
        if self.tasks and self.size + size > 2 * limits.BYTES_IN_FLIGHT:
            raise _exceeded(
                f"the session's unanswered tasks have {self.size} bytes", "BYTES_IN_FLIGHT"
            )
        if self.ledger.tasks >= limits.TASKS_PER_JOB:
            raise _exceeded(f"the job has {limits.TASKS_PER_JOB} unanswered tasks", "TASKS_PER_JOB")

    def add(self, size: int) -> None:
        """Counts a task."""
        self.tasks += 1
        self.size += size
        self.ledger.tasks += 1

    def answer(self, task: bytes, size: int, frames: list[Frame]) -> None:
        """Keeps the answer to a task of ``size`` bytes until it is taken."""
        self.tasks -= 1
        self.size -= size
        self.ledger.tasks -= 1
        if self.ended:
            return
        self.kept[task] = frames
        self._count_kept(sum(map(len, frames)))

    def take(self, numbers: Iterable[int]) -> None:
        """Drops answers that the client has."""
        for number in numbers:
            self._drop(self.id + number.to_bytes(8, "big"))

    def keep_only(self, tasks: set[bytes]) -> None:
        """Drops all answers but those to ``tasks``: the client has said what it lacks."""
        for task in self.kept.keys() - tasks:
            self._drop(task)

    def _drop(self, task: bytes) -> None:
        frames = self.kept.pop(task, None)
        if frames is not None:
            self._count_kept(-sum(map(len, frames)))

    def _count_kept(self, size: int) -> None:
        self.kept_size += size
        self.ledger.kept_size += size


@dataclass(eq=False, slots=True)
class Ledger:
    """What is owed under one lease; it ends with it.

    Attributes:
        tasks: unanswered ones of all sessions. kept_size: bytes of all answers not acknowledged.
        programs: by digest, the least recently used first.
        processes: the sessions of each process, by node and process id.
    """

    lease: Lease
    sessions: OrderedDict[bytes, Session] = field(default_factory=OrderedDict)
    tasks: int = 0
    kept_size: int = 0
    programs: OrderedDict[bytes, Program] = field(default_factory=OrderedDict)
    program_size: int = 0
    processes: dict[str, dict[int, list[Session]]] = field(default_factory=dict)
    _owner: Owner | None = None

    @property
    def owner(self) -> Owner:
        """Whose tasks they are, as the queue needs to know it: the same object as long as it is."""
        lease = self.lease
        if self._owner is None or self._owner.reservation != lease.reservation:
            self._owner = Owner(lease.account, lease.user, lease.id, lease.slots, lease.reservation)
        return self._owner

    def session(self, id: bytes, address: Address) -> Session:
        """The session of that id, which speaks from ``address`` now.

        Beyond the cap one that waits for nothing makes room.

        Raises:
            LimitExceeded: too many sessions have unanswered tasks.
        """
        session = self.sessions.get(id)
        if session is None:
            if len(self.sessions) >= limits.SESSIONS_PER_JOB:
                self._forget_one()
            session = self.sessions[id] = Session(self, id, address)
        session.address = address
        return session

    def _forget_one(self) -> None:
        for session in self.sessions.values():
            if session.tasks == 0:
                self._forget(session)
                return
        raise _exceeded(
            f"{limits.SESSIONS_PER_JOB} processes of the job have unanswered tasks",
            "SESSIONS_PER_JOB",
        )

    def _forget(self, session: Session) -> None:
        session.keep_only(set())
        del self.sessions[session.id]
        self._leave(session)

    def _leave(self, session: Session) -> None:
        if session.process is not None:
            node, number = session.process
            sessions = self.processes[node][number]
            sessions.remove(session)
            if not sessions:
                del self.processes[node][number]

    def belongs(self, session: Session, process: Process) -> None:
        """Notes which process a session is."""
        if session.process != process:
            self._leave(session)
            session.process = process
            node, number = process
            self.processes.setdefault(node, {}).setdefault(number, []).append(session)

    def end(self, node: str, processes: Iterable[int]) -> set[Session]:
        """Forgets the sessions of processes that have ended.

        Returns:
            Them; their tasks are to be cancelled.
        """
        known = self.processes.get(node, {})
        ended = {session for number in processes for session in known.get(number, ())}
        for session in ended:
            self._forget(session)
            session.ended = True
        return ended

    def keep_program(self, program: Program) -> None:
        """Keeps a program, in the place of others where need be."""
        if program.digest not in self.programs:
            self.programs[program.digest] = program
            self.program_size += len(program.data)
            while self.program_size > limits.PROGRAM_BYTES_PER_JOB:
                _, dropped = self.programs.popitem(last=False)
                self.program_size -= len(dropped.data)

    def program(self, key: bytes) -> Program:
        """The program with a digest.

        Raises:
            UnknownProgram: it was never sent under this lease, or was dropped since.
        """
        program = self.programs.get(key)
        if program is None:
            raise UnknownProgram("the program is not kept here; send it again", layer="QPU agent")
        self.programs.move_to_end(key)
        return program


def _exceeded(what: str, limit: str) -> LimitExceeded:
    return LimitExceeded(
        what, layer="QPU agent", remedy="Wait for results before sending more", limit=limit
    )
