"""Executes a program's statements one after the other; what they do becomes the circuit."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from openqse.errors import LimitExceeded, ProgramError
from openqse.program.angle import Angle
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse.program.openqasm import limits
from openqse.program.openqasm.braket import Refused, pragma
from openqse.program.openqasm.control import Ended, Flow
from openqse.program.openqasm.dialects import Dialect, choose, failure
from openqse.program.openqasm.flat import Flat
from openqse.program.openqasm.grammar2 import Grammar2
from openqse.program.openqasm.grammar3 import Grammar3
from openqse.program.openqasm.lexer import GAP
from openqse.program.openqasm.nodes import (
    Alias,
    Assignment,
    Barrier,
    Block,
    Box,
    Calibration,
    Declaration,
    Delay,
    ExpressionStatement,
    Extern,
    For,
    GateCall,
    GateDefinition,
    If,
    Include,
    InputOutput,
    Jump,
    Measure,
    Nop,
    Opaque,
    Pragma,
    QubitDeclaration,
    Reset,
    Return,
    Statement,
    Subroutine,
    Switch,
    While,
)
from openqse.program.openqasm.parser import Parser
from openqse.program.openqasm.references import Undecided
from openqse.program.openqasm.source import Sources, counted, shortened
from openqse.program.openqasm.steps import Gate, is_number
from openqse.program.openqasm.values import (
    REAL,
    Bits,
    Constant,
    Scope,
    Value,
    Variable,
    bits_of,
)

_CONSTANTS = {
    **dict.fromkeys(("pi", "π"), math.pi),
    **dict.fromkeys(("tau", "τ"), math.tau),
    **dict.fromkeys(("euler", "ℇ"), math.e),
}
_VERSION = re.compile(r"OPENQASM[ \t]+(\d+(?:\.\d+)?)\s*;")
_QELIB1 = re.compile(r"^[ \t]*include\s*[\"']qelib1\.inc[\"']", re.MULTILINE)

#: Opens the file that an ``include`` names: its text, or None if there is none.
Opener = Callable[[str], str | None]

#: Frames of Python's stack for one level of nesting.
_FRAMES = 24


def read(source: str, name: str, opener: Opener | None) -> Circuit:
    """The circuit of a program's text; see ``loads``."""
    _make_room()
    source = source.removeprefix("\ufeff")
    if len(source) > limits.MAX_SOURCE:
        raise LimitExceeded(
            f"{name}: {len(source)} characters of source; at most {limits.MAX_SOURCE} are read",
            remedy="Write repeated parts as gates and loops, or build the circuit in Python",
            limit="MAX_SOURCE",
        )
    sources = Sources()
    version, begin = _version(source, name)
    reader = Reader(sources, choose(version, source), opener)
    reader.count_physical(source, name)
    try:
        with suppress(Ended):
            reader.read_text(name, source, begin)
    except RecursionError:
        raise sources.exceeded(
            reader.at, "nesting", "blocks or calls are nested too deeply"
        ) from None
    return reader.finish()


def _make_room() -> None:
    """Makes Python's stack deep enough for ``MAX_NESTING``, wherever the call stands."""
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    needed = depth + _FRAMES * limits.MAX_NESTING
    if sys.getrecursionlimit() < needed:
        sys.setrecursionlimit(needed)


def _version(source: str, name: str) -> tuple[int, int]:
    """The version of a text and the offset behind the line that states it."""
    gap = GAP.match(source)
    assert gap is not None
    match = _VERSION.match(source, gap.end())
    if match is None:
        return (2 if _QELIB1.search(source) else 3), 0
    stated = match[1]
    if stated not in ("2", "2.0", "3", "3.0", "3.1"):
        sources = Sources()
        sources.add(name, source)
        raise sources.unsupported(
            gap.end(),
            f"programs of OpenQASM {shortened(stated)}",
            "OPENQASM",
            "Write OpenQASM 3.1, 3.0 or 2.0",
        )
    return int(stated[0]), match.end()


