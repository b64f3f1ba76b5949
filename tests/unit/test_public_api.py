"""What ``openqse`` exports is documented, and typed to the end: nothing of it is ``Any``.

``tests/typing`` says what a type checker makes of it.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

import openqse

#: ``Any`` may stand for the shape of an array and for plain values by name.
OPEN = {"NDArray", "Mapping", "dict"}


def sources() -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    """The exported functions, and classes with those that they inherit from."""
    seen: dict[Any, None] = {}
    for name in openqse.__all__:
        item = getattr(openqse, name)
        if inspect.isclass(item):
            seen |= dict.fromkeys(c for c in item.__mro__ if c.__module__.startswith("openqse"))
        elif inspect.isfunction(item):
            seen[item] = None
    for item in seen:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(item))).body
        assert isinstance(tree, ast.ClassDef | ast.FunctionDef)
        yield item.__qualname__, tree


def public(name: str, tree: ast.ClassDef | ast.FunctionDef) -> Iterator[tuple[str, ast.stmt]]:
    """A function, or a class and what of it is public; of overloads each."""
    yield name, tree
    for item in tree.body if isinstance(tree, ast.ClassDef) else []:
        called = getattr(item, "name", None) or getattr(getattr(item, "target", None), "id", None)
        if called and not called.startswith("_"):
            yield f"{name}.{called}", item


def annotations(item: ast.stmt) -> Iterator[ast.expr]:
    if isinstance(item, ast.FunctionDef):
        arguments = item.args
        given = [*arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        yield from (each.annotation for each in given if each and each.annotation)
        if item.returns:
            yield item.returns
    elif isinstance(item, ast.AnnAssign):
        yield item.annotation


def is_open(hint: ast.AST) -> bool:
    """Whether a type has an ``Any`` that it may not have."""
    if isinstance(hint, ast.Subscript) and getattr(hint.value, "id", "") in OPEN:
        return False
    return getattr(hint, "id", "") == "Any" or any(map(is_open, ast.iter_child_nodes(hint)))


def is_overload(item: ast.FunctionDef) -> bool:
    return any(getattr(each, "id", "") == "overload" for each in item.decorator_list)


EXPORTED = [found for name, tree in sources() for found in public(name, tree)]


@pytest.mark.parametrize("item", [pytest.param(item, id=name) for name, item in EXPORTED])
def test_nothing_exported_is_any(item: ast.stmt) -> None:
    assert [ast.unparse(hint) for hint in annotations(item) if is_open(hint)] == []


@pytest.mark.parametrize("item", [pytest.param(item, id=name) for name, item in EXPORTED])
def test_what_is_exported_is_documented(item: ast.stmt) -> None:
    if isinstance(item, ast.FunctionDef) and not is_overload(item):
        assert ast.get_docstring(item)
