"""A program on its way into a device: translated, checked, prepared."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from openqse.device.contract import Device, check_program
from openqse.device.running import typed_errors
from openqse.program.program import Program
from openqse.program.translate import Target, Translations

P = TypeVar("P")


class Preparer(Generic[P]):
    """Prepares programs of any format that leads to one of the device's.

    Args:
        name: what errors call the device.
    """

    def __init__(self, device: Device[P, Any], name: str = "the device") -> None:
        self._device = device
        self._name = name
        self._offers = device.capabilities
        self._translations = Translations(self._offers.formats)

    def key(self, program: Program) -> bytes:
        """What a prepared program is kept under: one that is translated is good for the calibration
        in force alone."""
        if program.format in self._offers.formats:
            return program.digest
        return program.digest + self._device.calibration().id.encode()

    def prepare(self, program: Program) -> P:
        """Translates, checks and prepares a program.

        Raises:
            OpenQSEError: what the device cannot run; ``DeviceError`` for anything else it raises.
        """
        device, offers = self._device, self._offers
        with typed_errors():
            target = None
            if program.format not in offers.formats:
                found = device.calibration()
                target = Target(offers.gates, offers.coupling, found.id, found.values)
            program = self._translations.get(program, target)
            check_program(program, offers, self._name)
            return device.prepare(program)
