"""Random numbers of a walk, and how the shots of a frame are parted by them.

Every shot has its own numbers, which its key and their count give: so it meets the same whatever
other shots are computed with it. What threatens all shots of a frame alike is not asked of each:
a shot has a *threshold*, drawn from the exponential distribution, and a path a *hazard*, the sum of
``-log(1 - p)`` over all that could have happened with probability ``p``. As in a decay, a shot is
struck where the hazard passes its threshold, and draws how much it survives next.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from openqse_emulator.statevector.compiled import kernel

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.uint64(0xD1B54A32D192ED03)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_ONE = np.uint64(1)
#: What is sure to happen is as good as this hazard.
_SURE = 60.0
_NEVER = 1e300


@kernel
def mix(z: Any) -> Any:
    """A number in which every bit depends on every bit (SplitMix64; Steele, Lea and Flood,
    OOPSLA 2014)."""
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@kernel
def key_of(seed: Any, of_set: Any) -> Any:
    """The key of a set of parameters, uint64."""
    return mix(mix(seed + _GOLDEN) ^ (of_set * _ODD + _GOLDEN))


@kernel
def uniform(key: Any, shot: int, number: int) -> Any:
    """The number of this position in the shot's stream, from [0, 1)."""
    own = mix(key + _GOLDEN * (np.uint64(shot) + _ONE))
    found = mix(own + _ODD * (np.uint64(number) + _ONE))
    return np.float64(found >> np.uint64(11)) * 2.0**-53


@kernel
def exponential(key: Any, shot: int, number: int) -> Any:
    return -math.log1p(-uniform(key, shot, number))


@kernel
def begin(shots: Any) -> None:
    """Draws the first thresholds."""
    key = shots.key[0]
    for s in shots.order:
        shots.threshold[s] = exponential(key, shots.first[0] + s, 0)
        shots.drawn[s] = 1


@kernel
def lowest(shots: Any, frame: Any) -> None:
    """Finds the least threshold of a frame's shots."""
    least = _NEVER
    for i in range(frame.lo, frame.hi):
        least = min(least, shots.threshold[shots.order[i]])
    frame.threshold = least


@kernel
def threaten(shots: Any, frame: Any, probability: float) -> None:
    """Something happens to each shot of a frame with some probability: those that it strikes
    stand from ``hit`` on."""
    frame.hit = frame.hi
    frame.hazard += min(-math.log1p(-probability), _SURE) if probability < 1 else _SURE
    if frame.threshold >= frame.hazard:
        return
    order = shots.order
    i, least = frame.lo, _NEVER
    while i < frame.hit:
        s = order[i]
        if shots.threshold[s] < frame.hazard:
            frame.hit -= 1
            order[i], order[frame.hit] = order[frame.hit], s
        else:
            least = min(least, shots.threshold[s])
            i += 1
    frame.threshold = least


@kernel
def next_struck(shots: Any, frame: Any, sums: Any) -> Any:
    """Takes some of the shots that are struck, those that draw the same kind.

    Args:
        sums: float64 ``(kinds - 1,)``, the running sum of all kinds' probabilities but the last.

    Returns:
        The kind, and where these shots begin: they are ``order[it:hi]``.
    """
    order, key, first = shots.order, shots.key[0], shots.first[0]
    kind, i, at = -1, frame.hi - 1, frame.hi
    while i >= frame.hit:
        s = order[i]
        u = uniform(key, first + s, shots.drawn[s])
        own = 0
        while own < len(sums) and u >= sums[own]:
            own += 1
        if kind < 0:
            kind = own
        if own == kind:
            at -= 1
            order[i], order[at] = order[at], s
            shots.threshold[s] = frame.hazard + exponential(key, first + s, shots.drawn[s] + 1)
            shots.drawn[s] += 2
        i -= 1
    return kind, at


@kernel
def spare(shots: Any, frame: Any, at: int) -> None:
    """Puts shots that were struck without effect back among the others."""
    order = shots.order
    for i in range(at, frame.hi):
        frame.threshold = min(frame.threshold, shots.threshold[order[i]])
        order[i], order[frame.hit] = order[frame.hit], order[i]
        frame.hit += 1


@kernel
def choose(shots: Any, frame: Any, sums: Any) -> None:
    """Each shot of a frame draws a kind (see ``next_struck``)."""
    key, first = shots.key[0], shots.first[0]
    for i in range(frame.lo, frame.hi):
        s = shots.order[i]
        u = uniform(key, first + s, shots.drawn[s])
        shots.drawn[s] += 1
        own = 0
        while own < len(sums) and u >= sums[own]:
            own += 1
        shots.choice[s] = own
    frame.chosen = 1


@kernel
def coin(shots: Any, shot: int, first: float) -> Any:
    """What ``choose`` has one shot draw of two kinds, the first of which has this probability."""
    u = uniform(shots.key[0], shots.first[0] + shot, shots.drawn[shot])
    shots.drawn[shot] += 1
    return 1 if u >= first else 0


@kernel
def next_chosen(shots: Any, frame: Any, kinds: int) -> Any:
    """Takes the shots of the kind that fewest drew: the kind, and where they begin."""
    order = shots.order
    counts = np.zeros(kinds, dtype=np.int64)
    for i in range(frame.lo, frame.hi):
        counts[shots.choice[order[i]]] += 1
    kind = -1
    for own in range(kinds):
        if counts[own] and (kind < 0 or counts[own] < counts[kind]):
            kind = own
    at = frame.hi
    if counts[kind] == frame.hi - frame.lo:
        return kind, frame.lo
    i = frame.hi - 1
    while at > frame.hi - counts[kind]:
        s = order[i]
        if shots.choice[s] == kind:
            at -= 1
            order[i], order[at] = order[at], s
        i -= 1
    return kind, at
