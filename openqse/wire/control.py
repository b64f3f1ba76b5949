"""What administrators say to a QPU agent, and how errors travel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from openqse.errors import OpenQSEError, from_wire
from openqse.wire.bounds import Many, Name, Plain, Real, Text, Words
from openqse.wire.limits import MAX_MESSAGE_BYTES
from openqse.wire.messages import Kind
from openqse.wire.reports import Question, Report, WindowRow
from openqse.wire.schema import Message

Span = Annotated[float, Real(1e-9, 1e11)]
"""More than no seconds; as an instant, until the year 5138."""


LongText = Annotated[str, Text(MAX_MESSAGE_BYTES)]
"""As long as a message can be: no error may be lost because it says much."""


@dataclass(frozen=True, slots=True)
class ServiceReport(Report):
    """Answers ``drain`` and ``resume``; fields as in ``StatusReport``."""

    qpu: Name
    drained: Words
    windows: Annotated[tuple[WindowRow, ...], Many(1024)]
    slurm_error: Words


@dataclass(frozen=True, slots=True)
class Drain(Question[ServiceReport]):
    """Administrator to QPU agent: start no more tasks, now or at a planned time.

    Attributes:
        start: when, seconds since the epoch; None for now.
        seconds: for how long; None until somebody resumes.
        reason: for everybody to read. user: who asks, as they call themselves.
    """

    kind: ClassVar = Kind.DRAIN
    answer: ClassVar = ServiceReport
    start: Span | None = None
    seconds: Span | None = None
    reason: Words = ""
    user: Words = ""


@dataclass(frozen=True, slots=True)
class Resume(Question[ServiceReport]):
    """Administrator to QPU agent: take the QPU back into service, or a planned window back.

    Attributes:
        start: when that window was planned to start; None for what is in force.
        reason, user: as in ``Drain``.
    """

    kind: ClassVar = Kind.RESUME
    answer: ClassVar = ServiceReport
    start: Span | None = None
    reason: Words = ""
    user: Words = ""


@dataclass(frozen=True, slots=True)
class Failure(Message):
    """The answer ``error`` to any message: a typed error as plain values.

    Attributes:
        code: stable name of the class of errors; an unknown one is as good as ``error``.
        layer: where in the stack. remedy: what the reader can do about it.
        details: plain values for programs; which ones depends on the code.
    """

    kind: ClassVar = Kind.ERROR
    code: Name = OpenQSEError.code
    message: LongText = ""
    layer: Name = ""
    remedy: LongText = ""
    details: Plain = field(default_factory=dict)

    @property
    def error(self) -> OpenQSEError:
        """The error itself."""
        return from_wire(self.body())
