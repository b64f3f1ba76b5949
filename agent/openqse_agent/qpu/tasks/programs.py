"""The programs that the device has prepared, and what running them took."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from openqse import device
from openqse.program.program import Program
from openqse.program.translate import Translations

#: Bytes of programs whose prepared forms are kept.
_PREPARED_BYTES = 64 * 2**20


@dataclass(slots=True)
class Prepared:
    """A prepared program and what running it last took: seconds, and for how many shots.

    Attributes:
        form: the device's own. size: bytes of the program. shot_size: of one shot's bits.
        calibration: under which it was translated; empty if it needed no translation.
        qpu_time: QPU time of one shot when it ran last, seconds.
    """

    form: Any
    size: int
    shot_size: int
    calibration: str = ""
    seconds: float = float("inf")
    shots: int = 1
    qpu_time: float | None = None

    def expected(self, work: device.Work) -> float:
        """An upper estimate of a run's seconds."""
        return self.seconds * max(1.0, shots_of(work) / self.shots)

    def took(self, seconds: float, work: device.Work, qpu_time_ns: int) -> None:
        """Notes a run; one that was held up by something else does not count for much."""
        self.seconds = min(seconds, 1.25 * self.expected(work))
        self.shots = shots_of(work)
        self.qpu_time = qpu_time_ns * 1e-9 / self.shots


def shots_of(work: device.Work) -> int:
    """Shots of all sets together; of an expectation, sets."""
    return max(work.shots, 1) * len(work.parameters)


class Programs:
    """Prepared programs by digest, the least recently used dropped first.

    ``prepare`` is for whoever may call the device; the rest is for anybody.

    Args:
        name: what errors call the device.
        most: programs that are kept.
    """

    def __init__(self, driver: device.Device[Any, Any], name: str, most: int) -> None:
        self._driver = driver
        self._name = name
        self._most = most
        self._translations = Translations(driver.capabilities.formats)
        self._kept: OrderedDict[bytes, Prepared] = OrderedDict()
        self._size = 0

    def get(self, digest: bytes) -> Prepared | None:
        """A prepared program, if it is kept."""
        return self._kept.get(digest)

    def prepare(self, program: Program, keep: bool = True) -> Prepared:
        """A program as the device needs it: translated, checked and prepared once.

        Raises:
            OpenQSEError: the device does not take it.
        """
        digest = program.digest
        prepared = self._kept.get(digest)
        if prepared is not None and prepared.calibration in ("", self._calibration):
            self._kept.move_to_end(digest)
            return prepared
        made = self._made(program)
        if keep:
            if prepared is not None:
                self._size -= self._kept.pop(digest).size
            self._kept[digest] = made
            self._size += made.size
            while len(self._kept) > self._most or self._size > _PREPARED_BYTES:
                self._size -= self._kept.popitem(last=False)[1].size
        return made

    @property
    def _calibration(self) -> str:
        return self._driver.calibration().id

    def _made(self, program: Program) -> Prepared:
        with device.typed_errors():
            calibration = self._calibration
            taken = self._translations.get(program, calibration)
            device.check_program(taken, self._driver.capabilities, self._name)
            form = self._driver.prepare(taken)
        translated = calibration if taken is not program else ""
        return Prepared(form, len(program.data), (program.width + 7) // 8, translated)
