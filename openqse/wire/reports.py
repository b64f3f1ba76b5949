"""Questions that anybody may ask a QPU agent, and its reports.

Every answer is of the kind ``report``; which fields it has follows from the question. Instants are
seconds since the epoch, spans are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from openqse.wire import limits
from openqse.wire.bounds import Count, JobId, Many, Name, Raw, Real, Seconds, Text, Whole, Words
from openqse.wire.leases import Generation, LeaseId, Mode, Slots
from openqse.wire.messages import Kind, Latency
from openqse.wire.programs import ProgramEnvelope
from openqse.wire.schema import Message

#: Rows of a report of the queue: what a message and its reader can take.
MOST_ROWS = 10_000

Instant = Annotated[float, Real(0.0)]
Identifier = Annotated[str, Text(64)]
"""A task's or a session's id in hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Report(Message):
    """Base of the answers."""

    kind: ClassVar = Kind.REPORT


R = TypeVar("R", bound=Report)


class Question(Message, Generic[R]):
    """Base of the questions.

    Attributes:
        answer: the report that answers it.
    """

    __slots__ = ()
    answer: ClassVar[type[Any]]


# --- the state of a QPU --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A time in which the QPU starts no task.

    Attributes:
        end: None until somebody resumes.
        reason, by: why and who, for people.
        made: when it was asked for.
    """

    start: Instant
    end: Instant | None
    reason: Words
    by: Words
    made: Instant


@dataclass(frozen=True, slots=True)
class StatusReport(Report):
    """Answers ``status``.

    Attributes:
        online: the device can run tasks; else ``reason`` says why not.
        slots, free: slots of the QPU, and those that no lease holds.
        leases, leases_lapsed: leases, and those without a heartbeat for long.
        slurmctld: why it cannot be asked, or empty.
        revocation_suspended: there are leases which it would have to be asked after.
        journal: why it takes no charges, or empty.
        tasks, tasks_queued: unanswered tasks, and those of them that wait.
        busy, busy_s: the device runs something now; for how many seconds it did so far.
        calibration: id of the one in force.
        drained: since when, by whom and why, or empty. windows: those in force and planned.
        slurm_error: why Slurm does not hold jobs for the windows, or empty.
        batch_wait_slices_p50 and the like: how many turns of others tasks waited that began
            lately: percentiles by latency class.
    """

    qpu: Name
    online: bool
    reason: Words
    slots: Slots
    free: Annotated[int, Whole(-(2**31), 2**31 - 1)]
    leases: Count
    leases_lapsed: Count
    slurmctld: Words
    revocation_suspended: bool
    journal: Words
    tasks_queued: Count
    tasks: Count
    busy: bool
    busy_s: Seconds
    calibration: Words
    drained: Words
    windows: Annotated[tuple[WindowRow, ...], Many(1024)]
    slurm_error: Words
    batch_wait_slices_p50: float | None = None
    batch_wait_slices_p99: float | None = None
    interactive_wait_slices_p50: float | None = None
    interactive_wait_slices_p99: float | None = None


@dataclass(frozen=True, slots=True)
class StatusQuestion(Question[StatusReport]):
    """How is the QPU?"""

    kind: ClassVar = Kind.STATUS
    answer: ClassVar = StatusReport


# --- leases --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A lease: whose it is, of how many slots, and which nodes have joined it."""

    qpu: Name
    id: LeaseId
    job_id: JobId
    user: Name
    account: Name
    slots: Slots
    mode: Mode
    generation: Generation
    state: Name
    nodes: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class LeasesReport(Report):
    """Answers ``leases``."""

    leases: tuple[LeaseRow, ...]


@dataclass(frozen=True, slots=True)
class LeasesQuestion(Question[LeasesReport]):
    """Who holds the QPU?"""

    kind: ClassVar = Kind.LEASES
    answer: ClassVar = LeasesReport


# --- usage ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a job was charged: tasks, their shots, QPU time, and how long they waited together."""

    qpu: Name
    job_id: JobId
    account: Name
    user: Name
    tasks: Count
    shots: Count
    qpu_time_ns: Count
    waited_ns: Count


