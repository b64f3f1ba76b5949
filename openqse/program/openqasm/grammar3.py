"""The grammar of OpenQASM 3."""

from __future__ import annotations

from collections.abc import Callable

from openqse.program.openqasm.expressions3 import Expressions3
from openqse.program.openqasm.nodes import (
    Alias,
    Assignment,
    Barrier,
    Block,
    Box,
    Calibration,
    Call,
    Cast,
    Concatenation,
    Declaration,
    Delay,
    Expression,
    ExpressionStatement,
    Extern,
    For,
    GateCall,
    GateDefinition,
    If,
    Include,
    Index,
    InputOutput,
    Jump,
    Measure,
    Modifier,
    Name,
    Nop,
    Parameter,
    Pragma,
    QubitDeclaration,
    Reset,
    Return,
    Statement,
    Subroutine,
    Switch,
    TypeNode,
    While,
)

_COMPOUND = frozenset(
    f"{op}=" for op in ("+", "-", "*", "/", "&", "|", "^", "~", "%", "<<", ">>", "**")
)
_CALIBRATIONS = frozenset({"cal", "defcal", "defcalgrammar"})


class Grammar3(Expressions3):
    """Statements."""

    def statement(self) -> Statement | None:
        lexer = self.lexer
        while lexer.kind == "@":  # an annotation: nothing here knows one, and all may be ignored
            lexer.rest_of_line()
            if lexer.kind in ("", "}"):
                raise self.unexpected("a statement after the annotation")
        at, word = lexer.at, lexer.text
        if lexer.kind == "#":
            lexer.advance()
            if lexer.text != "pragma":
                raise self.unexpected("'pragma'")
            return Pragma(at, lexer.rest_of_line())
        if lexer.kind == "{":
            return Block(at, self.block())
        if lexer.kind == ";":
            lexer.advance()
            return None
        if lexer.kind == "name":
            rule = _STATEMENTS.get(word)
            if rule is not None:
                if word == "pragma":
                    return Pragma(at, lexer.rest_of_line())
                lexer.advance()
                return rule(self, at)
            if word == "OPENQASM":
                raise self.unexpected()
            if self.at_type():
                return self._declaration(at)
            if not self.reserved(word):
                return self._named(at, word)
        return self._expression_statement(at)

    def block(self) -> list[Statement]:
        """Statements in braces."""
        self.take("{")
        self.deeper()
        body: list[Statement] = []
        while not self.taken("}"):
            if self.lexer.kind == "":
                raise self.unexpected("'}'")
            statement = self.statement()
            if statement is not None:
                body.append(statement)
        self._nesting -= 1
        return body

    def body(self) -> list[Statement]:
        """A block, or a single statement."""
        if self.lexer.kind == "{":
            return self.block()
        self.deeper()
        statement = self.statement()
        self._nesting -= 1
        return [] if statement is None else [statement]

    # Statements that begin with a name.

    def _named(self, at: int, name: str) -> Statement:
        lexer = self.lexer
        lexer.advance()
        if lexer.kind == "(":
            lexer.advance()
            return self._after_arguments(at, name, self.listed(self.expression, ")"))
        if lexer.kind == "[":
            target = self.indexed(Name(at, name))
            single = isinstance(target, Index) and len(target.indices) == 1
            if single and self.at_operand():
                assert isinstance(target, Index)
                return self._gate_call(at, name, [], [], target.indices[0])
            return self._assignment_or_expression(at, target)
        if self.at_operand():
            return self._gate_call(at, name, [], [], None)
        return self._assignment_or_expression(at, Name(at, name))

    def _after_arguments(self, at: int, name: str, arguments: list[Expression]) -> Statement:
        if self.at_operand() or self.lexer.kind == "[":
            duration = self.designator()
            if duration is None or self.at_operand() or name == "gphase":
                return self._gate_call(at, name, [], arguments, duration)
            target = Index(at, Call(at, name, arguments), [duration])
            return self._assignment_or_expression(at, target)
        if self.taken(";"):  # a gate without qubits, or a function
            return GateCall(at, name, [], arguments, [])
        if self.taken("->"):
            return self._arrow(at, Call(at, name, arguments))
        return self._assignment_or_expression(at, Call(at, name, arguments))

    def _gate_call(
        self,
        at: int,
        name: str,
        modifiers: list[Modifier],
        arguments: list[Expression],
        duration: Expression | None,
    ) -> Statement:
        operands: list[Expression] = []
        while self.at_operand():
            operands.append(self.gate_operand())
            if not self.taken(","):
                break
        if not modifiers and duration is None and self.taken("->"):
            return self._arrow(at, Call(at, name, arguments, operands))
        self.take(";")
        return GateCall(at, name, modifiers, arguments, operands, duration)

    def _modified(self, at: int) -> Statement:
        """From the first modifier on, whose word is taken."""
        modifiers = []
        word, place = self.lexer.previous, at
        while True:
            argument = None
            if self.taken("("):
                argument = self.expression()
                self.take(")")
            elif word == "pow":
                raise self.unexpected("'('")
            self.take("@")
            modifiers.append(Modifier(place, word, argument))
            if self.lexer.text not in _MODIFIERS:
                break
            word, place = self.lexer.text, self.lexer.at
            self.lexer.advance()
        name = self.lexer.text
        if name == "gphase":
            self.lexer.advance()
        else:
            self.identifier()
        arguments = self.listed(self.expression, ")") if self.taken("(") else []
        return self._gate_call(at, name, modifiers, arguments, self.designator())

    def _gphase(self, at: int) -> Statement:
        arguments = self.listed(self.expression, ")") if self.taken("(") else []
        return self._gate_call(at, "gphase", [], arguments, self.designator())

    def _assignment_or_expression(self, at: int, target: Expression) -> Statement:
        kind = self.lexer.kind
        if kind == "=" or kind in _COMPOUND:
            if isinstance(target, Call | Cast):
                raise self.unexpected()
            self.lexer.advance()
            value = self.value()
            self.take(";")
            return Assignment(at, target, kind[:-1], value)
        value = self.continued(target)
        self.take(";")
        return ExpressionStatement(at, value)

    def _expression_statement(self, at: int) -> Statement:
        value = self.expression()
        self.take(";")
        return ExpressionStatement(at, value)

    def _arrow(self, at: int, value: Expression) -> Statement:
        target = self.indexed(self.name())
        self.take(";")
        return Assignment(at, target, "", value)

    # Declarations; the keyword is taken.

    def _declaration(self, at: int) -> Statement:
        kind = self.type()
        if self.taken("("):  # a cast, in a statement without effect
            argument = self.expression()
            self.take(")")
            return self._assignment_or_expression(at, Cast(at, kind, argument))
        name = self.identifier()
        value = self.value() if self.taken("=") else None
        self.take(";")
        return Declaration(at, kind, name, value)

    def _const(self, at: int) -> Statement:
        kind = self.type(arrays=False)
        name = self.identifier()
        self.take("=")
        value = self.value()
        self.take(";")
        return Declaration(at, kind, name, value, constant=True)

    def _qubit(self, at: int) -> Statement:
        size = self.designator()
        name = self.identifier()
        self.take(";")
        return QubitDeclaration(at, name, size)

    def _old_register(self, at: int) -> tuple[str, Expression | None]:
        name = self.identifier()
        size = self.designator()
        self.take(";")
        return name, size

    def _qreg(self, at: int) -> Statement:
        return QubitDeclaration(at, *self._old_register(at))

    def _creg(self, at: int) -> Statement:
        name, size = self._old_register(at)
        return Declaration(at, TypeNode(at, "bit", size), name, None)

    def _input(self, at: int) -> Statement:
        kind = self.type()
        name = self.identifier()
        self.take(";")
        return InputOutput(at, False, kind, name)

    def _output(self, at: int) -> Statement:
        kind = self.type()
        name = self.identifier()
        self.take(";")
        return InputOutput(at, True, kind, name)

    def _let(self, at: int) -> Statement:
        name = self.identifier()
        self.take("=")
        value: Expression
        if self.lexer.kind == "{":  # Qiskit lists single qubits
            value = Concatenation(self.lexer.at, self.items().items)
        else:
            value = self.concatenation()
        self.take(";")
        return Alias(at, name, value)

    def _include(self, at: int) -> Statement:
        text = self.lexer.text
        if self.lexer.kind not in ("string", "bits"):
            raise self.unexpected("a file's name in quotes")
        self.lexer.advance()
        self.take(";")
        return Include(at, text[1:-1])

    def _gate(self, at: int) -> Statement:
        name = self.identifier()
        parameters = self.listed(self.identifier, ")") if self.taken("(") else []
        qubits = []
        while self.lexer.kind == "name":
            qubits.append(self.identifier())
            if not self.taken(","):
                break
        return GateDefinition(at, name, parameters, qubits, self.block())

    def _def(self, at: int) -> Statement:
        name = self.identifier()
        self.take("(")
        parameters = self.listed(self._parameter, ")")
        result = self.type(arrays=False) if self.taken("->") else None
        return Subroutine(at, name, parameters, result, self.block())

    def _parameter(self) -> Parameter:
        lexer = self.lexer
        at, word = lexer.at, lexer.text
        if word in ("creg", "qreg"):
            lexer.advance()
            name = self.identifier()
            kind = TypeNode(at, "bit" if word == "creg" else "qubit", self.designator())
            return Parameter(at, kind, name)
        if word == "qubit":
            lexer.advance()
            kind = TypeNode(at, "qubit", self.designator())
        else:
            kind = self.type(references=True)
        return Parameter(at, kind, self.identifier())

    def _extern(self, at: int) -> Statement:
        name = self.identifier()
        while self.lexer.kind not in (";", ""):
            self.lexer.advance()
        self.take(";")
        return Extern(at, name)

    def _calibration(self, at: int) -> Statement:
        lexer = self.lexer
        word = lexer.previous
        while lexer.kind not in ("{", ";", ""):
            lexer.advance()
        if lexer.kind == "{":
            lexer.skip_braces()
        else:
            self.take(";")
        return Calibration(at, word)

    # Operations and control flow; the keyword is taken.

    def _measure(self, at: int) -> Statement:
        value = Measure(at, self.gate_operand())
        if self.taken("->"):
            return self._arrow(at, value)
        self.take(";")
        return ExpressionStatement(at, value)

    def _reset(self, at: int) -> Statement:
        operand = self.gate_operand()
        self.take(";")
        return Reset(at, operand)

    def _barrier(self, at: int) -> Statement:
        return Barrier(at, self.listed(self.gate_operand, ";"))

    def _nop(self, at: int) -> Statement:
        return Nop(at, self.listed(self.gate_operand, ";"))

    def _delay(self, at: int) -> Statement:
        duration = self.designator()
        if duration is None:
            raise self.unexpected("'['")
        return Delay(at, duration, self.listed(self.gate_operand, ";"))

    def _box(self, at: int) -> Statement:
        return Box(at, self.designator(), self.block())

    def _condition(self) -> Expression:
        self.take("(")
        condition = self.expression()
        self.take(")")
        return condition

    def _if(self, at: int) -> Statement:
        branches = []
        otherwise: list[Statement] = []
        while True:
            condition = self._condition()
            branches.append((condition, self.body()))
            if self.lexer.text != "else":
                break
            self.lexer.advance()
            if self.lexer.text != "if":
                otherwise = self.body()
                break
            self.lexer.advance()
        return If(at, branches, otherwise)

    def _for(self, at: int) -> Statement:
        kind = self.type(arrays=False)
        name = self.identifier()
        if self.lexer.text != "in":
            raise self.unexpected("'in'")
        self.lexer.advance()
        values: Expression
        if self.lexer.kind == "[":
            self.lexer.advance()
            values = self.range()
            self.take("]")
        else:
            values = self.items() if self.lexer.kind == "{" else self.concatenation()
        return For(at, kind, name, values, self.body())

    def _while(self, at: int) -> Statement:
        condition = self._condition()
        return While(at, condition, self.body())

    def _switch(self, at: int) -> Statement:
        subject = self._condition()
        self.take("{")
        cases = []
        default: list[Statement] | None = None
        while not self.taken("}"):
            word = self.lexer.text
            if word == "case" and default is None:
                self.lexer.advance()
                values = [self.expression()]
                while self.taken(",") and self.lexer.kind != "{":
                    values.append(self.expression())
                cases.append((values, self.block()))
            elif word == "default" and default is None:
                self.lexer.advance()
                default = self.block()
            else:
                raise self.unexpected("'case', 'default' or '}'")
        return Switch(at, subject, cases, default or [])

    def _jump(self, at: int) -> Statement:
        word = self.lexer.previous
        self.take(";")
        return Jump(at, word)

    def _return(self, at: int) -> Statement:
        value = None if self.lexer.kind == ";" else self.value()
        self.take(";")
        return Return(at, value)


