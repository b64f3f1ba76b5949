"""Qubits, and what is done to them besides gates."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from openqse.errors import NotSupported, ProgramError
from openqse.program.gates import Op
from openqse.program.openqasm import limits
from openqse.program.openqasm.dialects import Dialect
from openqse.program.openqasm.gates import OpaqueGate
from openqse.program.openqasm.nodes import (
    Barrier,
    Calibration,
    Call,
    ExpressionStatement,
    GateCall,
    Measure,
    Nop,
    Opaque,
    Physical,
    QubitDeclaration,
    Reset,
    Statement,
)
from openqse.program.openqasm.references import Undecided
from openqse.program.openqasm.source import Sources, counted, shortened
from openqse.program.openqasm.steps import Gate, Step
from openqse.program.openqasm.subroutines import Routine
from openqse.program.openqasm.timing import Timing
from openqse.program.openqasm.values import (
    Bits,
    Qubits,
    Scope,
)

_PHYSICAL = re.compile(r"//[^\n]*|/\*.*?\*/|\$(\d+)", re.DOTALL)


class Operations(Timing):
    """Declares, measures and resets qubits, and calls what acts on them."""

    def __init__(self, sources: Sources, dialect: Dialect) -> None:
        super().__init__(sources, dialect)
        self._num_physical = 0

    def count_physical(self, source: str, name: str) -> None:
        """Finds out how many physical qubits the program names."""
        if "$" not in source:
            return
        for match in _PHYSICAL.finditer(source):
            if match[1] is None:
                continue
            digits = match[1].lstrip("0") or "0"
            if len(digits) > 9 or int(digits) >= limits.MAX_REGISTER:
                sources = Sources()
                sources.add(name, source)
                raise sources.exceeded(
                    match.start(),
                    "MAX_REGISTER",
                    f"physical qubit {shortened(match[0])}; "
                    f"qubits are numbered below {limits.MAX_REGISTER}",
                )
            self._num_physical = max(self._num_physical, int(digits) + 1)
        self.num_qubits = self._num_physical

    def declare_qubits(self, node: QubitDeclaration) -> None:
        if self._num_physical:
            raise self.unsupported(
                node.at,
                "declared qubits beside physical ones",
                "qubit",
                "Use either qubit declarations or physical qubits such as $0",
            )
        if self.scope is not self.global_scope:
            raise self.invalid(node.at, "qubits are declared outside of blocks", "qubit")
        first = self.num_qubits
        size = 1 if node.size is None else self.size(self.integer(node.size), node.at)
        if first + size > limits.MAX_REGISTER:
            raise self.exceeded(node.at, "MAX_REGISTER", f"more than {limits.MAX_REGISTER} qubits")
        self.declare(node.name, Qubits(range(first, first + size), node.size is None), node.at)
        self.num_qubits += size

    def physical(self, node: Physical) -> Qubits:
        scope: Scope | None = self.scope
        while scope is not None:
            if scope.kind == "gate":
                raise self.invalid(
                    node.at, "a gate cannot name a physical qubit", f"${node.number}"
                )
            scope = scope.parent
        if node.number >= self._num_physical:  # it stands in an included file
            raise self.unsupported(
                node.at,
                "physical qubits in an included file",
                f"${node.number}",
                "Name them in the program itself",
            )
        return Qubits((node.number,), True)

    def all_qubits(self) -> list[int]:
        scope: Scope | None = self.scope
        while scope is not None:
            if scope.kind != "block":
                own = [v for v in scope.names.values() if isinstance(v, Qubits)]
                return list(dict.fromkeys(q for v in own for q in v.numbers))
            scope = scope.parent
        return list(range(self.num_qubits))

    def choose(self, node: Statement, undecided: Undecided, run: Callable[[], object]) -> None:
        """Writes a statement once for each qubit that its index may name at run time.

        A qubit for which the statement is wrong, as one that it names already, ends the program.
        """
        if self.emit != self.append:
            raise self.undecided(undecided)
        cell, at = undecided.cell, node.at
        before = self.scope, self.emit, self._nesting
        self.require_below(cell, undecided.size, f"an index of {undecided.name!r}", at)
        failures: list[ProgramError] = []
        for number in range(undecided.size):
            test = self.computed(Op.EQ, cell, self.constant(number)).cell
            with self.region(node, at):
                self.compute(Op.IF, test)
                self.chosen[id(undecided.index)] = number
                try:
                    run()
                except ProgramError as error:
                    self.scope, self.emit, self._nesting = before
                    failures.append(error)
                    self.compute(Op.FAIL, self.stream.message(error.message))
                self.compute(Op.END)
        del self.chosen[id(undecided.index)]
        if len(failures) == undecided.size:
            raise failures[0]

    def is_gate(self, name: str) -> bool:
        """Whether a call of this name is that of a gate, and not of a subroutine."""
        return name == "gphase" or not isinstance(self.find(name, 0), Routine)

    def undecided(self, undecided: Undecided) -> NotSupported:
        """The refusal of an index that cannot be chosen at run time."""
        return self.unsupported(
            undecided.index.at,
            "indices of qubits that depend on outcomes or inputs in this place",
            undecided.name,
            "Choose with 'if' or 'switch', or use the qubit in a gate, a measurement or a reset",
        )

    def measured(self, node: Measure) -> Bits:
        qubits = self.qubits(node.operand)
        bits = Bits(self.temporary_bits(len(qubits.numbers), node.at), qubits.scalar)
        self.measure(node, bits)
        return bits

    def measure(self, node: Measure, target: Bits) -> None:
        qubits = self.qubits(node.operand).numbers
        if len(qubits) != len(target.numbers):
            raise self.invalid(
                node.at,
                f"{counted(len(qubits), 'qubit')} cannot be measured into "
                f"{counted(len(target.numbers), 'bit')}",
                "measure",
                "Give as many bits as qubits",
            )
        self.spend(len(qubits), node.at)
        self.room_for(len(qubits), node.at)
        for qubit, bit in zip(qubits, target.numbers, strict=True):
            self.stream.append(Op.MEASURE, (qubit,), (), 0, bit)
        self.forget_bits(target.numbers)

    def expression_statement(self, node: ExpressionStatement) -> None:
        if isinstance(node.value, Measure):
            qubits = self.qubits(node.value.operand).numbers
            self.spend(len(qubits), node.at)
            self.room_for(len(qubits), node.at)
            for qubit in qubits:
                self.stream.append(Op.MEASURE, (qubit,))
        elif isinstance(node.value, Call):
            self.call_statement(node)
        else:
            self.evaluate(node.value)

    def gate_call(self, node: GateCall) -> None:
        found = self.find(node.name, node.at) if self.version == 3 else None
        if node.name == "gphase" or isinstance(found, Gate) or not self.call_as_gate(node):
            gate = self.find(self.gate_key(node.name), node.at)
            if isinstance(gate, OpaqueGate) and node.name == "delay" and gate.angles == 1:
                self.wait_as_gate(node)
            elif found is None and not node.operands and node.arguments and self._function(node):
                return
            else:
                self.apply(node)

    def _function(self, node: GateCall) -> bool:
        """Whether a statement like ``sin(1);`` calls a function; its value is dropped."""
        if self.version == 2 or node.name == "gphase" or node.modifiers:
            return False
        self.evaluate(Call(node.at, node.name, node.arguments))
        return True

    def reset(self, node: Reset) -> None:
        qubits = self.qubits(node.operand).numbers
        self.spend(len(qubits), node.at)
        self.room_for(len(qubits), node.at)
        for qubit in qubits:
            self.stream.append(Op.RESET, (qubit,))

    def barrier(self, node: Barrier) -> None:
        chosen: Sequence[int]
        if node.operands:
            operands = [self.qubits(operand) for operand in node.operands]
            self.spend(sum(len(operand.numbers) for operand in operands), node.at)
            chosen = list(dict.fromkeys(q for operand in operands for q in operand.numbers))
        else:
            chosen = self.all_qubits()
            self.spend(len(chosen), node.at)
        self.emit(Step(Op.BARRIER, tuple(chosen)), node.at)

    def nop(self, node: Nop) -> None:
        for operand in node.operands:
            self.qubits(operand)

    def opaque(self, node: Opaque) -> None:
        gate = OpaqueGate(len(node.parameters), len(node.qubits), lambda angles, qubits: [])
        self.declare(self.gate_key(node.name), gate, node.at)

    def calibration(self, node: Calibration) -> None:
        if node.keyword == "defcalgrammar":  # it says how calibrations are written, no more
            return
        raise self.unsupported(
            node.at, f"{node.keyword!r} statements", node.keyword, "Leave it to the device"
        )
