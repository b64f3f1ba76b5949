"""The bodies of task messages and of their results, written and read in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqse.device import Expectations, Outcome, Samples, Work
from openqse.errors import ProgramError, ProtocolError
from openqse.program.observable import PauliSum
from openqse.wire.frames import Frame, decode_body
from openqse.wire.limits import MAX_MESSAGE_BYTES

_MAX_SHOTS = 2**31 - 1

#: Bytes up to which an array travels in the body: a frame costs more than copying this.
_SMALL = 2048
#: As many as a message could bring of one parameter each; sets of none cost no bytes.
_MAX_SETS = MAX_MESSAGE_BYTES // 8


def _carry(body: dict[str, Any], buffers: list[Frame], array: NDArray[Any]) -> None:
    """Puts an array into a message: a small one into the body, a large one behind it uncopied."""
    if array.nbytes <= _SMALL:
        body["data"] = array.tobytes()
    else:
        buffers.append(np.ascontiguousarray(array).data.cast("B"))


def _carried(body: dict[str, Any], buffers: list[Frame]) -> Frame:
    """The bytes of the array that ``_carry`` put into a message.

    Raises:
        ProtocolError: there is none, or more than one.
    """
    small = body.get("data")
    if type(small) is bytes and not buffers:
        return small
    if small is not None or len(buffers) != 1:
        raise ProtocolError("a message carries its array either in its body or as one buffer")
    return buffers[0]


def encode_work(work: Work, program: bytes | None) -> tuple[dict[str, Any], list[Frame]]:
    """Body and buffers of a task; ``program`` (its encoded form) travels along unless None."""
    sets, width = work.parameters.shape
    body: dict[str, Any] = {"program": work.program, "sets": sets, "width": width}
    if work.observable is None:
        body["shots"] = work.shots
    else:
        body["observable"] = work.observable.to_wire()
    if work.seed is not None:
        body["seed"] = work.seed
    buffers: list[Frame] = []
    if program is not None:
        body["attached"] = True
        buffers.append(program)
    if width:
        _carry(body, buffers, work.parameters.astype("<f8", copy=False))
    return body, buffers


def decode_work(body: dict[str, Any], buffers: Sequence[Frame]) -> tuple[Work, bytes | None]:
    """The work of a received task, and the encoded program where it came along.

    Raises:
        ProtocolError, ProgramError: malformed.
    """
    buffers = list(buffers)
    program, sets, width = body.get("program"), body.get("sets"), body.get("width")
    shots, seed = body.get("shots", 0), body.get("seed")
    if type(program) is not bytes or len(program) != 32:
        raise ProtocolError("a task names its program by the 32 bytes of its hash")
    if type(sets) is not int or type(width) is not int or width < 0:
        raise ProtocolError("a task says how many parameter sets of which width it brings")
    if not 1 <= sets <= _MAX_SETS:
        raise ProtocolError(f"{sets} parameter sets in one task; 1 to {_MAX_SETS} are taken")
    if type(shots) is not int or not 0 <= shots <= _MAX_SHOTS:
        raise ProtocolError(f"shots must be a whole number up to {_MAX_SHOTS}")
    if seed is not None and (type(seed) is not int or seed < 0):
        raise ProtocolError("a seed is a whole number from 0")
    attached = None
    if body.get("attached"):
        if not buffers:
            raise ProtocolError("a task says that it brings its program and does not")
        attached = bytes(buffers.pop(0))
    if width:
        raw = _carried(body, buffers)
        if len(raw) != 8 * sets * width:
            raise ProtocolError("a task's parameters are not as many as it says")
        parameters = np.frombuffer(raw, "<f8").reshape(sets, width)
        if not np.isfinite(parameters).all():
            raise ProgramError("a parameter is not a finite number")
    elif buffers or "data" in body:
        raise ProtocolError("a task brings parameters and says that it has none")
    else:
        parameters = np.empty((sets, 0))
    observable = body.get("observable")
    if observable is None:
        if shots == 0:
            raise ProtocolError("a task asks for no shots and for no observable")
        return Work(program, parameters, shots, seed), attached
    return Work(program, parameters, 0, seed, PauliSum.from_wire(observable)), attached


def encode_outcome(outcome: Outcome) -> tuple[dict[str, Any], list[Frame]]:
    """Body and buffers of a result."""
    data = outcome.data
    array = data.memory if isinstance(data, Samples) else data.values
    body = {
        "qpu_ns": data.qpu_time_ns,
        "calibration": outcome.calibration,
        "shape": array.shape,
        "samples": isinstance(data, Samples),
    }
    if data.metadata:
        body["metadata"] = dict(data.metadata)
    if isinstance(data, Expectations):
        array = array.astype("<f8", copy=False)
    buffers: list[Frame] = []
    _carry(body, buffers, array)
    return body, buffers


def decode_outcome(frames: Sequence[Frame]) -> Outcome:
    """The outcome of a received result.

    Raises:
        ProtocolError: malformed.
    """
    body = decode_body(frames)
    try:
        qpu_ns, shape, raw = int(body["qpu_ns"]), body["shape"], _carried(body, list(frames[2:]))
        metadata = body.get("metadata", {})
        if type(metadata) is not dict:
            raise TypeError("metadata are a map")
        data: Samples | Expectations
        if body["samples"]:
            data = Samples(np.frombuffer(raw, np.uint8).reshape(shape), qpu_ns, metadata)
        else:
            values = np.frombuffer(raw, "<f8").reshape(shape).copy()  # the caller's, to write to
            data = Expectations(values, qpu_ns, metadata)
        return Outcome(data, str(body["calibration"]))
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"a malformed result: {error!r}") from error