_MODIFIERS = frozenset({"ctrl", "negctrl", "inv", "pow"})
_STATEMENTS: dict[str, Callable[[Grammar3, int], Statement]] = {
    **dict.fromkeys(_MODIFIERS, Grammar3._modified),
    **dict.fromkeys(_CALIBRATIONS, Grammar3._calibration),
    **dict.fromkeys(("break", "continue", "end"), Grammar3._jump),
    "pragma": Grammar3._nop,  # taken line by line
    "gphase": Grammar3._gphase,
    "const": Grammar3._const,
    "qubit": Grammar3._qubit,
    "qreg": Grammar3._qreg,
    "creg": Grammar3._creg,
    "input": Grammar3._input,
    "output": Grammar3._output,
    "let": Grammar3._let,
    "include": Grammar3._include,
    "gate": Grammar3._gate,
    "def": Grammar3._def,
    "extern": Grammar3._extern,
    "measure": Grammar3._measure,
    "reset": Grammar3._reset,
    "barrier": Grammar3._barrier,
    "nop": Grammar3._nop,
    "delay": Grammar3._delay,
    "box": Grammar3._box,
    "if": Grammar3._if,
    "for": Grammar3._for,
    "while": Grammar3._while,
    "switch": Grammar3._switch,
    "return": Grammar3._return,
}
