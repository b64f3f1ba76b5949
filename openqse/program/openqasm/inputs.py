"""Inputs and outputs of a program."""

from __future__ import annotations

import math

from openqse.program.angle import Angle
from openqse.program.circuit import FLOAT, INTEGER
from openqse.program.gates import Op
from openqse.program.openqasm.assignments import Assignments
from openqse.program.openqasm.nodes import (
    Declaration,
    InputOutput,
)
from openqse.program.openqasm.values import (
    TURN,
    Bits,
    Data,
    Run,
    Table,
    Type,
    Value,
    Variable,
    bits_of,
    is_whole,
)


class Inputs(Assignments):
    """``input`` and ``output``: inputs are free parameters of the circuit."""

    def input_output(self, node: InputOutput) -> None:
        if self.scope is not self.global_scope:
            raise self.invalid(
                node.at, "inputs and outputs are declared outside of blocks", "input"
            )
        if not node.output:
            self._input(node)
            return
        declared = Declaration(node.at, node.type, node.name, None)
        if node.type.dimensions is not None or node.type.kind not in (
            "bit", "bool", "int", "uint", "angle"
        ):  # fmt: skip
            raise self.unsupported(
                node.at,
                f"outputs of type {'array' if node.type.dimensions else node.type.kind!r}",
                "output",
                "Give out bits, bool, int, uint or an angle of a stated width",
            )
        self.declaration(declared)
        if self.outputs is None:
            self.outputs = {}
        self.outputs[node.name] = self.find(node.name, node.at)

    def _input(self, node: InputOutput) -> None:
        name, kind = node.name, self.scalar(node.type)
        if kind.kind not in ("float", "angle", "int", "uint", "bool", "bit", "duration"):
            raise self.unsupported(
                node.at,
                f"inputs of type {kind.kind!r}",
                "input",
                "Use float, angle, int, uint, bool, bit, duration or arrays of them",
            )
        if node.type.dimensions is None:
            value = self._given_value(name, kind, node.at)
            if kind.kind == "bit":
                self.declare(name, value, node.at)
                return
            assert isinstance(value, Value)
            cell = value.data.cell if isinstance(value.data, Run) else -1
            known = None if isinstance(value.data, Run) else value.data
            self.declare(name, Variable(value.type, self.depth, known, cell), node.at)
            return
        shape = self._shape(node.type)
        if kind.kind == "bit":
            raise self.unsupported(node.at, "arrays of bits", "input", "Use an array of bool")
        count = math.prod(shape)
        self.spend(count, node.at)
        names = [""]
        for size in shape:
            names = [f"{front}[{i}]" for front in names for i in range(size)]
        items: list[Data] = []
        for front in names:
            value = self._given_value(name + front, kind, node.at)
            assert isinstance(value, Value)
            items.append(value.data)
            kind = value.type
        self.declare(name, self._input_table(kind, shape, items), node.at)

    def _input_table(self, kind: Type, shape: tuple[int, ...], items: list[Data]) -> Table:
        if not any(isinstance(item, Run) for item in items):
            return Table(kind, shape, self.depth, items)
        base = self.take_cells(INTEGER, len(items))
        for i, item in enumerate(items):
            assert isinstance(item, Run)
            stream = self.stream if kind.kind == "angle" else self.prologue
            stream.append(Op.MOVE, (base + i, item.cell))
        return Table(kind, shape, self.depth, None, base)

    def _given_value(self, name: str, kind: Type, at: int) -> Value | Bits:
        """An input. Whole ones are checked at the start of the program, in its prologue."""
        parameter = self.stream.parameter(name)
        if not is_whole(kind):
            return Value(kind, parameter)
        if kind.kind == "angle":
            return self._given_turns(parameter, kind, at)
        width = bits_of(kind)
        if width > 64:
            raise self._too_wide(kind, at)
        given, cell = self.given(name), self._new_cells(INTEGER, 1)
        stream = self.prologue
        back, holds = self._new_cells(FLOAT, 1), self._new_cells(INTEGER, 1)
        stream.append(Op.FTOI, (cell, given))
        stream.append(Op.ITOF, (back, cell))
        stream.append(Op.FEQ, (holds, back, given))
        narrow = self._new_cells(INTEGER, 1)
        op = Op.SEXT if kind.kind == "int" else Op.ZEXT
        stream.append(op, (narrow, cell, self.constant(min(width, 63 if op is Op.ZEXT else 64))))
        same = self._new_cells(INTEGER, 1)
        stream.append(Op.EQ, (same, narrow, cell))
        stream.append(Op.AND, (holds, holds, same))
        stream.append(Op.IF, (holds,))
        stream.append(Op.ELSE, ())
        stream.append(Op.FAIL, (stream.message(f"input {name!r} needs a value of type {kind}"),))
        stream.append(Op.END, ())
        if kind.kind != "bit":
            return Value(kind, Run(cell))
        numbers = self.take_bits(width, at, scratch=False)
        stream.append(Op.SETBITS, (cell, width), clbit=numbers.start)
        self.forget_bits(numbers)
        return Bits(numbers, kind.width == 0)

    def _given_turns(self, parameter: Angle, kind: Type, at: int) -> Value:
        """An angle of a stated width. From 32 bits on it is taken as it is given."""
        if kind.width >= 32:
            return Value(TURN, parameter)
        data = self.converted(Value(TURN, parameter), kind, at).data
        assert isinstance(data, Run)
        cell = self._new_cells(INTEGER, 1)
        self.compute(Op.MOVE, cell, data.cell)
        return Value(kind, Run(cell))
