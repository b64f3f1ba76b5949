"""Subroutines: every call is written out in the place where it stands."""

from __future__ import annotations

from dataclasses import dataclass

from openqse.errors import ProgramError
from openqse.program.gates import Op
from openqse.program.openqasm.analysis import Dependence, measures
from openqse.program.openqasm.control import Flow, Frame
from openqse.program.openqasm.dialects import Dialect
from openqse.program.openqasm.loops import Loops
from openqse.program.openqasm.nodes import (
    Call,
    Expression,
    ExpressionStatement,
    Extern,
    GateCall,
    Measure,
    Parameter,
    Return,
    Subroutine,
    TypeNode,
)
from openqse.program.openqasm.source import Sources, counted
from openqse.program.openqasm.values import (
    Bits,
    Data,
    Qubits,
    Scope,
    Type,
    Value,
    Variable,
    View,
    bits_of,
)

#: Steps of the expansion that a call counts for.
_CALL = 32


@dataclass(frozen=True)
class Routine:
    """A subroutine of the program.

    Attributes:
        measures: whether it measures, or calls one that does.
        least: operations that a call of it writes at the least.
    """

    node: Subroutine
    measures: bool
    least: int


@dataclass(frozen=True)
class External:
    """A function that the program expects of its surroundings."""

    name: str


@dataclass
class Result:
    """Where the value of a call goes.

    Attributes:
        bits: the classical bits for it, where it is bits.
        cell: its cell at run time.
        value: what it is, where that is known while reading.
        placed: whether ``bits`` have it.
    """

    type: Type | None
    bits: Bits | None = None
    cell: int = -1
    value: Data | None = None
    placed: bool = False


