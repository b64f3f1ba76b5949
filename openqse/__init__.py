"""Run quantum programs on the QPUs of a Slurm cluster, or on an emulator in this process."""

from openqse.errors import OpenQSEError
from openqse.program.angle import Angle
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.observable import PauliSum
from openqse.qpu import (
    QPU,
    ExpectationResult,
    Future,
    Lease,
    Result,
    Usage,
    as_completed,
)
from openqse.session import connect

__all__ = [
    "QPU",
    "Angle",
    "Circuit",
    "CircuitBuilder",
    "ExpectationResult",
    "Future",
    "Lease",
    "OpenQSEError",
    "PauliSum",
    "Result",
    "Usage",
    "as_completed",
    "connect",
]
