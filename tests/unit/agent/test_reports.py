"""What the QPU agent tells of its queue and of the shares in it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import openqse
from openqse.errors import LimitExceeded, OpenQSEError, ProtocolError
from openqse.wire.messages import Kind
from openqse_agent.cli.ask import ask
from openqse_agent.qpu.reports.service import MOST_WAITING
from tests.support.agents.stack import Stack, eventually


def program(name: str = "value") -> openqse.Circuit:
    builder = openqse.CircuitBuilder(2, 8)
    angle = builder.parameter(name)
    return builder.rx(angle, 0).measure(0, 0).build()


def report(stack: Stack, kind: Kind, body: dict[str, Any] | None = None) -> Any:
    (answer,) = ask([stack.site.qpu("emu0")], kind, body or {}, 10.0).values()
    if isinstance(answer, OpenQSEError):
        raise answer
    return answer[kind.value]


def test_the_queue_lists_what_runs_and_what_waits_in_its_order(
    rank: openqse.QPU, stack: Stack
) -> None:
    rank.run(program(), parameters=[0], shots=500)  # from now on its QPU time is known
    driver = stack.qpus["emu0"].device
    driver.hold.clear()
    # One of a program that was never run is left to the thread, so that the loop goes on.
    futures = [rank.submit(program("new"), parameters=[0], shots=500)]
    assert driver.started.acquire(timeout=10)
    assert driver.started.acquire(timeout=10)
    futures += [rank.submit(program(), parameters=[i], shots=500) for i in (1, 2)]
    futures.append(rank.submit(program(), parameters=[9], shots=500, latency="interactive"))
    eventually(lambda: len(report(stack, Kind.QUEUE)) == 4)
    running, *waiting = report(stack, Kind.QUEUE)
    assert (running["state"], running["task"]) == ("running", futures[0].task_id)
    assert [row["task"] for row in waiting] == [futures[i].task_id for i in (3, 1, 2)]
    assert [row["position"] for row in waiting] == [1, 2, 3]
    each = 500 * driver.SHOT_NS * 1e-9
    assert [round(row["start_s"] / each) for row in waiting] == [
        0,
        1,
        2,
    ]  # what runs may take any time
    assert {(row["user"], row["account"], row["job_id"]) for row in waiting} == {
        ("alice", "chem", 7)
    }
    assert waiting[0]["latency"] == "interactive"
    assert all(0 <= row["waited_s"] < 60 for row in waiting)
    assert len(report(stack, Kind.QUEUE, {"limit": 2})) == 2
    driver.hold.set()
    for future in futures:
        future.result(10)
    eventually(lambda: report(stack, Kind.QUEUE) == [])


def test_a_limit_of_no_rows_is_refused(rank: openqse.QPU, stack: Stack) -> None:
    for limit in (0, -1, 10**9, "all", True):
        try:
            report(stack, Kind.QUEUE, {"limit": limit})
        except ProtocolError:
            continue
        raise AssertionError(f"{limit!r} was taken")


def test_reports_wait_for_each_other_and_jobs_for_none_of_them(stack: Stack) -> None:
    agent, go_on = stack.qpus["emu0"].agent, threading.Event()
    try:
        for _ in range(MOST_WAITING):
            agent._lookups.ask(lambda: go_on.wait(60), lambda answer: None)
        for kind in (Kind.USAGE, Kind.QUEUE):
            with pytest.raises(LimitExceeded, match="reports wait already"):
                report(stack, kind)
        stack.slurm.submit(7, {"qpu_emu0": 1})
        stack.attach(7, "emu0")
    finally:
        go_on.set()
    eventually(lambda: report_or_none(stack, Kind.USAGE) == [])


def report_or_none(stack: Stack, kind: Kind) -> Any:
    try:
        return report(stack, kind)
    except LimitExceeded:
        return None


def test_tasks_beyond_a_forecast_are_listed_without_an_instant(
    rank: openqse.QPU, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqse_agent.qpu.tasks.queue.FORECAST_STEPS", 2)
    driver = stack.qpus["emu0"].device
    driver.hold.clear()
    futures = [rank.submit(program(), parameters=[i], shots=500) for i in range(5)]
    assert driver.started.acquire(timeout=10)
    eventually(lambda: len(report(stack, Kind.QUEUE)) == 5)
    rows = report(stack, Kind.QUEUE)
    assert [row["position"] for row in rows] == [None, 1, 2, None, None]
    assert [row["start_s"] is None for row in rows[1:]] == [False, False, True, True]
    assert {row["task"] for row in rows} == {future.task_id for future in futures}
    driver.hold.set()


def test_shares_show_who_used_what(rank: openqse.QPU, stack: Stack) -> None:
    result = rank.run(program(), parameters=[0], shots=1000)
    rows = {(row["account"], row["user"]): row for row in report(stack, Kind.SHARE)}
    chem, alice = rows["chem", ""], rows["chem", "alice"]
    assert chem["raw_usage"] == alice["raw_usage"]
    assert abs(chem["raw_usage"] - result.qpu_time_ns * 1e-9) < 1e-6
    assert chem["norm_shares"] == 0.75
    assert (chem["norm_usage"], chem["level_fs"]) == (1.0, 0.75)
    assert rows["ml", ""]["level_fs"] is None
    assert alice["parent"] == "chem"


def test_the_status_says_how_many_turns_tasks_waited(rank: openqse.QPU, stack: Stack) -> None:
    driver = stack.qpus["emu0"].device
    driver.hold.clear()
    futures = [rank.submit(program(), parameters=[0])]
    assert driver.started.acquire(timeout=10)
    futures += [rank.submit(program(), parameters=[0], shots=shots) for shots in (10, 20)]
    eventually(lambda: len(report(stack, Kind.QUEUE)) == 3)
    driver.hold.set()
    for future in futures:
        future.result(10)
    rank.run(program(), parameters=[0], latency="interactive")
    waits = list(stack.qpus["emu0"].agent._executor.waits[False])
    assert waits == [0, 1, 2]  # the first of them ran when the others came
    (status,) = ask([stack.site.qpu("emu0")], Kind.STATUS, {}, 10.0).values()
    assert not isinstance(status, OpenQSEError)
    assert status["batch_wait_slices_p99"] >= 1
    assert status["interactive_wait_slices_p99"] == 0
    assert status["busy_s"] > 0


def test_usage_is_remembered_over_a_restart(rank: openqse.QPU, stack: Stack) -> None:
    used = rank.run(program(), parameters=[0], shots=1000).qpu_time_ns * 1e-9
    stack.stop_qpu("emu0")
    stack.start_qpu("emu0")

    def known() -> float:
        rows = {(row["account"], row["user"]): row for row in report(stack, Kind.SHARE)}
        return float(rows["chem", "alice"]["raw_usage"]) if ("chem", "alice") in rows else 0.0

    eventually(lambda: known() > 0)  # read while the agent serves
    assert abs(known() / used - 1) < 0.001
