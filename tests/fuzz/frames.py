"""The frame decoder under fire: whatever bytes arrive, a typed error or a value, nothing else.

``fuzz_frames.py`` runs it under atheris, the unit tests over the corpus and mutations of that.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from openqse.errors import OpenQSEError, from_wire
from openqse.program.circuit import Circuit
from openqse.wire import limits
from openqse.wire.frames import decode_body, decode_header, task_of, unbundle
from openqse.wire.tasks import decode_outcome, decode_work


def frames_of(data: bytes) -> list[bytes]:
    """A message from one input: frames behind their lengths (16 bits), the last to the end."""
    frames: list[bytes] = []
    while len(data) >= 2 and len(frames) <= limits.MAX_FRAMES:
        (length,) = struct.unpack_from("<H", data)
        frames.append(data[2 : 2 + length])
        data = data[2 + length :]
    return [*frames, data]


def data_of(frames: Sequence[bytes]) -> bytes:
    """The input that ``frames_of`` reads as these frames."""
    return b"".join(struct.pack("<H", len(frame)) + bytes(frame) for frame in frames)


def one_input(data: bytes) -> None:
    """Has every reader of messages read one input.

    Raises:
        Exception: whatever else than ``OpenQSEError`` a reader raises: a finding.
    """
    frames = frames_of(data)
    assert len(task_of(frames)) <= 32
    try:
        head = decode_header(frames)
    except OpenQSEError:
        return
    assert head.task == task_of(frames)
    readers: list[Callable[[Any], Any]] = [
        lambda frames: from_wire(decode_body(frames)).to_wire(),
        decode_outcome,
        _read_work,
        _read_bundle,
    ]
    for reader in readers:
        with suppress(OpenQSEError):
            reader(frames)


def _read_work(frames: list[bytes]) -> None:
    work, program = decode_work(decode_body(frames), frames[2:])
    assert work.parameters.ndim == 2
    if program is not None:
        assert Circuit.decode(program).encoded


def _read_bundle(frames: list[bytes]) -> None:
    messages = unbundle(frames)
    assert len(messages) <= limits.MAX_BUNDLE_MESSAGES
    for message in messages:
        with suppress(OpenQSEError):
            decode_header(message)
