"""What the emulator keeps, so that the slices of a run cost together what the run costs."""

from __future__ import annotations

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
#: Seconds that a slice may take for shots that are not its own.
_AHEAD = 0.5


class Sized(Protocol):
    """Something of which one can say how many bytes it takes."""

    @property
    def nbytes(self) -> int: ...


S = TypeVar("S", bound=Sized)


class Kept:
    """The objects used last, within ``LIMIT`` bytes, since slices of tasks interleave with other
    tasks'; and one that is larger, while its task runs in slices."""

    def __init__(self) -> None:
        self._small: OrderedDict[Hashable, Sized] = OrderedDict()
        self._small_bytes = 0
        self._large: dict[Hashable, Sized] = {}

    def __len__(self) -> int:
        return len(self._small) + len(self._large)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._small or key in self._large

    @property
    def nbytes(self) -> int:
        """Memory that all take."""
        return self._small_bytes + sum(each.nbytes for each in self._large.values())

    def get(self, key: Hashable, make: Callable[[], S], *, sliced: bool) -> S:
        """The object of this key, made if it is not there.

        Args:
            sliced: it is going to be asked for again, so that it is kept however large it is.
        """
        found = self._small.get(key)
        if found is not None:
            self._small.move_to_end(key)
            return cast(S, found)
        if key in self._large:
            return cast(S, self._large[key])
        made = make()
        if made.nbytes <= LIMIT:
            self._small[key] = made
            self._small_bytes += made.nbytes
            self._shrink(LIMIT)
        elif sliced:
            self._large = {key: made}
        return made

    def drop(self, key: Hashable) -> None:
        """Forgets an object."""
        self._large.pop(key, None)
        found = self._small.pop(key, None)
        if found is not None:
            self._small_bytes -= found.nbytes

    def release(self, key: Hashable) -> None:
        """Forgets an object that was kept although it is larger than ``LIMIT``."""
        self._large.pop(key, None)

    def trim(self, nbytes: int) -> None:
        """Keeps no more than so many bytes."""
        if self.nbytes > nbytes:
            self._large.clear()
        self._shrink(nbytes)

    def _shrink(self, nbytes: int) -> None:
        while self._small_bytes > nbytes:
            self.drop(next(iter(self._small)))


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
        self._pace = shots

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
        left = np.count_nonzero(self.left)
        if alike and self.left[begin:end].any():
            sample(begin, len(self.left), stopped)
        elif self.left[begin:end].any():
            last = time.monotonic() + _AHEAD
            try:
                ahead = min(len(self.left), max(end, begin + self._pace))
                sample(begin, ahead, lambda: stopped() or time.monotonic() > last)
            except TaskCancelled:
                if stopped():
                    raise
            self._pace = 2 * int(left - np.count_nonzero(self.left))
            if self.left[begin:end].any():
                sample(begin, end, stopped)
        return self.memory[begin:end]
