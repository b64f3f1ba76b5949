"""OpenQASM 3 and OpenQASM 2 text read into the circuit form."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from antlr4 import CommonTokenStream, InputStream
from antlr4.error.ErrorListener import ErrorListener
from antlr4.error.ErrorStrategy import DefaultErrorStrategy
from openqasm3 import ast
from openqasm3.parser import (  # type: ignore[attr-defined]
    QASM3ParsingError,
    QASMNodeVisitor,
    qasm3Lexer,
    qasm3Parser,
)

from openqse.errors import LimitExceeded, NotSupported, OpenQSEError, ProgramError
from openqse.program.angle import Angle
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse.program.openqasm.braket import Refused, pragma
from openqse.program.openqasm.dialects import Dialect, choose
from openqse.program.openqasm.powers import Unpowered, powered
from openqse.program.openqasm.steps import Gate, Step, Value, controlled, is_number, plain

#: Characters of source text.
MAX_SOURCE = 8 * 2**20
#: Operations of the circuit after loops and gates are expanded.
MAX_OPERATIONS = 2_000_000
#: Steps of the expansion: gate calls, passes of loops and operands, whatever they yield.
MAX_EXPANSION = 16_000_000
#: Qubits, and classical bits, that the circuit form can number.
MAX_REGISTER = 2**24


def loads(source: str, name: str = "<program>") -> Circuit:
    """The circuit that an OpenQASM program describes.

    The version line chooses the language (3 without one). Read are:

    - ``qubit``, ``bit``, ``qreg``, ``creg``, physical qubits ``$n`` (qubit ``n`` of the circuit);
      indices (negative ones too), ranges, index sets and ``let``; gates, measurements and resets
      of whole registers;
    - ``const`` of type ``int``, ``uint``, ``float`` and ``angle`` and arithmetic with them (in
      OpenQASM 3 whole numbers divide as in C: ``1/2`` is 0);
    - ``input`` of type ``float``, ``angle`` and one-dimensional arrays of these: the circuit's
      parameters, in the order of declaration, ``p[0]``, ``p[1]`` … for an array ``p``. An angle
      is affine in them;
    - ``gate`` definitions, the modifiers ``ctrl``, ``negctrl``, ``inv`` and ``pow``, ``gphase``;
    - ``for`` over constant ranges and sets; ``barrier``, ``reset``, ``measure``;
    - ``include "stdgates.inc"`` in OpenQASM 3, ``include "qelib1.inc"`` (as Qiskit distributes
      it) in OpenQASM 2. No file is ever opened.

    Loops and gates are expanded. Global phases are summed into one ``GPHASE``, the last operation.
    Angles are float64 whatever width is declared, and are not wrapped to one turn. ``pow`` with a
    fraction or an input is the principal power (see ``powers``). OpenQASM 2 uses the grammar of
    OpenQASM 3, so names that are keywords there are refused.

    Args:
        source: the text, at most ``MAX_SOURCE`` characters.
        name: stands before the line in messages, usually the file's name.

    Raises:
        ProgramError: not a valid program; ``line`` and ``construct`` in ``details`` say where.
        NotSupported: valid, but not read yet; the same details.
        LimitExceeded: a cap was hit; ``details['limit']`` names it.
    """
    if len(source) > MAX_SOURCE:
        raise LimitExceeded(
            f"{name}: {len(source)} characters of source; at most {MAX_SOURCE} are read",
            remedy="Write repeated parts as gates and loops, or build the circuit in Python",
            limit="MAX_SOURCE",
        )
    text = _Text(source, name)
    try:
        dialect = choose(text.version(), source)
        reader = _Reader(name, dialect, text.physical_qubits())
        for statement in text.statements():
            reader.execute(statement)
        return reader.finish()
    except RecursionError as error:
        raise LimitExceeded(
            f"{name}:{text.line}: the statement is nested too deeply",
            remedy="Split the expression or the blocks",
            limit="nesting",
            line=text.line,
        ) from error


# --- text to statements --------------------------------------------------------------------------


class _SyntaxListener(ErrorListener):  # type: ignore[misc]
    """Turns the first error of the lexer or the parser into a ProgramError."""

    def __init__(self, name: str) -> None:
        self.name = name

    def syntaxError(
        self, recognizer: object, symbol: Any, line: int, column: int, msg: str, exc: object
    ) -> NoReturn:
        if symbol is not None:
            offending = "the end of the program" if symbol.text == "<EOF>" else repr(symbol.text)
        else:
            offending = msg.removeprefix("token recognition error at: ")
        expected = re.search(r"(missing .+|expecting [^{].*)$", msg)
        hint = f" ({expected[1]})" if expected and "{" not in expected[1] else ""
        raise ProgramError(
            f"{self.name}:{line}: syntax error at {_shortened(offending)}, "
            f"column {column + 1}{_shortened(hint)}",
            remedy="Correct the program's text",
            line=line,
            column=column + 1,
            construct=_shortened(offending),
        )


class _Strategy(DefaultErrorStrategy):  # type: ignore[misc]
    """Omits the search for a place to resume, a sixth of the time: an error ends the reading."""

    def sync(self, recognizer: object) -> None:
        pass


class _Text:
    """A program's text as a stream of statements, one syntax tree at a time in memory."""

    def __init__(self, source: str, name: str) -> None:
        self.name = name
        self.line = 1
        listener = _SyntaxListener(name)
        lexer = qasm3Lexer(InputStream(source))
        self._tokens = CommonTokenStream(lexer)
        self._parser = qasm3Parser(self._tokens)
        self._parser._errHandler = _Strategy()  # the runtime has no setter
        for recognizer in (lexer, self._parser):
            recognizer.removeErrorListeners()
            recognizer.addErrorListener(listener)
        self._tokens.fill()

    def version(self) -> int:
        """2 or 3; in a program of version 2 the tokens that differ are translated."""
        if self._tokens.LA(1) != qasm3Parser.OPENQASM:
            return 3
        line = self._tokens.LT(1).line
        stated = self._parser.version().VersionSpecifier().getText()
        if stated not in ("2", "2.0", "3", "3.0", "3.1"):
            raise NotSupported(
                f"{self.name}:{line}: OpenQASM {_shortened(stated)} is not supported yet",
                remedy="Write OpenQASM 3.1, 3.0 or 2.0",
                line=line,
                construct="OPENQASM",
            )
        if stated.startswith("3"):
            return 3
        previous = qasm3Lexer.SEMICOLON
        for token in self._tokens.tokens:
            if token.type == qasm3Lexer.CARET:  # a power in OpenQASM 2, exclusive or in 3
                token.type, token.text = qasm3Lexer.DOUBLE_ASTERISK, "**"
            starts = previous in (qasm3Lexer.SEMICOLON, qasm3Lexer.RBRACE)
            if token.type == qasm3Lexer.Identifier and token.text == "opaque" and starts:
                raise NotSupported(
                    f"{self.name}:{token.line}: 'opaque' statements are not supported yet",
                    remedy="Define the gate with a body",
                    line=token.line,
                    construct="opaque",
                )
            if token.channel == 0:
                previous = token.type
        return 2

    def physical_qubits(self) -> int:
        """One more than the largest physical qubit that the program names; 0 for none."""
        count = 0
        for token in self._tokens.tokens:
            if token.type == qasm3Lexer.HardwareQubit:
                digits = token.text[1:].lstrip("0")
                if len(digits) > 9 or int(digits or "0") >= MAX_REGISTER:
                    raise LimitExceeded(
                        f"{self.name}:{token.line}: physical qubit {_shortened(token.text)}; "
                        f"qubits are numbered below {MAX_REGISTER}",
                        limit="MAX_REGISTER",
                        line=token.line,
                    )
                count = max(count, int(digits or "0") + 1)
        return count

    def statements(self) -> Iterator[ast.Statement | ast.Pragma]:
        visitor: Any = QASMNodeVisitor()  # type: ignore[no-untyped-call]
        while (token := self._tokens.LT(1)).type != -1:
            self.line = token.line
            try:
                program = qasm3Parser.ProgramContext(self._parser, None, 0)
                program.addChild(self._parser.statementOrScope())
                program.start, program.stop = token, self._tokens.LT(-1)
                statement = visitor.visitProgram(program).statements[0]
            except (OpenQSEError, RecursionError):
                raise
            except QASM3ParsingError as error:
                found = re.match(r"L(\d+):C\d+: (.*)", str(error), re.DOTALL)
                line, reason = (int(found[1]), found[2]) if found else (self.line, str(error))
                raise self._unreadable(line, reason, token.text) from error
            except Exception as error:  # the parser's own faults with odd text end here
                raise self._unreadable(self.line, str(error), token.text) from error
            yield statement

    def _unreadable(self, line: int, reason: str, construct: str) -> ProgramError:
        return ProgramError(
            f"{self.name}:{line}: cannot read the statement: {_shortened(reason)}",
            remedy="Correct the program's text",
            line=line,
            construct=_shortened(construct),
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"


# --- statements to operations --------------------------------------------------------------------


@dataclass(frozen=True)
class _Register:
    """Qubits or bits by number, in order; ``scalar`` for a single one that is not a register."""

    kind: str
    indices: Sequence[int]
    scalar: bool


@dataclass(frozen=True)
class _Parameters:
    """An input array: its elements are free parameters."""

    elements: Sequence[Angle]


_Named: TypeAlias = Value | _Register | _Parameters | Gate


@dataclass
class _Scope:
    """Names of a block. A gate's body sees only gates and constants of what is around it."""

    parent: _Scope | None
    is_gate: bool = False
    names: dict[str, _Named] = field(default_factory=dict)

    @property
    def in_gate(self) -> bool:
        return self.is_gate or (self.parent is not None and self.parent.in_gate)


_UNREAD_STATEMENTS: dict[type[Any], tuple[str, str]] = {
    ast.BranchingStatement: ("if", "Decide after the run, from the measured bits"),
    ast.WhileLoop: ("while", "Use a 'for' loop over a constant range"),
    ast.SwitchStatement: ("switch", "Decide after the run, from the measured bits"),
    ast.BreakStatement: ("break", "Loop over exactly the values that are needed"),
    ast.ContinueStatement: ("continue", "Loop over exactly the values that are needed"),
    ast.EndStatement: ("end", "Leave out what follows it"),
    ast.ReturnStatement: ("return", "Write a gate, or write out the subroutine"),
    ast.SubroutineDefinition: ("def", "Write a gate, or write out the subroutine"),
    ast.ExternDeclaration: ("extern", "Compute the value before the run and give it as input"),
    ast.CalibrationGrammarDeclaration: ("defcalgrammar", "Leave the calibration to the device"),
    ast.CalibrationDefinition: ("defcal", "Leave the calibration to the device"),
    ast.CalibrationStatement: ("cal", "Leave the calibration to the device"),
    ast.DelayInstruction: ("delay", "Leave the timing to the device"),
    ast.Box: ("box", "Leave the timing to the device; use 'barrier' for order"),
    ast.ClassicalAssignment: ("assignment", "Use 'const' or 'input' instead of a variable"),
    ast.ExpressionStatement: ("expression", "Remove it"),
}

_GATE_BODY = (
    ast.QuantumGate,
    ast.QuantumPhase,
    ast.QuantumBarrier,
    ast.ForInLoop,
    ast.CompoundStatement,
)

_CONSTANTS = {
    **dict.fromkeys(("pi", "π"), math.pi),
    **dict.fromkeys(("tau", "τ"), math.tau),
    **dict.fromkeys(("euler", "ℇ"), math.e),
}

_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "arccos": math.acos,
    "arcsin": math.asin,
    "arctan": math.atan,
    "ceiling": lambda x: float(math.ceil(x)) if math.isfinite(x) else x,
    "cos": math.cos,
    "exp": math.exp,
    "floor": lambda x: float(math.floor(x)) if math.isfinite(x) else x,
    "ln": math.log,
    "log": math.log,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tan": math.tan,
}

