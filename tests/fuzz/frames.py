"""The frame decoder under fire: whatever bytes arrive, a typed error or a value, nothing else.

``fuzz_frames.py`` runs it under atheris, the unit tests over the corpus and mutations of that.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from openqse.errors import OpenQSEError
from openqse.program.circuit import Circuit
from openqse.wire import control, leases, limits, reports, tasks
from openqse.wire.frames import decode_body, decode_header, task_of, unbundle
from openqse.wire.messages import TASK_KINDS
from openqse.wire.schema import Message
from openqse.wire.tasks import decode_outcome, decode_task

#: Every message that is read by its fields.
MESSAGES = [
    value
    for module in (control, leases, reports, tasks)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Message) and hasattr(value, "kind")
]


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
        *(_reader(message) for message in MESSAGES),
        decode_outcome,
        _read_work,
        _read_bundle,
    ]
    for reader in readers:
        with suppress(OpenQSEError):
            reader(frames)


def _reader(message: type[Message]) -> Callable[[list[bytes]], None]:
    def read(frames: list[bytes]) -> None:
        made = message.of(frames)
        assert message.read(made.body()) == made

    return read


def _read_work(frames: list[bytes]) -> None:
    for kind in TASK_KINDS:
        request = decode_task(kind, decode_body(frames), frames[2:])
        assert request.work.parameters.ndim == 2
        if request.program is not None:
            assert Circuit.of(request.program).encoded


def _read_bundle(frames: list[bytes]) -> None:
    messages = unbundle(frames)
    assert len(messages) <= limits.MAX_BUNDLE_MESSAGES
    for message in messages:
        with suppress(OpenQSEError):
            decode_header(message)
