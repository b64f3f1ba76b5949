"""Random OpenQASM 3 programs with control flow, and a plain interpreter of them.

A program is a list of tuples. ``text`` writes it down; ``results`` runs it as it stands, statement
by statement, once for each sequence of outcomes: nothing is known beforehand, nothing is unrolled.
The qubits are a coin (every measurement of it is fair) and three that are flipped and read.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

WIDTH = 16  # bits of ``output_value``
HEAD = (
    'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit coin;\nqubit[3] q;\n'
    f"output uint[{WIDTH}] output_value;\noutput bit[3] c;\noutput bit[3] out;\n"
    "int[6] a = 3;\nuint[4] b = 5;\nbool f = false;\nint n = 0;\n"
    "array[int[8], 4] tab = {1, -2, 3, 4};\nangle[4] g = 0;\n"
    "def toss(qubit x) -> bit { reset x; h x; return measure x; }\n"
    "def pick(bit m, int[8] u, mutable array[int[8], 4] w) -> int[8] {\n"
    "  if (m) { w[1] = u; return u + 1; }\n"
    "  for int k in [0:3] { if (w[k] > u) { return w[k]; } }\n"
    "  w[0] += 1;\n  return u;\n}\n"
)
TAIL = "out = measure q;\noutput_value = n + a + b;\n"
VARIABLES = {"a": ("int", 6), "b": ("uint", 4), "n": ("int", 64)}


def wrap(value: int, kind: tuple[str, int]) -> int:
    name, width = kind
    value &= (1 << width) - 1
    return value - (1 << width) if name == "int" and value >> (width - 1) else value


def meet(x: tuple[str, int], y: tuple[str, int]) -> tuple[str, int]:
    width = max(x[1], y[1])
    if x[0] == y[0]:
        return x[0], width
    unsigned = x if x[0] == "uint" else y
    return ("uint" if unsigned[1] >= width else "int"), width


class Maker:
    """Makes programs; expressions are ``(operator, …)``."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.loops = 0

    def number(self, depth: int) -> tuple[Any, ...]:
        choice = self.random.randrange(12 if depth else 6)
        if choice < 2:
            return ("literal", self.random.randrange(-3, 9))
        if choice < 4:
            return ("variable", self.random.choice(list(VARIABLES)))
        if choice == 4:
            return ("bits",)
        if choice == 5:
            return ("element", ("&", self.number(0), ("literal", 3)))
        if choice < 10:
            op = self.random.choice(["+", "-", "*", "&", "|", "^"])
            return (op, self.number(depth - 1), self.number(depth - 1))
        if choice == 10:
            return ("negated", self.number(depth - 1))
        kind = (self.random.choice(["int", "uint"]), self.random.choice([3, 5, 8]))
        return ("cast", kind, self.number(depth - 1))

    def condition(self, depth: int) -> tuple[Any, ...]:
        choice = self.random.randrange(8 if depth else 4)
        if choice == 0:
            return ("bit", self.random.randrange(3))
        if choice == 1:
            return ("flag",)
        if choice < 6:
            op = self.random.choice(["==", "!=", "<", "<=", ">", ">="])
            return ("compare", op, self.number(depth), self.number(depth))
        if choice == 6:
            return ("not", self.condition(depth - 1))
        op = self.random.choice(["&&", "||"])
        return ("logic", op, self.condition(depth - 1), self.condition(depth - 1))

    def block(self, depth: int, size: int) -> list[tuple[Any, ...]]:
        return [self.statement(depth) for _ in range(self.random.randint(1, size))]

    def statement(self, depth: int) -> tuple[Any, ...]:
        choice = self.random.randrange(18 if depth else 10)
        if choice < 2:
            return ("toss", self.random.randrange(3), self.random.random() < 0.5)
        if choice < 5:
            name = self.random.choice(list(VARIABLES))
            op = self.random.choice(["", "", "+", "-", "^"])
            return ("assign", name, op, self.number(2))
        if choice == 5:
            return ("flag", self.condition(1))
        if choice == 6:
            return ("store", ("&", self.number(0), ("literal", 3)), self.number(1))
        if choice == 7:
            return ("flip", self.random.randrange(3))
        if choice == 8:
            return ("call", self.condition(0), self.number(1))
        if choice == 9:
            if self.loops and self.random.random() < 0.7:
                return (self.random.choice(["break", "continue"]),)
            return ("turn", self.random.randrange(4), self.condition(0))
        if choice < 13:
            other = self.block(depth - 1, 2) if self.random.random() < 0.5 else []
            return ("if", self.condition(1), self.block(depth - 1, 3), other)
        if choice == 13:
            cases = [([k], self.block(depth - 1, 2)) for k in self.random.sample(range(4), 2)]
            return ("switch", ("&", self.number(1), ("literal", 3)), cases, self.block(0, 1))
        self.loops += 1
        body = self.block(depth - 1, 3)
        self.loops -= 1
        if choice == 14:
            return ("for", range(self.random.randrange(3), self.random.randrange(1, 4)), body)
        if choice == 15:
            return ("upto", self.number(0), body)
        if choice == 16:
            return ("each", body)
        return ("while", self.random.randrange(1, 4), self.condition(1), body)


