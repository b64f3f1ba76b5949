"""Control flow: carried out while reading where it is known, else written into the circuit.

Before a block that may or may not run, what it assigns moves to cells, so that a variable is in
one place wherever control comes from. Loops whose values are known are written out pass by pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto

from openqse.program.gates import Op
from openqse.program.openqasm.analysis import assigned
from openqse.program.openqasm.dialects import Dialect
from openqse.program.openqasm.gates import Gates
from openqse.program.openqasm.nodes import (
    Block,
    Expression,
    If,
    Jump,
    Statement,
    Switch,
)
from openqse.program.openqasm.source import Sources
from openqse.program.openqasm.values import (
    INT,
    Bits,
    Run,
    Scope,
    Table,
    Value,
    Variable,
    View,
    bits_of,
)


class Flow(Enum):
    """Where control goes after a statement."""

    NEXT = auto()
    BREAK = auto()
    CONTINUE = auto()
    RETURN = auto()
    NEVER = auto()  # the circuit itself has jumped; nothing comes here


class Ended(Exception):
    """``end``: the program is over, whatever is around."""


@dataclass
class Frame:
    """A loop, or a subroutine, that is being executed.

    Attributes:
        kind: ``loop`` or ``def``.
        depth: that of its body; a jump from there is carried out while reading.
        boxes: how many boxes with a duration are around.
        leave: which loop of the circuit (counted from the outermost) a ``break`` or ``return`` at
            run time leaves; 0 where none can come.
        again: the same for ``continue``; ``begins`` where that is the loop itself.
    """

    kind: str
    depth: int
    boxes: int
    leave: int = 0
    again: int = 0
    begins: bool = False


class Control(Gates):
    """``if``, ``switch``, ``for``, ``while`` and jumps."""

    def __init__(self, sources: Sources, dialect: Dialect) -> None:
        super().__init__(sources, dialect)
        self.frames: list[Frame] = []
        self.boxes = 0
        self.returned: dict[int, Value] = {}  # by the node of a call: its value in this statement

    def measuring(self, name: str) -> bool:
        raise NotImplementedError

    # Blocks.

    def execute_all(self, body: Sequence[Statement]) -> Flow:
        """Executes a block in a scope of its own."""
        self.scope = scope = Scope(self.scope)
        with self.nested(body[0].at if body else 0):
            flow = Flow.NEXT
            for statement in body:
                result = self.execute(statement)
                assert isinstance(result, Flow)
                flow = result
                if flow is not Flow.NEXT:
                    break
        self.leave(scope)
        assert scope.parent is not None
        self.scope = scope.parent
        return flow

    def block(self, node: Block) -> Flow:
        return self.execute_all(node.body)

    @contextmanager
    def region(self, nodes: object, at: int) -> Iterator[Callable[[], None]]:
        """A part of the circuit that may or may not run; gives what to call between its branches.

        What ``nodes`` assign moves to cells; nothing is known of bits that they write.
        """
        bits: list[Bits] = []
        for name in sorted(assigned(nodes)):
            found = self._visible(name)
            if isinstance(found, Variable):
                self.to_cell(found, at)
            elif isinstance(found, Table):
                self.to_cells(found, at)
            elif isinstance(found, View):
                self.to_cells(found.table, at)
            elif isinstance(found, Bits):
                bits.append(found)

        def forget() -> None:
            for register in bits:
                self.forget_bits(register.numbers)

        forget()
        self.depth += 1
        yield forget
        self.depth -= 1
        forget()

    def _visible(self, name: str) -> object:
        scope: Scope | None = self.scope
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent if scope.kind == "block" else self.global_scope.parent
        return None

    def maybe(self, cell: int, nodes: list[Expression], run: Callable[[], None]) -> None:
        with self.region(nodes, nodes[0].at):
            self.compute(Op.IF, cell)
            run()
            self.compute(Op.END)

    # Branches.

    def if_(self, node: If) -> Flow:
        """Branches in order, up to the first that is known to be taken."""
        waiting = list(node.branches)
        while waiting:
            condition, body = waiting[0]
            value = self.truth(self.evaluate(condition), condition.at)
            if isinstance(value, Run):
                return self._branches(value, waiting, node)
            if value:
                return self.execute_all(body)
            waiting.pop(0)
        return self.execute_all(node.otherwise)

    def _branches(
        self, first: Run, waiting: list[tuple[Expression, list[Statement]]], node: If
    ) -> Flow:
        """Branches of which at least the first is decided at run time."""
        flows, opened = [], 0
        test: int | Run = first
        with self.region([waiting, node.otherwise], node.at) as between:
            for i, (condition, body) in enumerate(waiting):
                if i:
                    data = self.truth(self.evaluate(condition), condition.at)
                    assert isinstance(data, int | Run)
                    test = data
                if isinstance(test, Run):
                    self.compute(Op.IF, test.cell)
                    opened += 1
                    flows.append(self.execute_all(body))
                    between()
                    self.compute(Op.ELSE)
                elif test:
                    flows.append(self.execute_all(body))
                    break
            else:
                before = len(self.stream)
                flows.append(self.execute_all(node.otherwise))
                if len(self.stream) == before:
                    self._unelse()
            for _ in range(opened):
                self.compute(Op.END)
        return Flow.NEVER if all(flow is Flow.NEVER for flow in flows) else Flow.NEXT

    def _unelse(self) -> None:
        """Takes back the ELSE just written: nothing is behind it."""
        stream = self.stream
        for column in (stream.opcodes, stream.controls, stream.clbits, stream.counts):
            column.pop()

    def switch(self, node: Switch) -> Flow:
        subject = self.evaluate(node.subject)
        if subject.type.kind not in ("int", "uint", "bit", "bool"):
            raise self.invalid(node.subject.at, "'switch' needs a whole number", "switch")
        if bits_of(subject.type) > 64 and not subject.known:
            raise self._too_wide(subject.type, node.subject.at)
        cases = self._cases(node)
        if subject.known:
            for values, body in cases:
                if subject.data in values:
                    return self.execute_all(body)
            return self.execute_all(node.default)
        assert isinstance(subject.data, Run)
        flows = []
        cell = self.converted(subject, INT, node.at).data
        assert isinstance(cell, Run)
        with self.region([node.cases, node.default], node.at) as between:
            for values, body in cases:
                hits = [self.computed(Op.EQ, cell.cell, self.constant(v)).cell for v in values]
                test = hits[0]
                for hit in hits[1:]:
                    test = self.computed(Op.OR, test, hit).cell
                self.compute(Op.IF, test)
                flows.append(self.execute_all(body))
                between()
                self.compute(Op.ELSE)
            before = len(self.stream)
            flows.append(self.execute_all(node.default))
            if len(self.stream) == before and cases:
                self._unelse()
            for _ in cases:
                self.compute(Op.END)
        return Flow.NEVER if all(flow is Flow.NEVER for flow in flows) else Flow.NEXT

    def _cases(self, node: Switch) -> list[tuple[list[int], list[Statement]]]:
        seen: set[int] = set()
        cases = []
        for values, body in node.cases:
            numbers = []
            for value in values:
                number = self.integer(value)
                if number in seen:
                    raise self.invalid(value.at, f"case {number} stands twice", "case")
                seen.add(number)
                numbers.append(number)
            cases.append((numbers, body))
        return cases

    # Loops.

    def _open_loop(self) -> None:
        self.compute(Op.LOOP)
        self.loops += 1

    def _close_loop(self, flow: Flow) -> None:
        """Ends a loop of the circuit that runs once; nothing jumps where control never comes."""
        if flow is not Flow.NEVER:
            self.compute(Op.BREAK, 0)
        self.compute(Op.END)
        self.loops -= 1

    # Jumps.

    def jump(self, node: Jump) -> Flow:
        if node.kind == "end":
            return self._end()
        if not self.frames or self.frames[-1].kind != "loop":
            raise self.invalid(node.at, f"{node.kind!r} stands outside of a loop", node.kind)
        frame = self.frames[-1]
        leaving = node.kind == "break"
        if frame.depth == self.depth:
            return Flow.BREAK if leaving else Flow.CONTINUE
        self.leap(
            frame, frame.leave if leaving else frame.again, not leaving and frame.begins, node.at
        )
        return Flow.NEVER

    def leap(self, frame: Frame, loop: int, begins: bool, at: int) -> None:
        """A jump at run time."""
        if frame.boxes != self.boxes:
            raise self.unsupported(
                at, "jumps out of a box with a duration", "box", "End the box before the jump"
            )
        assert loop > 0, "a jump was not seen before its loop"
        self.compute(Op.CONTINUE if begins else Op.BREAK, self.loops - loop)

    def _end(self) -> Flow:
        if self.depth == 0:
            raise Ended
        self.write_outputs()
        self.compute(Op.STOP)
        return Flow.NEVER

    def write_outputs(self) -> None:
        """Gives the registers of outputs that are no bits their values."""
        raise NotImplementedError
