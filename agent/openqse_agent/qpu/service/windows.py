"""When a QPU is not to be used: drains and planned windows. Values and transitions, no I/O.

Instants are seconds since the epoch, since windows are planned by people and outlive the agent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from openqse.errors import ArgumentError
from openqse_agent.slurm.client import Reservation

#: Windows that a QPU may have at once, and the longest plan: bounds, so that a slip is noticed.
MAX_WINDOWS = 64
MAX_AHEAD = 366 * 86400.0
MAX_REASON = 200

_PREFIX = "openqse_"


@dataclass(frozen=True)
class Window:
    """A time in which the QPU starts no task and Slurm starts no job with it.

    Attributes:
        start, end: an end of None means until somebody resumes.
        reason, by: why and who, for people.
        made: when it was asked for.
    """

    start: float
    end: float | None
    reason: str
    by: str
    made: float

    def covers(self, now: float) -> bool:
        return self.start <= now and (self.end is None or now < self.end)

    def __str__(self) -> str:
        until = "" if self.end is None else f" until {instant(self.end)}"
        return f"since {instant(self.start)}{until} by {self.by}: {self.reason}"


def instant(seconds: float) -> str:
    """An instant as people of this host read it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))


@dataclass(frozen=True)
class Windows:
    """The windows of one QPU, the earliest first. Each change gives new ones."""

    qpu: str
    all: tuple[Window, ...] = ()

    def in_force(self, now: float) -> Window | None:
        """The window that holds now, if any does."""
        return next((window for window in self.all if window.covers(now)), None)

    def add(self, window: Window, now: float) -> Windows:
        """With a drain (its start is now) or a planned window.

        Raises:
            ArgumentError: it is over already, too far ahead, or says not why; the QPU is drained
                already, or has too many windows.
        """
        current = self.in_force(now)
        if not window.reason or len(window.reason) > MAX_REASON:
            raise ArgumentError(f"a reason of 1 to {MAX_REASON} characters is needed")
        if window.start < now or (window.end is not None and window.end <= window.start):
            raise ArgumentError(f"a window cannot start in the past ({instant(window.start)})")
        if max(window.start, window.end or 0.0) > now + MAX_AHEAD:
            raise ArgumentError("a window cannot lie more than a year ahead")
        if window.covers(now) and current is not None:
            raise ArgumentError(
                f"{self.qpu} is drained already, {current}",
                remedy=f"To replace it: openqse qpu resume {self.qpu}",
            )
        if len(self.all) >= MAX_WINDOWS:
            raise ArgumentError(f"{self.qpu} has {MAX_WINDOWS} windows already")
        return replace(self, all=tuple(sorted((*self.all, window), key=lambda w: w.start)))

    def resume(self, now: float) -> Windows:
        """Without what is in force.

        Raises:
            ArgumentError: the QPU is not drained.
        """
        if self.in_force(now) is None:
            raise ArgumentError(f"{self.qpu} is not drained")
        return replace(self, all=tuple(w for w in self.all if not w.covers(now)))

    def cancel(self, start: float, now: float) -> Windows:
        """Without what is planned to start at ``start``, to the second.

        Raises:
            ArgumentError: nothing is.
        """
        kept = tuple(w for w in self.all if w.start <= now or int(w.start) != int(start))
        if kept == self.all:
            raise ArgumentError(
                f"{self.qpu} has no window planned for {instant(start)}",
                remedy=f"List them: openqse qpu windows {self.qpu}",
            )
        return replace(self, all=kept)

    def expire(self, now: float) -> Windows:
        """Without what is over."""
        kept = tuple(w for w in self.all if w.end is None or w.end > now)
        return self if kept == self.all else replace(self, all=kept)

    def reservations(self, licenses: Mapping[str, int]) -> dict[str, Reservation]:
        """What Slurm is to hold for these windows, by name.

        Slurm takes no two reservations of the same licenses at one time, so windows that overlap
        or touch share one.
        """
        spans: list[tuple[float, float | None]] = []
        for window in self.all:
            if spans and (spans[-1][1] is None or window.start <= spans[-1][1]):
                start, end = spans[-1]
                if end is not None:
                    spans[-1] = (start, None if window.end is None else max(end, window.end))
            else:
                spans.append((window.start, window.end))
        return {
            name: Reservation(name, licenses, start, end)
            for start, end in spans
            for name in [f"{_PREFIX}{self.qpu}_{int(start)}"]
        }

    def to_wire(self) -> list[dict[str, Any]]:
        """The windows as plain values, for a report or the file."""
        return [asdict(window) for window in self.all]


def differences(
    qpu: str, wanted: Mapping[str, Reservation], held: Mapping[str, Reservation]
) -> tuple[list[str], list[Reservation]]:
    """What is to be done in Slurm so that it holds what is wanted for a QPU, and no more.

    Returns:
        Names to release first, then reservations to make. Others than this QPU's are left alone.
    """
    ours = {name for name in held if _qpu_of(name) == qpu}
    kept = {name for name in ours & wanted.keys() if _same(wanted[name], held[name])}
    return sorted(ours - kept), [wanted[name] for name in wanted if name not in kept]


def _same(wanted: Reservation, held: Reservation) -> bool:
    """Whether they agree; the start is in the name, and lies later in one that was made late."""
    ends = (wanted.end and int(wanted.end), held.end and int(held.end))
    return dict(wanted.licenses) == dict(held.licenses) and ends[0] == ends[1]


def _qpu_of(reservation: str) -> str | None:
    name, _, start = reservation.removeprefix(_PREFIX).rpartition("_")
    return name if reservation.startswith(_PREFIX) and start.isdecimal() else None
