"""Devices: the contract that every QPU driver keeps, and what is built on it."""

from openqse.device.adapter import Blocking, ThreadDevice, as_circuit, perform
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
    "Samples",
    "Scalar",
    "ThreadDevice",
    "Work",
    "alike",
    "apart",
    "as_circuit",
    "check",
    "check_program",
    "check_work",
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
