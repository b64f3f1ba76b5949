"""The one clock of an agent, handed to whatever needs to know the time."""

from __future__ import annotations

import time
from typing import Final, Protocol


class Clock(Protocol):
    """Tells the time; a test has one that it moves by hand (``openqse.testing.clock``)."""

    def monotonic(self) -> float:
        """Seconds since some moment, which no change of the host's time moves: for all waiting."""
        ...

    def time(self) -> float:
        """Seconds since the epoch: for people, records, and what Slurm plans."""
        ...


class SystemClock:
    """The host's clock."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


SYSTEM: Final[Clock] = SystemClock()
