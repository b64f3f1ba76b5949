"""Messages as dataclasses: what is read, what is written, and how it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import pytest

from openqse.errors import ProtocolError
from openqse.wire.bounds import Many, Raw, Real, Text, Whole
from openqse.wire.messages import Kind
from openqse.wire.schema import Message


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Part:
    size: Annotated[int, Whole(1, 9)]


@dataclass(frozen=True, slots=True)
class Sample(Message):
    kind: ClassVar = Kind.PROBE
    number: Annotated[int, Whole(0, 9)]
    real: Annotated[float, Real(0.0, 1.0)] = 0.5
    text: Annotated[str, Text(3)] = ""
    raw: Annotated[bytes, Raw(2, 2)] = b"ab"
    flag: bool = False
    colour: Colour = Colour.RED
    maybe: int | None = None
    parts: Annotated[tuple[Part, ...], Many(2)] = ()
    names: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    plain: Mapping[str, Any] = field(default_factory=dict)


def test_a_message_reads_what_it_writes() -> None:
    sample = Sample(
        3, 1.0, "abc", b"xy", True, Colour.RED, 7, (Part(1),), {"a": (1, 2)}, {"z": [1]}
    )
    body = sample.body()
    assert body == {
        "number": 3,
        "real": 1.0,
        "text": "abc",
        "raw": b"xy",
        "flag": True,
        "maybe": 7,
        "parts": [{"size": 1}],
        "names": {"a": [1, 2]},
        "plain": {"z": [1]},
    }
    assert Sample.read(body) == sample
    assert Sample.of(sample.frames(b"task")) == sample


def test_a_field_with_its_default_is_left_out() -> None:
    assert Sample(1).body() == {"number": 1}
    assert Sample.read({"number": 1}) == Sample(1)


def test_fields_of_a_later_release_are_ignored() -> None:
    assert Sample.read({"number": 1, "colour_of": 2, "parts": [{"size": 3, "new": 4}]}) == Sample(
        1, parts=(Part(3),)
    )


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "number"),
        ({"number": True}, "number"),
        ({"number": 10}, "number"),
        ({"number": 1.0}, "number"),
        ({"number": 1, "real": float("nan")}, "real"),
        ({"number": 1, "real": 2}, "real"),
        ({"number": 1, "real": "0"}, "real"),
        ({"number": 1, "text": "abcd"}, "text"),
        ({"number": 1, "text": b"a"}, "text"),
        ({"number": 1, "raw": b"a"}, "raw"),
        ({"number": 1, "flag": 1}, "flag"),
        ({"number": 1, "colour": "blue"}, "colour"),
        ({"number": 1, "colour": ["red"]}, "colour"),
        ({"number": 1, "maybe": "x"}, "maybe"),
        ({"number": 1, "parts": {}}, "parts"),
        ({"number": 1, "parts": [{"size": 1}, {}]}, "parts[1].size"),
        ({"number": 1, "parts": [{"size": 1}] * 3}, "parts"),
        ({"number": 1, "names": []}, "names"),
        ({"number": 1, "names": {b"a": []}}, "names[b'a']"),
        ({"number": 1, "names": {"a": [1, "2"]}}, "names['a'][1]"),
        ({"number": 1, "plain": 3}, "plain"),
    ],
)
def test_what_is_missing_or_ill_typed_is_named(body: dict[str, Any], where: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        Sample.read(body)
    assert caught.value.details == {"kind": "probe", "field": where}
    assert "'probe'" in str(caught.value)
    assert repr(where)[1:-1] in str(caught.value) or where in str(caught.value)


def test_an_absurd_value_makes_no_absurd_error() -> None:
    with pytest.raises(ProtocolError) as caught:
        Sample.read({"number": "x" * 10_000})
    assert len(str(caught.value)) < 400
