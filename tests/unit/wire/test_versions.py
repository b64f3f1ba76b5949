"""Sides of two releases: what they speak together, and who is told that it is too old."""

from __future__ import annotations

import msgpack
import pytest

from openqse.errors import ProtocolError
from openqse.wire.frames import decode_header, encode
from openqse.wire.leases import Attach, Hello, Mode
from openqse.wire.messages import SESSION_KINDS, Kind, header
from openqse.wire.versions import FIRST, SPOKEN, Versions, agree


@pytest.mark.parametrize(
    ("program", "agent", "version"),
    [
        (Versions(1, 1), Versions(1, 1), 1),
        (Versions(1, 1), Versions(1, 2), 1),  # an old client meets a new agent
        (Versions(1, 2), Versions(1, 1), 1),  # a new client meets an old agent
        (Versions(1, 2), Versions(2, 3), 2),
        (Versions(1, 5), Versions(2, 4), 4),
    ],
)
def test_the_newest_common_version_is_spoken(
    program: Versions, agent: Versions, version: int
) -> None:
    assert agree(program, agent, "emu0") == version
    assert agent.common(program) == version


@pytest.mark.parametrize(
    ("program", "agent", "older"),
    [
        (Versions(1, 1), Versions(2, 3), "for the program"),
        (Versions(3, 3), Versions(1, 2), "for the QPU agent of emu0"),
    ],
)
def test_sides_without_a_common_version_are_told_which_is_older(
    program: Versions, agent: Versions, older: str
) -> None:
    with pytest.raises(ProtocolError, match=older) as caught:
        agree(program, agent, "emu0")
    assert str(program) in str(caught.value)
    assert str(agent) in str(caught.value)


def test_a_hello_of_another_release_is_read() -> None:
    frames = Hello(Versions(7, 9)).frames(b"hello")
    values = msgpack.unpackb(frames[0])
    values[0] = 9
    frames[0] = msgpack.packb([*values, "a header field of version 9"])
    assert decode_header(frames).kind == Kind.HELLO
    assert Hello.of(frames).versions == Versions(7, 9)


def test_who_does_not_say_what_it_speaks_speaks_the_first() -> None:
    assert Hello.read({}).versions == FIRST


@pytest.mark.parametrize("kind", sorted(Kind))
@pytest.mark.parametrize("version", [SPOKEN.oldest - 1, SPOKEN.newest + 1])
def test_a_session_is_refused_in_a_version_that_is_not_spoken(kind: Kind, version: int) -> None:
    frames = encode(header(kind, b"task", version=version))
    if kind in SESSION_KINDS:
        with pytest.raises(ProtocolError, match=f"version {version}; this side speaks {SPOKEN}"):
            decode_header(frames)
    else:
        assert decode_header(frames).kind == kind


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_side_takes_all_versions_that_it_speaks(version: int) -> None:
    frames = encode(header(Kind.RUN, b"task", version=version))
    assert decode_header(frames, Versions(1, 3)).version == version


@pytest.mark.parametrize("version", [None, "1", 1.0, True, [1], -1])
@pytest.mark.parametrize("kind", [Kind.RUN, Kind.HELLO])
def test_a_version_is_a_number(kind: Kind, version: object) -> None:
    frames = encode(header(kind))
    frames[0] = msgpack.packb([version, *msgpack.unpackb(frames[0])[1:]])
    if version == -1 and kind == Kind.HELLO:
        assert decode_header(frames).kind == Kind.HELLO
    else:
        with pytest.raises(ProtocolError, match="protocol version"):
            decode_header(frames)


def test_an_attach_of_a_later_release_is_taken() -> None:
    asked = Attach(7, 1000, "n1", 0, 1, Mode.SHARED)
    assert Attach.read(asked.body() | {"partition": "qpu"}) == asked
