"""The grammar of OpenQASM 2, with what exporters add to it.

Added are: an index and comparisons other than ``==`` in ``if`` (pytket, PennyLane), assignments
between classical bits (pytket), ``gphase`` (PennyLane), gates without qubits (Qiskit).
"""

from __future__ import annotations

from collections.abc import Callable

from openqse.program.openqasm.nodes import (
    Assignment,
    Barrier,
    Call,
    Declaration,
    Expression,
    GateCall,
    GateDefinition,
    If,
    Include,
    Index,
    Measure,
    Name,
    Number,
    Opaque,
    Pragma,
    QubitDeclaration,
    Reset,
    Statement,
    TypeNode,
)
from openqse.program.openqasm.parser import Parser

#: Words that name nothing else in OpenQASM 2.
KEYWORDS = frozenset(
    {"OPENQASM", "include", "qreg", "creg", "gate", "opaque", "if", "barrier", "reset", "measure"}
)
_MODIFIERS = frozenset({"ctrl", "negctrl", "inv", "pow"})


class Grammar2(Parser):
    """Numbers in angles are real, so that ``1/2`` is a half; those of conditions are whole."""

    LEVELS = (
        frozenset({"|"}),
        frozenset({"^"}),  # where it is no power
        frozenset({"&"}),
        frozenset({"==", "!=", "<", "<=", ">", ">="}),
        frozenset({"<<", ">>"}),
        frozenset({"+", "-"}),
        frozenset({"*", "/"}),
    )
    POWER = "^"
    UNARY = frozenset({"-", "+", "~"})

    _whole = False

    def statement(self) -> Statement | None:
        lexer = self.lexer
        at, word = lexer.at, lexer.text
        if lexer.kind == "#":
            lexer.advance()
            if lexer.text != "pragma":
                raise self.unexpected("'pragma'")
            return Pragma(at, lexer.rest_of_line())
        if lexer.kind == ";":
            lexer.advance()
            return None
        if lexer.kind != "name" or word == "OPENQASM":
            raise self.unexpected()
        lexer.advance()
        rule = _STATEMENTS.get(word)
        return rule(self, at) if rule is not None else self._call(at, word)

    def identifier(self) -> str:
        if self.lexer.text in KEYWORDS:
            raise self.unexpected("an identifier")
        return self.take("name")

    # Statements; the keyword is taken.

    def _include(self, at: int) -> Include:
        text = self.lexer.text
        if self.lexer.kind not in ("string", "bits"):
            raise self.unexpected("a file's name in quotes")
        self.lexer.advance()
        self.take(";")
        return Include(at, text[1:-1])

    def _declared(self, at: int) -> tuple[str, Expression]:
        name = self.identifier()
        self.take("[")
        size = self._integer()
        self.take("]")
        self.take(";")
        return name, size

    def _qreg(self, at: int) -> QubitDeclaration:
        return QubitDeclaration(at, *self._declared(at))

    def _creg(self, at: int) -> Declaration:
        name, size = self._declared(at)
        return Declaration(at, TypeNode(at, "bit", size), name, None)

    def _integer(self) -> Number:
        if self.lexer.kind != "integer":
            raise self.unexpected("a whole number")
        return self.number()

    def _head(self) -> tuple[str, list[str], list[str]]:
        name = self.identifier()
        parameters = self.listed(self.identifier, ")") if self.taken("(") else []
        qubits = [] if self.lexer.kind in "{;" else [self.identifier()]
        while self.taken(","):
            qubits.append(self.identifier())
        return name, parameters, qubits

    def _gate(self, at: int) -> GateDefinition:
        name, parameters, qubits = self._head()
        self.take("{")
        body: list[Statement] = []
        while not self.taken("}"):
            statement = self.statement()
            if statement is not None:
                body.append(statement)
        return GateDefinition(at, name, parameters, qubits, body)

    def _opaque(self, at: int) -> Opaque:
        head = self._head()
        self.take(";")
        return Opaque(at, *head)

    def _if(self, at: int) -> If:
        self.take("(")
        condition = self._classical()
        self.take(")")
        self.deeper()
        if self.lexer.text == "if":
            raise self.unexpected("an operation on qubits")
        body = self.statement()
        self._nesting -= 1
        return If(at, [(condition, [] if body is None else [body])], [])

    def _barrier(self, at: int) -> Barrier:
        return Barrier(at, self.listed(self._argument, ";"))

    def _reset(self, at: int) -> Reset:
        operand = self._argument()
        self.take(";")
        return Reset(at, operand)

    def _measure(self, at: int) -> Assignment:
        operand = self._argument()
        self.take("->")
        target = self._argument()
        self.take(";")
        return Assignment(at, target, "", Measure(at, operand))

    def _argument(self) -> Expression:
        name = self.name()
        if not self.taken("["):
            return name
        index = self._integer()
        self.take("]")
        return Index(name.at, name, [index])

    def _call(self, at: int, name: str) -> Statement:
        if name in _MODIFIERS and self.lexer.kind == "@":
            raise self._foreign(at, name)
        arguments = self.listed(self.expression, ")") if self.taken("(") else []
        if name in _MODIFIERS and self.lexer.kind == "@":
            raise self._foreign(at, name)
        if not arguments and self.lexer.kind in ("=", "["):
            return self._assignment(at, name)
        operands = self.listed(self._argument, ";")
        return GateCall(at, name, [], arguments, operands)

    def _foreign(self, at: int, name: str) -> Exception:
        return self.sources.invalid(
            at, f"gate modifiers ({name!r}) are not part of OpenQASM 2", name, "Write OpenQASM 3"
        )

    def _assignment(self, at: int, name: str) -> Assignment:
        target: Expression = Name(at, name)
        if self.taken("["):
            index = self._integer()
            self.take("]")
            target = Index(at, target, [index])
        self.take("=")
        value = self._classical()
        self.take(";")
        return Assignment(at, target, "", value)

    # Expressions.

    def _classical(self) -> Expression:
        """An expression of bits and whole numbers, where ``^`` is the exclusive or (pytket)."""
        self._whole, self.POWER = True, ""
        value = self.expression()
        self._whole, self.POWER = False, "^"
        return value

    def operand(self) -> Expression:
        lexer = self.lexer
        if lexer.kind in ("integer", "real", "imaginary"):
            number = self.number()
            if self._whole or isinstance(number.value, complex):
                return number
            return Number(number.at, float(number.value))
        if self.taken("("):
            inner = self.expression()
            self.take(")")
            return inner
        name = self.name()
        if self.taken("("):
            return Call(name.at, name.name, self.listed(self.expression, ")"))
        if self._whole and self.taken("["):
            index = self._integer()
            self.take("]")
            return Index(name.at, name, [index])
        return name


_STATEMENTS: dict[str, Callable[[Grammar2, int], Statement]] = {
    "include": Grammar2._include,
    "qreg": Grammar2._qreg,
    "creg": Grammar2._creg,
    "gate": Grammar2._gate,
    "opaque": Grammar2._opaque,
    "if": Grammar2._if,
    "barrier": Grammar2._barrier,
    "reset": Grammar2._reset,
    "measure": Grammar2._measure,
}
