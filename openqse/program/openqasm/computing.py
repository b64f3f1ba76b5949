"""Operations on cells and jumps out of loops as statements of OpenQASM 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openqse.program.circuit import Operation
from openqse.program.gates import Op

_U = "uint[64]"

#: Operations as expressions of their sources; where bits count, as unsigned numbers.
_EXPRESSIONS: dict[Op, str] = {
    Op.MOVE: "{0}",
    Op.ADD: "{0} + {1}",
    Op.SUB: "{0} - {1}",
    Op.MUL: "{0} * {1}",
    Op.DIV: "{0} / {1}",
    Op.UDIV: f"int[64]({_U}({{0}}) / {_U}({{1}}))",
    Op.REM: "{0} % {1}",
    Op.UREM: f"int[64]({_U}({{0}}) % {_U}({{1}}))",
    Op.POW: f"int[64]({_U}({{0}}) ** {_U}({{1}}))",
    Op.AND: f"int[64]({_U}({{0}}) & {_U}({{1}}))",
    Op.OR: f"int[64]({_U}({{0}}) | {_U}({{1}}))",
    Op.XOR: f"int[64]({_U}({{0}}) ^ {_U}({{1}}))",
    Op.NOT: f"int[64](~{_U}({{0}}))",
    Op.EQ: "int[64]({0} == {1})",
    Op.LT: "int[64]({0} < {1})",
    Op.LE: "int[64]({0} <= {1})",
    Op.ULT: f"int[64]({_U}({{0}}) < {_U}({{1}}))",
    Op.ULE: f"int[64]({_U}({{0}}) <= {_U}({{1}}))",
    Op.POPCOUNT: f"int[64](popcount({_U}({{0}})))",
    Op.FMOVE: "{0}",
    Op.FADD: "{0} + {1}",
    Op.FSUB: "{0} - {1}",
    Op.FMUL: "{0} * {1}",
    Op.FDIV: "{0} / {1}",
    Op.FPOW: "{0} ** {1}",
    Op.FMOD: "mod({0}, {1})",
    Op.FEQ: "int[64]({0} == {1})",
    Op.FLT: "int[64]({0} < {1})",
    Op.FLE: "int[64]({0} <= {1})",
    Op.FNEG: "-{0}",
    Op.FSIN: "sin({0})",
    Op.FCOS: "cos({0})",
    Op.FTAN: "tan({0})",
    Op.FASIN: "arcsin({0})",
    Op.FACOS: "arccos({0})",
    Op.FATAN: "arctan({0})",
    Op.FEXP: "exp({0})",
    Op.FLN: "log({0})",
    Op.FSQRT: "sqrt({0})",
    Op.FFLOOR: "floor({0})",
    Op.FCEIL: "ceiling({0})",
    Op.ITOF: "float[64]({0})",
    Op.UTOF: f"float[64]({_U}({{0}}))",
    Op.FTOI: "int[64]({0})",
}

_INSIDE = "{2} >= 0 && {2} < 64"
_BELOW = f"{_U}(1) << {_U}({{2}})"
_HALF = f"{_U}(1) << {_U}({{2}} - 1)"
_EXTENDED = f"int[64]((({_U}({{1}}) + ({_HALF})) & (({_BELOW}) - {_U}(1))) - ({_HALF}))"
#: Operations that are one of two assignments, ``{0}`` the destination. A shift by 64 bits or more,
#: and one by fewer than none, is an error where the reader knows by how many.
_CHOICES: dict[Op, str] = {
    Op.SHL: f"if ({_INSIDE}) {{{{ {{0}} = int[64]({_U}({{1}}) << {_U}({{2}})); }}}} "
    "else {{ {0} = 0; }}",
    Op.SHR: f"if ({_INSIDE}) {{{{ {{0}} = int[64]({_U}({{1}}) >> {_U}({{2}})); }}}} "
    "else {{ {0} = 0; }}",
    Op.SAR: f"if (!({_INSIDE})) {{{{ {{0}} = -int[64]({{1}} < 0); }}}} "
    f"else if ({{1}} < 0) {{{{ {{0}} = int[64](~(~{_U}({{1}}) >> {_U}({{2}}))); }}}} "
    f"else {{{{ {{0}} = int[64]({_U}({{1}}) >> {_U}({{2}})); }}}}",
    Op.ZEXT: f"if ({{2}} > 0 && {{2}} < 64) {{{{ {{0}} = int[64]({_U}({{1}}) & (({_BELOW}) - "
    f"{_U}(1))); }}}} else {{{{ {{0}} = {{1}}; }}}}",
    Op.SEXT: f"if ({{2}} > 0 && {{2}} < 64) {{{{ {{0}} = {_EXTENDED}; }}}} "
    "else {{ {0} = {1}; }}",
}


def statement(op: Op, names: Sequence[str]) -> str:
    """The line that an operation is.

    Args:
        names: variables, the destination first.
    """
    to, *sources = names
    if op in _EXPRESSIONS:
        return f"{to} = {_EXPRESSIONS[op].format(*sources)};"
    return _CHOICES[op].format(to, *sources)


class Jumps:
    """Jumps that leave several loops at once, which OpenQASM 3 does loop by loop.

    Args:
        free: gives a name that is not taken.

    Attributes:
        declarations: of the variables that count the loops still to leave.
    """

    def __init__(self, operations: Sequence[Operation], free: Callable[[str], str]) -> None:
        self._left: dict[int, set[Op]] = {}  # by the END of a loop: jumps that go beyond it
        loops: list[set[Op]] = []
        blocks: list[Op] = []
        used: set[Op] = set()
        for at, operation in enumerate(operations):
            op = operation.op
            if op in (Op.IF, Op.LOOP):
                blocks.append(op)
                if op is Op.LOOP:
                    loops.append(set())
            elif op is Op.END and blocks.pop() is Op.LOOP:
                self._left[at] = loops.pop()
            elif op in (Op.BREAK, Op.CONTINUE) and operation.qubits[0] > 0:
                used.add(op)
                for loop in loops[-operation.qubits[0] :]:
                    loop.add(op)
        self._counts = {op: free(f"{op.name.lower()}_from") for op in sorted(used)}
        self.declarations = [f"int[64] {name} = 0;" for name in self._counts.values()]

    def lines(self, op: Op, levels: int) -> list[str]:
        """The lines of a ``BREAK`` or ``CONTINUE`` out of so many loops beside the innermost."""
        if levels == 0:
            return ["break;" if op is Op.BREAK else "continue;"]
        return [f"{self._counts[op]} = {levels};", "break;"]

    def after(self, at: int) -> list[str]:
        """The lines that follow the end of a block."""
        lines = []
        for op in sorted(self._left.get(at, ())):
            name = self._counts[op]
            again = f"if ({name} == 0) {{ continue; }} " if op is Op.CONTINUE else ""
            lines.append(f"if ({name} > 0) {{ {name} = {name} - 1; {again}break; }}")
        return lines
