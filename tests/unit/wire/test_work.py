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
from openqse.program.program import Output, Program
from openqse.wire.frames import decode_body, encode
from openqse.wire.messages import Kind, header
from openqse.wire.tasks import TaskRequest, decode_outcome, decode_task, encode_outcome, encode_task

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


PROGRAM = Program("a.format.1", b"program", ("a", "b"), (Output("c", 3), Output("flag", 1)))
programs = st.none() | st.builds(
    Program,
    st.sampled_from(["openqse.circuit.2", "qir"]),
    st.binary(max_size=20),
    st.lists(st.text(max_size=5), max_size=3, unique=True).map(tuple),
    st.lists(
        st.builds(Output, st.text(max_size=5), st.integers(1, 99)),
        max_size=3,
        unique_by=lambda output: output.name,
    ).map(tuple),
)
scalars = st.text(max_size=9) | st.integers(-9, 9) | finite | st.booleans()
options = st.dictionaries(st.text(max_size=5), scalars, max_size=3)
acknowledgements = st.lists(st.integers(0, 2**64 - 1), max_size=3)
requests = st.builds(
    TaskRequest, works, programs, st.integers(0, 2**31 - 1), acknowledgements, options
)


def read_task(frames: list[bytes]) -> TaskRequest:
    """A task, of the kind that fits what it asks for."""
    body = decode_body(frames)
    kind = Kind.EXPECTATION if "observable" in body else Kind.RUN
    return decode_task(kind, body, frames[2:])


def framed(body: dict[str, Any], *buffers: bytes) -> list[bytes]:
    return encode(header(Kind.RUN), body, buffers)


@checked
@given(requests)
def test_a_task_is_read_as_it_was_written(sent: TaskRequest) -> None:
    read = read_task(framed(*_flat(sent.encode())))
    assert read.kind == sent.kind
    assert (read.process, list(read.acknowledged)) == (sent.process, list(sent.acknowledged))
    assert read.options == sent.options
    assert_same_program(read.program, sent.program)
    assert_same_work(read.work, sent.work)


def assert_same_program(read: Program | None, sent: Program | None) -> None:
    assert read == sent
    if read is not None and sent is not None:
        assert (read.parameters, read.outputs) == (sent.parameters, sent.outputs)


def assert_same_work(read: Work, sent: Work) -> None:
    assert (read.program, read.shots, read.seed) == (sent.program, sent.shots, sent.seed)
    np.testing.assert_array_equal(read.parameters, sent.parameters, strict=True)
    if sent.observable is None:
        assert read.observable is None
    else:
        assert read.observable is not None
        np.testing.assert_array_equal(read.observable.coefficients, sent.observable.coefficients)
        np.testing.assert_array_equal(read.observable.paulis, sent.observable.paulis)


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


@pytest.mark.parametrize("program", [None, PROGRAM])
def test_many_parameters_are_read_as_they_were_written(program: Program | None) -> None:
    work = Work(bytes(32), np.arange(6000.0).reshape(2000, 3), shots=1)
    body, buffers = encode_task(work, program)
    read = read_task(framed(body, *buffers))
    assert_same_program(read.program, program)
    np.testing.assert_array_equal(read.work.parameters, work.parameters, strict=True)
    for odd in (buffers[:-1], [*buffers, b"more"]):
        with pytest.raises(ProtocolError):
            read_task(framed(body, *odd))


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
    read_task(framed(good(), bytes(16)))
    body = good() | changed
    if "observable" in changed:
        del body["shots"]
    with pytest.raises((ProtocolError, ProgramError)):
        read_task(framed(body, bytes(16)))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"program": bytes(31)}, "program"),
        ({"sets": 0}, "sets"),
        ({"width": -1}, "width"),
        ({"shots": 0}, "shots"),
        ({"seed": -1}, "seed"),
        ({"process": -1}, "process"),
        ({"process": 2**31}, "process"),
        ({"acknowledged": 5}, "acknowledged"),
        ({"acknowledged": [5, -1]}, "acknowledged"),
        ({"options": []}, "options"),
        ({"options": {"error_rate": [1e-9]}}, "options"),
        ({"options": {str(n): n for n in range(65)}}, "options"),
        ({"options": {"note": "x" * 5000}}, "options"),
        ({"attached": {}}, "attached"),
        ({"attached": {"format": ""}}, "attached"),
        ({"attached": {"format": "f", "outputs": [["c", 0]]}}, "attached"),
        ({"attached": {"format": "f", "outputs": [["c"]]}}, "attached"),
        ({"attached": {"format": "f", "parameters": [1]}}, "attached"),
        ({"observable": OBSERVABLE}, "observable"),
    ],
    ids=str,
)
def test_a_malformed_run_says_which_field_is_wrong(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_task(Kind.RUN, good() | changed, [bytes(16)])
    assert caught.value.details == {"kind": "run", "field": field}


def test_fields_of_a_later_release_are_ignored() -> None:
    body = good() | {"priority": 3, "attached": {"format": "f", "signed": True}}
    assert read_task(framed(body, b"program", bytes(16))).program == Program("f", b"program")


def test_an_expectation_has_an_observable_and_no_shots() -> None:
    body = good() | {"observable": OBSERVABLE}
    for wrong in (body, good()):
        with pytest.raises(ProtocolError, match="observable"):
            decode_task(Kind.EXPECTATION, wrong, [bytes(16)])
    del body["shots"]
    assert decode_task(Kind.EXPECTATION, body, [bytes(16)]).kind == Kind.EXPECTATION


@pytest.mark.parametrize("metadata", [{"job": None}, {"rates": [1.0]}, {"log": "x" * 5000}])
def test_metadata_that_no_message_carries_are_refused_where_they_are_made(metadata: Any) -> None:
    outcome = Outcome(Expectations(np.zeros(1), 5, metadata), "c")
    with pytest.raises(ProtocolError, match="'metadata'"):
        encode_outcome(outcome)


@pytest.mark.parametrize("sets", [2**31, 2**62, 2**63, 2**64 - 1])
def test_more_parameter_sets_than_a_message_could_bring_are_refused_though_they_are_empty(
    sets: int,
) -> None:
    with pytest.raises(ProtocolError):
        read_task(framed(good() | {"sets": sets, "width": 0}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_parameter_is_a_finite_number(value: float) -> None:
    with pytest.raises(ProgramError, match="finite"):
        read_task(framed(good(), np.array([0.0, value]).tobytes()))


@pytest.mark.parametrize("shots", [2, 5000])
@pytest.mark.parametrize(
    "changed",
    [
        {"qpu_time_ns": None},
        {"qpu_time_ns": float("inf")},
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
                *("qpu_time_ns", "shape", "samples", "calibration"),
            )
        },
    ),
    st.lists(st.binary(max_size=20), max_size=3),
)
def test_random_bodies_raise_typed_errors_only(body: dict[str, Any], buffers: list[bytes]) -> None:
    frames = framed(body, *buffers)
    assert decode_body(frames).keys() == body.keys()
    for read in (read_task, decode_outcome):
        with contextlib.suppress(OpenQSEError):
            read(frames)


@checked
@given(works, st.data())
def test_mutated_work_raises_typed_errors_only(work: Work, data: st.DataObject) -> None:
    body, buffers = encode_task(work)
    mutated = bytearray(msgpack.packb(body))
    mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(OpenQSEError):
        read_task([b"", bytes(mutated), *buffers])
