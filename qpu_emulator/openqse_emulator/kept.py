"""What the emulator keeps, so that the slices of a run cost together what the run costs."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from openqse.errors import TaskCancelled
from openqse_emulator.statevector.team import Stopped

#: Bytes that are kept for runs to come: four distributions of 20 qubits.
LIMIT = 2**26
#: Seconds that a slice may take for shots that are not its own. What is begun anew for the slices
#: after it costs under 3 % so; at 2 s it was more, and others wait for it.
_AHEAD = 4.0


class Sized(Protocol):
    """Something of which one can say how many bytes it takes."""

    @property
    def nbytes(self) -> int: ...


S = TypeVar("S", bound=Sized)


class Kept:
    """The objects used last, within ``LIMIT`` bytes, since slices of tasks interleave with other
    tasks'."""

    def __init__(self) -> None:
        self._objects: OrderedDict[Hashable, Sized] = OrderedDict()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._objects

    def get(self, key: Hashable, make: Callable[[], S]) -> S:
        """The object of this key, made if it is not there; kept unless it alone is too large."""
        found = self._objects.get(key)
        if found is not None:
            self._objects.move_to_end(key)
            return cast(S, found)
        made = make()
        if made.nbytes <= LIMIT:
            self._objects[key] = made
            self.nbytes += made.nbytes
            self.trim(LIMIT)
        return made

    def drop(self, key: Hashable) -> None:
        """Forgets an object, if it is there."""
        found = self._objects.pop(key, None)
        if found is not None:
            self.nbytes -= found.nbytes

    def trim(self, nbytes: int) -> None:
        """Keeps no more than so many bytes."""
        while self.nbytes > nbytes:
            self.drop(next(iter(self._objects)))


#: Samples those shots from one number to another that are left, and says so of each.
Sample = Callable[[int, int, Stopped], None]


class Shots:
    """The shots of one set of parameters: those of a slice, and some ahead of it.

    Shots share what they have in common: the more are computed together, the less each takes. So a
    slice goes on with later shots for a while, and what it gets done the next slices find.

    Attributes:
        memory: uint8 ``(shots, bytes)``, of all slices.
        left: bool ``(shots,)``, those not computed yet.
    """

    def __init__(self, shots: int, width: int) -> None:
        self.memory = np.zeros((shots, width), np.uint8)
        self.left = np.ones(shots, np.bool_)

    @property
    def nbytes(self) -> int:
        return self.memory.nbytes + self.left.nbytes

    def take(
        self, begin: int, end: int, sample: Sample, stopped: Stopped, *, alike: bool
    ) -> NDArray[np.uint8]:
        """The rows of a slice's shots.

        Args:
            alike: a slice is going to visit all states that any shot does, so that all shots take
                no longer than it.

        Raises:
            TaskCancelled: ``stopped`` was true.
        """
        if self.left[begin:end].any():
            last = time.monotonic() + (math.inf if alike else _AHEAD)
            try:
                sample(begin, len(self.left), lambda: stopped() or time.monotonic() > last)
            except TaskCancelled:
                if stopped():
                    raise
        if self.left[begin:end].any():
            sample(begin, end, stopped)
        return self.memory[begin:end]