# --- the program's text --------------------------------------------------------------------------


def shown(node: tuple[Any, ...]) -> str:
    kind = node[0]
    if kind == "literal":
        return str(node[1]) if node[1] >= 0 else f"({node[1]})"
    if kind == "variable":
        return str(node[1])
    if kind == "bits":
        return "uint[3](c)"
    if kind == "element":
        return f"tab[{shown(node[1])}]"
    if kind == "negated":
        return f"(-{shown(node[1])})"
    if kind == "cast":
        return f"{node[1][0]}[{node[1][1]}]({shown(node[2])})"
    if kind == "bit":
        return f"c[{node[1]}]"
    if kind == "flag":
        return "f"
    if kind == "not":
        return f"!({shown(node[1])})"
    if kind in ("compare", "logic"):
        return f"({shown(node[2])} {node[1]} {shown(node[3])})"
    return f"({shown(node[1])} {kind} {shown(node[2])})"


def block_text(body: list[tuple[Any, ...]], depth: int) -> str:
    return "{ " + " ".join(statement_text(node, depth) for node in body) + " }"


def statement_text(node: tuple[Any, ...], depth: int) -> str:
    kind = node[0]
    if kind == "toss":
        if node[2]:
            return f"c[{node[1]}] = toss(coin);"
        return f"reset coin; h coin; c[{node[1]}] = measure coin;"
    if kind == "assign":
        return f"{node[1]} {node[2]}= {shown(node[3])};"
    if kind == "flag":
        return f"f = {shown(node[1])};"
    if kind == "store":
        return f"tab[{shown(node[1])}] = {shown(node[2])};"
    if kind == "flip":
        return f"x q[{node[1]}];"
    if kind == "call":
        return f"n += pick({shown(node[1])}, {shown(node[2])}, tab);"
    if kind == "turn":
        return f"g[{node[1]}] = {shown(node[2])}; g += g; n ^= uint[4](bit[4](g));"
    if kind in ("break", "continue"):
        return f"{kind};"
    if kind == "if":
        other = f" else {block_text(node[3], depth)}" if node[3] else ""
        return f"if ({shown(node[1])}) {block_text(node[2], depth)}{other}"
    if kind == "switch":
        cases = " ".join(f"case {k[0]} {block_text(body, depth)}" for k, body in node[2])
        return f"switch ({shown(node[1])}) {{ {cases} default {block_text(node[3], depth)} }}"
    inner = block_text(node[-1], depth + 1)[1:]
    if kind == "for":
        values = node[1]
        return f"for int i{depth} in [{values.start}:{values.stop - 1}] {{ n += i{depth};{inner}"
    if kind == "upto":
        return f"for int i{depth} in [1:{shown(node[1])} & 3] {{ n += i{depth};{inner}"
    if kind == "each":
        return f"for bit i{depth} in c {{ n += int(i{depth});{inner}"
    return (
        f"{{ int w{depth} = 0; while (w{depth} < {node[1]} && {shown(node[2])}) "
        f"{{ w{depth} += 1;{inner} }}"
    )


def text(body: list[tuple[Any, ...]]) -> str:
    lines = "\n".join(statement_text(node, 0) for node in body)
    return f"{HEAD}{lines}\n{TAIL}"


# --- the interpreter -----------------------------------------------------------------------------


class Break(Exception):
    pass


class Continue(Exception):
    pass