_TYPES = {
    ast.IntType: "int",
    ast.UintType: "uint",
    ast.FloatType: "float",
    ast.AngleType: "angle",
    ast.BitType: "bit",
    ast.BoolType: "bool",
    ast.ComplexType: "complex",
    ast.ArrayType: "array",
    ast.DurationType: "duration",
    ast.StretchType: "stretch",
}


class _Reader:
    """Executes statements one after the other; what they do to the qubits becomes the circuit."""

    def __init__(self, name: str, dialect: Dialect, physical_qubits: int) -> None:
        self._name = name
        self._dialect = dialect
        self._version = dialect.version
        self._builder = CircuitBuilder(physical_qubits)
        self._physical = physical_qubits
        self._phase: Value = 0.0
        self._operations = 0
        self._expansion = 0
        self._included = False
        # Library gates that the program may still define itself: it has not used them.
        self._replaceable: set[str] = set()
        # Gates that nothing defined and that were applied as other tools know them.
        self._assumed: set[str] = set()
        # While a gate's definition is checked its angles are NaN and gates in it are not expanded.
        self._checking = False
        builtin: dict[str, _Named] = {**_CONSTANTS, **dialect.builtin}
        self._builtin = _Scope(None, names=builtin)
        self._global = _Scope(self._builtin)
        self._handlers: dict[type[Any], Callable[..., None]] = {
            ast.Include: self._include,
            ast.QubitDeclaration: self._declare_qubits,
            ast.ClassicalDeclaration: self._declare_bits,
            ast.ConstantDeclaration: self._declare_constant,
            ast.IODeclaration: self._declare_input,
            ast.AliasStatement: self._declare_alias,
            ast.QuantumGateDefinition: self._define_gate,
            ast.QuantumGate: self._apply,
            ast.QuantumPhase: self._apply,
            ast.Pragma: self._pragma,
            ast.QuantumMeasurementStatement: self._measure_statement,
            ast.QuantumReset: self._reset,
            ast.QuantumBarrier: self._barrier,
            ast.ForInLoop: self._loop,
            ast.CompoundStatement: self._block,
        }

    def execute(self, statement: ast.Statement | ast.Pragma) -> None:
        self._execute(statement, self._global, self._append)

    def finish(self) -> Circuit:
        if self._builder.num_qubits == 0:
            raise ProgramError(
                f"{self._name}:1: the program declares no qubits",
                remedy="Declare some, for example: qubit[2] q;",
                line=1,
                construct="qubit",
            )
        if not is_number(self._phase, 0):
            self._builder.append(Op.GPHASE, (), (self._phase,))
        return self._builder.build()

    # Errors and limits.

    def _invalid(self, node: Any, message: str, construct: str, remedy: str = "") -> ProgramError:
        line = node.span.start_line
        return ProgramError(
            f"{self._name}:{line}: {message}",
            remedy=remedy or "Correct the program's text",
            line=line,
            construct=_shortened(construct),
        )

    def _unsupported(self, node: Any, what: str, construct: str, remedy: str) -> NotSupported:
        line = node.span.start_line
        return NotSupported(
            f"{self._name}:{line}: {what} are not supported yet",
            remedy=remedy,
            line=line,
            construct=_shortened(construct),
        )

    def _exceeded(self, node: Any, limit: str, message: str) -> LimitExceeded:
        line = node.span.start_line
        return LimitExceeded(
            f"{self._name}:{line}: {message}",
            remedy="Make the program smaller, or split it",
            limit=limit,
            line=line,
        )

    def _too_many(self, node: Any) -> LimitExceeded:
        return self._exceeded(node, "MAX_OPERATIONS", f"more than {MAX_OPERATIONS} operations")

    def _spend(self, amount: int, node: Any) -> None:
        self._expansion += amount
        if self._expansion > MAX_EXPANSION:
            raise self._exceeded(
                node, "MAX_EXPANSION", f"gates and loops expand to more than {MAX_EXPANSION} steps"
            )

    def _append(self, step: Step, node: Any) -> None:
        """Adds a step to the circuit."""
        if step.op is Op.GPHASE and not step.controls:
            self._phase = self._checked(self._phase + step.angles[0], node)
            return
        self._operations += 1
        if self._operations > MAX_OPERATIONS:
            raise self._too_many(node)
        op, controls = step.op, step.controls
        if op is Op.GPHASE:  # under controls: a phase gate on the last of them
            op, controls = Op.P, controls - 1
        self._builder.append(op, step.qubits, step.angles, controls=controls, clbit=step.clbit)

    # Statements.

    def _execute(self, statement: Any, scope: _Scope, emit: _Emit) -> None:
        self._spend(1, statement)
        for annotation in getattr(statement, "annotations", ()):
            keyword = f"@{annotation.keyword}"
            raise self._unsupported(annotation, f"{keyword!r} annotations", keyword, "Remove it")
        kind = type(statement)
        if kind in _UNREAD_STATEMENTS:
            construct, remedy = _UNREAD_STATEMENTS[kind]
            raise self._unsupported(statement, f"{construct!r} statements", construct, remedy)
        if kind not in self._handlers:
            raise self._unsupported(
                statement, f"{kind.__name__!r} statements", kind.__name__, "Remove it"
            )
        if scope.in_gate and kind not in _GATE_BODY:
            raise self._invalid(statement, "a gate's body can only apply gates", kind.__name__)
        self._handlers[kind](statement, scope, emit)

    def _block(self, node: ast.CompoundStatement, scope: _Scope, emit: _Emit) -> None:
        inner = _Scope(scope)
        for statement in node.statements:
            self._execute(statement, inner, emit)

    def _loop(self, node: ast.ForInLoop, scope: _Scope, emit: _Emit) -> None:
        values = self._loop_values(node, scope)
        for value in values[:1] if self._checking else values:
            self._spend(1, node)
            inner = _Scope(scope)
            inner.names[node.identifier.name] = self._converted(value, node.type, node, scope)
            for statement in node.block:
                self._execute(statement, inner, emit)

    def _loop_values(self, node: ast.ForInLoop, scope: _Scope) -> Sequence[Value]:
        declared = node.set_declaration
        if isinstance(declared, ast.DiscreteSet):
            return [self._evaluate(value, scope) for value in declared.values]
        if not isinstance(declared, ast.RangeDefinition):
            raise self._unsupported(
                node, "'for' loops over a register or array", "for", "Loop over a range of indices"
            )
        if declared.start is None or declared.end is None:
            raise self._invalid(declared, "the range of a loop needs both ends", "for")
        start, end = self._integer(declared.start, scope), self._integer(declared.end, scope)
        step = 1 if declared.step is None else self._integer(declared.step, scope)
        if step == 0:
            raise self._invalid(declared, "the step of a range cannot be 0", "range")
        self._spend(max(0, (end - start) // step + 1), node)
        return range(start, end + (1 if step > 0 else -1), step)

    def _include(self, node: ast.Include, scope: _Scope, emit: _Emit) -> None:
        gates = self._dialect.include(node.filename)
        if gates is None:
            raise self._unsupported(
                node,
                f"includes of {_shortened(node.filename)!r} in OpenQASM {self._version}",
                "include",
                f'Write the definitions into the program, or include "{self._dialect.library}"',
            )
        if self._included:
            raise self._invalid(
                node, f"{node.filename!r} is already included", "include", "Include it once"
            )
        self._included = True
        for name, gate in gates.items():
            self._declare(name, gate, self._global, node)
        self._replaceable = set(self._dialect.replaceable(node.filename))

    def _pragma(self, node: ast.Pragma, scope: _Scope, emit: _Emit) -> None:
        try:
            found = pragma(node.command)
        except Refused as refused:
            raise self._unsupported(node, refused.what, refused.construct, refused.remedy) from None
        except ValueError as error:
            raise self._invalid(node, str(error), "pragma braket unitary") from None
        if found is not None:
            raise self._unsupported(node, "'unitary' pragmas", "pragma", "Write gates")

    def _declare(self, name: str, value: _Named, scope: _Scope, node: Any) -> None:
        replaces = name in self._replaceable and isinstance(value, Gate)
        self._replaceable.discard(name)
        taken = (name in scope.names and not replaces) or name in self._assumed
        if taken or isinstance(self._builtin.names.get(name), Gate):
            raise self._invalid(node, f"{name!r} is already declared", name, "Choose another name")
        scope.names[name] = value

    def _declare_qubits(self, node: ast.QubitDeclaration, scope: _Scope, emit: _Emit) -> None:
        if self._physical:
            raise self._unsupported(
                node,
                "declared qubits beside physical ones",
                "qubit",
                "Use either qubit declarations or physical qubits such as $0",
            )
        first = self._builder.num_qubits
        size = self._size(node.size, first, scope, node)
        self._builder.num_qubits += size
        register = _Register("qubit", range(first, first + size), node.size is None)
        self._declare(node.qubit.name, register, scope, node)

    def _declare_bits(self, node: ast.ClassicalDeclaration, scope: _Scope, emit: _Emit) -> None:
        if not isinstance(node.type, ast.BitType):
            kind = _TYPES.get(type(node.type), type(node.type).__name__)
            raise self._unsupported(
                node, f"classical variables of type {kind!r}", kind, "Use 'const' or 'input'"
            )
        if scope is not self._global:
            raise self._unsupported(
                node, "bits declared inside a block", "bit", "Declare them before the block"
            )
        initial = node.init_expression
        if initial is not None and not isinstance(initial, ast.QuantumMeasurement):
            raise self._unsupported(
                node, "initial values of bits", "bit", "Leave it out: bits are 0 at the start"
            )
        first = self._builder.num_clbits
        size = self._size(node.type.size, first, scope, node)
        self._builder.num_clbits += size
        register = _Register("bit", range(first, first + size), node.type.size is None)
        self._declare(node.identifier.name, register, scope, node)
        if initial is not None:
            self._measure(initial, register, scope, emit)

    def _size(self, size: ast.Expression | None, used: int, scope: _Scope, node: Any) -> int:
        if size is None:
            return 1
        count = self._integer(size, scope)
        if count < 1:
            raise self._invalid(node, f"a register cannot have {count} elements", "size")
        if used + count > MAX_REGISTER:
            raise self._exceeded(node, "MAX_REGISTER", f"more than {MAX_REGISTER} qubits or bits")
        return count

    def _declare_constant(self, node: ast.ConstantDeclaration, scope: _Scope, emit: _Emit) -> None:
        if isinstance(node.init_expression, ast.QuantumMeasurement):
            raise self._invalid(node, "a constant cannot be measured", "const")
        value = self._evaluate(node.init_expression, scope)
        if isinstance(value, Angle):
            raise self._invalid(
                node,
                f"constant {node.identifier.name!r} depends on an input",
                "const",
                "Write the expression where it is used",
            )
        converted = self._converted(value, node.type, node, scope)
        self._declare(node.identifier.name, converted, scope, node)

    def _declare_input(self, node: ast.IODeclaration, scope: _Scope, emit: _Emit) -> None:
        if node.io_identifier is not ast.IOKeyword.input:
            raise self._unsupported(
                node, "'output' declarations", "output", "Leave out 'output': every bit is returned"
            )
        name = node.identifier.name
        kind: Any = node.type
        dimensions: Sequence[ast.Expression] = ()
        if isinstance(kind, ast.ArrayType):
            kind, dimensions = kind.base_type, kind.dimensions
        if not isinstance(kind, ast.FloatType | ast.AngleType) or len(dimensions) > 1:
            shown = _TYPES.get(type(kind), type(kind).__name__)
            raise self._unsupported(
                node,
                f"inputs of type {shown!r}{' in several dimensions' if dimensions else ''}",
                "input",
                "Use float, angle or a one-dimensional array of these",
            )
        if not dimensions:
            self._declare(name, self._builder.parameter(name), scope, node)
            return
        size = self._size(dimensions[0], 0, scope, node)
        self._spend(size, node)
        elements = [self._builder.parameter(f"{name}[{i}]") for i in range(size)]
        self._declare(name, _Parameters(elements), scope, node)

    def _declare_alias(self, node: ast.AliasStatement, scope: _Scope, emit: _Emit) -> None:
        if isinstance(node.value, ast.Identifier) and node.value.name.startswith("$"):
            raise self._invalid(node, "a physical qubit cannot have an alias", "let")
        self._declare(node.target.name, self._register(node.value, scope), scope, node)

    def _define_gate(self, node: ast.QuantumGateDefinition, scope: _Scope, _: _Emit) -> None:
        name = node.name.name
        angles = [identifier.name for identifier in node.arguments]
        qubits = [identifier.name for identifier in node.qubits]
        if len({*angles, *qubits}) != len(angles) + len(qubits):
            raise self._invalid(node, f"gate {name!r} uses a name twice in its head", name)

        def expand(values: Sequence[Value], numbers: tuple[int, ...]) -> list[Step]:
            body = _Scope(self._global, is_gate=True)
            body.names.update(zip(angles, values, strict=True))
            for qubit, number in zip(qubits, numbers, strict=True):
                body.names[qubit] = _Register("qubit", (number,), True)
            steps: list[Step] = []

            def emit(step: Step, node: Any) -> None:
                steps.append(step)
                if len(steps) > MAX_OPERATIONS:
                    raise self._too_many(node)

            for statement in node.body:
                self._execute(statement, body, emit)
            return steps

        # Once now, so that an error in the body is found even if the gate is never applied.
        self._checking = True
        try:
            expand([math.nan] * len(angles), tuple(range(len(qubits))))
        finally:
            self._checking = False
        gate = Gate(len(angles), len(qubits), lambda a, q: [] if self._checking else expand(a, q))
        self._declare(name, gate, scope, node)

    def _measure_statement(
        self, node: ast.QuantumMeasurementStatement, scope: _Scope, emit: _Emit
    ) -> None:
        if node.target is None:
            raise self._unsupported(
                node, "measurements into no bit", "measure", "Assign the outcome: c = measure q;"
            )
        self._measure(node.measure, self._operand(node.target, "bit", scope), scope, emit)

    def _measure(
        self, node: ast.QuantumMeasurement, target: _Register, scope: _Scope, emit: _Emit
    ) -> None:
        qubits = self._operand(node.qubit, "qubit", scope).indices
        if len(qubits) != len(target.indices):
            raise self._invalid(
                node,
                f"{len(qubits)} qubits cannot be measured into {len(target.indices)} bits",
                "measure",
                "Give as many bits as qubits",
            )
        self._spend(len(qubits), node)
        for qubit, bit in zip(qubits, target.indices, strict=True):
            emit(Step(Op.MEASURE, (qubit,), clbit=bit), node)

    def _reset(self, node: ast.QuantumReset, scope: _Scope, emit: _Emit) -> None:
        qubits = self._operand(node.qubits, "qubit", scope).indices
        self._spend(len(qubits), node)
        for qubit in qubits:
            emit(Step(Op.RESET, (qubit,)), node)

    def _barrier(self, node: ast.QuantumBarrier, scope: _Scope, emit: _Emit) -> None:
        if node.qubits:
            operands = [self._operand(qubit, "qubit", scope) for qubit in node.qubits]
        else:
            operands = [self._all_qubits(scope)]
        self._spend(sum(len(operand.indices) for operand in operands), node)
        qubits = dict.fromkeys(q for operand in operands for q in operand.indices)
        emit(Step(Op.BARRIER, tuple(qubits)), node)

    def _all_qubits(self, scope: _Scope) -> _Register:
        while scope.in_gate:
            if scope.is_gate:
                own = [v for v in scope.names.values() if isinstance(v, _Register)]
                return _Register("qubit", [q for v in own for q in v.indices], False)
            assert scope.parent is not None
            scope = scope.parent
        return _Register("qubit", range(self._builder.num_qubits), False)

    # Gates.

    def _apply(self, node: ast.QuantumGate | ast.QuantumPhase, scope: _Scope, emit: _Emit) -> None:
        if isinstance(node, ast.QuantumPhase):
            name, gate, arguments = "gphase", plain(Op.GPHASE), [node.argument]
        else:
            name, arguments = node.name.name, node.arguments
            gate = self._gate(node, scope)
            if node.duration is not None:
                raise self._unsupported(
                    node, "durations of gates", name, "Leave the timing to the device"
                )
        if self._version == 2 and node.modifiers:
            raise self._invalid(
                node, "gate modifiers are not part of OpenQASM 2", name, "Write OpenQASM 3"
            )
        if len(arguments) != gate.angles:
            raise self._invalid(
                node, f"{name!r} takes {gate.angles} angles, not {len(arguments)}", name
            )
        values = [self._evaluate(argument, scope) for argument in arguments]
        angles = [value if isinstance(value, Angle) else float(value) for value in values]
        powers, negated = self._modifiers(node.modifiers, scope)
        operands = [self._operand(qubit, "qubit", scope) for qubit in node.qubits]
        if self._version == 2 and name == "gphase":  # PennyLane writes it, with its tape's qubits
            operands = []
        if len(operands) != len(negated) + gate.qubits:
            raise self._invalid(
                node,
                f"{name!r} takes {len(negated) + gate.qubits} qubits here, not {len(operands)}",
                name,
            )
        for qubits in self._broadcast(operands, name, node):
            self._spend(1 + len(qubits), node)
            if len(set(qubits)) != len(qubits):
                raise self._invalid(node, f"{name!r} is applied to the same qubit twice", name)
            controls, targets = qubits[: len(negated)], qubits[len(negated) :]
            steps = gate.steps(angles, targets)
            for exponent in powers:
                steps = self._powered(steps, exponent, node)
            if controls:
                flips = [Step(Op.X, (q,)) for q, n in zip(controls, negated, strict=True) if n]
                steps = [*flips, *controlled(steps, controls), *flips]
            self._spend(len(steps), node)
            for step in steps:
                emit(step, node)

    def _gate(self, node: ast.QuantumGate, scope: _Scope) -> Gate:
        name = node.name.name
        found = self._find(name, scope, node.name)
        if found is None:
            found = self._dialect.undefined(name, self._included)
            self._assumed.add(name)
        if found is None:
            library = self._dialect.library
            remedy = "Define it before its use"
            if name in (self._dialect.include(library) or ()):
                remedy = f'Add the line: include "{library}";'
            raise self._invalid(node, f"gate {name!r} is not defined", name, remedy)
        if not isinstance(found, Gate):
            raise self._invalid(node, f"{name!r} is not a gate", name)
        self._replaceable.discard(name)
        return found

    def _exponent(self, node: Any, scope: _Scope) -> Value:
        """An exponent. The specification's own library has had ``pow(1/2) @ x`` for the root, while
        whole numbers are divided as in C: a power of 0 is what nobody means by that."""
        if isinstance(node, ast.BinaryExpression) and node.op.name == "/":
            lhs, rhs = (self._evaluate(side, scope) for side in (node.lhs, node.rhs))
            if isinstance(lhs, int) and isinstance(rhs, int) and rhs and lhs % rhs:
                raise self._invalid(
                    node,
                    f"{lhs}/{rhs} is {_quotient(lhs, rhs)}, as whole numbers are divided without "
                    f"a remainder: write {lhs}.0/{rhs}",
                    "pow",
                )
        return self._evaluate(node, scope)

    def _modifiers(
        self, modifiers: Sequence[ast.QuantumGateModifier], scope: _Scope
    ) -> tuple[list[Value], list[bool]]:
        """Exponents, innermost first (-1 is the inverse), and whether each control is negated.

        A control commutes with inverse and power, so that all controls can be added last.
        """
        exponents: list[Value] = []
        negated: list[bool] = []
        for modifier in modifiers:
            if modifier.modifier is ast.GateModifierName.inv:
                exponents.append(-1)
            elif modifier.modifier is ast.GateModifierName.pow:
                assert modifier.argument is not None
                exponents.append(self._exponent(modifier.argument, scope))
            else:
                count = 1 if modifier.argument is None else self._integer(modifier.argument, scope)
                if count < 1:
                    raise self._invalid(
                        modifier, f"{count} controls: give a positive number", "ctrl"
                    )
                if len(negated) + count > 255:
                    raise self._exceeded(modifier, "controls", "a gate has more than 255 controls")
                negated += [modifier.modifier is ast.GateModifierName.negctrl] * count
        return exponents[::-1], negated

    def _powered(self, steps: list[Step], exponent: Value, node: Any) -> list[Step]:
        try:
            steps = powered(steps, exponent, lambda count: self._spend(count, node))
        except Unpowered as error:
            raise self._unsupported(node, error.what, "pow", error.remedy) from None
        if len(steps) == 1:  # its angle may have overflowed
            angles = tuple(self._checked(angle, node) for angle in steps[0].angles)
            return [steps[0]._replace(angles=angles)]
        return steps

    def _broadcast(
        self, operands: Sequence[_Register], name: str, node: Any
    ) -> Iterator[tuple[int, ...]]:
        sizes = {len(operand.indices) for operand in operands if not operand.scalar}
        if len(sizes) > 1:
            shown = " and ".join(str(size) for size in sorted(sizes))
            raise self._invalid(node, f"{name!r} is applied to registers of sizes {shown}", name)
        for i in range(sizes.pop() if sizes else 1):
            yield tuple(
                operand.indices[0] if operand.scalar else operand.indices[i] for operand in operands
            )

    # Names, registers and indices.

    def _find(self, name: str, scope: _Scope, node: Any) -> _Named | None:
        inner: _Scope | None = scope
        outside_gate = False
        while inner is not None:
            if name in inner.names:
                found = inner.names[name]
                if outside_gate and isinstance(found, _Register | _Parameters | Angle):
                    raise self._invalid(
                        node,
                        f"{name!r} is not known inside a gate",
                        name,
                        "Give the gate a parameter or qubit for it",
                    )
                return found
            outside_gate = outside_gate or inner.is_gate
            inner = inner.parent
        return None

    def _operand(self, node: Any, kind: str, scope: _Scope) -> _Register:
        register = self._register(node, scope)
        if register.kind != kind:
            raise self._invalid(node, f"a {kind} is needed here, not a {register.kind}", kind)
        return register

    def _register(self, node: Any, scope: _Scope) -> _Register:
        if isinstance(node, ast.Identifier):
            return self._named_register(node, scope)
        if isinstance(node, ast.IndexedIdentifier):
            register = self._named_register(node.name, scope)
            for index in node.indices:
                register = self._selected(register, index, node.name.name, node, scope)
            return register
        if isinstance(node, ast.IndexExpression):
            register = self._register(node.collection, scope)
            return self._selected(register, node.index, "the register", node, scope)
        if isinstance(node, ast.Concatenation):
            left, right = self._register(node.lhs, scope), self._register(node.rhs, scope)
            self._spend(len(left.indices) + len(right.indices), node)
            joined = (*left.indices, *right.indices)
            if left.kind != right.kind or len(set(joined)) != len(joined):
                raise self._invalid(
                    node, "only different registers of one kind can be joined", "++"
                )
            return _Register(left.kind, joined, False)
        raise self._invalid(node, "a register is needed here", "let")

    def _named_register(self, node: ast.Identifier, scope: _Scope) -> _Register:
        name = node.name
        if name.startswith("$"):
            if scope.in_gate:
                raise self._invalid(node, "a gate cannot name a physical qubit", name)
            return _Register("qubit", (int(name[1:]),), True)
        found = self._find(name, scope, node)
        if found is None:
            raise self._invalid(
                node, f"{name!r} is not declared", name, "Declare it before its use"
            )
        if not isinstance(found, _Register):
            raise self._invalid(node, f"{name!r} is neither qubits nor bits", name)
        return found

    def _selected(
        self, register: _Register, index: Any, name: str, node: Any, scope: _Scope
    ) -> _Register:
        size = len(register.indices)
        if register.scalar:
            raise self._invalid(
                node, f"{name!r} is a single {register.kind} and has no index", name
            )
        if isinstance(index, ast.DiscreteSet):
            chosen = [self._position(value, size, name, scope) for value in index.values]
            if len(set(chosen)) != len(chosen):
                raise self._invalid(node, f"an index set of {name!r} names an element twice", name)
            return _Register(register.kind, [register.indices[i] for i in chosen], False)
        if len(index) != 1:
            raise self._invalid(node, f"{name!r} has one dimension, not {len(index)}", name)
        if not isinstance(index[0], ast.RangeDefinition):
            position = self._position(index[0], size, name, scope)
            return _Register(register.kind, (register.indices[position],), True)
        positions = self._positions(index[0], size, name, scope)
        self._spend(len(positions), node)
        return _Register(register.kind, [register.indices[i] for i in positions], False)

    def _position(self, node: Any, size: int, name: str, scope: _Scope) -> int:
        position = self._integer(node, scope)
        if not -size <= position < size:
            raise self._invalid(
                node, f"index {position} is out of range for {name!r} of size {size}", name
            )
        return position % size

    def _positions(self, node: ast.RangeDefinition, size: int, name: str, scope: _Scope) -> range:
        step = 1 if node.step is None else self._integer(node.step, scope)
        if step == 0:
            raise self._invalid(node, "the step of a range cannot be 0", "range")
        first, last = (0, size - 1) if step > 0 else (size - 1, 0)
        start = first if node.start is None else self._integer(node.start, scope)
        end = last if node.end is None else self._integer(node.end, scope)
        start, end = (i + size if i < 0 else i for i in (start, end))
        chosen = range(start, end + (1 if step > 0 else -1), step)
        if not chosen:
            raise self._invalid(node, f"the range selects nothing of {name!r}", name)
        if min(chosen[0], chosen[-1]) < 0 or max(chosen[0], chosen[-1]) >= size:
            raise self._invalid(node, f"the range leaves {name!r} of size {size}", name)
        return chosen

    # Expressions.

    def _checked(self, value: Any, node: Any) -> Value:
        """``value``, without terms that cancelled, if the circuit form can hold it."""
        if isinstance(value, Angle):
            terms = {name: factor for name, factor in value.terms.items() if factor != 0}
            if not all(math.isfinite(x) for x in (value.constant, *terms.values())):
                raise self._invalid(node, "the value is not a finite number", "expression")
            return Angle(value.constant, terms) if terms else value.constant
        if isinstance(value, int):
            if not -(2**63) <= value < 2**64:
                raise self._invalid(node, "the whole number does not fit in 64 bits", "expression")
            return value
        if isinstance(value, complex) or not (math.isfinite(value) or self._checking):
            raise self._invalid(node, "the value is not a finite real number", "expression")
        return float(value)

    def _integer(self, node: Any, scope: _Scope) -> int:
        value = self._evaluate(node, scope)
        if not isinstance(value, int):
            raise self._invalid(node, "a constant whole number is needed here", "expression")
        return value

    def _evaluate(self, node: Any, scope: _Scope) -> Value:
        if isinstance(node, ast.IntegerLiteral | ast.FloatLiteral):
            return self._checked(node.value, node)
        if isinstance(node, ast.Identifier):
            return self._named_value(node, scope)
        if isinstance(node, ast.IndexExpression):
            return self._element(node, scope)
        if isinstance(node, ast.UnaryExpression) and node.op is ast.UnaryOperator["-"]:
            return self._checked(-self._evaluate(node.expression, scope), node)
        if isinstance(node, ast.BinaryExpression):
            lhs, rhs = self._evaluate(node.lhs, scope), self._evaluate(node.rhs, scope)
            return self._checked(self._binary(node, lhs, rhs), node)
        if isinstance(node, ast.FunctionCall):
            return self._checked(self._called(node, scope), node)
        if isinstance(node, ast.Cast):
            value = self._evaluate(node.argument, scope)
            if isinstance(value, float) and isinstance(node.type, ast.IntType | ast.UintType):
                value = math.trunc(value) if math.isfinite(value) else 0
            return self._converted(value, node.type, node, scope)
        construct = type(node).__name__
        raise self._unsupported(
            node, f"expressions of this kind ({construct})", construct, "Use numbers and constants"
        )

    def _named_value(self, node: ast.Identifier, scope: _Scope) -> Value:
        found = self._find(node.name, scope, node)
        if found is None:
            raise self._invalid(
                node, f"{node.name!r} is not declared", node.name, "Declare it before its use"
            )
        if not isinstance(found, int | float | Angle):
            raise self._invalid(node, f"{node.name!r} is not a number", node.name)
        return found

    def _element(self, node: ast.IndexExpression, scope: _Scope) -> Value:
        name = node.collection.name if isinstance(node.collection, ast.Identifier) else ""
        found = self._find(name, scope, node)
        single = isinstance(node.index, list) and len(node.index) == 1
        if not isinstance(found, _Parameters) or not single:
            raise self._invalid(node, "only an element of an input array is a number", "index")
        position = self._position(node.index[0], len(found.elements), name, scope)  # type: ignore[index]
        return found.elements[position]

    def _binary(self, node: ast.BinaryExpression, lhs: Value, rhs: Value) -> Any:
        op = node.op.name
        if isinstance(lhs, Angle) or isinstance(rhs, Angle):
            if op in "+-" or (
                op == "*" and not (isinstance(lhs, Angle) and isinstance(rhs, Angle))
            ):
                return lhs + rhs if op == "+" else lhs - rhs if op == "-" else lhs * rhs  # type: ignore[operator]
            if op == "/" and not isinstance(rhs, Angle) and rhs != 0:
                return lhs / rhs
            raise self._not_affine(node, op)
        try:
            whole = isinstance(lhs, int) and isinstance(rhs, int)
            if whole and op in _INTEGER_OPERATORS and (self._version == 3 or op != "/"):
                return _INTEGER_OPERATORS[op](int(lhs), int(rhs))
            if op in _REAL_OPERATORS:
                return _REAL_OPERATORS[op](float(lhs), float(rhs))
        except (ArithmeticError, ValueError) as error:
            raise self._invalid(node, f"{op!r} fails: {error}", op) from error
        raise self._unsupported(
            node, f"{op!r} operators between these values", op, "Use + - * / % ** on numbers"
        )

    def _not_affine(self, node: Any, construct: str) -> NotSupported:
        return self._unsupported(
            node,
            "angles that are not affine in the inputs",
            construct,
            "Compute the value before the run and give it as an input of its own",
        )

    def _called(self, node: ast.FunctionCall, scope: _Scope) -> Any:
        name = node.name.name
        arguments = [self._evaluate(argument, scope) for argument in node.arguments]
        if name not in _FUNCTIONS and name != "mod":
            raise self._invalid(node, f"function {name!r} is not known", name)
        if len(arguments) != (2 if name == "mod" else 1):
            raise self._invalid(node, f"{name!r} does not take {len(arguments)} arguments", name)
        if any(isinstance(argument, Angle) for argument in arguments):
            raise self._not_affine(node, name)
        numbers = [a for a in arguments if not isinstance(a, Angle)]
        try:
            if name != "mod":
                return _FUNCTIONS[name](float(numbers[0]))
            if all(isinstance(a, int) for a in numbers):
                return _remainder(int(numbers[0]), int(numbers[1]))
            return math.fmod(*numbers)
        except (ArithmeticError, ValueError) as error:
            raise self._invalid(node, f"{name!r} fails: {error}", name) from error

    def _converted(self, value: Value, kind: ast.ClassicalType, node: Any, scope: _Scope) -> Value:
        """``value`` as the type ``kind``, where that changes nothing but the type."""
        if isinstance(kind, ast.FloatType | ast.AngleType):
            return value if isinstance(value, Angle) else float(value)
        if not isinstance(kind, ast.IntType | ast.UintType):
            shown = _TYPES.get(type(kind), type(kind).__name__)
            raise self._unsupported(
                node, f"constants of type {shown!r}", shown, "Use int, uint, float or angle"
            )
        if isinstance(value, Angle) or value != value or value != math.trunc(value):
            raise self._invalid(
                node, "the value is not a constant whole number", _TYPES[type(kind)]
            )
        bits = 64 if kind.size is None else self._integer(kind.size, scope)
        signed = isinstance(kind, ast.IntType)
        if not 1 <= bits <= 64:
            raise self._unsupported(
                node, "whole numbers outside 1 to 64 bits", _TYPES[type(kind)], "Use up to 64 bits"
            )
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
        if not low <= value < high:
            raise self._invalid(
                node,
                f"{value} does not fit in {_TYPES[type(kind)]}[{bits}]",
                _TYPES[type(kind)],
            )
        return int(value)


_Emit: TypeAlias = Callable[[Step, Any], None]


def _quotient(a: int, b: int) -> int:
    """Integer division as in C: towards zero."""
    magnitude = abs(a) // abs(b)
    return magnitude if (a < 0) == (b < 0) else -magnitude


def _remainder(a: int, b: int) -> int:
    return a - b * _quotient(a, b)


def _integer_power(a: int, b: int) -> int | float:
    if b < 0:
        return float(a) ** b
    if abs(a) > 1 and b > 64:
        raise OverflowError("the power does not fit in 64 bits")
    return int(a**b)


def _shift(a: int, b: int) -> int:
    """``a`` shifted left by ``b`` bits, right for negative ``b``."""
    if a < 0 or abs(b) > 64:
        raise ValueError("shift of a negative number, or by more than 64 bits")
    return a << b if b >= 0 else a >> -b


_INTEGER_OPERATORS: dict[str, Callable[[int, int], int | float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _quotient,
    "%": _remainder,
    "**": _integer_power,
    "<<": _shift,
    ">>": lambda a, b: _shift(a, -b),
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
}

_REAL_OPERATORS: dict[str, Callable[[float, float], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "%": math.fmod,
    "**": lambda a, b: a**b,
}
