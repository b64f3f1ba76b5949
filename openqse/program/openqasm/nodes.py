"""The syntax tree, the same for both versions. ``at`` is a node's place in ``Sources``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

# --- expressions ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Number:
    at: int
    value: int | float | complex


@dataclass(slots=True)
class Truth:
    at: int
    value: bool


@dataclass(slots=True)
class BitString:
    """Digits, the most significant first."""

    at: int
    digits: str


@dataclass(slots=True)
class Time:
    """``value`` times ``unit``: dt, ns, us, ms or s."""

    at: int
    value: float
    unit: str


@dataclass(slots=True)
class Name:
    at: int
    name: str


@dataclass(slots=True)
class Physical:
    at: int
    number: int


@dataclass(slots=True)
class Unary:
    at: int
    op: str
    operand: Expression


@dataclass(slots=True)
class Chain:
    """Operators of one precedence, from left to right, so that a long sum is not a deep tree."""

    at: int
    first: Expression
    rest: list[tuple[str, int, Expression]]


@dataclass(slots=True)
class Power:
    at: int
    base: Expression
    exponent: Expression


@dataclass(slots=True)
class Call:
    """``operands`` are those of a subroutine that is called as a gate is."""

    at: int
    name: str
    arguments: list[Expression]
    operands: list[Expression] = field(default_factory=list)


@dataclass(slots=True)
class Cast:
    at: int
    type: TypeNode
    argument: Expression


@dataclass(slots=True)
class Range:
    at: int
    start: Expression | None
    step: Expression | None
    stop: Expression | None


@dataclass(slots=True)
class Items:
    """``{a, b}``: an index set, a loop's values or an array's elements."""

    at: int
    items: list[Expression]


@dataclass(slots=True)
class Index:
    at: int
    base: Expression
    indices: list[Expression]


@dataclass(slots=True)
class Concatenation:
    at: int
    parts: list[Expression]


@dataclass(slots=True)
class Measure:
    at: int
    operand: Expression


@dataclass(slots=True)
class DurationOf:
    at: int
    body: list[Statement]


Expression: TypeAlias = (
    Number
    | Truth
    | BitString
    | Time
    | Name
    | Physical
    | Unary
    | Chain
    | Power
    | Call
    | Cast
    | Range
    | Items
    | Index
    | Concatenation
    | Measure
    | DurationOf
)

# --- types ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class TypeNode:
    """A scalar type, or an array of it: ``dimensions`` are sizes, ``rank`` their number alone."""

    at: int
    kind: str
    size: Expression | None = None
    dimensions: list[Expression] | None = None
    rank: Expression | None = None
    mutable: bool = False


# --- statements ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Include:
    at: int
    path: str


@dataclass(slots=True)
class Pragma:
    at: int
    text: str


@dataclass(slots=True)
class QubitDeclaration:
    at: int
    name: str
    size: Expression | None


@dataclass(slots=True)
class Declaration:
    at: int
    type: TypeNode
    name: str
    value: Expression | None
    constant: bool = False


@dataclass(slots=True)
class InputOutput:
    at: int
    output: bool
    type: TypeNode
    name: str


@dataclass(slots=True)
class Alias:
    at: int
    name: str
    value: Expression


@dataclass(slots=True)
class GateDefinition:
    at: int
    name: str
    parameters: list[str]
    qubits: list[str]
    body: list[Statement]


@dataclass(slots=True)
class Opaque:
    at: int
    name: str
    parameters: list[str]
    qubits: list[str]


@dataclass(slots=True)
class Modifier:
    at: int
    kind: str
    argument: Expression | None


@dataclass(slots=True)
class GateCall:
    at: int
    name: str
    modifiers: list[Modifier]
    arguments: list[Expression]
    operands: list[Expression]
    duration: Expression | None = None


@dataclass(slots=True)
class Assignment:
    """``op`` is the operator of a compound assignment, without its ``=``; empty for a plain one."""

    at: int
    target: Expression
    op: str
    value: Expression


@dataclass(slots=True)
class ExpressionStatement:
    at: int
    value: Expression


@dataclass(slots=True)
class Reset:
    at: int
    operand: Expression


@dataclass(slots=True)
class Barrier:
    at: int
    operands: list[Expression]


@dataclass(slots=True)
class Nop:
    at: int
    operands: list[Expression]


@dataclass(slots=True)
class Delay:
    at: int
    duration: Expression
    operands: list[Expression]


@dataclass(slots=True)
class Box:
    at: int
    duration: Expression | None
    body: list[Statement]


@dataclass(slots=True)
class Block:
    at: int
    body: list[Statement]


@dataclass(slots=True)
class If:
    """Conditions with their bodies, in order, and what else there is."""

    at: int
    branches: list[tuple[Expression, list[Statement]]]
    otherwise: list[Statement]


@dataclass(slots=True)
class For:
    """``jumps`` says whether the body has jumps, once somebody has looked."""

    at: int
    type: TypeNode
    name: str
    values: Expression
    body: list[Statement]
    jumps: bool | None = None


@dataclass(slots=True)
class While:
    at: int
    condition: Expression
    body: list[Statement]


@dataclass(slots=True)
class Switch:
    at: int
    subject: Expression
    cases: list[tuple[list[Expression], list[Statement]]]
    default: list[Statement]


@dataclass(slots=True)
class Jump:
    """``break``, ``continue`` or ``end``."""

    at: int
    kind: str


@dataclass(slots=True)
class Return:
    at: int
    value: Expression | None


@dataclass(slots=True)
class Parameter:
    """A subroutine's parameter; ``type.kind`` is ``qubit`` for qubits."""

    at: int
    type: TypeNode
    name: str


@dataclass(slots=True)
class Subroutine:
    at: int
    name: str
    parameters: list[Parameter]
    result: TypeNode | None
    body: list[Statement]


@dataclass(slots=True)
class Extern:
    at: int
    name: str


@dataclass(slots=True)
class Calibration:
    """``cal``, ``defcal`` or ``defcalgrammar``."""

    at: int
    keyword: str


Statement: TypeAlias = (
    Include
    | Pragma
    | QubitDeclaration
    | Declaration
    | InputOutput
    | Alias
    | GateDefinition
    | Opaque
    | GateCall
    | Assignment
    | ExpressionStatement
    | Reset
    | Barrier
    | Nop
    | Delay
    | Box
    | Block
    | If
    | For
    | While
    | Switch
    | Jump
    | Return
    | Subroutine
    | Extern
    | Calibration
)
