"""OpenQASM 3 and OpenQASM 2 text read into the circuit form, and written from it."""

from openqse.program.openqasm.reader import MAX_SOURCE, loads
from openqse.program.openqasm.writer import dumps

__all__ = ["MAX_SOURCE", "dumps", "loads"]
