"""Messages and programs as bytes, written down once: what the library reads and writes is these.

Whoever implements the protocol elsewhere tests against the same files (``tests/vectors``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from openqse.errors import OpenQSEError
from openqse.program.circuit import ARRAYS, FORMAT, FORMAT_1, Circuit
from openqse.program.program import Program
from openqse.wire import control, leases, reports, tasks
from openqse.wire.frames import bundled, decode_body, decode_header, encode, unbundle
from openqse.wire.messages import TASK_KINDS, Header, Kind
from openqse.wire.reports import Question
from openqse.wire.schema import Message
from openqse.wire.tasks import decode_outcome, decode_task, encode_outcome
from openqse.wire.versions import Versions

FOLDER = Path(__file__).parents[2] / "vectors"
MESSAGES = json.loads((FOLDER / "messages.json").read_text())
REFUSED = json.loads((FOLDER / "refused.json").read_text())
PROGRAMS = json.loads((FOLDER / "programs.json").read_text())

#: Every message that is read by its fields, by kind; of reports by the question's.
CLASSES: dict[str, type[Message]] = {
    str(value.kind): value
    for module in (control, leases, reports, tasks)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Message) and hasattr(value, "kind")
}
ANSWERS = {
    kind: question.answer for kind, question in CLASSES.items() if issubclass(question, Question)
}
ALL_VERSIONS = Versions(1, 65535)


def named(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def value(shown: Any) -> Any:
    """What JSON shows of a message, with its bytes."""
    if isinstance(shown, dict):
        if shown.keys() == {"hex"}:
            return bytes.fromhex(shown["hex"])
        return {key: value(each) for key, each in shown.items()}
    return [value(each) for each in shown] if isinstance(shown, list) else shown


def frames_of(vector: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(frame) for frame in vector["frames"]]


def read(frames: list[bytes], answers: str = "", versions: Versions = ALL_VERSIONS) -> Any:
    """A message read whole, as its receiver does."""
    head = decode_header(frames, versions)
    if head.kind in TASK_KINDS:
        return decode_task(head.kind, decode_body(frames), frames[2:])
    if head.kind == Kind.RESULT:
        return decode_outcome(frames)
    if head.kind == Kind.BUNDLE:
        return unbundle(frames)
    return (ANSWERS[answers] if head.kind == Kind.REPORT else CLASSES[head.kind]).of(frames)


def write(head: Header, message: Any) -> list[Any]:
    """The frames of a message that ``read`` has read."""
    if head.kind in TASK_KINDS:
        return encode(head, *message.encode())
    if head.kind == Kind.RESULT:
        return encode(head, *encode_outcome(message))
    if head.kind == Kind.BUNDLE:
        return next(bundled(message))
    return encode(head, message.body() or None)


def test_there_is_a_vector_of_every_kind() -> None:
    assert {vector["kind"] for vector in MESSAGES} == set(Kind)
    assert {vector["answers"] for vector in MESSAGES if "answers" in vector} == ANSWERS.keys()


@pytest.mark.parametrize("vector", MESSAGES, ids=named)
def test_a_message_has_the_fields_that_are_written_down(vector: dict[str, Any]) -> None:
    frames = frames_of(vector)
    head = decode_header(frames, ALL_VERSIONS)
    assert head._asdict() == value(vector["header"])
    assert head.kind == vector["kind"]
    if vector["body"] is not None:
        assert decode_body(frames) == value(vector["body"])
        assert msgpack.packb(value(vector["body"])) == frames[1] or not frames[1]


@pytest.mark.parametrize("vector", MESSAGES, ids=named)
def test_a_message_is_written_as_the_bytes_that_are_written_down(vector: dict[str, Any]) -> None:
    frames = frames_of(vector)
    head = Header(**value(vector["header"]))
    message = read(frames, vector.get("answers", ""))
    assert [bytes(frame).hex() for frame in write(head, message)] == vector["frames"]


def test_a_bundle_holds_messages() -> None:
    (bundle,) = (vector for vector in MESSAGES if vector["kind"] == "bundle")
    run, cancel = unbundle(frames_of(bundle))
    assert decode_header(run).kind == Kind.RUN
    assert decode_header(cancel).kind == Kind.CANCEL
    assert read(run).work.shots == 1


@pytest.mark.parametrize("vector", REFUSED, ids=named)
def test_what_is_no_message_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(OpenQSEError) as caught:
        read(frames_of(vector), versions=Versions(1, 1))
    assert caught.value.code == vector["code"]
    assert caught.value.details.get("field") == vector.get("field")


@pytest.mark.parametrize("vector", PROGRAMS, ids=named)
def test_a_circuit_has_the_arrays_that_are_written_down(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["data"])
    circuit = Circuit.decode(data)
    assert (circuit.num_qubits, circuit.num_clbits) == (vector["num_qubits"], vector["num_clbits"])
    assert list(circuit.parameters) == vector["parameters"]
    assert [list(output) for output in circuit.outputs] == vector["outputs"]
    assert list(circuit.messages) == vector["messages"]
    for name, shown in vector["arrays"].items():
        np.testing.assert_array_equal(getattr(circuit, name), np.array(shown, ARRAYS[name]))
    assert Program(vector["format"], data).id == vector["digest"]


@pytest.mark.parametrize("vector", PROGRAMS, ids=named)
def test_a_circuit_is_written_as_the_bytes_that_are_written_down(vector: dict[str, Any]) -> None:
    circuit = Circuit(
        vector["num_qubits"],
        vector["num_clbits"],
        tuple(vector["parameters"]),
        **{name: np.array(shown, ARRAYS[name]) for name, shown in vector["arrays"].items()},
        registers=None if vector["format"] == FORMAT_1 else Circuit.decode(
            bytes.fromhex(vector["data"])
        ).outputs,
        messages=tuple(vector["messages"]),
    )  # fmt: skip
    if vector["format"] == FORMAT:
        assert circuit.encoded.hex() == vector["data"]
        assert circuit.id == vector["digest"]
    else:  # form 1 is read, and written as form 2
        same = [each for each in PROGRAMS if f"{each['name']}, form 1" == vector["name"]]
        assert [circuit.encoded.hex()] == [each["data"] for each in same]
