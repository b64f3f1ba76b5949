"""The bodies of tasks and results: what was written is read back, and nothing else passes."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from openqse.device import Expectations, Outcome, Samples, Work
from openqse.errors import OpenQSEError, ProgramError, ProtocolError
from openqse.program.observable import PauliSum
from openqse.wire.frames import decode_body, encode
from openqse.wire.messages import Kind, header
from openqse.wire.tasks import decode_outcome, decode_work, encode_outcome, encode_work

checked = settings(max_examples=60, deadline=None)

finite = st.floats(allow_nan=False, allow_infinity=False)
hashes = st.binary(min_size=32, max_size=32)
shapes = st.tuples(st.integers(1, 4), st.integers(0, 4))
parameters = shapes.flatmap(lambda shape: arrays.arrays(np.float64, shape, elements=finite))


@st.composite
def observables(draw: st.DrawFn) -> PauliSum:
    terms, qubits = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    return PauliSum(
        draw(arrays.arrays(np.float64, terms, elements=finite)),
        draw(arrays.arrays(np.uint8, (terms, qubits), elements=st.integers(0, 3))),
    )


seeds = st.none() | st.integers(0, 2**64 - 1)
works = st.builds(
    Work, hashes, parameters, shots=st.integers(1, 2**31 - 1), seed=seeds
) | st.builds(Work, hashes, parameters, seed=seeds, observable=observables())


def read_work(frames: list[bytes]) -> tuple[Work, bytes | None]:
    return decode_work(decode_body(frames), frames[2:])


def framed(body: dict[str, Any], *buffers: bytes) -> list[bytes]:
    return encode(header(Kind.RUN), body, buffers)


@checked
@given(works, st.none() | st.binary(max_size=20))
def test_work_is_read_as_it_was_written(work: Work, program: bytes | None) -> None:
    read, attached = read_work(framed(*_flat(encode_work(work, program))))
    assert attached == program
    assert (read.program, read.shots, read.seed) == (work.program, work.shots, work.seed)
    np.testing.assert_array_equal(read.parameters, work.parameters, strict=True)
    if work.observable is None:
        assert read.observable is None
    else:
        assert read.observable is not None
        np.testing.assert_array_equal(read.observable.coefficients, work.observable.coefficients)
        np.testing.assert_array_equal(read.observable.paulis, work.observable.paulis)


def _flat(message: tuple[dict[str, Any], list[Any]]) -> tuple[Any, ...]:
    return message[0], *message[1]


@checked
@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 2**63 - 1),
    st.text(),
    st.dictionaries(
        st.text(), st.text() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False)
    ),
)
def test_samples_are_read_as_they_were_written(
    k: int, shots: int, width: int, qpu_ns: int, calibration: str, metadata: dict[str, Any]
) -> None:
    memory = np.arange(k * shots * width, dtype=np.uint8).reshape(k, shots, width)
    sent = Outcome(Samples(memory, qpu_ns, metadata), calibration)
    received = decode_outcome(encode(header(Kind.RESULT), *encode_outcome(sent)))
    assert isinstance(received.data, Samples)
    assert (received.data.qpu_time_ns, received.calibration) == (qpu_ns, calibration)
    assert received.data.metadata == metadata
    np.testing.assert_array_equal(received.data.memory, memory, strict=True)


@pytest.mark.parametrize("size", [1, 4096, 4097])
def test_results_small_and_large_and_strided_are_read_as_they_were_written(size: int) -> None:
    values = np.arange(2.0 * size)[::2]
    sent = Outcome(Expectations(values, 5), "c")
    received = decode_outcome(encode(header(Kind.RESULT), *encode_outcome(sent)))
    assert isinstance(received.data, Expectations)
    np.testing.assert_array_equal(received.data.values, values, strict=True)


@pytest.mark.parametrize("program", [None, b"program"])
def test_many_parameters_are_read_as_they_were_written(program: bytes | None) -> None:
    work = Work(bytes(32), np.arange(6000.0).reshape(2000, 3), shots=1)
    body, buffers = encode_work(work, program)
    read, attached = read_work(framed(body, *buffers))
    assert attached == program
    np.testing.assert_array_equal(read.parameters, work.parameters, strict=True)
    for odd in (buffers[:-1], [*buffers, b"more"]):
        with pytest.raises(ProtocolError):
            read_work(framed(body, *odd))


def good() -> dict[str, Any]:
    return {"program": bytes(32), "sets": 2, "width": 1, "shots": 10}


OBSERVABLE = PauliSum.from_terms({"Z0": 1.0}, 1).to_wire()


@pytest.mark.parametrize(
    "changed",
    [
        {"program": bytes(31)},
        {"program": "x" * 32},
        {"program": None},
        {"sets": 0},
        {"sets": -1},
        {"sets": True},
        {"sets": 2.0},
        {"sets": 3},
        {"sets": 2**63},
        {"width": 0},
        {"width": -1},
        {"width": 2},
        {"width": 2**63},
        {"width": None},
        {"shots": 0},
        {"shots": -1},
        {"shots": 2**31},
        {"shots": 1.5},
        {"shots": True},
        {"seed": -1},
        {"seed": 0.5},
        {"seed": "7"},
        {"attached": True},
        {"data": bytes(16)},
        {"observable": 5},
        {"observable": "Z0"},
        {"observable": {}},
        {"observable": []},
        {"observable": OBSERVABLE | {"qubits": 0}},
        {"observable": OBSERVABLE | {"qubits": 2**63}},
        {"observable": OBSERVABLE | {"qubits": float("inf")}},
        {"observable": OBSERVABLE | {"qubits": None}},
        {"observable": OBSERVABLE | {"coefficients": b"short"}},
        {"observable": OBSERVABLE | {"coefficients": np.array([np.nan]).tobytes()}},
        {"observable": OBSERVABLE | {"paulis": b"\4"}},
        {"observable": OBSERVABLE | {"paulis": b""}},
    ],
    ids=str,
)
def test_malformed_work_is_refused(changed: dict[str, Any]) -> None:
    read_work(framed(good(), bytes(16)))
    with pytest.raises((ProtocolError, ProgramError)):
        read_work(framed(good() | changed, bytes(16)))


@pytest.mark.parametrize("sets", [2**31, 2**62, 2**63, 2**64 - 1])
def test_more_parameter_sets_than_a_message_could_bring_are_refused_though_they_are_empty(
    sets: int,
) -> None:
    with pytest.raises(ProtocolError):
        read_work(framed(good() | {"sets": sets, "width": 0}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_parameter_is_a_finite_number(value: float) -> None:
    with pytest.raises(ProgramError, match="finite"):
        read_work(framed(good(), np.array([0.0, value]).tobytes()))


@pytest.mark.parametrize("shots", [2, 5000])
@pytest.mark.parametrize(
    "changed",
    [
        {"qpu_ns": None},
        {"qpu_ns": float("inf")},
        {"shape": 5},
        {"shape": [7, 7]},
        {"shape": [2**63, 1]},
        {"shape": [float("inf")]},
        {"shape": [None]},
    ],
    ids=str,
)
def test_a_malformed_result_is_a_protocol_error(changed: dict[str, Any], shots: int) -> None:
    body, buffers = encode_outcome(Outcome(Samples(np.zeros((1, shots, 1), np.uint8), 3), "c"))
    head = header(Kind.RESULT)
    decode_outcome(encode(head, body, buffers))
    with pytest.raises(ProtocolError):
        decode_outcome(encode(head, body | changed, buffers))
    with pytest.raises(ProtocolError):
        decode_outcome(encode(head, body, [*buffers, bytes(shots)]))
    if buffers:
        with pytest.raises(ProtocolError):
            decode_outcome(encode(head, body))
    for key in body:
        rest = {k: v for k, v in body.items() if k != key}
        with pytest.raises(ProtocolError):
            decode_outcome(encode(head, rest, buffers))


@checked
@given(
    st.fixed_dictionaries(
        {},
        optional={
            key: st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**64 - 1)
            | st.floats()
            | st.text(max_size=3)
            | st.sampled_from([bytes(32), 1, 2, OBSERVABLE, [1, 2, 1], [-1]])
            for key in (
                *("program", "sets", "width", "shots", "seed", "attached", "observable"),
                *("qpu_ns", "shape", "samples", "calibration"),
            )
        },
    ),
    st.lists(st.binary(max_size=20), max_size=3),
)
def test_random_bodies_raise_typed_errors_only(body: dict[str, Any], buffers: list[bytes]) -> None:
    frames = framed(body, *buffers)
    assert decode_body(frames).keys() == body.keys()
    for read in (read_work, decode_outcome):
        with contextlib.suppress(OpenQSEError):
            read(frames)


@checked
@given(works, st.data())
def test_mutated_work_raises_typed_errors_only(work: Work, data: st.DataObject) -> None:
    body, buffers = encode_work(work, None)
    mutated = bytearray(msgpack.packb(body))
    mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(OpenQSEError):
        read_work([b"", bytes(mutated), *buffers])
