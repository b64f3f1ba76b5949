"""Run quantum programs on the QPUs of a Slurm cluster, or on an emulator in this process."""

from openqse.client.connect import connect
from openqse.client.futures import Future, as_completed
from openqse.client.qpu import QPU, Lease
from openqse.client.results import BatchResult, ExpectationResult, Register, Result, Usage
from openqse.errors import OpenQSEError
from openqse.program.angle import Angle
from openqse.program.builder import Cell, CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.observable import PauliSum
from openqse.program.program import Program

__all__ = [
    "QPU",
    "Angle",
    "BatchResult",
    "Cell",
    "Circuit",
    "CircuitBuilder",
    "ExpectationResult",
    "Future",
    "Lease",
    "OpenQSEError",
    "PauliSum",
    "Program",
    "Register",
    "Result",
    "Usage",
    "as_completed",
    "connect",
]
