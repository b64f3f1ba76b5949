"""The programs that the device has prepared, and what running them took."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from openqse import device
from openqse.program.program import Program

#: Bytes of programs whose prepared forms are kept.
_PREPARED_BYTES = 64 * 2**20


@dataclass(slots=True)
class Prepared:
    """A prepared program and what running it last took: seconds, and for how many shots.

    Attributes:
        form: the device's own. size: bytes of the program. shot_size: of one shot's bits.
        qpu_time: QPU time of one shot when it ran last, seconds.
    """

    form: Any
    size: int
    shot_size: int
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
    """Prepared programs, the least recently used dropped first.

    ``prepare`` is for whoever may call the device; the rest is for anybody.

    Args:
        name: what errors call the device.
        most: programs that are kept.
    """

    def __init__(self, driver: device.Device[Any, Any], name: str, most: int) -> None:
        self._preparer = device.Preparer(driver, name)
        self._most = most
        self._kept: OrderedDict[bytes, Prepared] = OrderedDict()
        self._size = 0

    def get(self, program: Program) -> Prepared | None:
        """A program as it was prepared, if that is kept."""
        return self._kept.get(self._preparer.key(program))

    def prepare(self, program: Program, keep: bool = True) -> Prepared:
        """A program as the device needs it: translated, checked and prepared once.

        Raises:
            OpenQSEError: the device does not take it.
        """
        key = self._preparer.key(program)
        prepared = self._kept.get(key)
        if prepared is not None:
            self._kept.move_to_end(key)
            return prepared
        form = self._preparer.prepare(program)
        prepared = Prepared(form, len(program.data), (program.width + 7) // 8)
        if keep:
            self._kept[key] = prepared
            self._size += prepared.size
            while len(self._kept) > self._most or self._size > _PREPARED_BYTES:
                self._size -= self._kept.popitem(last=False)[1].size
        return prepared
