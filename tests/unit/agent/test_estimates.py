"""What a task would take and when it would start, as the QPU agent tells whoever asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import openqse
from openqse import device
from openqse.errors import DeviceError, LimitExceeded, NotSupported, OpenQSEError, ProtocolError
from openqse.wire import limits
from openqse.wire.messages import Kind
from openqse.wire.programs import ProgramEnvelope
from openqse.wire.reports import EstimateQuestion
from openqse_agent.cli.ask import ask
from tests.support.agents.stack import Stack, eventually


def program(name: str = "value", qubits: int = 2) -> openqse.Circuit:
    builder = openqse.CircuitBuilder(qubits, 8)
    angle = builder.parameter(name)
    return builder.rx(angle, 0).measure(0, 0).build()


def estimate(stack: Stack, circuit: openqse.Circuit | None = None, **changed: Any) -> Any:
    asked = (circuit or program()).program
    question = {
        "program": asked.data,
        "envelope": ProgramEnvelope.of(asked),
        "shots": 1000,
        "parameter_sets": 1,
        "account": "chem",
        "user": "alice",
        "latency": "batch",
    }
    body = EstimateQuestion(**(question | changed)).body()
    (answer,) = ask([stack.site.qpu("emu0")], Kind.ESTIMATE, body, 10.0).values()
    if isinstance(answer, OpenQSEError):
        raise answer
    return answer


def test_an_estimate_is_what_the_task_is_then_charged(rank: openqse.QPU, stack: Stack) -> None:
    said = estimate(stack, parameter_sets=3)
    assert (said["wait_s"], said["position"], said["tasks_ahead"]) == (0.0, 1, 0)
    assert (said["free"], said["reason"]) == (0, "")
    result = rank.run(program(), parameters=np.zeros((3, 1)), shots=1000)
    assert said["qpu_s"] == pytest.approx(result.qpu_time_ns * 1e-9)


def test_no_job_is_needed_and_nothing_is_run_or_kept(stack: Stack) -> None:
    assert estimate(stack)["free"] == 4
    estimate(stack)
    driver = stack.qpus["emu0"].device
    assert not driver.started.acquire(blocking=False)
    assert driver.prepared == 2


def test_the_wait_is_for_the_tasks_whose_turn_comes_before(rank: openqse.QPU, stack: Stack) -> None:
    each = rank.run(program(), parameters=[0], shots=10_000).qpu_time_ns * 1e-9
    executor = stack.qpus["emu0"].agent._executor
    executor.hold(True)
    futures = [rank.submit(program(), parameters=[i], shots=10_000) for i in range(8)]
    eventually(lambda: len(executor) == 8)
    for account, user in (("chem", "alice"), ("ml", "bob")):
        said = estimate(stack, account=account, user=user)
        assert said["tasks_ahead"] == said["position"] - 1 <= 2  # a job among two, not a ninth task
        assert said["wait_s"] == pytest.approx(said["tasks_ahead"] * each)
    assert estimate(stack, latency="interactive")["wait_s"] == 0
    executor.hold(False)
    for future in futures:
        future.result(10)


def test_a_qpu_that_does_not_serve_says_why_in_place_of_a_wait(stack: Stack) -> None:
    stack.qpus["emu0"].device.status = lambda: device.DeviceStatus(
        device.Operation.OFFLINE, False, "locked out"
    )  # type: ignore
    said = estimate(stack)
    assert (said["wait_s"], said["reason"]) == (None, "locked out")
    assert said["qpu_s"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"program": "text"}, ProtocolError),
        ({"shots": None}, ProtocolError),
        ({"shots": True}, ProtocolError),
        ({"user": 7}, ProtocolError),
        ({"latency": "at once"}, ProtocolError),
        ({"program": b""}, LimitExceeded),
        ({"program": bytes(limits.MAX_PROGRAM_BYTES + 1)}, LimitExceeded),
        ({"shots": 0}, LimitExceeded),
        ({"shots": 10_001}, LimitExceeded),
        ({"parameter_sets": 0}, LimitExceeded),
        ({"parameter_sets": 2**40}, LimitExceeded),
        ({"program": b"no program"}, OpenQSEError),
    ],
)
def test_a_wrong_question_is_refused_and_the_next_is_answered(
    stack: Stack, changed: dict[str, Any], error: type[OpenQSEError]
) -> None:
    with pytest.raises(error):
        estimate(stack, **changed)
    assert estimate(stack)["position"] == 1


def test_what_the_device_cannot_run_is_its_error(stack: Stack) -> None:
    stack.qpus["emu0"].device.broken.add(program("other").id)
    with pytest.raises(DeviceError, match="a driver's own exception"):
        estimate(stack, program("other"))
    with pytest.raises(NotSupported, match="5 qubits; emu0 has 4"):
        estimate(stack, program(qubits=5))
