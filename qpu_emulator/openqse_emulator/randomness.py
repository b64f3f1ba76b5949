"""Random numbers that belong to a shot, whoever draws them and when."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray


class Uniforms:
    """Streams of numbers in [0, 1), each of which can be read from any position.

    The generator is Philox, a cipher of a counter (Salmon et al., SC11, 2011): the seed is its key,
    and set, stream and position are its counter. So shot ``i`` has the same numbers whether it is
    drawn with others or alone.
    """

    def __init__(self, seed: int, of_set: int = 0, origin: int = 0) -> None:
        """
        Args:
            origin: the number that ``draw`` counts from: the first shot of a slice.
        """
        self._seed = seed
        self._set = of_set
        self._origin = origin

    def draw(self, stream: int, first: int, count: int) -> NDArray[np.float64]:
        """Numbers ``first`` to ``first + count`` of a stream, float64 ``(count,)``."""
        first += self._origin
        skipped = first % 4  # a counter gives four numbers
        generator = _own_generator()
        generator.bit_generator.state = {
            "bit_generator": "Philox",
            "state": {
                "counter": np.array([first // 4, stream, self._set, 0], dtype=np.uint64),
                "key": np.array([self._seed, 0], dtype=np.uint64),
            },
            "buffer": _EMPTY,
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        return generator.random(skipped + count)[skipped:]


def _own_generator() -> np.random.Generator:
    """This thread's generator: setting its state takes 2 µs, making a new one 15."""
    found: np.random.Generator | None = getattr(_threads, "generator", None)
    if found is None:
        found = _threads.generator = np.random.Generator(np.random.Philox())
    return found


_threads = threading.local()
_EMPTY = np.zeros(4, dtype=np.uint64)
