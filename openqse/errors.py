"""Typed errors: what happened, in which layer of the stack, and what to do about it.

    OpenQSEError
    ├── ProgramError            the program's text or form is not valid
    ├── NotSupported            valid, but not offered: by the reader, the device or this version
    │   ├── UnsupportedInput    the program's format, or something in it, which is named
    │   └── NotAcquired         the device serves somebody else, or nobody, at present
    ├── ArgumentError           (ValueError) an argument is out of range or of the wrong shape
    ├── LimitExceeded           a cap was hit, which is named
    ├── NoLease                 the job holds no lease of the QPU
    ├── StaleLease              the lease was granted again since
    ├── LeaseDenied             a job's lease was not granted at its start
    ├── NotAuthorised           whoever asks has not proven that it may
    ├── AgentUnavailable        an agent does not answer
    ├── ProtocolError           a message is malformed
    ├── UnknownProgram          the QPU agent no longer has the program
    ├── TaskCancelled           the task was cancelled before it ended
    ├── DeadlineExceeded        (TimeoutError) a task's or a call's deadline passed
    │   └── QPUDrained          … while the QPU was drained
    ├── DeviceError             the device failed
    ├── StorageError            a journal cannot be written
    ├── SlurmError              Slurm could not be asked, or does not confirm a job
    ├── InternalError           a defect of this software
    └── ConfigurationError      a configuration or site file is wrong

``retryable`` says of each class whether the same call may succeed later as it is.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Self


class Layer(StrEnum):
    """Where in the stack something happened."""

    CLIENT = "client"
    NODE_AGENT = "node agent"
    QPU_AGENT = "QPU agent"
    DEVICE = "device"
    SLURMCTLD = "slurmctld"
    SLURMDBD = "slurmdbd"
    SIMULATOR = "simulator"


class OpenQSEError(Exception):
    """Base of every error of this project.

    Attributes:
        code: stable name of the error class on the wire.
        retryable: whether the same call may succeed later as it is.
        message: what happened.
        layer: where in the stack (see ``Layer``); an agent of another version may name another.
        remedy: what the reader can do about it.
        details: plain values for programs, such as ``line`` and ``construct`` of a program error.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    default_remedy: ClassVar[str] = ""

    def __init__(
        self, message: str, *, layer: str | None = None, remedy: str = "", **details: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.layer: str = layer or Layer.CLIENT
        self._placed = layer is not None
        self.remedy: str = remedy or self.default_remedy
        self.details = details

    def at(self, layer: str) -> Self:
        """Says in which layer shared code raised the error; one that names its layer keeps it."""
        if not self._placed:
            self.layer, self._placed = layer, True
        return self

    def __str__(self) -> str:
        text = f"{self.layer}: {self.message}"
        return f"{text}. {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[Any, ...]:
        return from_wire, (self.to_wire(),)

    def to_wire(self) -> dict[str, Any]:
        """The error as plain values, for an ``error`` message."""
        return {
            "code": self.code,
            "message": self.message,
            "layer": str(self.layer),
            "remedy": self.remedy,
            "details": self.details,
        }


class ProgramError(OpenQSEError):
    """The program's text or form is not valid; ``details`` has ``line`` and ``construct``."""

    code = "program"


class NotSupported(OpenQSEError):
    """Valid, but not offered: by the reader, the device or this version."""

    code = "not-supported"


class UnsupportedInput(NotSupported):
    """The device takes no program of this format, or not what this one has in it.

    ``details`` has ``construct``, and ``format`` and ``formats`` (what it is, what is taken) where
    the formats do not meet.
    """

    code = "unsupported-input"


class NotAcquired(NotSupported):
    """The device serves somebody else, or nobody, at present: no session with it is open."""

    code = "not-acquired"
    retryable = True


class ArgumentError(OpenQSEError, ValueError):
    """An argument of a call is out of range or of the wrong shape."""

    code = "argument"


class LimitExceeded(OpenQSEError):
    """A cap was hit; ``details['limit']`` names it."""

    code = "limit"


class NoLease(OpenQSEError):
    """The job holds no lease of the QPU it asks for."""

    code = "no-lease"


class StaleLease(OpenQSEError):
    """The lease was granted again since; this holder's generation is old."""

    code = "stale-lease"


class LeaseDenied(OpenQSEError):
    """A QPU agent did not grant the lease that a job asked for at its start."""

    code = "lease-denied"


class NotAuthorised(OpenQSEError):
    """Whoever asks has not proven, by its key, that it may."""

    code = "not-authorised"


class AgentUnavailable(OpenQSEError):
    """An agent does not answer within its deadline."""

    code = "agent-unavailable"
    retryable = True


class ProtocolError(OpenQSEError):
    """A message is malformed, too large, of an unknown version or kind."""

    code = "protocol"


class UnknownProgram(OpenQSEError):
    """The QPU agent no longer has the program that a task names; the client sends it again."""

    code = "unknown-program"
    retryable = True


class TaskCancelled(OpenQSEError):
    """The task was cancelled before it ended."""

    code = "cancelled"


class DeadlineExceeded(OpenQSEError, TimeoutError):
    """A task's or a call's deadline passed."""

    code = "deadline"


class QPUDrained(DeadlineExceeded):
    """A task's deadline passed while its QPU was drained; the message says by whom and why."""

    code = "drained"
    retryable = True


class DeviceError(OpenQSEError):
    """The device failed while it prepared or ran a program."""

    code = "device"


class StorageError(OpenQSEError):
    """A journal cannot be written, so nothing is done that would have to be recorded."""

    code = "storage"
    retryable = True


class SlurmError(OpenQSEError):
    """Slurm could not be asked, or does not confirm what a job claims."""

    code = "slurm"
    retryable = True


class InternalError(OpenQSEError):
    """A defect of this software; the layer's log has its traceback."""

    code = "internal"
    default_remedy = "Report it with the log of the agent that it names"


class ConfigurationError(OpenQSEError):
    """A configuration or site file is wrong; the message names file and key."""

    code = "configuration"


def _classes(root: type[OpenQSEError]) -> dict[str, type[OpenQSEError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _classes(child)
    return found


def from_wire(body: dict[str, Any]) -> OpenQSEError:
    """The error that ``OpenQSEError.to_wire`` wrote; an unknown code becomes the base class."""
    cls = _classes(OpenQSEError).get(str(body.get("code")), OpenQSEError)
    details = body.get("details")
    error = cls(
        str(body.get("message", "no message")),
        layer=str(body.get("layer", "unknown layer")),
        remedy=str(body.get("remedy", "")),
    )
    if isinstance(details, dict):
        error.details = {str(k): v for k, v in details.items()}
    return error
