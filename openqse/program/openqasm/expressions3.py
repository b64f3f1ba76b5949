"""The grammar of OpenQASM 3: expressions and types."""

from __future__ import annotations

from openqse.program.openqasm.nodes import (
    BitString,
    Call,
    Cast,
    Concatenation,
    DurationOf,
    Expression,
    Index,
    Items,
    Measure,
    Name,
    Physical,
    Range,
    Statement,
    Time,
    Truth,
    TypeNode,
)
from openqse.program.openqasm.parser import Parser

SCALARS = frozenset(
    {"bit", "int", "uint", "float", "angle", "bool", "duration", "stretch", "complex"}
)
_REFERENCES = frozenset({"readonly", "mutable"})
_UNITS = {"dt": "dt", "ns": "ns", "us": "us", "µs": "us", "μs": "us", "ms": "ms", "s": "s"}

#: Words that name nothing else in OpenQASM 3.
RESERVED = (
    SCALARS
    | _REFERENCES
    | {
        *("OPENQASM", "include", "defcalgrammar", "def", "cal", "defcal", "gate", "extern", "box"),
        *("let", "break", "continue", "if", "else", "end", "return", "for", "while", "in"),
        *("switch", "case", "default", "nop", "pragma", "input", "output", "const", "qreg"),
        *("qubit", "creg", "array", "void", "gphase", "inv", "pow", "ctrl", "negctrl"),
        *("durationof", "delay", "reset", "measure", "barrier", "true", "false"),
    }
)


