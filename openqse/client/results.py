"""Results of tasks, as a program sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from openqse.device import Metadata, method_of
from openqse.program.program import Output


class Register(dict[str, int]):
    """How often each bit string of one register occurred; bit 0 is the rightmost character.

    Attributes:
        memory: uint8 ``(shots, width)``, a column for each bit of the register.
    """

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        super().__init__(_count(np.packbits(memory, axis=-1, bitorder="little"), memory.shape[1]))
        self.memory = memory

    @property
    def integers(self) -> list[int]:
        """Of each shot, the register as an unsigned integer; bit 0 is the least significant."""
        packed = np.packbits(self.memory, axis=-1, bitorder="little")
        return [int.from_bytes(row.tobytes(), "little") for row in packed]


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What every result says of its task.

    Attributes:
        qpu: name of the QPU. task_id, lease_id: ids for logs and accounting.
        qpu_time_ns: QPU time charged, nanoseconds.
        calibration_id: calibration under which it ran.
        metadata: how the QPU came to it, by name (see ``openqse.device.Samples``).
    """

    qpu: str
    task_id: str
    lease_id: str
    qpu_time_ns: int
    calibration_id: str
    metadata: Metadata = field(default_factory=dict)

    @property
    def qpu_seconds(self) -> float:
        """QPU time charged, seconds."""
        return self.qpu_time_ns * 1e-9

    @property
    def method(self) -> str:
        """How an emulated QPU computed it and why, in words; empty for hardware."""
        return method_of(self.metadata)


@dataclass(frozen=True, kw_only=True)
class Result(TaskResult):
    """Samples of one set of parameters.

    Attributes:
        outputs: the registers, the one with the lowest bits first.
        packed: uint8 ``(shots, ceil(num_clbits / 8))``; classical bit ``i`` is bit ``i % 8`` of
            byte ``i // 8``.
    """

    outputs: tuple[Output, ...]
    packed: NDArray[np.uint8] = field(repr=False)

    @property
    def shots(self) -> int:
        """Shots that were taken."""
        return len(self.packed)

    @cached_property
    def num_clbits(self) -> int:
        """Bits of all registers together."""
        return sum(width for _, width in self.outputs)

    @property
    def memory(self) -> NDArray[np.uint8]:
        """Bits of every shot: uint8 ``(shots, num_clbits)``, a column for each classical bit."""
        return _unpacked(self.packed, self.num_clbits)

    @property
    def counts(self) -> dict[str, int]:
        """How often each bit string occurred; classical bit 0 is the rightmost character."""
        return _count(self.packed, self.num_clbits)

    @property
    def registers(self) -> dict[str, Register]:
        """The counts of each register by its name; ``memory`` and ``integers`` of each beside."""
        bits, begin = self.memory, 0
        found = {}
        for name, width in self.outputs:
            found[name] = Register(bits[:, begin : begin + width])
            begin += width
        return found


@dataclass(frozen=True, kw_only=True)
class BatchResult(TaskResult, Sequence[Result]):
    """Samples of a batch of ``k`` sets of parameters: a sequence of ``k`` results.

    The QPU time of the task is the batch's; that of its results is not known one by one, so each
    has its part by number.

    Attributes:
        outputs: as in ``Result``. packed: uint8 ``(k, shots, ceil(num_clbits / 8))``.
    """

    outputs: tuple[Output, ...]
    packed: NDArray[np.uint8] = field(repr=False)

    def __len__(self) -> int:
        return len(self.packed)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> list[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | list[Result]:
        numbers = range(len(self))[index]
        if isinstance(numbers, range):
            return [self._result(i) for i in numbers]
        return self._result(numbers)

    def __iter__(self) -> Iterator[Result]:
        return map(self._result, range(len(self)))

    def _result(self, i: int) -> Result:
        count, whole = len(self), self.qpu_time_ns
        return Result(
            qpu=self.qpu, task_id=self.task_id, lease_id=self.lease_id,
            qpu_time_ns=whole * (i + 1) // count - whole * i // count,
            calibration_id=self.calibration_id, metadata=self.metadata, outputs=self.outputs,
            packed=self.packed[i],
        )  # fmt: skip

    @property
    def shots(self) -> int:
        """Shots of each set."""
        return int(self.packed.shape[1])

    @property
    def memory(self) -> NDArray[np.uint8]:
        """Bits of every shot: uint8 ``(k, shots, num_clbits)``."""
        return _unpacked(self.packed, sum(width for _, width in self.outputs))

    @property
    def counts(self) -> list[dict[str, int]]:
        """How often each bit string occurred, for each of the ``k`` sets."""
        return [result.counts for result in self]


@dataclass(frozen=True, kw_only=True)
class ExpectationResult(TaskResult):
    """Expectation values of a task.

    Attributes:
        values: float64 ``(k,)``, of the ``k`` sets of parameters.
        batched: whether a batch was asked for (``k`` may be 1 then as well).
    """

    values: NDArray[np.float64]
    batched: bool

    @property
    def value(self) -> float | NDArray[np.float64]:
        """The values of a batch, else the one value."""
        return self.values if self.batched else float(self.values[0])


@dataclass(frozen=True)
class Usage:
    """What one handle has used so far: tasks answered and their QPU time in nanoseconds."""

    tasks: int = 0
    qpu_time_ns: int = 0

    @property
    def qpu_seconds(self) -> float:
        """QPU time used, seconds."""
        return self.qpu_time_ns * 1e-9


def _unpacked(packed: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    return np.unpackbits(packed, axis=-1, count=width, bitorder="little")


def _count(packed: NDArray[np.uint8], width: int) -> dict[str, int]:
    unique, counts = np.unique(packed, axis=0, return_counts=True)
    bits = _unpacked(unique, width)[:, ::-1] + np.uint8(ord("0"))
    return {row.tobytes().decode(): int(n) for row, n in zip(bits, counts, strict=True)}
