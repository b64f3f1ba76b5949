"""The columns of the circuit form, as they grow."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from openqse.program.angle import Angle
from openqse.program.circuit import ARRAYS, Circuit
from openqse.program.gates import SIGNATURES, Op
from openqse.program.program import Output

_ANGLES = np.zeros(256, dtype=np.int32)
for _op, _signature in SIGNATURES.items():
    _ANGLES[_op] = _signature.angles
_ON_BITS = (Op.MEASURE, Op.GETBITS, Op.SETBITS)

Real: TypeAlias = float | Angle


class Mark(NamedTuple):
    """How far each column had come."""

    operations: int
    operands: int
    angles: int
    terms: int


class Stream:
    """Operations in order; ``build`` makes the circuit of them.

    Bits are numbered as they were made; ``build`` puts those of the results' registers first.
    """

    def __init__(self) -> None:
        self.opcodes = array("B")
        self.controls = array("B")
        self.clbits = array("i")
        self.counts = array("i")  # operands of each operation
        self.operands = array("i")
        self.constants = array("d")
        self.term_angles = array("i")
        self.term_sources = array("i")  # a parameter's number, or -1 - a cell's
        self.term_coefficients = array("d")
        self.parameters: dict[str, int] = {}
        self.messages: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.opcodes)

    def append(
        self,
        op: int,
        operands: Sequence[int],
        angles: Iterable[Real] = (),
        controls: int = 0,
        clbit: int = -1,
    ) -> None:
        """Adds one operation; nothing is checked before ``build``."""
        self.opcodes.append(op)
        self.controls.append(controls)
        self.clbits.append(clbit)
        self.counts.append(len(operands))
        self.operands.extend(operands)
        for angle in angles:
            if isinstance(angle, Angle):
                for source, factor in angle.terms.items():
                    number = self.parameters[source] if isinstance(source, str) else -1 - source
                    self.term_angles.append(len(self.constants))
                    self.term_sources.append(number)
                    self.term_coefficients.append(factor)
                self.constants.append(angle.constant)
            else:
                self.constants.append(angle)

    def mark(self) -> Mark:
        return Mark(
            len(self.opcodes), len(self.operands), len(self.constants), len(self.term_angles)
        )

    def repeat(self, since: Mark, times: int) -> None:
        """Adds what came since a mark so many times more."""
        width = len(self.constants) - since.angles
        for column, start in (
            (self.opcodes, since.operations),
            (self.controls, since.operations),
            (self.clbits, since.operations),
            (self.counts, since.operations),
            (self.operands, since.operands),
            (self.constants, since.angles),
            (self.term_sources, since.terms),
            (self.term_coefficients, since.terms),
        ):
            column.extend(column[start:] * times)  # type: ignore[arg-type]
        terms = self.term_angles[since.terms :]
        for i in range(1, times + 1 if terms else 1):
            self.term_angles.extend(angle + i * width for angle in terms)

    def enclose(self, since: Mark, op: Op, end: Op, qubits: Sequence[int], angle: Real) -> None:
        """Puts ``op`` with one angle before what came since a mark, and ``end`` behind it."""
        tail = Stream()
        tail.parameters = self.parameters
        tail.append(op, qubits, (angle,))
        columns = (
            ("opcodes", since.operations), ("controls", since.operations),
            ("clbits", since.operations), ("counts", since.operations),
            ("operands", since.operands), ("constants", since.angles),
            ("term_sources", since.terms), ("term_coefficients", since.terms),
        )  # fmt: skip
        for name, start in columns:
            getattr(self, name)[start:start] = getattr(tail, name)
        moved = [angle_ + 1 for angle_ in self.term_angles[since.terms :]]
        first = [since.angles] * len(tail.term_angles)
        self.term_angles[since.terms :] = array("i", first + moved)
        self.append(end, qubits)

    def qubits(self, since: Mark) -> list[int]:
        """Qubits of the operations since a mark, in order of their first mention."""
        found: dict[int, None] = {}
        position = since.operands
        for i in range(since.operations, len(self.opcodes)):
            count = self.counts[i]
            if self.opcodes[i] < Op.MOVE:
                found.update(dict.fromkeys(self.operands[position : position + count]))
            position += count
        return list(found)

    def parameter(self, name: str) -> Angle:
        """A free parameter; its position is the order of first mention."""
        self.parameters.setdefault(name, len(self.parameters))
        return Angle(0.0, {name: 1.0})

    def message(self, text: str) -> int:
        return self.messages.setdefault(text, len(self.messages))

    def build(
        self,
        num_qubits: int,
        registers: Sequence[tuple[str, int, int]],
        num_clbits: int,
        cells: Sequence[int],
        cell_types: Sequence[int],
    ) -> Circuit:
        """The circuit. ``registers`` are names, first bits and widths."""
        opcodes = np.frombuffer(self.opcodes, np.uint8) if self.opcodes else np.empty(0, np.uint8)
        clbits = _array(self.clbits, np.int32).copy()
        moved = _moved(registers, num_clbits)
        if moved is not None:
            named = np.isin(opcodes, _ON_BITS) & (clbits >= 0)
            clbits[named] = moved[clbits[named]]
        sources = _array(self.term_sources, np.int32).copy()
        in_cells = sources < 0
        sources[in_cells] = len(self.parameters) - 1 - sources[in_cells]
        columns: dict[str, Any] = {
            "opcodes": opcodes,
            "controls": _array(self.controls, np.uint8),
            "clbits": clbits,
            "operand_offsets": _offsets(_array(self.counts, np.int32)),
            "operands": _array(self.operands, np.int32),
            "angle_offsets": _offsets(_ANGLES[opcodes]),
            "angle_constants": _array(self.constants, np.float64),
            "term_angles": _array(self.term_angles, np.int32),
            "term_parameters": sources,
            "term_coefficients": _array(self.term_coefficients, np.float64),
            "cells": np.array(cells, np.int64),
            "cell_types": np.array(cell_types, np.uint8),
        }
        assert columns.keys() == ARRAYS.keys()
        return Circuit(
            num_qubits,
            num_clbits,
            tuple(self.parameters),
            **columns,
            registers=tuple(Output(name, width) for name, _, width in registers),
            messages=tuple(self.messages),
        )


def _array(column: Any, dtype: Any) -> NDArray[Any]:
    # A copy, for an array that others look into cannot grow.
    return np.array(column, dtype=dtype)


def _offsets(counts: NDArray[Any]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _moved(registers: Sequence[tuple[str, int, int]], num_clbits: int) -> NDArray[np.int32] | None:
    """New numbers of the bits, int32 ``(num_clbits,)``: those of registers first, in order.

    None where every bit keeps its number.
    """
    moved = np.full(num_clbits, -1, np.int32)
    count = 0
    for _, first, width in registers:
        moved[first : first + width] = np.arange(count, count + width)
        count += width
    rest = moved < 0
    moved[rest] = np.arange(count, num_clbits)
    return moved if (moved != np.arange(num_clbits)).any() else None