class Expressions3(Parser):
    LEVELS = (
        frozenset({"||"}),
        frozenset({"&&"}),
        frozenset({"|"}),
        frozenset({"^"}),
        frozenset({"&"}),
        frozenset({"==", "!="}),
        frozenset({"<", "<=", ">", ">="}),
        frozenset({"<<", ">>"}),
        frozenset({"+", "-"}),
        frozenset({"*", "/", "%"}),
    )
    POWER = "**"
    UNARY = frozenset({"~", "!", "-", "+"})

    def block(self) -> list[Statement]:
        raise NotImplementedError

    def reserved(self, word: str) -> bool:
        return word in RESERVED

    def identifier(self) -> str:
        if self.lexer.text in RESERVED:
            raise self.unexpected("an identifier")
        return self.take("name")

    # Types.

    def at_type(self) -> bool:
        text = self.lexer.text
        return self.lexer.kind == "name" and (text in SCALARS or text == "array")

    def designator(self) -> Expression | None:
        """``[size]``, where it stands."""
        if not self.taken("["):
            return None
        size = self.expression()
        self.take("]")
        return size

    def type(self, arrays: bool = True, references: bool = False) -> TypeNode:
        lexer = self.lexer
        at, word = lexer.at, lexer.text
        if lexer.kind == "name" and word in SCALARS:
            lexer.advance()
            if word != "complex":
                return TypeNode(at, word, self.designator())
            if self.taken("["):
                inner = self.type(arrays=False)
                self.take("]")
                return TypeNode(at, word, inner.size)
            return TypeNode(at, word)
        if references and word in _REFERENCES:
            lexer.advance()
            if lexer.text != "array":
                raise self.unexpected("'array'")
            return self._array(at, mutable=word == "mutable", reference=True)
        if arrays and word == "array":
            return self._array(at, mutable=True, reference=False)
        raise self.unexpected("a type")

    def _array(self, at: int, mutable: bool, reference: bool) -> TypeNode:
        self.lexer.advance()
        self.take("[")
        element = self.type(arrays=False)
        self.take(",")
        if reference and self.taken("#"):
            if self.lexer.text != "dim":
                raise self.unexpected("'dim'")
            self.lexer.advance()
            self.take("=")
            rank = self.expression()
            self.take("]")
            return TypeNode(at, element.kind, element.size, rank=rank, mutable=mutable)
        dimensions = self.listed(self.expression, "]")
        if not dimensions:
            raise self.unexpected("a size")
        return TypeNode(at, element.kind, element.size, dimensions, mutable=mutable)

    # Operands.

    def at_operand(self) -> bool:
        """Whether a gate's operand stands in front."""
        kind = self.lexer.kind
        return kind == "physical" or (kind == "name" and self.lexer.text not in RESERVED)

    def gate_operand(self) -> Expression:
        if self.lexer.kind == "physical":
            return self._physical()
        return self.indexed(self.name())

    def _physical(self) -> Physical:
        lexer = self.lexer
        at, digits = lexer.at, lexer.text[1:].lstrip("0") or "0"
        lexer.advance()
        if len(digits) > 9:
            raise self.sources.exceeded(at, "MAX_REGISTER", "a physical qubit of ten digits")
        return Physical(at, int(digits))

    def indexed(self, base: Expression) -> Expression:
        """``base`` with the indices that follow it."""
        while self.lexer.kind == "[":
            at = self.lexer.at
            self.lexer.advance()
            if self.lexer.kind == "{":
                indices: list[Expression] = [self.items()]
                self.take("]")
            else:
                indices = self.listed(self._range_or_index, "]")
                if not indices:
                    raise self.unexpected("an index")
            base = Index(at, base, indices)
        return base

    def _range_or_index(self) -> Expression:
        return self.range(alone=True)

    def range(self, alone: bool = False) -> Expression:
        """``start : step : stop``; a single expression only where it may stand alone."""
        at = self.lexer.at
        ends = ":", "]", ","
        start = None if self.lexer.kind in ends else self.expression()
        if not self.taken(":"):
            if start is None or not alone:
                raise self.unexpected("':'")
            return start
        second = None if self.lexer.kind in ends else self.expression()
        if not self.taken(":"):
            return Range(at, start, None, second)
        return Range(at, start, second, None if self.lexer.kind in ends else self.expression())

    def items(self) -> Items:
        """``{…}`` of expressions, or of further ``{…}``."""
        at = self.lexer.at
        self.take("{")
        self.deeper()
        items = self.listed(self._item, "}")
        self._nesting -= 1
        return Items(at, items)

    def _item(self) -> Expression:
        return self.items() if self.lexer.kind == "{" else self.expression()

    def concatenation(self) -> Expression:
        at, parts = self.lexer.at, [self.expression()]
        while self.taken("++"):
            parts.append(self.expression())
        return parts[0] if len(parts) == 1 else Concatenation(at, parts)

    def value(self) -> Expression:
        """What is assigned or returned."""
        lexer = self.lexer
        at, word = lexer.at, lexer.text
        if lexer.kind == "{":
            return self.items()
        if lexer.kind == "name" and word == "measure":
            lexer.advance()
            return Measure(at, self.gate_operand())
        return self.concatenation()

    def operand(self) -> Expression:
        if self._waiting is not None:
            base, self._waiting = self._waiting, None
        else:
            base = self._primary()
        return self.indexed(base) if self.lexer.kind == "[" else base

    def _primary(self) -> Expression:
        lexer = self.lexer
        at, kind, text = lexer.at, lexer.kind, lexer.text
        if kind in ("integer", "real", "based", "imaginary"):
            return self.number()
        if kind == "name":
            return self._word(at, text)
        if kind == "(":
            lexer.advance()
            inner = self.expression()
            self.take(")")
            return inner
        if kind == "bits":
            lexer.advance()
            return BitString(at, text[1:-1].replace("_", ""))
        if kind == "timing":
            lexer.advance()
            unit = next(u for u in ("dt", "ns", "us", "µs", "μs", "ms", "s") if text.endswith(u))
            number = text[: -len(unit)].strip().replace("_", "")
            return Time(at, float(number), _UNITS[unit])
        if kind == "physical":
            return self._physical()
        raise self.unexpected()

    def _word(self, at: int, word: str) -> Expression:
        lexer = self.lexer
        if word in SCALARS or word == "array":
            kind = self.type()
            self.take("(")
            argument = self.expression()
            self.take(")")
            return Cast(at, kind, argument)
        if word in ("true", "false"):
            lexer.advance()
            return Truth(at, word == "true")
        if word == "durationof":
            lexer.advance()
            self.take("(")
            body = self.block()
            self.take(")")
            return DurationOf(at, body)
        if word in RESERVED and word != "pow":  # a function as well
            raise self.unexpected()
        lexer.advance()
        if not self.taken("("):
            operands = []
            while self.at_operand():  # a subroutine that is called as a gate is
                operands.append(self.gate_operand())
                if not self.taken(","):
                    break
            return Call(at, word, [], operands) if operands else Name(at, word)
        arguments = self.listed(self.expression, ")")
        operands = []
        while self.at_operand():
            operands.append(self.gate_operand())
            if not self.taken(","):
                break
        return Call(at, word, arguments, operands)