class Reader(Flat):
    """A program that is being read."""

    def __init__(self, sources: Sources, dialect: Dialect, opener: Opener | None) -> None:
        super().__init__(sources, dialect)
        self._opener = opener
        self._including: list[str] = []
        self._included: dict[str, str] = {}  # libraries, and which file included each first
        self._characters = 0
        builtin: dict[str, object] = {
            name: Constant(Value(REAL, value)) for name, value in _CONSTANTS.items()
        }
        for name, gate in dialect.builtin.items():
            builtin[self.gate_key(name)] = gate
        self._builtin = Scope(None, names=builtin)
        self.global_scope = self.scope = Scope(self._builtin)
        self._output_bits: list[tuple[str, Variable, range]] = []
        self.forget_flat()

    def parser(self, sources: Sources, name: str, text: str) -> Parser:
        return (Grammar3 if self.version == 3 else Grammar2)(sources, name, text)

    def read_text(self, name: str, text: str, begin: int = 0) -> None:
        """Executes the statements of a text."""
        self._characters += len(text)
        parser = self.parser(self.sources, name, text)
        lexer = parser.lexer
        lexer.jump(begin)
        while True:
            start = lexer.at - lexer.base
            self.at = lexer.at
            end = self.read_flat(text, start)
            if end != start:
                lexer.jump(end)
            if lexer.kind == "":
                return
            statement = parser.statement()
            if statement is not None:
                self.execute(statement)
                called = isinstance(statement, GateCall) and not self.is_gate(statement.name)
                if called or not isinstance(statement, _NAMES_STAY):
                    self.forget_flat()

    def execute(self, node: Statement) -> Flow:
        """Executes one statement."""
        at, self.at = self.at, node.at
        returned, self.returned = self.returned, {}
        self.spend(1, node.at)
        with self.statement_ends():
            flow = self._attempt(node)
        self.at, self.returned = at, returned
        return flow if isinstance(flow, Flow) else Flow.NEXT

    def _attempt(self, node: Statement) -> Flow | None:
        try:
            return _RULES[type(node)](self, node)
        except Undecided as undecided:
            measures = isinstance(node, Assignment) and isinstance(node.value, Measure)
            gate = isinstance(node, GateCall) and self.is_gate(node.name)
            if not (measures or gate or isinstance(node, Reset)):
                raise self.undecided(undecided) from None
            found = undecided
        self.choose(node, found, lambda: self._attempt(node))
        return None

    def finish(self) -> Circuit:
        """The circuit of all that was executed."""
        if self.num_qubits == 0:
            raise self.invalid(
                0,
                "the program declares no qubits",
                "qubit",
                "Declare some, for example: qubit[2] q;",
            )
        self.write_outputs()
        if not is_number(self.phase, 0):
            self.stream.append(Op.GPHASE, (), (self.phase,))
        stream, first = self.stream, self.prologue
        for column in ("opcodes", "controls", "clbits", "counts", "operands"):
            getattr(stream, column)[0:0] = getattr(first, column)
        registers = self.registers
        if self.outputs is not None:
            numbered = {name: (start, width) for name, start, width in self.registers}
            numbered |= {name: (bits.start, len(bits)) for name, _, bits in self._output_bits}
            registers = [(name, *numbered[name]) for name in self.outputs]
        return stream.build(
            self.num_qubits, registers, len(self.bit_states), self.cells, self.cell_types
        )

    # Names and files.

    def declare(self, name: str, value: object, at: int) -> None:
        """Gives a name a meaning in the block around."""
        bare = name.removeprefix("gate ")
        replaces = bare in self.replaceable and isinstance(value, Gate)
        builtin = self._builtin.names.get(name)
        taken = (name in self.scope.names and not replaces) or (
            isinstance(value, Gate) and bare in self.assumed
        )
        if taken or isinstance(builtin, Gate):
            library = self.libraries.get(name)
            what = f": {bare} is a gate of {library}" if library else ""
            if isinstance(builtin, Gate):
                what = f": {bare} is a gate of the language"
            raise self.invalid(
                at, f"{bare!r} is already declared{what}", bare, "Choose another name"
            )
        if isinstance(value, Gate):
            self.replaceable.discard(bare)
            self.libraries.pop(name, None)
        self.scope.names[name] = value

    def _include(self, node: Include) -> None:
        if self.scope is not self.global_scope:
            raise self.invalid(node.at, "'include' stands inside a block", "include")
        gates = self.dialect.include(node.path)
        if gates is None:
            self._include_file(node)
            return
        within = self._including[-1] if self._including else ""
        if self._included.setdefault(node.path, within) != within:
            return  # a file that includes it for itself
        if any(path == node.path for path in self.libraries.values()):
            raise self.invalid(
                node.at, f"{node.path!r} is already included", "include", "Include it once"
            )
        for name, gate in gates.items():
            key = self.gate_key(name)
            if self.libraries.get(key) and self.scope.names.get(key) is gate:
                continue  # two libraries share it
            if self.libraries.get(key):
                del self.scope.names[key]
            self.declare(key, gate, node.at)
            self.libraries[key] = node.path
        self.replaceable |= self.dialect.replaceable(node.path)

    def _include_file(self, node: Include) -> None:
        library = self.dialect.library
        if self._opener is None:
            raise self.unsupported(
                node.at,
                f"includes of {shortened(node.path)!r} in OpenQASM {self.version}",
                "include",
                f'Include "{library}", write the definitions into the program, or give the '
                "program as a file's path",
            )
        if node.path in self._including or len(self._including) >= limits.MAX_INCLUDES:
            raise self.invalid(node.at, f"{node.path!r} includes itself", "include")
        text = self._opener(node.path)
        if text is None:
            raise self.invalid(
                node.at,
                f"{shortened(node.path)!r} is not beside the program",
                "include",
                f'Put the file there, or include "{library}"',
            )
        text = text.removeprefix("\ufeff")
        if self._characters + len(text) > limits.MAX_SOURCE:
            raise self.exceeded(
                node.at, "MAX_SOURCE", f"more than {limits.MAX_SOURCE} characters of source"
            )
        version, begin = _version(text, node.path)
        if begin and version != self.version:
            raise self.invalid(node.at, f"{node.path!r} is OpenQASM {version}", "include")
        self._including.append(node.path)
        self.forget_flat()
        self.read_text(node.path, text, begin)
        self._including.pop()

    def _pragma(self, node: Pragma) -> None:
        message = failure(node.text)
        if message is not None:
            self.compute(Op.FAIL, self.stream.message(message))
            return
        try:
            found = pragma(node.text)
        except Refused as refused:
            raise self.unsupported(
                node.at, refused.what, refused.construct, refused.remedy
            ) from None
        except ValueError as error:
            raise self.invalid(node.at, str(error), "pragma braket unitary") from None
        if found is None:
            return
        parser = Grammar3(self.sources, "pragma", found.operands + ";")
        parser.lexer.advance()
        operands = [self.qubits(o) for o in parser.listed(parser.gate_operand, ";")]
        qubits = tuple(q for operand in operands for q in operand.numbers)
        if len(qubits) != found.gate.qubits or len(set(qubits)) != len(qubits):
            raise self.invalid(
                node.at, f"the matrix acts on {counted(found.gate.qubits, 'qubit')}", "unitary"
            )
        for step in found.gate.steps([], qubits):
            self.emit(step, node.at)

    # Qubits.

    # Outputs that are not bits.

    def input_output(self, node: InputOutput) -> None:
        super().input_output(node)
        found = self.find(node.name, node.at)
        if node.output and isinstance(found, Variable):
            if found.type.kind == "angle" and found.type.width == 0:
                raise self.unsupported(
                    node.at, "outputs of angles without a width", "output", "State the width"
                )
            bits = self.take_bits(bits_of(found.type), node.at, scratch=False)
            self._output_bits.append((node.name, found, bits))

    def write_outputs(self) -> None:
        for _, variable, bits in self._output_bits:
            data = variable.value
            if data is None:
                data = self.loaded(variable.type, variable.cell)
            assert not isinstance(data, Angle | float | complex)
            if isinstance(data, int):
                data &= (1 << len(bits)) - 1
            self.write(Bits(bits, False), data)


