"""Devices: the contract that every QPU driver keeps, and what is built on it."""

from openqse.device.adapter import Blocking, ThreadDevice, perform
from openqse.device.contract import (
    READY,
    Calibration,
    Capabilities,
    Device,
    DeviceStatus,
    Expectations,
    Metadata,
    Operation,
    Outcome,
    Samples,
    Scalar,
    Work,
    check,
    check_program,
    check_work,
    method_of,
)
from openqse.device.needs import circuit
from openqse.device.preparing import Preparer
from openqse.device.registry import ENTRY_POINTS, load, names
from openqse.device.running import execute, result, typed_errors, verify
from openqse.device.slicing import Join, alike, apart, slices, together

__all__ = [
    "ENTRY_POINTS",
    "READY",
    "Blocking",
    "Calibration",
    "Capabilities",
    "Device",
    "DeviceStatus",
    "Expectations",
    "Join",
    "Metadata",
    "Operation",
    "Outcome",
    "Preparer",
    "Samples",
    "Scalar",
    "ThreadDevice",
    "Work",
    "alike",
    "apart",
    "check",
    "check_program",
    "check_work",
    "circuit",
    "execute",
    "load",
    "method_of",
    "names",
    "perform",
    "result",
    "slices",
    "together",
    "typed_errors",
    "verify",
]
