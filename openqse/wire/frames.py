"""How it is framed: multipart messages of a header, a body and raw buffers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgpack
import zmq

from openqse.errors import LimitExceeded, OpenQSEError, ProtocolError
from openqse.wire.limits import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_MESSAGES,
    MAX_FRAMES,
    MAX_HEADER_BYTES,
    MAX_MESSAGE_BYTES,
)
from openqse.wire.messages import SESSION_KINDS, Header, Kind, Latency, header
from openqse.wire.versions import SPOKEN, Versions

Frame = Any
"""Bytes, a memoryview or a ``zmq.Frame``: whatever has a length and the buffer protocol."""

_KINDS = frozenset(str(kind) for kind in Kind)
_LATENCIES = frozenset(str(latency) for latency in Latency)
_SNDMORE = int(zmq.SNDMORE)
_BUNDLE_HEADER = msgpack.packb(header(Kind.BUNDLE))
#: Bytes from which a frame is passed on rather than copied.
_COPY = 65536
_MAX_TASK_BYTES = 32
_FIELDS = len(Header._fields)
_MAX_NAME_CHARACTERS = 256


def encode(head: Header, body: Any = None, buffers: Sequence[Frame] = ()) -> list[Frame]:
    """The frames of a message.

    Args:
        body: anything MessagePack can write; None for an empty body.
        buffers: bytes-like objects, sent as they are.

    Raises:
        LimitExceeded: the message is larger than the other side would take.
    """
    frames = [msgpack.packb(head), b"" if body is None else msgpack.packb(body), *buffers]
    if buffers:
        check_size(frames)
    return frames


def check_size(frames: Sequence[Frame]) -> None:
    """Raises LimitExceeded if a message has too many frames or bytes."""
    if len(frames) > MAX_FRAMES:
        raise LimitExceeded(
            f"a message of {len(frames)} frames; at most {MAX_FRAMES} are taken", limit="MAX_FRAMES"
        )
    size = sum(map(len, frames))
    if size > MAX_MESSAGE_BYTES:
        raise LimitExceeded(
            f"a message of {size} bytes; at most {MAX_MESSAGE_BYTES} are taken",
            remedy="Send fewer parameter sets or shots in one task",
            limit="MAX_MESSAGE_BYTES",
        )


def send(socket: zmq.Socket[bytes], frames: Sequence[Frame]) -> None:
    """Sends a message; large buffers are not copied.

    As ``Socket.send_multipart``, without what that costs for flags, which is a fifth of a small
    message's whole way out.
    """
    for frame in frames[:-1]:
        socket.send(frame, _SNDMORE, copy=len(frame) < _COPY)
    last = frames[-1]
    socket.send(last, 0, copy=len(last) < _COPY)


def bundled(messages: Iterable[list[Frame]]) -> Iterator[list[Frame]]:
    """Messages to one receiver that are ready at once, small ones put together.

    Passing a message on costs every hop more than reading a task does.
    """
    together: list[list[Frame]] = []
    size = 0
    for frames in messages:
        length = sum(map(len, frames))
        if together and (size + length > MAX_BUNDLE_BYTES or len(together) == MAX_BUNDLE_MESSAGES):
            yield _bundle(together)
            together, size = [], 0
        if length > MAX_BUNDLE_BYTES:
            yield frames
        else:
            together.append(frames)
            size += length
    if together:
        yield _bundle(together)


def _bundle(messages: list[list[Frame]]) -> list[Frame]:
    if len(messages) == 1:
        return messages[0]
    return [_BUNDLE_HEADER, msgpack.packb(messages)]


def _check_version(version: object, kind: str, spoken: Versions) -> None:
    if type(version) is not int or (kind in SESSION_KINDS and version not in spoken):
        raise ProtocolError(
            f"protocol version {version!r}; this side speaks {spoken}",
            remedy="Install the same release of openqse in the program and in the agents",
        )


def decode_header(frames: Sequence[Frame], spoken: Versions = SPOKEN) -> Header:
    """The header of a received message; body and buffers are measured but not read.

    Args:
        spoken: versions that this side takes; of kinds that belong to no session, it takes any.

    Raises:
        ProtocolError: no header, a malformed one, another version, or an unknown kind.
        LimitExceeded: the message is too large.
    """
    if not frames:
        raise ProtocolError("a message without frames")
    check_size(frames)
    first = frames[0]
    if not 0 < len(first) <= MAX_HEADER_BYTES:
        raise ProtocolError(
            f"a header frame of {len(first)} bytes; 1 to {MAX_HEADER_BYTES} are taken"
        )
    try:
        values = msgpack.unpackb(first)
    except Exception as error:
        raise ProtocolError(f"the header is not MessagePack: {error}") from error
    if type(values) is not list or not values:
        raise ProtocolError("the header is not a MessagePack array")
    if len(values) != _FIELDS:
        if len(values) < _FIELDS:
            raise ProtocolError(f"a header of {len(values)} fields; there are {_FIELDS}")
        del values[_FIELDS:]  # what later releases may add
    head = Header._make(values)
    version, kind, task, lease, generation, time_left, latency, trace = head
    if type(kind) is not str or kind not in _KINDS:
        raise ProtocolError(f"unknown kind of message {kind!r}")
    if version != spoken.newest or type(version) is not int:
        _check_version(version, kind, spoken)
    if (
        type(task) is not bytes
        or len(task) > _MAX_TASK_BYTES
        or type(lease) is not str
        or len(lease) > _MAX_NAME_CHARACTERS
        or type(generation) is not int
        or generation < 0
        or type(time_left) not in (float, int)
        or not 0 <= time_left < math.inf
        or type(latency) is not str
        or latency not in _LATENCIES
        or type(trace) is not str
        or len(trace) > _MAX_NAME_CHARACTERS
    ):
        raise ProtocolError("a field of the header has the wrong type or size")
    return head


def decode_body(frames: Sequence[Frame]) -> dict[str, Any]:
    """The body of a message whose header was read.

    Raises:
        ProtocolError: it is not a MessagePack map.
    """
    if len(frames) < 2 or len(frames[1]) == 0:
        return {}
    try:
        body = msgpack.unpackb(frames[1])
    except Exception as error:
        raise ProtocolError(f"the body is not MessagePack: {error}") from error
    if type(body) is not dict:
        raise ProtocolError("the body is not a MessagePack map")
    return body


def unbundle(frames: Sequence[Frame]) -> list[list[bytes]]:
    """The messages of a received bundle; none of them may be a bundle itself.

    Raises:
        ProtocolError: malformed.
    """
    try:
        messages = msgpack.unpackb(frames[1])
    except Exception as error:
        raise ProtocolError(f"the bundle is not MessagePack: {error}") from error
    if type(messages) is not list or len(messages) > MAX_BUNDLE_MESSAGES:
        raise ProtocolError(f"a bundle is a list of up to {MAX_BUNDLE_MESSAGES} messages")
    for message in messages:
        if type(message) is not list or not all(type(frame) is bytes for frame in message):
            raise ProtocolError("a message of the bundle is not a list of frames")
    return messages


def task_of(frames: Sequence[Frame]) -> bytes:
    """The task id of a message that may be malformed, as far as it can be read: whom to answer."""
    try:
        task = msgpack.unpackb(frames[0])[2]
    except Exception:  # whatever is wrong with it was said already
        return b""
    return task if type(task) is bytes and len(task) <= _MAX_TASK_BYTES else b""


def encode_error(task: bytes, error: OpenQSEError) -> list[Frame]:
    """The frames of an ``error`` answer."""
    return encode(header(Kind.ERROR, task), error.to_wire())