class Subroutines(Loops):
    """Definitions and calls of subroutines."""

    def __init__(self, sources: Sources, dialect: Dialect) -> None:
        super().__init__(sources, dialect)
        self._results: list[Result] = []

    def define_subroutine(self, node: Subroutine) -> None:
        names = [parameter.name for parameter in node.parameters]
        if len(set(names)) != len(names):
            raise self.invalid(node.at, f"{node.name!r} uses a name twice in its head", node.name)
        measuring = measures(node.body, self.measuring)
        self.declare(node.name, Routine(node, measuring, self.least(node.body)), node.at)

    def extern(self, node: Extern) -> None:
        self.declare(node.name, External(node.name), node.at)

    def measuring(self, name: str) -> bool:
        found = self._visible(name)
        if found is None:
            found = self.global_scope.names.get(name)
        return isinstance(found, Routine) and found.measures

    def least_of_routine(self, name: str) -> int:
        found = self.global_scope.names.get(name)
        return found.least if isinstance(found, Routine) else 0

    # Calls.

    def call_statement(self, node: ExpressionStatement) -> None:
        """A subroutine that is called for what it does."""
        assert isinstance(node.value, Call)
        if self._called(node.value, None) is None:
            self.evaluate(node.value)

    def call_as_gate(self, node: GateCall) -> bool:
        """Calls a subroutine that is called as a gate is; False if there is none of that name."""
        if node.modifiers or node.duration is not None:
            return False
        call = Call(node.at, node.name, node.arguments, node.operands)
        return self._called(call, None) is not None

    def call(self, node: Call) -> Value | None:
        """What a call returns. Within a statement it takes place once, however often an index or a
        range that it stands in is looked at."""
        if id(node) in self.returned:
            return self.returned[id(node)]
        result = self._called(node, None)
        if result is None:
            return None
        if result.type is None:
            raise self.invalid(node.at, f"{node.name!r} returns nothing", node.name)
        value = self.returned[id(node)] = self._value_of(result, node)
        return value

    def _value_of(self, result: Result, node: Call) -> Value:
        kind = result.type
        assert kind is not None
        if result.value is not None:
            return Value(kind, result.value)
        if result.bits is not None:
            return self.read(result.bits, node.at)
        return Value(kind, self.loaded(kind, result.cell))

    def call_into(self, node: Call, target: Bits) -> Value | bool:
        result = self._called(node, target)
        if result is None:
            return False
        if result.type is None:
            raise self.invalid(node.at, f"{node.name!r} returns nothing", node.name)
        if result.bits is target and result.placed:
            return True
        return self._value_of(result, node)

    def _called(self, node: Call, target: Bits | None) -> Result | None:
        found = self.find(node.name, node.at)
        if isinstance(found, External):
            raise self.unsupported(
                node.at,
                f"calls of {node.name!r}, which is extern,",
                node.name,
                "Compute the value before the run and give it as an input",
            )
        if not isinstance(found, Routine):
            return None
        self.spend(_CALL, node.at)
        self.room_for(found.least, node.at)
        routine = found.node
        result = self._place(routine, target, node.at)
        scope = Scope(self.global_scope, "def")
        dynamic = self._bound(routine, node, scope)
        outer = self.scope
        self._results.append(result)
        with self.nested(node.at):
            if dynamic:
                self._run_leavable(routine, scope, result)
            else:
                self.scope = scope
                self.frames.append(Frame("def", self.depth, self.boxes))
                flow = self._run(routine)
                self.frames.pop()
                if result.type is not None and flow is Flow.NEXT:
                    raise self._no_value(routine)
        self._results.pop()
        self.leave(scope)
        self.scope = outer
        return result

    def _no_value(self, routine: Subroutine) -> ProgramError:
        return self.invalid(
            routine.at, f"{routine.name!r} ends without a value", routine.name, "Add a 'return'"
        )

    def _place(self, routine: Subroutine, target: Bits | None, at: int) -> Result:
        if routine.result is None:
            return Result(None)
        kind = self._type_at_global(routine.result)
        if kind.kind == "bit":
            width = bits_of(kind)
            if target is not None and self.bit_type(target) == kind:
                return Result(kind, target)
            numbers = self.temporary_bits(width, at)
            return Result(kind, Bits(numbers, kind.width == 0))
        if kind.kind in ("complex", "duration", "stretch"):
            return Result(kind)
        return Result(kind, None, self.temporary(self.cell_type(kind, at)))

    def _type_at_global(self, node: TypeNode) -> Type:
        outer, self.scope = self.scope, self.global_scope
        kind = self.scalar(node)
        self.scope = outer
        return kind

    def _run(self, routine: Subroutine) -> Flow:
        flow = Flow.NEXT
        for statement in routine.body:
            result = self.execute(statement)
            assert isinstance(result, Flow)
            flow = result
            if flow is not Flow.NEXT:
                break
        return flow

    def _run_leavable(self, routine: Subroutine, scope: Scope, result: Result) -> None:
        """A body that returns where that depends on outcomes."""
        outer = self.scope
        self.scope = scope
        with self.region(routine.body, routine.at):
            self._open_loop()
            self.frames.append(Frame("def", self.depth, self.boxes, leave=self.loops))
            flow = self._run(routine)
            self.frames.pop()
            if result.type is not None and flow is Flow.NEXT:
                file, line, _ = self.sources.where(routine.at)
                text = f"{file}:{line}: {routine.name!r} ended without a value"
                self.compute(Op.FAIL, self.stream.message(text))
            self._close_loop(Flow.NEXT)
        if result.bits is not None:
            self.forget_bits(result.bits.numbers)
        self.scope = outer

    # Arguments.

    def _bound(self, routine: Subroutine, node: Call, scope: Scope) -> bool:
        """Binds the arguments; says whether the body returns where that depends on outcomes."""
        given: list[Expression] = [*node.arguments, *node.operands]
        if len(given) != len(routine.parameters):
            raise self.invalid(
                node.at,
                f"{node.name!r} takes {counted(len(routine.parameters), 'argument')}, "
                f"not {len(given)}",
                node.name,
            )
        used: list[int] = []
        for parameter, argument in zip(routine.parameters, given, strict=True):
            value = self._argument(parameter, argument, scope)
            if isinstance(value, Qubits):
                used += value.numbers
            scope.names[parameter.name] = value
        if len(set(used)) != len(used):
            raise self.invalid(node.at, f"{node.name!r} gets the same qubit twice", node.name)
        outer, self.scope = self.scope, scope
        found = Dependence(routine.body, self._unknown, self.measuring)
        self.scope = outer
        return found.returns

    def _argument(self, parameter: Parameter, argument: Expression, scope: Scope) -> object:
        kind = parameter.type
        if kind.kind == "qubit":
            return self._qubit_argument(parameter, argument)
        if kind.dimensions is not None or kind.rank is not None:
            return self._array_argument(parameter, argument)
        scalar = self._type_at_global(kind)
        if scalar.kind == "bit":
            numbers = self.take_bits(bits_of(scalar), argument.at, scratch=True)
            bits = Bits(numbers, scalar.width == 0)
            scope.owned.append(bits)
            self.assign_bits(bits, argument, argument.at)
            return bits
        variable = Variable(scalar, self.depth, None)
        scope.owned.append(variable)
        self.assign(variable, self.evaluate(argument), argument.at)
        return variable

    def _qubit_argument(self, parameter: Parameter, argument: Expression) -> Qubits:
        found = self.qubits(argument)
        if parameter.type.size is None:
            if len(found.numbers) != 1:
                raise self.invalid(
                    argument.at,
                    f"{parameter.name!r} is one qubit, not {len(found.numbers)}",
                    parameter.name,
                )
            return Qubits(found.numbers, True)
        outer, self.scope = self.scope, self.global_scope
        size = self.integer(parameter.type.size)
        self.scope = outer
        if len(found.numbers) != size:
            raise self.invalid(
                argument.at,
                f"{parameter.name!r} is {counted(size, 'qubit')}, not {len(found.numbers)}",
                parameter.name,
            )
        return Qubits(found.numbers, False)

    def _array_argument(self, parameter: Parameter, argument: Expression) -> View:
        view = self.view(argument)
        kind = parameter.type
        if view is None or not view.shape:
            raise self.invalid(argument.at, f"{parameter.name!r} is an array", parameter.name)
        outer, self.scope = self.scope, self.global_scope
        element = self.scalar(kind)
        shape = self._shape(kind) if kind.dimensions is not None else None
        rank = self.integer(kind.rank) if kind.rank is not None else 0
        self.scope = outer
        fits = view.shape == shape if shape is not None else len(view.shape) == rank
        if not fits or view.table.type != element:
            sizes = " × ".join(map(str, view.shape))
            raise self.invalid(
                argument.at,
                f"{parameter.name!r} is another kind of array than {view.table.type} of {sizes}",
                parameter.name,
            )
        if kind.mutable and not view.mutable:
            raise self.invalid(argument.at, "a readonly array cannot be changed", parameter.name)
        return View(view.table, view.positions, view.shape, kind.mutable)

    # Returns.

    def return_(self, node: Return) -> Flow:
        if not self._results:
            raise self.invalid(node.at, "'return' stands outside of a subroutine", "return")
        result = self._results[-1]
        frame = next(frame for frame in reversed(self.frames) if frame.kind == "def")
        here = frame.depth == self.depth and not frame.leave
        if (node.value is None) != (result.type is None):
            wanted = "a value" if result.type is not None else "no value"
            raise self.invalid(node.at, f"{wanted} is returned here", "return")
        if node.value is not None:
            self._give(result, node.value, here, node.at)
        if here:
            return Flow.RETURN
        self.leap(frame, frame.leave, False, node.at)
        return Flow.NEVER

    def _give(self, result: Result, value: Expression, here: bool, at: int) -> None:
        """Puts what is returned where the caller finds it."""
        kind = result.type
        assert kind is not None
        if result.bits is not None:
            if not here:  # other returns may have come, or not
                self.forget_bits(result.bits.numbers)
            if isinstance(value, Measure):
                self.measure(value, result.bits)
            else:
                self.assign_bits(result.bits, value, at)
            if not here:
                self.forget_bits(result.bits.numbers)
            result.placed = True
            return
        data = self.converted(self.evaluate(value), kind, at).data
        if here and Value(kind, data).known:
            result.value = data
            return
        if result.cell < 0:
            raise self.unsupported(
                at, f"{kind} values that depend on outcomes", kind.kind, "Return a number"
            )
        self.stored(data, kind, result.cell)