#: Statements that change neither names nor values that angles may have.
_NAMES_STAY = (GateCall, Barrier, Reset, Delay, Nop, Pragma)

_RULES: dict[type[Any], Callable[[Reader, Any], Flow | None]] = {
    Include: Reader._include,
    Pragma: Reader._pragma,
    QubitDeclaration: Reader.declare_qubits,
    Declaration: Reader.declaration,
    InputOutput: Reader.input_output,
    Alias: Reader.alias,
    GateDefinition: Reader.define_gate,
    Opaque: Reader.opaque,
    GateCall: Reader.gate_call,
    Assignment: Reader.assignment,
    ExpressionStatement: Reader.expression_statement,
    Reset: Reader.reset,
    Barrier: Reader.barrier,
    Nop: Reader.nop,
    Delay: Reader.delay,
    Box: Reader.box,
    Block: Reader.block,
    If: Reader.if_,
    For: Reader.for_,
    While: Reader.while_,
    Switch: Reader.switch,
    Jump: Reader.jump,
    Return: Reader.return_,
    Subroutine: Reader.define_subroutine,
    Extern: Reader.extern,
    Calibration: Reader.calibration,
}


def read_file(path: Path) -> Circuit:
    """The circuit of a file; what it includes is looked for in its folder."""
    folder = path.parent

    def opener(name: str) -> str | None:
        wanted = folder / name
        if not wanted.resolve().is_relative_to(folder.resolve()) or not wanted.is_file():
            return None
        return _text(wanted)

    return read(_text(path), str(path), opener)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(4 * limits.MAX_SOURCE + 1)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProgramError(
            f"{path} cannot be read: {error}", remedy="Save the file as UTF-8", line=1
        ) from None
