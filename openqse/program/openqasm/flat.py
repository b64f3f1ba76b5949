"""The quick way through what most of a long program is: plain gates on single qubits.

A line such as ``cx q[0], q[1];`` is matched as a whole. Its angles, its operands and the gate are
looked up as text; what is not found there is found out once, by the grammar and the reader.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from openqse.errors import OpenQSEError
from openqse.program.angle import Angle
from openqse.program.gates import Op
from openqse.program.openqasm import limits
from openqse.program.openqasm.gates import DefinedGate, OpaqueGate
from openqse.program.openqasm.operations import Operations
from openqse.program.openqasm.parser import Parser
from openqse.program.openqasm.source import Sources
from openqse.program.openqasm.steps import Gate, Step
from openqse.program.openqasm.steps import Value as Number
from openqse.program.openqasm.values import Bits, Constant, Qubits

_GAP = r"(?:\s+|//[^\n]*)*"
_ELEMENT = r"[A-Za-z_]\w*\[\d+\]"
_OPERAND = r"(?:[A-Za-z_]\w*(?:\[\d+\])?|\$\d+)"
_GATE = re.compile(
    rf"{_GAP}([A-Za-z_]\w*)(?:[ \t]*\(((?:[^()\n;{{}}]|\([^()\n;{{}}]*\))*)\))?"
    rf"[ \t]+({_OPERAND}(?:[ \t]*,[ \t]*{_OPERAND})*)[ \t]*;"
)
_MEASURE = re.compile(
    rf"{_GAP}(?:({_ELEMENT})[ \t]*=[ \t]*measure[ \t]+({_ELEMENT})"
    rf"|measure[ \t]+({_ELEMENT})[ \t]*->[ \t]*({_ELEMENT}))[ \t]*;"
)
_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(
    rf"\s*(-?)(?:(?:({_NUMBER})\s*\*\s*)?(pi)(?:\s*/\s*({_NUMBER}))?|({_NUMBER}))\s*"
)


class _Call(NamedTuple):
    """A gate with its angles: how many qubits it takes, its steps on qubits 0, 1, …"""

    qubits: int
    steps: list[Step]
    single: bool


class Flat(Operations):
    """Reads runs of plain lines."""

    def parser(self, sources: Sources, name: str, text: str) -> Parser:
        """A parser of the program's version."""
        raise NotImplementedError

    def forget_flat(self) -> None:
        """Names may have changed."""
        self._calls: dict[tuple[str, str | None], _Call | None] = {}
        self._operands: dict[str, tuple[int, ...] | None] = {}
        self._bit_places: dict[str, int] = {}
        self._single: dict[str, tuple[int, Step] | None] = {}
        self._pi = isinstance(self.find("pi", 0), Constant) and "pi" not in self.global_scope.names

    def read_flat(self, source: str, position: int) -> int:
        """Executes plain lines from an offset of the text on; the offset where they end."""
        stream = self.stream
        opcodes, controls, clbits = stream.opcodes, stream.controls, stream.clbits
        counts, operands, constants = stream.counts, stream.operands, stream.constants
        calls, places = self._calls, self._operands
        room = limits.MAX_OPERATIONS - len(opcodes)
        while True:
            match = _GATE.match(source, position)
            if match is None:
                match = _MEASURE.match(source, position)
                if match is None or not self._measure_flat(match):
                    return position
                room -= 1
                position = match.end()
                continue
            name, arguments, named = match.groups()
            key = (name, arguments)
            call = calls[key] if key in calls else self._call_of(name, arguments)
            qubits = places[named] if named in places else self._qubits_of(named)
            if call is None or qubits is None or len(qubits) != call.qubits:
                return position
            room -= len(call.steps)
            if room < 0:
                return position
            if call.single:
                op, _, angles, control, _ = call.steps[0]
                opcodes.append(op)
                controls.append(control)
                clbits.append(-1)
                counts.append(call.qubits)
                operands.extend(qubits)
                if angles:
                    constants.extend(angles)  # type: ignore[arg-type]
            else:
                for op, targets, angles, control, clbit in call.steps:
                    placed = tuple([qubits[q] for q in targets])
                    self.append(Step(op, placed, angles, control, clbit), self.at)
            position = match.end()

    def _call_of(self, name: str, arguments: str | None) -> _Call | None:
        """A gate with its angles, as far as they do not change; None if it is no plain gate."""
        found: _Call | None = None
        if len(self._calls) > limits.MAX_FLAT:
            self._calls.clear()
        try:
            found = self._found_call(name, arguments)
        except OpenQSEError:
            found = None  # the reader says why, and where
        self._calls[name, arguments] = found
        return found

    def _found_call(self, name: str, arguments: str | None) -> _Call | None:
        if name == "reset" and arguments is None:
            return _Call(1, [Step(Op.RESET, (0,))], True)
        gate = self.find(self.gate_key(name), 0)
        if gate is None or name in self.replaceable or isinstance(gate, OpaqueGate):
            return None
        gate = self.gate(name, 0)
        if isinstance(gate, DefinedGate) and gate.kept is None:
            return None
        if name == "delay" or gate.qubits == 0:
            return None
        angles = [] if arguments is None else self._angles_of(arguments)
        if name not in self._single:
            self._single[name] = _single(gate)
        single = self._single[name]
        if single is not None and angles is not None and _finite(angles, gate.angles):
            return _Call(single[0], [single[1]._replace(angles=tuple(angles))], True)
        if angles is None or len(angles) != gate.angles:
            return None
        steps = self.steps_of(gate, angles, tuple(range(gate.qubits)), 0)
        for step in steps:
            for angle in step.angles:
                self.checked(angle, 0)
        return _Call(gate.qubits, steps, False)

    def _angles_of(self, arguments: str) -> list[Number] | None:
        """Angles from their text; None if they are known only at run time."""
        if not arguments.strip():
            return []
        angles: list[Number] = []
        for part in arguments.split(","):
            plain = _PLAIN.fullmatch(part)
            if plain is None or (plain[3] and not self._pi):
                return self._evaluated(arguments)
            sign, factor, pi, divisor, number = plain.groups()
            if pi:
                value = math.pi if factor is None else float(factor) * math.pi
                value = value if divisor is None else value / float(divisor)
            else:
                if len(number) > 18:  # the grammar knows what is too large
                    return self._evaluated(arguments)
                value = float(number)
            angles.append(-value if sign else value)
        return angles

    def _evaluated(self, arguments: str) -> list[Number] | None:
        """Angles by the grammar."""
        parser = self.parser(Sources(), "", f"{arguments})")
        parser.lexer.advance()
        nodes = parser.listed(parser.expression, ")")
        if parser.lexer.kind:
            return None
        before = len(self.stream), len(self.cells)
        angles = []
        for node in nodes:
            value = self.evaluate(node)
            if (len(self.stream), len(self.cells)) != before or value.type.kind in ("duration",):
                return None
            angle = self.real(value, 0)
            if isinstance(angle, Angle) and any(isinstance(s, int) for s in angle.terms):
                return None
            angles.append(angle)
        return angles

    def _qubits_of(self, named: str) -> tuple[int, ...] | None:
        """Qubits from the text of operands; None if something is wrong with them."""
        if len(self._operands) > limits.MAX_FLAT:
            self._operands.clear()
        qubits: list[int] = []
        for operand in named.split(","):
            qubit = self._qubit_of(operand.strip())
            if qubit < 0:
                break
            qubits.append(qubit)
        else:
            if len(set(qubits)) == len(qubits):
                self._operands[named] = tuple(qubits)
                return tuple(qubits)
        self._operands[named] = None
        return None

    def _qubit_of(self, operand: str) -> int:
        """A single qubit from its text; -1 where it is none, or not the program's."""
        name, bracket, rest = operand.partition("[")
        if len(rest) > 9 or len(name) > 64:
            return -1
        if name[0] == "$":
            return int(name[1:]) if len(name) < 10 and int(name[1:]) < self._num_physical else -1
        found = self.global_scope.names.get(name)
        if not isinstance(found, Qubits) or found.scalar == bool(bracket):
            return -1
        number = int(rest[:-1]) if bracket else 0
        return found.numbers[number] if number < len(found.numbers) else -1

    def _measure_flat(self, match: re.Match[str]) -> bool:
        """A measurement of one qubit into one bit; False if something is wrong with it."""
        target, source = (match[1], match[2]) if match[1] else (match[4], match[3])
        qubits = self._operands[source] if source in self._operands else self._qubits_of(source)
        bit = self._bit_places.get(target, -1)
        if bit < 0:
            name, _, rest = target.partition("[")
            found = self.global_scope.names.get(name)
            number = rest[:-1]
            if not isinstance(found, Bits) or found.scalar or len(number) > 9:
                return False
            if int(number) >= len(found.numbers):
                return False
            bit = self._bit_places[target] = found.numbers[int(number)]
        if qubits is None or len(self.stream) >= limits.MAX_OPERATIONS:
            return False
        self.stream.append(Op.MEASURE, qubits, (), 0, bit)
        self.bit_states[bit] = 2
        return True


def _finite(angles: list[Number], count: int) -> bool:
    """Whether these are so many plain numbers."""
    return len(angles) == count and all(
        type(angle) is float and math.isfinite(angle) for angle in angles
    )


def _single(gate: Gate) -> tuple[int, Step] | None:
    """A gate that is one operation with the gate's own angles, in its place: qubits and operation.
    None for other gates."""
    if isinstance(gate, DefinedGate):
        return None
    angles = [Angle(0.0, {str(i): 1.0}) for i in range(gate.angles)]
    qubits = tuple(range(gate.qubits))
    steps = gate.steps(angles, qubits)
    if len(steps) != 1 or steps[0].op is Op.GPHASE or steps[0].qubits != qubits:
        return None
    if [step.op for step in gate.steps([0.0] * gate.angles, qubits)] != [steps[0].op]:
        return None  # angles of 0 make another operation of it
    same = len(steps[0].angles) == len(angles) and all(
        given is own for given, own in zip(steps[0].angles, angles, strict=True)
    )
    return (gate.qubits, steps[0]) if same else None
