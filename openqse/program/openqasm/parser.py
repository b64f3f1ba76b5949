"""What the two grammars share: the token in front, lists, numbers and operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from openqse.errors import ProgramError
from openqse.program.openqasm import limits
from openqse.program.openqasm.lexer import Lexer
from openqse.program.openqasm.nodes import Chain, Expression, Name, Number, Power, Statement, Unary
from openqse.program.openqasm.source import Sources

_Item = TypeVar("_Item")


class Parser:
    """A recursive descent over one text, statement by statement.

    A subclass gives a version's statements, its operands of expressions and its operators:
    ``LEVELS`` has the binary ones that group to the left, loosest first, ``POWER`` the tightest,
    which groups to the right, ``UNARY`` those in front of an operand.
    """

    LEVELS: tuple[frozenset[str], ...] = ()
    POWER = ""
    UNARY: frozenset[str] = frozenset()

    def __init__(self, sources: Sources, name: str, text: str) -> None:
        self.sources = sources
        self.lexer = Lexer(sources, name, text)
        self._nesting = 0
        self._waiting: Expression | None = None
        self._rank = {op: rank for rank, ops in enumerate(self.LEVELS) for op in ops}

    def statement(self) -> Statement | None:
        """The next statement; None where it has no effect on any device."""
        raise NotImplementedError

    def operand(self) -> Expression:
        """A number, a name, a call …: what stands between operators."""
        raise NotImplementedError

    # Tokens.

    def take(self, kind: str) -> str:
        """The text of the token in front, which has to be of this kind."""
        lexer = self.lexer
        if lexer.kind != kind:
            shown = "an identifier" if kind == "name" else repr(kind)
            raise self.unexpected(shown)
        text = lexer.text
        lexer.advance()
        return text

    def taken(self, kind: str) -> bool:
        if self.lexer.kind != kind:
            return False
        self.lexer.advance()
        return True

    def identifier(self) -> str:
        return self.take("name")

    def unexpected(self, expected: str = "") -> ProgramError:
        return self.sources.syntax(self.lexer.at, self.lexer.text, expected)

    def listed(self, item: Callable[[], _Item], end: str) -> list[_Item]:
        """Items with commas between them (and behind the last, if it likes), up to ``end``."""
        items: list[_Item] = []
        while self.lexer.kind != end:
            items.append(item())
            if not self.taken(","):
                break
        self.take(end)
        return items

    def deeper(self) -> None:
        """Counts a level of nesting; who calls it takes the level off with ``_nesting -= 1``."""
        self._nesting += 1
        if self._nesting > limits.MAX_NESTING:
            raise self.sources.exceeded(
                self.lexer.at, "nesting", f"more than {limits.MAX_NESTING} levels of nesting"
            )

    # Expressions.

    def expression(self, rank: int = 0) -> Expression:
        """An expression of operators at least as tight as ``LEVELS[rank]``."""
        self.deeper()
        left = self.prefixed()
        ranks = self._rank
        while (found := ranks.get(self.lexer.kind, -1)) >= rank:
            at, rest = self.lexer.at, []
            while ranks.get(self.lexer.kind, -1) == found:
                op, place = self.lexer.kind, self.lexer.at
                self.lexer.advance()
                rest.append((op, place, self.expression(found + 1)))
            left = Chain(at, left, rest)
        self._nesting -= 1
        return left

    def prefixed(self) -> Expression:
        """Operators in front, an operand, and a power, which binds more tightly than they do."""
        lexer = self.lexer
        if lexer.kind in self.UNARY and self._waiting is None:
            self.deeper()
            op, at = lexer.kind, lexer.at
            lexer.advance()
            operand = self.prefixed()
            self._nesting -= 1
            return operand if op == "+" else Unary(at, op, operand)
        base = self.operand()
        if lexer.kind != self.POWER:
            return base
        self.deeper()
        at = lexer.at
        lexer.advance()
        exponent = self.prefixed()
        self._nesting -= 1
        return Power(at, base, exponent)

    def continued(self, operand: Expression) -> Expression:
        """An expression whose first operand is taken."""
        self._waiting = operand
        return self.expression()

    def number(self) -> Number:
        """The number in front."""
        lexer = self.lexer
        at, kind, text = lexer.at, lexer.kind, lexer.text.replace("_", "")
        lexer.advance()
        try:
            if kind == "integer":
                return Number(at, int(text))
            if kind == "based":
                return Number(at, int(text, 0))
            if kind == "imaginary":
                return Number(at, complex(0, float(text.removesuffix("j").removesuffix("im"))))
            return Number(at, float(text))
        except ValueError:  # more digits than Python converts
            message = "the whole number does not fit in 64 bits"
            raise self.sources.invalid(at, message, text) from None

    def name(self) -> Name:
        return Name(self.lexer.at, self.identifier())
