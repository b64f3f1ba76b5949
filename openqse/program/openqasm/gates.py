"""Definitions of gates, their calls, and modifiers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from openqse.errors import OpenQSEError
from openqse.program.angle import Angle
from openqse.program.circuit import INTEGER
from openqse.program.gates import OPERANDS, Op
from openqse.program.openqasm import limits
from openqse.program.openqasm.analysis import names as mentioned
from openqse.program.openqasm.dialects import Dialect
from openqse.program.openqasm.inputs import Inputs
from openqse.program.openqasm.nodes import (
    Alias,
    Barrier,
    Block,
    Chain,
    Expression,
    For,
    GateCall,
    GateDefinition,
    Modifier,
    Nop,
    Statement,
)
from openqse.program.openqasm.powers import Unpowered, powered
from openqse.program.openqasm.source import Sources, counted
from openqse.program.openqasm.steps import Gate, Step, controlled, plain
from openqse.program.openqasm.steps import Value as Number
from openqse.program.openqasm.values import Constant, Qubits, Scope, Type, Value

Emit: TypeAlias = Callable[[Step, int], None]

#: Longest gate that is kept expanded.
_KEPT = 4096
_BODY = (GateCall, Barrier, For, Block, Alias, Nop)
_PHASE = plain(Op.GPHASE)


@dataclass(frozen=True)
class OpaqueGate(Gate):
    """A gate without a body: it can be declared, and not applied."""


@dataclass(frozen=True)
class DefinedGate(Gate):
    """A gate that the program defines.

    Attributes:
        size: how many steps it has, where that is the same for all angles.
        unused: which angles its body does not mention: Qiskit writes what is no angle there.
        kept: its steps on qubits 0, 1, … where they are few; angles are affine in ``names``.
        names: stand for its angles in ``kept``.
    """

    definition: GateDefinition | None = None
    size: int | None = None
    unused: frozenset[int] = frozenset()
    kept: list[Step] | None = None
    names: tuple[str, ...] = ()


@dataclass
class _Count:
    """Steps of a body that is looked through; ``exact`` while they are the same for all angles."""

    steps: int = 0
    exact: bool = True
    loops: int = 0


class _NotKept(Exception):
    """A gate has too many steps to be kept, or steps that are not affine in its angles."""


class Gates(Inputs):
    """Applies gates, and defines them."""

    def __init__(self, sources: Sources, dialect: Dialect) -> None:
        super().__init__(sources)
        self.dialect = dialect
        self.version = dialect.version
        self.phase: Number = 0.0  # the global phase, as far as it is the same for all shots
        self.emit: Emit = self.append
        self.libraries: dict[str, str] = {}  # the file that a gate came from
        self.replaceable: set[str] = set()  # gates that the program may still define itself
        self.assumed: set[str] = set()  # gates that nothing defines, known from other tools
        self._count = _Count()
        self._template = False

    def execute(self, node: Statement) -> object:
        raise NotImplementedError

    def execute_all(self, body: Sequence[Statement]) -> object:
        raise NotImplementedError

    def waits(self, name: str, node: GateCall, nanoseconds: Value, qubits: Qubits) -> None:
        raise NotImplementedError

    # Operations of the circuit.

    def append(self, step: Step, at: int) -> None:
        """Adds a step to the circuit."""
        op, controls = step.op, step.controls
        if op is Op.GPHASE:
            if not controls:
                self._turn(step, at)
                return
            op, controls = Op.P, controls - 1  # a phase gate on the last control
        self.room_for(1, at)
        self.stream.append(op, step.qubits, step.angles, controls, step.clbit)

    def _turn(self, step: Step, at: int) -> None:
        angle = step.angles[0]
        computed = isinstance(angle, Angle) and any(isinstance(s, int) for s in angle.terms)
        if self.depth == 0 and not computed:
            total = self.checked(self.phase + angle, at)
            assert isinstance(total, int | float | Angle)
            self.phase = total
            return
        self.room_for(1, at)
        self.stream.append(Op.GPHASE, (), step.angles)

    # Names of gates. In OpenQASM 2 they are apart from those of registers.

    def gate_key(self, name: str) -> str:
        return f"gate {name}" if self.version == 2 else name

    def gate(self, name: str, at: int) -> Gate:
        found = self.find(self.gate_key(name), at)
        if found is None:
            found = self.dialect.undefined(name, bool(self.libraries))
            if found is None:
                raise self._undefined(name, at)
            self.assumed.add(name)
        if not isinstance(found, Gate):
            raise self.invalid(at, f"{name!r} is not a gate", name)
        if isinstance(found, OpaqueGate):
            raise self.unsupported(
                at, f"calls of {name!r}, which has no body,", name, "Define the gate with a body"
            )
        self.replaceable.discard(name)
        return found

    def _undefined(self, name: str, at: int) -> OpenQSEError:
        library = self.dialect.library
        remedy = "Define it before its use"
        if name in (self.dialect.include(library) or ()) and library not in self.libraries.values():
            remedy = f'Add the line: include "{library}";'
        return self.invalid(at, f"gate {name!r} is not defined", name, remedy)

    # Definitions.

    def define_gate(self, node: GateDefinition) -> None:
        name = node.name
        if len({*node.parameters, *node.qubits}) != len(node.parameters) + len(node.qubits):
            raise self.invalid(node.at, f"gate {name!r} uses a name twice in its head", name)
        self._looked_through(node)
        size = self._count.steps if self._count.exact else None
        names = tuple(f" {name}" for name in node.parameters)
        used = mentioned(node.body)
        unused = frozenset(i for i, name in enumerate(node.parameters) if name not in used)
        gate = DefinedGate(
            len(node.parameters), len(node.qubits), self._unreached, node, size, unused,
            self._expanded(node, names) if size is None or size <= _KEPT else None, names,
        )  # fmt: skip
        self.declare(self.gate_key(name), gate, node.at)

    def _unreached(self, angles: Sequence[Number], qubits: tuple[int, ...]) -> list[Step]:
        raise AssertionError("a defined gate is applied by its definition")

    def _looked_through(self, node: GateDefinition) -> None:
        """Goes through a body once, so that an error in it is found even if it is never applied."""
        self._count = _Count()
        self.checking = True
        angles = [Value(Type("float", 64), math.nan)] * len(node.parameters)
        self._run_body(node, angles, range(len(node.qubits)), lambda step, at: None)
        self.checking = False

    def _expanded(self, node: GateDefinition, names: tuple[str, ...]) -> list[Step] | None:
        """The steps for any angles; None where they are too many, or not affine in the angles."""
        steps: list[Step] = []

        def emit(step: Step, at: int) -> None:
            steps.append(step)
            if len(steps) > _KEPT:
                raise _NotKept

        angles = [Value(Type("float", 64), Angle(0.0, {name: 1.0})) for name in names]
        expansion, scope, operations = self._expansion, self.scope, len(self.stream)
        depth = self._nesting
        self._template = True
        try:
            self._run_body(node, angles, range(len(node.qubits)), emit)
        except (OpenQSEError, _NotKept):
            return None
        finally:
            self._expansion, self.scope, self._nesting = expansion, scope, depth
            self._template = False
            self.emit = self.append
        assert len(self.stream) == operations
        return steps

    def constant(self, value: int | float) -> int:
        if self._template:  # nothing of a gate is computed at run time before it is applied
            raise _NotKept
        return super().constant(value)

    def given(self, name: str) -> int:
        if self._template:
            raise _NotKept
        return super().given(name)

    def _run_body(
        self,
        node: GateDefinition,
        angles: Sequence[Value],
        qubits: Sequence[int],
        emit: Emit,
    ) -> None:
        """Executes a gate's body; its operations go to ``emit``."""
        outer, before = self.scope, self.emit
        self.scope, self.emit = Scope(self.global_scope, "gate"), emit
        names = self.scope.names
        names.update((n, Constant(v)) for n, v in zip(node.parameters, angles, strict=True))
        names.update((n, Qubits((q,), True)) for n, q in zip(node.qubits, qubits, strict=True))
        with self.nested(node.at):
            for statement in node.body:
                self._gate_statement(statement, node.name)
                self.execute(statement)
        self.scope, self.emit = outer, before

    def _gate_statement(self, statement: Statement, name: str) -> None:
        if not isinstance(statement, _BODY):
            raise self.invalid(
                statement.at, "a gate's body can only apply gates", type(statement).__name__.lower()
            )
        if isinstance(statement, For | Block):
            for inner in statement.body:
                self._gate_statement(inner, name)

    # Calls.

    def apply(self, node: GateCall) -> None:
        """Executes a call of a gate."""
        name = node.name
        gate = _PHASE if name == "gphase" else self.gate(name, node.at)
        if self.version == 2 and name == "gphase":
            return  # nothing controls it, so nobody can observe it
        if node.duration is not None:
            raise self.unsupported(
                node.at, "durations of gates", name, "Leave the gate's time to the device"
            )
        if len(node.arguments) != gate.angles:
            raise self.invalid(
                node.at,
                f"{name!r} takes {counted(gate.angles, 'angle')}, not {len(node.arguments)}",
                name,
            )
        unused = gate.unused if isinstance(gate, DefinedGate) else frozenset()
        angles = [
            0.0 if i in unused else self._angle(argument)
            for i, argument in enumerate(node.arguments)
        ]
        exponents, negated = self._modifiers(node.modifiers)
        operands = [self.qubits(operand) for operand in node.operands]
        if len(operands) != len(negated) + gate.qubits:
            raise self.invalid(
                node.at,
                f"{name!r} takes {counted(len(negated) + gate.qubits, 'qubit')} here, "
                f"not {len(operands)}",
                name,
            )
        for qubits in self._broadcast(operands, name, node.at):
            self.spend(1 + len(qubits), node.at)
            if len(set(qubits)) != len(qubits):
                raise self.invalid(node.at, f"{name!r} is applied to the same qubit twice", name)
            self._apply_to(node, gate, angles, exponents, negated, qubits)

    def _angle(self, node: Expression) -> Number:
        value = self.evaluate(node)
        if value.type.kind not in ("int", "uint", "float", "angle", "bool", "bit"):
            raise self.invalid(node.at, f"a {value.type} is not an angle", "angle")
        return self.real(value, node.at)

    def _apply_to(
        self,
        node: GateCall,
        gate: Gate,
        angles: list[Number],
        exponents: list[Number],
        negated: list[bool],
        qubits: tuple[int, ...],
    ) -> None:
        at = node.at
        controls, targets = qubits[: len(negated)], qubits[len(negated) :]
        if self.checking:
            self._counted(gate, exponents)
            if not isinstance(gate, DefinedGate) and not exponents:
                return
        elif isinstance(gate, DefinedGate) and not self._template:
            self.room_for(gate.size or 0, at)
        bare = not exponents and not controls
        if bare and isinstance(gate, DefinedGate) and gate.kept is None:
            self._apply_definition(gate, angles, targets, self.emit, at)
            return
        steps = self.steps_of(gate, angles, targets, at)
        for exponent in exponents:
            steps = self._powered(steps, exponent, at)
        if controls:
            flips = [Step(Op.X, (q,)) for q, n in zip(controls, negated, strict=True) if n]
            steps = [*flips, *controlled(steps, controls), *flips]
        self.spend(len(steps), at)
        for step in steps:
            self.emit(step, at)

    def _counted(self, gate: Gate, exponents: list[Number]) -> None:
        """Counts the steps of a call in a body that is looked through."""
        count = self._count
        size = gate.size if isinstance(gate, DefinedGate) else 1
        whole = all(isinstance(e, int | float) and e == e and e == int(e) for e in exponents)
        if size is None or not whole or (exponents and count.loops):
            count.exact = False
            return
        for exponent in exponents:
            size *= abs(int(exponent))  # type: ignore[arg-type]
        count.steps += size

    def steps_of(
        self, gate: Gate, angles: list[Number], qubits: tuple[int, ...], at: int
    ) -> list[Step]:
        if not isinstance(gate, DefinedGate):
            return gate.steps(angles, qubits)
        if self.checking:
            return []
        if gate.kept is not None:
            return _placed(gate, angles, qubits)
        steps: list[Step] = []

        def emit(step: Step, place: int) -> None:
            steps.append(step)
            if len(steps) > limits.MAX_OPERATIONS:
                self.room_for(len(steps), place)

        self._apply_definition(gate, angles, qubits, emit, at)
        return steps

    def _apply_definition(
        self,
        gate: DefinedGate,
        angles: list[Number],
        qubits: tuple[int, ...],
        emit: Emit,
        at: int,
    ) -> None:
        if self.checking:
            return
        assert gate.definition is not None
        values = [Value(Type("float", 64), _real(angle)) for angle in angles]
        self._run_body(gate.definition, values, qubits, emit)

    def _powered(self, steps: list[Step], exponent: Number, at: int) -> list[Step]:
        if self._template and isinstance(exponent, Angle):
            raise _NotKept
        try:
            computes = None if self._template or self.checking else self
            result = powered(steps, exponent, lambda count: self._repeats(count, at), computes)
        except Unpowered as error:
            raise self.unsupported(at, error.what, "pow", error.remedy) from None
        for step in result:
            for angle in step.angles:
                self.checked(angle, at)
        return result

    def calculated(self, op: Op, *values: Number) -> Number:
        """What a float operation gives at run time; of a comparison 0.0 or 1.0."""
        cells = [self.float_cell(value) for value in values]
        if OPERANDS[op][0] == "f":
            return self.computed_float(op, *cells)
        whole = self.temporary(INTEGER)
        self.compute(op, whole, *cells)
        return self.computed_float(Op.ITOF, whole)

    def _repeats(self, count: int, at: int) -> None:
        self.spend(count, at)
        if not self._template and not self.checking:
            self.room_for(min(count, limits.MAX_EXPANSION), at)

    def _exponent(self, node: Expression) -> Number:
        """An exponent. The specification's own library has had ``pow(1/2) @ x`` for the root, while
        whole numbers are divided as in C: a power of 0 is what nobody means by that."""
        if isinstance(node, Chain) and len(node.rest) == 1 and node.rest[0][0] == "/":
            lhs, rhs = self.evaluate(node.first).data, self.evaluate(node.rest[0][2]).data
            if isinstance(lhs, int) and isinstance(rhs, int) and rhs and lhs % rhs:
                shown = self.evaluate(node).data
                raise self.invalid(
                    node.at,
                    f"{lhs}/{rhs} is {shown}, as whole numbers are divided without a remainder: "
                    f"write {lhs}.0/{rhs}",
                    "pow",
                )
        value = self.evaluate(node)
        if isinstance(value.data, int) and value.type.kind != "angle":
            return value.data
        return self.real(value, node.at)

    def _modifiers(self, modifiers: Sequence[Modifier]) -> tuple[list[Number], list[bool]]:
        """Exponents, innermost first (-1 is the inverse), and whether each control is negated.

        A control commutes with inverse and power, so that all controls can be added last.
        """
        exponents: list[Number] = []
        negated: list[bool] = []
        for modifier in modifiers:
            if modifier.kind == "inv":
                if modifier.argument is not None:
                    raise self.invalid(modifier.at, "'inv' takes no number", "inv")
                exponents.append(-1)
            elif modifier.kind == "pow":
                assert modifier.argument is not None
                exponents.append(self._exponent(modifier.argument))
            else:
                count = 1 if modifier.argument is None else self.integer(modifier.argument)
                if count < 1:
                    raise self.invalid(
                        modifier.at, f"{counted(count, 'control')}: give a positive number", "ctrl"
                    )
                if len(negated) + count > 255:
                    raise self.exceeded(
                        modifier.at, "controls", "a gate has more than 255 controls"
                    )
                negated += [modifier.kind == "negctrl"] * count
        return exponents[::-1], negated

    def _broadcast(
        self, operands: Sequence[Qubits], name: str, at: int
    ) -> Iterator[tuple[int, ...]]:
        sizes = {len(operand.numbers) for operand in operands if not operand.scalar}
        if len(sizes) > 1:
            shown = " and ".join(str(size) for size in sorted(sizes))
            raise self.invalid(at, f"{name!r} is applied to registers of sizes {shown}", name)
        for i in range(sizes.pop() if sizes else 1):
            yield tuple(
                operand.numbers[0] if operand.scalar else operand.numbers[i] for operand in operands
            )


def _real(angle: Number) -> float | Angle:
    return angle if isinstance(angle, Angle) else float(angle)


def _placed(gate: DefinedGate, angles: Sequence[Number], qubits: Sequence[int]) -> list[Step]:
    """The kept steps of a gate, for given angles and qubits."""
    assert gate.kept is not None
    if not angles and tuple(qubits) == tuple(range(gate.qubits)):
        return list(gate.kept)
    values = dict(zip(gate.names, angles, strict=True))
    steps = []
    for op, targets, given, controls, clbit in gate.kept:
        placed = tuple([qubits[q] for q in targets])
        if given:
            given = tuple([_at(a, values) if isinstance(a, Angle) else a for a in given])
        steps.append(Step(op, placed, given, controls, clbit))
    return steps


def _at(angle: Angle, values: dict[str, Number]) -> Number:
    """An angle of a gate, for given ones."""
    total: Number = angle.constant
    for name, factor in angle.terms.items():
        assert isinstance(name, str)
        term = values[name] if factor == 1 else values[name] * factor
        total = term if not isinstance(total, Angle) and total == 0 else total + term
    return total
