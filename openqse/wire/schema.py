"""Bodies of messages as frozen dataclasses, whose types say what is read, bounds included.

A body is a MessagePack map of a message's fields by name. Whoever reads it ignores fields that it
does not know, so that the other side may be of a later release. A field with a default may be left
out, and is left out where it has that value; any other that is missing, or that is not of its type,
is a ``ProtocolError`` that names the message and the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

from openqse.errors import ProtocolError
from openqse.wire.bounds import Many, Real, Text, Unexpected, Whole
from openqse.wire.frames import Frame, decode_body, encode
from openqse.wire.messages import Kind, header
from openqse.wire.versions import SPOKEN

Reader = Callable[[Any], Any]


# --- readers -------------------------------------------------------------------------------------


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise Unexpected("true or false", value)
    return value


def _anything(value: Any) -> Any:
    return value


_SIMPLE: Mapping[Any, Reader] = {
    Any: _anything,
    bool: _flag,
    int: Whole().read,
    float: Real(-math.inf).read,
    str: Text().read,
}


def _reader(hint: Any, most: int | None = None) -> Reader:
    """What reads a value of a type; ``most`` bounds the entries of a list or a map."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        base, bound = inner
        return _reader(base, bound.most) if isinstance(bound, Many) else _bounded(bound)
    if origin in (Union, UnionType):
        (kind,) = (each for each in inner if each is not NoneType)
        return _optional(_reader(kind))
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return _list(_reader(inner[0]), most)
        return _sequence([_reader(each) for each in inner])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _map(_reader(inner[0]), _reader(inner[1]), most)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _one_of(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _record(hint).read
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    raise TypeError(f"no message can carry a {hint!r}")


def _bounded(bound: Any) -> Reader:
    reader: Reader = bound.read
    return reader


def _optional(read: Reader) -> Reader:
    return lambda value: None if value is None else read(value)


def _one_of(words: type[StrEnum]) -> Reader:
    known = {str(word): word for word in words}

    def read(value: Any) -> StrEnum:
        if type(value) is not str or value not in known:
            raise Unexpected("one of " + ", ".join(map(repr, known)), value)
        return known[value]

    return read


def _list(read: Reader, most: int | None) -> Reader:
    def read_list(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or (most is not None and len(value) > most):
            raise Unexpected("a list" if most is None else f"a list of at most {most}", value)
        made = []
        for place, each in enumerate(value):
            try:
                made.append(read(each))
            except Unexpected as error:
                raise error.within(f"[{place}]") from None
        return tuple(made)

    return read_list


def _sequence(readers: Sequence[Reader]) -> Reader:
    def read_sequence(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(readers):
            raise Unexpected(f"a list of {len(readers)}", value)
        made = []
        for place, (read, each) in enumerate(zip(readers, value, strict=True)):
            try:
                made.append(read(each))
            except Unexpected as error:
                raise error.within(f"[{place}]") from None
        return tuple(made)

    return read_sequence


def _map(read_key: Reader, read: Reader, most: int | None) -> Reader:
    def read_map(value: Any) -> dict[Any, Any]:
        if type(value) is not dict or (most is not None and len(value) > most):
            raise Unexpected("a map" if most is None else f"a map of at most {most}", value)
        made = {}
        for key, each in value.items():
            try:
                made[read_key(key)] = read(each)
            except Unexpected as error:
                raise error.within(f"[{key!r}]") from None
        return made

    return read_map


class Record:
    """Reads and writes the frozen dataclass ``made`` as a map of its fields."""

    def __init__(self, made: type[Any]) -> None:
        self._made = made
        hints = get_type_hints(made, include_extras=True)
        self._fields: list[tuple[str, Reader, Any]] = [
            (field.name, _reader(hints[field.name]), _default(field)) for field in fields(made)
        ]

    def read(self, body: Any) -> Any:
        """Raises Unexpected, which says where, unless a map can be read."""
        if not isinstance(body, Mapping):
            raise Unexpected("a map", body)
        values = {}
        for name, read, default in self._fields:
            value = body.get(name, MISSING)
            if value is MISSING:
                if default is MISSING:
                    raise Unexpected("a value", "nothing", f".{name}")
                continue
            try:
                values[name] = read(value)
            except Unexpected as error:
                raise error.within(f".{name}") from None
        return self._made(**values)

    def write(self, record: Any) -> dict[str, Any]:
        """The fields that have not their defaults, as plain values."""
        return {
            name: _plain(value)
            for name, _, default in self._fields
            if (value := getattr(record, name)) != default or default is MISSING
        }


_records: dict[type[Any], Record] = {}


def _record(made: type[Any]) -> Record:
    record = _records.get(made)
    if record is None:
        record = _records[made] = Record(made)
    return record


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _record(type(value)).write(value)
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return str(value) if isinstance(value, StrEnum) else value


class Message:
    """Base of the messages: frozen dataclasses whose fields are those of the body.

    Attributes:
        kind: the kind of the header.
    """

    __slots__ = ()
    kind: ClassVar[Kind]

    def body(self) -> dict[str, Any]:
        """The body as plain values."""
        return _record(type(self)).write(self)

    def frames(
        self,
        task: bytes = b"",
        *,
        lease: str = "",
        generation: int = 0,
        time_left: float = 0.0,
        version: int = SPOKEN.newest,
    ) -> list[Frame]:
        """The whole message; arguments as in ``Header``."""
        head = header(
            self.kind,
            task,
            lease=lease,
            generation=generation,
            time_left=time_left,
            version=version,
        )
        return encode(head, self.body() or None)

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        """The message with this body.

        Raises:
            ProtocolError: a field is missing or is not what it should be; ``details`` has the
                message's ``kind`` and the ``field``.
        """
        try:
            made: Self = _record(cls).read(body)
            return made
        except Unexpected as error:
            field = error.path.removeprefix(".")
            raise ProtocolError(
                f"a message {cls.kind.value!r}, field {field!r}: {error}",
                remedy="Both sides must follow the same protocol (docs/protocol.md)",
                kind=cls.kind.value,
                field=field,
            ) from None

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> Self:
        """The message of these frames, whose header was read.

        Raises:
            ProtocolError: as ``read``, or the body is not a MessagePack map.
        """
        return cls.read(decode_body(frames))
