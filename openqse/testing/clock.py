"""A clock that stands still until it is moved."""

from __future__ import annotations


class ManualClock:
    """Time as a test wants it.

    Args:
        now: monotonic seconds at the beginning. wall: seconds since the epoch then.
    """

    def __init__(self, now: float = 0.0, wall: float = 1.8e9) -> None:
        self._now = now
        self._wall = wall

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._wall

    def pass_(self, seconds: float) -> None:
        """Lets time pass."""
        self._now += seconds
        self._wall += seconds

    def set(self, wall: float) -> None:
        """Sets the host's time, which moves no monotonic clock."""
        self._wall = wall
