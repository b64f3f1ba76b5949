"""Work cut into slices and put together again; and pieces of work that run as one."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqse.device.contract import Expectations, Metadata, Outcome, Samples, Work
from openqse.errors import DeviceError
from openqse.program.observable import PauliSum

#: Slices of many shots are cut at multiples of this, since devices compute shots in blocks.
_BLOCK = 256


def slices(work: Work, qpu_time_ns: int, slice_ns: int, seeds: bool = True) -> Iterator[Work]:
    """Cuts work into slices of about a given QPU time, in the order in which they are to run.

    Each is some sets of parameters with all their shots or, where one set takes longer, some shots
    of one set. An expectation is cut between sets alone.

    Args:
        qpu_time_ns: estimated QPU time of the work.
        slice_ns: that of a slice, more than 0.
        seeds: the device takes seeds.

    Yields:
        The work itself if it is one slice; else slices, all with one seed where the device takes
        them, which is drawn where the work has none.
    """
    sets, shots = len(work.parameters), work.shots
    pieces = -(-qpu_time_ns // slice_ns)
    if pieces <= 1:
        yield work
        return
    seed = secrets.randbits(64) if work.seed is None and seeds else work.seed
    whole = replace(work, seed=seed, of_shots=work.of_shots or shots or None)
    for first, last in _cut(sets, pieces):
        part = replace(
            whole, parameters=work.parameters[first:last], first_set=work.first_set + first
        )
        within = -(-pieces // sets)
        if within == 1 or shots <= 1:
            yield part
            continue
        each = -(-shots // min(within, shots))
        if each > _BLOCK:
            each = round(each / _BLOCK) * _BLOCK
        for begin in range(0, shots, each):
            yield replace(part, shots=min(each, shots - begin), first_shot=work.first_shot + begin)


def _cut(whole: int, pieces: int) -> Iterator[tuple[int, int]]:
    """First and last of so many pieces of about equal length, none of them empty."""
    pieces = min(pieces, whole)
    for i in range(pieces):
        yield whole * i // pieces, whole * (i + 1) // pieces


class Join:
    """Puts the outcomes of a work's slices together as they come: each is copied once.

    Attributes:
        qpu_time_ns: QPU time of the slices so far.
    """

    def __init__(self, work: Work) -> None:
        self.qpu_time_ns = 0
        self._shape = (len(work.parameters), work.shots)[: 1 if work.observable else 2]
        self._size = math.prod(self._shape)
        self._filled = 0
        self._rows: NDArray[Any] = np.empty(0)
        self._calibrations: list[str] = []
        self._metadata: Metadata = {}

    @property
    def shots(self) -> int:
        """Shots so far, of all sets together; of an expectation, sets."""
        return self._filled

    @property
    def done(self) -> bool:
        """Whether all that the work asks for is there."""
        return self._filled == self._size

    def add(self, outcome: Outcome) -> None:
        """Adds what the next slice gave.

        Raises:
            DeviceError: it is more than the work asks for.
        """
        data = outcome.data
        given = data.memory if isinstance(data, Samples) else data.values
        inner = given.shape[len(self._shape) :]
        count = math.prod(given.shape[: len(self._shape)])
        end = self._filled + count
        if end > self._size:
            raise DeviceError(
                f"the device gave {end} results where {self._size} were asked for", layer="device"
            )
        if not self._filled:
            self._rows = np.empty((self._size, *inner), given.dtype)
            self._metadata = data.metadata
        self._rows[self._filled : end] = given.reshape(count, *inner)
        self._filled = end
        self.qpu_time_ns += data.qpu_time_ns
        if outcome.calibration not in self._calibrations:
            self._calibrations.append(outcome.calibration)

    def outcome(self) -> Outcome:
        """The outcome of the work, which is ``done``.

        Where the device was calibrated between slices, the ids of the calibrations are joined by
        ``+``, in the order in which they were first in force.
        """
        array = self._rows.reshape(*self._shape, *self._rows.shape[1:])
        made = Samples if len(self._shape) == 2 else Expectations
        data = made(array, self.qpu_time_ns, self._metadata)
        return Outcome(data, "+".join(self._calibrations))


def alike(one: Work, other: Work) -> bool:
    """Whether two pieces of work may be run as one, as more sets of parameters of one program.

    Not where a seed is given: it is good for the work as it is.
    """
    return (
        one.program == other.program
        and one.shots == other.shots
        and one.seed is None
        and other.seed is None
        and one.parameters.shape[1] == other.parameters.shape[1]
        and _same(one.observable, other.observable)
    )


def _same(one: PauliSum | None, other: PauliSum | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one.paulis, other.paulis) and np.array_equal(
        one.coefficients, other.coefficients
    )


def together(works: Sequence[Work]) -> Work:
    """Pieces of work that are all ``alike`` as one; it is late when the last of them is."""
    deadlines = [work.deadline for work in works]
    deadline = None if None in deadlines else max(d for d in deadlines if d is not None)
    parameters = np.concatenate([work.parameters for work in works])
    return replace(works[0], parameters=parameters, deadline=deadline)


def apart(outcome: Outcome, works: Sequence[Work]) -> list[Outcome]:
    """The outcome of work done ``together`` as those of its pieces, each with its part of the QPU
    time.

    Raises:
        DeviceError: the device gave other than what was asked for.
    """
    data = outcome.data
    given = len(data.memory if isinstance(data, Samples) else data.values)
    sets = sum(len(work.parameters) for work in works)
    if given != sets:
        raise DeviceError(
            f"the device gave results of {given} sets where {sets} were asked for",
            layer="device",
        )
    outcomes, first, charged = [], 0, 0
    for work in works:
        last = first + len(work.parameters)
        until = data.qpu_time_ns * last // sets
        took = until - charged
        part: Samples | Expectations
        if isinstance(data, Samples):
            part = replace(data, memory=data.memory[first:last], qpu_time_ns=took)
        else:
            part = replace(data, values=data.values[first:last], qpu_time_ns=took)
        outcomes.append(Outcome(part, outcome.calibration))
        first, charged = last, until
    return outcomes
