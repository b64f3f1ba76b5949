"""Run quantum programs on the QPUs of a Slurm cluster, or on an emulator in this process."""

from openqse.client.connect import connect
from openqse.client.futures import Future, as_completed
from openqse.client.qpu import QPU, Lease
from openqse.client.results import BatchResult, ExpectationResult, Register, Result, Usage
from openqse.errors import (
    AgentUnavailable,
    ArgumentError,
    ConfigurationError,
    DeadlineExceeded,
    DeviceError,
    InternalError,
    Layer,
    LeaseDenied,
    LimitExceeded,
    NoLease,
    NotAcquired,
    NotAuthorised,
    NotSupported,
    OpenQSEError,
    ProgramError,
    ProtocolError,
    QPUDrained,
    SlurmError,
    StaleLease,
    StorageError,
    TaskCancelled,
    UnknownProgram,
    UnsupportedInput,
)
from openqse.program.angle import Angle
from openqse.program.builder import Cell, CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.observable import PauliSum
from openqse.program.program import Program

__all__ = [
    "QPU",
    "AgentUnavailable",
    "Angle",
    "ArgumentError",
    "BatchResult",
    "Cell",
    "Circuit",
    "CircuitBuilder",
    "ConfigurationError",
    "DeadlineExceeded",
    "DeviceError",
    "ExpectationResult",
    "Future",
    "InternalError",
    "Layer",
    "Lease",
    "LeaseDenied",
    "LimitExceeded",
    "NoLease",
    "NotAcquired",
    "NotAuthorised",
    "NotSupported",
    "OpenQSEError",
    "PauliSum",
    "Program",
    "ProgramError",
    "ProtocolError",
    "QPUDrained",
    "Register",
    "Result",
    "SlurmError",
    "StaleLease",
    "StorageError",
    "TaskCancelled",
    "UnknownProgram",
    "UnsupportedInput",
    "Usage",
    "as_completed",
    "connect",
]
