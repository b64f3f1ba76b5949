"""Times: delays, boxes, durations."""

from __future__ import annotations

from openqse.program.angle import Angle
from openqse.program.gates import Op
from openqse.program.openqasm.control import Flow
from openqse.program.openqasm.nodes import Box, Delay, DurationOf, Expression, GateCall
from openqse.program.openqasm.subroutines import Subroutines
from openqse.program.openqasm.values import DURATION, Qubits, Stretch, Value


class Timing(Subroutines):
    """``delay``, ``box``, ``durationof`` and stretches.

    A stretch is 0, the least that it can be: nothing outside of a box with a duration says that it
    is more. Inside of one the times of gates decide, which the reader does not know.
    """

    def all_qubits(self) -> list[int]:
        raise NotImplementedError

    def delay(self, node: Delay) -> None:
        value = self.evaluate(node.duration)
        if value.type.kind != "duration":
            raise self.invalid(node.duration.at, "a delay needs a duration", "delay")
        self._wait(value, [self.qubits(operand) for operand in node.operands], node.at)

    def _wait(self, value: Value, operands: list[Qubits], at: int) -> None:
        data = value.data
        assert isinstance(data, int | float | Angle)
        if not isinstance(data, Angle) and data < 0:
            raise self.invalid(at, f"a delay of {data:g} ns", "delay", "Time cannot be negative")
        qubits = dict.fromkeys(q for operand in operands for q in operand.numbers)
        chosen = list(qubits) if operands else self.all_qubits()
        if not chosen:
            return
        self.spend(len(chosen), at)
        self.room_for(1, at)
        self.stream.append(Op.DELAY, chosen, (data,))

    def wait_as_gate(self, node: GateCall) -> None:
        """``delay(t) q;`` as Qiskit writes it in OpenQASM 2; nanoseconds."""
        value = self.evaluate(node.arguments[0])
        duration = Value(DURATION, self.real(value, node.at))
        self._wait(duration, [self.qubits(operand) for operand in node.operands], node.at)

    def box(self, node: Box) -> Flow:
        if node.duration is None:
            return self.execute_all(node.body)
        value = self.evaluate(node.duration)
        if value.type.kind != "duration":
            raise self.invalid(node.duration.at, "a box needs a duration", "box")
        data = value.data
        assert isinstance(data, int | float | Angle)
        if not isinstance(data, Angle) and data < 0:
            raise self.invalid(node.at, f"a box of {data:g} ns", "box", "Time cannot be negative")
        mark = self.stream.mark()
        self.boxes += 1
        flow = self.execute_all(node.body)
        self.boxes -= 1
        qubits = self.stream.qubits(mark)
        if qubits:
            self.room_for(2, node.at)
            self.stream.enclose(mark, Op.BOX, Op.END_BOX, qubits, data)
        return flow

    def stretched(self, stretch: Stretch, at: int) -> Value:
        if self.boxes:
            raise self.unsupported(
                at,
                "stretches in a box with a duration",
                stretch.name,
                "Write the duration: only the device knows how long its gates take",
            )
        return Value(DURATION, 0.0)

    def duration_of(self, node: DurationOf) -> Value:
        """The duration of a block of delays: each qubit waits for all that name it."""
        ends: dict[int, float] = {}
        for statement in node.body:
            if not isinstance(statement, Delay):
                raise self.unsupported(
                    statement.at,
                    "durations of gates, which only the device knows,",
                    "durationof",
                    "Write the duration as a number",
                )
            value = self.evaluate(statement.duration)
            if value.type.kind != "duration" or not value.known:
                raise self.invalid(statement.at, "a delay needs a known duration", "delay")
            chosen = self._delayed(statement.operands)
            begin = max((ends.get(q, 0.0) for q in chosen), default=0.0)
            assert isinstance(value.data, int | float)
            ends.update(dict.fromkeys(chosen, begin + value.data))
        return Value(DURATION, max(ends.values(), default=0.0))

    def _delayed(self, operands: list[Expression]) -> list[int]:
        if not operands:
            return self.all_qubits()
        return [q for operand in operands for q in self.qubits(operand).numbers]
