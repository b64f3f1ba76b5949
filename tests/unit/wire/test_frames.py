"""How messages are framed: what was written is read back, and nothing else passes."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse import errors
from openqse.errors import LimitExceeded, OpenQSEError, ProtocolError
from openqse.wire import limits
from openqse.wire.frames import (
    bundled,
    check_size,
    decode_body,
    decode_header,
    encode,
    encode_error,
    task_of,
    unbundle,
)
from openqse.wire.messages import Header, Kind, Latency, header

checked = settings(max_examples=60, deadline=None)

task_ids = st.binary(max_size=32)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=256)
headers = st.builds(
    header,
    st.sampled_from(Kind),
    task_ids,
    lease=names,
    generation=st.integers(0, 2**63),
    time_left=st.floats(0, 1e12),
    latency=st.sampled_from(Latency),
    trace=names,
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
bodies = st.dictionaries(st.text(min_size=1), plain, max_size=5)

GOOD: dict[str, Any] = header(Kind.RUN, b"task", lease="lease", generation=3)._asdict()


def raw(**changed: Any) -> list[bytes]:
    """The frames of a good header in which some fields were changed."""
    return [msgpack.packb(list((GOOD | changed).values()))]


@checked
@given(headers, bodies, st.lists(st.binary(max_size=50), max_size=limits.MAX_FRAMES - 2))
def test_what_was_encoded_is_decoded(
    head: Header, body: dict[str, Any], buffers: list[bytes]
) -> None:
    frames = encode(head, body, buffers)
    assert decode_header(frames) == head
    assert decode_body(frames) == body
    assert frames[2:] == buffers
    assert task_of(frames) == head.task


def test_a_message_without_a_body_has_an_empty_one() -> None:
    assert decode_body(encode(header(Kind.PING))) == {}
    assert decode_body(encode(header(Kind.PING))[:1]) == {}


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 0},
        {"version": 2},
        {"version": "1"},
        {"version": None},
        {"kind": "gossip"},
        {"kind": ""},
        {"kind": b"run"},
        {"kind": 7},
        {"kind": ["run"]},
        {"task": "text"},
        {"task": None},
        {"task": b"x" * 33},
        {"lease": b"bytes"},
        {"lease": 5},
        {"lease": "x" * 257},
        {"generation": -1},
        {"generation": 1.0},
        {"generation": True},
        {"generation": "1"},
        {"time_left": -0.5},
        {"time_left": float("nan")},
        {"time_left": float("inf")},
        {"time_left": "1"},
        {"time_left": True},
        {"latency": "leisurely"},
        {"latency": None},
        {"latency": []},
        {"latency": {}},
        {"trace": b"trace"},
        {"trace": "x" * 257},
    ],
    ids=str,
)
def test_a_malformed_field_of_the_header_is_a_protocol_error(changed: dict[str, Any]) -> None:
    decode_header(raw())
    with pytest.raises(ProtocolError):
        decode_header(raw(**changed))


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"\xc1"],
        [raw()[0][:-1]],
        [raw()[0] + b"\0"],
        [msgpack.packb([])],
        [msgpack.packb(GOOD)],
        [msgpack.packb("header")],
        [msgpack.packb(list(GOOD.values())[:-1])],
        [b"\x91" * 2000],
        [b"\xdd\xff\xff\xff\xff"],
        [raw(trace="x" * 200, kind="y" * limits.MAX_HEADER_BYTES)[0]],
    ],
    ids=repr,
)
def test_what_is_no_header_is_a_protocol_error(frames: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        decode_header(frames)


def test_another_version_is_answered_with_both_versions_and_the_remedy() -> None:
    with pytest.raises(ProtocolError, match=r"version 9; this side speaks 1.*same release"):
        decode_header(raw(version=9))


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        b"\x81\xa1",
        msgpack.packb([1]),
        msgpack.packb("x"),
        msgpack.packb({1: 2}),
        b"\x91" * 5000,
    ],
    ids=lambda body: repr(body[:10]),
)
def test_a_body_is_a_map(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_body([*raw(), body])


def test_too_many_frames_name_the_limit() -> None:
    check_size([b""] * limits.MAX_FRAMES)
    for refuse in (check_size, decode_header):
        with pytest.raises(LimitExceeded, match="9 frames") as caught:
            refuse([*raw(), *[b""] * limits.MAX_FRAMES])
        assert caught.value.details["limit"] == "MAX_FRAMES"


def test_too_many_bytes_name_the_limit_to_sender_and_receiver() -> None:
    buffer = bytes(limits.MAX_MESSAGE_BYTES)
    check_size([buffer])
    with pytest.raises(LimitExceeded) as sender:
        encode(header(Kind.RUN), {}, [buffer])
    with pytest.raises(LimitExceeded) as receiver:
        decode_header([*raw(), b"", buffer])
    for caught in (sender, receiver):
        assert caught.value.details["limit"] == "MAX_MESSAGE_BYTES"
        assert caught.value.remedy


@checked
@given(st.lists(st.binary(max_size=64), max_size=10))
def test_random_frames_raise_typed_errors_only(frames: list[bytes]) -> None:
    for read in (decode_header, decode_body):
        with contextlib.suppress(OpenQSEError):
            read(frames)
    assert type(task_of(frames)) is bytes


@checked
@given(headers, bodies, st.data())
def test_mutated_frames_raise_typed_errors_only(
    head: Header, body: dict[str, Any], data: st.DataObject
) -> None:
    frames = [bytearray(frame) for frame in encode(head, body)]
    frame = frames[data.draw(st.integers(0, 1))]
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] = data.draw(st.integers(0, 255))
    try:
        decode_header(frames)
        decode_body(frames)
    except OpenQSEError:
        pass
    assert len(task_of(frames)) <= 32


@pytest.mark.parametrize("task", [b"", b"x" * 33, "text", 5, None, [b"x"]])
def test_the_task_of_a_malformed_message_is_read_or_empty(task: Any) -> None:
    assert task_of(raw(task=task, version=7)) == b""
    assert task_of(raw(task=b"id", version=7, kind=[])) == b"id"


@pytest.mark.parametrize("cls", list(errors._classes(OpenQSEError).values()), ids=lambda c: c.code)
def test_every_error_crosses_the_wire_whole(cls: type[OpenQSEError]) -> None:
    sent = cls("what", layer="QPU agent", remedy="do this", line=3)
    frames = encode_error(b"id", sent)
    assert decode_header(frames)[1:3] == (Kind.ERROR, b"id")
    received = errors.from_wire(decode_body(frames))
    assert type(received) is cls
    assert (str(received), received.details) == ("QPU agent: what. do this", {"line": 3})


@checked
@given(bodies)
def test_whatever_an_error_answer_holds_it_becomes_an_error(body: dict[str, Any]) -> None:
    assert str(errors.from_wire(body))


@pytest.mark.parametrize("key", ["layer", "remedy", "message", "self"])
def test_an_errors_details_cannot_take_its_fields_names(key: str) -> None:
    received = errors.from_wire({"code": "device", "message": "m", "details": {key: "x"}})
    assert received.message == "m"


messages = st.lists(st.binary(max_size=40_000), min_size=1, max_size=4)


@checked
@given(st.lists(messages, max_size=5), st.integers(1, 50))
def test_bundles_give_back_their_messages_in_order_and_within_bounds(
    some: list[list[bytes]], repeated: int
) -> None:
    sent = [encode(header(Kind.RUN), None, message) for message in some * repeated]
    received: list[list[bytes]] = []
    for frames in bundled(sent):
        check_size(frames)
        if decode_header(frames).kind == Kind.BUNDLE:
            together = unbundle(frames)
            assert 2 <= len(together) <= limits.MAX_BUNDLE_MESSAGES
            assert sum(len(f) for message in together for f in message) <= limits.MAX_BUNDLE_BYTES
            received += together
        else:
            received.append(frames)
    assert received == sent


@checked
@given(st.binary(max_size=60) | plain.map(msgpack.packb))
def test_random_bundles_raise_typed_errors_or_give_frames(body: bytes) -> None:
    with contextlib.suppress(OpenQSEError):
        for message in unbundle([b"", body]):
            assert all(type(frame) is bytes for frame in message)


def test_a_bundle_has_a_body() -> None:
    with pytest.raises(ProtocolError):
        unbundle([b""])