@dataclass(frozen=True, slots=True)
class UsageReport(Report):
    """Answers ``usage``."""

    usage: tuple[UsageRow, ...]


@dataclass(frozen=True, slots=True)
class UsageQuestion(Question[UsageReport]):
    """What was charged?

    Attributes:
        job_id: to this job; None for all.
    """

    kind: ClassVar = Kind.USAGE
    answer: ClassVar = UsageReport
    job_id: JobId | None = None


# --- the queue -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A task that runs, waits, or is parked until its process takes results.

    Attributes:
        shots, shots_done: of all parameter sets together.
        waited_s: since it arrived.
        position, start_s: in the order in which tasks are to start, and estimated seconds until
            then; None where there is no forecast.
        qpu_s: expected QPU time; None where nothing is known.
    """

    qpu: Name
    task: Identifier
    job_id: JobId
    user: Name
    account: Name
    session: Identifier
    latency: Latency
    state: Name
    shots: Count
    shots_done: Count
    waited_s: Seconds
    position: Count | None
    start_s: Seconds | None
    qpu_s: Seconds | None


@dataclass(frozen=True, slots=True)
class QueueReport(Report):
    """Answers ``queue``.

    Attributes:
        queue: at most as many rows as were asked for. tasks: how many there are.
    """

    queue: Annotated[tuple[QueueRow, ...], Many(MOST_ROWS)]
    tasks: Count = 0


@dataclass(frozen=True, slots=True)
class QueueQuestion(Question[QueueReport]):
    """Which tasks does the QPU have, in the order in which they are to start?"""

    kind: ClassVar = Kind.QUEUE
    answer: ClassVar = QueueReport
    limit: Annotated[int, Whole(1, MOST_ROWS)] = MOST_ROWS


# --- shares --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShareRow:
    """An account, or a user in it. What is normalised refers to the siblings, as in ``sshare``.

    Attributes:
        user: empty for the account itself. parent: the account above.
        raw_usage: decayed QPU time, seconds.
        level_fs: norm_shares / norm_usage; None (infinite) without usage.
        tasks: those that wait.
    """

    qpu: Name
    account: Name
    user: Name
    parent: Name
    raw_shares: Count | None
    norm_shares: Seconds
    raw_usage: Seconds
    norm_usage: Seconds
    level_fs: Seconds | None
    tasks: Count


@dataclass(frozen=True, slots=True)
class ShareReport(Report):
    """Answers ``share``."""

    share: tuple[ShareRow, ...]


@dataclass(frozen=True, slots=True)
class ShareQuestion(Question[ShareReport]):
    """Who has which share of the QPU time, and used how much of it?"""

    kind: ClassVar = Kind.SHARE
    answer: ClassVar = ShareReport


# --- estimates -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EstimateReport(Report):
    """Answers ``estimate``.

    Attributes:
        qpu_s: QPU time that the task would take.
        wait_s, position, tasks_ahead: until it would start; None while nobody knows.
        free: slots that no lease holds.
        reason: why the QPU does not serve, or empty.
    """

    qpu: Name
    qpu_s: Seconds
    wait_s: Seconds | None
    position: Count | None
    tasks_ahead: Count | None
    free: Annotated[int, Whole(-(2**31), 2**31 - 1)]
    reason: Words


@dataclass(frozen=True, slots=True)
class EstimateQuestion(Question[EstimateReport]):
    """What would a task take, and when would it start, if it came now?

    Attributes:
        program, envelope: the program's bytes, and the rest of it.
        account, user: whose task it would be.
    """

    kind: ClassVar = Kind.ESTIMATE
    answer: ClassVar = EstimateReport
    program: Annotated[bytes, Raw(0, limits.MAX_MESSAGE_BYTES)]
    envelope: ProgramEnvelope
    shots: Count
    parameter_sets: Count
    account: Name
    user: Name
    latency: Latency
