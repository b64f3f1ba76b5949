"""``docs/protocol.md`` against the code: every kind, field, type, limit and error is in it."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from openqse import errors
from openqse.wire import control, leases, limits, reports, tasks
from openqse.wire.bounds import Many, Raw, Real, Text, Whole
from openqse.wire.messages import Header, Kind
from openqse.wire.programs import ProgramEnvelope
from openqse.wire.schema import Message
from openqse.wire.versions import SPOKEN, Versions

DOCUMENT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()

MESSAGES: dict[str, Any] = {
    name: value
    for module in (control, leases, reports, tasks)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Message) and hasattr(value, "kind")
}
PARTS = {
    value.__name__: value
    for value in (
        Versions,
        ProgramEnvelope,
        leases.HeldLease,
        reports.WindowRow,
        reports.LeaseRow,
        reports.UsageRow,
        reports.QueueRow,
        reports.ShareRow,
    )
}


def number(value: float) -> str:
    """A bound as the document writes it."""
    for power in (24, 26, 31, 32, 63, 64):
        for less in (0, 1):
            if value == 2**power - less:
                return f"2^{power}" + (" - 1" if less else "")
        if value == -(2**power):
            return f"-2^{power}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def words(hint: Any) -> str:
    """A field's type as the document writes it."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return bounded(*inner)
    if NoneType in inner:
        return words(next(each for each in inner if each is not NoneType)) + " or nil"
    if origin is tuple and inner[-1] is Ellipsis:
        return f"list of: {words(inner[0])}"
    if origin is tuple:
        return f"[{', '.join(map(words, inner))}]"
    if origin is not None:  # a mapping
        if inner[1] is Any:
            return "map"
        return f"map from {words(inner[0])} to {words(inner[1])}"
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return " or ".join(f"`{word}`" for word in hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return f"map, see {hint.__name__}"
    return {bool: "true or false", float: "number"}[hint]


def bounded(base: Any, bound: Any) -> str:
    if isinstance(bound, Many):
        return words(base).replace("list of", f"list of at most {number(bound.most)}", 1)
    if isinstance(bound, Whole):
        return f"integer, {number(bound.least)} to {number(bound.most)}"
    if isinstance(bound, Real):
        most = "" if bound.most == float("inf") else f" to {number(bound.most)}"
        return f"number, from {number(bound.least)}{most}"
    if isinstance(bound, Text):
        return f"text, {number(bound.least)} to {number(bound.most)}"
    assert isinstance(bound, Raw)
    return f"bytes, {number(bound.least)} to {number(bound.most)}"


def rows(cls: type[Any]) -> list[str]:
    """How each row of a message's table begins."""
    hints = get_type_hints(cls, include_extras=True)
    found = []
    for field in fields(cls):
        optional = field.default is not MISSING or field.default_factory is not MISSING
        name = f"`{field.name}`" + (" (optional)" if optional else "")
        found.append(f"| {name} | {words(hints[field.name])} |")
    return found


def section(title: str) -> str:
    """What stands under a heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", DOCUMENT, re.M | re.S)
    assert found is not None, f"no heading {title!r}"
    return found[1]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_is_in_the_table_of_kinds(kind: Kind) -> None:
    assert f"| `{kind}` | " in section("Kinds of message")


@pytest.mark.parametrize(
    "cls",
    [cls for cls in MESSAGES.values() if fields(cls)],
    ids=lambda cls: cls.__name__,
)
def test_every_field_of_a_message_is_in_its_table(cls: Any) -> None:
    title = f"`{cls.kind}`"
    if issubclass(cls, reports.Report):
        title = f"`report`: {cls.__name__}"
    table = section(title)
    for row in rows(cls):
        assert row in table, row


@pytest.mark.parametrize("cls", PARTS.values(), ids=PARTS.keys())
def test_every_field_of_a_part_is_in_its_table(cls: Any) -> None:
    table = section(cls.__name__)
    for row in rows(cls):
        assert row in table, row


def test_every_field_of_the_header_is_in_its_table() -> None:
    for place, name in enumerate(Header._fields):
        assert f"| {place} | `{name}` |" in section("Header")


@pytest.mark.parametrize(
    "name", [name for name, value in vars(limits).items() if name.isupper() and type(value) is int]
)
def test_every_limit_is_in_the_table_of_limits(name: str) -> None:
    assert f"| `{name}` | {getattr(limits, name)} |" in section("Limits")


def codes(root: type[errors.OpenQSEError]) -> set[str]:
    return {root.code}.union(*map(codes, root.__subclasses__()))


def test_every_error_is_in_the_table_of_errors() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \|", section("Errors"), re.M)
    assert set(listed) == codes(errors.OpenQSEError)
    assert len(listed) == len(set(listed))


def test_the_document_is_of_the_version_that_is_spoken() -> None:
    assert f"version {SPOKEN.newest}" in DOCUMENT.splitlines()[0]


def test_the_document_wraps_its_prose() -> None:
    for line in DOCUMENT.splitlines():
        assert line.startswith("|") or len(line) <= 100, line