class Run:
    """One run, for given outcomes; ``asked`` is how many of them it wanted."""

    def __init__(self, outcomes: list[int]) -> None:
        self.outcomes = outcomes
        self.asked = 0
        self.values = {"a": 3, "b": 5, "n": 0}
        self.flag = 0
        self.bits = [0, 0, 0]
        self.qubits = [0, 0, 0]
        self.table = [1, -2, 3, 4]
        self.turn = 0

    def toss(self) -> int:
        self.asked += 1
        return self.outcomes[self.asked - 1] if self.asked <= len(self.outcomes) else 0

    def number(self, node: tuple[Any, ...]) -> tuple[int, tuple[str, int]]:
        kind = node[0]
        if kind == "given":
            return node[1], node[2]
        if kind == "literal":
            return node[1], ("int", 64)
        if kind == "variable":
            return self.values[node[1]], VARIABLES[node[1]]
        if kind == "bits":
            return self.bits[0] + 2 * self.bits[1] + 4 * self.bits[2], ("uint", 3)
        if kind == "element":
            return self.table[self.number(node[1])[0]], ("int", 8)
        if kind == "negated":
            value, of = self.number(node[1])
            return wrap(-value, of), of
        if kind == "cast":
            return wrap(self.number(node[2])[0], node[1]), node[1]
        (x, s), (y, t) = self.number(node[1]), self.number(node[2])
        of = meet(s, t)
        x, y = wrap(x, of), wrap(y, of)
        value = {"+": x + y, "-": x - y, "*": x * y, "&": x & y, "|": x | y, "^": x ^ y}[kind]
        return wrap(value, of), of

    def condition(self, node: tuple[Any, ...]) -> bool:
        kind = node[0]
        if kind == "bit":
            return bool(self.bits[node[1]])
        if kind == "flag":
            return bool(self.flag)
        if kind == "not":
            return not self.condition(node[1])
        if kind == "logic":
            if node[1] == "&&":
                return self.condition(node[2]) and self.condition(node[3])
            return self.condition(node[2]) or self.condition(node[3])
        (x, s), (y, t) = self.number(node[2]), self.number(node[3])
        x, y = wrap(x, meet(s, t)), wrap(y, meet(s, t))
        return {
            "==": x == y, "!=": x != y, "<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y,
        }[node[1]]  # fmt: skip

    def pick(self, m: bool, u: int) -> int:
        if m:
            self.table[1] = u
            return wrap(u + 1, ("int", 8))
        for k in range(4):
            if self.table[k] > u:
                return self.table[k]
        self.table[0] = wrap(self.table[0] + 1, ("int", 8))
        return u

    def assign(self, name: str, value: int) -> None:
        self.values[name] = wrap(value, VARIABLES[name])

    def block(self, body: list[tuple[Any, ...]]) -> None:
        for node in body:
            self.statement(node)

    def loop(self, values: Any, body: list[tuple[Any, ...]]) -> None:
        for value in values:
            self.assign("n", self.values["n"] + value)
            try:
                self.block(body)
            except Break:
                break
            except Continue:
                continue

    def statement(self, node: tuple[Any, ...]) -> None:
        kind = node[0]
        if kind == "toss":
            self.bits[node[1]] = self.toss()
        elif kind == "assign":
            value, of = self.number(node[3])
            if node[2]:
                value, _ = self.number((node[2], ("variable", node[1]), ("given", value, of)))
            self.assign(node[1], value)
        elif kind == "flag":
            self.flag = int(self.condition(node[1]))
        elif kind == "store":
            value = wrap(self.number(node[2])[0], ("int", 8))
            self.table[self.number(node[1])[0]] = value
        elif kind == "flip":
            self.qubits[node[1]] ^= 1
        elif kind == "call":
            m, u = self.condition(node[1]), wrap(self.number(node[2])[0], ("int", 8))
            self.assign("n", self.values["n"] + self.pick(m, u))
        elif kind == "turn":
            self.turn = self.turn & ~(1 << node[1]) | self.condition(node[2]) << node[1]
            self.turn = 2 * self.turn % 16
            self.assign("n", self.values["n"] ^ self.turn)
        elif kind == "break":
            raise Break
        elif kind == "continue":
            raise Continue
        elif kind == "if":
            self.block(node[2] if self.condition(node[1]) else node[3])
        elif kind == "switch":
            value = self.number(node[1])[0]
            self.block(next((body for k, body in node[2] if value in k), node[3]))
        elif kind == "for":
            self.loop(node[1], node[2])
        elif kind == "upto":
            self.loop(range(1, (self.number(("&", node[1], ("literal", 3)))[0]) + 1), node[2])
        elif kind == "each":
            self.loop(list(self.bits), node[1])
        elif kind == "while":
            self._while(node)

    def _while(self, node: tuple[Any, ...]) -> None:
        passes = 0
        while passes < node[1] and self.condition(node[2]):
            passes += 1
            try:
                self.block(node[3])
            except Break:
                break
            except Continue:
                continue


def results(body: list[tuple[Any, ...]]) -> dict[str, float]:
    """Probabilities of the results, as ``counts`` has them."""
    found: dict[str, float] = defaultdict(float)
    waiting: list[list[int]] = [[]]
    while waiting:
        outcomes = waiting.pop()
        run = Run(outcomes)
        run.block(body)
        if run.asked > len(outcomes):
            waiting += [[*outcomes, 0], [*outcomes, 1]]
            continue
        total = run.number(("+", ("+", ("variable", "n"), ("variable", "a")), ("variable", "b")))[0]
        value = f"{total & ((1 << WIDTH) - 1):0{WIDTH}b}"
        bits = "".join(map(str, reversed(run.bits)))
        read = "".join(map(str, reversed(run.qubits)))
        found[read + bits + value] += 0.5 ** len(outcomes)
    return dict(found)
