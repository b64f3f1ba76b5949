"""The client's API over a device in this process."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openqse
from openqse.device import ThreadDevice
from openqse.errors import (
    ArgumentError,
    ConfigurationError,
    DeadlineExceeded,
    DeviceError,
    NoLease,
    NotSupported,
    ProgramError,
    TaskCancelled,
)
from openqse.program.program import Output
from openqse.testing import ScriptedDevice
from openqse.wire.task_ids import next_task_id
from tests.support.agents.stack import eventually


class Point:
    """An installed device."""

    def __init__(self, name: str, factory: Callable[..., Any]) -> None:
        self.name = name
        self.load = lambda: factory


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> ScriptedDevice:
    """The one device that is installed, under the name ``scripted``."""
    driver = ScriptedDevice()

    def create(profile: str | None) -> ThreadDevice[Any]:
        if profile not in (None, "large"):
            raise ConfigurationError(f"no profile {profile!r}", layer="device")
        return ThreadDevice(driver)

    points = [Point("scripted", create)]
    monkeypatch.setattr("openqse.device.registry.entry_points", lambda group: points)
    monkeypatch.delenv("OPENQSE_SOCKET", raising=False)
    return driver


@pytest.fixture
def qpu(driver: ScriptedDevice) -> Iterator[openqse.QPU]:
    with openqse.connect("scripted") as qpu:
        yield qpu
        driver.hold.set()


def echo(bits: int = 10) -> openqse.Circuit:
    builder = openqse.CircuitBuilder(2, bits)
    return builder.rx(builder.parameter("value"), 0).measure(0, 0).build()


MEASURE = openqse.CircuitBuilder(1).measure_all().build()


def test_outside_a_job_the_error_says_how_to_get_in_or_what_to_use_instead(
    driver: ScriptedDevice,
) -> None:
    with pytest.raises(NoLease, match=r'srun --qpu=NAME.*connect\("scripted"\)'):
        openqse.connect()
    with pytest.raises(NoLease, match="'emu7' is no installed device"):
        openqse.connect("emu7")


def test_a_device_is_given_its_profile(driver: ScriptedDevice) -> None:
    with openqse.connect("scripted:large") as qpu:
        assert (qpu.name, qpu.lease) == ("scripted", None)
    with pytest.raises(ConfigurationError, match="no profile 'tiny'"):
        openqse.connect("scripted:tiny")


def test_a_socket_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENQSE_SOCKET", str(tmp_path / "job-7" / "node.sock"))
    with pytest.raises(openqse.OpenQSEError, match=r"job-7/node.sock"):
        openqse.connect(timeout=0.2)


def test_bit_0_is_the_rightmost_of_counts_and_the_first_of_memory(qpu: openqse.QPU) -> None:
    result = qpu.run(echo(10), parameters=[0b10_0000_0001], shots=3)
    assert result.counts == {"1000000001": 3}
    assert result.memory.dtype == np.uint8
    assert result.memory.tolist() == [[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]] * 3
    assert result.packed.tolist() == [[1, 2]] * 3


def test_counts_say_how_often_each_bit_string_occurred() -> None:
    packed = np.array([[[0], [1], [1], [3]], [[2], [2], [2], [2]]], np.uint8)
    result = openqse.BatchResult(
        qpu="q", task_id="t", lease_id="", qpu_time_ns=1_500_000_001, calibration_id="c",
        outputs=(Output("a", 1), Output("b", 1)), packed=packed,
    )  # fmt: skip
    assert result.counts == [{"00": 1, "01": 2, "11": 1}, {"10": 4}]
    assert result.memory.tolist() == [
        [[0, 0], [1, 0], [1, 0], [1, 1]],
        [[0, 1], [0, 1], [0, 1], [0, 1]],
    ]
    assert result.qpu_seconds == pytest.approx(1.5)
    first, second = result
    assert first.counts == result.counts[0]
    assert (len(result), result[-1].counts, result.shots, second.shots) == (2, {"10": 4}, 4, 4)
    assert first.qpu_time_ns + second.qpu_time_ns == result.qpu_time_ns
    assert result[:1][0].memory.tolist() == first.memory.tolist()


def test_each_register_has_counts_of_its_own() -> None:
    packed = np.array([[0b0110, 1], [0b0110, 0], [0b0001, 1]], np.uint8)
    result = openqse.Result(
        qpu="q", task_id="t", lease_id="", qpu_time_ns=0, calibration_id="c",
        outputs=(Output("a", 3), Output("b", 6)), packed=packed,
    )  # fmt: skip
    assert result.counts == {"100000110": 1, "000000110": 1, "100000001": 1}
    assert result.registers == {"a": {"110": 2, "001": 1}, "b": {"100000": 2, "000000": 1}}
    assert result.registers["a"].memory.tolist() == [[0, 1, 1], [0, 1, 1], [1, 0, 0]]
    assert result.registers["b"].integers == [32, 0, 32]


def test_a_batch_of_one_is_still_a_batch(qpu: openqse.QPU) -> None:
    single = qpu.run(echo(), parameters=[1], shots=2)
    batch = qpu.run(echo(), parameters=[[1]], shots=2)
    assert batch.counts == [single.counts]
    assert (single.memory.shape, batch.memory.shape) == ((2, 10), (1, 2, 10))


def test_expectation_is_a_number_or_one_for_each_set(qpu: openqse.QPU) -> None:
    observable = openqse.PauliSum.from_terms({"Z0": 1.0}, 2)
    value = qpu.expectation(echo(), observable, parameters=[0.5])
    assert (type(value), value) == (float, 0.5)
    values = qpu.expectation(echo(), observable, parameters=[[0.5], [1.5]])
    assert values.tolist() == [0.5, 1.5]


def test_usage_adds_up(qpu: openqse.QPU) -> None:
    assert (qpu.usage.tasks, qpu.usage.qpu_seconds) == (0, 0)
    first = qpu.run(MEASURE, shots=10)
    second = qpu.run(MEASURE, shots=5)
    assert (first.qpu_time_ns, second.qpu_time_ns) == (10_000, 5_000)
    assert (qpu.usage.tasks, qpu.usage.qpu_time_ns) == (2, 15_000)


def test_programs_are_circuits_texts_or_files(qpu: openqse.QPU, tmp_path: Path) -> None:
    text = "OPENQASM 3.0; qubit[1] q; bit[1] c; c[0] = measure q[0];"
    file = tmp_path / "program.qasm"
    file.write_text(text)
    assert [qpu.run(p, shots=1).counts for p in (MEASURE, text, file)] == [{"0": 1}] * 3
    with pytest.raises(ProgramError):
        qpu.run("OPENQASM 3.0; nonsense")


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"shots": 0}, ArgumentError, "0 shots; scripted takes 1 to 10000"),
        ({"shots": -1}, ArgumentError, "-1 shots"),
        ({"shots": 10_001}, ArgumentError, "10001 shots"),
        ({"seed": -1}, ArgumentError, "seed"),
        ({"seed": 2**64}, ArgumentError, "seed"),
        ({"latency": "at once"}, ArgumentError, "'interactive' or 'batch', not 'at once'"),
        ({"timeout": 0}, ArgumentError, "timeout must be a positive number"),
        ({"timeout": -1.0}, ArgumentError, "timeout"),
        ({"timeout": math.nan}, ArgumentError, "timeout"),
        ({"timeout": math.inf}, ArgumentError, "timeout"),
        ({"parameters": None}, ArgumentError, "1 free parameter"),
        ({"parameters": []}, ArgumentError, "1 free parameter"),
        ({"parameters": [1, 2]}, ArgumentError, r"shape \(2,\)"),
        ({"parameters": [[1, 2]]}, ArgumentError, r"shape \(1, 2\)"),
        ({"parameters": [[[1]]]}, ArgumentError, "shape"),
        ({"parameters": np.empty((0, 1))}, ArgumentError, "shape"),
        ({"parameters": [math.nan]}, ArgumentError, "finite"),
        ({"parameters": ["x"]}, ArgumentError, "not numbers"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be_are_refused_before_anything_is_sent(
    qpu: openqse.QPU,
    driver: ScriptedDevice,
    options: dict[str, Any],
    error: type[Exception],
    complaint: str,
) -> None:
    with pytest.raises(error, match=complaint):
        qpu.run(echo(), **{"parameters": [1], **options})
    assert driver.prepared == 0


@pytest.mark.parametrize("shots", [np.int64(3), np.uint8(3), True + 2])
def test_numpy_integers_are_whole_numbers_too(qpu: openqse.QPU, shots: Any) -> None:
    result = qpu.run(MEASURE, shots=shots, seed=np.int64(7))
    assert (result.counts, type(result.shots)) == ({"0": 3}, int)


@pytest.mark.parametrize("option", ["shots", "seed"])
def test_a_fraction_is_no_whole_number(qpu: openqse.QPU, option: str) -> None:
    with pytest.raises(ArgumentError, match="whole number"):
        qpu.run(MEASURE, **{option: 1.5})


def test_a_program_without_measurements_cannot_be_sampled(qpu: openqse.QPU) -> None:
    silent = openqse.CircuitBuilder(1).h(0).build()
    with pytest.raises(ProgramError, match=r"measures nothing.*Add measurements"):
        qpu.run(silent)
    observable = openqse.PauliSum.from_terms({"Z0": 1.0}, 1)
    assert qpu.expectation(silent, observable) == 0.0


def test_an_observable_fits_its_program(qpu: openqse.QPU) -> None:
    observable = openqse.PauliSum.from_terms({"Z0": 1.0}, 3)
    with pytest.raises(ArgumentError, match="3 qubits for a program on 2"):
        qpu.expectation(echo(), observable, parameters=[1])


def test_an_expectation_that_is_not_offered_is_refused(
    driver: ScriptedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    offered = replace(driver.capabilities, expectation=False)
    monkeypatch.setattr(ScriptedDevice, "capabilities", offered)
    observable = openqse.PauliSum.from_terms({"Z0": 1.0}, 2)
    with (
        openqse.connect("scripted") as qpu,
        pytest.raises(NotSupported, match="offers no expectation"),
    ):
        qpu.expectation(echo(), observable, parameters=[1])


def test_a_drivers_own_exception_is_a_device_error(
    qpu: openqse.QPU, driver: ScriptedDevice
) -> None:
    program = openqse.CircuitBuilder(2).measure_all().build()
    driver.broken.add(program.id)
    with pytest.raises(DeviceError, match="ValueError: a driver's own exception"):
        qpu.run(program)
    assert qpu.run(MEASURE, shots=1).counts == {"0": 1}


def test_as_completed_gives_all_or_says_that_time_is_up(
    qpu: openqse.QPU, driver: ScriptedDevice
) -> None:
    futures = [qpu.submit(echo(), parameters=[i], shots=1) for i in range(10)]
    assert set(openqse.as_completed(futures, timeout=10)) == set(futures)
    assert list(openqse.as_completed([])) == []
    driver.hold.clear()
    futures = [qpu.submit(echo(), parameters=[1])]
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"within 0.1 s"):
        list(openqse.as_completed(futures, timeout=0.1))
    assert time.monotonic() - began < 5


def test_a_callback_is_called_once_when_or_after_the_future_is_done(
    qpu: openqse.QPU, driver: ScriptedDevice
) -> None:
    seen: list[openqse.Future[openqse.Result]] = []
    driver.hold.clear()
    future = qpu.submit(MEASURE, shots=1)
    future.add_done_callback(seen.append)
    assert (seen, future.done()) == ([], False)
    driver.hold.set()
    future.result(10)
    future.add_done_callback(seen.append)
    eventually(lambda: seen == [future, future])


def test_a_timeout_cancels_the_task(qpu: openqse.QPU, driver: ScriptedDevice) -> None:
    driver.hold.clear()
    with pytest.raises(DeadlineExceeded):
        qpu.run(MEASURE, timeout=0.1)
    eventually(lambda: driver.stopped == 1)


def test_cancel_ends_running_and_queued_tasks(qpu: openqse.QPU, driver: ScriptedDevice) -> None:
    driver.hold.clear()
    running, queued = qpu.submit(MEASURE), qpu.submit(MEASURE)
    assert driver.started.acquire(timeout=10)
    assert queued.cancel()
    assert running.cancel()
    for future in (running, queued):
        assert isinstance(future.exception(10), TaskCancelled)
        assert not future.cancel()


def test_closing_ends_the_devices_thread(driver: ScriptedDevice) -> None:
    before = threading.active_count()
    driver.hold.clear()
    with openqse.connect("scripted") as qpu:
        future = qpu.submit(MEASURE)
        assert driver.started.acquire(timeout=10)
    assert isinstance(future.exception(1), TaskCancelled)
    assert threading.active_count() == before


def test_task_ids_are_unique_and_those_of_a_forked_child_are_its_own() -> None:
    here = [next_task_id() for _ in range(100)]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, b"".join(next_task_id() for _ in range(100)))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    there = [data[i : i + 16] for i in range(0, len(data), 16)]
    here += [next_task_id() for _ in range(100)]
    assert len(there) == 100
    assert len({*here, *there}) == 300
    assert {len(task) for task in here} == {16}


def test_errors_of_the_client_survive_pickling() -> None:
    import pickle

    error = NoLease("what", layer="node agent", remedy="do", qpu="emu0")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.details) == (NoLease, str(error), error.details)


def test_programs_are_taken_in_each_form_and_what_is_none_is_named(
    driver: ScriptedDevice, tmp_path: Path
) -> None:
    file = tmp_path / "one.qasm"
    file.write_text('OPENQASM 3; include "stdgates.inc"; qubit q; bit c; c = measure q;')
    with openqse.connect("scripted") as qpu:
        for program in (MEASURE, openqse.CircuitBuilder(1).measure_all(), file, file.read_text()):
            assert qpu.run(program, shots=1).shots == 1
        with pytest.raises(ProgramError, match="name of a file and not OpenQASM text"):
            qpu.run("one.qasm")
        with pytest.raises(ProgramError, match="cannot be read"):
            qpu.run(tmp_path / "none.qasm")
        with pytest.raises(ArgumentError, match="a program is a Circuit"):
            qpu.run(42)  # type: ignore[arg-type]
        with pytest.raises(ArgumentError, match="a PauliSum, not dict"):
            qpu.expectation(MEASURE, {"Z0": 1.0})  # type: ignore[arg-type]


def test_map_of_no_parameter_sets_gives_no_futures(driver: ScriptedDevice) -> None:
    with openqse.connect("scripted") as qpu:
        assert qpu.map(MEASURE, []) == []


# --- what callers do with what is theirs ----------------------------------------------------------


def test_a_task_means_what_was_given_whatever_its_caller_changes_later(
    driver: ScriptedDevice, qpu: openqse.QPU
) -> None:
    driver.hold.clear()
    values, coefficients = np.array([1.0]), np.array([2.0])
    observable = openqse.PauliSum(coefficients, np.array([[3, 0]], np.uint8))
    future = qpu.submit(echo(), parameters=values, shots=1)
    expectation = qpu.submit_expectation(echo(), observable, parameters=values)
    values[0] = coefficients[0] = 7.0
    driver.hold.set()
    assert int(next(iter(future.result(10).counts)), 2) == 1
    assert expectation.result(10).values.tolist() == [1.0]
    assert observable.coefficients.tolist() == [2.0]


def test_a_callback_that_fails_harms_nobody(
    qpu: openqse.QPU, driver: ScriptedDevice, caplog: pytest.LogCaptureFixture
) -> None:
    driver.hold.clear()
    future = qpu.submit(echo(), parameters=[1], shots=1)
    seen: list[str] = []
    future.add_done_callback(lambda f: 1 / 0)
    future.add_done_callback(lambda f: seen.append(f.task_id))
    driver.hold.set()
    assert future.result(10).counts == {f"{1:010b}": 1}
    future.add_done_callback(lambda f: 1 / 0)
    assert seen == [future.task_id]
    assert caplog.text.count("ZeroDivisionError") == 2


def test_a_callback_that_waits_for_its_own_device_is_told(
    qpu: openqse.QPU, driver: ScriptedDevice
) -> None:
    driver.hold.clear()
    first, second = (qpu.submit(echo(), parameters=[i], shots=1) for i in range(2))
    said: list[openqse.OpenQSEError] = []

    def wait(done: object) -> None:
        try:
            second.result()
        except openqse.OpenQSEError as error:
            said.append(error)

    first.add_done_callback(wait)
    driver.hold.set()
    second.result(10)
    first.result(10)
    assert [type(error) for error in said] == [ArgumentError]


def test_a_forked_child_is_told_that_the_connection_is_its_parents(
    qpu: openqse.QPU, driver: ScriptedDevice
) -> None:
    future = qpu.submit(echo(), parameters=[1], shots=1)
    ended = future.result(10)
    driver.hold.clear()
    pending = qpu.submit(echo(), parameters=[2], shots=1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        for ask in (
            lambda: qpu.run(echo(), parameters=[1]),
            lambda: list(openqse.as_completed([pending])),
            pending.result,
            pending.cancel,
            future.cancel,
            future.done,
        ):
            try:
                said.append(str(ask()))
            except ArgumentError as error:
                said.append(type(error).__name__)
        qpu.close()
        os.write(writer, " ".join(said).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100).decode() == 4 * "ArgumentError " + "False True"
    driver.hold.set()
    assert pending.result(10).counts == {f"{2:010b}": 1}
    os.close(reader)
    os.close(writer)
    assert qpu.run(echo(), parameters=[1], shots=1).counts == ended.counts  # close() did nothing


def test_sizes_may_be_numpys(qpu: openqse.QPU) -> None:
    builder = openqse.CircuitBuilder(np.int64(2), np.int32(1))  # type: ignore[arg-type]
    for i in np.arange(2):
        builder.x(i).measure(i, i)
    assert qpu.run(builder, shots=1).counts == {"00": 1}
