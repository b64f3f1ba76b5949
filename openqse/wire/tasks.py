"""What a session says to a QPU agent about its tasks, and what it hears.

``run``, ``expectation``, ``cancel``, ``resync``, ``acknowledge``; ``result``, ``resynced``. Tasks
and results are read and written by hand, since every task passes here twice; the others as any
message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from openqse.device import Expectations, Metadata, Outcome, Samples, Work
from openqse.errors import ProgramError, ProtocolError
from openqse.program.observable import PauliSum
from openqse.program.program import Program
from openqse.wire.bounds import Many, TaskNumber
from openqse.wire.frames import Frame, decode_body
from openqse.wire.limits import MAX_MESSAGE_BYTES
from openqse.wire.messages import Kind
from openqse.wire.programs import ProgramEnvelope
from openqse.wire.schema import Message, Record

_MAX_SHOTS = 2**31 - 1
#: Bytes up to which an array travels in the body: a frame costs more than copying this.
SMALL_ARRAY_BYTES = 2048
#: As many as a message could bring of one parameter each; sets of none cost no bytes.
_MAX_SETS = MAX_MESSAGE_BYTES // 8
#: Entries of a task's options, or of a result's metadata, and characters of their texts.
_MAX_ENTRIES = 64
_MAX_CHARACTERS = 4096

Numbers = Annotated[tuple[TaskNumber, ...], Many(65536)]
"""Of tasks, within their session."""


# --- messages that are not tasks -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cancel(Message):
    """Session to QPU agent: the header's task need not be done. It ends with an ``error``, or with
    its result where that was faster; there is no answer of its own."""

    kind: ClassVar = Kind.CANCEL


@dataclass(frozen=True, slots=True)
class Resync(Message):
    """Session to QPU agent: which of these tasks do you have? Answered by ``resynced``. The
    header's ``task`` is the session's id.

    Attributes:
        unanswered: all tasks that the session lacks an answer to. Answers to others are dropped.
    """

    kind: ClassVar = Kind.RESYNC
    unanswered: Numbers


@dataclass(frozen=True, slots=True)
class Resynced(Message):
    """QPU agent to session, answers ``resync``.

    Attributes:
        waiting: those of the tasks that wait or run. What else the session still lacks when it
            reads this was lost, and is to be sent again.
    """

    kind: ClassVar = Kind.RESYNCED
    waiting: Numbers


@dataclass(frozen=True, slots=True)
class Acknowledge(Message):
    """Session to QPU agent: these answers have arrived and need not be kept. Not answered. The
    header's ``task`` is the session's id."""

    kind: ClassVar = Kind.ACKNOWLEDGE
    acknowledged: Numbers


# --- tasks ---------------------------------------------------------------------------------------


_ENVELOPE = Record(ProgramEnvelope)


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """The messages ``run`` (shots) and ``expectation`` (an observable): session to QPU agent, do
    this task. Answered by ``result`` or ``error``.

    Attributes:
        work: what to do; its program is named by its digest.
        program: the program itself, where it comes along; it does for its first task.
        process: id of the process, as ``welcome`` said it; 0 for none.
        acknowledged: numbers of tasks whose answers have arrived.
        options: of the task, by name; reserved, none is defined yet.
    """

    work: Work
    program: Program | None = None
    process: int = 0
    acknowledged: Sequence[int] = ()
    options: Metadata = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return Kind.RUN if self.work.observable is None else Kind.EXPECTATION

    def encode(self) -> tuple[dict[str, Any], list[Frame]]:
        """Its body and buffers."""
        return encode_task(self.work, self.program, self.process, self.acknowledged, self.options)


def encode_task(
    work: Work,
    program: Program | None = None,
    process: int = 0,
    acknowledged: Sequence[int] = (),
    options: Metadata | None = None,
) -> tuple[dict[str, Any], list[Frame]]:
    """Body and buffers of a task; arguments as in ``TaskRequest``."""
    sets, width = work.parameters.shape
    body: dict[str, Any] = {"program": work.program, "sets": sets, "width": width}
    if work.observable is None:
        body["shots"] = work.shots
    else:
        body["observable"] = work.observable.to_wire()
    if work.seed is not None:
        body["seed"] = work.seed
    buffers: list[Frame] = []
    if program is not None:
        body["attached"] = _ENVELOPE.write(ProgramEnvelope.of(program))
        buffers.append(program.data)
    if process:
        body["process"] = process
    if acknowledged:
        body["acknowledged"] = acknowledged
    if options:
        body["options"] = options
    if width:
        _carry(body, buffers, work.parameters.astype("<f8", copy=False))
    return body, buffers


def decode_task(kind: str, body: dict[str, Any], buffers: Sequence[Frame]) -> TaskRequest:
    """A received task.

    Args:
        kind: ``run`` or ``expectation``.

    Raises:
        ProtocolError, ProgramError: malformed.
    """
    buffers = list(buffers)
    program, seed = body.get("program"), body.get("seed")
    if type(program) is not bytes or len(program) != 32:
        raise _wrong(kind, "program", "the 32 bytes of a program's digest", program)
    if seed is not None and (type(seed) is not int or seed < 0):
        raise _wrong(kind, "seed", "a whole number from 0 to 2^64 - 1", seed)
    attached = _attached(kind, body, buffers)
    process = body.get("process", 0)
    if type(process) is not int or not 0 <= process < 2**31:
        raise _wrong(kind, "process", "a process id", process)
    parameters = _parameters(kind, body, buffers)
    if kind == Kind.RUN:
        shots = body.get("shots")
        if type(shots) is not int or not 1 <= shots <= _MAX_SHOTS:
            raise _wrong(kind, "shots", f"a whole number from 1 to {_MAX_SHOTS}", shots)
        if "observable" in body:
            raise _wrong(kind, "observable", "nothing", body["observable"])
        work = Work(program, parameters, shots, seed)
    else:
        observable = body.get("observable")
        if observable is None or "shots" in body:
            raise _wrong(kind, "observable", "an observable, and no shots", observable)
        work = Work(program, parameters, 0, seed, PauliSum.from_wire(observable))
    options = body.get("options")
    return TaskRequest(
        work,
        attached,
        process,
        _acknowledged(kind, body),
        {} if options is None else _scalars(kind, "options", options),
    )


def _wrong(kind: str, name: str, expected: str, value: object) -> ProtocolError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return ProtocolError(
        f"a message {str(kind)!r}, field {name!r}: {expected} was expected, not {shown}",
        remedy="Both sides must follow the same protocol (docs/protocol.md)",
        kind=str(kind),
        field=name,
    )


def _attached(kind: str, body: dict[str, Any], buffers: list[Frame]) -> Program | None:
    """The program that came along, whose bytes are taken off the buffers."""
    attached = body.get("attached")
    if attached is None:
        return None
    try:
        envelope: ProgramEnvelope = _ENVELOPE.read(attached)
    except ValueError as error:
        raise _wrong(kind, "attached", f"a program's envelope ({error})", attached) from None
    if not buffers:
        raise ProtocolError(f"a message {str(kind)!r} says that it brings a program and does not")
    return envelope.around(bytes(buffers.pop(0)))


def _parameters(kind: str, body: dict[str, Any], buffers: list[Frame]) -> NDArray[np.float64]:
    sets, width = body.get("sets"), body.get("width")
    if type(sets) is not int or not 1 <= sets <= _MAX_SETS:
        raise _wrong(kind, "sets", f"a whole number from 1 to {_MAX_SETS}", sets)
    if type(width) is not int or width < 0:
        raise _wrong(kind, "width", "a whole number from 0", width)
    if width:
        raw = _carried(body, buffers)
        if len(raw) != 8 * sets * width:
            raise ProtocolError(
                f"a message {str(kind)!r} of {sets} sets of {width} parameters brings "
                f"{len(raw)} bytes of them instead of {8 * sets * width}"
            )
        parameters = np.frombuffer(raw, "<f8").reshape(sets, width)
        if not np.isfinite(parameters).all():
            raise ProgramError("a parameter is not a finite number")
        return parameters
    if buffers or "data" in body:
        raise ProtocolError(f"a message {str(kind)!r} brings more than it says")
    return np.empty((sets, 0))


def _acknowledged(kind: str, body: dict[str, Any]) -> Sequence[int]:
    numbers = body.get("acknowledged")
    if numbers is None:
        return ()
    if type(numbers) is not list:
        raise _wrong(kind, "acknowledged", "a list of task numbers", numbers)
    for number in numbers:
        if type(number) is not int or not 0 <= number < 2**64:
            raise _wrong(kind, "acknowledged", "a list of task numbers", number)
    return numbers


def _scalars(kind: str, name: str, value: Any) -> Metadata:
    """A small map of names to texts, numbers and flags."""
    if type(value) is not dict or len(value) > _MAX_ENTRIES:
        raise _wrong(kind, name, f"a map of at most {_MAX_ENTRIES} entries", value)
    for key, each in value.items():
        if type(key) is not str or type(each) not in (str, int, float, bool):
            raise _wrong(kind, name, "names with texts, numbers or flags", value)
        if type(each) is str and len(each) > _MAX_CHARACTERS:
            raise _wrong(kind, name, f"texts of at most {_MAX_CHARACTERS} characters", each)
    return value


# --- arrays --------------------------------------------------------------------------------------


def _carry(body: dict[str, Any], buffers: list[Frame], array: NDArray[Any]) -> None:
    """Puts an array into a message: a small one into the body, a large one behind it uncopied."""
    if array.nbytes <= SMALL_ARRAY_BYTES:
        body["data"] = array.tobytes()
    else:
        buffers.append(np.ascontiguousarray(array).data.cast("B"))


def _carried(body: dict[str, Any], buffers: Sequence[Frame]) -> Frame:
    """The bytes of the array that ``_carry`` put into a message.

    Raises:
        ProtocolError: there is none, or more than one.
    """
    small = body.get("data")
    if type(small) is bytes and not buffers:
        return small
    if small is not None or len(buffers) != 1:
        raise ProtocolError("a message carries its array either in its body or as one buffer")
    return buffers[0]


# --- results -------------------------------------------------------------------------------------


def encode_outcome(outcome: Outcome) -> tuple[dict[str, Any], list[Frame]]:
    """Body and buffers of a ``result``: QPU agent to session, answers ``run`` or ``expectation``.

    A task whose device gave several calibrations names them all, joined by ``+``.

    Raises:
        ProtocolError: the device's metadata are not what a message can carry.
    """
    data = outcome.data
    sampled = isinstance(data, Samples)
    array: NDArray[Any] = data.memory if isinstance(data, Samples) else data.values
    body: dict[str, Any] = {
        "qpu_time_ns": data.qpu_time_ns,
        "calibration": outcome.calibration,
        "shape": array.shape,
        "samples": sampled,
    }
    if data.metadata:
        body["metadata"] = _scalars(Kind.RESULT, "metadata", dict(data.metadata))
    if not sampled:
        array = array.astype("<f8", copy=False)
    buffers: list[Frame] = []
    _carry(body, buffers, array)
    return body, buffers


def decode_outcome(frames: Sequence[Frame]) -> Outcome:
    """The outcome of a received ``result``.

    Raises:
        ProtocolError: malformed.
    """
    body, kind = decode_body(frames), Kind.RESULT
    qpu_time_ns, calibration = body.get("qpu_time_ns"), body.get("calibration")
    if type(qpu_time_ns) is not int or not 0 <= qpu_time_ns < 2**63:
        raise _wrong(kind, "qpu_time_ns", "a whole number from 0 to 2^63 - 1", qpu_time_ns)
    if type(calibration) is not str:
        raise _wrong(kind, "calibration", "a text", calibration)
    shape, sampled = body.get("shape"), body.get("samples")
    if type(sampled) is not bool:
        raise _wrong(kind, "samples", "true or false", sampled)
    if type(shape) is not list or len(shape) != (3 if sampled else 1):
        raise _wrong(kind, "shape", "3 lengths of samples, or 1 of values", shape)
    for length in shape:
        if type(length) is not int or not 0 <= length <= MAX_MESSAGE_BYTES:
            raise _wrong(kind, "shape", "lengths of an array", shape)
    said = body.get("metadata")
    metadata = {} if said is None else _scalars(kind, "metadata", said)
    raw = _carried(body, frames[2:])
    try:
        if sampled:
            memory = np.frombuffer(raw, np.uint8).reshape(shape)
            return Outcome(Samples(memory, qpu_time_ns, metadata), calibration)
        values = np.frombuffer(raw, "<f8").reshape(shape).copy()  # the caller's, to write to
        return Outcome(Expectations(values, qpu_time_ns, metadata), calibration)
    except ValueError as error:
        raise _wrong(kind, "shape", f"that of {len(raw)} bytes", shape) from error
