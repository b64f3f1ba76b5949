"""What a rank sees: its tasks through node agent, QPU agent and device, and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import openqse
from openqse.errors import (
    AgentUnavailable,
    DeadlineExceeded,
    DeviceError,
    LimitExceeded,
    NoLease,
    OpenQSEError,
    TaskCancelled,
)
from tests.support.agents.stack import Stack, eventually


def echo_program(bits: int = 20) -> openqse.Circuit:
    """A program whose one parameter the scripted device writes into its bits."""
    builder = openqse.CircuitBuilder(2, bits)
    angle = builder.parameter("value")
    return builder.rx(angle, 0).measure(0, 0).build()


def value_of(result: openqse.Result) -> int:
    return int(next(iter(result.counts)), 2)


def test_a_result_names_its_qpu_task_lease_and_calibration(rank: openqse.QPU) -> None:
    result = rank.run(echo_program(), parameters=[5], shots=3)
    assert result.counts == {f"{5:020b}": 3}
    assert result.memory.shape == (3, 20)
    assert result.memory[0, :3].tolist() == [1, 0, 1]
    assert (result.qpu, result.calibration_id) == ("emu0", "scripted-1")
    assert rank.lease is not None
    assert result.lease_id == rank.lease.id
    assert len(result.task_id) == 32
    assert result.qpu_time_ns == 3000


def test_a_thousand_tasks_each_give_their_own_result_once(rank: openqse.QPU) -> None:
    program = echo_program()
    futures = {rank.submit(program, parameters=[i], shots=1): i for i in range(1000)}
    seen = [(futures[f], value_of(f.result())) for f in openqse.as_completed(futures, timeout=60)]
    assert sorted(seen) == [(i, i) for i in range(1000)]
    assert rank.usage.tasks == 1000


def test_map_gives_a_task_and_a_future_to_each_parameter_set(rank: openqse.QPU) -> None:
    futures = rank.map(echo_program(), [[i] for i in range(100)], shots=2)
    assert [value_of(future.result(10)) for future in futures] == list(range(100))
    assert len({future.task_id for future in futures}) == 100
    assert (rank.usage.tasks, rank.usage.qpu_time_ns) == (100, 200 * 1000)


def test_a_device_that_reports_an_absurd_qpu_time_is_refused(
    rank: openqse.QPU, stack: Stack
) -> None:
    stack.qpus["emu0"].device.SHOT_NS = 2**63
    with pytest.raises(DeviceError, match="a QPU time of"):
        rank.run(echo_program(), parameters=[1], shots=1)
    assert stack.qpus["emu0"].agent._journal.usage() == []


def test_a_program_is_prepared_once(rank: openqse.QPU, stack: Stack) -> None:
    for i in range(5):
        rank.run(echo_program(), parameters=[i], shots=1)
    assert stack.qpus["emu0"].device.prepared == 1


def test_charges_in_the_journal_equal_the_results(rank: openqse.QPU, stack: Stack) -> None:
    program = echo_program()
    total = sum(rank.run(program, parameters=[i], shots=i + 1).qpu_time_ns for i in range(20))
    (record,) = stack.qpus["emu0"].agent._journal.usage(7)
    assert (record.tasks, record.qpu_time_ns) == (20, total)
    assert rank.usage.qpu_time_ns == total


def test_expectation_of_a_batch_has_one_value_for_each_set(rank: openqse.QPU) -> None:
    observable = openqse.PauliSum.from_terms({"Z0": 1.0}, 2)
    batch = np.arange(6.0)[:, np.newaxis]
    values = rank.expectation(echo_program(), observable, parameters=batch)
    np.testing.assert_array_equal(values, np.arange(6.0))
    assert rank.expectation(echo_program(), observable, parameters=[2.5]) == 2.5


def test_large_parameters_and_results_cross_whole(rank: openqse.QPU) -> None:
    observable = openqse.PauliSum.from_terms({"Z0": 1.0}, 2)
    batch = np.random.default_rng(1).normal(size=(300_000, 1))
    values = rank.expectation(echo_program(), observable, parameters=batch, timeout=60)
    np.testing.assert_array_equal(values, batch[:, 0])


def test_a_batch_with_shots_has_counts_for_each_set(rank: openqse.QPU) -> None:
    result = rank.run(echo_program(), parameters=[[1], [1], [1]], shots=4)
    assert result.counts == [{f"{1:020b}": 4}] * 3
    assert result.memory.shape == (3, 4, 20)


def test_cancel_reaches_a_running_and_a_queued_task(rank: openqse.QPU, stack: Stack) -> None:
    driver = stack.qpus["emu0"].device
    driver.hold.clear()
    running = rank.submit(echo_program(), parameters=[1])
    assert driver.started.acquire(timeout=10)
    queued = rank.submit(echo_program(), parameters=[2])
    assert queued.cancel()
    with pytest.raises(TaskCancelled):
        queued.result(10)
    assert running.cancel()
    with pytest.raises(TaskCancelled):
        running.result(10)
    assert driver.stopped == 1
    assert not running.cancel()


def test_timeouts_end_running_and_queued_tasks(rank: openqse.QPU, stack: Stack) -> None:
    driver = stack.qpus["emu0"].device
    driver.hold.clear()
    running = rank.submit(echo_program(), parameters=[1], timeout=0.4)
    queued = rank.submit(echo_program(), parameters=[2], timeout=0.4)
    for future in (queued, running):
        with pytest.raises(DeadlineExceeded, match="QPU agent"):
            future.result(10)


def test_waiting_has_a_timeout_of_its_own(rank: openqse.QPU, stack: Stack) -> None:
    stack.qpus["emu0"].device.hold.clear()
    future = rank.submit(echo_program(), parameters=[1])
    with pytest.raises(DeadlineExceeded):
        future.result(0.05)
    stack.qpus["emu0"].device.hold.set()
    assert value_of(future.result(10)) == 1


def test_a_drivers_own_exception_is_a_device_error(rank: openqse.QPU, stack: Stack) -> None:
    program = openqse.CircuitBuilder(2).measure_all().build()
    stack.qpus["emu0"].device.broken.add(program.id)
    with pytest.raises(DeviceError, match="device: ValueError: a driver's own exception"):
        rank.run(program)
    assert value_of(rank.run(echo_program(), parameters=[3])) == 3


def in_threads(work: Callable[[int], None], each: int) -> None:
    """Has four threads work, each from its own first number on."""
    threads = [threading.Thread(target=work, args=(k * each,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def test_threads_share_a_connection(rank: openqse.QPU) -> None:
    program, results = echo_program(), {}

    def work(first: int) -> None:
        for i in range(first, first + 50):
            results[i] = value_of(rank.run(program, parameters=[i], shots=1))

    in_threads(work, 50)
    assert results == {i: i for i in range(200)}


def test_threads_may_each_connect_at_once(enter: Callable[..., None]) -> None:
    enter()
    barrier, results = threading.Barrier(4), {}

    def work(first: int) -> None:
        barrier.wait(10)
        with openqse.connect() as qpu:
            for i in range(first, first + 20):
                results[i] = value_of(qpu.run(echo_program(), parameters=[i], shots=1))

    in_threads(work, 20)
    assert results == {i: i for i in range(80)}


def test_threads_that_submit_together_keep_within_the_window(rank: openqse.QPU) -> None:
    """The window of the tests is smaller than what four threads send: the rest waits."""
    program, futures = echo_program(), []

    def work(first: int) -> None:
        for i in range(first, first + 400):
            futures.append((i, rank.submit(program, parameters=[i], shots=1)))

    in_threads(work, 400)
    assert sorted((i, value_of(future.result(10))) for i, future in futures) == [
        (i, i) for i in range(1600)
    ]


def test_done_becomes_true_by_asking(rank: openqse.QPU) -> None:
    future = rank.submit(echo_program(), parameters=[6], shots=1)
    eventually(future.done)
    assert value_of(future.result(0)) == 6


def test_a_wait_ends_at_its_timeout(rank: openqse.QPU, stack: Stack) -> None:
    stack.qpus["emu0"].device.hold.clear()
    future = rank.submit(echo_program(), parameters=[6], shots=1)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        future.result(0.05)
    assert time.monotonic() - began < 0.5
    stack.qpus["emu0"].device.hold.set()


def test_a_callback_may_fail_or_wait_for_other_tasks(
    rank: openqse.QPU, stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.qpus["emu0"].device.hold.clear()
    futures = [rank.submit(echo_program(), parameters=[i], shots=1) for i in range(3)]
    seen: list[int] = []
    futures[0].add_done_callback(lambda f: 1 / 0)
    futures[0].add_done_callback(lambda f: seen.append(value_of(futures[2].result(10))))
    stack.qpus["emu0"].device.hold.set()
    assert [value_of(future.result(10)) for future in futures] == [0, 1, 2]
    assert seen == [2]
    assert "ZeroDivisionError" in caplog.text


def test_expectations_are_the_callers_to_change(rank: openqse.QPU) -> None:
    z = openqse.PauliSum.from_terms({"Z0": 1.0}, num_qubits=2)
    values = rank.expectation(echo_program(), z, parameters=[[1.0], [2.0]])
    values *= 2
    assert values.tolist() == [2.0, 4.0]


def test_a_result_too_large_for_a_message_is_refused_before_it_costs_anything(
    rank: openqse.QPU, stack: Stack
) -> None:
    driver = stack.qpus["emu0"].device
    with pytest.raises(LimitExceeded, match="a result of 150000000 bytes"):
        rank.run(echo_program(), parameters=np.zeros((5000, 1)), shots=10_000)
    assert driver.runs == 0
    assert rank.usage.tasks == 0


def test_deadlines_of_what_has_ended_are_forgotten(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqse_agent.qpu.tasks.deadlines._KEPT", 10)
    for future in rank.map(echo_program(), [[i] for i in range(100)], shots=1, timeout=3600):
        future.result(10)
    eventually(lambda: len(stack.qpus["emu0"].agent._intake._deadlines) <= 10)


def test_two_qpus_of_one_job_are_told_apart(enter: Callable[..., None], stack: Stack) -> None:
    enter(qpus="emu0:1,emu1:1", qpu_emu0=1, qpu_emu1=1)
    with pytest.raises(NoLease, match="several QPUs"):
        openqse.connect()
    with openqse.connect("emu0") as first, openqse.connect("emu1") as second:
        futures = [q.submit(echo_program(), parameters=[1], shots=1) for q in (first, second)]
        assert {f.result(10).qpu for f in openqse.as_completed(futures, 10)} == {"emu0", "emu1"}
    with pytest.raises(NoLease, match="holds no QPU 'emu9'"):
        openqse.connect("emu9")


def test_closing_cancels_what_is_unfinished(enter: Callable[..., None], stack: Stack) -> None:
    enter()
    driver = stack.qpus["emu0"].device
    driver.hold.clear()
    with openqse.connect() as qpu:
        futures = [qpu.submit(echo_program(), parameters=[i]) for i in range(3)]
        assert driver.started.acquire(timeout=10)
    for future in futures:
        with pytest.raises(TaskCancelled):
            future.result(1)
    eventually(lambda: not stack.qpus["emu0"].agent._intake.tasks)


def test_closing_one_of_two_handles_leaves_the_others_tasks(
    enter: Callable[..., None], stack: Stack
) -> None:
    enter()
    driver = stack.qpus["emu0"].device
    driver.hold.clear()
    with openqse.connect() as one:
        future = one.submit(echo_program(), parameters=[4], shots=1)
        with openqse.connect() as other:
            lost = other.submit(echo_program(), parameters=[5], shots=1)
        with pytest.raises(TaskCancelled):
            lost.result(1)
        driver.hold.set()
        assert value_of(future.result(10)) == 4


def test_a_restarted_qpu_agent_gets_unanswered_tasks_again(rank: openqse.QPU, stack: Stack) -> None:
    stack.qpus["emu0"].device.hold.clear()
    future = rank.submit(echo_program(), parameters=[9], shots=2)
    assert stack.qpus["emu0"].device.started.acquire(timeout=10)
    held = stack.qpus["emu0"].device.hold
    held.set = lambda: None  # type: ignore[method-assign]  # the old device never answers
    agent = stack.qpus.pop("emu0")
    agent.agent._executor.stop = lambda timeout: None  # type: ignore[method-assign]
    agent.agent.stop()
    agent.thread.join(10)
    stack.start_qpu("emu0")
    assert value_of(future.result(20)) == 9
    threading.Event.set(held)


def test_a_lost_qpu_agent_is_named(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqse_agent.node.qpu_link.LOST_AFTER", 0.5)
    monkeypatch.setattr("openqse_agent.node.qpu_link.HEARTBEAT_EVERY", 0.1)
    monkeypatch.setattr("openqse.client.recovery.PATIENCE", 2.5)
    stack.stop_qpu("emu0")
    with pytest.raises(AgentUnavailable, match=r"QPU agent: the QPU agent of emu0 at .* does not"):
        rank.run(echo_program(), parameters=[1])


def test_a_lost_node_agent_is_named(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqse.client.recovery.PATIENCE", 1.5)
    stack.stop_node()
    try:
        with pytest.raises(AgentUnavailable, match="node agent: the node agent has not answered"):
            rank.run(echo_program(), parameters=[1])
    finally:
        stack.start_node()


def test_a_job_that_ends_takes_its_tasks_with_it(rank: openqse.QPU, stack: Stack) -> None:
    driver = stack.qpus["emu0"].device
    driver.hold.clear()
    for i in range(3):
        rank.submit(echo_program(), parameters=[i])
    assert driver.started.acquire(timeout=10)
    assert stack.detach(7)["STATUS"] == "ok"
    eventually(lambda: not stack.qpus["emu0"].agent._intake.tasks)
    assert driver.stopped == 1


def test_more_tasks_than_the_window_wait_in_the_client(rank: openqse.QPU, stack: Stack) -> None:
    agent = stack.qpus["emu0"].agent
    stack.qpus["emu0"].device.hold.clear()
    for i in range(stack.tasks_per_session):
        rank.submit(echo_program(), parameters=[i])
    with pytest.raises(DeadlineExceeded, match="unanswered"):
        rank.submit(echo_program(), parameters=[99], timeout=0.2)
    eventually(lambda: len(agent._intake.tasks) == stack.tasks_per_session)


def test_outside_a_job_the_error_says_how_to_get_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENQSE_SOCKET", raising=False)
    with pytest.raises(NoLease, match="srun --qpu=NAME"):
        openqse.connect()


def test_errors_cross_the_wire_with_all_they_say(rank: openqse.QPU, stack: Stack) -> None:
    program = openqse.CircuitBuilder(2).measure_all().build()
    stack.qpus["emu0"].device.broken.add(program.id)
    with pytest.raises(OpenQSEError) as caught:
        rank.run(program)
    assert caught.value.layer == "device"
