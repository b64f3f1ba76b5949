"""What a body assigns, and where it depends on what is known only at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass

from openqse.program.openqasm.nodes import (
    Alias,
    Assignment,
    Call,
    Declaration,
    Expression,
    For,
    GateCall,
    If,
    Index,
    Jump,
    Measure,
    Name,
    Return,
    Statement,
    Subroutine,
    Switch,
    While,
)

#: Fields of nodes in which no nodes are, and what is no node.
_PLAIN = frozenset({"at", "name", "op", "kind", "digits", "unit", "keyword", "path"})
_LEAVES = frozenset({int, float, complex, str, bool, type(None)})
_PARTS: dict[type, tuple[str, ...]] = {}


def walk(node: object) -> Iterator[object]:
    """A node and all nodes in it."""
    waiting = [node]
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind is list or kind is tuple:
            waiting.extend(item)  # type: ignore[arg-type]
            continue
        parts = _PARTS.get(kind)
        if parts is None:
            known = fields(kind) if is_dataclass(kind) else ()
            parts = _PARTS[kind] = tuple(f.name for f in known if f.name not in _PLAIN)
        if kind in _LEAVES:
            continue
        yield item
        for part in parts:
            waiting.append(getattr(item, part))


def names(node: object) -> set[str]:
    """Names that stand in expressions of a node."""
    return {item.name for item in walk(node) if isinstance(item, Name)}


def base(node: Expression) -> str:
    """The name that is indexed, assigned or measured into."""
    while isinstance(node, Index):
        node = node.base
    return node.name if isinstance(node, Name) else ""


def assigned(body: object) -> set[str]:
    """Names that a body may assign: targets, what aliases name, what calls get."""
    found: set[str] = set()
    for item in walk(body):
        if isinstance(item, Assignment):
            found.add(base(item.target))
        elif isinstance(item, Alias):
            found |= names(item.value)
        elif isinstance(item, Call | GateCall):
            found |= names([item.arguments, item.operands])
    return found


def jumps(body: object) -> bool:
    """Whether a body has ``break``, ``continue`` or ``return``."""
    return any(
        isinstance(item, Return) or (isinstance(item, Jump) and item.kind != "end")
        for item in walk(body)
    )


def measures(body: object, known: Callable[[str], bool]) -> bool:
    """Whether a body measures, or calls a subroutine that does."""
    return any(
        isinstance(item, Measure) or (isinstance(item, Call | GateCall) and known(item.name))
        for item in walk(body)
    )


class Dependence:
    """Which names, loops and returns of some statements depend on what is not known now.

    Args:
        unknown: whether a name's value is not known now.
        measuring: whether a name is that of a subroutine that measures.

    Attributes:
        loops: ids of the loops that are left or continued where that depends on it.
        conditions: ids of the ``while`` loops whose condition depends on it.
        returns: whether it depends on it where the statements return.
    """

    def __init__(
        self,
        body: Sequence[Statement],
        unknown: Callable[[str], bool],
        measuring: Callable[[str], bool],
    ) -> None:
        self._unknown = unknown
        self._measuring = measuring
        self._tainted: set[str] = set()
        self.loops: set[int] = set()
        self.conditions: set[int] = set()
        self.returns = False
        before = -1
        while before != (before := self._amount()):
            self._body(body, False, None)

    @property
    def nothing(self) -> bool:
        """Whether nothing in the statements depends on it."""
        return self._amount() == 0

    def _amount(self) -> int:
        return len(self._tainted) + len(self.loops) + len(self.conditions) + self.returns

    def depends(self, node: object) -> bool:
        """Whether an expression depends on what is not known now."""
        for item in walk(node):
            if isinstance(item, Measure):
                return True
            if isinstance(item, Name) and (item.name in self._tainted or self._unknown(item.name)):
                return True
            if isinstance(item, Call) and self._measuring(item.name):
                return True
        return False

    def _body(self, body: Sequence[Statement], guarded: bool, loop: object) -> None:
        for node in body:
            self._statement(node, guarded or self.returns, loop)

    def _statement(self, node: Statement, guarded: bool, loop: object) -> None:
        if loop is not None and id(loop) in self.loops:
            guarded = True
        if isinstance(node, Assignment):
            if guarded or self.depends([node.value, node.target if node.op else None]):
                self._tainted.add(base(node.target))
            if isinstance(node.target, Index) and self.depends(node.target.indices):
                self._tainted.add(base(node.target))
        elif isinstance(node, Declaration):
            if node.value is not None and self.depends(node.value):
                self._tainted.add(node.name)
        elif isinstance(node, Alias):
            joined = {node.name, *names(node.value)}
            if joined & self._tainted or self.depends(node.value):
                self._tainted |= joined
        elif isinstance(node, If):
            for condition, inner in node.branches:
                guarded = guarded or self.depends(condition)
                self._body(inner, guarded, loop)
            self._body(node.otherwise, guarded, loop)
        elif isinstance(node, Switch):
            guarded = guarded or self.depends(node.subject)
            for _, inner in node.cases:
                self._body(inner, guarded, loop)
            self._body(node.default, guarded, loop)
        elif isinstance(node, For):
            values = self.depends(node.values)
            if values:
                self._tainted.add(node.name)
            self._body(node.body, guarded or values, node)
        elif isinstance(node, While):
            if self.depends(node.condition):
                self.conditions.add(id(node))
            self._body(node.body, guarded or id(node) in self.conditions, node)
        elif isinstance(node, Jump | Return):
            self._jump(node, guarded, loop)
        elif not isinstance(node, Subroutine):
            self._others(node, guarded, loop)
        self._calls(node, guarded)

    def _jump(self, node: Jump | Return, guarded: bool, loop: object) -> None:
        if not guarded:
            return
        if isinstance(node, Return):
            self.returns = True
        elif node.kind != "end" and loop is not None:
            self.loops.add(id(loop))

    def _others(self, node: Statement, guarded: bool, loop: object) -> None:
        inner = getattr(node, "body", None)
        if isinstance(inner, list):
            self._body(inner, guarded, loop)

    def _calls(self, node: Statement, guarded: bool) -> None:
        """Arrays that a subroutine gets may be changed by it."""
        if isinstance(node, If | For | While | Switch | Subroutine):
            return
        for item in walk(node):
            if isinstance(item, Call | GateCall) and (
                guarded or self._measuring(item.name) or self.depends(item.arguments)
            ):
                self._tainted |= names(item.arguments)
