"""Loops: written out pass by pass where their values are known, else loops of the circuit."""

from __future__ import annotations

from collections.abc import Sequence

from openqse.program.circuit import INTEGER
from openqse.program.gates import Op
from openqse.program.openqasm.analysis import Dependence, base, jumps, walk
from openqse.program.openqasm.control import Control, Flow, Frame
from openqse.program.openqasm.gates import DefinedGate
from openqse.program.openqasm.nodes import (
    Assignment,
    Barrier,
    Call,
    Declaration,
    Expression,
    ExpressionStatement,
    For,
    GateCall,
    Index,
    Items,
    Jump,
    Measure,
    Name,
    Range,
    Reset,
    Return,
    Statement,
    While,
)
from openqse.program.openqasm.steps import Gate
from openqse.program.openqasm.stream import Mark
from openqse.program.openqasm.values import (
    INT,
    Bits,
    Run,
    Scope,
    Table,
    Type,
    Value,
    Variable,
    View,
    is_whole,
)

#: Steps of the expansion that a pass of a ``while`` counts for: it may be looked through anew.
_WHILE = 128


class Loops(Control):
    """``for`` and ``while``."""

    def _jumps(self, node: For) -> bool:
        if node.jumps is None:
            node.jumps = jumps(node.body)
        return node.jumps

    def _dependence(self, body: Sequence[Statement]) -> Dependence:
        return Dependence(body, self._unknown, self.measuring)

    def _unknown(self, name: str) -> bool:
        """Whether the value of a name is not known now."""
        found = self._visible(name)
        if isinstance(found, Variable):
            return not isinstance(found.value, int | float | complex)
        if isinstance(found, Bits):
            return 2 in [self.bit_states[number] for number in found.numbers]
        if isinstance(found, View):
            found = found.table
        if isinstance(found, Table):
            items = found.items
            return items is None or not all(isinstance(i, int | float | complex) for i in items)
        return False

    def for_(self, node: For) -> Flow:
        kind = self.scalar(node.type)
        values = self._values(node, kind)
        if values is None:
            return self._computed_range(node, kind)
        if self.checking:
            return self._checked_loop(node, kind, values)
        self._fits(node, len(values))
        if self._jumps(node) and id(node) in self._dependence([node]).loops:
            return self._leavable(node, kind, values)
        self.frames.append(Frame("loop", self.depth, self.boxes))
        flow = self._passes(node, kind, values)
        self.frames.pop()
        return flow

    def _passes(self, node: For, kind: Type, values: Sequence[Value | int]) -> Flow:
        for number, value in enumerate(values):
            mark = self.stream.mark()
            spent = self._expansion
            flow = self._pass(node, kind, value)
            if flow is Flow.BREAK:
                break
            if flow in (Flow.RETURN, Flow.NEVER):
                return flow
            if number == 0 and len(values) > 2 and self._same_passes(node):
                self._repeat(node, mark, len(values) - 1, self._expansion - spent)
                break
        return Flow.NEXT

    def _repeat(self, node: For, mark: Mark, times: int, spent: int) -> None:
        """Writes a pass that is like the first so many times more."""
        self.spend(times * spent, node.at)
        self.room_for(times * (len(self.stream) - mark.operations), node.at)
        self.stream.repeat(mark, times)

    def _same_passes(self, node: For) -> bool:
        """Whether all passes do the same: operations on qubits that nothing in the loop changes."""
        if self.emit != self.append:
            return False
        for statement in node.body:
            if isinstance(statement, GateCall):
                if statement.name == "gphase":
                    return False
                found = self.find(self.gate_key(statement.name), statement.at)
                if not isinstance(found, Gate):
                    return False
            elif isinstance(statement, Assignment):
                if not isinstance(statement.value, Measure) or statement.op:
                    return False
                if not isinstance(self.find(base(statement.target), statement.at), Bits):
                    return False
            elif not isinstance(statement, Reset | Barrier):
                return False
        mentioned = {item.name for item in walk(node.body) if isinstance(item, Name)}
        return node.name not in mentioned and self.phase == 0.0

    def _pass(self, node: For, kind: Type, value: Value | int) -> Flow:
        """One pass of a loop."""
        self.spend(1, node.at)
        if isinstance(value, int):
            value = Value(INT, value)
        outer = self.scope
        self.scope = scope = Scope(outer)
        variable = Variable(kind, self.depth, None)
        converted = self.converted(value, kind, node.at, strict=value.known)
        if value.known:
            variable.value = converted.data
        else:
            self.assign(variable, converted, node.at)
        scope.names[node.name] = variable
        scope.owned.append(variable)
        flow = self.execute_all(node.body)
        self.leave(scope)
        self.scope = outer
        return Flow.NEXT if flow is Flow.CONTINUE else flow

    def _checked_loop(self, node: For, kind: Type, values: Sequence[Value | int]) -> Flow:
        """The first pass alone, for the gate whose body is looked through."""
        count = self._count
        if any(isinstance(item, For) for item in walk(node.body)):
            count.exact = False
        before = count.steps
        count.loops += 1
        if values:
            # A gate's angle that bounds or fills the loop is not known here.
            self._pass(node, kind, values[0])
        count.loops -= 1
        count.steps = before + (count.steps - before) * len(values)
        return Flow.NEXT

    def _fits(self, node: For, passes: int) -> None:
        """Refuses at once a loop that is sure to write too much."""
        self.spend(passes, node.at)
        self._expansion -= passes  # each pass counts itself
        least = self.least(node.body) if self.emit == self.append else 0
        if least:
            self.room_for(passes * least, node.at)

    def least(self, body: Sequence[Statement]) -> int:
        """Operations that a body writes at the least, whatever the values in it are."""
        total = 0
        for statement in body:
            if isinstance(statement, Jump | Return):
                break
            if isinstance(statement, GateCall):
                total += self._least_of_call(statement)
            elif isinstance(statement, Reset):
                total += 1
            elif isinstance(statement, Assignment | Declaration | ExpressionStatement):
                if isinstance(statement.value, Call):
                    total += self.least_of_routine(statement.value.name)
            elif any(isinstance(item, Jump | Return) for item in walk(statement)):
                break
        return total

    def _least_of_call(self, call: GateCall) -> int:
        found = self.find(self.gate_key(call.name), call.at)
        if not isinstance(found, Gate):
            return self.least_of_routine(call.name)
        if call.name == "gphase" or any(m.kind == "pow" for m in call.modifiers):
            return 0
        return (found.size or 0) if isinstance(found, DefinedGate) else 1

    def least_of_routine(self, name: str) -> int:
        """The same for a subroutine; 0 where there is none of the name."""
        raise NotImplementedError

    def _values(self, node: For, kind: Type) -> Sequence[Value | int] | None:
        """The values of a loop; None where its range is known only at run time."""
        declared = node.values
        if isinstance(declared, Items):
            return [self._loop_value(item) for item in declared.items]
        if isinstance(declared, Range):
            return self._range(declared)
        view = self.view(declared)
        if view is not None:
            if len(view.shape) != 1:
                raise self.invalid(declared.at, "a loop needs an array of one dimension", "for")
            return [
                Value(view.table.type, self.element(view, i)) for i in range(len(view.positions))
            ]
        value = self.evaluate(declared) if not isinstance(declared, Name | Index) else None
        if value is None:
            found = self.declared(base(declared), declared.at)
            if isinstance(found, Bits):
                register = self.register(declared)
                assert isinstance(register, Bits)
                return [self.read(Bits((b,), True), node.at) for b in register.numbers]
            value = self.evaluate(declared)
        if value.type.kind != "bit" or value.type.width == 0:
            raise self.invalid(
                declared.at, "a loop needs a range, a set, an array or a register of bits", "for"
            )
        return [self._nth(value, i) for i in range(value.type.width)]

    def _nth(self, value: Value, number: int) -> Value:
        bit = self.whole(">>", value.type, value.data, number, 0)
        return Value(Type("bit", 0), self.whole("&", value.type, bit, 1, 0))

    def _loop_value(self, item: Expression) -> Value:
        value = self.evaluate(item)
        return value if value.known else self.kept(value)

    def _range(self, declared: Range) -> range | None:
        if declared.start is None or declared.stop is None:
            raise self.invalid(declared.at, "the range of a loop needs both ends", "for")
        step = 1 if declared.step is None else self.integer(declared.step)
        if step == 0:
            raise self.invalid(declared.at, "the step of a range cannot be 0", "range")
        ends = [self.evaluate(end) for end in (declared.start, declared.stop)]
        for end, node in zip(ends, (declared.start, declared.stop), strict=True):
            if not is_whole(end.type) or end.type.kind == "angle":
                raise self.invalid(node.at, "a constant whole number is needed here", "for")
        if not all(end.known for end in ends):
            return None
        start, stop = (int(end.data) for end in ends)  # type: ignore[arg-type]
        values = range(start, stop + (1 if step > 0 else -1), step)
        self.spend(max(0, (stop - start) // step + 1), declared.at)
        return values

    def _leavable(self, node: For, kind: Type, values: Sequence[Value | int]) -> Flow:
        """A loop of known values that is left, or goes on, where that depends on outcomes."""
        with self.region(node.body, node.at):
            self._open_loop()
            frame = Frame("loop", self.depth, self.boxes, leave=self.loops)
            self.frames.append(frame)
            flow = Flow.NEXT
            for value in values:
                self._open_loop()
                frame.again = self.loops
                flow = self._pass(node, kind, value)
                self._close_loop(flow)
                if flow in (Flow.BREAK, Flow.RETURN):
                    break
            self.frames.pop()
            self._close_loop(Flow.NEXT if flow is not Flow.RETURN else Flow.NEVER)
        return Flow.RETURN if flow is Flow.RETURN else Flow.NEXT

    def _computed_range(self, node: For, kind: Type) -> Flow:
        """A loop whose range is known only at run time."""
        declared = node.values
        assert isinstance(declared, Range)
        assert declared.start is not None
        assert declared.stop is not None
        step = 1 if declared.step is None else self.integer(declared.step)
        counter, last = self.temporary(INTEGER), self.temporary(INTEGER)
        for end, cell in ((declared.start, counter), (declared.stop, last)):
            value = self.converted(self.evaluate(end), INT, end.at)
            self.compute(Op.MOVE, cell, self.whole_cell(value.data))
        with self.region(node.body, node.at):
            self._open_loop()
            frame = Frame("loop", self.depth, self.boxes, leave=self.loops)
            self.frames.append(frame)
            order = (last, counter) if step > 0 else (counter, last)
            self.compute(Op.IF, self.computed(Op.LT, *order).cell)
            self.compute(Op.BREAK, 0)
            self.compute(Op.END)
            self._open_loop()
            frame.again = self.loops
            flow = self._pass(node, kind, Value(INT, Run(counter)))
            self._close_loop(flow)
            if flow is Flow.BREAK:
                self.compute(Op.BREAK, 0)
            self.compute(Op.ADD, counter, counter, self.constant(step))
            self.frames.pop()
            self.compute(Op.END)
            self.loops -= 1
        return Flow.NEXT

    def while_(self, node: While) -> Flow:
        settled = False  # nothing in the loop depends on outcomes, so nothing ever will
        while True:
            if not settled:
                found = self._dependence([node])
                if id(node) in found.loops | found.conditions:
                    return self._computed_while(node)
                settled = found.nothing
            self.returned.clear()
            value = self.truth(self.evaluate(node.condition), node.condition.at)
            if isinstance(value, Run):
                return self._computed_while(node)
            if not value:
                return Flow.NEXT
            self.spend(_WHILE, node.at)
            self.frames.append(Frame("loop", self.depth, self.boxes))
            flow = self.execute_all(node.body)
            self.frames.pop()
            if flow is Flow.BREAK:
                return Flow.NEXT
            if flow in (Flow.RETURN, Flow.NEVER):
                return flow

    def _computed_while(self, node: While) -> Flow:
        """A loop whose condition, or way out, is known only at run time."""
        with self.region([node.condition, node.body], node.at):
            self._open_loop()
            frame = Frame("loop", self.depth, self.boxes, self.loops, self.loops, begins=True)
            self.frames.append(frame)
            self.returned.clear()
            with self.statement_ends():
                value = self.truth(self.evaluate(node.condition), node.condition.at)
                if isinstance(value, Run):
                    self.compute(Op.IF, self.computed(Op.EQ, value.cell, self.constant(0)).cell)
                    self.compute(Op.BREAK, 0)
                    self.compute(Op.END)
                elif not value:
                    self.compute(Op.BREAK, 0)
            flow = self.execute_all(node.body)
            if flow in (Flow.BREAK, Flow.RETURN):
                self.compute(Op.BREAK, 0)
            self.frames.pop()
            self.compute(Op.END)
            self.loops -= 1
        return Flow.RETURN if flow is Flow.RETURN else Flow.NEXT
